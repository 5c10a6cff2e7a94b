"""What clients see on the wire, and that the truth says the same."""

import asyncio
import io
import json
from typing import Any

import aiohttp
import numpy as np
import pytest
import soundfile as sf

from harness.gateway.engines.pcm import SPOKEN_RATE, first_audible
from tests.gateway.clients import chat, events_of, listen, speak
from tests.gateway.conftest import Running
from tests.gateway.spoken import TEXTS, murmur, silence

pytestmark = pytest.mark.realtime

# Generous: the machine may be busy. What matters is that no message arrives before its truth.
_TOLERANCE_NS = 150_000_000


class TestChat:
    async def test_a_stream_has_its_events_in_order(self, running: Running) -> None:
        """Role, text, finish reason, usage, [DONE]; the text is the scripted reply."""
        answer = await chat(running, "exact", "set a timer for five minutes")
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/event-stream"
        first, *_, finish, usage, done = answer.events
        assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert finish["choices"][0]["finish_reason"] == "stop"
        assert usage["choices"] == []
        assert usage["usage"]["completion_tokens"] == len(answer.events) - 4
        assert done == "[DONE]"
        assert "five minutes" in answer.text

    async def test_no_usage_unless_asked_for(self, running: Running) -> None:
        """Without include_usage no chunk speaks of usage."""
        answer = await chat(running, "instant", stream_options=None)
        assert all("usage" not in event for event in answer.events if event != "[DONE]")

    async def test_reasoning_comes_before_the_text(self, running: Running) -> None:
        """Reasoning deltas fill the time to the first text and are counted in the usage."""
        answer = await chat(running, "exact-thinking", name="thinking")
        deltas = [
            event["choices"][0]["delta"]
            for event in answer.events
            if isinstance(event, dict) and event["choices"]
        ]
        kinds = [next(iter(delta)) for delta in deltas[1:-1]]
        assert kinds == sorted(kinds, reverse=True)
        # From 150 ms to 400 ms every 20 ms.
        assert kinds.count("reasoning_content") == 13
        truth = await events_of(running, "thinking")
        injected = {event.event: event.injected_ns for event in reversed(truth)}
        assert injected["reasoning_sent"] == 150_000_000
        assert injected["text_sent"] == 400_000_000

    async def test_a_whole_answer_is_one_object(self, running: Running) -> None:
        """Without streaming the reply comes as one completion."""
        answer = await chat(running, "instant", "play some jazz", stream=False)
        body = json.loads(answer.body)
        assert body["object"] == "chat.completion"
        assert body["choices"][0]["message"]["content"]
        assert body["choices"][0]["finish_reason"] == "stop"
        assert body["usage"]["total_tokens"] > 0

    async def test_a_tool_is_called_in_pieces(self, running: Running) -> None:
        """The name comes first, the arguments follow in pieces that join to JSON."""
        tool = {
            "type": "function",
            "function": {
                "name": "get_weather",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            },
        }
        answer = await chat(running, "instant", "the weather in Paris", tools=[tool])
        calls = [
            call
            for event in answer.events
            if isinstance(event, dict)
            for choice in event["choices"]
            for call in choice["delta"].get("tool_calls", ())
        ]
        assert calls[0]["function"]["name"] == "get_weather"
        arguments = "".join(call["function"]["arguments"] for call in calls)
        assert json.loads(arguments) == {"city": "Paris"}
        assert answer.events[-3]["choices"][0]["finish_reason"] == "tool_calls"

    @pytest.mark.timing
    async def test_the_truth_is_what_the_client_saw(self, running: Running) -> None:
        """Each piece arrives after its truth and not much later; deadlines are absolute."""
        answer = await chat(running, "exact", name="seen")
        truth = await events_of(running, "seen")
        sent = [event for event in truth if event.event == "text_sent"]
        assert [event.index for event in sent] == list(range(len(sent)))
        received = next(event for event in truth if event.event == "request_received")
        assert answer.headers["x-request-id"] == received.request
        for number, event in enumerate(sent):
            assert event.due_ns is not None
            assert event.injected_ns == 200_000_000 + number * 15_000_000
            assert event.due_ns - received.t_ns == event.injected_ns
            assert 0 <= event.t_ns - event.due_ns < _TOLERANCE_NS
        seen = [at for at, data in answer.pieces if b'"content": "' in data]
        first_text = next(at for at in seen if at >= sent[0].t_ns)
        assert 0 <= first_text - sent[0].t_ns < _TOLERANCE_NS
        assert truth[-1].event == "done_sent"
        assert answer.pieces[-1][0] >= truth[-1].t_ns

    async def test_equal_requests_draw_anew_in_the_same_order(self, running: Running) -> None:
        """A repeated request has other latencies; none is the profile's median each time."""
        drawn = []
        for number in range(3):
            name = f"draw-{number}"
            await chat(running, "kimi-k2.6@baseten", "the same words", name=name)
            truth = await events_of(running, name)
            drawn.append(tuple((event.event, event.injected_ns) for event in truth))
        assert len(set(drawn)) == 3

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({"messages": []}, "messages"),
            ({"messages": ["x"]}, "messages"),
            ({"messages": "x"}, "messages"),
            ({"model": None}, "model"),
            ({"tools": "x"}, "tools"),
        ],
    )
    async def test_nonsense_is_refused(
        self, running: Running, body: dict[str, Any], words: str
    ) -> None:
        """A request that no provider would take is a 400 that names the field."""
        answer = await chat(running, "exact", **body)
        assert answer.status == 400
        assert words in json.loads(answer.body)["error"]["message"]


class TestSpeech:
    async def test_pcm_arrives_in_the_profiles_chunks(self, running: Running) -> None:
        """Chunks leave at first byte plus real-time factor; the truth adds up to the body."""
        answer = await speak(running, "exact", name="pcm")
        truth = await events_of(running, "pcm")
        chunks = [event for event in truth if event.event == "audio_sent"]
        assert answer.headers["content-type"] == "audio/pcm"
        assert sum(event.bytes or 0 for event in chunks) == len(answer.body)
        for number, event in enumerate(chunks[:-1]):
            assert event.bytes == 40 * SPOKEN_RATE // 1000 * 2
            # 40 ms of audio at a factor of 0.2.
            assert event.injected_ns == 120_000_000 + number * 8_000_000
        assert answer.pieces[0][0] >= chunks[0].t_ns

    async def test_leading_silence_is_in_the_audio_and_in_the_truth(self, running: Running) -> None:
        """The first audible sample is where the truth says, after the profile's silence."""
        answer = await speak(running, "exact-leading-silence", name="lead")
        truth = await events_of(running, "lead")
        samples = np.frombuffer(answer.body, dtype="<i2")
        audible = next(event for event in truth if event.event == "first_nonsilent_audio_sent")
        assert first_audible(samples, SPOKEN_RATE) == audible.samples
        assert audible.samples == pytest.approx(0.12 * SPOKEN_RATE, abs=SPOKEN_RATE // 100)
        assert not samples[: round(0.12 * SPOKEN_RATE)].any()
        first = next(event for event in truth if event.event == "audio_sent")
        assert audible.t_ns > first.t_ns

    @pytest.mark.parametrize("container", ["wav", "mp3", "flac", "opus"])
    async def test_containers_decode_to_the_speech(self, running: Running, container: str) -> None:
        """Each format decodes to audio as long as the pcm."""
        plain = await speak(running, "instant")
        answer = await speak(running, "instant", response_format=container)
        body = answer.body
        if container == "wav":
            assert body[:4] == b"RIFF"
            samples = np.frombuffer(body[44:], dtype="<i2")
            seconds = len(samples) / SPOKEN_RATE
        else:
            data, rate = sf.read(io.BytesIO(body))
            seconds = len(data) / rate
        assert seconds == pytest.approx(len(plain.body) / 2 / SPOKEN_RATE, abs=0.1)

    async def test_the_sse_form_holds_the_same_audio(self, running: Running) -> None:
        """Deltas join to the audio, and a done event with usage follows."""
        plain = await speak(running, "instant")
        answer = await speak(running, "instant", stream_format="sse")
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.audio == plain.body
        assert answer.events[-1]["type"] == "speech.audio.done"

    async def test_voices_sound_different(self, running: Running) -> None:
        """Each voice says the same text in its own way."""
        bodies = [
            (await speak(running, "instant", voice=voice)).body for voice in ("alloy", "nova")
        ]
        assert bodies[0] != bodies[1]

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({"input": " "}, "input"),
            ({"input": "x" * 5000}, "4096"),
            ({"voice": "nobody"}, "nobody"),
            ({"response_format": "aiff"}, "response_format"),
            ({"speed": 9}, "speed"),
            ({"stream_format": "x"}, "stream_format"),
        ],
    )
    async def test_nonsense_is_refused(
        self, running: Running, body: dict[str, Any], words: str
    ) -> None:
        """A request that no provider would take is a 400 that names the field."""
        answer = await speak(running, "exact", **body)
        assert answer.status == 400
        assert words in json.loads(answer.body)["error"]["message"]


class TestParakeet:
    @pytest.mark.timing
    async def test_a_final_follows_the_end_of_speech(self, running: Running) -> None:
        """The final holds the text and leaves endpoint silence plus compute after the speech."""
        heard = await listen(running, "quick", [murmur(0, TEXTS[0])], name="final")
        assert heard.statuses == ["listening"]
        assert heard.finals == [TEXTS[0]]
        truth = await events_of(running, "final")
        end = next(event for event in truth if event.kind == "speech_end")
        final = next(event for event in truth if event.event == "final_sent")
        assert final.injected_ns == 220_000_000
        assert final.due_ns == end.t_ns + 220_000_000
        assert 0 <= final.t_ns - final.due_ns < _TOLERANCE_NS
        assert heard.messages[-1][0] >= final.t_ns
        # The last sample of speech is due at the end of the frame that holds it.
        spoken = murmur(0, TEXTS[0])
        last = int(np.flatnonzero(np.abs(spoken.astype(int)) > 400)[-1])
        assert abs(end.t_ns - heard.sent[last // 320]) < _TOLERANCE_NS

    async def test_the_socket_survives_utterances(self, running: Running) -> None:
        """Several utterances on one socket have a final each, in order."""
        recordings = [murmur(number, TEXTS[number]) for number in (3, 0)]
        heard = await listen(running, "quick", recordings)
        assert heard.finals == [TEXTS[3], TEXTS[0]]

    async def test_finalize_brings_the_final_at_once(self, running: Running) -> None:
        """After finalize come the final, then the answer, and the socket lives on."""
        recordings = [murmur(number, TEXTS[number]) for number in (3, 5)]
        heard = await listen(running, "exact", recordings, finalize=True, name="finalize")
        assert heard.finals == [TEXTS[3], TEXTS[5]]
        assert heard.statuses == ["listening", "finalized", "finalized"]
        kinds = ["text" if "text" in message else "status" for _, message in heard.messages]
        assert kinds == ["status", "text", "status", "text", "status"]
        truth = await events_of(running, "finalize")
        final = next(event for event in truth if event.event == "final_sent")
        asked = next(event for event in truth if event.event == "finalize_received")
        assert final.injected_ns == 100_000_000
        assert final.due_ns == asked.t_ns + 100_000_000

    async def test_finalize_without_speech_is_answered(self, running: Running) -> None:
        """Nothing heard, nothing final, but finalize gets its answer."""
        heard = await listen(running, "exact", [silence(0.3)], finalize=True, after_s=0.1)
        assert heard.finals == []
        assert heard.statuses == ["listening", "finalized"]

    async def test_silence_and_noise_have_no_transcript(self, running: Running) -> None:
        """Audio without a word has no final."""
        noise = np.random.default_rng(2).normal(0, 60, 16000).astype(np.int16)
        heard = await listen(running, "quick", [silence(0.5), noise])
        assert heard.finals == []
        assert heard.interims == []

    async def test_a_burst_is_endpointed_by_its_audio(self, running: Running) -> None:
        """Audio sent faster than real time has its finals too, each utterance its own."""
        recordings = [murmur(number, TEXTS[number]) for number in (0, 3)]
        heard = await listen(running, "quick", recordings, paced=False, after_s=0.6)
        assert heard.finals == [TEXTS[0], TEXTS[3]]

    async def test_interims_lead_to_the_final(self, running: Running) -> None:
        """Interims only grow, and the final follows them."""
        heard = await listen(running, "chatty", [murmur(1, TEXTS[1])])
        assert len(heard.interims) >= 3
        assert all(TEXTS[1].startswith(interim) for interim in heard.interims)
        assert heard.finals == [TEXTS[1]]

    async def test_many_sockets_at_once(self, running: Running) -> None:
        """Ten sessions at once do not disturb each other's words."""
        heards = await asyncio.gather(
            *(listen(running, "quick", [murmur(n % 6, TEXTS[n % 6])]) for n in range(10))
        )
        assert [heard.finals for heard in heards] == [[TEXTS[n % 6]] for n in range(10)]

    async def test_the_oracle_errs_on_the_wire(self, running: Running) -> None:
        """With a word error rate of one every word is wrong."""
        heard = await listen(running, "wrong-words", [murmur(0, TEXTS[0])])
        assert heard.finals
        assert heard.finals != [TEXTS[0]]


class TestRest:
    @pytest.mark.parametrize("path", ["/v1/audio", "/parakeet/v1/audio"])
    @pytest.mark.parametrize("answer_format", ["json", "verbose_json", "text"])
    async def test_a_file_is_transcribed(
        self, running: Running, path: str, answer_format: str
    ) -> None:
        """A whole file gives its text in each form, over both paths."""
        buffer = io.BytesIO()
        sf.write(buffer, murmur(2, TEXTS[2]), 16000, format="WAV", subtype="PCM_16")
        form = aiohttp.FormData()
        form.add_field("file", buffer.getvalue(), filename="audio.wav", content_type="audio/wav")
        form.add_field("model", "whisper-1")
        form.add_field("response_format", answer_format)
        url = f"http://127.0.0.1:{running.process.port}/exact{path}/transcriptions"
        async with (
            aiohttp.ClientSession(headers=running.headers) as session,
            session.post(url, data=form) as response,
        ):
            body = await response.text()
        assert response.status == 200
        text = body.strip() if answer_format == "text" else json.loads(body)["text"]
        assert text == TEXTS[2]

    @pytest.mark.parametrize("data", [b"", b"not audio", b"RIFF0000WAVE"])
    async def test_what_is_no_audio_is_refused(self, running: Running, data: bytes) -> None:
        """A file that does not decode is a 400."""
        form = aiohttp.FormData()
        form.add_field("file", data, filename="audio.wav", content_type="audio/wav")
        url = running.process.base_url("exact") + "/audio/transcriptions"
        async with (
            aiohttp.ClientSession(headers=running.headers) as session,
            session.post(url, data=form) as response,
        ):
            assert response.status == 400
            assert "error" in await response.json()


class TestServer:
    @pytest.mark.parametrize(
        ("path", "status"),
        [("/", 200), ("/healthz", 200), ("/v1/models", 401), ("/exact/v1/models", 401)],
    )
    async def test_a_key_is_asked_for(self, running: Running, path: str, status: int) -> None:
        """Without the key only the health is told."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{running.process.port}{path}") as response,
        ):
            assert response.status == status
            body = await response.json()
        if status == 401:
            assert body["error"]["code"] == 401
        else:
            assert body["engines"]["synthesiser"] in ("espeak-ng", "formant")
            assert body["emulated"] is True

    async def test_models_are_listed_with_their_figures(self, running: Running) -> None:
        """The list holds every profile; one that bears a model's name has its source."""
        async with aiohttp.ClientSession(headers=running.headers) as session:
            base = running.process.base_url("exact")
            async with session.get(base + "/models") as response:
                listed = {entry["id"]: entry for entry in (await response.json())["data"]}
            async with session.get(base + "/models/kimi-k2.6@baseten") as response:
                kimi = await response.json()
            async with session.get(base + "/models/nothing") as response:
                assert response.status == 404
        assert kimi == listed["kimi-k2.6@baseten"]
        assert kimi["published"]["p50_ms"] == 475
        assert listed["quick"]["emulated"] is True

    @pytest.mark.parametrize(
        ("profile", "words"),
        [("nobody", "no profile 'nobody'"), ("kokoro-82m@polargrid", "does not serve llm")],
    )
    async def test_an_unknown_profile_is_a_404(
        self, running: Running, profile: str, words: str
    ) -> None:
        """A profile that does not exist or serve the stage is named in the error."""
        answer = await chat(running, profile)
        assert answer.status == 404
        assert words in json.loads(answer.body)["error"]["message"]

    async def test_an_unknown_path_is_a_json_404(self, running: Running) -> None:
        """Paths and methods that do not exist are refused in the providers' words."""
        async with aiohttp.ClientSession(headers=running.headers) as session:
            base = f"http://127.0.0.1:{running.process.port}"
            async with session.get(base + "/a/b/c/d") as response:
                assert (response.status, (await response.json())["error"]["code"]) == (404, 404)
            async with session.get(base + "/v1/chat/completions") as response:
                assert response.status == 405

    async def test_the_model_selects_a_profile_where_the_path_does_not(
        self, running: Running
    ) -> None:
        """Below the bare path the name of the model is the name of the profile."""
        url = f"http://127.0.0.1:{running.process.port}/v1/chat/completions"
        body = {"model": "fault-llm-forbidden", "messages": [{"role": "user", "content": "x"}]}
        async with (
            aiohttp.ClientSession(headers=running.headers) as session,
            session.post(url, json=body) as response,
        ):
            assert response.status == 403

    async def test_a_client_that_leaves_is_noted(self, running: Running) -> None:
        """A request whose client hangs up ends, and the truth says so."""
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(chat(running, "exact", name="left"), 0.1)
        events = [event.event for event in await events_of(running, "left")]
        assert "closed" in events
        assert "done_sent" not in events
