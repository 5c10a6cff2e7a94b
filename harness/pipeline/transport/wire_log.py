"""When each sample of a stream was handed to a socket."""

from typing import Any

from harness.pipeline.recording.observer import SendLog
from harness.pipeline.recording.recording import Exchange

__all__ = ["WireLog"]


class WireLog(SendLog):
    """When each sample of a stream was handed to a socket, read from what was sent.

    Args:
        exchange: the socket's use.
    """

    __slots__ = ("_exchange", "_read")

    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self._exchange = exchange
        self._read = 0

    def _catch_up(self) -> None:
        count = SendLog.samples.fget(self)  # type: ignore[attr-defined]
        sends = self._exchange.sends
        for sent in sends[self._read :]:
            samples = self._exchange.dialect.samples(sent.data)
            if samples:
                count += samples
                self.append(sent.at.ns, sent.at.work, count)
        self._read = len(sends)

    def __len__(self) -> int:
        self._catch_up()
        return super().__len__()

    @property
    def samples(self) -> int:
        """How many samples have been handed to the socket."""
        self._catch_up()
        return int(SendLog.samples.fget(self))  # type: ignore[attr-defined]

    def entry(self, sample_index: int) -> Any:
        """Return instant, work and end of the message that contains a sample, None if not sent."""
        self._catch_up()
        return super().entry(sample_index)
