"""What an agent says before the caller has spoken: heard out, and no part of the turn."""

import time
from typing import Any

from livekit.agents import voice

from harness.domain.request import Failure, FailureKind
from harness.domain.timeline import Stage
from harness.pipeline.drivers.waiting import wait_until
from harness.pipeline.line.sink import PlayoutClock
from harness.pipeline.recording.recording import Recorder

__all__ = ["hear_greeting"]

_NS = 1_000_000_000
_SETTLED_S = 0.1
"""How long an agent has to be quiet before the caller begins."""


async def hear_greeting(
    session: voice.AgentSession[Any], sink: PlayoutClock, recorder: Recorder, limit_s: float
) -> Failure | None:
    """Wait until an agent that has just started is quiet, whoever makes it speak.

    What it said is the greeting; what was recorded of it is no part of the turn.

    Args:
        session: the agent's, which has started.
        sink: where the greeting is heard.
        recorder: the trial's.
        limit_s: how long a greeting may take.

    Returns:
        Why the greeting does not end, if it does not.
    """
    quiet_since = time.perf_counter_ns()

    def settled() -> bool:
        nonlocal quiet_since
        now = time.perf_counter_ns()
        if _speaks(session, sink, recorder):
            quiet_since = now
        return now - quiet_since >= round(_SETTLED_S * _NS)

    ended = await wait_until(
        settled, until_ns=time.perf_counter_ns() + round((limit_s + _SETTLED_S) * _NS)
    )
    if not ended:
        return Failure(
            stage=Stage.PLAYOUT,
            kind=FailureKind.TIMEOUT,
            message=f"the greeting did not end within {limit_s:g} s",
        )
    recorder.greeting_audible_ns = sink.audible_ns
    recorder.forget_greeting()
    sink.forget()
    return None


def _speaks(session: voice.AgentSession[Any], sink: PlayoutClock, recorder: Recorder) -> bool:
    """Whether the agent speaks, or is about to."""
    activity: Any = session._activity  # noqa: SLF001  (livekit tells nobody of `on_enter`)
    entering = None if activity is None else activity._on_enter_task  # noqa: SLF001
    return (
        (entering is not None and not entering.done())
        or session.current_speech is not None
        or (activity is not None and bool(activity._speech_q))  # noqa: SLF001
        or sink.playing
        or any(node.ended is None for node in recorder.nodes)
    )
