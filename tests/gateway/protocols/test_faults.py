"""Every fault, as a client sees it on the wire."""

import json
from collections.abc import Mapping
from typing import Final

import aiohttp
import pytest
import websockets

from harness.gateway.profiles.faults import (
    CONNECTION_FAULTS,
    HTTP_STATUS_FAULTS,
    STAGE_FAULTS,
    Stage,
)
from harness.gateway.profiles.faults import FaultKind as F
from harness.gateway.profiles.profiles import fault_profile_name
from tests.gateway.clients import Answer, Heard, chat, events_of, listen, speak
from tests.gateway.conftest import Running
from tests.gateway.spoken import TEXTS, murmur

pytestmark = pytest.mark.realtime

_STATUSES: Final = sorted(HTTP_STATUS_FAULTS)
# Their shipped forms last longer than a test should; the tests' profiles have short ones.
_SHORT: Final[Mapping[F, str]] = {F.SLOW_HELLO: "slow-hello", F.STALL: "stall"}

_SAMPLES = (
    (
        "/v1/audio/speech",
        {"model": "tts-1", "input": "Good morning.", "voice": "alloy", "response_format": "pcm"},
    ),
    ("/v1/synthesize", {"text": "Good morning.", "intent": {"language": "en"}}),
    ("/baseten/orpheus/predict", {"prompt": "Good morning.", "voice": "tara"}),
)


def _profile(stage: Stage, kind: F) -> str:
    return f"{_SHORT[kind]}-{stage}" if kind in _SHORT else fault_profile_name(stage, kind)


def _is_complete(answer: Answer) -> bool:
    return answer.error is None and bool(answer.events) and answer.events[-1] == "[DONE]"


@pytest.mark.parametrize("kind", _STATUSES)
@pytest.mark.parametrize("stage", [Stage.LLM, Stage.TTS])
async def test_statuses_in_the_providers_words(running: Running, stage: Stage, kind: F) -> None:
    """A refused request has the status, an error with the same code, and a Retry-After if due."""
    ask = chat if stage is Stage.LLM else speak
    answer = await ask(running, _profile(stage, kind))
    assert answer.status == HTTP_STATUS_FAULTS[kind]
    assert json.loads(answer.body)["error"]["code"] == answer.status
    assert answer.headers.get("retry-after") == ("2" if kind is F.RATE_LIMITED else None)


@pytest.mark.parametrize("stage", [Stage.LLM, Stage.TTS])
async def test_a_refused_connection_gives_no_byte(running: Running, stage: Stage) -> None:
    """The connection is reset before any answer."""
    ask = chat if stage is Stage.LLM else speak
    with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
        await ask(running, _profile(stage, F.REFUSED))


@pytest.mark.parametrize("stage", [Stage.LLM, Stage.TTS])
async def test_a_slow_hello_delays_the_whole_answer(running: Running, stage: Stage) -> None:
    """Headers and answer come late by the stated time, and the truth counts it as injected."""
    ask = chat if stage is Stage.LLM else speak
    name = f"slow-{stage}"
    answer = await ask(running, _profile(stage, F.SLOW_HELLO), name=name)
    assert answer.status == 200
    headers = next(e for e in await events_of(running, name) if e.event == "headers_sent")
    assert headers.injected_ns == 400_000_000


class TestChat:
    async def test_an_error_in_mid_stream(self, running: Running) -> None:
        """Some text, then an error event, and no end."""
        answer = await chat(running, _profile(Stage.LLM, F.MID_STREAM_ERROR))
        assert answer.text
        assert answer.events[-1]["error"]["code"] == 500
        assert not _is_complete(answer)

    @pytest.mark.parametrize("kind", [F.RESET, F.STALL])
    async def test_a_body_that_breaks_off(self, running: Running, kind: F) -> None:
        """Some text, then the connection is reset."""
        answer = await chat(running, _profile(Stage.LLM, kind), name=f"broken-{kind}")
        assert answer.text
        assert answer.error is not None
        events = await events_of(running, f"broken-{kind}")
        assert [event.kind for event in events if event.event == "fault"] == [kind]

    async def test_a_clean_truncation(self, running: Running) -> None:
        """Some text, then a clean end without finish reason or [DONE]."""
        answer = await chat(running, _profile(Stage.LLM, F.TRUNCATION))
        assert answer.error is None
        assert answer.text
        assert not _is_complete(answer)
        assert all(e["choices"][0]["finish_reason"] is None for e in answer.events)

    async def test_an_empty_success(self, running: Running) -> None:
        """A 200 without a byte."""
        answer = await chat(running, _profile(Stage.LLM, F.EMPTY))
        assert (answer.status, answer.body, answer.error) == (200, b"", None)

    async def test_malformed_events(self, running: Running) -> None:
        """Some text, then an event that is no JSON."""
        answer = await chat(running, _profile(Stage.LLM, F.MALFORMED))
        assert answer.text
        assert answer.events[-1] is None

    async def test_a_wrong_content_type(self, running: Running) -> None:
        """A 200 that is a page."""
        answer = await chat(running, _profile(Stage.LLM, F.WRONG_CONTENT_TYPE))
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/html"
        assert answer.body.startswith(b"<!doctype html>")

    async def test_an_oversized_event(self, running: Running) -> None:
        """One delta of four mebibytes within a complete stream."""
        answer = await chat(running, _profile(Stage.LLM, F.OVERSIZED))
        assert max(len(str(event)) for event in answer.events) > 4 * 1024 * 1024
        assert _is_complete(answer)

    async def test_nonsense(self, running: Running) -> None:
        """A complete stream of words that are none."""
        answer = await chat(running, _profile(Stage.LLM, F.NONSENSE), "set a timer")
        assert _is_complete(answer)
        assert "timer" not in answer.text
        assert len(answer.text.split()) == 12


class TestSpeech:
    @pytest.mark.parametrize("kind", [F.RESET, F.STALL, F.MID_STREAM_ERROR])
    async def test_a_body_that_breaks_off(self, running: Running, kind: F) -> None:
        """Some audio, then the body breaks off unfinished."""
        answer = await speak(running, _profile(Stage.TTS, kind))
        assert answer.body
        assert answer.error is not None

    async def test_an_error_event_in_the_sse_form(self, running: Running) -> None:
        """In the sse form an error has words."""
        profile = _profile(Stage.TTS, F.MID_STREAM_ERROR)
        answer = await speak(running, profile, stream_format="sse")
        assert answer.audio
        assert answer.events[-1]["type"] == "error"

    async def test_a_clean_truncation_is_shorter(self, running: Running) -> None:
        """Half of the audio, then a clean end."""
        whole = await speak(running, "exact")
        answer = await speak(running, _profile(Stage.TTS, F.TRUNCATION))
        assert answer.error is None
        assert 0 < len(answer.body) < 0.7 * len(whole.body)

    async def test_an_empty_success(self, running: Running) -> None:
        """A 200 without a byte."""
        answer = await speak(running, _profile(Stage.TTS, F.EMPTY))
        assert (answer.status, answer.body, answer.error) == (200, b"", None)

    async def test_malformed_audio_and_events(self, running: Running) -> None:
        """An odd number of bytes, or an event that is no JSON."""
        profile = _profile(Stage.TTS, F.MALFORMED)
        assert len((await speak(running, profile)).body) % 2 == 1
        assert (await speak(running, profile, stream_format="sse")).events[-1] is None

    async def test_an_oversized_event(self, running: Running) -> None:
        """One event of four mebibytes within a complete stream; bare samples stay as they are."""
        profile = _profile(Stage.TTS, F.OVERSIZED)
        answer = await speak(running, profile, stream_format="sse")
        assert max(len(str(event)) for event in answer.events) > 4 * 1024 * 1024
        assert answer.events[-1]["type"] == "speech.audio.done"
        whole = await speak(running, "exact")
        assert len((await speak(running, profile)).body) == len(whole.body)

    @pytest.mark.parametrize(("path", "body"), _SAMPLES)
    async def test_no_message_is_oversized_in_bare_samples(
        self, running: Running, path: str, body: dict[str, object]
    ) -> None:
        """A body of samples has no message to make too large, and the truth tells of no fault."""
        name = f"samples{path}"
        root = running.process.base_url(_profile(Stage.TTS, F.OVERSIZED)).removesuffix("/v1")
        scheme = "Api-Key" if "baseten" in path else "Bearer"
        headers = {
            "Authorization": f"{scheme} {running.process.key}",
            "x-turnbench-request": name,
        }
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(root + path, json=body) as answer,
        ):
            assert answer.status == 200
            assert len(await answer.read()) > 1000
        events = {each.event for each in await events_of(running, name)}
        assert "audio_sent" in events
        assert "fault" not in events

    async def test_a_wrong_content_type(self, running: Running) -> None:
        """A 200 that is a page."""
        answer = await speak(running, _profile(Stage.TTS, F.WRONG_CONTENT_TYPE))
        assert answer.headers["content-type"] == "text/html"

    @pytest.mark.parametrize("container", ["pcm", "mp3"])
    async def test_silence_where_speech_should_be(self, running: Running, container: str) -> None:
        """Audio of the right length without a sound, and no audible sample in the truth."""
        name = f"silent-{container}"
        answer = await speak(
            running, _profile(Stage.TTS, F.SILENT_AUDIO), response_format=container, name=name
        )
        assert len(answer.body) > 1000
        if container == "pcm":
            assert not any(answer.body)
        events = {event.event for event in await events_of(running, name)}
        assert "first_nonsilent_audio_sent" not in events

    async def test_noise_where_speech_should_be(self, running: Running) -> None:
        """Audio as long as the speech, of noise, the same for the same draws."""
        whole = await speak(running, "exact")
        answer = await speak(running, _profile(Stage.TTS, F.NONSENSE))
        assert len(answer.body) == len(whole.body)
        assert answer.body != whole.body

    async def test_audio_at_another_rate(self, running: Running) -> None:
        """Two thirds of the samples that the promised rate would have."""
        whole = await speak(running, "exact")
        answer = await speak(running, _profile(Stage.TTS, F.WRONG_RATE))
        assert len(answer.body) == pytest.approx(len(whole.body) * 2 / 3, rel=0.01)


class TestParakeet:
    async def _listen(self, running: Running, kind: F, turns: int = 1, name: str = "") -> Heard:
        recordings = [murmur(3, TEXTS[3])] * turns
        return await listen(running, _profile(Stage.STT, kind), recordings, after_s=0.8, name=name)

    @pytest.mark.parametrize("kind", _STATUSES)
    async def test_a_refused_upgrade(self, running: Running, kind: F) -> None:
        """The upgrade is refused with the status."""
        with pytest.raises(websockets.InvalidStatus) as caught:
            await self._listen(running, kind)
        response = caught.value.response
        assert response.status_code == HTTP_STATUS_FAULTS[kind]
        assert response.headers.get("retry-after") == ("2" if kind is F.RATE_LIMITED else None)

    async def test_a_refused_connection(self, running: Running) -> None:
        """The connection is reset before the upgrade is answered."""
        with pytest.raises((websockets.InvalidMessage, ConnectionError)):
            await self._listen(running, F.REFUSED)

    async def test_a_slow_hello(self, running: Running) -> None:
        """The greeting comes late; the utterance is heard all the same."""
        heard = await self._listen(running, F.SLOW_HELLO, name="slow-stt")
        assert heard.finals == [TEXTS[3]]
        hello = next(e for e in await events_of(running, "slow-stt") if e.event == "hello_sent")
        assert hello.injected_ns == 400_000_000

    async def test_an_error_in_mid_stream(self, running: Running) -> None:
        """An error message during the utterance, then a close with 1011."""
        heard = await self._listen(running, F.MID_STREAM_ERROR)
        assert heard.statuses == ["listening", "error"]
        assert heard.finals == []
        assert heard.close_code == 1011

    @pytest.mark.parametrize("kind", [F.RESET, F.STALL])
    async def test_a_socket_that_breaks_off(self, running: Running, kind: F) -> None:
        """The socket dies without a close frame and without a final."""
        heard = await self._listen(running, kind)
        assert heard.finals == []
        assert heard.close_code == 1006

    async def test_a_clean_close_without_a_final(self, running: Running) -> None:
        """The server closes politely where the final should be."""
        heard = await self._listen(running, F.TRUNCATION)
        assert heard.finals == []
        assert heard.close_code == 1000

    async def test_an_empty_final(self, running: Running) -> None:
        """A final without a word."""
        assert (await self._listen(running, F.EMPTY)).finals == [""]

    @pytest.mark.parametrize("kind", [F.MALFORMED, F.WRONG_CONTENT_TYPE])
    async def test_messages_that_do_not_parse(self, running: Running, kind: F) -> None:
        """Broken JSON, or bytes where text is due."""
        heard = await self._listen(running, kind)
        wanted = str if kind is F.MALFORMED else bytes
        assert isinstance(heard.messages[-1][1], wanted)

    async def test_an_oversized_final(self, running: Running) -> None:
        """A final of four mebibytes."""
        assert len((await self._listen(running, F.OVERSIZED)).finals[0]) == 4 * 1024 * 1024

    async def test_a_final_of_nonsense(self, running: Running) -> None:
        """A final of words that are none."""
        finals = (await self._listen(running, F.NONSENSE)).finals
        assert len(finals) == 1
        assert finals[0] != TEXTS[3]

    async def test_a_duplicate_final(self, running: Running) -> None:
        """The same final twice."""
        assert (await self._listen(running, F.DUPLICATE_FINAL)).finals == [TEXTS[3]] * 2

    async def test_a_late_final(self, running: Running) -> None:
        """A further final after the right one."""
        heard = await self._listen(running, F.LATE_FINAL, turns=2)
        assert heard.finals[:2] == [TEXTS[3], "okay"]

    async def test_a_socket_dropped_between_turns(self, running: Running) -> None:
        """The first utterance has its final; the second finds the socket dead."""
        heard = await self._listen(running, F.DROP_BETWEEN_TURNS, turns=2)
        assert heard.finals == [TEXTS[3]]
        assert heard.close_code == 1006


async def test_a_mix_strikes_some_requests_only(running: Running) -> None:
    """With a rate of a half some requests fail and some do not."""
    statuses = [(await chat(running, "half", f"request {number}")).status for number in range(16)]
    assert set(statuses) == {200, 500}


def test_every_fault_is_tested_above() -> None:
    """The faults that strike connections are those that no utterance can suffer, and vice versa."""
    for kinds in STAGE_FAULTS.values():
        assert kinds >= CONNECTION_FAULTS
    assert set(_STATUSES) | {F.REFUSED, F.SLOW_HELLO} == CONNECTION_FAULTS
