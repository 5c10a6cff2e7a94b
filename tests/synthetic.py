"""Legal synthetic turns, trials and runs whose every span is known.

A turn is written as a script in time: each step lasts so many nanoseconds, is spent by a provider,
by the client (then the event loop's work grows with it), in a known wait, or in nothing that left
evidence. The instants, work and waits that a real trial would have recorded follow from the script.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.clock import Work
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.reply import PlayoutSegment, Reply
from harness.domain.request import (
    Arrival,
    Cause,
    Failure,
    FailureKind,
    Request,
    Transcript,
    TranscriptKind,
    Wait,
    WaitCause,
)
from harness.domain.suite import DatasetChoice, Suite
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import FailedTrial, Health, Stall, Trial, TrialKey, Turn
from harness.domain.utterance import Utterance

__all__ = [
    "MS",
    "Script",
    "draw_scripts",
    "make_failed",
    "make_health",
    "make_run",
    "make_suite",
    "make_trial",
    "make_turn",
    "make_utterance",
    "make_utterances",
]

MS = 1_000_000
SAMPLE_RATE = 24_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How long each step of a turn lasts, in nanoseconds.

    Attributes:
        speech: length of the speech.
        first_transcript: from the start of speech to the first interim; None sends finals only.
        frame: wait for the rest of the frame with the last sample.
        pacing: lateness of that frame.
        send: the client hands the frame over.
        stt: the STT's answer, at the socket.
        stt_client: from the socket to the agent.
        endpointing: the agent's endpointing delay.
        commit: the client's time until the commit.
        vad: silence until the VAD's end of speech; None is no VAD.
        llm_prepare, llm_send: client time before the chat request and until it is written.
        connect: opening a connection in between.
        reasoning: from the request to the first reasoning delta; None is none.
        llm: from the request (or the first reasoning) to the first text, at the socket.
        llm_client: parsing of the first text.
        sentence: from the first text to the end of the first sentence, at the socket.
        gather: from there to the hand-over to the TTS.
        tts_prepare, tts_send: client time before the request and until it is written.
        tts: to the first byte of samples.
        tts_pacing: to the last byte of the first frame.
        decode: to the first frame at the output.
        playout: to the first sample played.
        leading_silence: of the reply's audio.
        underrun: playout runs dry for so long, in the middle of the leading silence.
        reply: length of the reply after the leading silence.
        tool: duration of a tool call; None is none.
        preemptive: how long before the end of speech the LLM is asked; None asks after the commit.
        sentences: sentences of the reply, each a TTS request.
        transport: the marks at the socket are seen.
        work: the event loop's work is recorded.
        idle: time without any evidence, planted in the step of that name.
    """

    speech: int = 1_500 * MS
    first_transcript: int | None = 400 * MS
    frame: int = 8 * MS
    pacing: int = 0
    send: int = 300_000
    stt: int = 120 * MS
    stt_client: int = 700_000
    endpointing: int = 0
    commit: int = 400_000
    vad: int | None = None
    llm_prepare: int = 1_100_000
    llm_send: int = 1_700_000
    connect: int = 0
    reasoning: int | None = None
    llm: int = 300 * MS
    llm_client: int = 900_000
    sentence: int = 90 * MS
    gather: int = 600_000
    tts_prepare: int = 250_000
    tts_send: int = 1_600_000
    tts: int = 150 * MS
    tts_pacing: int = 2 * MS
    decode: int = 1_200_000
    playout: int = 50_000
    leading_silence: int = 40 * MS
    underrun: int = 0
    reply: int = 1_000 * MS
    tool: int | None = None
    preemptive: int | None = None
    sentences: int = 1
    transport: bool = True
    work: bool = True
    idle: Mapping[str, int] = field(default_factory=dict)


class _Pen:
    """Writes one line of events: a cursor in time and the event loop's work so far."""

    def __init__(self, at_ns: int, *, work: bool) -> None:
        self.at_ns = at_ns
        self.cpu_ns = 0
        self.keeps_work = work
        self.marks: dict[str, dict[Mark, int]] = {}
        self.work: dict[str, dict[Mark, Work]] = {}
        self.waits: dict[str, list[Wait]] = {}

    def pause(self, ns: int) -> None:
        self.at_ns += ns

    def client(self, ns: int, idle: int = 0) -> None:
        self.at_ns += ns + idle
        self.cpu_ns += ns

    def wait(self, owner: str, cause: WaitCause, ns: int) -> None:
        if ns:
            wait = Wait(cause=cause, start_ns=self.at_ns, end_ns=self.at_ns + ns)
            self.waits.setdefault(owner, []).append(wait)
            self.at_ns += ns

    def mark(self, owner: str, mark: Mark, *, seen: bool = True) -> int:
        if seen:
            self.marks.setdefault(owner, {})[mark] = self.at_ns
            if self.keeps_work:
                # A third of the work is time in the run queue: both count as explained.
                queued = self.cpu_ns // 3
                self.work.setdefault(owner, {})[mark] = Work(self.cpu_ns - queued, queued)
        return self.at_ns

    def request(self, owner: str, stage: Stage, cause: Cause, **rest: object) -> Request:
        plain = Request(
            id=owner,
            stage=stage,
            cause=cause,
            marks=self.marks.get(owner, {}),
            work=self.work.get(owner, {}),
            waits=tuple(self.waits.get(owner, ())),
        )
        return replace(plain, **rest)  # type: ignore[arg-type]


def make_turn(
    script: Script | None = None,
    *,
    start_ns: int = 5_000_000_000,
    index: int = 0,
    utterance: str = "u1",
    text: str = "turn on the kitchen lights",
) -> Turn:
    """Return the turn that a script describes; its speech starts at ``start_ns``."""
    plan = Script() if script is None else script
    idle = dict(plan.idle)
    seen = plan.transport
    pen = _Pen(start_ns, work=plan.work)
    words = text.split()
    transcripts: list[Transcript] = []
    pen.mark("turn", Mark.SPEECH_START)
    speech_end = start_ns + plan.speech
    interim_ns: int | None = None
    if plan.first_transcript is not None:
        interim_ns = start_ns + plan.first_transcript
        pen.marks["turn"][Mark.TRANSCRIPT_FIRST] = interim_ns
        transcripts.append(
            Transcript(
                kind=TranscriptKind.INTERIM,
                text=" ".join(words[: max(1, len(words) // 2)]),
                at_ns=interim_ns,
                received_ns=interim_ns - 200_000 if seen else None,
            )
        )
    if plan.preemptive is not None:
        asked = speech_end - plan.preemptive
        transcripts.append(
            Transcript(kind=TranscriptKind.PREFLIGHT, text=text, at_ns=asked - plan.llm_prepare)
        )
    pen.at_ns = speech_end
    pen.mark("turn", Mark.SPEECH_END)
    pen.marks["turn"][Mark.AUDIO_END] = speech_end + 250 * MS

    pen.wait("turn", WaitCause.FRAME, plan.frame)
    pen.wait("turn", WaitCause.PACING, plan.pacing)
    pen.client(plan.send, idle.pop("send", 0))
    pen.mark("turn", Mark.SPEECH_SENT, seen=seen)
    pen.pause(plan.stt)
    received = pen.mark("turn", Mark.FINAL_RECEIVED, seen=seen)
    pen.client(plan.stt_client, idle.pop("stt_client", 0))
    final = pen.mark("turn", Mark.TRANSCRIPT_FINAL)
    pen.marks["turn"].setdefault(Mark.TRANSCRIPT_FIRST, final)
    transcripts.append(
        Transcript(
            kind=TranscriptKind.FINAL,
            text=text,
            at_ns=final,
            received_ns=received if seen else None,
        )
    )
    if plan.vad is not None:
        vad_end = speech_end + plan.vad
        pen.marks["turn"][Mark.VAD_END] = vad_end
        if plan.work:
            pen.work["turn"][Mark.VAD_END] = Work(pen.cpu_ns, 0)
        pen.at_ns = max(pen.at_ns, vad_end)
    pen.wait("turn", WaitCause.ENDPOINTING, plan.endpointing)
    pen.client(plan.commit, idle.pop("commit", 0))
    committed = pen.mark("turn", Mark.TURN_COMMITTED)

    if plan.preemptive is not None:
        pen.at_ns = speech_end - plan.preemptive - plan.llm_prepare
    requests: list[Request] = []
    cause = Cause.TURN if plan.preemptive is None else Cause.PREEMPTIVE
    parent: str | None = None
    if plan.tool is not None:
        _ask(pen, plan, "llm-call", idle={}, seen=seen, client=False)
        pen.pause(plan.sentence)
        pen.mark("llm-call", Mark.LLM_END)
        requests.append(pen.request("llm-call", Stage.LLM, cause))
        parent, cause = "llm-call", Cause.TOOL
        pen.wait("llm", WaitCause.TOOL, plan.tool)
    text_ns = _ask(pen, plan, "llm", idle=idle, seen=seen, client=True)
    # Parsing of the first text runs beside the arrival of the rest of the sentence.
    pen.pause(plan.sentence)
    sentence_ns = pen.mark("llm", Mark.SENTENCE_RECEIVED, seen=seen)
    first_text = pen.marks["llm"][Mark.LLM_FIRST_TEXT]
    if plan.preemptive is not None and committed > pen.at_ns:
        pen.at_ns = committed
        if plan.work:
            before = pen.work["turn"][Mark.TURN_COMMITTED]
            pen.cpu_ns = before.cpu_ns + before.queued_ns
    pen.client(plan.gather, idle.pop("gather", 0))
    pen.at_ns = max(pen.at_ns, first_text)
    pen.mark("llm", Mark.LLM_FIRST_SENTENCE)
    pen.marks["llm"][Mark.LLM_END] = pen.at_ns
    arrivals = tuple(
        Arrival(
            received_ns=text_ns + (sentence_ns - text_ns) * step // 8,
            at_ns=first_text + (sentence_ns - text_ns) * step // 8,
            text=f"word{step} ",
        )
        for step in range(9)
    )
    facts = {
        "model": "scripted-1",
        "finish_reason": "stop",
        "ended": True,
        "usage": {"prompt_tokens": 40, "completion_tokens": 9},
    }
    requests.append(
        pen.request(
            "llm", Stage.LLM, cause, parent=parent, arrivals=arrivals, facts=facts, text="A reply."
        )
    )

    pen.client(plan.tts_prepare, idle.pop("tts_prepare", 0))
    pen.mark("tts-0", Mark.TTS_REQUEST)
    pen.client(plan.tts_send, idle.pop("tts_send", 0))
    pen.mark("tts-0", Mark.TTS_SENT, seen=seen)
    pen.pause(plan.tts)
    pen.mark("tts-0", Mark.TTS_FIRST_BYTE, seen=seen)
    pen.pause(plan.tts_pacing)
    pen.mark("tts-0", Mark.TTS_FRAME_RECEIVED, seen=seen)
    pen.client(plan.decode, idle.pop("decode", 0))
    pen.mark("tts-0", Mark.TTS_FIRST_FRAME)
    if plan.transport:
        pen.marks["tts-0"][Mark.TTS_END] = pen.at_ns + 200 * MS
    requests.append(pen.request("tts-0", Stage.TTS, Cause.SENTENCE, parent="llm", text="A reply."))
    for number in range(1, plan.sentences):
        owner = f"tts-{number}"
        pen.marks[owner] = {
            Mark.TTS_REQUEST: pen.at_ns + number * 300 * MS,
            Mark.TTS_FIRST_BYTE: pen.at_ns + number * 300 * MS + plan.tts,
            Mark.TTS_END: pen.at_ns + number * 300 * MS + plan.tts + 200 * MS,
        }
        requests.append(
            pen.request(owner, Stage.TTS, Cause.SENTENCE, parent="llm", text=f"Sentence {number}.")
        )
    pen.client(plan.playout, idle.pop("playout", 0))
    playout_start = pen.mark("turn", Mark.PLAYOUT_START)
    half = plan.leading_silence // 2
    pen.wait("turn", WaitCause.LEADING_SILENCE, half)
    pen.wait("turn", WaitCause.UNDERRUN, plan.underrun)
    pen.wait("turn", WaitCause.LEADING_SILENCE, plan.leading_silence - half)
    pen.mark("turn", Mark.FIRST_AUDIBLE)
    pen.pause(plan.reply)
    pen.mark("turn", Mark.PLAYOUT_END)
    if idle:
        raise ValueError(f"no client step is named {', '.join(idle)}")
    return Turn(
        index=index,
        utterance=utterance,
        marks=pen.marks["turn"],
        work=pen.work.get("turn", {}),
        transcripts=tuple(sorted(transcripts, key=lambda each: each.at_ns)),
        requests=tuple(requests),
        audible_request="tts-0",
        waits=tuple(pen.waits.get("turn", ())),
        reply=_reply(plan, playout_start),
        reported={"e2e_latency": (pen.marks["turn"][Mark.FIRST_AUDIBLE] - final) / 1e9},
    )


def _ask(
    pen: _Pen, plan: Script, owner: str, *, idle: dict[str, int], seen: bool, client: bool
) -> int:
    """Write one LLM request up to its first text; leave the cursor at the text's arrival."""
    pen.client(plan.llm_prepare, idle.pop("llm_prepare", 0))
    pen.mark(owner, Mark.LLM_REQUEST)
    pen.wait(owner, WaitCause.CONNECT, plan.connect)
    pen.client(plan.llm_send, idle.pop("llm_send", 0))
    pen.mark(owner, Mark.LLM_SENT, seen=seen)
    if plan.reasoning is not None:
        pen.pause(plan.reasoning)
        pen.mark(owner, Mark.LLM_FIRST_BYTE, seen=seen)
        pen.mark(owner, Mark.LLM_FIRST_REASONING, seen=seen)
    pen.pause(plan.llm)
    text_ns = pen.mark(owner, Mark.LLM_TEXT_RECEIVED, seen=seen)
    pen.marks.setdefault(owner, {})[Mark.LLM_FIRST_TEXT] = text_ns + (
        plan.llm_client if client else 0
    )
    return text_ns


def _reply(plan: Script, playout_start: int) -> Reply:
    silence = plan.leading_silence * SAMPLE_RATE // 1_000_000_000
    samples = silence + plan.reply * SAMPLE_RATE // 1_000_000_000
    segments = [PlayoutSegment(start_ns=playout_start, offset=0, samples=samples)]
    if plan.underrun:
        first = (plan.leading_silence // 2) * SAMPLE_RATE // 1_000_000_000
        resumed = playout_start + plan.leading_silence // 2 + plan.underrun
        segments = [
            PlayoutSegment(start_ns=playout_start, offset=0, samples=first),
            PlayoutSegment(start_ns=resumed, offset=first, samples=samples - first),
        ]
    return Reply(
        sample_rate=SAMPLE_RATE, samples=samples, segments=tuple(segments), leading_silence=silence
    )


def make_health(
    *,
    lateness_p99_ns: int = 900_000,
    lateness_max_ns: int = 2 * MS,
    late_frames: int = 0,
    stalls: Iterable[tuple[int, int]] = (),
) -> Health:
    """Return the health of a trial on a quiet machine, but for what is given."""
    return Health(
        frames=100,
        lateness_p50_ns=400_000,
        lateness_p99_ns=lateness_p99_ns,
        lateness_max_ns=lateness_max_ns,
        late_frames=late_frames,
        loop_lag_p99_ns=1 * MS,
        loop_lag_max_ns=3 * MS,
        stalls=tuple(Stall(start_ns=start, end_ns=end) for start, end in stalls),
    )


def make_trial(
    script: Script | None = None,
    *,
    candidate: str = "a",
    utterance: str = "u1",
    repeat: int = 0,
    order: int = 0,
    warmup: bool = False,
    attempt: int = 0,
    cold: bool = False,
    driver: str = "session",
    start_ns: int = 5_000_000_000,
    text: str = "turn on the kitchen lights",
    health: Health | None = None,
) -> Trial:
    """Return a trial of one turn that follows a script."""
    turn = make_turn(script, start_ns=start_ns, utterance=utterance, text=text)
    return Trial(
        key=TrialKey(
            candidate=candidate,
            utterance=utterance,
            repeat=repeat,
            order=order,
            warmup=warmup,
            attempt=attempt,
        ),
        driver=driver,
        started_ns=start_ns - 100 * MS,
        ended_ns=turn.marks[Mark.PLAYOUT_END] + MS,
        turns=(turn,),
        health=make_health() if health is None else health,
        cold=cold,
    )


def make_failed(
    *,
    candidate: str = "a",
    utterance: str = "u1",
    repeat: int = 0,
    order: int = 0,
    stage: Stage = Stage.LLM,
    kind: FailureKind = FailureKind.TIMEOUT,
    start_ns: int = 5_000_000_000,
) -> FailedTrial:
    """Return a trial that failed and left no turn."""
    return FailedTrial(
        key=TrialKey(candidate=candidate, utterance=utterance, repeat=repeat, order=order),
        driver="session",
        started_ns=start_ns,
        ended_ns=start_ns + 30_000 * MS,
        failure=Failure(stage=stage, kind=kind, message="no answer within 30 s"),
        health=make_health(),
    )


def make_utterance(utterance_id: str = "u1", text: str = "turn on the kitchen lights") -> Utterance:
    """Return an utterance with exact bounds."""
    return Utterance(
        id=utterance_id,
        audio=f"{utterance_id}.flac",
        text=text,
        duration_s=1.75,
        speech_start_s=0.0,
        speech_end_s=1.5,
        tolerance_ms=0.0,
    )


def make_utterances(count: int) -> tuple[Utterance, ...]:
    """Return ``count`` utterances, u1, u2, …."""
    return tuple(make_utterance(f"u{number + 1}") for number in range(count))


def draw_scripts(
    count: int,
    rng: random.Random,
    *,
    base: Script | None = None,
    llm_scale: float = 1.0,
    tts_scale: float = 1.0,
    sigma: float = 0.3,
) -> list[Script]:
    """Draw scripts whose STT, LLM and TTS times are lognormal about those of ``base``."""
    plan = Script() if base is None else base

    def around(ns: int, scale: float) -> int:
        return round(ns * scale * rng.lognormvariate(0.0, sigma))

    return [
        replace(
            plan,
            stt=around(plan.stt, 1.0),
            llm=around(plan.llm, llm_scale),
            sentence=around(plan.sentence, 1.0),
            tts=around(plan.tts, tts_scale),
        )
        for _ in range(count)
    ]


def make_run(
    candidates: Mapping[str, float] | Sequence[str] = ("a", "b"),
    *,
    utterances: int = 8,
    repeats: int = 3,
    seed: int = 1,
    warmups: int = 1,
    base: Script | None = None,
    driver: str = "session",
    failed: Mapping[str, int] | None = None,
) -> tuple[Trial | FailedTrial, ...]:
    """Return the interleaved trials of a run.

    Args:
        candidates: names, or names with the factor by which their LLM is slower.
        utterances: how many, u1, u2, ….
        repeats: performances of each utterance by each candidate.
        seed: of every draw.
        warmups: labelled trials of each candidate, first.
        base: the script about which times are drawn.
        driver: of every trial.
        failed: for a candidate, how many of its last trials failed by a time-out of the LLM.
    """
    scales = dict(candidates) if isinstance(candidates, Mapping) else dict.fromkeys(candidates, 1.0)
    rng = random.Random(seed)
    plan = [(name, "u1", 0, True) for name in scales for _ in range(warmups)]
    measured = [
        (name, f"u{number + 1}", repeat, False)
        for repeat in range(repeats)
        for number in range(utterances)
        for name in scales
    ]
    rng.shuffle(measured)
    plan.extend(measured)
    to_fail = dict(failed or {})
    failing: set[int] = set()
    for order in range(len(plan) - 1, -1, -1):
        name, _, _, warmup = plan[order]
        if not warmup and to_fail.get(name, 0) > 0:
            to_fail[name] -= 1
            failing.add(order)
    trials: list[Trial | FailedTrial] = []
    for order, (name, utterance, repeat, warmup) in enumerate(plan):
        start_ns = 5_000_000_000 + order * 6_000 * MS
        script = draw_scripts(1, rng, base=base, llm_scale=scales[name])[0]
        if order in failing:
            trials.append(
                make_failed(
                    candidate=name,
                    utterance=utterance,
                    repeat=repeat,
                    order=order,
                    start_ns=start_ns,
                )
            )
            continue
        trials.append(
            make_trial(
                script,
                candidate=name,
                utterance=utterance,
                repeat=repeat,
                order=order,
                warmup=warmup,
                cold=warmup,
                driver=driver,
                start_ns=start_ns,
            )
        )
    return tuple(trials)


def make_suite(*candidates: str, profile: str | None = None) -> Suite:
    """Return a suite with these candidates, each of one STT, LLM and TTS."""
    return Suite(
        name="synthetic",
        datasets=(DatasetChoice(path="starter"),),
        candidates=tuple(
            Candidate(
                name=name,
                stt=StageSettings(provider="openadapter", model="stt-1", profile=profile),
                llm=StageSettings(provider="openadapter", model=f"llm-{name}", profile=profile),
                tts=StageSettings(
                    provider="openadapter", model="tts-1", voice="alloy", profile=profile
                ),
            )
            for name in (candidates or ("a", "b"))
        ),
    )
