"""Answers as servers really send them, replayed: TURNBENCH_CASES names a folder with wire.

A tape holds the raw bytes of one answer and the waits between them. Each is played through a whole
session, with plain answers for the other two stages: ``l_`` for the LLM, ``s_`` for the STT, ``t_``
for the TTS.
"""

import asyncio
import base64
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from harness.domain.candidate import Candidate, StageSettings
from harness.domain.request import FailureKind, Request
from harness.domain.suite import Timeouts
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import FailedTrial, Trial
from tests.pipeline.playing import Played, play, playable

FOLDER = os.environ.get("TURNBENCH_CASES")
WIRE = Path(FOLDER or ".") / "wire"
AT_ONCE = 6

pytestmark = [
    pytest.mark.slow,
    pytest.mark.realtime,
    pytest.mark.timeout(400),
    pytest.mark.recordings,
    pytest.mark.skipif(FOLDER is None, reason="TURNBENCH_CASES names no folder of wire cases"),
]


@dataclass(frozen=True, slots=True)
class Tape:
    """The raw bytes of an answer, with the milliseconds to wait before each piece."""

    pieces: tuple[tuple[float, bytes], ...]
    close: bool


def _tape(name: str) -> Tape:
    told = json.loads((WIRE / f"{name}.json").read_text())
    pieces = tuple((wait, base64.b64decode(raw)) for wait, raw in told["pieces"])
    return Tape(pieces, close=told["close"])


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").lower()
            length = re.search(r"content-length: *(\d+)", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            found = re.search(rb'name="model"\r\n\r\n([^\r]*)\r\n', body)
            model = found[1].decode() if found else json.loads(body)["model"]
            tape = _tape(model)
            for wait, raw in tape.pieces:
                await asyncio.sleep(wait / 1000)
                writer.write(raw)
                await writer.drain()
            if tape.close:
                return
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


@asynccontextmanager
async def _replaying() -> Any:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, limit=1 << 24)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def _candidate(name: str, base: str) -> Candidate:
    used = {"s": "s_ok", "l": "l_ok", "t": "t_ok", name[0]: name}
    options = {"base_url": base}
    return Candidate(
        name=name,
        stt=StageSettings(provider="openai", model=used["s"], options=options),
        llm=StageSettings(provider="openai", model=used["l"], options=options),
        tts=StageSettings(provider="openai", model=used["t"], voice="v", options=options),
    )


def _request(trial: Trial, stage: Stage) -> Request:
    return next(each for each in trial.turns[0].requests if each.stage is stage)


def _read_whole(trial: Trial) -> bool:
    request = _request(trial, Stage.LLM)
    ended = bool(request.facts.get("done")) and request.facts.get("finish_reason") == "stop"
    return ended and Mark.LLM_TEXT_RECEIVED in request.marks


def _thought(trial: Trial) -> bool:
    marks = _request(trial, Stage.LLM).marks
    spoken, received = marks[Mark.LLM_FIRST_TEXT], marks[Mark.LLM_TEXT_RECEIVED]
    return (
        Mark.LLM_FIRST_REASONING in marks
        and received - marks[Mark.LLM_FIRST_REASONING] > 250e6
        and spoken - received < 150e6
    )


def _two_seconds(trial: Trial) -> bool:
    spoken = [each for each in trial.turns[0].requests if each.stage is Stage.TTS]
    return abs(sum(float(each.facts["audio_seconds"]) for each in spoken) - 2.0) < 0.01


def _half_silent(trial: Trial) -> bool:
    reply = trial.turns[0].reply
    return reply is not None and 0.49 < reply.leading_silence / reply.sample_rate < 0.52


_Check = Callable[[Trial], bool]
ANSWERED: Final[Mapping[str, _Check | None]] = {
    **dict.fromkeys(
        ("l_gzip", "l_ct_plain", "l_cr", "l_bom", "l_nospace", "l_event_field", "l_azurefirst"),
        _read_whole,
    ),
    **dict.fromkeys(("l_think", "l_contentlist", "l_reasoning"), _thought),
    **dict.fromkeys(
        (
            "l_ok",
            "l_nodone",
            "l_comment",
            "l_nodelta",
            "l_role600",
            "l_bytewise",
            "l_usage_in_finish",
            "s_ok",
            "s_gzip",
            "s_bom",
            "s_verbose",
            "s_chunked",
            "s_logprobs",
            "s_hostile",
            "t_noct",
            "t_sse",
            "t_mp3",
        )
    ),
    **dict.fromkeys(("t_ok", "t_gzip", "t_wav16", "t_wav", "t_wav_list", "t_777"), _two_seconds),
    **dict.fromkeys(("t_wav_bare_lead", "t_leadsil"), _half_silent),
    "t_lead150": None,
}
FAILED: Final[Mapping[str, tuple[FailureKind, str]]] = {
    "l_cut_finishempty": (FailureKind.TRUNCATED, ""),
    "l_cut_nofinish": (FailureKind.TRUNCATED, ""),
    "l_oldvllmerr": (FailureKind.STREAM_ERROR, "maximum context length is 4096"),
    "l_error200": (FailureKind.STREAM_ERROR, "TimeoutError"),
    "l_midevent": (FailureKind.STREAM_ERROR, "upstream died"),
    "l_reset": (FailureKind.RESET, ""),
    "l_429date": (FailureKind.RATE_LIMITED, "slow down"),
    "l_id_ping": (FailureKind.MALFORMED, ""),
    "t_rate16": (FailureKind.WRONG_TYPE, "16000"),
    "t_odd": (FailureKind.MALFORMED, "odd"),
    "t_sse_nodone": (FailureKind.TRUNCATED, ""),
    "t_float32": (FailureKind.MALFORMED, ""),
    "t_json_err": (FailureKind.WRONG_TYPE, ""),
    "t_empty": (FailureKind.EMPTY, ""),
    "s_empty": (FailureKind.NO_TRANSCRIPT, ""),
    "s_err200": (FailureKind.STREAM_ERROR, ""),
    "s_html": (FailureKind.WRONG_TYPE, ""),
}


def _wrong(name: str, trial: Played) -> str | None:
    """Return what is wrong with a case's outcome; None where it is as it should be."""
    if name in FAILED:
        kind, words = FAILED[name]
        if not isinstance(trial, FailedTrial):
            return f"{name}: answered, where {kind.value} is due"
        right = trial.failure.kind is kind and words in trial.failure.message
        return None if right else f"{name}: {trial.failure}"
    if not isinstance(trial, Trial):
        return f"{name}: {trial.failure}"
    if Mark.FIRST_AUDIBLE not in trial.turns[0].marks:
        return f"{name}: answered without a response"
    check = ANSWERED.get(name)
    return None if check is None or check(trial) else f"{name}: {trial.turns[0].requests}"


async def test_wire_cases() -> None:
    """Each tape is heard and told as its server meant it."""
    names = [each for each in (*ANSWERED, *FAILED) if (WIRE / f"{each}.json").exists()]
    assert len(names) > 40
    wrong: list[str] = []
    gate = asyncio.Semaphore(AT_ONCE)
    async with _replaying() as base:

        async def one(name: str, hang_up_s: float | None = None) -> None:
            async with gate:
                (trial,) = await play(
                    "",
                    "",
                    _candidate(name, base),
                    [playable("kal16-timer")],
                    timeouts=Timeouts(reply_s=8, transcript_s=8, hang_up_s=hang_up_s),
                    live={"OPENAI_API_KEY": "none"},
                )
            found = _wrong(name, trial)
            if found is not None:
                wrong.append(found)

        await asyncio.gather(*map(one, names), one("t_lead150", 0.1), one("t_leadsil", 0.1))
    assert not wrong, "\n".join(wrong)
