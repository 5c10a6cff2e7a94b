"""The response of a combination that was not run, from candidates that were.

Each turn's waterfall is cut in three: what lies with the STT and the end-of-turn decision, with the
LLM, with the TTS and playout; what is unattributed stays with its edge. The three sum to the
response, so the parts of different candidates may be put together
(``harness.analysis.predict.composition``). From the ``stage`` driver the parts are the stages
measured alone, which leaves out the agent's own time between them: a few milliseconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.analysis.compare.comparable import MeasuredRun
from harness.analysis.compare.sides import main_rows
from harness.analysis.predict.composition import (
    Part,
    Prediction,
    PredictionError,
    predict_response,
    prediction_error,
)
from harness.analysis.statistics.estimate import Sample
from harness.analysis.summary.samples import Row, cluster_of, sample_of
from harness.analysis.turn.attribution import Waterfall, waterfall
from harness.analysis.turn.measurement import MILLISECOND
from harness.analysis.turn.reading import marks_of
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.suite import Driver
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import FailedTrial, Trial
from harness.errors import ConfigurationError

__all__ = ["THIRDS", "Composition", "compose", "composition_checks", "stage_sample"]

Third = Literal["stt", "llm", "tts"]
THIRDS: tuple[Third, ...] = ("stt", "llm", "tts")

_OF_STAGE: dict[Stage, Third] = {
    Stage.STT: "stt",
    Stage.HARNESS: "stt",
    Stage.ENDPOINTING: "stt",
    Stage.LLM: "llm",
    Stage.TTS: "tts",
    Stage.PLAYOUT: "tts",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """A predicted combination.

    Attributes:
        stt, llm, tts: the candidates that each part was taken from.
        prediction: percentiles of the response in milliseconds, with intervals.
        candidate: the candidate that is this very combination, where one was run.
        errors: the prediction against it, by percentile; empty where it was not run.
    """

    stt: str
    llm: str
    tts: str
    prediction: Prediction
    candidate: str | None
    errors: tuple[PredictionError, ...]


def stage_sample(rows: Sequence[Row], third: Third) -> Sample:
    """Return one third of the response as a sample in milliseconds.

    A trial that failed in that third is a failure; one that failed elsewhere is left out.
    """
    values: list[float] = []
    failed: list[bool] = []
    clusters: list[int] = []
    for row in rows:
        value = _third(row, third)
        broken = isinstance(row.trial, FailedTrial) and (
            _OF_STAGE[row.trial.failure.stage] == third
        )
        if value is None and not broken:
            continue
        values.append(0.0 if value is None or broken else value)
        failed.append(broken)
        clusters.append(cluster_of(row.trial.key.recording))
    return Sample.of(values, failed=failed, clusters=clusters)


def _third(row: Row, third: Third) -> float | None:
    if not isinstance(row.trial, Trial):
        return None
    turn = row.trial.turns[0]
    if row.trial.driver == Driver.STAGE.value:
        if third != "llm":
            return row.value("stt_finalize" if third == "stt" else "tts_first_audible")
        marks = marks_of(turn)
        asked = marks.get(Mark.LLM_REQUEST)
        ready = marks.get(
            Mark.LLM_FIRST_SENTENCE,
            marks.get(Mark.SENTENCE_RECEIVED, marks.get(Mark.LLM_FIRST_TEXT)),
        )
        return None if asked is None or ready is None else (ready - asked) / MILLISECOND
    falls = waterfall(turn)
    if not isinstance(falls, Waterfall):
        return None
    return sum(part.ns for part in falls.parts if _OF_STAGE[part.stage] == third) / MILLISECOND


def compose(run: MeasuredRun, *, stt: str, llm: str, tts: str) -> Composition:
    """Predict the response of one candidate's STT, another's LLM and another's TTS.

    Args:
        run: all candidates of one run, so that utterances and conditions are the same.
        stt: the name of the candidate whose STT it is.
        llm: likewise.
        tts: likewise.

    Raises:
        ConfigurationError: there is no such candidate, it has no such part, or the parts of this
            run's response overlap and do not add up.
    """
    _refuse_overlap(run)
    return _compose(run, main_rows(run), {"stt": stt, "llm": llm, "tts": tts})


def _refuse_overlap(run: MeasuredRun) -> None:
    session = run.suite.session
    for name in ("preemptive_generation", "preemptive_tts"):
        if run.suite.driver is Driver.SESSION and getattr(session, name):
            raise ConfigurationError(
                f"{run.name}: session.{name} is on, so that stages overlap; a combination is the "
                "sum of its parts only without it"
            )
    if run.suite.driver is Driver.SESSION and session.preset == "livekit-defaults":
        raise ConfigurationError(
            f'{run.name}: preset = "livekit-defaults" asks the LLM before the commit, so that '
            "stages overlap; a combination is the sum of its parts only without it"
        )


def _compose(
    run: MeasuredRun, rows: dict[str, tuple[Row, ...]], sources: dict[Third, str]
) -> Composition:
    candidates = {each.name: each for each in run.suite.candidates}
    parts: list[Part] = []
    for third, name in sources.items():
        if name not in candidates:
            raise ConfigurationError(
                f"{third} {name!r}: the candidates of {run.name} are {', '.join(candidates)}"
            )
        spans = stage_sample(rows[name], third)
        if spans.n == 0:
            raise ConfigurationError(f"{third} {name!r}: {run.name} did not measure it")
        # The stage driver's TTS speaks fixed texts, whatever the utterance.
        alone = run.suite.driver is Driver.STAGE and third == "tts"
        parts.append(Part(name=f"{third} of {name}", spans=spans, paired=not alone))
    try:
        prediction = predict_response(parts, wholes=_wholes(rows, sources.values()))
    except ValueError as error:
        raise ConfigurationError(f"{run.name}: {error}") from error
    same = next(
        (
            each.name
            for each in run.suite.candidates
            if all(
                _settings(each, third) == _settings(candidates[name], third)
                for third, name in sources.items()
            )
        ),
        None,
    )
    errors: tuple[PredictionError, ...] = ()
    if same is not None and run.suite.driver is Driver.SESSION:
        errors = prediction_error(prediction, sample_of("response", rows[same]))
    return Composition(
        stt=sources["stt"],
        llm=sources["llm"],
        tts=sources["tts"],
        prediction=prediction,
        candidate=same,
        errors=errors,
    )


def _wholes(rows: Mapping[str, Sequence[Row]], names: Iterable[str]) -> dict[int, int]:
    """Return of each recording the utterance: an odd one is odd under every condition."""
    return {
        cluster_of(row.trial.key.recording): cluster_of(row.utterance.id)
        for name in names
        for row in rows[name]
    }


def _settings(candidate: Candidate, third: Third) -> StageSettings | None:
    found: StageSettings | None = getattr(candidate, third)
    return found


def composition_checks(run: MeasuredRun) -> tuple[Composition, ...]:
    """Predict the combinations that were run, from other candidates, to show the error.

    For each candidate of which every part is also another candidate's: its parts are taken from
    those others.

    Raises:
        ConfigurationError: the parts of this run's response overlap.
    """
    _refuse_overlap(run)
    rows = main_rows(run)
    found: list[Composition] = []
    for candidate in run.suite.candidates:
        sources: dict[Third, str] = {}
        for third in THIRDS:
            other = next(
                (
                    each.name
                    for each in run.suite.candidates
                    if each is not candidate
                    and _settings(each, third) is not None
                    and _settings(each, third) == _settings(candidate, third)
                ),
                None,
            )
            if other is not None:
                sources[third] = other
        if len(sources) == len(THIRDS):
            found.append(_compose(run, rows, sources))
    return tuple(found)
