"""Speech synthesis over a WebSocket, whatever the messages look like.

A client sends text in pieces; the texts of one reply make a :class:`Segment`. Each text is spoken
after the one before it: its first sample leaves no earlier than `first_byte` after the text
arrived, the rest as fast as the profile's real-time factor says.
"""

import asyncio
import contextlib
import json
import re
import time
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aiohttp import web

from harness.gateway.calls.context import NS_PER_S, Call
from harness.gateway.calls.limits import OVERSIZED_BYTES
from harness.gateway.calls.replying import HTML_PAGE, reset_connection
from harness.gateway.engines.pcm import SPOKEN_RATE
from harness.gateway.engines.synthesiser import Speech
from harness.gateway.engines.worker import WorkerDied
from harness.gateway.profiles.faults import CONNECTION_FAULTS, MIDDLE_FAULTS, FaultKind, Stage
from harness.gateway.profiles.profiles import TtsProfile
from harness.gateway.protocols.pouring import chunks_of, spoil

__all__ = ["Segment", "Sentences", "Speaker", "SpeechWire"]

_WRONG_RATE = 16_000
_IN_THE_AUDIO: Final = MIDDLE_FAULTS | {FaultKind.OVERSIZED}
_SENTENCE = re.compile(r".*?[.!?…。！？]+[\"'”’)]*(?=\s)", re.DOTALL)


class Sentences:
    """Puts pieces of text together to sentences.

    A sentence is complete when white space follows its end; a service that waits for more than
    that would add to the caller's silence.

    Args:
        longest_words: give out what there is once it has so many words; None for never.
    """

    def __init__(self, longest_words: int | None = None) -> None:
        self._rest = ""
        self._longest = longest_words

    def feed(self, piece: str) -> list[str]:
        """Take a piece and return the sentences that are complete now."""
        self._rest += piece
        found = []
        while match := _SENTENCE.match(self._rest):
            found.append(match[0].strip())
            self._rest = self._rest[match.end() :]
        words = self._rest.split()
        if self._longest is not None and len(words) >= self._longest and not found:
            found.append(self.flush())
        return [each for each in found if each]

    def flush(self) -> str:
        """Return what is left; empty if nothing is."""
        rest, self._rest = self._rest.strip(), ""
        return rest


class SpeechWire(Protocol):
    """How a service words what it sends while it speaks one segment."""

    def audio(self, pcm: bytes) -> str | bytes:
        """Return the message of a piece of audio."""
        ...

    def begin(self, index: int, rate: int) -> str | None:
        """Return the message that goes before the audio of text ``index``; None for none."""
        ...

    def alignment(self, text: str, start_s: float, end_s: float) -> str | None:
        """Return the message that tells when the text's words are spoken; None for none."""
        ...

    def done(self) -> str | None:
        """Return the message that ends the segment; None where the socket's end does."""
        ...

    def error(self, message: str) -> str:
        """Return the message of an error."""
        ...

    def broken(self) -> str | bytes:
        """Return a message that cannot be read."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    text: str
    arrived_ns: int
    first_byte_ns: int
    speech: asyncio.Task[Speech]


class Speaker:
    """One connection that speaks.

    Args:
        call: the connection's call.
        request: the upgrade request.
        socket: the connection.
        settings: the profile.
        named: whether the messages tell the client a segment's name, by which it then goes in the
            truth too; otherwise it goes by the connection's.
    """

    def __init__(
        self,
        call: Call,
        request: web.Request,
        socket: web.WebSocketResponse,
        settings: TtsProfile,
        *,
        named: bool = False,
    ) -> None:
        self.call = call
        self.request = request
        self.socket = socket
        self.settings = settings
        self._segments: set[asyncio.Task[None]] = set()
        self._named = named
        self._count = 0
        self._last: asyncio.Task[None] | None = None

    def open(self, voice: str, speed: float, wire: SpeechWire, arrived_ns: int) -> "Segment":
        """Begin a segment whose first text arrived at an instant."""
        self._count += 1
        name = self.next_name(self._count)
        call = Call(
            gateway=self.call.gateway,
            stage=Stage.TTS,
            protocol=self.call.protocol,
            profile=self.call.profile,
            connection=self.call.connection,
            request=name,
            client_request=name if self._named else self.call.client_request,
            received_ns=arrived_ns,
        )
        call.mark("request_received", arrived_ns)
        segment = Segment(self, call, voice, speed, wire)
        task = asyncio.create_task(segment.speak(self._last))
        self._last = task
        self._segments.add(task)
        task.add_done_callback(self._segments.discard)
        return segment

    def next_name(self, number: int | None = None) -> str:
        """Return the name of the segment with this number; of the next without one."""
        return f"{self.call.request}-s{self._count + 1 if number is None else number}"

    async def settled(self) -> None:
        """Return when all that was begun has been spoken."""
        if self._last is not None:
            await asyncio.wait((self._last,))

    async def close(self) -> None:
        """End what is still under way."""
        for task in tuple(self._segments):
            task.cancel()
        await asyncio.gather(*self._segments, return_exceptions=True)

    async def send(self, message: str | bytes) -> int:
        """Send a message now and return the instant."""
        sent_ns = time.perf_counter_ns()
        if isinstance(message, str):
            await self.socket.send_str(message)
        else:
            await self.socket.send_bytes(message)
        return sent_ns


class Segment:
    """The texts of one reply, spoken one after the other."""

    def __init__(
        self, speaker: Speaker, call: Call, voice: str, speed: float, wire: SpeechWire
    ) -> None:
        self.call = call
        self._speaker = speaker
        self._voice = voice
        self._speed = speed
        self._wire = wire
        self._texts: asyncio.Queue[_Text | None] = asyncio.Queue()
        self._fault: FaultKind | None = None
        self._fault_drawn = False
        self._sent_samples = 0
        self._index = 0
        self._number = 0
        self._heard_audible = False

    def add(self, text: str, arrived_ns: int) -> None:
        """Take a text that arrived whole at an instant; synthesis begins at once."""
        gateway, settings = self.call.gateway, self._speaker.settings
        salient = f"{self._voice}\0{self._speed}\0{text}".encode()
        draws = gateway.draws(self.call.profile, Stage.TTS, salient)
        if not self._fault_drawn:
            self._fault_drawn = True
            middle = frozenset(kind for kind, _ in settings.faults.rates) - CONNECTION_FAULTS
            self._fault = settings.faults.only(middle).draw(draws)
        fault = self._fault

        async def synthesise() -> Speech:
            spoiled = fault in (FaultKind.SILENT_AUDIO, FaultKind.NONSENSE)
            spoken = await gateway.synthesiser.speak(
                text,
                voice=self._voice,
                speed=self._speed,
                container="pcm",
                lead=round(settings.leading_silence_ms * SPOKEN_RATE / 1000),
                rate=_WRONG_RATE if fault is FaultKind.WRONG_RATE else SPOKEN_RATE,
            )
            return spoil(spoken, fault, draws) if spoiled else spoken

        self._texts.put_nowait(
            _Text(
                text=text,
                arrived_ns=arrived_ns,
                first_byte_ns=draws.delay_ns(settings.first_byte, "first_byte"),
                speech=asyncio.create_task(synthesise()),
            )
        )

    def end(self) -> None:
        """No further text belongs to this segment."""
        self._texts.put_nowait(None)

    async def speak(self, previous: "asyncio.Task[None] | None") -> None:
        """Send the segment's audio, after that of the segment before it."""
        if previous is not None:
            await asyncio.wait((previous,))
        try:
            with contextlib.suppress(ConnectionError):
                await self._speak()
        except WorkerDied:
            with contextlib.suppress(ConnectionError):
                await self._speaker.send(self._wire.error("The gateway's synthesiser failed"))

    async def _speak(self) -> None:
        free_ns = 0
        while (each := await self._texts.get()) is not None:
            if self._fault in (FaultKind.EMPTY, FaultKind.WRONG_CONTENT_TYPE):
                each.speech.cancel()
                if self._index == 0 and self._fault is FaultKind.WRONG_CONTENT_TYPE:
                    await self._speaker.send(HTML_PAGE.decode())
                continue
            free_ns = await self._text(each, free_ns)
            if free_ns < 0:
                return
        if self._fault is not None and self._fault not in _IN_THE_AUDIO:
            self.call.fault(self._fault)
        done = self._wire.done()
        if done is not None:
            sent = await self._speaker.send(done)
            self.call.mark("done_sent", sent)

    async def _text(self, each: _Text, free_ns: int) -> int:
        """Send one text's audio; return when the next may begin, or -1 when a fault ended it."""
        call, pacer, settings = self.call, self.call.gateway.pacer, self._speaker.settings
        # What follows an earlier text cannot begin before that one has left.
        base = max(each.arrived_ns + each.first_byte_ns, free_ns)
        spoken = await each.speech
        call.engine_ready(spoken.engine, base)
        chunks = list(chunks_of(spoken, settings, 0, sample_aligned=True))
        break_at = len(chunks) // 2 if self._fault in _IN_THE_AUDIO else None
        audible = spoken.audible
        first_sample = self._sent_samples
        start_s = first_sample / SPOKEN_RATE
        aligned = self._wire.alignment(each.text, start_s, start_s + spoken.samples / SPOKEN_RATE)
        rate = _WRONG_RATE if self._fault is FaultKind.WRONG_RATE else SPOKEN_RATE
        begin = self._wire.begin(self._number, rate)
        if begin is not None:
            await pacer.until(base)
            await self._speaker.send(begin)
        self._number += 1
        due = base
        for position, chunk in enumerate(chunks):
            due = base + chunk.due_ns
            await pacer.until(due)
            if position == break_at and self._fault is FaultKind.OVERSIZED:
                call.fault(self._fault)
                await self._speaker.send(json.dumps({"type": "x" * OVERSIZED_BYTES}))
            elif position == break_at:
                await self._break(due)
                return -1
            sent = await self._speaker.send(self._wire.audio(chunk.data))
            facts: dict[str, Any] = {"due_ns": due, "injected_ns": due - call.received_ns}
            call.mark(
                "audio_sent",
                sent,
                index=self._index,
                n_bytes=len(chunk.data),
                samples=first_sample + chunk.end_sample,
                **facts,
            )
            if audible is not None and not self._heard_audible and audible < chunk.end_sample:
                self._heard_audible = True
                call.mark(
                    "first_nonsilent_audio_sent",
                    sent,
                    index=self._index,
                    samples=first_sample + audible,
                    **facts,
                )
            self._index += 1
        if aligned is not None:
            await self._speaker.send(aligned)
        self._sent_samples += spoken.samples
        return due

    async def _break(self, due_ns: int) -> None:
        """Let a fault strike in the middle of the audio."""
        fault, speaker = self._fault, self._speaker
        assert fault is not None
        self.call.fault(fault)
        if fault is FaultKind.RESET:
            reset_connection(speaker.request)
        elif fault is FaultKind.STALL:
            stalled = due_ns + round(speaker.settings.faults.stall_s * NS_PER_S)
            await self.call.gateway.pacer.until(stalled)
            reset_connection(speaker.request)
        elif fault is FaultKind.TRUNCATION:
            await speaker.socket.close()
        elif fault is FaultKind.MALFORMED:
            await speaker.send(self._wire.broken())
        else:
            await speaker.send(self._wire.error("The upstream provider failed"))
            if self._wire.done() is None:
                # Where the socket's end is the speech's end, an error ends the socket too.
                await speaker.socket.close(code=1011)
