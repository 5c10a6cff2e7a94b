"""The worker process of the embedded recogniser: pocketsphinx, one utterance at a time.

Messages in: ``start {id, cmn}``, ``audio {id}`` + PCM16 mono 16 kHz, ``end {id}``. Messages out:
``partial {id, text}`` when the hypothesis changed, ``final {id, text, cmn}``.
"""

from collections.abc import Iterator
from typing import Any

from harness.gateway.engines.pcm import HEARD_RATE
from harness.gateway.engines.worker import Message, serve

__all__ = ["main"]

# The same audio in other chunks gives another result: 20 ms, always.
_CHUNK_BYTES = 640


class _Recogniser:
    def __init__(self) -> None:
        from pocketsphinx import Decoder  # noqa: PLC0415  # only this process loads it

        # fwdflat costs 80-130 ms at the end of an utterance for 0.01-0.03 of word error rate;
        # 5000 active models a frame halve the work on noisy speech and change no error rate.
        self._decoder = Decoder(fwdflat=False, maxhmmpf=5000, samprate=HEARD_RATE, loglevel="FATAL")
        self._fresh_cmn = self._decoder.get_cmn(update=False)
        self._rest = b""
        self._open = False
        self._text = ""

    def handle(self, header: dict[str, Any], payload: bytes) -> Iterator[Message]:
        operation = header["op"]
        if operation == "ready":
            yield {"id": header["id"]}, b""
        elif operation == "start":
            self._abandon()
            # Noise is estimated anew: what was heard before must not matter.
            self._decoder.start_stream()
            self._decoder.set_cmn(header.get("cmn") or self._fresh_cmn)
            self._decoder.start_utt()
            self._open = True
            self._rest = b""
            self._text = ""
        elif operation == "audio":
            yield from self._audio(header, payload)
        elif operation == "end":
            yield from self._end(header)

    def _audio(self, header: dict[str, Any], payload: bytes) -> Iterator[Message]:
        if not self._open:
            return
        data = self._rest + payload
        whole = len(data) - len(data) % _CHUNK_BYTES
        for start in range(0, whole, _CHUNK_BYTES):
            self._decoder.process_raw(
                data[start : start + _CHUNK_BYTES], no_search=False, full_utt=False
            )
            text = self._hypothesis()
            if text != self._text:
                self._text = text
                yield {"id": header["id"], "op": "partial", "text": text}, b""
        self._rest = data[whole:]

    def _end(self, header: dict[str, Any]) -> Iterator[Message]:
        text = ""
        if self._open:
            if self._rest:
                self._decoder.process_raw(self._rest, no_search=False, full_utt=False)
            self._decoder.end_utt()
            self._open = False
            text = self._hypothesis()
        cmn = self._decoder.get_cmn(update=True)
        yield {"id": header["id"], "op": "final", "text": text, "cmn": cmn}, b""

    def _abandon(self) -> None:
        if self._open:
            self._decoder.end_utt()
            self._open = False

    def _hypothesis(self) -> str:
        hypothesis = self._decoder.hyp()
        return "" if hypothesis is None else str(hypothesis.hypstr).strip()


def main() -> None:
    """Serve until standard input ends."""
    # Steady work gives way to the event loops of the gateway and of the harness.
    serve(_Recogniser().handle, nice=5)


if __name__ == "__main__":
    main()
