"""espeak-ng by ctypes, from the wheel `espeakng-loader`; loaded in a worker process alone.

espeak-ng is GPL-3.0 and optional. It is not thread-safe and reports an unknown voice only by its
return code, keeping the old voice: both are dealt with here.
"""

import ctypes
import importlib.util
from typing import Any, Final

import numpy as np

from harness.gateway.engines.pcm import SPOKEN_RATE, Samples, resample

__all__ = ["Espeak", "espeak_exists"]

_SYNCHRONOUS = 2
_UTF8 = 1
_RATE, _PITCH = 1, 3
_DONT_EXIT = 0x8000

# espeak's voice, words per minute, pitch (0-100) for each name of the OpenAI and Kokoro sets.
_VOICES: Final = {
    "alloy": ("en-us+klatt4", 160, 50),
    "echo": ("en-us+klatt5", 155, 40),
    "fable": ("en-gb-x-rp+klatt4", 160, 55),
    "onyx": ("en-us+klatt6", 150, 25),
    "nova": ("en-us+klatt2", 165, 75),
    "shimmer": ("en-us+klatt3", 160, 85),
    "af_heart": ("en-us+f3", 165, 60),
    "am_adam": ("en-us+m3", 155, 40),
}
_DEFAULT = ("en-us+klatt4", 160, 50)


def espeak_exists() -> bool:
    """Return whether the wheel that brings espeak-ng is installed."""
    return importlib.util.find_spec("espeakng_loader") is not None


class Espeak:
    """The library, initialised once per process.

    Raises:
        OSError: the library or its data cannot be loaded.
    """

    def __init__(self) -> None:
        import espeakng_loader  # noqa: PLC0415  # optional; this process alone loads it

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._rate = int(
            self._library.espeak_Initialize(
                _SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), _DONT_EXIT
            )
        )
        if self._rate <= 0:
            raise OSError("espeak-ng could not be initialised")
        self._chunks: list[bytes] = []
        callback_type = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
        )

        def collect(samples: Any, number: int, events: Any) -> int:
            del events
            if samples and number > 0:
                self._chunks.append(ctypes.string_at(samples, number * 2))
            return 0

        # The library keeps the pointer: the object must live as long.
        self._callback = callback_type(collect)
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, *, voice: str, speed: float) -> Samples:
        """Return PCM16 at 24 kHz.

        Raises:
            OSError: espeak-ng refused the voice or the text.
        """
        name, words_per_minute, pitch = _VOICES.get(voice, _DEFAULT)
        if self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise OSError(f"espeak-ng does not know the voice {name}")
        rate = max(80, min(450, round(words_per_minute * speed)))
        self._library.espeak_SetParameter(_RATE, rate, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        self._chunks = []
        data = text.encode(errors="replace").replace(b"\0", b" ") + b"\0"
        if self._library.espeak_Synth(data, len(data), 0, 1, 0, _UTF8, None, None) != 0:
            raise OSError("espeak-ng refused the text")
        self._library.espeak_Synchronize()
        samples = np.frombuffer(b"".join(self._chunks), dtype="<i2")
        return resample(samples, self._rate, SPOKEN_RATE)
