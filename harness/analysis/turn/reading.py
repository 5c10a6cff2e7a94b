"""A turn as formulas read it: its marks, its words, its scores."""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.analysis.turn.measurement import Missing
from harness.analysis.words.transcript import NoTranscript, Score, score
from harness.domain.request import Request, TranscriptKind
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Turn
from harness.domain.utterance import Utterance

__all__ = [
    "View",
    "finals_only",
    "late_transcript",
    "marks_of",
    "spoken_score",
    "transcript_text",
    "view_of",
    "word_score",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A turn as formulas read it; made once for all metrics of the turn."""

    turn: Turn
    utterance: Utterance
    marks: Mapping[Mark, int]
    llm: Request | None


def _standing(turn: Turn) -> dict[Stage, Request]:
    """Return for each stage the request whose marks stand for it."""
    found: dict[Stage, Request] = {}
    for request in (*turn.chain(), *(each for each in turn.requests if not each.cancelled)):
        found.setdefault(request.stage, request)
    return found


def _marks(turn: Turn, standing: Mapping[Stage, Request]) -> dict[Mark, int]:
    marks = dict(turn.marks)
    for request in standing.values():
        for mark, instant in request.marks.items():
            marks.setdefault(mark, instant)
    return marks


def marks_of(turn: Turn) -> dict[Mark, int]:
    """Return the turn's marks with those of the requests behind its first audible sample.

    Of each stage only the request nearest to the reply counts: what an earlier attempt or a tool's
    request left behind does not fill its gaps. A stage off that chain (each stage alone has no
    chain) gives its first request that was not cancelled.
    """
    return _marks(turn, _standing(turn))


def transcript_text(turn: Turn) -> str | None:
    """Return the finals up to the commit, joined by spaces; None where none came."""
    finals = [
        each.text.strip()
        for each in turn.transcripts
        if each.kind is TranscriptKind.FINAL and not each.late and each.text.strip()
    ]
    return " ".join(finals) if finals else None


def late_transcript(turn: Turn) -> str | None:
    """Return the finals after the commit, joined by spaces; None where none came."""
    finals = [
        each.text.strip()
        for each in turn.transcripts
        if each.kind is TranscriptKind.FINAL and each.late and each.text.strip()
    ]
    return " ".join(finals) if finals else None


def finals_only(turn: Turn) -> bool:
    """Tell whether the STT sent finals and nothing before them."""
    kinds = {each.kind for each in turn.transcripts if each.text.strip()}
    return kinds == {TranscriptKind.FINAL}


def word_score(turn: Turn, utterance: Utterance) -> Score | NoTranscript | Missing:
    """Return the word errors of a turn's transcript: the finals up to the commit against the text.

    Where no speech is expected, every word heard is an insertion and there is no rate.
    """
    reference = "" if utterance.expect == "none" else utterance.reference
    if reference is None:
        return Missing(reason="the utterance has no text")
    return score(reference, transcript_text(turn), utterance.language)


def spoken_score(turn: Turn, utterance: Utterance) -> Score | NoTranscript | Missing:
    """Return the word errors of a reply that a recogniser heard again, against its text.

    The reply is taken to be of the utterance's language. Words are the unit where the language
    separates them by spaces, else characters.
    """
    reply = turn.reply
    if reply is None:
        return Missing(reason="no reply was played")
    if reply.again is None:
        return Missing(reason="no recogniser has heard the reply")
    if reply.again.reason is not None:
        return Missing(reason=f"the recogniser failed: {reply.again.reason}")
    return score(reply.again.spoken, reply.again.heard, utterance.language)


def view_of(turn: Turn, utterance: Utterance) -> View:
    """Return a turn as formulas read it."""
    standing = _standing(turn)
    return View(
        turn=turn,
        utterance=utterance,
        marks=_marks(turn, standing),
        llm=standing.get(Stage.LLM),
    )
