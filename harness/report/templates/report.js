"use strict";
// Text enters the page through textContent alone; nothing here parses HTML.
const DATA = JSON.parse(document.getElementById("data").textContent);
const AUDIO = JSON.parse(document.getElementById("audio").textContent);
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const NBSP = "\u00a0", MINUS = "\u2212", DASH = "\u2013";

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") node.className = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}
function svg(tag, attributes = {}, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}
function number(value, digits) {
  const text = Math.abs(value).toFixed(digits).replace(/\B(?=(\d{3})+(?!\d)(?=\.|$))/g, "\u202f");
  return (value < 0 && Number(value.toFixed(digits)) !== 0 ? MINUS : "") + text;
}
// Instants are integer microseconds ("us"); metrics stand in their own unit.
function show(value, unit) {
  if (value === null || value === undefined) return DASH;
  if (unit === "us" || unit === "ms") { const ms = unit === "us" ? value / 1000 : value; const a = Math.abs(ms); return number(ms, a >= 10 || a === 0 ? 0 : a >= 1 ? 1 : a >= 0.1 ? 2 : 3) + NBSP + "ms"; }
  if (unit === "rate") return number(value * 100, 1) + NBSP + "%";
  if (unit === "tokens/s") return number(value, 1) + NBSP + "tokens/s";
  return number(value, Number.isInteger(value) ? 0 : 2);
}
function ticks(low, high, count) {
  const raw = (high - low) / Math.max(1, count);
  if (!(raw > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((k) => k * power).find((k) => k >= raw);
  const out = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) out.push(Math.abs(v) < step * 1e-9 ? 0 : v);
  return out;
}
// Where all is emulated, the banner, the heading and each name say it: not each number.
const emuMini = () => DATA.throughout ? null : el("abbr", { class: "emu", title: "EMULATED: from a gateway profile, not from a provider" }, "EMU");

// ---- hints --------------------------------------------------------------------------------------
const tip = $("tip");
let tipOwner = null;
function showTip(target) {
  const text = target.getAttribute("data-tip");
  if (!text) return;
  tipOwner = target;
  tip.textContent = text;
  try { if (tip.matches(":popover-open")) tip.hidePopover(); tip.showPopover(); } catch { tip.style.display = "block"; }
  const box = target.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const left = Math.min(Math.max(6, box.left + box.width / 2 - own.width / 2), innerWidth - own.width - 6);
  const above = box.top - own.height - 8;
  tip.style.left = left + "px";
  tip.style.top = (above > 4 ? above : box.bottom + 8) + "px";
}
function hideTip() { tipOwner = null; try { tip.hidePopover(); } catch { tip.style.display = "none"; } }
for (const kind of ["mouseover", "focusin"]) document.addEventListener(kind, (event) => {
  const target = event.target.closest && event.target.closest("[data-tip]");
  if (target && target !== tipOwner) showTip(target);
  else if (!target && tipOwner) hideTip();
});
document.addEventListener("focusout", hideTip);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
addEventListener("scroll", () => { if (tipOwner) hideTip(); }, { passive: true });

// ---- theme --------------------------------------------------------------------------------------
function isDark() {
  const set = document.documentElement.dataset.theme;
  return set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
function nameTheme() { $("theme").textContent = isDark() ? "Light" : "Dark"; }
$("theme").addEventListener("click", () => {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try { localStorage.setItem("turnbench-theme", next); } catch { /* a file may not store */ }
  nameTheme();
});
nameTheme();

// ---- charts -------------------------------------------------------------------------------------
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "4 2", "12 4", "1 4", "6 2 2 2"];
const colour = (index) => `var(--c${index % 8})`;
const redraws = [];
function drawn(host, draw) {
  if (!host) return () => {};
  let width = 0;
  const paint = () => { width = Math.max(260, host.clientWidth); host.replaceChildren(draw(width)); };
  redraws.push(paint);
  if (typeof ResizeObserver !== "undefined") new ResizeObserver(() => { if (Math.abs(Math.max(260, host.clientWidth) - width) > 4) paint(); }).observe(host);
  paint();
  return paint;
}
function frame(width, height, box, x, xs, xText, y, ys, yText) {
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, "aria-hidden": "true" });
  for (const v of ys) {
    root.append(svg("line", { class: "grid", x1: box.left, x2: width - box.right, y1: y(v), y2: y(v) }));
    root.append(svg("text", { x: box.left - 8, y: y(v) + 4, "text-anchor": "end" }, yText(v)));
  }
  for (const v of xs) {
    root.append(svg("line", { class: "grid", x1: x(v), x2: x(v), y1: box.top, y2: height - box.bottom }));
    root.append(svg("text", { x: x(v), y: height - box.bottom + 16, "text-anchor": "middle" }, xText(v)));
  }
  root.append(svg("line", { class: "axisline", x1: box.left, x2: width - box.right, y1: height - box.bottom, y2: height - box.bottom }));
  return root;
}
const emulatedText = (x) => svg("text", { x, y: 12, "text-anchor": "end", class: "emulated-text" }, "EMULATED");
// A candidate's suffix says EMULATED already in the legend; charts keep the plain name.
const shortName = (index) => DATA.candidates[index].name;

let ecdfAt = null;
function drawEcdf(width) {
  const metric = DATA.ecdf[Number($("ecdf-metric").value) || 0];
  const log = $("ecdf-log").checked, height = width < 560 ? 300 : 380;
  const box = { left: 46, right: 14, top: 26, bottom: 40 };
  const all = metric.curves.flatMap((c) => c.x).concat(metric.target === null ? [] : [metric.target]);
  let low = Math.min(...all), high = Math.max(...all);
  if (!all.length) { low = 0; high = 1; }
  if (!log && low > 0 && low < high * 0.35) low = 0;
  if (log && low <= 0) low = high / 1000 || 1;
  if (high <= low) high = low + 1;
  const warp = log ? Math.log : (v) => v;
  const x = (v) => box.left + (warp(Math.max(v, log ? low : -Infinity)) - warp(low)) / (warp(high) - warp(low)) * (width - box.left - box.right);
  const y = (p) => height - box.bottom - p * (height - box.top - box.bottom);
  const xs = log ? [1, 2, 5].flatMap((k) => [...Array(12)].map((_, e) => k * 10 ** (e - 2))).filter((v) => v >= low && v <= high) : ticks(low, high, width / 110);
  const root = frame(width, height, box, x, xs, (v) => show(v, metric.unit), y, [0, 0.25, 0.5, 0.75, 0.95, 1], (p) => Math.round(p * 100) + NBSP + "%");
  metric.curves.forEach((curve) => {
    if (!curve.x.length) return;
    let path = `M${x(curve.x[0]).toFixed(1)},${y(0).toFixed(1)}`;
    curve.x.forEach((v, i) => { path += `H${x(v).toFixed(1)}V${y(curve.p[i]).toFixed(1)}`; });
    path += `H${width - box.right}`;
    root.append(svg("path", { d: path, fill: "none", stroke: colour(curve.c), "stroke-width": 2, "stroke-dasharray": DASHES[curve.c % 8] || null }));
  });
  let lx = box.left;
  if (metric.target !== null) {
    const tx = x(metric.target), left = tx > width - 140;
    root.append(svg("line", { class: "target", x1: tx, x2: tx, y1: box.top, y2: height - box.bottom }));
    root.append(svg("text", { class: "halo strong", x: tx + (left ? -6 : 6), y: box.top - 3, "text-anchor": left ? "end" : "start" }, `target ${show(metric.target, metric.unit)}`));
  }
  if (metric.emulated) root.append(emulatedText(width - box.right));
  root.append(svg("text", { x: lx, y: 12 }, "share of trials"));
  const lines = [];
  if (ecdfAt !== null) {
    const p = ecdfAt;
    root.append(svg("line", { class: "zero", x1: box.left, x2: width - box.right, y1: y(p), y2: y(p) }));
    for (const curve of metric.curves) {
      const i = curve.p.findIndex((q) => q >= p - 1e-12);
      const value = i < 0 ? null : curve.x[i];
      lines.push(`${shortName(curve.c)} ${value === null ? "timed out" : show(value, metric.unit)}`);
      if (value !== null) root.append(svg("circle", { cx: x(value), cy: y(p), r: 4, fill: colour(curve.c), stroke: "var(--bg)", "stroke-width": 1.5 }));
    }
  }
  $("ecdf-caption").textContent = ecdfAt === null ? "Move over the chart, or focus it and press ↑ ↓, to read percentiles." : `${number(ecdfAt * 100, 0)}${NBSP}% of trials were at least as fast as: ${lines.join(" · ")}`;
  root.addEventListener("pointermove", (event) => {
    const rect = root.getBoundingClientRect();
    const p = 1 - ((event.clientY - rect.top) * height / rect.height - box.top) / (height - box.top - box.bottom);
    const next = Math.min(1, Math.max(0.01, Math.round(p * 100) / 100));
    if (next !== ecdfAt) { ecdfAt = next; paintEcdf(); }
  });
  return root;
}
let paintEcdf = () => {};
function ecdfTable() {
  const metric = DATA.ecdf[Number($("ecdf-metric").value) || 0];
  // A percentile that no candidate's trials carry is said once, above.
  const all = metric.curves.length ? metric.curves[0].q.map((q) => q[0]) : [];
  const kept = all.map((_, k) => k).filter((k) => k === 0 || metric.curves.some((curve) => curve.q[k][3] !== "too-small"));
  const labels = kept.map((k) => all[k]);
  const table = el("table", { class: "plain" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Candidate"), ...labels.map((l) => el("th", { scope: "col" }, l)), el("th", { scope: "col", class: "num" }, "n"), el("th", { scope: "col", class: "num" }, "failed"))),
    el("tbody", {}, ...metric.curves.map((curve) => el("tr", {},
      el("th", { scope: "row" }, candidateMark(curve.c)),
      ...kept.map((k) => curve.q[k]).map(([, text, iv, state, emulated], k) => k && state === "too-small" ? el("td", { class: "state-too-small" }, "–") : el("td", {}, el("span", { class: "state-" + state }, text), emulated ? emuMini() : null, iv ? el("span", { class: "iv" }, " " + iv) : null)),
      el("td", { class: "num" }, String(curve.n)), el("td", { class: "num" }, String(curve.f))))));
  $("ecdf-table").replaceChildren(el("div", { class: "scroll" }, table));
}
function candidateMark(index) {
  const line = svg("svg", { width: 26, height: 8, "aria-hidden": "true" });
  line.append(svg("line", { x1: 0, x2: 26, y1: 4, y2: 4, stroke: colour(index), "stroke-width": 2.5, "stroke-dasharray": DASHES[index % 8] || null }));
  return el("span", { class: "cand" }, line, el("span", {}, DATA.candidates[index].name));
}
if ($("ecdf")) {
  paintEcdf = drawn($("ecdf"), drawEcdf);
  ecdfTable();
  $("ecdf-metric").addEventListener("change", () => { paintEcdf(); ecdfTable(); });
  $("ecdf-log").addEventListener("change", paintEcdf);
  $("ecdf").addEventListener("pointerleave", () => { ecdfAt = null; paintEcdf(); });
  $("ecdf").addEventListener("keydown", (event) => {
    const step = { ArrowUp: 0.01, ArrowDown: -0.01, PageUp: 0.1, PageDown: -0.1 }[event.key];
    if (!step) return;
    event.preventDefault();
    ecdfAt = Math.min(1, Math.max(0.01, Math.round(((ecdfAt ?? 0.5) + step) * 100) / 100));
    paintEcdf();
  });
}

function drawPaired(comparison) {
  return (width) => {
    const points = comparison.points, rowHeight = points.length > 40 ? 9 : 13;
    const box = { left: 20, right: 20, top: 24, bottom: 46 }, height = box.top + box.bottom + points.length * rowHeight;
    const values = points.map((p) => p[1]).concat([0, comparison.low, comparison.high].filter((v) => v !== null));
    let low = Math.min(...values), high = Math.max(...values);
    const pad = (high - low || 1) * 0.05; low -= pad; high += pad;
    const x = (v) => box.left + (v - low) / (high - low) * (width - box.left - box.right);
    const root = frame(width, height, box, x, ticks(low, high, width / 120), (v) => (v > 0 ? "+" : "") + show(v, comparison.unit), () => 0, [], String);
    if (comparison.low !== null && comparison.high !== null) root.append(svg("rect", { x: x(comparison.low), width: Math.max(1, x(comparison.high) - x(comparison.low)), y: box.top, height: height - box.top - box.bottom, fill: "var(--accent)", "fill-opacity": 0.16 }));
    if (comparison.point !== null) root.append(svg("line", { x1: x(comparison.point), x2: x(comparison.point), y1: box.top, y2: height - box.bottom, stroke: "var(--accent)", "stroke-width": 2 }));
    root.append(svg("line", { class: "zero", x1: x(0), x2: x(0), y1: box.top - 6, y2: height - box.bottom }));
    root.append(svg("text", { x: box.left, y: height - 8 }, "← lower"), svg("text", { x: width - box.right, y: height - 8, "text-anchor": "end" }, "higher →"));
    if (comparison.emulated) root.append(emulatedText(width - box.right));
    points.forEach(([name, value], i) => {
      const cy = box.top + (i + 0.5) * rowHeight;
      root.append(svg("line", { x1: x(0), x2: x(value), y1: cy, y2: cy, stroke: "var(--line-strong)" }));
      root.append(svg("circle", { cx: x(value), cy, r: 3.5, fill: value <= 0 ? "var(--c0)" : "var(--c1)", "data-tip": `${name}: ${value > 0 ? "+" : ""}${show(value, comparison.unit)}` }));
    });
    return root;
  };
}
for (const host of document.querySelectorAll("[data-paired]")) drawn(host, drawPaired(DATA.paired[Number(host.dataset.paired)]));

function drawPareto(width) {
  const points = DATA.pareto, height = 320, box = { left: 52, right: 24, top: 24, bottom: 46 };
  const span = (key) => { const all = points.flatMap((p) => [p[key].v, p[key].l, p[key].h]).filter((v) => v !== null); const high = Math.max(...all), low = Math.min(...all); const pad = (high - low || Math.abs(high) || 1) * 0.2; return [Math.max(0, low - pad), high + pad]; };
  const [x0, x1] = span("x"), [y0, y1] = span("y");
  const x = (v) => box.left + (v - x0) / (x1 - x0) * (width - box.left - box.right);
  const y = (v) => height - box.bottom - (v - y0) / (y1 - y0) * (height - box.top - box.bottom);
  const root = frame(width, height, box, x, ticks(x0, x1, width / 110), (v) => show(v, "ms"), y, ticks(y0, y1, 5), (v) => show(v, "rate"));
  root.append(svg("text", { x: box.left, y: 12 }, "WER ↓ better"), svg("text", { x: width - box.right, y: height - 8, "text-anchor": "end" }, `← faster · ${DATA.latency}, p50`));
  const taken = [];
  if (points.some((p) => DATA.candidates[p.c].emulated)) root.append(emulatedText(width - box.right));
  for (const p of points) {
    const c = colour(p.c), px = x(p.x.v), py = y(p.y.v);
    if (p.x.l !== null && p.x.h !== null) root.append(svg("line", { x1: x(p.x.l), x2: x(p.x.h), y1: py, y2: py, stroke: c, "stroke-width": 2, "stroke-opacity": 0.55 }));
    if (p.y.l !== null && p.y.h !== null) root.append(svg("line", { x1: px, x2: px, y1: y(p.y.l), y2: y(p.y.h), stroke: c, "stroke-width": 2, "stroke-opacity": 0.55 }));
    if (p.front) root.append(svg("circle", { cx: px, cy: py, r: 9, fill: "none", stroke: c, "stroke-width": 1.5 }));
    root.append(svg("circle", { cx: px, cy: py, r: 5, fill: c, "data-tip": p.tip }));
    const name = DATA.candidates[p.c].name, length = name.length * 6.6 + 8;
    const right = px + 12 + length > width, from = right ? px - 12 - length : px + 12;
    let ly = py - 12;
    if (width < 560) continue;
    while (taken.some(([a, b, ty]) => Math.abs(ty - ly) < 14 && a < from + length && from < b)) ly -= 14;
    taken.push([from, from + length, ly]);
    root.append(svg("text", { x: px + (right ? -12 : 12), y: ly, "text-anchor": right ? "end" : "start", class: "strong halo" }, DATA.candidates[p.c].name));
  }
  return root;
}
if ($("pareto")) {
  drawn($("pareto"), drawPareto);
  $("pareto-legend").append(...DATA.pareto.map((p) => el("span", { class: `cand c${p.c % 8}`, style: null }, el("i", { class: "dot", "aria-hidden": "true" }), el("span", {}, DATA.candidates[p.c].name))));
}

// ---- the table of trials ------------------------------------------------------------------------
const T = DATA.trials, BASE = 4, PAGE = 50;
const indexOf = new Map(T ? T.id.map((id, i) => [id, i]) : []);
let sortKey = null, sortDown = false, limit = PAGE, shownRows = [];
const columns = T ? [
  { name: "Trial", get: (i) => T.id[i] }, { name: "Candidate", get: (i) => DATA.candidates[T.c[i]].name },
  { name: "Utterance", get: (i) => T.u[i] }, { name: "Outcome", get: (i) => T.f[i] || T.s[i] },
  ...DATA.metrics.map((m, k) => ({ name: m.name, metric: m, get: (i) => T.v[k][i] })),
  { name: "Tags", get: (i) => T.tags[T.g[i]].join(", ") },
] : [];
function option(value, text) { return el("option", { value }, text); }
function fill(id, label, values) {
  $(id).replaceChildren(option("", label), ...values.map((v) => option(v, v)));
  if (values.length < 2) $(id).closest("label").hidden = true;
}
const distinct = (values) => [...new Set(values.filter((v) => v !== ""))].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
function compareValues(a, b) {
  const none = (v) => v === null || v === undefined || v === "";
  if (none(a) || none(b)) return none(a) - none(b);
  return typeof a === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
}
function select() {
  const text = $("f-text").value.trim().toLowerCase();
  const want = { c: $("f-candidate").value, v: $("f-voice").value, u: $("f-utterance").value, g: $("f-tag").value, o: $("f-outcome").value };
  const rows = [];
  for (let i = 0; i < T.id.length; i += 1) {
    const candidate = DATA.candidates[T.c[i]], tags = T.tags[T.g[i]];
    if (want.c && candidate.name !== want.c) continue;
    if (want.v && candidate.voice !== want.v) continue;
    if (want.u && T.u[i] !== want.u) continue;
    if (want.g && !tags.includes(want.g)) continue;
    if (want.o && T.s[i] !== want.o && T.f[i] !== want.o) continue;
    if (text && !`${T.id[i]} ${T.u[i]} ${tags.join(" ")} ${T.f[i]} ${T.n[i] || ""} ${candidate.name}`.toLowerCase().includes(text)) continue;
    rows.push(i);
  }
  if (sortKey !== null) {
    const get = columns[sortKey].get;
    rows.sort((a, b) => {
      const left = get(a), right = get(b), none = (v) => v === null || v === undefined || v === "";
      // What has no value stays last in both directions.
      if (none(left) || none(right)) return none(left) - none(right) || a - b;
      return (sortDown ? -1 : 1) * compareValues(left, right) || a - b;
    });
  }
  return rows;
}
function rowOf(i) {
  const status = T.s[i];
  return el("tr", { "data-trial": T.id[i] },
    el("th", { scope: "row" }, el("a", { href: "#trial-" + T.id[i] }, T.id[i])),
    el("td", {}, el("span", { class: `cand c${T.c[i] % 8}` }, el("i", { class: "dot", "aria-hidden": "true" }), el("span", {}, DATA.candidates[T.c[i]].name))),
    el("td", {}, T.u[i]),
    el("td", {}, el("span", { class: "pill " + status, "data-tip": T.n[i] || null }, T.f[i] ? "failed: " + T.f[i] : status)),
    ...DATA.metrics.map((m, k) => el("td", { class: "num" }, show(T.v[k][i], m.unit), m.emulated && T.v[k][i] !== null ? emuMini() : null)),
    el("td", { class: "tags", "data-tip": T.tags[T.g[i]].join("\n") }, T.tags[T.g[i]].join(", ")));
}
function renderTrials() {
  shownRows = select();
  const body = $("trial-table").tBodies[0];
  body.replaceChildren(...shownRows.slice(0, limit).map(rowOf));
  $("shown").textContent = `${Math.min(limit, shownRows.length)} of ${shownRows.length} shown, ${T.id.length} in the run`;
  $("more").hidden = limit >= shownRows.length;
  $("trial-table").tHead.rows[0].querySelectorAll("th").forEach((th, k) => th.setAttribute("aria-sort", k === sortKey ? (sortDown ? "descending" : "ascending") : "none"));
}
if (T && $("trial-table")) {
  $("trial-table").tHead.rows[0].append(...columns.map((column, k) => el("th", { scope: "col", class: column.metric ? "num" : null, "aria-sort": "none" }, el("button", { type: "button", onclick: () => { if (sortKey === k) sortDown = !sortDown; else { sortKey = k; sortDown = false; } renderTrials(); } }, column.name))));
  fill("f-candidate", "all", DATA.candidates.map((c) => c.name));
  fill("f-voice", "all", distinct(DATA.candidates.map((c) => c.voice)));
  fill("f-utterance", "all", distinct(T.u));
  fill("f-tag", "all", distinct(T.tags.flat()));
  fill("f-outcome", "all", distinct([...T.s, ...T.f]));
  for (const id of ["f-candidate", "f-voice", "f-utterance", "f-tag", "f-outcome"]) $(id).addEventListener("change", () => { limit = PAGE; renderTrials(); });
  $("f-text").addEventListener("input", () => { limit = PAGE; renderTrials(); });
  $("f-clear").addEventListener("click", () => { for (const id of ["f-text", "f-candidate", "f-voice", "f-utterance", "f-tag", "f-outcome"]) $(id).value = ""; limit = PAGE; renderTrials(); });
  $("more").addEventListener("click", () => { limit += limit < 500 ? PAGE * 3 : 1000; renderTrials(); });
  $("trial-table").tBodies[0].addEventListener("click", (event) => { const row = event.target.closest("tr"); if (row && !event.target.closest("a")) location.hash = "trial-" + row.dataset.trial; });
  renderTrials();
}

// ---- one trial ----------------------------------------------------------------------------------
const chunks = new Map();
async function details(index) {
  const which = Math.floor(index / DATA.chunk);
  if (!chunks.has(which)) {
    const packed = Uint8Array.from(atob(document.querySelectorAll("script.chunk")[which].textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    chunks.set(which, JSON.parse(await new Response(stream).text()));
  }
  return chunks.get(which)[index % DATA.chunk];
}
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
function wave(root, data, x0, x1, middle, half, cls) {
  if (!data.length || x1 - x0 < 2) { root.append(svg("rect", { class: cls, x: x0, width: Math.max(1, x1 - x0), y: middle - half * 0.5, height: half, "fill-opacity": 0.35, rx: 2 })); return; }
  const count = Math.max(1, Math.floor((x1 - x0) / 3));
  let path = "";
  for (let k = 0; k < count; k += 1) {
    const first = Math.floor(k * data.length / count), last = Math.max(first + 1, Math.floor((k + 1) * data.length / count));
    let peak = 0;
    for (let j = first; j < last; j += 1) peak = Math.max(peak, data[j]);
    const h = Math.max(0.75, peak / 255 * half);
    path += `M${(x0 + (k + 0.5) / count * (x1 - x0)).toFixed(1)},${(middle - h).toFixed(1)}v${(2 * h).toFixed(1)}`;
  }
  root.append(svg("path", { class: cls, d: path, "stroke-width": 2, "stroke-linecap": "round" }));
}
function turnChart(turn, host, view) {
  const paint = (width) => {
    const narrow = width < 560, box = { left: narrow ? 8 : 92, right: 14, top: 30, bottom: 30 };
    const response = turn.b.length ? turn.b[turn.b.length - 1][4] : null;
    const reqs = turn.q.filter((q) => q.a !== null);
    const lanes = [["speech", "User", 46], ["text", "Transcripts", 30], ...(turn.b.length ? [["bars", "Response", 30]] : []), ...reqs.map((q) => [q, (q.s || "").toUpperCase() + (q.x ? " (cancelled)" : ""), 26]), ["reply", "Reply", 46]];
    const ends = [0, ...(response === null ? [] : [response]), ...turn.x.map((t) => t[2]), ...(turn.r ? turn.r.g.map((g) => g[1]) : []), ...reqs.map((q) => q.e ?? q.a)];
    const starts = [turn.s ? turn.s[0] : 0, 0];
    let low = Math.min(...starts), high = Math.max(...ends, turn.e ?? 0);
    if (view.zoom && response !== null) { low = -Math.max(250e3, response * 0.25); high = response * 1.3 + 200e3; }
    if (high <= low) high = low + 1e6;
    const pad = (high - low) * 0.02; low -= pad; high += pad;
    const step = narrow ? 15 : 0, height = box.top + box.bottom + lanes.reduce((sum, l) => sum + l[2] + 6 + step, 0);
    const x = (v) => box.left + (v - low) / (high - low) * (width - box.left - box.right);
    const clip = (v) => Math.min(Math.max(x(v), box.left), width - box.right);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": "Time axis of the turn; the tables below hold the same numbers" });
    for (const v of ticks(low, high, width / 100)) {
      root.append(svg("line", { class: "grid", x1: x(v), x2: x(v), y1: box.top, y2: height - box.bottom }));
      root.append(svg("text", { x: x(v), y: height - box.bottom + 16, "text-anchor": "middle" }, show(v, "us")));
    }
    let y = box.top;
    for (const [lane, label, h] of lanes) {
      if (narrow) { root.append(svg("text", { x: box.left, y: y + 11 }, label)); y += step; } else root.append(svg("text", { x: box.left - 10, y: y + h / 2 + 4, "text-anchor": "end" }, label));
      const middle = y + h / 2;
      if (lane === "speech" && turn.s) { const peaks = bytes(turn.w), a = turn.s[0], b = turn.s[1]; const from = Math.max(a, low), to = Math.min(b, high); if (to > from) wave(root, peaks.slice(Math.floor((from - a) / (b - a) * peaks.length), Math.ceil((to - a) / (b - a) * peaks.length)), x(from), x(to), middle, h / 2 - 2, "lane-speech"); }
      if (lane === "text") for (const [kind, text, at, late] of turn.x) if (at >= low && at <= high) { const g = svg("g", { "data-tip": `${late ? "late " : ""}${kind} at ${show(at, "us")}\n${text}` }); g.append(svg("rect", { x: x(at) - 5, y, width: 10, height: h, fill: "transparent" }), svg("line", { class: `tx ${kind}${late ? " late" : ""}`, x1: x(at), x2: x(at), y1: y + 3, y2: y + h - 3 }), svg("circle", { cx: x(at), cy: y + 4, r: 3, fill: kind === "final" ? "var(--ink)" : "var(--faint)" })); root.append(g); }
      if (lane === "bars") for (const [name, stage, kind, a, b] of turn.b) {
        const xa = clip(a), xb = clip(b);
        const fill = kind === "unattributed" ? "var(--none)" : `var(--${stage || "harness"})`;
        root.append(svg("rect", { x: xa, width: Math.max(0.75, xb - xa), y: y + 2, height: h - 4, fill, "fill-opacity": kind === "wait" ? 0.5 : kind === "client" ? 0.75 : 1, stroke: kind === "client" || kind === "unattributed" ? "var(--ink)" : "none", "stroke-width": 0.75, "stroke-dasharray": kind === "unattributed" ? "2 2" : null, "data-tip": `${name}\n${show(b - a, "us")} · ${kind} · ${show(a, "us")} to ${show(b, "us")}` }));
      }
      if (typeof lane === "object") {
        const stage = lane.s || "harness", a = clip(lane.a), b = clip(lane.e ?? lane.a);
        root.append(svg("rect", { class: "req", x: a, width: Math.max(1.5, b - a), y: y + 3, height: h - 6, rx: 2, fill: `var(--${stage})`, stroke: `var(--${stage})`, "stroke-dasharray": lane.x ? "3 2" : null, "data-tip": `${lane.i} · ${lane.c}\n${show(lane.a, "us")} to ${lane.e === null ? "no end" : show(lane.e, "us")}\n${lane.t.length} pieces${lane.f ? "\n" + lane.f : ""}` }));
        for (const at of lane.t) if (at >= low && at <= high) root.append(svg("line", { class: "tok", style: `stroke:var(--${stage})`, x1: x(at), x2: x(at), y1: y + 5, y2: y + h - 5, "pointer-events": "none" }));
      }
      if (lane === "reply" && turn.r) {
        const peaks = bytes(turn.r.p), total = turn.r.g.reduce((sum, g) => sum + g[1] - g[0], 0);
        let done = 0;
        for (const [a, b] of turn.r.g) {
          const from = Math.max(a, low), to = Math.min(b, high), share = (v) => Math.round((done + v - a) / total * peaks.length);
          if (to > from) wave(root, peaks.slice(share(from), Math.max(share(to), share(from) + 1)), x(from), x(to), middle, h / 2 - 2, "lane-reply");
          done += b - a;
        }
        view.lane = { y, h };
      }
      y += h + 6;
    }
    root.append(svg("line", { class: "zero", x1: x(0), x2: x(0), y1: box.top - 6, y2: height - box.bottom }));
    root.append(svg("text", { x: x(0) + (narrow ? 2 : 0), y: 14, "text-anchor": narrow ? "start" : "middle", class: "strong halo" }, "speech ends"));
    if (response !== null) {
      root.append(svg("line", { class: "zero", x1: x(response), x2: x(response), y1: box.top - 6, y2: height - box.bottom }));
      root.append(svg("text", { x: Math.min(x(response), width - 70), y: x(response) - x(0) < 150 ? 27 : 14, "text-anchor": "middle", class: "strong halo" }, `first sound ${show(response, "us")}`));
    }
    if (view.cursor !== null && view.cursor >= low && view.cursor <= high) root.append(svg("line", { class: "cursor", x1: x(view.cursor), x2: x(view.cursor), y1: box.top, y2: height - box.bottom }));
    return root;
  };
  return drawn(host, paint);
}
function simpleTable(title, header, rows) {
  if (!rows.length) return null;
  // Figures stand right, so that their digits meet.
  const right = header.map((_, k) => k > 0 && rows.every((row) => /^([\u2212+\d][\d\s.]*(ms|s)?|\u2013)$/.test(row[k])));
  const cls = (k) => (right[k] ? { class: "num" } : {});
  return el("div", {}, el("h3", {}, title), el("div", { class: "scroll" }, el("table", { class: "plain" }, el("thead", {}, el("tr", {}, ...header.map((h, k) => el("th", { scope: "col", ...cls(k) }, h)))), el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((v, k) => el(k ? "td" : "th", k ? cls(k) : { scope: "row" }, v))))))));
}
function diffView(pieces) {
  const mark = { substituted: ["≠", "heard as"], deleted: ["−", "not heard"], inserted: ["+", "added"] };
  return el("div", { class: "diff" }, ...pieces.map(([kind, ref, heard]) => {
    const sign = mark[kind] ? el("i", { "aria-label": mark[kind][1] }, mark[kind][0]) : null;
    return el("span", { class: "w " + kind }, el("span", { class: "ref" }, kind === "inserted" ? sign : ref), el("span", { class: "hyp" }, ...(kind === "inserted" ? [heard] : [sign, heard]).filter(Boolean)));
  }));
}
function turnView(turn, trial, index) {
  const parts = [], view = { zoom: turn.b.length > 0, cursor: null, lane: null };
  const host = el("div", { class: "chart" }), toggle = el("button", { class: "button", type: "button", "aria-pressed": "false" }, "Whole turn");
  toggle.hidden = !turn.b.length;
  const box = el("div", {}, el("div", { class: "controls" }, toggle), host);
  parts.push(box);
  // A link may only lead to a file beside the page.
  const linked = turn.r && turn.r.o && !/^([a-z][a-z0-9+.-]*:|[\\/]{2})/i.test(turn.r.o.trim()) ? DATA.audio + turn.r.o : "";
  const source = AUDIO[`${trial}.${index}`] || linked;
  let player = null;
  if (source) {
    player = el("audio", { controls: true, preload: AUDIO[`${trial}.${index}`] ? "auto" : "none", src: source });
    parts.push(el("div", {}, el("h3", {}, "Reply, as it was played"), player));
  }
  queueMicrotask(() => {
    const paint = turnChart(turn, host, view);
    toggle.addEventListener("click", () => { view.zoom = !view.zoom; toggle.setAttribute("aria-pressed", String(!view.zoom)); paint(); });
    if (player) player.addEventListener("timeupdate", () => {
      let left = player.currentTime * 1e6; view.cursor = null;
      for (const [a, b] of turn.r.g) { if (left <= b - a) { view.cursor = a + left; break; } left -= b - a; }
      paint();
    });
  });
  if (turn.d.length) parts.push(el("div", {}, el("h3", {}, "Said, and below it heard"), diffView(turn.d)));
  if (turn.y) parts.push(el("div", {}, el("h3", {}, "The reply's text"), el("p", {}, turn.y)));
  parts.push(simpleTable("Response, part by part (from the end of speech)", ["Part", "Stage", "Spent by", "From", "To", "Length"], turn.b.map(([name, stage, kind, a, b]) => [name, stage || DASH, kind, show(a, "us"), show(b, "us"), show(b - a, "us")])));
  parts.push(simpleTable("Transcripts", ["Kind", "At", "Text"], turn.x.map(([kind, text, at, late]) => [(late ? "late " : "") + kind, show(at, "us"), text])));
  parts.push(simpleTable("Requests", ["Request", "Cause", "From", "To", "Pieces", "What was said of it"], turn.q.map((q) => [`${q.i}${q.x ? " (cancelled)" : ""}`, q.c + (q.p ? ` of ${q.p}` : ""), show(q.a, "us"), show(q.e, "us"), String(q.t.length), [q.f ? "failed: " + q.f : null, ...q.l.map(([k, v]) => `${k}: ${v}`)].filter(Boolean).join(" · ")])));
  parts.push(simpleTable("Marks", ["Mark", "From the end of speech"], turn.m.map(([name, at]) => [name, show(at, "us")])));
  parts.push(simpleTable("LiveKit's own numbers beside ours", ["Number", "LiveKit", "turnbench"], turn.o));
  return parts.filter(Boolean);
}
let openId = null, returnTo = null;
async function openTrial(id) {
  const index = indexOf.get(id), panel = $("panel");
  if (index === undefined) return;
  openId = id;
  const candidate = DATA.candidates[T.c[index]];
  $("panel-title").replaceChildren(`Trial ${id} · ${T.u[index]}`);
  const body = $("panel-body");
  const summary = el("dl", { class: "sum" }, el("div", {}, el("dt", {}, "Candidate"), el("dd", {}, candidate.name)), el("div", {}, el("dt", {}, "Outcome"), el("dd", {}, T.f[index] ? "failed: " + T.f[index] : T.s[index])), ...DATA.metrics.map((m, k) => el("div", {}, el("dt", {}, m.name), el("dd", {}, show(T.v[k][index], m.unit), m.emulated && T.v[k][index] !== null ? emuMini() : null))));
  body.replaceChildren(summary);
  if (!panel.open) { returnTo = document.activeElement; panel.showModal(); }
  panel.scrollTop = 0;
  const order = shownRows.length && shownRows.includes(index) ? shownRows : T.id.map((_, i) => i);
  const at = order.indexOf(index);
  for (const [button, to] of [[$("prev"), order[at - 1]], [$("next"), order[at + 1]]]) { button.disabled = to === undefined; button.onclick = () => { location.hash = "trial-" + T.id[to]; }; }
  if (typeof DecompressionStream === "undefined") { body.append(el("p", { class: "notice warn" }, "This browser cannot unpack the details (DecompressionStream is missing): use one from 2023 or later.")); return; }
  let found;
  try { found = await details(index); } catch (error) { body.append(el("p", { class: "notice" }, "The details of this trial cannot be read: " + error.message)); return; }
  if (openId !== id) return;
  if (T.n[index]) body.append(el("p", { class: "notice" + (T.s[index] === "failed" ? "" : " warn") }, T.n[index]));
  found.t.forEach((turn, k) => { if (found.t.length > 1) body.append(el("h2", {}, `Turn ${k + 1}`)); body.append(...turnView(turn, id, k)); });
  if (found.f.length) body.append(el("div", {}, el("h3", {}, "Health and settings of this trial"), el("dl", { class: "facts" }, ...found.f.flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)]))));
  body.dataset.trial = id;
}
function follow() {
  const match = /^#trial-(.+)$/.exec(decodeURIComponent(location.hash));
  if (match) openTrial(match[1]);
  else if ($("panel").open) $("panel").close();
}
$("panel").addEventListener("close", () => {
  openId = null;
  $("panel-body").querySelectorAll("audio").forEach((a) => a.pause());
  if (location.hash.startsWith("#trial-")) history.replaceState(null, "", location.pathname + location.search + "#trials");
  if (returnTo && returnTo.isConnected) returnTo.focus({ preventScroll: true });
});
$("close").addEventListener("click", () => $("panel").close());
$("panel").addEventListener("click", (event) => { if (event.target === $("panel")) $("panel").close(); });
$("panel").addEventListener("keydown", (event) => {
  if (event.target.closest("audio, input, select")) return;
  if (event.key === "ArrowLeft" && !$("prev").disabled) $("prev").click();
  if (event.key === "ArrowRight" && !$("next").disabled) $("next").click();
});
addEventListener("hashchange", follow);
follow();
document.documentElement.dataset.ready = "1";
