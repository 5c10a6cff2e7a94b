"""Reading recorded response bodies, after the turn: which bytes carried what, and when they came.

Nothing here runs on the timed path. The parsers are tolerant, because a malformed body is a finding
and not an accident: what cannot be read is counted.
"""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from livekit.agents.llm.utils import ThinkingTokenFilter, strip_thinking_tokens

from harness.pipeline.line.wav import WavHeader, wav_header_of
from harness.pipeline.recording.recording import Exchange, Stamp
from harness.pipeline.transport.events import error_words, events_of, json_event

__all__ = [
    "SPEKO_CHAT",
    "SPEKO_HEARD",
    "SPEKO_SPEECH",
    "ChatBody",
    "ChatDelta",
    "SpeechBody",
    "read_chat",
    "read_speech",
    "scalars",
    "speko_error",
    "speko_events",
    "speko_route",
]

_OK = 200
_LARGEST_COUNT = 1 << 62
SPEKO_CHAT = "/v1/complete"
SPEKO_HEARD = "/v1/transcribe"
SPEKO_SPEECH = "/v1/synthesize"
"""The ends of the addresses of Speko's platform API."""


@dataclass(slots=True)
class ChatDelta:
    """One piece of a chat stream."""

    at: Stamp
    text: str = ""
    reasoning: str = ""
    tool_call: bool = False


@dataclass(slots=True)
class ChatBody:
    """A chat completion's stream, read."""

    first_byte: Stamp | None = None
    deltas: list[ChatDelta] = field(default_factory=list)
    done_at: Stamp | None = None
    finish_reason: str | None = None
    finish_at: Stamp | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    response_id: str | None = None
    malformed: int = 0
    error: str | None = None
    route: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The answer's text."""
        return "".join(delta.text for delta in self.deltas)


@dataclass(slots=True)
class SpeechBody:
    """A synthesis response, read.

    ``early`` counts what came before it had been asked for; ``container`` tells that the audio
    is no bare samples; ``wav`` is the header of one, which stands even in a body that says that it
    is bare samples.
    """

    header: Stamp | None = None
    first_audio: Stamp | None = None
    frame: Stamp | None = None
    last: Stamp | None = None
    arrivals: list[tuple[Stamp, int]] = field(default_factory=list)
    size: int = 0
    malformed: int = 0
    early: int = 0
    error: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    events: bool = False
    container: bool = False
    done: bool = False
    wav: WavHeader | None = None


def scalars(value: Any, prefix: str = "", depth: int = 4) -> dict[str, Any]:
    """Flatten a usage object to its scalars; what JSON cannot hold, or nests too deep, is left."""
    flat: dict[str, Any] = {}
    if isinstance(value, dict) and depth:
        for key, each in value.items():
            if isinstance(each, dict):
                flat.update(scalars(each, f"{prefix}{key}.", depth - 1))
            elif isinstance(each, str) or (
                # No count is larger, and no float holds a number of hundreds of digits.
                isinstance(each, int | float) and abs(each) < _LARGEST_COUNT
            ):
                flat[f"{prefix}{key}"] = each
    return flat


def _tool_call(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta")
    return isinstance(delta, dict) and bool(delta.get("tool_calls"))


def read_chat(exchange: Exchange) -> ChatBody:
    """Read a chat stream (SSE) or a whole chat response (JSON)."""
    body = ChatBody()
    if exchange.chunks:
        body.first_byte = exchange.chunks[0].at
    if exchange.status != _OK:
        return body
    if exchange.url.endswith(SPEKO_CHAT):
        _read_speko_chat(exchange, body)
        return body
    # Clients read a stream whatever its content type says it is.
    thinking = ThinkingTokenFilter()
    tool_seen = False
    for at, name, data in events_of(exchange):
        if data == b"[DONE]":
            body.done_at = at
            break
        event = json_event(data)
        if event is None:
            body.malformed += 1
            continue
        words = _stated_error(name, event)
        if words is not None:
            body.error = words
            continue
        _note_envelope(event, body)
        choices = event.get("choices")
        if choices is not None and not isinstance(choices, list):
            body.malformed += 1
            continue
        for choice in choices or ():
            if not isinstance(choice, dict):
                body.malformed += 1
                continue
            finish = choice.get("finish_reason")
            ended = isinstance(finish, str) and bool(finish)
            _read_delta(at, choice.get("delta") or {}, thinking, body, ended=ended)
            tool_seen = tool_seen or _tool_call(choice)
            if ended:
                # Some servers write "" where the protocol has null.
                body.finish_reason = finish
                body.finish_at = at
                if tool_seen:
                    # A tool call counts when it is complete.
                    body.deltas.append(ChatDelta(at=at, tool_call=True))
                    tool_seen = False
    return body


def _stated_error(name: str, event: dict[str, Any]) -> str | None:
    """Return what an event says went wrong; None where it is none of an error."""
    if event.get("error"):
        return error_words(event["error"])
    if name == "error" or "error" in (event.get("object"), event.get("type")):
        return error_words(event)
    words = event.get("message", event.get("detail"))
    # Frameworks that fail within a stream send their own form of an error.
    bare = not event.keys() & {"choices", "usage", "delta", "id"}
    return error_words(event) if bare and isinstance(words, str) and words else None


def _note_envelope(event: dict[str, Any], body: ChatBody) -> None:
    if isinstance(event.get("model"), str) and event["model"]:
        body.model = event["model"]
    if isinstance(event.get("id"), str) and event["id"]:
        body.response_id = event["id"]
    if isinstance(event.get("provider"), str) and event["provider"]:
        # Routers such as OpenRouter name who answered in each chunk.
        body.route["provider"] = event["provider"]
    if isinstance(event.get("usage"), dict):
        body.usage = scalars(event["usage"])


def _read_delta(
    at: Stamp, delta: Any, thinking: ThinkingTokenFilter, body: ChatBody, *, ended: bool
) -> None:
    """Take one delta; what livekit's own filter holds for thoughts is reasoning."""
    if not isinstance(delta, dict):
        body.malformed += 1
        return
    content = delta.get("content")
    parts = content if isinstance(content, list) else [content or ""]
    if not all(isinstance(each, str | dict) for each in parts):
        body.malformed += 1
        content = None
    text = strip_thinking_tokens(content, thinking, final=ended) or ""
    reasoning = delta.get("reasoning_content") or delta.get("reasoning") or ""
    if not isinstance(reasoning, str) or not reasoning:
        reasoning = _joined_text(delta.get("reasoning_details"))
    if not reasoning and content and not text:
        reasoning = content if isinstance(content, str) else _joined_text(content)
    if text:
        body.deltas.append(ChatDelta(at=at, text=text))
    if reasoning:
        body.deltas.append(ChatDelta(at=at, reasoning=reasoning))


def _joined_text(parts: Any, depth: int = 3) -> str:
    """Return the text of a list of typed parts, of thoughts within parts too."""
    if not isinstance(parts, list) or not depth:
        return ""
    found = []
    for part in parts:
        if isinstance(part, str):
            found.append(part)
        elif isinstance(part, dict):
            text = part.get("text") or part.get("summary")
            found.append(text if isinstance(text, str) else "")
            found.append(_joined_text(part.get("thinking"), depth - 1))
    return "".join(found)


def speko_events(exchange: Exchange) -> tuple[list[tuple[Stamp, str, dict[str, Any]]], int]:
    """Return the named events of a body, each with the stamp of its data, and how many are bad."""
    found: list[tuple[Stamp, str, dict[str, Any]]] = []
    malformed = 0
    for at, name, data in events_of(exchange):
        value = json_event(data)
        if value is None:
            malformed += 1
        else:
            found.append((at, name, value))
    return found, malformed


def speko_route(event: dict[str, Any]) -> dict[str, Any]:
    """Return what an event tells of the route that answered."""
    names = {
        "provider": "provider",
        "model": "model",
        "failoverCount": "failover_count",
        "scoresRunId": "scores_run_id",
    }
    return {
        ours: event[theirs]
        for theirs, ours in names.items()
        if isinstance(event.get(theirs), str | int)
    }


def speko_error(event: dict[str, Any]) -> str:
    """Return what an error event says."""
    return f"{event.get('code', 'STREAM_ERROR')}: {event.get('error', '')}"[:500]


def _read_speko_chat(exchange: Exchange, body: ChatBody) -> None:
    found, body.malformed = speko_events(exchange)
    called = False
    for at, name, event in found:
        if name in ("meta", "done"):
            body.route |= speko_route(event)
        if name == "delta" and not isinstance(event.get("text"), str):
            body.malformed += 1
        elif name == "delta" and event["text"]:
            body.deltas.append(ChatDelta(at=at, text=event["text"]))
        elif name == "tool_call":
            called = True
            body.deltas.append(ChatDelta(at=at, tool_call=True))
        elif name == "error":
            body.error = speko_error(event)
        elif name == "done":
            body.done_at = body.finish_at = at
            body.finish_reason = "tool_calls" if called else "stop"
            usage = event.get("usage")
            if isinstance(usage, dict):
                spelt = {"promptTokens": "prompt_tokens", "completionTokens": "completion_tokens"}
                body.usage = {spelt.get(key, key): value for key, value in scalars(usage).items()}
    if "model" in body.route:
        body.model = str(body.route["model"])


_CONTAINERS = (
    b"RIFF",
    b"ID3",
    b"OggS",
    b"fLaC",
    b"\xff\xf1",
    b"\xff\xf2",
    b"\xff\xf3",
    b"\xff\xfb",
)
"""How WAV, MP3, Opus, FLAC and AAC begin."""


def read_speech(exchange: Exchange) -> SpeechBody:
    """Read a synthesis: raw samples, WAV, an encoded format, or SSE with base64 audio."""
    body = SpeechBody()
    if exchange.status != _OK or not exchange.chunks:
        return body
    content_type = exchange.headers.get("content-type", "").split(";")[0].strip().lower()
    body.header = exchange.chunks[0].at
    if content_type == "text/event-stream":
        _read_speech_events(exchange, body)
    else:
        whole = exchange.chunks[0].data[:4]
        body.container = whole.startswith(_CONTAINERS)
        body.wav = wav_header_of(exchange.chunks)
        skip = 0 if body.wav is None else body.wav.size
        for chunk in exchange.chunks:
            size = len(chunk.data)
            audio = max(0, size - skip)
            skip = max(0, skip - size)
            if audio:
                body.arrivals.append((chunk.at, audio))
    for at, size in body.arrivals:
        body.size += size
        if body.first_audio is None:
            body.first_audio = at
        # One sample makes a frame: livekit releases what there is at once.
        if body.frame is None and body.size >= 2:
            body.frame = at
        body.last = at
    return body


def _read_speech_events(exchange: Exchange, body: SpeechBody) -> None:
    body.events = True
    for at, name, data in events_of(exchange):
        if data == b"[DONE]":
            body.done = True
            continue
        event = json_event(data)
        if event is None:
            body.malformed += 1
            continue
        body.error = _stated_error(name, event) or body.error
        audio = event.get("delta") or event.get("audio") or ""
        body.done = body.done or event.get("type") == "speech.audio.done"
        if event.get("type") == "speech.audio.delta":
            if not isinstance(audio, str):
                body.malformed += 1
                continue
            try:
                samples = base64.b64decode(audio, validate=True)
            except (binascii.Error, ValueError):
                body.malformed += 1
                continue
            if samples and not body.arrivals:
                body.container = samples.startswith(_CONTAINERS)
            if samples:
                body.arrivals.append((at, len(samples)))
        if isinstance(event.get("usage"), dict):
            body.usage = scalars(event["usage"])
