"""The marks of a turn that are those of its requests."""

from dataclasses import replace

from harness.domain.request import Cause, Request
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Turn


def _request(
    name: str,
    stage: Stage,
    marks: dict[Mark, int],
    *,
    parent: str | None = None,
    cause: Cause = Cause.TURN,
) -> Request:
    return Request(id=name, stage=stage, cause=cause, parent=parent, marks=marks)


TOOL_TURN = Turn(
    index=0,
    utterance="u1",
    marks={Mark.SPEECH_START: 0, Mark.SPEECH_END: 100},
    requests=(
        _request(
            "call",
            Stage.LLM,
            {Mark.LLM_REQUEST: 200, Mark.LLM_SENT: 210, Mark.LLM_FIRST_TEXT: 300},
        ),
        _request(
            "answer",
            Stage.LLM,
            {Mark.LLM_REQUEST: 400, Mark.LLM_FIRST_TEXT: 500},
            parent="call",
            cause=Cause.TOOL,
        ),
        _request(
            "speech", Stage.TTS, {Mark.TTS_REQUEST: 600}, parent="answer", cause=Cause.SENTENCE
        ),
    ),
    audible_request="speech",
)


def test_the_nearest_request_gives_a_stages_marks() -> None:
    """A tool's call lends no mark to the answer, even where the answer lacks one."""
    timeline = TOOL_TURN.timeline()
    assert timeline.get(Mark.LLM_REQUEST) == 400
    assert Mark.LLM_SENT not in timeline


def test_a_stage_off_the_chain_gives_its_first_request() -> None:
    """Stages measured alone follow from nothing, and still have their marks."""
    alone = replace(
        TOOL_TURN,
        audible_request="speech",
        requests=tuple(replace(each, parent=None) for each in TOOL_TURN.requests),
    )
    assert alone.timeline().get(Mark.LLM_REQUEST) == 200
    assert alone.timeline().get(Mark.TTS_REQUEST) == 600


def test_a_cancelled_request_gives_nothing() -> None:
    """What the agent dropped is not what was heard."""
    dropped = replace(
        TOOL_TURN,
        audible_request=None,
        requests=(replace(TOOL_TURN.requests[0], cancelled=True),),
    )
    assert Mark.LLM_REQUEST not in dropped.timeline()
