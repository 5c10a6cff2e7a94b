"""One candidate's livekit clients: made, probed, described, closed."""

import logging
from collections.abc import Mapping
from typing import Any

from livekit.agents import APIConnectOptions, llm, stt, tts

from harness.domain.candidate import Candidate
from harness.domain.suite import Suite
from harness.domain.timeline import Stage
from harness.pipeline.drivers.closing import close_within
from harness.pipeline.place import Place
from harness.pipeline.probes.clients import probe_llm, probe_stt, probe_tts
from harness.pipeline.providers import make_client
from harness.pipeline.transport.caches import bust_cache

__all__ = ["Clients", "connect_options", "quiet_livekit"]


def quiet_livekit() -> None:
    """Keep livekit's log off the terminal and off the timed path; errors become failed trials."""
    for name in ("livekit", "livekit.agents", "livekit.plugins", "asyncio", "httpx2", "openai"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


class Clients:
    """One candidate's livekit clients, probed, shared by its trials while warm."""

    def __init__(self, candidate: Candidate, place: Place) -> None:
        self._candidate = candidate
        self._place = place
        self.stt: stt.STT[Any] | None = None
        self.llm: llm.LLM[Any] | None = None
        self.tts: tts.TTS[Any] | None = None
        self.used = False

    def open(self) -> None:
        """Build the clients that the candidate names."""
        candidate = self._candidate
        if candidate.stt is not None:
            self.stt = make_client(Stage.STT, self._place, candidate.stt)
            probe_stt(self.stt)
        if candidate.llm is not None:
            self.llm = make_client(Stage.LLM, self._place, candidate.llm)
            probe_llm(self.llm)
            if candidate.llm.cache == "bust":
                bust_cache(self.llm, run=self._place.run, candidate=candidate.name)
        if candidate.tts is not None:
            self.tts = make_client(Stage.TTS, self._place, candidate.tts)
            probe_tts(self.tts)
        self.used = False

    def describe(self) -> Mapping[str, Any]:
        """Return model and provider of each client, as livekit tells them."""
        return {
            name: {"provider": client.provider, "model": client.model}
            for name, client in (("stt", self.stt), ("llm", self.llm), ("tts", self.tts))
            if client is not None
        }

    async def aclose(self) -> None:
        """Close the clients; what fails in closing is of no consequence."""
        for client in (self.stt, self.llm, self.tts):
            if client is None:
                continue
            await close_within(client.aclose)
            inner = getattr(client, "_client", None)
            if inner is not None and hasattr(inner, "close"):
                await close_within(inner.close)
        self.stt = self.llm = self.tts = None


def connect_options(suite: Suite) -> APIConnectOptions:
    """Return livekit's retry and time-out options as the suite has them."""
    return APIConnectOptions(
        max_retry=suite.session.max_retries, timeout=suite.session.request_timeout_s
    )
