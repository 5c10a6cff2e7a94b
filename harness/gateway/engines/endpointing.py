"""Where speech begins and ends in a stream of samples, by energy; no clock, no I/O.

The threshold follows the noise: 12 dB above the floor of the last three seconds, within -50 dBFS
(the silence floor) and -35 dBFS; where the noise itself is louder than that, 6 dB above it.
"""

from collections import deque

import numpy as np

from harness.gateway.engines.pcm import FLOOR_DBFS, HEARD_RATE, Samples, window_dbfs

__all__ = ["SHORTEST_LOUD_MS", "Endpointer", "holds_speech"]

SHORTEST_LOUD_MS = 120
"""Less loud audio than this is a click or a cough of the line, not an utterance."""

_WINDOW = HEARD_RATE // 100
_LOUDEST_THRESHOLD = -35.0
_NOISE_MARGIN = 12.0
_LOUD_NOISE_MARGIN = 6.0
_FLOOR_WINDOWS = 300
_FLOOR_EVERY = 10
_FLOOR_SHARE = 0.1
# As if the line had been quiet before: a recording may begin with speech.
_PRIOR = (-80.0,) * 2
_ONSET_WINDOWS = 3
# A single loud window after more silence than this is a click, not speech.
_BRIDGE_WINDOWS = 8


class Endpointer:
    """Follows one stream of PCM16 at 16 kHz.

    Attributes:
        received: how many samples have been fed.
        started_at: the index of the utterance's first speech sample; None between utterances.
        ended_at: the index of its last speech sample so far; None between utterances.
        loud_ms: how much of the utterance so far was loud; a click has little of it.
    """

    def __init__(self) -> None:
        self.received = 0
        self.started_at: int | None = None
        self.ended_at: int | None = None
        self.loud_ms = 0
        self._rest: Samples = np.empty(0, dtype=np.int16)
        self._position = 0
        self._levels: deque[float] = deque(_PRIOR, maxlen=_FLOOR_WINDOWS)
        self._since_floor = 0
        self._threshold = FLOOR_DBFS
        self._run = 0

    @property
    def silence(self) -> int:
        """Return how many samples came after the last one of speech; 0 between utterances."""
        return 0 if self.ended_at is None else self.received - self.ended_at - 1

    def feed(self, samples: Samples) -> None:
        """Take samples; `started_at` and `ended_at` follow from whole windows of 10 ms."""
        self.received += len(samples)
        data = np.concatenate((self._rest, samples)) if len(self._rest) else samples
        levels = window_dbfs(data, _WINDOW)
        for number, level in enumerate(levels.tolist()):
            self._window(level, data[number * _WINDOW : (number + 1) * _WINDOW])
        self._rest = data[len(levels) * _WINDOW :]

    def _window(self, level: float, window: Samples) -> None:
        self._levels.append(max(level, -100.0))
        self._since_floor += 1
        if self._since_floor >= _FLOOR_EVERY:
            self._follow_noise()
        start = self._position
        self._position += _WINDOW
        if level <= self._threshold:
            self._run = 0
            return
        self._run += 1
        if self.started_at is None:
            if self._run >= _ONSET_WINDOWS:
                self.started_at = start - (_ONSET_WINDOWS - 1) * _WINDOW
                self.ended_at = start + self._last_loud(window)
                self.loud_ms = _ONSET_WINDOWS * 10
        else:
            assert self.ended_at is not None
            if self._run >= 2 or start - self.ended_at <= _BRIDGE_WINDOWS * _WINDOW:
                self.ended_at = start + self._last_loud(window)
                self.loud_ms += 10

    def _last_loud(self, window: Samples) -> int:
        """Return the index within the window of the last sample above the threshold's amplitude."""
        amplitude = 32768.0 * 10.0 ** (self._threshold / 20.0)
        loud = np.flatnonzero(np.abs(window.astype(np.int32)) >= amplitude)
        return int(loud[-1]) if len(loud) else _WINDOW - 1

    def _follow_noise(self) -> None:
        self._since_floor = 0
        levels = sorted(self._levels)
        floor = levels[int(_FLOOR_SHARE * (len(levels) - 1))]
        threshold = min(max(floor + _NOISE_MARGIN, FLOOR_DBFS), _LOUDEST_THRESHOLD)
        if len(levels) >= _FLOOR_WINDOWS // 2:
            threshold = max(threshold, min(floor + _LOUD_NOISE_MARGIN, -10.0))
        self._threshold = threshold

    def reset(self) -> None:
        """Forget the utterance, not the noise: what follows is the next utterance."""
        self.started_at = None
        self.ended_at = None
        self.loud_ms = 0
        self._run = 0


def holds_speech(samples: Samples) -> bool:
    """Tell whether a whole recording holds more than silence, noise or a click."""
    endpointer = Endpointer()
    endpointer.feed(samples)
    return endpointer.started_at is not None and endpointer.loud_ms >= SHORTEST_LOUD_MS
