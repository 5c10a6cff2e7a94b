"""LiveKit Inference's speech recognition: ``GET /livekit/v1/stt?model=…`` (a WebSocket of JSON).

The client opens with ``session.create`` and sends ``input_audio`` (base64 PCM16). Back come
``session.created``, finals with words and times and, where the profile has interims,
``start_of_speech``, ``interim_transcript`` and ``preflight_transcript``. ``session.finalize`` ends
the utterance at hand and is answered with ``session.finalized``; where it ends the input (that is,
with every model that finds turns itself) ``session.closed`` follows if the profile says so.
"""

import json
import time
from typing import Any, Final

import soxr
from aiohttp import web

from harness.gateway.calls.context import Gateway
from harness.gateway.calls.route import Route
from harness.gateway.calls.routed import note_asked
from harness.gateway.calls.socket_calls import Opening, attend, converse, open_call
from harness.gateway.engines.pcm import HEARD_RATE, Samples, samples_in_base64
from harness.gateway.profiles.faults import Stage
from harness.gateway.profiles.profiles import SttProfile
from harness.gateway.protocols.inference.auth import require_grant
from harness.gateway.protocols.listening import Heard, ListeningSession

__all__ = ["ROUTES", "InferenceWire", "inference_stt"]

_NEEDS_FINALIZE: Final = ("speechmatics/", "openai/")
_RATES: Final = (8_000, 16_000, 24_000, 44_100, 48_000)


class InferenceWire:
    """How LiveKit Inference words transcripts.

    Args:
        language: what a transcript says its language is.
    """

    def __init__(self, language: str = "en") -> None:
        self.language = language

    def _transcript(self, kind: str, heard: Heard) -> str:
        return json.dumps(
            {
                "type": kind,
                "transcript": heard.text,
                "language": self.language,
                "start": round(heard.start_s, 3),
                "duration": round(heard.end_s - heard.start_s, 3),
                "confidence": 0.97,
                "words": [
                    {
                        "word": word.text,
                        "start": round(word.start_s, 3),
                        "end": round(word.end_s, 3),
                        "confidence": 0.97,
                    }
                    for word in heard.words
                ],
                "request_id": heard.request,
            },
            ensure_ascii=False,
        )

    def final(self, heard: Heard) -> str:
        """Return ``final_transcript``."""
        return self._transcript("final_transcript", heard)

    def interim(self, heard: Heard) -> str:
        """Return ``interim_transcript``."""
        return self._transcript("interim_transcript", heard)

    def preflight(self, heard: Heard) -> str | None:
        """Return ``preflight_transcript``."""
        return self._transcript("preflight_transcript", heard)

    def onset(self) -> str | None:
        """Return ``start_of_speech``."""
        return json.dumps({"type": "start_of_speech"})

    def error(self, message: str) -> str:
        """Return ``error``."""
        return json.dumps({"type": "error", "message": message, "code": 500})


class _Rate:
    """Brings the client's samples to 16 kHz as they come."""

    def __init__(self, rate: int) -> None:
        self._from = rate
        self._taken = 0
        self._stream = (
            None
            if rate == HEARD_RATE
            else soxr.ResampleStream(rate, HEARD_RATE, 1, dtype="int16", quality="LQ")
        )

    @property
    def through(self) -> int:
        """How many samples at 16 kHz have come, with those that are still held back."""
        return self._taken * HEARD_RATE // self._from

    def __call__(self, samples: Samples) -> Samples:
        self._taken += len(samples)
        if self._stream is None:
            return samples
        converted: Samples = self._stream.resample_chunk(samples)
        return converted


def _problem(message: dict[str, Any]) -> str | None:
    """Return what is wrong with a ``session.create``, or None."""
    settings = message.get("settings")
    if message.get("type") != "session.create":
        return f"expected session.create, got {message.get('type')!r}"
    if not isinstance(settings, dict):
        return "session.create: settings must be an object"
    rate = settings.get("sample_rate")
    if not isinstance(rate, str) or not rate.isdigit() or int(rate) not in _RATES:
        return f"session.create: sample_rate must be a string of one of {_RATES}, not {rate!r}"
    if settings.get("encoding") != "pcm_s16le":
        return f"session.create: encoding {settings.get('encoding')!r} is not pcm_s16le"
    model = message.get("model")
    if isinstance(model, str) and model.startswith("openai/") and int(rate) != 24_000:
        return "session.create: openai models take audio at 24000 Hz"
    return None


_SILENCE = {
    # By vendor: the option, and milliseconds in one unit of it.
    "assemblyai": ("min_end_of_turn_silence_when_confident", 1.0),
    "deepgram": ("endpointing", 1.0),
    "inworld": ("min_end_of_turn_silence_when_confident", 1.0),
    "xai": ("endpointing", 1.0),
}
# A shorter one would split words.
_LEAST_SILENCE_MS = 100.0


def _stated_silence(model: str, extra: Any) -> float | None:
    """Return the silence that ends an utterance, where the client states it; in milliseconds."""
    name, unit = _SILENCE.get(model.partition("/")[0], ("", 1.0))
    value = extra.get(name) if isinstance(extra, dict) else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return max(_LEAST_SILENCE_MS, value * unit)


async def inference_stt(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer ``GET /livekit/v1/stt``."""
    received_ns = time.perf_counter_ns()
    require_grant(gateway, request)
    opening = open_call(
        gateway,
        request,
        Stage.STT,
        "inference-stt",
        received_ns=received_ns,
        model=request.query.get("model"),
    )
    return await converse(opening, request, _Conversation, greets=True)


class _Conversation:
    def __init__(
        self,
        opening: Opening,
        request: web.Request,
        socket: web.WebSocketResponse,
    ) -> None:
        self._opening = opening
        self._call = opening.call
        self._socket = socket
        self._settings: SttProfile = opening.settings
        self._wire = InferenceWire()
        self._rate = _Rate(HEARD_RATE)
        self._model = request.query.get("model", "")
        self._created = False
        self._session = ListeningSession(
            self._call,
            request,
            socket,
            self._settings,
            self._wire,
            interims=self._settings.interims,
        )

    async def run(self) -> None:
        """Serve until either side closes."""
        await attend(self._call, self._socket, self._on_message)

    async def close(self) -> None:
        """End what is still under way."""
        await self._session.close()

    async def _refuse(self, why: str) -> None:
        await self._session.send(json.dumps({"type": "error", "message": why, "code": 400}))

    async def _on_message(self, message: dict[str, Any] | None, arrived_ns: int) -> bool:
        """Do what a message asks; return whether the conversation goes on."""
        if message is None:
            await self._refuse("not a JSON object")
            return True
        kind = message.get("type")
        if not self._created:
            problem = _problem(message)
            if problem is not None:
                await self._refuse(problem)
                await self._socket.close(code=1008)
                return False
            self._create(message)
        elif kind == "input_audio":
            await self._on_audio(message.get("audio"), arrived_ns)
        elif kind == "session.finalize":
            self._session.finalize(arrived_ns)
            self._session.spawn(self._finalized(arrived_ns))
        elif kind == "session.close":
            if self._settings.says_closed:
                await self._session.send(json.dumps({"type": "session.closed"}))
            await self._socket.close()
            return False
        elif kind == "session.update":
            self._update(message.get("settings"))
        else:
            await self._refuse(f"unknown message type {kind!r}")
        return True

    def _create(self, message: dict[str, Any]) -> None:
        self._created = True
        self._rate = _Rate(int(message["settings"]["sample_rate"]))
        self._update(message["settings"])
        silence = _stated_silence(str(message.get("model", "")), message["settings"].get("extra"))
        if silence is not None:
            self._session.states_silence(silence)
        note_asked(self._call, None, {key: message[key] for key in message if key != "type"})
        due, injected = self._opening.due_ns, self._opening.hello_ns
        hello = json.dumps({"type": "session.created", "session_id": self._call.request})
        say = self._session.say(self._call, hello, due, "hello_sent", injected_ns=injected)
        self._session.spawn(say)

    def _update(self, settings: Any) -> None:
        if isinstance(settings, dict) and isinstance(settings.get("language"), str):
            self._wire.language = settings["language"]

    async def _on_audio(self, encoded: Any, arrived_ns: int) -> None:
        samples = samples_in_base64(encoded)
        if samples is None:
            await self._refuse("input_audio: audio is not base64")
            return
        heard = self._rate(samples)
        if len(heard):
            self._session.feed(heard, arrived_ns, through=self._rate.through)

    async def _finalized(self, asked_ns: int) -> None:
        await self._session.settled()
        session, call = self._session, self._call
        finalized = json.dumps({"type": "session.finalized"})
        await session.say(call, finalized, asked_ns, "finalized_sent")
        ends_input = not self._model.startswith(_NEEDS_FINALIZE)
        if ends_input and self._settings.says_closed:
            await session.send(json.dumps({"type": "session.closed"}))


ROUTES: Final = (
    Route(method="GET", path="/livekit/v1/stt", handler=inference_stt, checks_key=False),
)
