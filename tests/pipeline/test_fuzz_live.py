"""Damaged messages on the wire, through the real plugins: no hang, no crash, no wrong success.

A server on the loopback interface speaks every protocol, damages what it says, and remembers what
it said and when. A trial may succeed only with what a strict client could have read from that: the
final transcripts, the reply's text, the reply's samples; and no mark may precede its cause.
``TURNBENCH_FUZZ_LIVE`` sets how many trials of each protocol there are.
"""

import asyncio
import os
import random
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from harness.analysis.turn.attribution import waterfall
from harness.domain.candidate import Candidate, StageSettings
from harness.domain.driver import PlayableUtterance, ReplyAudio
from harness.domain.request import FailureKind, Request, TranscriptKind
from harness.domain.suite import DatasetChoice, SessionOptions, Suite, Timeouts, Via
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import FailedTrial, Trial, TrialKey
from harness.domain.utterance import Utterance
from harness.pipeline.drivers.performer import Base
from harness.pipeline.drivers.session import SessionPerformer
from harness.pipeline.drivers.stage import StagePerformer
from harness.pipeline.place import Place
from harness.pipeline.recording.health import Watch
from harness.store.runs.decode import decode_trial
from harness.store.runs.encode import encode_trial
from tests.pipeline.damage import Said
from tests.pipeline.playing import Played
from tests.pipeline.wire_scripts import BODIES, EARS, TONE, VOICES, Body, Ear, Voice
from tests.pipeline.wire_server import Did, WireServer, serving

ROUNDS = int(os.environ.get("TURNBENCH_FUZZ_LIVE", "24"))
SEED = int(os.environ.get("TURNBENCH_FUZZ_SEED", "11"))
LIMIT_S = 20.0
SESSION_ROUNDS = max(16, ROUNDS // 5)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(36_000)]

Protocol = Ear | Voice | Body
PROTOCOLS: tuple[Protocol, ...] = (*EARS, *VOICES, *BODIES)
_PROTOCOLS_AT_ONCE = 4
_IN_A_ROW = 4
"""How many trials follow one another on the same clients, and so on the same sockets."""


def _stage(protocol: Protocol) -> Stage:
    if isinstance(protocol, Body):
        return protocol.stage
    return Stage.STT if isinstance(protocol, Ear) else Stage.TTS


def _utterance() -> PlayableUtterance:
    utterance = Utterance(
        id="tone", audio="tone.wav", text="what time is it", speech_start_s=0.0, speech_end_s=0.6,
        duration_s=0.75,
    )  # fmt: skip
    return PlayableUtterance(
        utterance=utterance, pcm=TONE[:24_000], speech_start_ns=0, speech_end_ns=600_000_000
    )


def _candidate(name: str, *protocols: Protocol) -> Candidate:
    def settings(stage: Stage) -> StageSettings | None:
        for each in protocols:
            if _stage(each) is stage:
                return StageSettings(
                    provider=each.settings.provider,
                    model=each.settings.model,
                    voice=each.settings.voice,
                    options=each.settings.options,
                    profile=f"{each.name}.{name}",
                )
        return None

    return Candidate(
        name=name, stt=settings(Stage.STT), llm=settings(Stage.LLM), tts=settings(Stage.TTS)
    )


class Player:
    """Performs many trials against one server under one watch."""

    def __init__(self, server: WireServer, watch: Watch) -> None:
        self.server = server
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
            keep_audio=True,
        )
        place = Place(
            via=Via.GATEWAY, options=suite.session, gateway=self.server.address, gateway_key="key"
        )
        found = driver(chosen, suite, place=place, watch=self._watch, redact=lambda text: text)
        await found.start()
        try:
            yield found
        finally:
            await found.aclose()

    async def perform(self, performer: Base, chosen: Candidate) -> tuple[Played, ReplyAudio | None]:
        self._count += 1
        key = TrialKey(candidate=chosen.name, utterance="tone", repeat=0, order=self._count)
        async with asyncio.timeout(LIMIT_S):
            trial, reply = await performer.perform(key, chosen, _utterance())
        assert isinstance(trial, Trial | FailedTrial)
        line = encode_trial(trial).encode("utf-8", "surrogatepass")
        assert decode_trial(line) == trial
        for turn in trial.turns:
            waterfall(turn)
        return trial, reply


def _outcome(trial: Played, stage: Stage) -> str:
    """Return a trial's outcome; refuse one that blames another stage or the harness."""
    if isinstance(trial, Trial):
        return "answered"
    assert trial.failure.stage is stage, trial.failure
    assert trial.failure.kind is not FailureKind.INTERNAL, trial.failure
    assert trial.failure.message
    return trial.failure.kind.value


def _request(trial: Trial, stage: Stage) -> Request:
    (request,) = [each for each in trial.turns[0].requests if each.stage is stage]
    return request


def _same(pcm: bytes, samples: bytes) -> bool:
    """Whether a reply is these samples; livekit ends each with up to 10 ms of silence."""
    return (
        pcm.startswith(samples) and len(pcm) - len(samples) <= 480 and not any(pcm[len(samples) :])
    )


def _words(text: str | None) -> str:
    """Return what a text says, however its ends and its halves of characters are written."""
    halves = (text or "").encode("utf-16", "surrogatepass")
    return halves.decode("utf-16", "replace").strip()


def _check_heard(ear: Ear, trial: Trial, did: Sequence[Did]) -> None:
    """Each final was stated by a message, in order, after its audio came, before it was noted."""
    finals = [
        each
        for each in trial.turns[0].transcripts
        if each.kind is TranscriptKind.FINAL and each.text.strip()
    ]
    assert finals
    said = [
        (each.at_ns, ear.final(each.act.data))
        for each in did
        if isinstance(each.act, Said) and each.act.text
    ]
    position = 0
    for final in finals:
        while position < len(said) and _words(said[position][1]) != _words(final.text):
            position += 1
        assert position < len(said), (final, did)
        assert final.received_ns is not None, final
        assert said[position][0] <= final.received_ns <= final.at_ns
        assert final.received_ns >= trial.started_ns, "a final from before the trial"
        position += 1


def _check_spoken(voice: Voice, trial: Trial, reply: ReplyAudio | None, did: Sequence[Did]) -> None:
    """The reply is what was said after the asking, up to an end, and begins after its cause."""
    asked = [index for index, each in enumerate(did) if each.act is None]
    mine = [index for index in asked if did[index].at_ns >= trial.started_ns]
    assert mine, "answered without having been asked"
    acts = [each.act for each in did[mine[0] :] if each.act is not None]
    samples = voice.samples(acts)
    assert reply is not None
    if samples is None:
        assert _request(trial, Stage.TTS).facts.get("unread"), acts
        return
    assert _same(reply.pcm, samples), (len(reply.pcm), len(samples))
    request = _request(trial, Stage.TTS)
    assert request.facts["bytes"] == len(samples)
    first = request.marks[Mark.TTS_FIRST_BYTE]
    assert first >= did[mine[0]].at_ns, "audio from before the asking"


def _check_body(body: Body, trial: Trial, reply: ReplyAudio | None, server: WireServer) -> None:
    """What the trial holds is what the answer says, to its end."""
    request = _request(trial, body.stage)
    told = server.answered[str(request.facts["truth_id"])]
    assert told.status == 200
    meant = body.means(told.data, told.content_type.lower())
    if meant is None:
        # The client looks at no content type, and reads on where the evidence cannot: then that is
        # said of the request, and the success rests on what the agent heard.
        meant = body.means(told.data, body.content_type)
    if meant is None:
        assert request.facts.get("unread"), told
        return
    if body.stage is Stage.STT:
        (final,) = [each for each in trial.turns[0].transcripts if each.text.strip()]
        assert _words(final.text) == _words(meant)
        assert final.received_ns is not None
        assert told.begun_ns <= final.received_ns <= final.at_ns
    elif body.stage is Stage.LLM:
        assert request.text == meant
        assert request.marks[Mark.LLM_FIRST_TEXT] >= request.marks[Mark.LLM_FIRST_BYTE]
        assert request.marks[Mark.LLM_FIRST_BYTE] >= told.begun_ns
    else:
        assert told.whole or "event-stream" in told.content_type
        assert reply is not None
        assert meant is ... or _same(reply.pcm, meant), (len(reply.pcm), len(meant))
        assert request.marks[Mark.TTS_FIRST_BYTE] >= told.begun_ns


@dataclass(slots=True)
class Findings:
    """What the trials of a protocol came to."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    damages: int = 0
    longest_s: float = 0.0


async def _in_a_row(
    player: Player, protocol: Protocol, number: int, count: int, found: Findings
) -> None:
    """Perform trials one after the other on the same clients and judge each."""
    chosen = _candidate(str(number), protocol)
    stage = _stage(protocol)
    async with player.performer(StagePerformer, chosen) as performer:
        for _ in range(count):
            begun = time.monotonic()
            try:
                trial, reply = await player.perform(performer, chosen)
                found.outcomes[_outcome(trial, stage)] += 1
                did = player.server.did.get(f"{protocol.name}.{number}", [])
                if isinstance(trial, FailedTrial):
                    continue
                if isinstance(protocol, Ear):
                    _check_heard(protocol, trial, did)
                elif isinstance(protocol, Voice):
                    _check_spoken(protocol, trial, reply, did)
                else:
                    _check_body(protocol, trial, reply, player.server)
            except Exception as error:  # noqa: BLE001  (all findings are told together)
                words = "".join(traceback.format_exception(error, limit=-3))
                found.wrong.append(f"{protocol.name}.{number}: {words[:3000]}")
            found.longest_s = max(found.longest_s, time.monotonic() - begun)


async def _many(jobs: Sequence[Callable[[], Awaitable[None]]], at_once: int) -> None:
    limit = asyncio.Semaphore(at_once)

    async def bounded(job: Callable[[], Awaitable[None]]) -> None:
        async with limit:
            await job()

    await asyncio.gather(*(bounded(job) for job in jobs))


@asynccontextmanager
async def _playing(server: WireServer) -> AsyncIterator[Player]:
    watch = Watch()
    await watch.start()
    try:
        async with serving(server):
            yield Player(server, watch)
    finally:
        await watch.aclose()


async def fuzz(protocol: Protocol, rounds: int, at_once: int, seed: int) -> Findings:
    """Perform trials of a protocol, then one undamaged, and tell what they came to."""
    found = Findings()
    server = WireServer(random.Random(seed))
    row = _IN_A_ROW if not isinstance(protocol, Ear) else 2
    async with _playing(server) as player:
        await _many(
            [
                lambda number=number: _in_a_row(player, protocol, number, row, found)  # type: ignore[misc]
                for number in range(-(-rounds // row))
            ],
            at_once,
        )
        server.chance = 0.0
        after = Findings()
        for number in range(3):
            # On a busy machine a good answer may come too late.
            await _in_a_row(player, protocol, 10**6 + number, 1, after)
            if after.outcomes["answered"]:
                break
    found.damages = server.damages
    found.wrong += after.wrong
    if not after.outcomes["answered"]:
        found.wrong.append(f"undamaged: {after.outcomes}")
    return found


@pytest.fixture(scope="module")
def findings() -> dict[str, Findings]:
    """What every protocol came to; several at once, as they wait for real time."""

    async def all_of_them() -> dict[str, Findings]:
        limit = asyncio.Semaphore(_PROTOCOLS_AT_ONCE)
        found: dict[str, Findings] = {}

        async def one(protocol: Protocol) -> None:
            async with limit:
                found[protocol.name] = await fuzz(protocol, ROUNDS, 6, SEED)

        await asyncio.gather(*(one(protocol) for protocol in PROTOCOLS))
        return found

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("name", [each.name for each in PROTOCOLS])
def test_damaged_answers(findings: dict[str, Findings], name: str) -> None:
    """A damaged answer ends the trial in time, and well only with what a strict client reads."""
    found = findings[name]
    told = dict(found.outcomes.most_common())
    print(name, found.damages, f"{found.longest_s:.1f} s", told)  # noqa: T201  # shown with -s
    if found.wrong:
        pytest.fail("\n\n".join(found.wrong[:6]), pytrace=False)
    assert found.longest_s < LIMIT_S
    assert found.outcomes["answered"]
    assert len(found.outcomes) > 1


async def test_damaged_sessions() -> None:
    """Sessions in which every stage may be damaged end in time, and the harness is never blamed."""
    server = WireServer(random.Random(SEED), chance=0.35)
    rng = random.Random(SEED)
    found: Counter[str] = Counter()
    minds = [each for each in BODIES if each.stage is Stage.LLM]
    voices: list[Protocol] = [*VOICES, *(each for each in BODIES if each.stage is Stage.TTS)]
    async with _playing(server) as player:

        async def one(number: int) -> None:
            ear = rng.choice(EARS)
            chosen = _candidate(str(number), ear, rng.choice(minds), rng.choice(voices))
            async with player.performer(SessionPerformer, chosen) as performer:
                trial, _ = await player.perform(performer, chosen)
            if isinstance(trial, Trial):
                found["answered"] += 1
                _check_heard(ear, trial, server.did[f"{ear.name}.{number}"])
                return
            found[f"{trial.failure.stage.value} {trial.failure.kind.value}"] += 1
            assert trial.failure.stage is not Stage.HARNESS, trial.failure
            assert trial.failure.kind is not FailureKind.INTERNAL, trial.failure

        await _many([lambda number=number: one(number) for number in range(SESSION_ROUNDS)], 8)  # type: ignore[misc]
    print("sessions", dict(found.most_common()))  # noqa: T201  # shown with -s
    assert found["answered"]
    assert len(found) > 3
