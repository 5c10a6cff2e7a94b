"""The gateway's truth as a file."""

import asyncio
import json
from pathlib import Path

import pytest

from harness.domain.seal import seal
from harness.errors import ConfigurationError
from harness.gateway.calls.truth import TruthEvent, TruthLog, read_rows, read_truth


def _event(t_ns: int) -> TruthEvent:
    return TruthEvent(
        t_ns=t_ns,
        event="text_sent",
        stage="llm",
        protocol="openai-chat",
        profile="exact",
        connection="c1",
        request="r1",
        index=3,
        injected_ns=0,
        detail='ü "quoted"\n',
    )


@pytest.mark.realtime
async def test_what_is_added_is_read_back(tmp_path: Path) -> None:
    """Every record comes back as it was, in the order of its instants, zeros included."""
    path = tmp_path / "truth.jsonl"
    log = TruthLog(path)
    log.start()
    events = [_event(t_ns) for t_ns in (5, 3, 9)] * 40
    for event in events[:60]:
        log.add(event)
    await asyncio.sleep(0.25)
    assert len(read_truth(path)) == 60
    for event in events[60:]:
        log.add(event)
    await log.stop()
    assert read_truth(path) == tuple(sorted(events, key=lambda event: event.t_ns))


async def test_records_added_while_it_stops_are_kept(tmp_path: Path) -> None:
    """Stopping writes what is still in memory, even if it was never started."""
    log = TruthLog(tmp_path / "truth.jsonl")
    log.add(_event(1))
    await log.stop()
    assert read_truth(tmp_path / "truth.jsonl") == (_event(1),)


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    """A gateway killed while it wrote loses no record but the last."""
    path = tmp_path / "truth.jsonl"
    line = _event(1).as_json()
    path.write_text(f"{line}\n{line[: len(line) // 2]}", encoding="utf-8")
    assert read_truth(path) == (_event(1),)


def test_unknown_fields_are_ignored(tmp_path: Path) -> None:
    """A file of a later version can be read."""
    path = tmp_path / "truth.jsonl"
    path.write_text('{"t_ns": 1, "event": "x", "colour": "red"}\n', encoding="utf-8")
    assert read_truth(path) == (TruthEvent(t_ns=1, event="x"),)


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"event": "x"}', '{"t_ns": "1"}'])
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str) -> None:
    """A broken line before the last is an error that names its place."""
    path = tmp_path / "truth.jsonl"
    path.write_text(f"{line}\n{_event(1).as_json()}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"truth\.jsonl:1: not a truth record"):
        read_truth(path)


def test_a_changed_line_is_told(tmp_path: Path) -> None:
    """A digit that differs from what was written is refused, not compared with."""
    path = tmp_path / "truth.jsonl"
    line = seal(json.dumps({"t_ns": 12_345, "event": "text_sent", "client_request": "c"}))
    path.write_text(f"{line}\n", encoding="utf-8")
    assert read_rows(path) == [("c", "text_sent", 12_345, None)]
    path.write_text(f"{line}\n".replace("12345", "12346"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="damaged"):
        read_rows(path)
    with pytest.raises(ConfigurationError, match="damaged"):
        read_truth(path)
