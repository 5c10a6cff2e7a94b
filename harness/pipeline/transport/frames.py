"""A connection that stamps what it reads: where a socket's messages and a body's bytes end."""

from collections import deque
from typing import Any

from aiohttp.client_proto import ResponseHandler

from harness.pipeline.recording.recording import Exchange, Stamp, stamp

__all__ = ["Frames", "TimedProtocol"]


class Frames:
    """Finds where messages end in the bytes that a WebSocket server sends.

    aiohttp's parser is compiled and tells nobody; this one reads the frame headers alone.
    """

    __slots__ = ("_began", "_fin", "_head", "_left", "_opcode", "_started", "complete")

    def __init__(self) -> None:
        self.complete: deque[tuple[Stamp, Stamp]] = deque()
        self._head = bytearray()
        self._left = -1
        self._fin = False
        self._opcode = 0
        self._started: Stamp | None = None
        self._began: Stamp | None = None

    def feed(self, at: Stamp, data: bytes) -> None:
        """Take bytes that arrived at an instant."""
        position, end = 0, len(data)
        while position < end:
            if self._left < 0:
                if not self._head:
                    self._started = at
                self._head.append(data[position])
                position += 1
                self._read_head()
            else:
                step = min(self._left, end - position)
                self._left -= step
                position += step
            if self._left == 0:
                self._end_frame(at)

    def _read_head(self) -> None:
        head = self._head
        if len(head) < 2:
            return
        length = head[1] & 0x7F
        extra = {126: 2, 127: 8}.get(length, 0)
        masked = 4 if head[1] & 0x80 else 0
        if len(head) < 2 + extra + masked:
            return
        if extra:
            length = int.from_bytes(head[2 : 2 + extra], "big")
        self._fin, self._opcode, self._left = bool(head[0] & 0x80), head[0] & 0x0F, length
        head.clear()
        if self._opcode in (1, 2):
            self._began = self._started

    def _end_frame(self, at: Stamp) -> None:
        self._left = -1
        # Control frames (8 and above) may lie between the frames of a message.
        if self._opcode < 8 and self._fin and self._began is not None:
            self.complete.append((self._began, at))
            self._began = None


class TimedProtocol(ResponseHandler):
    """A connection that stamps what it reads."""

    def __init__(self, loop: Any) -> None:
        super().__init__(loop)
        self.frames: Frames | None = None
        self._early: Stamp | None = None
        self._exchange: Exchange | None = None
        self._body: Any = None
        self._counted = 0

    def watch(self, exchange: Exchange | None) -> None:
        """Count the next response's body into an exchange."""
        self._exchange = exchange
        self._body = None
        self._counted = 0

    def data_received(self, data: bytes) -> None:
        """Stamp first, then let aiohttp parse."""
        at = stamp()
        parser: Any = self._payload_parser
        if parser is not None:
            if self._early is not None:
                # These bytes came with the upgrade's answer and were held back until now.
                at, self._early = self._early, None
            if self.frames is not None:
                self.frames.feed(at, data)
            super().data_received(data)
            return
        if self._upgraded and self._early is None:
            self._early = at
        super().data_received(data)
        exchange, body = self._exchange, self._payload
        if exchange is None or body is None or self._upgraded:
            return
        if body is not self._body:
            self._body, self._counted = body, 0
        fed = getattr(body, "total_bytes", 0)
        if fed > self._counted:
            exchange.counted.append((at, fed - self._counted))
            self._counted = fed
        if body.is_eof():
            exchange.ended = at
