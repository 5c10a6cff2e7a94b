"""Speko's platform API on the wire: by Speko's own client, and by hand where that is mild."""

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import soundfile as sf
from spekoai import AsyncSpeko, SpekoApiError, SpekoAuthError, SpekoRateLimitError

from harness.errors import ConfigurationError
from harness.gateway.calls.config import GatewayConfig
from harness.gateway.calls.truth import TruthEvent
from harness.gateway.engines.pcm import HEARD_RATE
from harness.gateway.process import start_gateway
from harness.gateway.profiles.distributions import Draws
from harness.gateway.profiles.faults import Stage
from harness.gateway.profiles.files import parse_profiles
from harness.gateway.profiles.profiles import PROFILES
from harness.gateway.profiles.routing import NoUpstream, Routing, Upstream, choose
from tests.gateway.clients import events_of
from tests.gateway.conftest import Running
from tests.gateway.spoken import TEXTS, murmur

ROUTERS = """
["packed"]
base = "exact"
[packed.routing]
tts = [{ provider = "elm", model = "waves", audio = "wav" }]

["pressed"]
base = "exact"
[pressed.routing]
tts = [{ provider = "elm", model = "layers", audio = "mpeg" }]

["scored"]
base = "exact"
[scored.routing]
llm = [
    { provider = "ash", model = "good", score = [0.9, 0.1, 0.2] },
    { provider = "oak", model = "quick", score = [0.4, 0.9, 0.5] },
    { provider = "fir", model = "cheap", score = [0.3, 0.3, 1.0] },
]

["failing"]
base = "exact"
[failing.routing]
failover = 70
llm = [
    { provider = "ash", model = "down", weight = 1000000, failure = 1.0 },
    { provider = "oak", model = "up" },
]
stt = [{ provider = "ash", model = "down", failure = 1.0 }]
"""


@pytest.fixture(scope="module")
def routers(tmp_path_factory: pytest.TempPathFactory, manifest: Path) -> Iterator[Running]:
    """A gateway with routers of our own."""
    folder = tmp_path_factory.mktemp("routers")
    profiles = folder / "profiles.toml"
    profiles.write_text(ROUTERS, encoding="utf-8")
    truth = folder / "truth.jsonl"
    config = GatewayConfig(
        seed=7, truth=truth, utterances=manifest, profiles=profiles, recogniser="oracle"
    )
    with start_gateway(config) as process:
        yield Running(process=process, truth=truth, manifest=manifest)


def root(running: Running, profile: str) -> str:
    """Return the address of a profile."""
    return running.process.base_url(profile).removesuffix("/v1")


def client(running: Running, profile: str, key: str | None = None) -> AsyncSpeko:
    """Return Speko's client of a profile."""
    return AsyncSpeko(api_key=key or running.process.key, base_url=root(running, profile))


def recording(number: int = 0) -> bytes:
    """Return a recording as a WAV file."""
    buffer = io.BytesIO()
    sf.write(buffer, murmur(number, TEXTS[number]), HEARD_RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


async def posted(
    running: Running, profile: str, path: str, *, name: str | None = None, **what: Any
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the answer to a request."""
    headers = {**running.headers, **what.pop("headers", {})}
    if name is not None:
        headers["x-turnbench-request"] = name
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(root(running, profile) + path, **what) as response,
    ):
        body = await response.read()
        return response.status, {k.lower(): v for k, v in response.headers.items()}, body


class TestTheirClient:
    """Speko's published client cannot tell the gateway from Speko."""

    async def test_it_transcribes(self, running: Running) -> None:
        """A recording comes back as its text, with the route."""
        async with client(running, "exact") as speko:
            found = await speko.transcribe(recording(), language="en", keywords=["timer"])
        assert found.text.lower().rstrip(".") == TEXTS[0]
        assert (found.provider, found.model) == ("turnbench-gateway", "exact")
        assert found.failover_count == 0
        assert found.confidence is not None

    async def test_raw_samples_are_taken_at_their_rate(self, running: Running) -> None:
        """``audio/pcm;rate=N`` needs no header."""
        samples = murmur(1, TEXTS[1]).astype("<i2").tobytes()
        async with client(running, "exact") as speko:
            found = await speko.transcribe(
                samples, language="en", content_type=f"audio/pcm;rate={HEARD_RATE}"
            )
        assert found.text.lower().rstrip(".?") == TEXTS[1].lower()

    async def test_transcription_streams_meta_transcript_done(self, running: Running) -> None:
        """The events come in the documented order."""
        async with client(running, "exact") as speko:
            kinds = [
                each.type async for each in speko.transcribe_stream(recording(), language="en")
            ]
        assert kinds == ["meta", "transcript", "done"]

    async def test_it_completes(self, running: Running) -> None:
        """Deltas add up to the answer; usage is counted."""
        async with client(running, "exact") as speko:
            events = [
                each
                async for each in speko.complete_stream(
                    messages=[{"role": "user", "content": "what time is it"}],
                    intent={"language": "en", "optimize_for": "latency"},
                    system_prompt="Be brief.",
                )
            ]
        assert events[0].type == "meta"
        assert events[-1].type == "done"
        deltas = [each.text for each in events if each.type == "delta"]
        assert len(deltas) > 3
        assert "".join(deltas) == events[-1].text
        assert events[-1].usage.completion_tokens == len(deltas)

    async def test_a_tool_is_called_and_answered(self, running: Running) -> None:
        """A tool call comes whole, and its result is spoken of."""
        tool = {
            "name": "get_weather",
            "description": "the weather of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        }
        said = {"role": "user", "content": "what is the weather in London"}
        async with client(running, "exact") as speko:
            first = await speko.complete(
                messages=[said], intent={"language": "en"}, tools=[tool], tool_choice="required"
            )
            assert first.tool_calls is not None
            call = first.tool_calls[0]
            assert call.name == "get_weather"
            assert isinstance(json.loads(call.args), dict)
            second = await speko.complete(
                messages=[
                    said,
                    {"role": "assistant", "content": "", "tool_calls": [call]},
                    {"role": "tool", "content": "rain, 12 degrees", "tool_call_id": call.id},
                ],
                intent={"language": "en"},
                tools=[tool],
            )
        assert "rain, 12 degrees" in second.text

    async def test_it_synthesizes(self, running: Running) -> None:
        """Audio comes in pieces with its rate in the content type and the route in the headers."""
        async with client(running, "exact") as speko:
            stream = await speko.synthesize_stream("Good morning.", language="en", voice="nova")
            async with stream:
                pieces = [each async for each in stream]
        assert stream.content_type == "audio/pcm;rate=24000"
        assert stream.provider == "turnbench-gateway"
        assert len(pieces) > 3
        assert len(b"".join(pieces)) % 2 == 0

    async def test_a_wrong_key_is_an_auth_error(self, running: Running) -> None:
        """401 in Speko's words."""
        async with client(running, "exact", key="sk_live_wrong") as speko:
            with pytest.raises(SpekoAuthError):
                await speko.complete(
                    messages=[{"role": "user", "content": "hi"}], intent={"language": "en"}
                )

    async def test_a_rate_limit_names_its_seconds(self, running: Running) -> None:
        """429 with Retry-After."""
        async with client(running, "fault-llm-rate-limited") as speko:
            with pytest.raises(SpekoRateLimitError) as caught:
                await speko.complete(
                    messages=[{"role": "user", "content": "hi"}], intent={"language": "en"}
                )
        assert caught.value.retry_after == 2

    @pytest.mark.parametrize(
        ("fault", "code"),
        [("truncation", "STREAM_ENDED"), ("mid-stream-error", "COMPLETE_FAILED")],
    )
    async def test_a_stream_that_breaks_is_an_error(
        self, running: Running, fault: str, code: str
    ) -> None:
        """A stream without ``done`` and one with ``error`` are told apart."""
        async with client(running, f"fault-llm-{fault}") as speko:
            with pytest.raises(SpekoApiError) as caught:
                await speko.complete(
                    messages=[{"role": "user", "content": "hi"}], intent={"language": "en"}
                )
        assert caught.value.code == code

    async def test_it_lists_voices(self, running: Running) -> None:
        """Each vendor has the profile's voices."""
        async with client(running, "routed") as speko:
            found = await speko.voices.list()
        assert {each.vendor for each in found.voices} == {"alder", "birch"}
        assert {each.key for each in found.providers} == {"alder", "birch"}


class TestTheWire:
    async def test_events_end_with_two_line_feeds_alone(self, running: Running) -> None:
        """Speko's parser knows LF LF and nothing else."""
        body = {"messages": [{"role": "user", "content": "hi"}], "intent": {"language": "en"}}
        status, headers, data = await posted(running, "exact", "/v1/complete", json=body)
        assert status == 200
        assert headers["content-type"] == "text/event-stream"
        assert b"\r" not in data
        assert data.endswith(b"\n\n")
        assert data.startswith(b"event: meta\ndata: {")

    @pytest.mark.parametrize(
        ("path", "body", "says"),
        [
            ("/v1/complete", {"messages": []}, "messages"),
            ("/v1/complete", {"messages": [{"role": "user", "content": "x"}]}, "intent"),
            (
                "/v1/complete",
                {"messages": [{"role": "robot", "content": "x"}], "intent": {"language": "en"}},
                "role",
            ),
            ("/v1/synthesize", {"text": "", "intent": {"language": "en"}}, "text"),
            ("/v1/synthesize", {"text": "hi", "intent": {"language": "english"}}, "language"),
            (
                "/v1/synthesize",
                {"text": "hi", "intent": {"language": "en", "optimizeFor": "speed"}},
                "optimizeFor",
            ),
            (
                "/v1/synthesize",
                {"text": "hi", "intent": {"language": "en"}, "speed": 9},
                "speed",
            ),
            (
                "/v1/synthesize",
                {"text": "hi", "intent": {"language": "en"}, "constraints": {"x": 1}},
                "constraints",
            ),
        ],
    )
    async def test_what_cannot_be_understood_is_refused_flat(
        self, running: Running, path: str, body: dict[str, Any], says: str
    ) -> None:
        """400 with ``error`` and ``code`` side by side, naming the field."""
        status, _, data = await posted(running, "exact", path, json=body)
        told = json.loads(data)
        assert status == 400
        assert set(told) == {"error", "code"}
        assert told["code"] == "VALIDATION_ERROR"
        assert says in told["error"]

    @pytest.mark.parametrize("data", [b"", b"RIFF", b"no audio at all"])
    async def test_what_is_no_audio_is_refused(self, running: Running, data: bytes) -> None:
        """400 ``INVALID_AUDIO``."""
        headers = {"X-Speko-Intent": '{"language":"en"}', "Content-Type": "audio/wav"}
        status, _, body = await posted(
            running, "exact", "/v1/transcribe", data=data, headers=headers
        )
        assert (status, json.loads(body)["code"]) == (400, "INVALID_AUDIO")

    async def test_delays_are_the_profile_s(self, running: Running) -> None:
        """The truth has each message and what was drawn for it; none leaves before its time."""
        body = {"messages": [{"role": "user", "content": "hi"}], "intent": {"language": "en"}}
        before = time.perf_counter_ns()
        await posted(running, "exact", "/v1/complete", name="speko-truth", json=body)
        events = await events_of(running, "speko-truth")
        assert events[0].t_ns > before
        texts = [each for each in events if each.event == "text_sent"]
        assert texts[0].injected_ns == 200_000_000
        assert all(each.due_ns is not None and each.t_ns >= each.due_ns for each in texts)
        assert [each.event for each in events][-1] == "done_sent"
        asked = next(each for each in events if each.event == "asked")
        assert json.loads(asked.detail or "")["intent"] == {"language": "en"}


class TestRouting:
    """A router's choice is a function of the seed, the request and the profile."""

    async def _routes(self, running: Running, profile: str, **more: Any) -> list[dict[str, Any]]:
        found = []
        for number in range(12):
            body = {
                "messages": [{"role": "user", "content": f"number {number}"}],
                "intent": {"language": "en", **more.get("intent", {})},
                **({"constraints": more["constraints"]} if "constraints" in more else {}),
            }
            status, _, data = await posted(running, profile, "/v1/complete", json=body)
            assert status == 200, data
            found.append(json.loads(data.split(b"data: ")[1].split(b"\n")[0]))
        return found

    async def test_weights_share_out_the_requests(self, routers: Running) -> None:
        """Both upstreams answer, each under its own name."""
        routes = await self._routes(routers, "routed")
        assert {each["provider"] for each in routes} == {"alder", "birch"}
        assert all(each["scoresRunId"] == "gateway-scores-1" for each in routes)

    @pytest.mark.parametrize(
        ("objective", "provider"),
        [("accuracy", "ash"), ("latency", "oak"), ("cost", "fir")],
    )
    async def test_scores_decide_by_the_objective(
        self, routers: Running, objective: str, provider: str
    ) -> None:
        """The best by the request's objective answers every time."""
        routes = await self._routes(routers, "scored", intent={"optimizeFor": objective})
        assert {each["provider"] for each in routes} == {provider}

    async def test_an_allow_list_binds(self, routers: Running) -> None:
        """Only what is allowed answers."""
        constraints = {"allowedProviders": {"llm": ["birch:chat-slow"]}}
        routes = await self._routes(routers, "routed", constraints=constraints)
        assert {each["model"] for each in routes} == {"chat-slow"}

    async def test_nothing_allowed_is_an_error(self, routers: Running) -> None:
        """400 where the allow-list names nobody."""
        body = {
            "messages": [{"role": "user", "content": "hi"}],
            "intent": {"language": "en"},
            "constraints": {"allowedProviders": {"llm": ["nobody"]}},
        }
        status, _, data = await posted(routers, "routed", "/v1/complete", json=body)
        assert (status, json.loads(data)["code"]) == (400, "VALIDATION_ERROR")

    async def test_a_failed_upstream_costs_its_time(self, routers: Running) -> None:
        """The next one answers, later by what the failure took, and the answer says so."""
        body = {"messages": [{"role": "user", "content": "hi"}], "intent": {"language": "en"}}
        _, _, data = await posted(routers, "failing", "/v1/complete", name="failover", json=body)
        meta = json.loads(data.split(b"data: ")[1].split(b"\n")[0])
        assert (meta["provider"], meta["failoverCount"]) == ("oak", 1)
        events = await events_of(routers, "failover")
        first = next(each for each in events if each.event == "text_sent")
        assert first.injected_ns == 270_000_000
        assert _routed(events) == ("oak:up", 1, 70_000_000)

    async def test_when_all_fail_the_router_says_so(self, routers: Running) -> None:
        """503 ``ALL_PROVIDERS_FAILED``."""
        status, _, data = await posted(
            routers,
            "failing",
            "/v1/transcribe",
            data=recording(),
            headers={"X-Speko-Intent": '{"language":"en"}', "Content-Type": "audio/wav"},
        )
        assert (status, json.loads(data)["code"]) == (503, "ALL_PROVIDERS_FAILED")

    @pytest.mark.parametrize(
        ("profile", "content_type", "begin"),
        [("packed", "audio/wav", b"RIFF"), ("pressed", "audio/mpeg", None)],
    )
    async def test_an_upstream_packs_its_audio_its_own_way(
        self, routers: Running, profile: str, content_type: str, begin: bytes | None
    ) -> None:
        """WAV and MP3 decode to speech."""
        body = {"text": "Good morning to you.", "intent": {"language": "en"}}
        status, headers, data = await posted(routers, profile, "/v1/synthesize", json=body)
        assert (status, headers["content-type"]) == (200, content_type)
        assert headers["x-speko-audio-format"] == content_type
        assert headers["x-speko-provider"] == "elm"
        if begin is None:
            samples, _ = sf.read(io.BytesIO(data))
        else:
            assert data.startswith(begin)
            samples = np.frombuffer(data[44:], dtype="<i2") / 32768
        assert np.abs(samples).max() > 0.05

    async def test_the_openai_like_router_names_its_route(self, routers: Running) -> None:
        """The OpenAI protocols carry the route in their headers, as the request headers ask."""
        message = {
            "model": "auto",
            "messages": [{"role": "user", "content": "hi"}],
            "stream": True,
        }
        for objective, route in (("latency", "oak:quick"), ("cost", "fir:cheap")):
            _, headers, _ = await posted(
                routers,
                "scored",
                "/v1/chat/completions",
                json=message,
                headers={"X-Speko-Objective": objective},
            )
            assert headers["x-route"] == route
            assert headers["x-speko-failover-count"] == "0"
            assert objective in headers["x-route-reason"]

    async def test_a_preview_names_the_upstream(self, routers: Running) -> None:
        """A dry run tells who would answer."""
        url = root(routers, "scored") + "/v1/routing/preview?stage=llm&objective=cost"
        async with (
            aiohttp.ClientSession(headers=routers.headers) as session,
            session.get(url) as response,
        ):
            told = await response.json()
        assert (told["provider"], told["id"]) == ("fir", "fir:cheap")


def _routed(events: tuple[TruthEvent, ...]) -> tuple[str | None, int | None, int | None]:
    found = next(each for each in events if each.event == "routed")
    return found.kind, found.index, found.injected_ns


class TestChoosing:
    """The choice as a function."""

    ROUTING = Routing(
        llm=(
            Upstream(provider="a", model="m", weight=3.0, failure=0.2),
            Upstream(provider="b", model="m", failure=0.2),
        )
    )

    @staticmethod
    def _draws(number: int, seed: int = 1) -> Draws:
        return Draws(seed=seed, stage="llm", key=str(number))

    def test_the_same_seed_chooses_the_same(self) -> None:
        """Two runs agree request by request; another seed does not."""

        def run(seed: int) -> list[str]:
            found = []
            for number in range(200):
                try:
                    chosen = choose(self.ROUTING, Stage.LLM, self._draws(number, seed))
                    found.append(f"{chosen.upstream.name} {chosen.failovers}")
                except NoUpstream:
                    found.append("none")
            return found

        assert run(1) == run(1)
        assert run(1) != run(2)

    def test_shares_and_failures_are_as_stated(self) -> None:
        """Of many requests three quarters go to the heavy one first, and a fifth of those fail."""
        first = {"a": 0, "b": 0}
        none = 0
        for number in range(4000):
            try:
                chosen = choose(self.ROUTING, Stage.LLM, self._draws(number))
            except NoUpstream:
                none += 1
                continue
            if chosen.failovers == 0:
                first[chosen.upstream.provider] += 1
        assert abs(first["a"] / 4000 - 0.75 * 0.8) < 0.03
        assert abs(first["b"] / 4000 - 0.25 * 0.8) < 0.03
        assert abs(none / 4000 - 0.04) < 0.015

    def test_mistakes_in_a_router_are_named(self) -> None:
        """Each mistake of a profile file comes with its place."""
        text = """
        ["r"]
        base = "exact"
        [r.routing]
        llm = [{ provider = "a", model = "m", profile = "nosuch" }, { provider = "b" }]
        stt = [{ provider = "a", model = "m", wieght = 2 }]
        """
        with pytest.raises(ConfigurationError) as caught:
            parse_profiles(text, "file", PROFILES)
        told = "\n".join(caught.value.problems)
        assert "wieght" in told
        assert "did you mean 'weight'" in told
        assert "model" in told

    def test_an_unknown_profile_of_an_upstream_is_named(self) -> None:
        """A router may not answer by a profile that is not there."""
        text = """
        ["r"]
        base = "exact"
        [r.routing]
        llm = [{ provider = "a", model = "m", profile = "exakt" }]
        """
        with pytest.raises(ConfigurationError) as caught:
            parse_profiles(text, "file", PROFILES)
        assert "no profile 'exakt'; did you mean 'exact'?" in str(caught.value)
