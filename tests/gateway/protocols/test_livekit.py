"""The real LiveKit plugins cannot tell the gateway from a provider."""

import pytest
from livekit.agents import APIConnectOptions, APIError, APIStatusError, llm
from livekit.plugins import openai

from tests.gateway.conftest import Running

pytestmark = pytest.mark.realtime

_NO_RETRY = APIConnectOptions(max_retry=0, timeout=3.0)


def _llm(running: Running, profile: str) -> openai.LLM:
    return openai.LLM(
        model="kimi", api_key=running.process.key, base_url=running.process.base_url(profile)
    )


async def _ask(running: Running, profile: str, said: str) -> tuple[str, llm.CompletionUsage | None]:
    client = _llm(running, profile)
    context = llm.ChatContext.empty()
    context.add_message(role="user", content=said)
    text, usage = "", None
    try:
        async with client.chat(chat_ctx=context, conn_options=_NO_RETRY) as stream:
            async for chunk in stream:
                if chunk.delta is not None and chunk.delta.content:
                    text += chunk.delta.content
                usage = chunk.usage or usage
    finally:
        await client.aclose()
    return text, usage


async def _speak(running: Running, profile: str, model: str, container: str) -> float:
    client = openai.TTS(
        model=model,
        voice="alloy",
        api_key=running.process.key,
        base_url=running.process.base_url(profile),
        response_format=container,
    )
    seconds = 0.0
    try:
        async with client.synthesize("Good morning to you.", conn_options=_NO_RETRY) as stream:
            async for audio in stream:
                seconds += audio.frame.duration
    finally:
        await client.aclose()
    return seconds


async def test_the_llm_plugin_reads_the_reply_and_the_usage(running: Running) -> None:
    """Text and token counts come through; reasoning does not count as text."""
    text, usage = await _ask(running, "exact-thinking", "set a timer for five minutes")
    assert "five minutes" in text
    assert usage is not None
    assert usage.completion_tokens > 13


@pytest.mark.parametrize(
    ("profile", "status"),
    [
        ("fault-llm-unauthorised", 401),
        ("fault-llm-rate-limited", 429),
        ("fault-llm-server-error", 500),
    ],
)
async def test_the_llm_plugin_reads_statuses(running: Running, profile: str, status: int) -> None:
    """A refused request is an APIStatusError with the status."""
    with pytest.raises(APIStatusError) as caught:
        await _ask(running, profile, "hello")
    assert caught.value.status_code == status


@pytest.mark.parametrize(
    "profile", ["fault-llm-mid-stream-error", "fault-llm-reset", "fault-llm-refused"]
)
async def test_the_llm_plugin_fails_on_broken_streams(running: Running, profile: str) -> None:
    """An error event or a reset in mid-stream is an APIError."""
    with pytest.raises(APIError):
        await _ask(running, profile, "hello")


@pytest.mark.parametrize("model", ["tts-1", "gpt-4o-mini-tts"])
@pytest.mark.parametrize("container", ["pcm", "wav", "mp3"])
async def test_the_tts_plugin_plays_each_form(running: Running, model: str, container: str) -> None:
    """The audio and the sse form decode to the speech, in each format."""
    assert 0.6 < await _speak(running, "exact", model, container) < 4.0


async def test_the_tts_plugin_fails_on_an_empty_answer(running: Running) -> None:
    """A 200 without audio is an APIError."""
    with pytest.raises(APIError):
        await _speak(running, "fault-tts-empty", "tts-1", "pcm")
