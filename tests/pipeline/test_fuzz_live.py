"""Damaged messages on the wire, through the real plugins: no hang, no crash, no wrong success.

A server on the loopback interface answers each request with a good answer that it has damaged, and
remembers what it sent. ``TURNBENCH_FUZZ_LIVE`` sets how many answers of each protocol there are.
"""

import asyncio
import base64
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from aiohttp import WSMsgType, web

from harness.domain.driver import PlayableUtterance
from harness.domain.suite import (
    Candidate,
    DatasetChoice,
    SessionOptions,
    StageSettings,
    Suite,
    Timeouts,
    Via,
)
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, FailureKind, Trial, TrialKey
from harness.domain.utterance import Utterance
from harness.pipeline.health import Watch
from harness.pipeline.performer import Base
from harness.pipeline.place import Place
from harness.pipeline.session import SessionPerformer
from harness.pipeline.stage import StagePerformer
from tests.pipeline.mutations import cut, mutate, strictly
from tests.pipeline.playing import Played
from tests.pipeline.test_fuzz_bodies import CHAT

ROUNDS = int(os.environ.get("TURNBENCH_FUZZ_LIVE", "200"))
LIMIT_S = 20.0

pytestmark = [pytest.mark.slow, pytest.mark.realtime, pytest.mark.timeout(3600)]

HELLO = b'{"status": "listening", "request_id": "p1", "sample_rate": 16000}'
FINALS = (
    b'{"text": "what time", "is_final": false}',
    b'{"text": "what time is it", "is_final": true}',
    b'{"status": "finalized"}',
)
_HEARD_BYTES = 30_000
"""The lead-in, the speech and a little more."""
_TONE = (np.sin(np.arange(24_000) * 0.06) * 6000).astype("<i2").tobytes()


@dataclass(slots=True)
class Damage:
    """The server: what it sent, by the client's request id or by the path."""

    rng: random.Random
    chance: float = 1.0
    sent: dict[str, bytes] = field(default_factory=dict)
    heard: dict[str, list[bytes]] = field(default_factory=dict)

    def damaged(self, data: bytes) -> bytes:
        return mutate(data, self.rng) if self.rng.random() < self.chance else data

    async def _body(self, request: web.Request, data: bytes, kind: str) -> web.StreamResponse:
        await request.read()
        data = self.damaged(data)
        self.sent[request.headers["x-turnbench-request"]] = data
        response = web.StreamResponse(headers={"Content-Type": kind})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for piece in cut(data, self.rng):
            await response.write(piece)
        await response.write_eof()
        return response

    async def chat(self, request: web.Request) -> web.StreamResponse:
        return await self._body(request, CHAT, "text/event-stream")

    async def speech(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body.get("stream_format") == "sse":
            pieces = [_TONE[:16_000], _TONE[16_000:]]
            events: list[dict[str, Any]] = [
                {"type": "speech.audio.delta", "audio": _base64(each)} for each in pieces
            ]
            events.append({"type": "speech.audio.done", "usage": {"total_tokens": 9}})
            data = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events)
            return await self._body(request, data, "text/event-stream")
        return await self._body(request, _TONE, "audio/pcm")

    async def hear(self, request: web.Request) -> web.StreamResponse:
        said = self.heard.setdefault(request.match_info["profile"], [])
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)

        async def say(message: bytes) -> None:
            message = self.damaged(message) if self.rng.random() < 0.4 else message
            said.append(message)
            # As a frame of text whatever it holds: UTF-8 that is none must be met as well.
            writer = socket._writer
            assert writer is not None
            await writer.send_frame(message, WSMsgType.TEXT)

        await say(HELLO)
        received, told = 0, False
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                received += len(message.data)
            # The stage driver asks for the final; a session leaves it to the server.
            if not told and (message.type is WSMsgType.TEXT or received > _HEARD_BYTES):
                told = True
                for each in FINALS:
                    await say(each)
        return socket


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@asynccontextmanager
async def serving(damage: Damage) -> AsyncIterator[str]:
    """Serve; yield the root address."""
    app = web.Application()
    app.router.add_post("/{profile}/v1/chat/completions", damage.chat)
    app.router.add_post("/{profile}/v1/audio/speech", damage.speech)
    app.router.add_get("/{profile}/parakeet/v1/audio/stream", damage.hear)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _utterance() -> PlayableUtterance:
    utterance = Utterance(
        id="tone", audio="tone.wav", text="what time is it", speech_start_s=0.0, speech_end_s=0.6,
        duration_s=0.75,
    )  # fmt: skip
    return PlayableUtterance(
        utterance=utterance, pcm=_TONE[:24_000], speech_start_ns=0, speech_end_ns=600_000_000
    )


def _candidate(name: str, *stages: Stage, model: str = "tts-1") -> Candidate:
    def settings(stage: Stage) -> StageSettings | None:
        if stage not in stages:
            return None
        provider = "openai" if stage is Stage.TTS else "openadapter"
        return StageSettings(
            provider=provider, profile=name, model=model if stage is Stage.TTS else None
        )

    return Candidate(
        name=name, stt=settings(Stage.STT), llm=settings(Stage.LLM), tts=settings(Stage.TTS)
    )


class Player:
    """Performs many trials against one server under one watch."""

    def __init__(self, gateway: str, watch: Watch) -> None:
        self._gateway = gateway
        self._watch = watch
        self._count = 0

    @asynccontextmanager
    async def performer(self, driver: type[Base], chosen: Candidate) -> AsyncIterator[Base]:
        suite = Suite(
            name="fuzz",
            datasets=(DatasetChoice(path="starter"),),
            candidates=(chosen,),
            session=SessionOptions(request_timeout_s=2.0),
            timeouts=Timeouts(connect_s=3, transcript_s=1, reply_s=3, playout_s=5),
            stage_texts=("What time is it?",),
        )
        place = Place(
            via=Via.GATEWAY, options=suite.session, gateway=self._gateway, gateway_key="key"
        )
        found = driver(chosen, suite, place=place, watch=self._watch, redact=lambda text: text)
        await found.start()
        try:
            yield found
        finally:
            await found.aclose()

    async def perform(self, performer: Base, chosen: Candidate) -> Played:
        self._count += 1
        key = TrialKey(candidate=chosen.name, utterance="tone", repeat=0, order=self._count)
        async with asyncio.timeout(LIMIT_S):
            trial, _ = await performer.perform(
                key, chosen, _utterance()
            )
        assert isinstance(trial, Trial | FailedTrial)
        return trial


async def _many(jobs: int, at_once: int, one: Callable[[int], Awaitable[None]]) -> None:
    limit = asyncio.Semaphore(at_once)

    async def bounded(number: int) -> None:
        async with limit:
            await one(number)

    await asyncio.gather(*(bounded(number) for number in range(jobs)))


@asynccontextmanager
async def _players(damage: Damage) -> AsyncIterator[Player]:
    watch = Watch()
    await watch.start()
    try:
        async with serving(damage) as address:
            yield Player(address, watch)
    finally:
        await watch.aclose()


def _tell(name: str, found: Counter[str]) -> None:
    print(name, dict(found.most_common()))  # noqa: T201  # shown with -s


def _outcome(trial: Played, stage: Stage) -> str:
    """Return a trial's outcome; refuse one that blames another stage or the harness."""
    if isinstance(trial, Trial):
        return "answered"
    assert trial.failure.stage is stage, trial.failure
    assert trial.failure.kind is not FailureKind.INTERNAL, trial.failure
    assert trial.failure.message
    return trial.failure.kind.value


@pytest.mark.parametrize(
    ("stage", "model"),
    [(Stage.LLM, ""), (Stage.TTS, "tts-1"), (Stage.TTS, "gpt-4o-mini-tts")],
    ids=["chat", "speech-samples", "speech-events"],
)
async def test_damaged_answers(stage: Stage, model: str) -> None:
    """A damaged answer ends the trial in time, and well only if a strict client could take it."""
    damage = Damage(random.Random(11))
    chosen = _candidate("fuzz", stage, model=model)
    found: Counter[str] = Counter()
    async with (
        _players(damage) as player,
        player.performer(StagePerformer, chosen) as performer,
    ):

        async def one(_: int) -> None:
            trial = await player.perform(performer, chosen)
            outcome = _outcome(trial, stage)
            found[outcome] += 1
            if outcome != "answered":
                return
            (request,) = [each for each in trial.turns[0].requests if each.stage is stage]
            sent = damage.sent[str(request.facts["truth_id"])]
            if stage is Stage.TTS and model == "tts-1":
                assert sent
                assert len(sent) % 2 == 0
                return
            events = strictly(sent)
            assert events is not None, sent
            assert not any(event.get("error") for event in events), sent

        await _many(ROUNDS, 12, one)
        damage.chance = 0.0
        after = await player.perform(performer, chosen)
    assert isinstance(after, Trial), after.failure
    _tell(f"{stage.value} {model}", found)
    assert found["answered"]
    assert found["malformed"]


async def test_damaged_recognition() -> None:
    """Damaged messages of a recogniser end the trial in time; a final was one, or there is none."""
    damage = Damage(random.Random(12))
    found: Counter[str] = Counter()
    async with _players(damage) as player:

        async def one(number: int) -> None:
            name = f"m{number}"
            chosen = _candidate(name, Stage.STT)
            async with player.performer(StagePerformer, chosen) as performer:
                trial = await player.perform(performer, chosen)
            outcome = _outcome(trial, Stage.STT)
            found[outcome] += 1
            if outcome == "answered":
                assert any(_is_final(message) for message in damage.heard[name]), damage.heard[name]

        await _many(ROUNDS, 40, one)
    _tell("stt", found)
    assert found["answered"]
    assert found["malformed"]


def _is_final(message: bytes) -> bool:
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(value, dict)
        and value.get("is_final", True) is True  # a message that does not say is final
        and isinstance(value.get("text"), str)
        and bool(value["text"].strip())
    )


async def test_damaged_sessions() -> None:
    """Sessions in which every stage may be damaged end in time, and the harness is never blamed."""
    damage = Damage(random.Random(13), chance=0.4)
    found: Counter[str] = Counter()
    async with _players(damage) as player:

        async def one(number: int) -> None:
            chosen = _candidate(f"s{number}", Stage.STT, Stage.LLM, Stage.TTS)
            async with player.performer(SessionPerformer, chosen) as performer:
                trial = await player.perform(performer, chosen)
            if isinstance(trial, Trial):
                found["answered"] += 1
                return
            found[f"{trial.failure.stage.value} {trial.failure.kind.value}"] += 1
            assert trial.failure.stage is not Stage.HARNESS, trial.failure
            assert trial.failure.kind is not FailureKind.INTERNAL, trial.failure

        await _many(max(40, ROUNDS // 10), 8, one)
    _tell("session", found)
    assert found["answered"]
    assert len(found) > 3
