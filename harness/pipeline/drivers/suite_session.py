"""The session and the agent of a suite's candidate, with the suite's options."""

from typing import Any

from livekit.agents import NOT_GIVEN, llm, voice
from livekit.agents.inference import VAD, TurnDetector
from livekit.agents.voice.agent_session import SessionConnectOptions

from harness.domain.candidate import Candidate, InterruptionSettings
from harness.domain.suite import SessionOptions, Suite, TurnDetection
from harness.pipeline.drivers.clients import connect_options

__all__ = ["suite_session"]


def _turn_handling(options: SessionOptions, interruption: InterruptionSettings) -> dict[str, Any]:
    detection: Any = {
        TurnDetection.STT: "stt",
        TurnDetection.VAD: "vad",
        TurnDetection.MANUAL: "manual",
    }.get(options.turn_detection)
    if options.turn_detection is TurnDetection.MODEL:
        detection = TurnDetector()
    return {
        "turn_detection": detection,
        "endpointing": {
            "mode": "fixed",
            "min_delay": options.min_endpointing_delay_s,
            "max_delay": options.max_endpointing_delay_s,
        },
        "interruption": {
            "enabled": options.interruptions,
            "mode": interruption.mode,
            "min_duration": interruption.min_duration_s,
            "min_words": 0,
            "backchannel_boundary": (
                options.backchannel_boundary_s,
                options.backchannel_boundary_s,
            ),
            "discard_audio_if_uninterruptible": True,
            "false_interruption_timeout": None,
        },
        "preemptive_generation": {
            "enabled": options.preemptive_generation,
            "preemptive_tts": options.preemptive_tts,
        },
    }


def suite_session(
    suite: Suite, candidate: Candidate, clients: Any, history: llm.ChatContext | None
) -> tuple[voice.AgentSession[Any], voice.Agent]:
    """Return a fresh session and agent.

    Args:
        suite: whose options the session has.
        candidate: whose instructions the agent has.
        clients: what it is played with.
        history: what has been said before, where the suite lets the context grow.
    """
    options = suite.session
    growing = options.context == "growing"
    agent = voice.Agent(
        instructions=candidate.instructions,
        chat_ctx=history.copy() if growing and history is not None else NOT_GIVEN,
    )
    connect = connect_options(suite)
    conn_options = SessionConnectOptions(
        stt_conn_options=connect, llm_conn_options=connect, tts_conn_options=connect
    )
    if options.preset == "livekit-defaults":
        return (
            voice.AgentSession(stt=clients.stt, llm=clients.llm, tts=clients.tts),
            agent,
        )
    wants_vad = options.vad or options.turn_detection in (
        TurnDetection.VAD,
        TurnDetection.MODEL,
    )
    streaming = clients.stt is None or clients.stt.capabilities.streaming
    vad = (
        VAD(model="silero", min_silence_duration=options.vad_min_silence_s)
        if wants_vad or not streaming
        else None
    )
    session: voice.AgentSession[Any] = voice.AgentSession(
        stt=clients.stt,
        llm=clients.llm,
        tts=clients.tts,
        vad=vad,
        turn_handling=_turn_handling(  # type: ignore[arg-type]
            options, suite.interruption(candidate)
        ),
        tts_text_transforms=list(options.text_transforms) or None,  # type: ignore[arg-type]
        aec_warmup_duration=None,
        user_away_timeout=None,
        session_close_transcript_timeout=0.0,
        conn_options=conn_options,
    )
    return session, agent
