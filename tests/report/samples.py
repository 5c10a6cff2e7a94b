"""A report view made from a seed: plausible, complete, of any size."""

import math
import random
from collections.abc import Sequence

from harness.analysis.statistics.estimate import Estimate, TimedOut, Unsupported
from harness.report.format import Cell, Unit, cell, milliseconds, percent
from harness.report.trial_view import (
    Bar,
    BarKind,
    DiffPiece,
    PieceKind,
    ReplyView,
    RequestView,
    TranscriptView,
    TrialStatus,
    TrialView,
    TurnView,
    WaterfallView,
)
from harness.report.view import (
    BudgetView,
    CandidateView,
    CautionView,
    ComparisonView,
    Curve,
    DefinitionView,
    Distribution,
    FactTable,
    FailureRow,
    HeadlineCell,
    HeadlineColumn,
    HeadlineRow,
    LatencyAccuracyPoint,
    PairedPoint,
    PlainTable,
    ReportView,
    VerdictKind,
    VerdictView,
    WordErrorRow,
)

MS = 1_000_000
HOSTILE = '</script><img src=x onerror="window.pwned=1"><script>window.pwned=1</script>\u2028\'"&'

METRICS: tuple[tuple[str, str, Unit], ...] = (
    ("response", "Voice-to-voice response", Unit.MILLISECONDS),
    ("stt_first_transcript", "Time to first transcript", Unit.MILLISECONDS),
    ("stt_final", "Final transcript after speech end", Unit.MILLISECONDS),
    ("llm_ttft", "LLM TTFT", Unit.MILLISECONDS),
    ("tts_first_byte", "TTS first byte", Unit.MILLISECONDS),
    ("wer", "WER", Unit.RATE),
)
CENTRES_MS = {
    "kimi": {"stt_first_transcript": 640, "stt_final": 185, "llm_ttft": 470, "tts_first_byte": 158},
    "glm": {"stt_first_transcript": 640, "stt_final": 190, "llm_ttft": 930, "tts_first_byte": 160},
}
SENTENCE = "turn the lights off in the kitchen and set a timer for twelve minutes please"
WORDS = tuple(SENTENCE.split())


def make_bars(rng: random.Random, final: int, ttft: int, tts: int) -> tuple[Bar, ...]:
    """Return the parts of a response."""
    bars: list[Bar] = []
    at = 0

    def add(label: str, stage: str, kind: BarKind, ns: int) -> None:
        nonlocal at
        bars.append(Bar(label, stage, kind, at, at + ns))
        at += ns

    add("rest of the audio frame", "stt", BarKind.WAIT, rng.randint(2, 18) * MS)
    add("recognition", "stt", BarKind.PROVIDER, final)
    add("STT client", "stt", BarKind.CLIENT, rng.randint(800, 2600) * 1000)
    add("commit", "endpointing", BarKind.WAIT, rng.randint(20, 50) * MS)
    add("LLM request", "llm", BarKind.CLIENT, rng.randint(2, 6) * MS)
    add("LLM first text", "llm", BarKind.PROVIDER, ttft)
    add("sentence gathering", "llm", BarKind.WAIT, rng.randint(60, 140) * MS)
    add("TTS request", "tts", BarKind.CLIENT, rng.randint(2, 5) * MS)
    add("TTS first byte", "tts", BarKind.PROVIDER, tts)
    add("decoding", "tts", BarKind.CLIENT, rng.randint(2, 9) * MS)
    add("leading silence", "playout", BarKind.WAIT, rng.randint(4, 40) * MS)
    add("unattributed", "", BarKind.UNATTRIBUTED, rng.randint(100, 900) * 1000)
    return tuple(bars)


def make_pieces(rng: random.Random, *, hostile: bool) -> tuple[tuple[DiffPiece, ...], float]:
    """Return an aligned transcript with its word error rate."""
    pieces: list[DiffPiece] = []
    errors = 0
    for word in WORDS:
        roll = rng.random()
        if roll < 0.05:
            pieces.append(DiffPiece(PieceKind.DELETED, word, ""))
        elif roll < 0.1:
            pieces.append(DiffPiece(PieceKind.SUBSTITUTED, word, word[::-1]))
        elif roll < 0.13:
            pieces.append(DiffPiece(PieceKind.EQUAL, word, word))
            pieces.append(DiffPiece(PieceKind.INSERTED, "", "um"))
        else:
            pieces.append(DiffPiece(PieceKind.EQUAL, word, word))
            continue
        errors += 1
    if hostile:
        pieces.append(DiffPiece(PieceKind.INSERTED, "", HOSTILE))
    return tuple(pieces), errors / len(WORDS)


def make_trial(
    rng: random.Random, index: int, *, candidate: int, name: str, utterance: str, repeat: int
) -> TrialView:
    """Return one trial."""
    centres = CENTRES_MS[name]

    def draw(metric: str, sigma: float = 0.25) -> int:
        return round(centres[metric] * MS * math.exp(rng.gauss(0, sigma)))

    first, final = draw("stt_first_transcript", 0.1), draw("stt_final")
    ttft, tts = draw("llm_ttft", 0.4), draw("tts_first_byte")
    bars = make_bars(rng, final, ttft, tts)
    response = bars[-1].end_ns
    hostile = index % 7 == 3
    pieces, wer = make_pieces(rng, hostile=hostile)
    roll = rng.random()
    status = TrialStatus.ANSWERED
    note = failure = ""
    if index < 2:
        status = TrialStatus.WARMUP
    elif roll < 0.03:
        status, failure = TrialStatus.FAILED, rng.choice(("llm · timeout", "tts · reset"))
        note = "no answer within 30 s" if "timeout" in failure else "connection reset by peer"
    elif roll < 0.07:
        status, note = TrialStatus.DISTURBED, "a stall of 14 ms overlaps the critical path"
    failed = status is TrialStatus.FAILED
    heard = " ".join(piece.heard for piece in pieces if piece.heard)
    reply = "Sure. The kitchen lights are off and your timer is set for twelve minutes."
    llm_start = next(bar.start_ns for bar in bars if bar.label == "LLM request")
    llm_text = next(bar.end_ns for bar in bars if bar.label == "LLM first text")
    tts_start = next(bar.start_ns for bar in bars if bar.label == "TTS request")
    tokens = tuple(llm_text + k * 11 * MS + rng.randint(0, 4 * MS) for k in range(24))
    requests = [
        RequestView(
            id="llm-1",
            stage="llm",
            cause="turn",
            parent="",
            cancelled=False,
            start_ns=llm_start,
            end_ns=tokens[-1],
            arrivals=tokens,
            text=reply,
            lines=(
                ("model", "kimi-k2.6"),
                ("request id", f"req_{index:08x}"),
                ("finish reason", "stop"),
                ("tokens", "412 in · 24 out"),
                ("connection", "reused"),
            ),
            failure=note if failed else "",
        ),
        RequestView(
            id="tts-1",
            stage="tts",
            cause="sentence",
            parent="llm-1",
            cancelled=False,
            start_ns=tts_start,
            end_ns=response + 900 * MS,
            arrivals=tuple(response + k * 40 * MS for k in range(12)),
            text=reply,
            lines=(("voice", "slt"), ("format", "pcm, 24 kHz"), ("connection", "reused")),
        ),
    ]
    turn = TurnView(
        speech=(-3_200 * MS, 0),
        audio_end_ns=400 * MS,
        speech_peaks=bytes(rng.randint(20, 230) for _ in range(160)),
        bars=() if failed else bars,
        marks=(("speech_end", 0), ("transcript_final", final), ("first_audible", response)),
        transcripts=(
            TranscriptView(kind="interim", text=heard[:20], at_ns=first - 3_200 * MS, late=False),
            TranscriptView(kind="final", text=heard, at_ns=final, late=False),
            *(
                (TranscriptView(kind="final", text="please", at_ns=final + 300 * MS, late=True),)
                if index % 11 == 0
                else ()
            ),
        ),
        requests=tuple(requests),
        reply=None
        if failed
        else ReplyView(
            segments=((response - 20 * MS, response + 3_400 * MS),),
            peaks=bytes(rng.randint(10, 250) for _ in range(160)),
            audio=f"audio/t{index:05d}.wav" if index % 2 else "",
        ),
        pieces=pieces,
        reply_text=reply,
        reported=(("llm ttft", milliseconds(ttft + MS), milliseconds(ttft)),),
    )
    measured = (*(ns / MS for ns in (response, first, final, ttft, tts)), wer)
    return TrialView(
        id=f"{'w' if index < 2 else 't'}{index:05d}",
        candidate=candidate,
        utterance=utterance,
        repeat=repeat,
        status=status,
        values=tuple(None if failed and k not in (1, 2) else v for k, v in enumerate(measured)),
        tags=("accent: us", "noise: none") if index % 3 else ("noise: street",),
        note=note,
        failure=failure,
        emulated=True,
        turns=(turn,),
        facts=(
            ("frame lateness, p99", "0.42 ms"),
            ("loop lag, worst", "1.8 ms"),
            ("stalls", "none"),
        ),
    )


def _statistic(values: Sequence[float], share: float, failures: int) -> Cell:
    ordered = sorted(values)
    n = len(ordered) + failures
    rank = min(n - 1, math.ceil(share * n) - 1)
    unit = Unit.MILLISECONDS
    if rank >= len(ordered):
        return cell(TimedOut(n=n, failures=failures), unit, emulated=True)
    if share > 0.9 and n < 59:
        return cell(
            Unsupported(
                reason="p95 needs 59 independent trials",
                needed=59,
                n=n,
                effective_n=n,
                failures=failures,
                observed=None,
            ),
            unit,
            emulated=True,
        )
    low, high = ordered[max(0, rank - 8)], ordered[min(len(ordered) - 1, rank + 8)]
    return cell(
        Estimate(
            point=ordered[rank],
            low=low,
            high=high,
            confidence=0.95,
            n=n,
            effective_n=n,
            failures=failures,
            method="order statistics",
        ),
        unit,
        emulated=True,
    )


def make_view(
    trials: int = 120, *, seed: int = 7, verdict: VerdictKind | None = None
) -> ReportView:
    """Return a complete view of about so many trials, of two emulated candidates."""
    rng = random.Random(seed)
    names = ("kimi", "glm")
    rows: list[TrialView] = []
    for index in range(trials):
        which = index % 2
        rows.append(
            make_trial(
                rng,
                index,
                candidate=which,
                name=names[which],
                utterance=f"u{(index // 2) % 24:02d}",
                repeat=index // 48,
            )
        )
    counted = [r for r in rows if r.status is not TrialStatus.WARMUP]
    headline: list[HeadlineRow] = []
    for which in range(2):
        mine = [r for r in counted if r.candidate == which]
        cells = []
        for k, (metric, _, _unit) in enumerate(METRICS):
            values = [v for r in mine if (v := r.values[k]) is not None]
            failures = len(mine) - len(values)
            statistics: tuple[tuple[str, Cell], ...]
            if metric == "wer":
                wer = sum(values) / len(values)
                statistics = (
                    (
                        "pooled",
                        cell(
                            Estimate(
                                point=wer,
                                low=wer * 0.8,
                                high=wer * 1.25,
                                confidence=0.95,
                                n=len(mine),
                                effective_n=24,
                                failures=failures,
                                method="bootstrap over utterances",
                            ),
                            Unit.RATE,
                            emulated=True,
                        ),
                    ),
                )
            else:
                statistics = tuple(
                    (label, _statistic(values, share, failures))
                    for label, share in (("p50", 0.5), ("p95", 0.95))
                )
            cells.append(HeadlineCell(statistics=statistics, n=len(mine), failures=failures))
        headline.append(
            HeadlineRow(
                candidate=which,
                trials=len(mine),
                failures=sum(r.status is TrialStatus.FAILED for r in mine),
                cells=tuple(cells),
            )
        )
    waterfalls: list[WaterfallView] = []
    for which in range(2):
        mine = sorted(
            (r for r in counted if r.candidate == which and r.turns[0].bars),
            key=lambda r: r.values[0] or 0,
        )
        for title, share in (("median turn", 0.5), ("p95 turn", 0.95)):
            trial = mine[min(len(mine) - 1, int(share * len(mine)))]
            bars = trial.turns[0].bars
            waterfalls.append(
                WaterfallView(
                    candidate=which,
                    title=title,
                    trial=trial.id,
                    bars=bars,
                    response_ns=bars[-1].end_ns,
                    response=milliseconds(bars[-1].end_ns),
                )
            )
    distributions: list[Distribution] = []
    for k, (metric, name, unit) in enumerate(METRICS):
        curves = []
        for which in range(2):
            mine = [r for r in counted if r.candidate == which]
            values = sorted(v for r in mine if (v := r.values[k]) is not None)
            curves.append(
                Curve(
                    candidate=which,
                    points=tuple((v, (i + 1) / len(mine)) for i, v in enumerate(values)),
                    n=len(mine),
                    failures=len(mine) - len(values),
                    quantiles=headline[which].cells[k].statistics,
                )
            )
        distributions.append(
            Distribution(
                metric=metric, name=name, unit=unit.value, emulated=True, curves=tuple(curves)
            )
        )
    paired = tuple(PairedPoint(f"u{u:02d}", -430 + rng.gauss(0, 120)) for u in range(24))
    estimate = Estimate(
        point=-428.0,
        low=-502.0,
        high=-361.0,
        confidence=0.95,
        n=24,
        effective_n=24,
        failures=0,
        method="median of paired differences",
    )
    ratio = Estimate(
        point=0.66,
        low=0.61,
        high=0.72,
        confidence=0.95,
        n=24,
        effective_n=24,
        failures=0,
        method="paired log-ratio",
    )
    comparison = ComparisonView(
        metric="response",
        name="Voice-to-voice response",
        reference="glm-5.2@baseten (emulated)",
        candidate="kimi-k2.6@baseten (emulated)",
        statement="The profile of kimi answers 428 ms sooner than the profile of glm.",
        difference=cell(estimate, Unit.MILLISECONDS, emulated=True, signed=True),
        ratio=cell(ratio, Unit.RATIO, emulated=True),
        p_value="< 0.001",
        detectable=f"{milliseconds(64 * MS)} ({percent(0.06, 0)})",
        points=paired,
        unit="ms",
        detected=True,
        emulated=True,
    )
    worst = [r for r in counted if r.turns[0].pieces][:8]
    budgets = (
        BudgetView(
            budget="response p95",
            candidate=names[0],
            measured="1 412 ms",
            limit="at most 1 800 ms",
            margin="388 ms",
            kind=VerdictKind.PASS,
            reason="",
            emulated=True,
        ),
        BudgetView(
            budget="llm_ttft p50",
            candidate=names[0],
            measured="474 ms",
            limit="at most 10 % slower",
            margin="",
            kind=verdict or VerdictKind.PASS,
            reason="the interval <excludes> no change" if verdict else "",
            emulated=True,
        ),
    )
    return ReportView(
        title="Kimi or GLM",
        subtitle=("2026-11-21 08:50 UTC", "session driver", "starter 1.0 · 24 utterances"),
        run="20261121-085001-kimi-or-glm",
        answer=(
            "The profile of kimi-k2.6@baseten answers 428\u00a0ms sooner than the profile of "
            "glm-5.2@baseten."
        ),
        support=(
            "95 % interval 361 – 502 ms; 34 % of the response over 24 utterances.",
            "Where the time goes: the LLM takes 58 % of kimi's median turn and 71 % of glm's.",
            "No detectable difference in WER: this run would have seen 1.9 points.",
        ),
        emulated=(
            "Every latency below comes from a gateway profile on this machine, not from a "
            "provider. It shows what the harness can see; it declares no winner between real "
            "models."
        ),
        verdict=None
        if verdict is None
        else VerdictView(kind=verdict, reason="2 budgets, none beyond its limit.", budgets=budgets),
        cautions=(
            CautionView(
                title="5 of 118 trials were disturbed by the machine",
                advice="Numbers with and without them stand under Trust; they agree within 1 %.",
            ),
            CautionView(
                title="p99 is not supported by 59 trials per candidate",
                advice="Raise repeats to 7 for a two-sided interval of p99.",
                serious=True,
            ),
        ),
        candidates=(
            CandidateView(
                name="kimi-k2.6@baseten (emulated)",
                stages=(
                    ("STT", "parakeet-tdt-0.6b-v3@together"),
                    ("LLM", "kimi-k2.6@baseten"),
                    ("TTS", "espeak · slt"),
                ),
                emulated=True,
                voice="slt",
            ),
            CandidateView(
                name="glm-5.2@baseten (emulated)",
                stages=(
                    ("STT", "parakeet-tdt-0.6b-v3@together"),
                    ("LLM", "glm-5.2@baseten"),
                    ("TTS", "espeak · rms"),
                ),
                emulated=True,
                voice="rms",
            ),
        ),
        columns=tuple(HeadlineColumn(metric=m, name=name) for m, name, _ in METRICS),
        rows=tuple(headline),
        waterfalls=tuple(waterfalls),
        distributions=tuple(distributions),
        comparisons=(comparison,),
        pareto=tuple(
            LatencyAccuracyPoint(
                candidate=which,
                latency=headline[which].cells[0].statistics[0][1],
                error=headline[which].cells[5].statistics[0][1],
                on_front=which == 0,
            )
            for which in range(2)
        ),
        word_errors=tuple(
            WordErrorRow(
                candidate=r.candidate,
                utterance=r.utterance,
                trial=r.id,
                rate=percent(r.values[5] or 0),
                counts=(1, 1, 0),
                pieces=r.turns[0].pieces,
                heard=r.turns[0].transcripts[1].text,
            )
            for r in worst
        ),
        word_error_totals=PlainTable(
            title="Pooled word errors",
            columns=("Candidate", "WER", "Substituted", "Deleted", "Inserted", "Words"),
            rows=tuple(
                (name, headline[k].cells[5].statistics[0][1], "31", "28", "17", "885")
                for k, name in enumerate(names)
            ),
        ),
        failures=(
            FailureRow(
                stage="llm",
                kind="timeout",
                counts=(2, 1),
                message="no answer within 30 s",
                trial=counted[5].id,
            ),
        ),
        trust=(
            PlainTable(
                title="With and without disturbed trials",
                columns=("Candidate", "Disturbed", "Response p50, all", "without"),
                rows=(
                    ("kimi", "3 of 59", "914 ms", "912 ms"),
                    ("glm", "2 of 59", "1 380", "1 379"),
                ),
            ),
            FactTable(
                title="The machine kept time",
                rows=(
                    ("frame lateness, p50 / p99", "0.31 / 1.9 ms"),
                    ("event-loop lag, p99", "1.2 ms"),
                    ("host stalls over 10 ms", "5"),
                ),
            ),
            FactTable(
                title="Self-measured error",
                rows=(("transport mark against truth, p50 / p99", "0.4 / 2.1 ms"),),
            ),
        ),
        settings=(
            FactTable(
                title="Session",
                rows=(("turn_detection", "stt"), ("min_endpointing_delay_s", "0.0")),
            ),
            FactTable(title="Versions", rows=(("livekit-agents", "1.8.9"), ("python", "3.11.2"))),
            FactTable(title="Dataset", rows=(("sha256", "c0ffee" * 10 + "c0de"),)),
        ),
        definitions=tuple(
            DefinitionView(
                metric=m,
                name=name,
                formula="speech_end → first_audible" if m == "response" else "mark → mark",
                never="clamped" if m == "stt_final" else "",
            )
            for m, name, _ in METRICS
        ),
        trial_metrics=tuple((m, name, unit.value) for m, name, unit in METRICS),
        trials=tuple(rows),
    )
