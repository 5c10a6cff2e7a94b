"""The gateway's truth: when each message left or arrived, on the run's clock, as JSON Lines.

An instant of sending is stamped immediately before the bytes are handed to the socket, an instant
of arrival immediately after they are read: no client can have seen a message before its stamp.
Between two stamps nothing happens but an append to a list; a background task formats and writes.

Events by stage (every record also names protocol, connection, request and profile):

======================== ====== ==================================================================
event                    stage  the instant when
======================== ====== ==================================================================
gateway_started          –      the server listens; ``detail`` has seed and engines as JSON
request_received         all    the request (body included) or the WebSocket upgrade was read
asked                    all    what the request asked for was understood; ``detail`` has it as JSON
routed                   all    the router chose; ``kind`` is the upstream, ``index`` how many
                                failed before it, ``injected_ns`` what they cost
headers_sent             all    status and headers left; ``kind`` is the status
role_sent                llm    the role-only chunk left
reasoning_sent           llm    reasoning delta ``index`` left
text_sent                llm    answer delta ``index`` left
tool_call_sent           llm    tool-call delta ``index`` left
finish_sent              llm    the chunk with the finish reason left
usage_sent               llm    the usage chunk left
done_sent                all    ``[DONE]``, the last audio byte or the JSON body left
envelope_sent            tts    the WAV header left, apart from any sample
audio_sent               tts    audio chunk ``index`` of ``bytes`` left
first_nonsilent_audio_sent tts  the chunk with the first sample above the floor left; ``samples``
                                is that sample's index
engine_ready             all    the engine's result was there; ``kind`` names the engine and
                                ``late_ns`` says how far it overran the profile (0: it did not);
                                the oracle's ``detail`` has what it heard and changed
hello_sent               stt    the greeting left (of the interruption detector as well)
window_received          –      a window of speech over a reply arrived: ``index``, ``samples``;
                                ``detail`` is the client's own reading of the clock
verdict_sent             –      the verdict on window ``index`` left; ``kind`` is interruption or
                                backchannel, ``detail`` has the client's reading and the
                                probability as JSON
audio_received           stt    audio arrived; ``samples`` is the count or index so far, ``kind``
                                is first, second, speech_start or speech_end (the last sample of
                                speech, known in hindsight when the endpoint is detected)
finalize_received        stt    the client asked for the final
endpoint_detected        stt    the utterance was taken to be over; ``kind`` is silence, finalize,
                                length, batch or click (too short to be speech: no final)
interim_sent, final_sent stt    a transcript left; ``detail`` has its text
finalized_sent           stt    the answer to finalize left
fault                    all    a fault struck; ``kind`` is its name
closed                   all    the connection or response ended early; ``kind`` says by whom
======================== ====== ==================================================================

``injected_ns`` is what the profile drew for the message, counted from the request's arrival (llm,
tts, hello), from the arrival of the last speech sample (a final after silence) or from the arrival
of ``finalize``. ``due_ns`` is the deadline itself: ``t_ns - due_ns`` is the gateway's own lateness.
"""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from harness.domain.seal import is_sealed, seal, unbroken
from harness.errors import ConfigurationError

__all__ = ["TruthEvent", "TruthLog", "read_rows", "read_truth"]

_EVENT_KEY = b'"event": "'
_EVENT_WITHIN = 64
_LATER = re.compile(rb'"index": [1-9]')
_COMPARED = frozenset(
    {
        b"request_received",
        b"role_sent",
        b"reasoning_sent",
        b"text_sent",
        b"tool_call_sent",
        b"audio_sent",
        b"final_sent",
    }
)
_FLUSH_INTERVAL_S = 0.1
# Formatting shares the event loop with the deadlines: 16 records take about 0.1 ms.
_BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthEvent:
    """One thing that the gateway did or saw; the module's table has the events.

    Attributes:
        t_ns: the instant, ``time.perf_counter_ns``.
        event: its name.
        stage: "stt", "llm", "tts", "interruption", or "" for the gateway itself.
        protocol: the wire protocol, such as "parakeet" or "openai-chat".
        profile: the profile's name.
        connection: the gateway's id of the connection (for HTTP, of the request).
        request: the gateway's id of the request or utterance, also sent as ``x-request-id``.
        client_request: the client's own id, from ``x-turnbench-request`` or ``?turnbench=``.
        index: the position of a repeated message.
        bytes: the size of an audio chunk.
        samples: a count or index of samples.
        injected_ns: the delay that the profile drew.
        due_ns: the deadline of the message.
        late_ns: how far an engine overran its deadline.
        kind: what sort of event, as the table says.
        detail: text.
    """

    t_ns: int
    event: str
    stage: str = ""
    protocol: str = ""
    profile: str = ""
    connection: str = ""
    request: str = ""
    client_request: str | None = None
    index: int | None = None
    bytes: int | None = None
    samples: int | None = None
    injected_ns: int | None = None
    due_ns: int | None = None
    late_ns: int | None = None
    kind: str | None = None
    detail: str | None = None

    def as_json(self) -> str:
        """Return the record as one line of JSON, without what is absent."""
        record = {
            name: value
            for name in _FIELDS
            if (value := getattr(self, name)) is not None and value != ""
        }
        return json.dumps(record, ensure_ascii=False)


_FIELDS = tuple(field.name for field in fields(TruthEvent))


class TruthLog:
    """Collects truth in memory and writes it in the background.

    Args:
        path: the file to append to, or None to keep nothing but the last records in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._descriptor: int | None = None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._descriptor = os.open(
                    path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644
                )
            except OSError as error:
                raise ConfigurationError(f"--truth {path}: cannot be written: {error}") from error
        self._pending: list[TruthEvent] = []
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, event: TruthEvent) -> None:
        """Keep a record; returns at once."""
        if self._descriptor is not None:
            self._pending.append(event)

    def start(self) -> None:
        """Begin to write in the background of the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._write_on())

    async def _write_on(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _FLUSH_INTERVAL_S)
            await self._write_pending()

    async def _write_pending(self) -> None:
        pending, self._pending = self._pending, []
        lines: list[str] = []
        for start in range(0, len(pending), _BATCH):
            lines.extend(_lines(pending[start : start + _BATCH]))
            await asyncio.sleep(0)
        if lines and self._descriptor is not None:
            await asyncio.to_thread(_write_all, self._descriptor, "".join(lines).encode())

    async def stop(self) -> None:
        """Write what is left and close the file."""
        self._stopping.set()
        if self._task is not None:
            await self._task
            self._task = None
        await self._write_pending()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _lines(events: Iterable[TruthEvent]) -> list[str]:
    return [seal(event.as_json()) + "\n" for event in events]


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def read_truth(path: Path) -> tuple[TruthEvent, ...]:
    """Read a truth file in the order of its instants.

    A torn last line (the gateway was killed while it wrote) is left out; fields that this version
    does not know are ignored.

    Raises:
        ConfigurationError: the file cannot be read, or a line before the last is not a record.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    torn = lines.pop()
    events: list[TruthEvent] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if not unbroken(line):
            raise ConfigurationError(f"{path}:{number}: damaged: its checksum differs")
        try:
            events.append(_event(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"{path}:{number}: not a truth record: {error}") from error
    if torn.strip():
        with contextlib.suppress(ValueError, TypeError):
            events.append(_event(json.loads(torn)))
    return tuple(sorted(events, key=lambda event: event.t_ns))


def read_rows(path: Path) -> list[tuple[str, str, int, int | None]]:
    """Read what marks are compared with: (client's request id, event, instant, injected delay).

    Of audio only the first chunk of each request. Lines that nothing is compared with are passed
    over by their event's name, unread: they are most of a long run's truth. What is torn or no
    record is left out.

    Raises:
        ConfigurationError: the file cannot be read, or a line does not hold what was written.
    """
    rows: list[tuple[str, str, int, int | None]] = []
    try:
        with path.open("rb") as file:
            sealed = False
            for line in file:
                whole = unbroken(line) and (is_sealed(line) or not sealed)
                sealed = sealed or is_sealed(line)
                if not whole and line.endswith(b"\n"):
                    raise ConfigurationError(f"{path}: damaged: a line's checksum differs")
                start = line.find(_EVENT_KEY, 0, _EVENT_WITHIN)
                name = line[start + len(_EVENT_KEY) :].partition(b'"')[0] if start >= 0 else b""
                if name not in _COMPARED or (name == b"audio_sent" and _LATER.search(line)):
                    continue
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    each = json.loads(line)
                    client = each.get("client_request", "")
                    rows.append((client, each["event"], each["t_ns"], each.get("injected_ns")))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    return rows


def _event(record: Any) -> TruthEvent:
    if not isinstance(record, dict) or not isinstance(record.get("t_ns"), int):
        raise TypeError("no t_ns")
    return TruthEvent(**{name: record[name] for name in _FIELDS if name in record})
