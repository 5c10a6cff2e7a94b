"""Hooks at livekit's decisions: the turn's commit, the detector's verdicts, the tools' runs."""

import asyncio
from typing import Any

from livekit.agents import voice
from livekit.agents.voice import agent_activity

from harness.pipeline.recording.recording import CURRENT_RECORDER, Recorder, stamp
from harness.pipeline.transport.purposes import asking_for

__all__ = ["probe_activity", "probe_tools"]


def probe_activity(agent: voice.Agent, recorder: Recorder) -> None:
    """Stamp the commit of the turn, the detector's end of speech and its predictions.

    livekit has no public hook at the instant of the decision; ``on_user_turn_completed`` comes
    after other awaits.
    """
    activity: Any = agent._get_activity_or_raise()  # noqa: SLF001
    on_end_of_turn = activity.on_end_of_turn
    on_end_of_speech = activity.on_end_of_speech
    on_eot_prediction = activity.on_eot_prediction

    def end_of_turn(info: Any) -> bool:
        at = stamp()
        committed: bool = on_end_of_turn(info)
        if committed and not info.skip_reply:
            recorder.commits.append(at)
        return committed

    def end_of_speech(event: Any) -> None:
        if event is not None:
            recorder.vad_ends.append(
                (stamp(), float(event.silence_duration), float(event.inference_duration))
            )
        on_end_of_speech(event)

    def eot_prediction(event: Any) -> None:
        recorder.eot.append((stamp().ns, float(event.probability), float(event.threshold)))
        on_eot_prediction(event)

    activity.on_end_of_turn = end_of_turn
    activity.on_end_of_speech = end_of_speech
    activity.on_eot_prediction = eot_prediction


def probe_tools() -> None:
    """Stamp when an agent's tools run; once for the process, as livekit has no hook for it."""
    module: Any = agent_activity
    original = module.perform_tool_executions
    if getattr(original, "_turnbench", False):
        return

    def perform(**kwargs: Any) -> tuple[asyncio.Task[None], Any]:
        with asking_for("tool"):
            task, output = original(**kwargs)
        recorder = CURRENT_RECORDER.get()
        if recorder is not None:
            started: list[int] = []
            output.first_tool_started_fut.add_done_callback(lambda _: started.append(stamp().ns))
            task.add_done_callback(
                lambda _: recorder.tool_runs.extend((at, stamp().ns) for at in started)
            )
        return task, output

    perform._turnbench = True  # type: ignore[attr-defined]  # noqa: SLF001
    module.perform_tool_executions = perform
