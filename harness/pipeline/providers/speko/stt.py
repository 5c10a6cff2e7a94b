"""Speko's recognition as a livekit STT: one request for each stretch of speech.

Speko's route takes a whole recording, so livekit puts a voice activity detector before this STT,
which ends the stretch after some silence; the wait for that silence is the first part of the
latency.
"""

from collections.abc import Sequence
from typing import Any, Final

from livekit.agents import APIConnectOptions, NotGivenOr, stt
from livekit.agents.language import LanguageCode
from livekit.agents.types import NOT_GIVEN
from livekit.agents.utils import AudioBuffer, is_given

from harness.domain.request import FailureKind
from harness.pipeline.providers.parakeet.rest import wav_of
from harness.pipeline.providers.speko.wire import (
    SpekoEndpoint,
    compact,
    events,
    failed,
    missing_done,
)

__all__ = ["SpekoSTT"]

_RATE: Final = 16_000
_PATH: Final = "/v1/transcribe"


class SpekoSTT(stt.STT[Any]):
    """Recognition by whichever provider Speko chooses.

    Args:
        endpoint: where, and what is asked of the router.
        keywords: words to expect.
        language: for the provider, where it differs from the intent's.
    """

    def __init__(
        self,
        endpoint: SpekoEndpoint,
        *,
        keywords: Sequence[str] = (),
        language: str | None = None,
    ) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        self._endpoint = endpoint
        self._options: dict[str, Any] = {}
        if keywords:
            self._options["keywords"] = list(keywords)
        if language is not None:
            self._options["language"] = language

    @property
    def model(self) -> str:
        """Return ``auto``: the router decides for each request."""
        return "auto"

    @property
    def provider(self) -> str:
        """Return Speko's name."""
        return "Speko"

    async def _recognize_impl(
        self,
        buffer: AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        """Return the transcript of a recording; its text is empty where nothing was understood."""
        endpoint = self._endpoint
        options = {**self._options, "language": language} if is_given(language) else self._options
        headers = {"Content-Type": "audio/wav", "X-Speko-Intent": compact(endpoint.intent)}
        if endpoint.constraints is not None:
            headers["X-Speko-Constraints"] = compact(endpoint.constraints)
        if options:
            headers["X-Speko-Stt-Options"] = compact(options)
        done: dict[str, Any] | None = None
        async with endpoint.post(
            _PATH, conn_options, content=wav_of(buffer, _RATE), headers=headers
        ) as response:
            request_id = response.headers.get("x-request-id", "")
            # To the end of the body: a connection with a rest in it cannot be used again.
            async for name, data in events(response):
                if name == "done":
                    done = data
        if done is None:
            raise missing_done()
        text, confidence = done.get("text"), done.get("confidence")
        if not isinstance(text, str):
            raise failed("Speko sent a transcript without a text", FailureKind.MALFORMED)
        sure = isinstance(confidence, int | float) and not isinstance(confidence, bool)
        return stt.SpeechEvent(
            type=stt.SpeechEventType.FINAL_TRANSCRIPT,
            request_id=request_id,
            alternatives=[
                stt.SpeechData(
                    language=LanguageCode(str(endpoint.intent["language"])),
                    text=text.strip(),
                    confidence=float(confidence) if sure else 1.0,  # type: ignore[arg-type]
                )
            ],
        )

    async def aclose(self) -> None:
        """Close the HTTP client."""
        await self._endpoint.client.aclose()
