"""LiveKit Inference's protocols, spoken to by a plain client."""

import base64
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.gateway.engines.pcm import HEARD_RATE, SPOKEN_RATE, Samples, resample
from harness.gateway.protocols.inference.auth import InvalidToken, verify_token
from tests.gateway.clients import events_of
from tests.gateway.conftest import Running
from tests.gateway.sockets import Line, line, token
from tests.gateway.spoken import TEXTS, murmur, silence

SECRET = "a secret"
STT = "/livekit/v1/stt?model=deepgram/nova-3"
TTS = "/livekit/v1/tts?model=cartesia/sonic-3"


def bearer(running: Running, **claims: Any) -> dict[str, str]:
    """Return the headers of a client that holds the gateway's key."""
    return {"Authorization": f"Bearer {token(running.process.key, **claims)}"}


def create(rate: int = HEARD_RATE, **more: Any) -> dict[str, Any]:
    """Return what opens a recognition."""
    settings = {"sample_rate": str(rate), "encoding": "pcm_s16le", "extra": {}}
    return {"type": "session.create", "settings": settings, **more}


def speaking(**more: Any) -> dict[str, Any]:
    """Return what opens a synthesis."""
    return {
        "type": "session.create",
        "sample_rate": str(SPOKEN_RATE),
        "encoding": "pcm_s16le",
        "extra": {},
        **more,
    }


async def pour(open_line: Line, samples: Samples, *, rate: int = HEARD_RATE) -> None:
    """Send audio in pieces of 50 ms, as fast as it goes."""
    step = rate // 20
    for start in range(0, len(samples), step):
        audio = base64.b64encode(samples[start : start + step].tobytes()).decode()
        await open_line.say({"type": "input_audio", "audio": audio})


def test_a_token_grants_what_it_says() -> None:
    """A token that livekit's clients would make is taken, with its claims."""
    claims = verify_token(token(SECRET), SECRET, now_s=100.0)
    assert claims["sub"] == "agent"


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (token("another"), "signature"),
        (token(SECRET, exp=50.0), "expired"),
        (token(SECRET, exp="soon"), "expired"),
        (token(SECRET, nbf=200.0), "not yet"),
        (token(SECRET, iss=""), "names no key"),
        (token(SECRET, inference={"perform": False}), "inference.perform"),
        (token(SECRET, inference="yes"), "inference.perform"),
        (token(SECRET, algorithm="none"), "HS256"),
        ("a.b", "three parts"),
        ("..", "no JSON"),
    ],
)
def test_a_token_that_grants_nothing(made: str, words: str) -> None:
    """Whatever is wrong with a token, it is refused and the reason is given."""
    with pytest.raises(InvalidToken, match=words):
        verify_token(made, SECRET, now_s=100.0)


@given(position=st.integers(0, 10_000), character=st.characters(codec="utf-8"))
def test_a_tampered_token_is_refused(position: int, character: str) -> None:
    """No single character of a token's header or claims can be changed."""
    good = token(SECRET)
    signed, _, signature = good.rpartition(".")
    at = position % len(signed)
    bad = f"{signed[:at]}{character}{signed[at + 1 :]}.{signature}"
    if bad == good:
        return
    with pytest.raises(InvalidToken):
        verify_token(bad, SECRET, now_s=100.0)


@pytest.mark.parametrize("path", [STT, TTS])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer turnbench-gateway-key"}])
async def test_no_socket_without_a_grant(
    running: Running, path: str, headers: dict[str, str]
) -> None:
    """The key itself is no token: the upgrade is refused with 401."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with line(running, path, headers):
            pass
    assert refused.value.status == 401


@pytest.mark.parametrize(("path", "stage"), [(STT, "stt"), (TTS, "tts")])
async def test_a_rate_limit_strikes_the_upgrade(running: Running, path: str, stage: str) -> None:
    """Too many sessions are refused before the socket is one, and told when to come again."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with line(running, path, bearer(running), profile=f"fault-{stage}-rate-limited"):
            pass
    assert refused.value.status == 429
    assert refused.value.headers is not None
    assert "Retry-After" in refused.value.headers


async def test_an_utterance_from_end_to_end(running: Running) -> None:
    """Greeting, interims, preflight and the final with words and times; then both farewells."""
    async with line(running, STT, bearer(running), profile="chatty") as ears:
        await ears.say(create(model="deepgram/nova-3"))
        created = await ears.hear(kind="session.created")
        await pour(ears, murmur(0, TEXTS[0]))
        await pour(ears, silence(0.5))
        final = await ears.hear(kind="final_transcript")
        await ears.say({"type": "session.finalize"})
        assert await ears.hear(kind="session.finalized")
        assert await ears.hear(kind="session.closed")
    assert created["session_id"]
    assert final["transcript"] == TEXTS[0]
    words = final["words"]
    assert [each["word"] for each in words] == TEXTS[0].split()
    edges = [edge for each in words for edge in (each["start"], each["end"])]
    assert edges == sorted(edges)
    assert edges[0] == pytest.approx(final["start"])
    assert edges[-1] == pytest.approx(final["start"] + final["duration"], abs=0.002)
    assert final["request_id"].startswith(created["session_id"])


@pytest.mark.realtime
async def test_interims_come_while_the_speech_lasts(running: Running) -> None:
    """The onset is told, interims grow, and a preflight says the whole before the final does."""
    import asyncio

    async with line(running, STT, bearer(running), profile="chatty") as ears:
        await ears.say(create())
        samples = murmur(1, TEXTS[1])

        async def play() -> None:
            for start in range(0, len(samples), HEARD_RATE // 20):
                await pour(ears, samples[start : start + HEARD_RATE // 20])
                await asyncio.sleep(0.05)
            await pour(ears, silence(0.6))

        playing = asyncio.create_task(play())
        final = await ears.hear(kind="final_transcript", timeout_s=15)
        await playing
    interims = [each["transcript"] for each in ears.of("interim_transcript")]
    assert ears.of("start_of_speech")
    assert interims
    assert all(TEXTS[1].startswith(each) for each in interims)
    assert ears.of("preflight_transcript")
    assert final["transcript"] == TEXTS[1]


async def test_a_session_may_end_unsaid(running: Running) -> None:
    """By the profile's choice the end is not announced, as some upstreams leave it."""
    async with line(running, STT, bearer(running), profile="unsaid") as ears:
        await ears.say(create())
        await ears.say({"type": "session.finalize"})
        await ears.hear(kind="session.finalized")
        await ears.say({"type": "session.close"})
        assert await ears.hear() is None
    assert not ears.of("session.closed")


async def test_models_without_turns_stay_open_after_finalize(running: Running) -> None:
    """Where the client ends the turns, a finalize ends an utterance and not the session."""
    path = "/livekit/v1/stt?model=openai/gpt-live-transcribe"
    async with line(running, path, bearer(running)) as ears:
        await ears.say(create(24_000, model="openai/gpt-live-transcribe"))
        for number in (0, 1):
            heard = resample(murmur(number, TEXTS[number]), HEARD_RATE, 24_000)
            await pour(ears, heard, rate=24_000)
            await ears.say({"type": "session.finalize"})
            final = await ears.hear(kind="final_transcript", timeout_s=10)
            assert final["transcript"] == TEXTS[number]
            await ears.hear(kind="session.finalized")
    assert not ears.of("session.closed")


@pytest.mark.parametrize(
    ("opening", "words"),
    [
        ({"type": "input_audio", "audio": ""}, "expected session.create"),
        ({"type": "session.create"}, "settings"),
        ({**create(), "settings": {"sample_rate": 16000}}, "sample_rate"),
        ({**create(), "settings": {"sample_rate": "16000", "encoding": "opus"}}, "encoding"),
        (create(model="openai/gpt-live-transcribe"), "24000"),
    ],
)
async def test_an_opening_that_is_none(
    running: Running, opening: dict[str, Any], words: str
) -> None:
    """A session that cannot be is refused in words, and the socket closed."""
    async with line(running, STT, bearer(running)) as ears:
        await ears.say(opening)
        error = await ears.hear(kind="error")
        assert words in error["message"]
        assert await ears.hear() is None


@pytest.mark.parametrize("nonsense", [b"\x00", "[]", "{", '"x"', {"type": "sing"}, {"type": 3}])
async def test_nonsense_does_not_end_a_session(running: Running, nonsense: Any) -> None:
    """What cannot be understood is answered with an error, and the next message is heard."""
    async with line(running, STT, bearer(running)) as ears:
        await ears.say(create())
        await ears.hear(kind="session.created")
        await ears.say(nonsense)
        assert await ears.hear(kind="error")
        await ears.say({"type": "input_audio", "audio": "%%%"})
        assert await ears.hear(kind="error")
        await ears.say({"type": "session.finalize"})
        assert await ears.hear(kind="session.finalized")


async def _reply(mouth: Line, *texts: str) -> list[dict[str, Any]]:
    """Ask for a reply and return its messages."""
    before = len(mouth.messages)
    for text in texts:
        await mouth.say({"type": "input_transcript", "transcript": text, "generation_config": {}})
    await mouth.say({"type": "session.flush"})
    await mouth.hear(kind="done", timeout_s=10)
    return mouth.messages[before:]


def _audio(messages: list[dict[str, Any]]) -> bytes:
    return b"".join(
        base64.b64decode(each["audio"]) for each in messages if each["type"] == "output_audio"
    )


async def test_every_message_of_a_reply_bears_its_id(running: Running) -> None:
    """Two replies over one socket: each has an id of its own on all it says, and real audio."""
    async with line(running, TTS, bearer(running)) as mouth:
        await mouth.say(speaking())
        first = await _reply(mouth, "Good morning. ", "How are you? ")
        second = await _reply(mouth, "Good morning. ")
    ids = [{each["session_id"] for each in reply} for reply in (first, second)]
    assert all(len(each) == 1 for each in ids)
    assert ids[0] != ids[1]
    assert len(_audio(first)) > len(_audio(second)) > SPOKEN_RATE // 2
    assert _audio(first).startswith(_audio(second)[: SPOKEN_RATE // 4])


async def test_the_truth_knows_a_reply_by_its_id(running: Running) -> None:
    """Audio and end of each reply stand in the truth under the id that the client was told."""
    async with line(running, TTS, bearer(running)) as mouth:
        await mouth.say(speaking())
        reply = await _reply(mouth, "Known by its name. ")
    (name,) = {each["session_id"] for each in reply}
    events = await events_of(running, name)
    audio = [each for each in events if each.event == "audio_sent"]
    assert sum(each.bytes or 0 for each in audio) == len(_audio(reply))
    assert events[0].event == "request_received"
    assert events[-1].event == "done_sent"


@pytest.mark.parametrize(
    ("extra", "kind", "unit"),
    [
        ({"add_timestamps": True}, "words", "word"),
        ({"timestamp_type": "CHARACTER"}, "chars", "char"),
    ],
)
async def test_alignment_is_sent_where_it_is_asked_for(
    running: Running, extra: dict[str, Any], kind: str, unit: str
) -> None:
    """Timings cover the text in order, over the sentences of a reply."""
    async with line(running, TTS, bearer(running)) as mouth:
        await mouth.say(speaking(extra=extra))
        reply = await _reply(mouth, "Good morning. ", "Good night. ")
    placed = [each for message in reply for each in message.get(kind, ())]
    joined = "".join(each[unit] for each in placed).replace(" ", "")
    assert joined == "Goodmorning.Goodnight."
    starts = [each["start"] for each in placed]
    assert starts == sorted(starts)


async def test_no_alignment_unasked(running: Running) -> None:
    """Nobody is told of timings who did not ask."""
    async with line(running, TTS, bearer(running)) as mouth:
        await mouth.say(speaking())
        reply = await _reply(mouth, "Good morning. ")
    assert {each["type"] for each in reply} == {"session.created", "output_audio", "done"} or {
        each["type"] for each in reply
    } == {"output_audio", "done"}


async def test_a_reply_without_text_is_done_at_once(running: Running) -> None:
    """A flush of nothing is answered, so that no client waits."""
    async with line(running, TTS, bearer(running)) as mouth:
        await mouth.say(speaking())
        reply = await _reply(mouth)
    assert _audio(reply) == b""


async def test_chat_bears_the_quota(running: Running) -> None:
    """Answers and refusals alike tell of the quota; without a grant there is neither."""
    body = {"model": "zai/glm-5.1", "messages": [{"role": "user", "content": "hello"}]}
    root = f"http://127.0.0.1:{running.process.port}"
    async with aiohttp.ClientSession() as session:
        for profile, status in (("exact", 200), ("fault-llm-rate-limited", 429)):
            url = f"{root}/{profile}/livekit/v1/chat/completions"
            async with session.post(url, json=body, headers=bearer(running)) as answer:
                assert answer.status == status
                assert answer.headers["X-LiveKit-Inference-RPM-Limit"] == "100"
        async with session.post(
            f"{root}/exact/livekit/v1/chat/completions", json=body, headers=running.headers
        ) as answer:
            assert answer.status == 401
        async with session.get(
            f"{root}/exact/livekit/v1/models", headers=bearer(running)
        ) as answer:
            assert answer.status == 200
