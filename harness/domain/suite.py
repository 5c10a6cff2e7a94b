"""The plan of a run: utterances × candidates × repeats, with every option that moves latency.

A suite file is read by ``harness.store.suites.suite``; an object of these types is legal. Settings
that a provider knows are checked against ``harness.domain.providers``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from harness.domain.barge_in import BargeIn
from harness.domain.candidate import Candidate, InterruptionSettings, StageSettings
from harness.domain.condition import Condition
from harness.errors import ConfigurationError

__all__ = [
    "Budget",
    "BudgetKind",
    "Clock",
    "DatasetChoice",
    "Driver",
    "GatewayOptions",
    "Limits",
    "Price",
    "SessionOptions",
    "Suite",
    "Timeouts",
    "TurnDetection",
    "Via",
]


class Driver(StrEnum):
    """What performs an utterance against a candidate."""

    SESSION = "session"
    STAGE = "stage"


class Via(StrEnum):
    """Where the providers are reached: the one word that a suite changes to go live."""

    GATEWAY = "gateway"
    LIVE = "live"


class Clock(StrEnum):
    """On which clock trials are performed."""

    REAL = "real"
    """time passes"""
    VIRTUAL = "virtual"
    """time stands still while anything works, and jumps when all is idle; via the gateway alone"""


class TurnDetection(StrEnum):
    """What decides that the user has finished."""

    STT = "stt"
    VAD = "vad"
    MANUAL = "manual"
    MODEL = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """Every option of livekit's session that moves latency; all are passed explicitly.

    Attributes:
        preset: "measure" (the values below) or "livekit-defaults", which leaves livekit's own.
        turn_detection: what commits the turn.
        min_endpointing_delay_s, max_endpointing_delay_s: livekit's endpointing delays.
        vad: load livekit's bundled voice activity detector.
        vad_min_silence_s: silence after which it says that speech has ended.
        preemptive_generation: ask the LLM before the turn is committed.
        preemptive_tts: synthesise before the turn is committed.
        interruptions: the user may interrupt the reply.
        interruption_mode: what tells an interruption, where a candidate does not say: "vad" or
            "adaptive".
        backchannel_boundary_s: within so many seconds of the reply's beginning the detector is not
            asked, and voice activity decides; transcripts of its last so many seconds are kept.
        text_transforms: livekit's filters between LLM and TTS ("filter_markdown", "filter_emoji").
        tts_format: the audio format asked of the TTS.
        max_retries: of each provider's call.
        request_timeout_s: livekit's time-out of one provider call.
        context: "fresh" for each trial, or "growing": each trial of a candidate goes on from
            the one before (one trial at a time).
        connection: "warm" (after a warm-up trial) or "cold" (new clients for each trial).
    """

    preset: str = "measure"
    turn_detection: TurnDetection = TurnDetection.STT
    min_endpointing_delay_s: float = 0.0
    max_endpointing_delay_s: float = 3.0
    vad: bool = False
    vad_min_silence_s: float = 0.25
    preemptive_generation: bool = False
    preemptive_tts: bool = False
    interruptions: bool = False
    interruption_mode: str = "vad"
    backchannel_boundary_s: float = 1.0
    text_transforms: tuple[str, ...] = ()
    tts_format: str = "pcm"
    max_retries: int = 0
    request_timeout_s: float = 10.0
    context: str = "fresh"
    connection: str = "warm"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """How the loopback gateway runs.

    Attributes:
        seed: of the profiles' draws; None takes the run's seed.
        recogniser: "pocketsphinx" or "oracle".
        word_error_rate: the oracle's.
        profiles: a file with further profiles.
    """

    seed: int | None = None
    recogniser: str = "pocketsphinx"
    word_error_rate: float = 0.0
    profiles: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetChoice:
    """Which utterances of which dataset.

    Attributes:
        path: a folder or a manifest; a bare name is a shipped dataset.
        ids: utterances by id; empty takes all.
        limit: at most so many.
        skip_unreadable: leave recordings that cannot be played out, and say so in the report,
            instead of refusing the run.
    """

    path: str
    ids: tuple[str, ...] = ()
    limit: int | None = None
    skip_unreadable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a trial waits, in seconds.

    Attributes:
        connect_s: for a provider to be ready before the first sample.
        transcript_s: from the end of speech to the final transcript.
        reply_s: from the end of speech to the first audible sample.
        playout_s: from the first audible sample to the reply's end.
        boot_s: for a deployment that scales to zero to answer, before anything is measured.
        hang_up_s: the caller hangs up so long after the reply's first audible sample; None hears
            it to its end. Saves time and money where only latency is asked for.
    """

    connect_s: float = 10.0
    transcript_s: float = 15.0
    reply_s: float = 30.0
    playout_s: float = 60.0
    boot_s: float = 300.0
    hang_up_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a provider's model costs, in one currency throughout a suite.

    Attributes:
        per_million_input_tokens, per_million_output_tokens: of an LLM.
        per_million_cached_input_tokens: of the prompt's tokens that the provider served from its
            cache; None bills them like any other.
        per_audio_minute: of an STT.
        per_million_characters: of a TTS.
    """

    per_million_input_tokens: float | None = None
    per_million_output_tokens: float | None = None
    per_million_cached_input_tokens: float | None = None
    per_audio_minute: float | None = None
    per_million_characters: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may use.

    Attributes:
        trials_per_minute: started at most; None is as fast as the audio allows.
        spend: the most that the prices may add up to; None is no limit.
        same_failures: a candidate ends early after so many trials in a row with one failure.
    """

    trials_per_minute: float | None = None
    spend: float | None = None
    same_failures: int = 4


class BudgetKind(StrEnum):
    """What a budget limits."""

    ABSOLUTE = "absolute"
    RELATIVE = "relative"
    INCREASE = "increase"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A limit promised on an estimate.

    Attributes:
        metric: a metric's id, or "wer", "failures".
        statistic: "p50", "p90", "p95", "p99", "mean" or "rate".
        limit: absolute: in the metric's unit (milliseconds for time); relative: the largest ratio
            to the reference, 1.10 for 10 % more; increase: by how much a rate may exceed the
            reference's, 0.02 for two points.
        kind: absolute, relative or increase.
        candidate: the candidate it binds; None binds each.
        reference: for a relative budget: the candidate measured beside it, or None for the stored
            baseline.
        mde: what PASS excludes, as a ratio (1.2) to the reference or to the limit.
        required: whether the gate passes only where this budget does. One that is not required can
            fail the gate; where it cannot tell, that is shown and the others decide.
    """

    metric: str
    statistic: str
    limit: float
    kind: BudgetKind
    candidate: str | None = None
    reference: str | None = None
    mde: float | None = None
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A plan that can be run.

    Attributes:
        name: shown in the report; part of the run folder's name.
        description: one paragraph for the reader of the report.
        driver: session or stage.
        via: gateway or live.
        datasets: which utterances.
        candidates: at least one.
        repeats: performances of each utterance by each candidate.
        warmups: labelled trials of each candidate before the measured ones; none on the virtual
            clock.
        seed: of the order of trials; None draws one and stores it.
        concurrency: trials at once, each in a process of its own.
        clock: on which trials are performed; the real one for a live suite.
        frame_ms: length of an audio frame.
        trailing: what follows the recording: "silence" or "room".
        stage_texts: for the stage driver's TTS; empty takes the shipped texts.
        session, gateway, timeouts, limits: options.
        budgets: for the gate.
        baseline: the file of the stored baseline that budgets without a reference are held against.
        prices: by "provider/model".
        wer_limit: the WER up to which a turn counts as correct.
        target_ms: the response that is aimed at: a line in the charts, and no budget.
        keep_audio: store the replies' audio.
        conditions: what every utterance is heard under, one after another; none plays the
            recordings as they are.
        barge_ins: what is said over the replies, one after another; none says nothing.
        intelligibility: the recogniser that `turnbench intelligibility` has the replies heard by.
    """

    name: str
    datasets: tuple[DatasetChoice, ...]
    candidates: tuple[Candidate, ...]
    description: str = ""
    driver: Driver = Driver.SESSION
    via: Via = Via.GATEWAY
    repeats: int = 1
    warmups: int = 1
    seed: int | None = None
    concurrency: int = 1
    clock: Clock = Clock.REAL
    frame_ms: int = 20
    trailing: str = "silence"
    stage_texts: tuple[str, ...] = ()
    session: SessionOptions = field(default_factory=SessionOptions)
    gateway: GatewayOptions = field(default_factory=GatewayOptions)
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: Limits = field(default_factory=Limits)
    budgets: tuple[Budget, ...] = ()
    prices: Mapping[str, Price] = field(default_factory=lambda: MappingProxyType({}))
    wer_limit: float = 0.2
    target_ms: float = 800.0
    keep_audio: bool = True
    conditions: tuple[Condition, ...] = ()
    barge_ins: tuple[BargeIn, ...] = ()
    intelligibility: StageSettings | None = None
    baseline: str | None = None

    def __post_init__(self) -> None:
        """Check what a single field cannot tell."""
        problems = []
        names = [candidate.name for candidate in self.candidates]
        if not names:
            problems.append("candidate: give at least one [[candidate]]")
        problems.extend(
            f"candidate.name: {name!r} stands twice; names are unique"
            for name in sorted({each for each in names if names.count(each) > 1})
        )
        # Without regard to case: the names are folders of the run.
        played = [condition.name.casefold() for condition in self.conditions]
        problems.extend(
            f"condition.name: {name!r} stands twice; names are unique, whatever their case"
            for name in sorted({each for each in played if played.count(each) > 1})
        )
        problems.extend(self._interruption_problems())
        if not self.datasets:
            problems.append("dataset: give at least one [[dataset]]")
        for key, value, low, high in (
            ("repeats", self.repeats, 1, 10_000),
            ("warmups", self.warmups, 0, 100),
            ("concurrency", self.concurrency, 1, 200),
        ):
            if not low <= value <= high:
                problems.append(f"{key}: {value} lies outside {low}…{high}")
        if self.session.context == "growing" and self.concurrency > 1:
            problems.append(
                "session.context: a growing context has one trial at a time, "
                f"not {self.concurrency}; set concurrency = 1"
            )
        if self.frame_ms not in (10, 20):
            problems.append(f"frame_ms: {self.frame_ms} is neither 10 nor 20")
        if self.trailing not in ("silence", "room"):
            problems.append(f'trailing: {self.trailing!r} is neither "silence" nor "room"')
        if self.budgets and not any(budget.required for budget in self.budgets):
            problems.append("budget.required: a gate needs a budget that is required")
        for budget in self.budgets:
            for role, name in (("candidate", budget.candidate), ("reference", budget.reference)):
                if name is not None and name not in names:
                    problems.append(f"budget.{role}: no candidate is named {name!r}")
        if problems:
            raise ConfigurationError(problems)

    def _interruption_problems(self) -> list[str]:
        """Say what forbids to interrupt, or to hear interruptions."""
        problems: list[str] = []
        said = [each.name.casefold() for each in self.barge_ins]
        problems.extend(
            f"barge_in.name: {name!r} stands twice; names are unique, whatever their case"
            for name in sorted({each for each in said if said.count(each) > 1})
        )
        session = self.session
        ours = session.preset == "measure"
        if self.barge_ins and self.driver is not Driver.SESSION:
            problems.append('barge_in: only driver = "session" has a reply to speak over')
        elif self.barge_ins and ours and not session.interruptions:
            problems.append("session.interruptions: a [[barge_in]] needs interruptions = true")
        hears = session.vad or session.turn_detection in {TurnDetection.VAD, TurnDetection.MODEL}
        for each in self.candidates:
            if each.agent is not None or self.interruption(each).mode != "adaptive" or not ours:
                continue
            if not session.interruptions:
                problems.append(
                    "session.interruptions: an adaptive interruption needs interruptions = true"
                )
            if not hears or session.turn_detection is TurnDetection.MANUAL:
                problems.append(
                    "session.vad: livekit's adaptive interruption needs vad = true, and a "
                    'turn_detection other than "manual"'
                )
        return list(dict.fromkeys(problems))

    def interruption(self, candidate: Candidate) -> InterruptionSettings:
        """Return how a candidate tells that it is being interrupted."""
        if candidate.interruption is not None:
            return candidate.interruption
        return InterruptionSettings(mode=self.session.interruption_mode)

    @property
    def condition_names(self) -> tuple[str, ...]:
        """The names of the conditions that trials have; ("",) for a suite without any."""
        return tuple(each.name for each in self.conditions) or ("",)

    def condition(self, name: str) -> Condition | None:
        """Return the condition of that name, if there is one."""
        return next((each for each in self.conditions if each.name == name), None)
