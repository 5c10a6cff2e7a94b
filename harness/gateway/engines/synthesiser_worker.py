"""The worker process of the synthesiser: espeak-ng where its wheel is installed, else `formant`.

Message in: ``speak {id, text, voice, speed, format, lead, rate}``; out: ``{id, engine, samples}`` +
bytes. ``lead`` is silence in samples put before the speech; ``rate`` is what the samples are
converted to (24000 unless a fault asks for another). ``encode {id, format}`` + PCM16 at 24 kHz is
answered with the encoded bytes.
"""

import os
import sys
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from harness.gateway.engines.espeak import Espeak, espeak_exists
from harness.gateway.engines.formant import babble
from harness.gateway.engines.pcm import SPOKEN_RATE, Samples, encode, first_audible, resample
from harness.gateway.engines.worker import Message, serve

__all__ = ["main"]

_PITCHES_HZ: Final = {"nova": 200.0, "shimmer": 220.0, "af_heart": 190.0, "onyx": 90.0}
_PITCH_HZ = 120.0
_TAIL = SPOKEN_RATE // 10


def _trim(samples: Samples) -> Samples:
    """Cut silence before the speech, so that a profile's leading silence is all there is."""
    start = first_audible(samples, SPOKEN_RATE)
    if start is None:
        return samples
    tail = first_audible(samples[::-1], SPOKEN_RATE)
    assert tail is not None
    return samples[start : len(samples) - max(0, tail - _TAIL)]


class _Synthesiser:
    def __init__(self, *, allow_espeak: bool) -> None:
        self._espeak: Espeak | None = None
        if allow_espeak and espeak_exists():
            try:
                self._espeak = Espeak()
            except OSError as error:
                sys.stderr.write(f"gateway: espeak-ng: {error}; speaking without it\n")

    def handle(self, header: dict[str, Any], payload: bytes) -> Iterator[Message]:
        if header["op"] == "encode":
            samples = np.frombuffer(payload, dtype="<i2")
            yield {"id": header["id"]}, encode(samples, SPOKEN_RATE, header["format"])
            return
        engine = "formant" if self._espeak is None else "espeak-ng"
        if header["op"] == "ready":
            yield {"id": header["id"], "engine": engine}, b""
            return
        samples = self._speak(header["text"], header["voice"], header["speed"])
        samples = np.concatenate((np.zeros(header["lead"], dtype=np.int16), _trim(samples)))
        rate = header["rate"]
        samples = resample(samples, SPOKEN_RATE, rate)
        wanted = header["format"]
        if wanted in ("pcm", "wav"):
            data = samples.astype("<i2").tobytes()
        else:
            data = encode(samples, rate, wanted)
        audible = first_audible(samples, rate)
        answer = {
            "id": header["id"],
            "engine": engine,
            "samples": len(samples),
            "audible": audible,
        }
        yield answer, data

    def _speak(self, text: str, voice: str, speed: float) -> Samples:
        if self._espeak is not None:
            return _spoken_afresh(self._espeak, text, voice=voice, speed=speed)
        return babble(text, pitch_hz=_PITCHES_HZ.get(voice, _PITCH_HZ), speed=speed)


def _spoken_afresh(espeak: Espeak, text: str, *, voice: str, speed: float) -> Samples:
    """Speak in a copy of this process: a text's samples do not depend on what was spoken before."""
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(source)
            with os.fdopen(sink, "wb") as stream:
                stream.write(espeak.speak(text, voice=voice, speed=speed).tobytes())
            code = 0
        finally:
            os._exit(code)
    os.close(sink)
    with os.fdopen(source, "rb") as stream:
        data = stream.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise OSError("espeak-ng refused the text")
    return np.frombuffer(data, dtype="<i2")


def main() -> None:
    """Serve until standard input ends; ``--without-espeak`` forces the built-in synthesiser."""
    serve(_Synthesiser(allow_espeak="--without-espeak" not in sys.argv).handle)


if __name__ == "__main__":
    main()
