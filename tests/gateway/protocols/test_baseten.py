"""Baseten's protocols, spoken to by a plain client."""

import base64
import json
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.gateway.engines.pcm import HEARD_RATE, SPOKEN_RATE, Samples
from harness.gateway.protocols.speaking import Sentences
from tests.gateway.clients import events_of
from tests.gateway.conftest import Running
from tests.gateway.sockets import Line, line
from tests.gateway.spoken import TEXTS, murmur, silence

WHISPER = "/baseten/whisper/websocket"
QWEN3_ASR = "/baseten/qwen3-asr/websocket"
ORPHEUS = "/baseten/orpheus/websocket"
QWEN3_TTS = "/baseten/qwen3-tts/websocket"
SOCKETS = (WHISPER, QWEN3_ASR, ORPHEUS, QWEN3_TTS)
CONFIG = {"type": "session.config", "response_format": "pcm", "voice": "mine", "speed": 1.0}


def keyed(running: Running) -> dict[str, str]:
    """Return the headers of a client that holds the gateway's key."""
    return {"Authorization": f"Api-Key {running.process.key}"}


def opening(*, encoded: bool = True, **vad: Any) -> dict[str, Any]:
    """Return the first message of a recognition."""
    return {
        "whisper_params": {"audio_language": "en", "show_word_timestamps": True},
        "streaming_params": {
            **({"encoding": "pcm_s16le", "sample_rate": 16_000} if encoded else {}),
            "enable_partial_transcripts": False,
            "partial_transcript_interval_s": 0.1,
            "final_transcript_max_duration_s": 30,
        },
        "streaming_vad_config": {"threshold": 0.5, "min_silence_duration_ms": 200, **vad},
    }


async def frames(ears: Line, samples: Samples) -> None:
    """Send audio in binary frames of 512 samples, as fast as it goes."""
    for start in range(0, len(samples), 512):
        await ears.say(samples[start : start + 512].tobytes())


async def append(ears: Line, samples: Samples) -> None:
    """Send audio as base64 in pieces of 100 ms, as fast as it goes."""
    for start in range(0, len(samples), HEARD_RATE // 10):
        piece = samples[start : start + HEARD_RATE // 10].tobytes()
        audio = base64.b64encode(piece).decode()
        await ears.say({"type": "input_audio_buffer.append", "audio": audio})


def text_of(message: dict[str, Any]) -> str:
    """Return a transcription's text."""
    return " ".join(each["text"] for each in message["segments"])


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize("scheme", ["Bearer", "api-key", ""])
async def test_no_socket_without_the_key(running: Running, path: str, scheme: str) -> None:
    """A deployment wants Api-Key and nothing else: the upgrade is refused with 401."""
    headers = {"Authorization": f"{scheme} {running.process.key}"} if scheme else {}
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with line(running, path, headers):
            pass
    assert refused.value.status == 401


async def test_whisper_hears_utterances_by_silence(running: Running) -> None:
    """Finals come by themselves, with words in order, one after each utterance."""
    async with line(running, WHISPER, keyed(running)) as ears:
        await ears.say(opening())
        finals = []
        for number in (0, 1):
            await frames(ears, murmur(number, TEXTS[number]))
            await frames(ears, silence(0.5))
            finals.append(await ears.hear(kind="transcription", timeout_s=10))
    assert [text_of(each) for each in finals] == list(TEXTS[:2])
    assert [each["transcription_num"] for each in finals] == [0, 1]
    for each in finals:
        words = each["segments"][0]["word_timestamps"]
        edges = [edge for word in words for edge in (word["start_time"], word["end_time"])]
        assert edges == sorted(edges)
    assert finals[0]["segments"][0]["end_time"] < finals[1]["segments"][0]["start_time"]


async def test_whisper_flushes_when_the_audio_ends(running: Running) -> None:
    """The end of audio is acknowledged, the rest transcribed, then finished; the socket stays."""
    async with line(running, WHISPER, keyed(running)) as ears:
        await ears.say(opening())
        await frames(ears, murmur(0, TEXTS[0])[:-2000])
        await ears.say({"type": "end_audio"})
        assert (await ears.hear())["body"] == {"status": "acknowledged"}
        assert (await ears.hear(timeout_s=10))["is_final"]
        assert (await ears.hear())["body"] == {"status": "finished"}
        await ears.say({"type": "health_check"})
        assert (await ears.hear())["type"] == "health_check"


async def test_the_clients_silence_rules(running: Running) -> None:
    """How much silence ends an utterance is what the client's opening says."""
    async with line(running, WHISPER, keyed(running)) as ears:
        await ears.say(opening(min_silence_duration_ms=900))
        await frames(ears, murmur(0, TEXTS[0]))
        await frames(ears, silence(0.4))
        with pytest.raises(TimeoutError):
            await ears.hear(timeout_s=0.5)
    async with line(running, WHISPER, keyed(running)) as ears:
        await ears.say(opening(min_silence_duration_ms=900))
        await frames(ears, murmur(0, TEXTS[0]))
        await frames(ears, silence(1.2))
        assert text_of(await ears.hear(timeout_s=10)) == TEXTS[0]


@pytest.mark.parametrize(
    ("path", "change", "words"),
    [
        (WHISPER, {"vad_params": {}}, "vad_params"),
        (WHISPER, {"whisper_params": {"language": "en"}}, "whisper_params.language"),
        (WHISPER, {"streaming_params": {"sample_rate": 8000}}, "16000"),
        (WHISPER, {"streaming_params": {"encoding": "pcm_mulaw"}}, "pcm_mulaw"),
        (QWEN3_ASR, {"streaming_params": {"encoding": "pcm_s16le"}}, "encoding"),
        (QWEN3_ASR, {"streaming_vad_config": 3}, "not a valid dict"),
    ],
)
async def test_an_opening_with_unknown_keys_is_refused(
    running: Running, path: str, change: dict[str, Any], words: str
) -> None:
    """One key that is not known refuses them all, in words, and the socket closes."""
    async with line(running, path, keyed(running)) as ears:
        await ears.say({**opening(encoded=path == WHISPER), **change})
        error = await ears.hear(kind="error")
        assert words in json.dumps(error)
        assert await ears.hear() is None


async def test_frames_of_another_size_are_refused(running: Running) -> None:
    """The detector takes 512 samples; more at once is an error, and the session goes on."""
    async with line(running, WHISPER, keyed(running)) as ears:
        await ears.say(opening())
        await ears.say(bytes(3200))
        assert "512" in (await ears.hear(kind="error"))["body"]["message"]
        await frames(ears, murmur(0, TEXTS[0]))
        await frames(ears, silence(0.5))
        assert text_of(await ears.hear(timeout_s=10)) == TEXTS[0]


async def test_qwen3_answers_every_commit(running: Running) -> None:
    """A commit's final says that it is one, also where nothing was said; others do not."""
    async with line(running, QWEN3_ASR, keyed(running)) as ears:
        await ears.say(opening(encoded=False))
        await append(ears, murmur(0, TEXTS[0])[:-2000])
        await ears.say({"type": "input_audio_buffer.commit"})
        asked = await ears.hear(kind="transcription", timeout_s=10)
        await ears.say({"type": "input_audio_buffer.commit"})
        empty = await ears.hear(kind="transcription")
        await append(ears, murmur(1, TEXTS[1]))
        await append(ears, silence(0.5))
        unasked = await ears.hear(kind="transcription", timeout_s=10)
    assert (text_of(asked), asked["is_end_of_audio_flush"]) == (TEXTS[0], True)
    assert (empty["segments"], empty["is_end_of_audio_flush"]) == ([], True)
    assert text_of(unasked) == TEXTS[1]
    assert "is_end_of_audio_flush" not in unasked
    assert asked["language_code"] == "en"


async def test_qwen3_takes_no_binary(running: Running) -> None:
    """Binary audio is the other dialect's."""
    async with line(running, QWEN3_ASR, keyed(running)) as ears:
        await ears.say(opening(encoded=False))
        await ears.say(bytes(1024))
        assert "binary" in (await ears.hear(kind="error"))["message"]


async def _drain(mouth: Line) -> bytes:
    """Return the audio until the socket ends."""
    audio = b""
    while (message := await mouth.hear(timeout_s=10)) is not None:
        assert isinstance(message, bytes), message
        audio += message
    return audio


async def test_orpheus_speaks_and_hangs_up(running: Running) -> None:
    """Tokens in, samples out, and the socket's end is the end of the speech."""
    spoken = []
    for tokens in (("Good ", "morning."), ("Good ", "morning. ", "How ", "are ", "you?")):
        async with line(running, ORPHEUS, keyed(running)) as mouth:
            await mouth.say({"voice": "tara", "max_tokens": 2000, "buffer_size": 10})
            for each in tokens:
                await mouth.say(each)
            await mouth.say("__END__")
            spoken.append(await _drain(mouth))
            assert mouth.socket.close_code == 1000
    assert SPOKEN_RATE // 2 < len(spoken[0]) < len(spoken[1])
    assert len(spoken[0]) % 2 == 0


@pytest.mark.parametrize("texts", [("A whole sentence. ", "And"), ("one two three ", "four")])
async def test_orpheus_begins_before_the_end(running: Running, texts: tuple[str, ...]) -> None:
    """A whole sentence is spoken at once, and so is anything as long as the buffer."""
    async with line(running, ORPHEUS, keyed(running)) as mouth:
        await mouth.say({"voice": "tara", "max_tokens": 2000, "buffer_size": 4})
        for each in texts:
            await mouth.say(each)
        assert isinstance(await mouth.hear(), bytes)


async def test_orpheus_over_http(running: Running) -> None:
    """One request, a body of samples; a prompt that is none is refused."""
    url = f"http://127.0.0.1:{running.process.port}/exact/baseten/orpheus/predict"
    async with aiohttp.ClientSession(headers=keyed(running)) as session:
        async with session.post(url, json={"prompt": "Good morning.", "voice": "tara"}) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "audio/pcm"
            assert len(await answer.read()) > SPOKEN_RATE // 2
        async with session.post(url, json={"prompt": " "}) as answer:
            assert answer.status == 422
        async with session.post(url, data=b"{") as answer:
            assert answer.status == 400
        async with session.post(
            url, json={"prompt": "x"}, headers={"Authorization": "Api-Key no"}
        ) as answer:
            assert answer.status == 401


async def _say(mouth: Line, *pieces: str) -> list[Any]:
    """Ask for a reply and return its messages."""
    before = len(mouth.messages)
    for piece in pieces:
        await mouth.say({"type": "input.text", "text": piece})
    await mouth.say({"type": "input.done"})
    await mouth.hear(kind="session.done", timeout_s=10)
    return mouth.messages[before:]


async def test_qwen3_speaks_sentence_by_sentence(running: Running) -> None:
    """Each sentence has a beginning, samples and an end; the configuration holds for replies."""
    async with line(running, QWEN3_TTS, keyed(running)) as mouth:
        await mouth.say({**CONFIG, "timestamp_type": "word"})
        first = await _say(mouth, "Good ", "morning. ", "How are ", "you?")
        second = await _say(mouth, "Good night.")
    kinds = [each["type"] if isinstance(each, dict) else "audio" for each in first]
    assert [each for each in kinds if each != "audio"] == [
        "audio.start",
        "audio.done",
        "audio.start",
        "audio.done",
        "session.done",
    ]
    assert kinds[1] == "audio"
    starts = [each for each in first if isinstance(each, dict) and each["type"] == "audio.start"]
    assert [each["sentence_index"] for each in starts] == [0, 1]
    assert {each["sample_rate"] for each in starts} == {SPOKEN_RATE}
    done = next(each for each in first if isinstance(each, dict) and each["type"] == "audio.done")
    times = done["timestamp_info"]["word_alignment"]
    assert times["words"] == ["Good", "morning."]
    assert times["word_end_times_seconds"] == sorted(times["word_end_times_seconds"])
    assert sum(len(each) for each in second if isinstance(each, bytes)) > SPOKEN_RATE // 2


async def test_the_truth_knows_a_reply_by_its_id(running: Running) -> None:
    """What a reply's messages call themselves is what the truth calls it."""
    async with line(running, QWEN3_TTS, keyed(running)) as mouth:
        await mouth.say(CONFIG)
        reply = await _say(mouth, "Known by its name.")
    (name,) = {each["session_id"] for each in reply if isinstance(each, dict)}
    events = await events_of(running, name)
    sent = sum(each.bytes or 0 for each in events if each.event == "audio_sent")
    assert sent == sum(len(each) for each in reply if isinstance(each, bytes))


async def test_qwen3_answers_who_asks_whether_it_lives(running: Running) -> None:
    """An empty reply is done at once: that is how clients keep a socket warm."""
    async with line(running, QWEN3_TTS, keyed(running)) as mouth:
        await mouth.say(CONFIG)
        reply = await _say(mouth)
        await mouth.say({"type": "session.close"})
        assert await mouth.hear() is None
    assert [each["type"] for each in reply] == ["session.done"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({**CONFIG, "split_granularity": "word"}, "split_granularity"),
        ({**CONFIG, "voice": ""}, "voice"),
        ({**CONFIG, "response_format": "mp3"}, "pcm"),
        ({**CONFIG, "speed": 1.5}, "speed"),
        ({"type": "input.text", "text": "hello"}, "session.config"),
    ],
)
async def test_a_configuration_that_is_none(
    running: Running, config: dict[str, Any], words: str
) -> None:
    """A first message that configures nothing is refused in words, and the socket closes."""
    async with line(running, QWEN3_TTS, keyed(running)) as mouth:
        await mouth.say(config)
        assert words in (await mouth.hear(kind="error"))["message"]
        assert await mouth.hear() is None


PIECES = st.lists(st.text(alphabet="ab.?! \n", max_size=6), max_size=20)


@given(pieces=PIECES, longest=st.one_of(st.none(), st.integers(1, 5)))
def test_sentences_lose_no_letter(pieces: list[str], longest: int | None) -> None:
    """However a text is cut into pieces, its words come out once each and in order."""
    sentences = Sentences(longest_words=longest)
    out = [sentence for piece in pieces for sentence in sentences.feed(piece)]
    out.append(sentences.flush())
    assert "".join("".join(out).split()) == "".join("".join(pieces).split())


@given(text=st.text(alphabet="ab.?! ", max_size=60), data=st.data())
def test_sentences_do_not_depend_on_the_pieces(text: str, data: st.DataObject) -> None:
    """Without a limit, the sentences of a text are the same however it arrives."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    edges = [0, *cuts, len(text)]
    sentences = Sentences()
    pieces = [text[start:end] for start, end in pairwise(edges)]
    split = [each for piece in pieces for each in sentences.feed(piece)]
    whole = Sentences()
    assert [*split, sentences.flush()] == [*whole.feed(text), whole.flush()]
