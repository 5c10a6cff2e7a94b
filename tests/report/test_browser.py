"""The page in a real browser: it errs nowhere, asks for nothing, runs nothing of others."""

import io
import re
import wave
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from harness.report.charts import draw_charts
from harness.report.html import AudioClip, render_html
from harness.report.trial_view import TrialStatus
from harness.report.view import ReportView
from tests.report.conftest import VIEW, Opener
from tests.report.samples import HOSTILE

pytestmark = pytest.mark.browser


def make_clip(seconds: float = 0.4) -> AudioClip:
    """Return a short tone as a WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8_000)
        samples = (8_000 if k // 10 % 2 else -8_000 for k in range(round(8_000 * seconds)))
        out.writeframes(b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples))
    return AudioClip(media_type="audio/wav", data=buffer.getvalue())


def column(page: Page, number: int) -> list[str]:
    """Return the texts of a column of the trial table."""
    cells = page.locator(f"#trial-table tbody tr > :nth-child({number})").all_inner_texts()
    return [cell.replace("EMU", "").strip() for cell in cells]


def value_of(text: str) -> float:
    """Return the milliseconds of a cell."""
    return float(text.replace("\u00a0ms", "").replace("\u202f", "").replace("−", "-"))


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens(opened: Opener, width: int, scheme: str) -> None:
    """At desk and phone width, light and dark: no error, no request, nothing too wide."""
    page, _ = opened(width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    expect(page.locator("h1")).to_contain_text("sooner than")
    expect(page.locator(".emulated-banner")).to_contain_text("EMULATED")
    expect(page.locator("#ecdf svg")).to_be_visible()
    expect(page.locator("#pareto svg")).to_be_visible()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(15, 18, 22)")


def test_the_theme_is_switched_and_kept(opened: Opener) -> None:
    """The button turns light into dark and back; the choice outlives a reload."""
    page, _ = opened()
    button = page.locator("#theme")
    expect(button).to_have_text("Dark")
    button.click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 18, 22)"
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_sorting_by_the_keyboard(opened: Opener) -> None:
    """A header sorts up, then down; what has no value comes last both ways; aria-sort says it."""
    page, _ = opened()
    header = page.locator("#trial-table thead th", has_text="Voice-to-voice")
    for key, state in (("Enter", "ascending"), ("Space", "descending")):
        header.locator("button").focus()
        page.keyboard.press(key)
        expect(header).to_have_attribute("aria-sort", state)
        texts = column(page, 5)
        values = [value_of(text) for text in texts if text != "–"]
        assert values == sorted(values, reverse=state == "descending")
        assert len(values) == 50
    while page.locator("#more").is_visible():
        page.locator("#more").click()
    texts = column(page, 5)
    assert len(texts) == len(VIEW.trials)
    first_missing = texts.index("–")
    assert set(texts[first_missing:]) == {"–"}


def test_filtering(opened: Opener) -> None:
    """Candidate, voice, utterance, tag, outcome and text narrow the table, together, and clear."""
    page, _ = opened()
    page.select_option("#f-candidate", VIEW.candidates[0].name)
    assert set(column(page, 2)) == {VIEW.candidates[0].name.strip()} or all(
        VIEW.candidates[0].name in text for text in column(page, 2)
    )
    page.select_option("#f-utterance", "u03")
    expected = [t for t in VIEW.trials if t.candidate == 0 and t.utterance == "u03"]
    assert len(column(page, 1)) == len(expected)
    page.locator("#f-clear").click()
    page.select_option("#f-voice", "rms")
    assert page.locator("#shown").inner_text().startswith("50 of 80")
    page.locator("#f-clear").click()
    page.select_option("#f-outcome", "failed")
    failed = [t for t in VIEW.trials if t.status is TrialStatus.FAILED]
    assert sorted(column(page, 1)) == sorted(t.id for t in failed)
    page.locator("#f-clear").click()
    page.select_option("#f-tag", "noise: street")
    page.fill("#f-text", "U07")
    expected = [t for t in VIEW.trials if "noise: street" in t.tags and t.utterance == "u07"]
    assert sorted(column(page, 1)) == sorted(t.id for t in expected)
    page.fill("#f-text", "no such thing")
    expect(page.locator("#shown")).to_contain_text("0 of 0")


def test_a_trial_opens_and_closes(opened: Opener) -> None:
    """A row opens the trial's panel, Escape closes it, and the focus comes back to the row."""
    page, _ = opened()
    page.locator("#trial-table tbody a", has_text="t00012").focus()
    page.keyboard.press("Enter")
    panel = page.locator("#panel")
    expect(panel).to_be_visible()
    expect(page.locator("#panel-title")).to_contain_text("t00012")
    body = page.locator("#panel-body[data-trial='t00012']")
    for text in ("LLM first text", "Transcripts", "req_0000000c", "speech_end", "LiveKit"):
        expect(body).to_contain_text(text)
    assert body.locator("svg .tok").count() > 20
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page).to_have_url(re.compile("#trials$"))
    expect(page.locator("#trial-table tbody a", has_text="t00012")).to_be_focused()


def test_a_link_leads_to_a_trial(opened: Opener) -> None:
    """The address of a trial opens it with the page; next and previous walk the table."""
    page, _ = opened(fragment="#trial-t00013")
    expect(page.locator("#panel-title")).to_contain_text("t00013")
    page.locator("#next").click()
    expect(page.locator("#panel-title")).to_contain_text("t00014")
    page.locator("#panel-title").click()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#panel-title")).to_contain_text("t00013")
    page.evaluate("location.hash = '#trial-t00099'")
    expect(page.locator("#panel-title")).to_contain_text("t00099")


def test_an_unknown_trial_opens_nothing(opened: Opener) -> None:
    """A link to a trial that is not there leaves the page as it is."""
    page, _ = opened(fragment="#trial-%3Cimg%20src=x%20onerror=alert(1)%3E")
    expect(page.locator("#panel")).to_be_hidden()


def test_the_waveform_lies_at_its_marks(opened: Opener) -> None:
    """On the time axis the user's speech ends at 0 and the reply begins at its first sample."""
    trial = next(t for t in VIEW.trials if t.turns[0].bars and t.turns[0].reply)
    page, _ = opened(fragment=f"#trial-{trial.id}")
    zero = float(page.locator("#panel-body svg line.zero").first.get_attribute("x1") or "nan")
    heard = float(page.locator("#panel-body svg line.zero").nth(1).get_attribute("x1") or "nan")
    speech = page.locator("#panel-body svg .lane-speech").evaluate(
        "e => e.getBBox().x + e.getBBox().width"
    )
    reply = page.locator("#panel-body svg .lane-reply").evaluate("e => e.getBBox().x")
    assert abs(speech - zero) < 4
    assert -20 < reply - heard < 4


def test_embedded_audio_plays(opened: Opener) -> None:
    """A reply that is embedded plays in the page without a request."""
    trial = next(t for t in VIEW.trials if t.turns[0].reply)
    text = render_html(VIEW, audio={(trial.id, 0): make_clip()})
    page, _ = opened(text=text, fragment=f"#trial-{trial.id}")
    page.wait_for_selector("#panel-body audio")
    page.locator("#panel-body audio").evaluate(
        """a => { a.muted = true;
        return new Promise((done) => { a.addEventListener("ended", done); a.play(); }); }"""
    )
    assert page.locator("#panel-body audio").evaluate("a => a.error") is None


def test_linked_audio_is_relative(opened: Opener) -> None:
    """A reply that is not embedded is linked beside the page and fetched only when played."""
    trial = next(t for t in VIEW.trials if t.turns[0].reply and t.turns[0].reply.audio)
    page, _ = opened(fragment=f"#trial-{trial.id}")
    audio = page.locator("#panel-body audio")
    assert trial.turns[0].reply is not None
    assert audio.get_attribute("src") == trial.turns[0].reply.audio
    assert audio.get_attribute("preload") == "none"


def test_the_distribution_is_read_by_keyboard(opened: Opener) -> None:
    """The metric can be changed, and arrow keys move the reading line through percentiles."""
    page, _ = opened()
    page.select_option("#ecdf-metric", "3")
    expect(page.locator("#ecdf-table")).to_contain_text("p95")
    page.locator("#ecdf").focus()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#ecdf-caption")).to_contain_text("51")
    page.locator("#ecdf-log").check()
    expect(page.locator("#ecdf svg")).to_be_visible()


def test_a_hint_explains_a_number(opened: Opener) -> None:
    """Focusing a number shows n, failures and method; Escape hides it."""
    page, _ = opened()
    page.locator(".headline .v[data-tip]").first.focus()
    expect(page.locator("#tip")).to_contain_text("n = ")
    expect(page.locator("#tip")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#tip")).to_be_hidden()


def hostile_view() -> ReportView:
    """Return a view whose every text of a provider or a dataset tries to run something."""
    image = '"><img src=x onerror="window.pwned=1">'
    trials = []
    for trial in VIEW.trials[:12]:
        turn = trial.turns[0]
        trials.append(
            replace(
                trial,
                utterance=f"u{image}",
                note=HOSTILE,
                failure=f"llm · {image}",
                tags=(image, HOSTILE),
                facts=((image, HOSTILE),),
                turns=(
                    replace(
                        turn,
                        reply_text=HOSTILE,
                        transcripts=tuple(replace(t, text=HOSTILE) for t in turn.transcripts),
                        requests=tuple(
                            replace(r, text=image, failure=HOSTILE, lines=((HOSTILE, image),))
                            for r in turn.requests
                        ),
                        reply=None
                        if turn.reply is None
                        else replace(turn.reply, audio="javascript:window.pwned=1"),
                        reported=((image, HOSTILE, image),),
                    ),
                ),
            )
        )
    return replace(
        VIEW,
        title=HOSTILE,
        answer=image,
        support=(HOSTILE,),
        subtitle=(image,),
        emulated=HOSTILE,
        candidates=tuple(
            replace(
                each, name=f"{each.name}{image}{HOSTILE}", voice=image, stages=((image, image),)
            )
            for each in VIEW.candidates
        ),
        failures=tuple(replace(each, message=HOSTILE, kind=image) for each in VIEW.failures),
        word_errors=tuple(
            replace(each, trial=VIEW.trials[3].id, utterance=image) for each in VIEW.word_errors
        ),
        settings=tuple(
            replace(each, title=image, rows=((HOSTILE, image),)) for each in VIEW.settings
        ),
        comparisons=tuple(
            replace(each, candidate=image, statement=HOSTILE) for each in VIEW.comparisons
        ),
        trials=tuple(trials),
    )


def test_hostile_texts_run_nothing(opened: Opener) -> None:
    """Whatever a transcript, a name or an error says, it is shown and never run."""
    view = hostile_view()
    text = render_html(view, prints=draw_charts(view))
    page, _ = opened(text=text, fragment=f"#trial-{view.trials[3].id}")
    page.wait_for_selector("#panel-body[data-trial]")
    page.keyboard.press("Escape")
    page.locator("#trial-table tbody tr").first.click()
    page.wait_for_selector("#panel-body[data-trial]")
    page.locator("#next").click()
    page.keyboard.press("Escape")
    for selector in ("[data-tip]",):
        for node in page.locator(selector).all()[:40]:
            if node.is_visible():
                node.hover(force=True)
    page.wait_for_timeout(200)
    assert page.evaluate("window.pwned") is None
    assert page.locator("img[src='x']").count() == 0
    assert page.locator("h1").inner_text().startswith('"><img src=x')
    assert page.locator("audio[src^='javascript']").count() == 0


def test_it_reads_without_scripts(browser: Browser, tmp_path: Path) -> None:
    """Without JavaScript the answer, the tables, the waterfall and drawn charts are there."""
    path = tmp_path / "report.html"
    path.write_text(render_html(VIEW, prints=draw_charts(VIEW)), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    expect(page.locator("h1")).to_contain_text("sooner")
    assert page.locator(".wf .bar").count() == sum(len(each.bars) for each in VIEW.waterfalls)
    expect(page.get_by_text("The table of trials needs JavaScript")).to_be_visible()
    context.close()


def test_every_image_and_control_has_a_name(opened: Opener) -> None:
    """Each chart, image, button and field can be named by a screen reader; ids are unique."""
    page, _ = opened(text=render_html(VIEW, prints=draw_charts(VIEW)))
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('img, [role=img], button, input, select')]
        .filter(e =>
        !(e.getAttribute('alt') || e.getAttribute('aria-label') || e.textContent.trim()
          || (e.labels && e.labels.length))).map(e => e.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    dangling = page.evaluate(
        """() => [...document.querySelectorAll('a[href^="#"]')].map(a => a.hash.slice(1))
        .filter(h => h && !h.startsWith('trial-') && !document.getElementById(h))"""
    )
    assert dangling == []


def test_text_contrast(opened: Opener) -> None:
    """Body text, faint notes and badges keep a contrast of 4.5 in both themes (WCAG AA)."""
    script = """(selectors) => {
      const lum = (c) => { const [r, g, b] = c.map((v) => { v /= 255;
        return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const parse = (s) => (s.match(/[\\d.]+/g) || []).map(Number);
      const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(
        getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] === 1) return c; }
        return [255, 255, 255]; };
      return selectors.map((s) => { const e = document.querySelector(s);
        if (!e) return [s, null];
        const a = lum(parse(getComputedStyle(e).color)), b = lum(ground(e).slice(0, 3));
        return [s, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]; }); }"""
    wanted = ["h1", ".lead", ".headline .iv", ".headline .n", ".headline .lbl", ".emu", ".stages"]
    wanted += [".caption", "footer", ".badge", ".top nav a", ".support li", ".cautions li span"]
    for scheme in ("light", "dark"):
        page, _ = opened(scheme=scheme)
        for selector, ratio in page.evaluate(script, wanted):
            assert ratio is not None, selector
            assert ratio >= 4.5, (scheme, selector, ratio)
