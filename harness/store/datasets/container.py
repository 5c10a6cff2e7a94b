"""Decode an M4A, MP4 or WebM file to samples, in a process of its own.

    python -m harness.store.datasets.container FILE > SAMPLES

Written to standard output: one line of JSON with ``rate`` and ``channels``, or with ``error``, then
the samples as interleaved little-endian 32-bit floats. FFmpeg has crashed the process on damaged
files; here that is an exit code instead of the end of a run.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

__all__ = ["DecodeError", "decode_container"]

_TIMEOUT_S: Final = 120.0


class DecodeError(Exception):
    """The file cannot be decoded; the message says why, in a few words."""


def decode_container(path: Path) -> tuple[npt.NDArray[np.float64], int]:
    """Return the samples of the first audio stream, shape ``(n, channels)``, and their rate.

    Raises:
        DecodeError: the file is damaged, holds no audio, or PyAV is not installed.
    """
    command = [sys.executable, "-m", "harness.store.datasets.container", str(path.resolve())]
    try:
        done = subprocess.run(  # noqa: S603 - our own module; the path is one argument, no shell
            command, capture_output=True, check=False, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise DecodeError(f"the decoder took longer than {_TIMEOUT_S:.0f} s") from None
    head, _, body = done.stdout.partition(b"\n")
    if done.returncode != 0 or not head:
        raise DecodeError("the decoder crashed on it: it is damaged")
    facts = json.loads(head)
    if "error" in facts:
        raise DecodeError(str(facts["error"]))
    if int(facts["channels"]) < 1 or not body:
        raise DecodeError("it holds no samples")
    samples = np.frombuffer(body, dtype="<f4").astype(np.float64)
    return samples.reshape(-1, int(facts["channels"])), int(facts["rate"])


def main(path: str, output: BinaryIO) -> None:
    """Decode one file to ``output``."""
    try:
        import av  # noqa: PLC0415 - only this process needs it
    except ImportError:
        output.write(b'{"error": "PyAV is not installed: `pip install av`"}\n')
        return
    facts: dict[str, int | str]
    blocks: list[bytes] = []
    try:
        with av.open(path, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise ValueError("it holds no audio stream")  # noqa: TRY301 - told as the others are
            stream = container.streams.audio[0]
            facts = {"rate": stream.codec_context.sample_rate, "channels": stream.channels}
            # Packed floats have one plane: PyAV 17 crashes on the planes of more than two channels.
            packer = av.AudioResampler(
                format="flt", layout=stream.layout, rate=stream.codec_context.sample_rate
            )
            for frame in container.decode(stream):
                blocks.extend(packed.to_ndarray().tobytes() for packed in packer.resample(frame))
            if blocks:
                blocks.extend(packed.to_ndarray().tobytes() for packed in packer.resample(None))
    except (av.FFmpegError, ValueError, OverflowError, MemoryError) as error:
        # Damaged files surface as any of these, from PyAV's own reading of their fields.
        reason = str(getattr(error, "strerror", None) or error)
        facts, blocks = {"error": " ".join(reason.split())}, []
    output.write(json.dumps(facts).encode() + b"\n")
    output.writelines(blocks)


if __name__ == "__main__":
    main(sys.argv[1], sys.stdout.buffer)
