"""What the response would have been: recomputed from stored marks, without a provider.

Each turn keeps what was measured of it; only the order in which one thing waited for another
changes. That is exact as far as the provider would have answered alike: a shorter endpointing delay
may cut off a caller who pauses, and a model asked earlier is asked on the same transcript here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.statistics.estimate import Sample
from harness.analysis.summary.figures import Statistics
from harness.analysis.summary.samples import Row, cluster_of
from harness.analysis.summary.summary import statistics_of_sample
from harness.analysis.turn.measurement import MILLISECOND, Measurement, Missing
from harness.analysis.turn.reading import marks_of, transcript_text
from harness.domain.request import Cause, Request, TranscriptKind, WaitCause
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Trial, Turn

__all__ = [
    "NOTHING_TO_START_ON",
    "WhatIf",
    "response_with_delay",
    "response_with_preemption",
    "what_if_delay",
    "what_if_preemptive",
    "what_if_voice",
]


NOTHING_TO_START_ON = "no transcript before the commit starts a request"


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """A candidate's response under another setting.

    Attributes:
        change: the setting, in words.
        actual: the response as measured, over the turns that can be recomputed, in milliseconds.
        predicted: the response recomputed, over the same turns.
        turns: how many were recomputed.
        left_out: turns that could not be, by reason.
        unchanged: turns in which the setting changes nothing, by reason; they count.
    """

    change: str
    actual: Statistics
    predicted: Statistics
    turns: int
    left_out: Mapping[str, int]
    unchanged: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Release:
    """When the first sentence could go to the TTS: it was ready, and the turn was committed."""

    response_ns: int
    ready_ns: int
    commit_ns: int
    llm: Request
    asked_ns: int

    def moved(self, *, ready_ns: int, commit_ns: int) -> int:
        """Return the response if the sentence had been ready and the turn committed then."""
        before = max(self.ready_ns, self.commit_ns)
        return self.response_ns + max(ready_ns, commit_ns) - before


def _release(turn: Turn) -> _Release | Missing:
    marks = marks_of(turn)
    for mark in (
        Mark.SPEECH_END,
        Mark.FIRST_AUDIBLE,
        Mark.TURN_COMMITTED,
        Mark.TRANSCRIPT_FINAL,
        Mark.LLM_REQUEST,
    ):
        if mark not in marks:
            return Missing(reason=f"no {mark.value}")
    ready = marks.get(Mark.SENTENCE_RECEIVED, marks.get(Mark.LLM_FIRST_TEXT))
    if ready is None:
        return Missing(reason="no llm_first_text")
    llm = next((each for each in turn.chain() if each.stage is Stage.LLM), None)
    if llm is None:
        return Missing(reason="no LLM request")
    if llm.cause not in {Cause.TURN, Cause.PREEMPTIVE}:
        return Missing(reason=f"the LLM was asked because of {llm.cause.value}")
    commit = marks[Mark.TURN_COMMITTED]
    if marks.get(Mark.TTS_REQUEST, commit) < commit:
        return Missing(reason="the reply was synthesised before the commit")
    return _Release(
        response_ns=marks[Mark.FIRST_AUDIBLE] - marks[Mark.SPEECH_END],
        ready_ns=ready,
        commit_ns=commit,
        llm=llm,
        asked_ns=marks[Mark.LLM_REQUEST],
    )


def response_with_delay(turn: Turn, delay_ms: float) -> Measurement | Missing:
    """Return the response if the agent had waited another endpointing delay.

    The delay runs from where the recorded one began (without one, from what the commit waited for
    last: the final transcript or the VAD), and never ends before both are there.
    """
    found = _release(turn)
    if isinstance(found, Missing):
        return found
    marks = marks_of(turn)
    commit = found.commit_ns
    heard = max(
        instant
        for mark in (Mark.TRANSCRIPT_FINAL, Mark.VAD_END)
        if (instant := marks.get(mark)) is not None and instant <= commit
    )
    waits = [
        wait
        for wait in turn.waits
        if wait.cause is WaitCause.ENDPOINTING and wait.start_ns <= commit
    ]
    start = waits[-1].start_ns if waits else heard
    over = max(min(waits[-1].end_ns, commit), heard) if waits else heard
    moved = max(start + round(delay_ms * MILLISECOND), heard) - over
    # Asked after the commit, the LLM moves with it; asked before, it does not.
    ready = found.ready_ns + (moved if found.llm.cause is Cause.TURN else 0)
    response = found.moved(ready_ns=ready, commit_ns=commit + moved)
    return Measurement(value=response / MILLISECOND)


def response_with_preemption(
    turn: Turn, *, preemptive: bool, on_final: bool = True
) -> Measurement | Missing:
    """Return the response if the LLM had been asked before the commit, or on it.

    Args:
        turn: as it was measured.
        preemptive: ask early.
        on_final: a final transcript starts an early request. So it does where the VAD decides the
            end of the turn; where the STT does, livekit starts on a preflight transcript alone,
            which many recognisers never send: then nothing changes, and a note says so.
    """
    found = _release(turn)
    if isinstance(found, Missing):
        return found
    if (found.llm.cause is Cause.PREEMPTIVE) is preemptive:
        return Measurement(value=found.response_ns / MILLISECOND)
    marks = marks_of(turn)
    took = found.ready_ns - found.asked_ns
    if preemptive:
        prepare = found.asked_ns - found.commit_ns
        starts = _early_starts(turn, marks[Mark.TRANSCRIPT_FINAL], on_final=on_final)
        if not starts:
            return Measurement(value=found.response_ns / MILLISECOND, note=NOTHING_TO_START_ON)
        asked = min(starts) + prepare
    else:
        before = [each.at_ns for each in turn.transcripts if each.at_ns <= found.asked_ns]
        if not before:
            return Missing(reason="no transcript before the LLM request")
        asked = found.commit_ns + found.asked_ns - max(before)
    response = found.moved(ready_ns=asked + took, commit_ns=found.commit_ns)
    return Measurement(value=response / MILLISECOND)


def _early_starts(turn: Turn, final_ns: int, *, on_final: bool) -> list[int]:
    """Return the instants at which a request for what was finally heard could have begun."""
    said = (transcript_text(turn) or "").casefold()
    early = [
        each.at_ns
        for each in turn.transcripts
        if each.kind is TranscriptKind.PREFLIGHT
        and not each.late
        and each.text.strip().casefold() == said
    ]
    return [*early, final_ns] if on_final else early


def what_if_delay(rows: Sequence[Row], delay_ms: float) -> WhatIf:
    """Return a candidate's response under another endpointing delay."""
    return _what_if(
        f"endpointing delay {delay_ms:g} ms",
        rows,
        lambda _, turn: response_with_delay(turn, delay_ms),
    )


def what_if_preemptive(rows: Sequence[Row], *, preemptive: bool, on_final: bool = True) -> WhatIf:
    """Return a candidate's response with preemptive generation on or off.

    Args:
        rows: the candidate's.
        preemptive: on.
        on_final: as :func:`response_with_preemption` takes it.
    """
    return _what_if(
        f"preemptive generation {'on' if preemptive else 'off'}",
        rows,
        lambda _, turn: response_with_preemption(turn, preemptive=preemptive, on_final=on_final),
    )


def what_if_voice(rows: Sequence[Row], voice: Sequence[Row], name: str) -> WhatIf:
    """Return a candidate's response with another voice's measured first audible sample.

    Each turn takes the other voice's figure for the same recording and repeat, else for the same
    recording.

    Args:
        rows: the candidate's.
        voice: trials with the other voice, of any candidate of the run.
        name: the voice's.
    """
    exact: dict[tuple[str, int], float] = {}
    loose: dict[str, list[float]] = {}
    for row in voice:
        value = row.value("tts_first_audible")
        if value is not None:
            exact[row.trial.key.recording, row.trial.key.repeat] = value
            loose.setdefault(row.trial.key.recording, []).append(value)

    def other(row: Row, turn: Turn) -> Measurement | Missing:
        del turn
        response, mine = row.value("response"), row.value("tts_first_audible")
        if response is None or mine is None:
            return Missing(reason="no tts_first_audible")
        found = exact.get((row.trial.key.recording, row.trial.key.repeat))
        if found is None:
            found = next(iter(loose.get(row.trial.key.recording, ())), None)
        if found is None:
            return Missing(reason="the other voice did not answer this utterance")
        return Measurement(value=response - mine + found)

    return _what_if(f"voice {name}", rows, other)


def _what_if(
    change: str, rows: Sequence[Row], response: Callable[[Row, Turn], Measurement | Missing]
) -> WhatIf:
    """Recompute every turn; a failed trial stays failed in both views."""
    actual: list[float] = []
    predicted: list[float] = []
    failed: list[bool] = []
    clusters: list[int] = []
    left_out: dict[str, int] = {}
    unchanged: dict[str, int] = {}
    for row in rows:
        if isinstance(row.trial, Trial):
            found, measured = response(row, row.trial.turns[0]), row.value("response")
            if isinstance(found, Missing) or measured is None:
                reason = found.reason if isinstance(found, Missing) else "no response"
                left_out[reason] = left_out.get(reason, 0) + 1
                continue
            if found.note:
                unchanged[found.note] = unchanged.get(found.note, 0) + 1
            actual.append(measured)
            predicted.append(found.value)
        else:
            actual.append(0.0)
            predicted.append(0.0)
        failed.append(not isinstance(row.trial, Trial))
        clusters.append(cluster_of(row.utterance.id))
    return WhatIf(
        change=change,
        actual=statistics_of_sample(Sample.of(actual, failed=failed, clusters=clusters)),
        predicted=statistics_of_sample(Sample.of(predicted, failed=failed, clusters=clusters)),
        turns=len(actual) - sum(failed),
        left_out=left_out,
        unchanged=unchanged,
    )
