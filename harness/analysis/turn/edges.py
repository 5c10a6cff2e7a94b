"""The edges that can lie on a critical path, and what causes each."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from harness.clock import Work
from harness.domain.request import WaitCause
from harness.domain.timeline import Mark, Stage

__all__ = ["EDGES", "Edge", "Leg", "Node"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What lies between two neighbouring marks of the path.

    Attributes:
        name: stable, for adding up over trials.
        title: what reports show.
        stage: the stage that it belongs to.
        kind: who had to act: the provider (network included) or the client, in this process.
        waits: the known waits that can explain a piece of it.
    """

    name: str
    title: str
    stage: Stage
    kind: Literal["provider", "client"]
    waits: frozenset[WaitCause] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A mark on the path.

    Attributes:
        mark: its name; for a transcript before the last final, ``transcript_first`` stands in.
        at_ns: its instant.
        work: the event loop's cumulative work then, where it was recorded.
    """

    mark: Mark
    at_ns: int
    work: Work | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One edge of the path of one turn, from the earlier node to the later."""

    edge: Edge
    start: Node
    end: Node


_STT, _END, _LLM, _TTS, _OUT = (
    Stage.STT,
    Stage.ENDPOINTING,
    Stage.LLM,
    Stage.TTS,
    Stage.PLAYOUT,
)
_CONNECTING = frozenset({WaitCause.POOL, WaitCause.CONNECT, WaitCause.TLS, WaitCause.RETRY})


_TABLE = (
    Edge(
        name="speech_send",
        title="handing over the last speech",
        stage=_STT,
        kind="client",
        waits=frozenset(
            {
                WaitCause.FRAME,
                WaitCause.PACING,
                WaitCause.RESAMPLING,
                WaitCause.PACKET,
                WaitCause.VAD,
                WaitCause.UPLOAD,
                *_CONNECTING,
            }
        ),
    ),
    Edge(
        name="stt",
        title="STT",
        stage=_STT,
        kind="provider",
        waits=frozenset({WaitCause.SILENCE}),
    ),
    Edge(name="stt_client", title="STT client", stage=_STT, kind="client"),
    Edge(name="vad", title="VAD", stage=_END, kind="provider"),
    Edge(
        name="commit",
        title="end-of-turn decision",
        stage=_END,
        kind="client",
        waits=frozenset({WaitCause.ENDPOINTING}),
    ),
    Edge(name="tool_llm_prepare", title="preparing the tool's LLM", stage=_LLM, kind="client"),
    Edge(
        name="tool_llm_send",
        title="asking the LLM (tool)",
        stage=_LLM,
        kind="client",
        waits=_CONNECTING,
    ),
    Edge(name="tool_llm", title="LLM (tool)", stage=_LLM, kind="provider"),
    Edge(
        name="tool_llm_reasoning",
        title="LLM reasoning (tool)",
        stage=_LLM,
        kind="provider",
    ),
    Edge(name="tool_llm_rest", title="LLM: rest of the tool call", stage=_LLM, kind="provider"),
    Edge(
        name="around_tool",
        title="around the tool",
        stage=_LLM,
        kind="client",
        waits=frozenset({WaitCause.TOOL}),
    ),
    Edge(name="llm_failed", title="LLM: failed attempt", stage=_LLM, kind="provider"),
    Edge(name="llm_prepare", title="preparing the LLM request", stage=_LLM, kind="client"),
    Edge(name="llm_send", title="asking the LLM", stage=_LLM, kind="client", waits=_CONNECTING),
    Edge(name="llm", title="LLM", stage=_LLM, kind="provider"),
    Edge(name="llm_reasoning", title="LLM reasoning", stage=_LLM, kind="provider"),
    Edge(name="llm_client", title="LLM client", stage=_LLM, kind="client"),
    Edge(
        name="sentence",
        title="LLM: rest of the first sentence",
        stage=_LLM,
        kind="provider",
        waits=frozenset({WaitCause.TRANSFORMS}),
    ),
    Edge(name="gather", title="sentence gathering in the agent", stage=_LLM, kind="client"),
    Edge(name="release", title="reply released by the commit", stage=_LLM, kind="client"),
    Edge(name="tts_prepare", title="preparing the TTS request", stage=_TTS, kind="client"),
    Edge(name="tts_failed", title="TTS: failed attempt", stage=_TTS, kind="provider"),
    Edge(name="tts_send", title="asking the TTS", stage=_TTS, kind="client", waits=_CONNECTING),
    Edge(name="tts", title="TTS", stage=_TTS, kind="provider"),
    Edge(name="tts_pacing", title="TTS pacing", stage=_TTS, kind="provider"),
    Edge(name="decode", title="decoding", stage=_TTS, kind="client"),
    Edge(name="output", title="to the output", stage=_OUT, kind="client"),
    Edge(
        name="audible",
        title="until it can be heard",
        stage=_OUT,
        kind="client",
        waits=frozenset({WaitCause.LEADING_SILENCE, WaitCause.UNDERRUN}),
    ),
)


EDGES = MappingProxyType({edge.name: edge for edge in _TABLE})
"""Every edge by its name, in the order of the path."""
