"""LiveKit Inference's detector of interruptions, spoken to by a plain client."""

import json
import struct
import time
from typing import Any

import aiohttp
import numpy as np
import pytest

from harness.gateway.engines.pcm import Samples
from tests.gateway.clients import events_of
from tests.gateway.conftest import Running
from tests.gateway.engines.test_overlap import babble, quiet
from tests.gateway.sockets import Line, line, token

pytestmark = pytest.mark.realtime

PATH = "/livekit/v1/bargein"


def bearer(running: Running, name: str = "") -> dict[str, str]:
    """Return the headers of a client that holds the gateway's key."""
    headers = {"Authorization": f"Bearer {token(running.process.key)}"}
    return {**headers, "x-turnbench-request": name} if name else headers


def create(**settings: Any) -> dict[str, Any]:
    """Return what opens a conversation."""
    usual = {"sample_rate": 16_000, "num_channels": 1, "min_frames": 2, "encoding": "s16le"}
    return {"type": "session.create", "settings": {**usual, **settings}}


def window(created_at: int, samples: Samples) -> bytes:
    """Return a window of speech over the reply."""
    return struct.pack("<Q", created_at) + samples.tobytes()


SPEECH = np.concatenate([quiet(500), babble(1_000)])
BURST = np.concatenate([quiet(500), babble(200), quiet(100)])


async def verdict(ears: Line, created_at: int, samples: Samples) -> dict[str, Any]:
    """Send a window and return the answer."""
    await ears.say(window(created_at, samples))
    answer = await ears.hear()
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer turnbench-gateway-key"}])
async def test_no_detector_without_a_grant(running: Running, headers: dict[str, str]) -> None:
    """The key itself is no token: the upgrade is refused with 401."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with line(running, PATH, headers, profile="exact"):
            pass
    assert refused.value.status == 401


async def test_windows_are_judged_and_the_truth_says_when(running: Running) -> None:
    """Each window gets one verdict that names its reading, 40 ms after it came, and the truth."""
    readings = (time.perf_counter_ns(), 2**63 + 1)
    async with line(running, PATH, bearer(running, "overlap"), profile="exact") as ears:
        await ears.say(create())
        created = await ears.hear(kind="session.created")
        assert 0 < created["default_threshold"] < 1
        first = await verdict(ears, readings[0], BURST)
        second = await verdict(ears, readings[1], SPEECH)
        await ears.say({"type": "session.close"})
        assert await ears.hear(kind="session.closed")
    assert (first["type"], first["created_at"]) == ("inference_done", readings[0])
    assert (second["type"], second["created_at"]) == ("bargein_detected", readings[1])
    assert len(second["probabilities"]) == len(SPEECH) // 400
    assert second["prediction_duration"] >= 0.04
    events = await events_of(running, "overlap")
    came = [each for each in events if each.event == "window_received"]
    left = [each for each in events if each.event == "verdict_sent"]
    assert [each.detail for each in came] == [str(each) for each in readings]
    assert [each.kind for each in left] == ["backchannel", "interruption"]
    for one, other in zip(came, left, strict=True):
        assert other.due_ns == one.t_ns + 40_000_000
        assert other.t_ns >= other.due_ns
    assert json.loads(left[1].detail or "")["probability"] >= 0.5


async def test_the_clients_threshold_and_frames_count(running: Running) -> None:
    """A burst is an interruption to who asks for little, speech is none to who asks for much."""
    for settings, samples, kind in (
        ({"threshold": 0.0001, "min_frames": 1}, BURST, "bargein_detected"),
        ({"threshold": 0.5, "min_frames": 120}, SPEECH, "inference_done"),
    ):
        async with line(running, PATH, bearer(running), profile="instant") as ears:
            await ears.say(create(**settings))
            await ears.hear(kind="session.created")
            assert (await verdict(ears, 7, samples))["type"] == kind


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"type": "session.close"}, "expected session.create"),
        ("no JSON", "expected session.create"),
        (window(1, BURST), "expected session.create"),
        (create(sample_rate=8_000), "16000"),
        (create(encoding="opus"), "s16le"),
        (create(threshold=2), "threshold"),
        (create(threshold=True), "threshold"),
        (create(min_frames=0), "min_frames"),
    ],
)
async def test_what_opens_no_conversation(running: Running, message: Any, words: str) -> None:
    """A conversation that is not opened as the protocol has it is refused, with the reason."""
    async with line(running, PATH, bearer(running), profile="instant") as ears:
        await ears.say(message)
        refusal = await ears.hear(kind="error")
        assert words in refusal["message"]
        assert refusal["code"] == 400
        assert isinstance(refusal["session_id"], str)
        assert await ears.hear() is None


@pytest.mark.parametrize(
    "data", [b"", b"1234567", window(1, quiet(3_100)), window(1, BURST) + b"x"]
)
async def test_a_window_that_is_none_is_refused_alone(running: Running, data: bytes) -> None:
    """Too short, too long and odd windows are refused; the next one is judged."""
    async with line(running, PATH, bearer(running), profile="instant") as ears:
        await ears.say(create())
        await ears.hear(kind="session.created")
        await ears.say(data)
        assert (await ears.hear(kind="error"))["code"] == 400
        assert (await verdict(ears, 9, SPEECH))["created_at"] == 9
