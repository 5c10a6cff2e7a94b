"""The worker process of the oracle: correlates audio with the recordings of a manifest.

Message in: ``find {id}`` + PCM16 mono 16 kHz; out: ``{id, utterance, offset, score}``, with
``utterance`` null when none is like it.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from harness.gateway.engines.fingerprint import BandIndex
from harness.gateway.engines.utterances import read_utterances
from harness.gateway.engines.worker import Message, serve

__all__ = ["main"]


def main() -> None:
    """Serve until standard input ends; the argument is the manifest's path."""
    known = read_utterances(Path(sys.argv[1]))
    index = BandIndex([utterance.samples for utterance in known])

    def handle(header: dict[str, Any], payload: bytes) -> Iterator[Message]:
        match = None
        if payload:
            match = index.find(np.frombuffer(payload, dtype="<i2"))
        if match is None:
            yield {"id": header["id"], "utterance": None}, b""
        else:
            yield (
                {
                    "id": header["id"],
                    "utterance": match.utterance,
                    "offset": match.offset,
                    "score": match.score,
                },
                b"",
            )

    serve(handle)


if __name__ == "__main__":
    main()
