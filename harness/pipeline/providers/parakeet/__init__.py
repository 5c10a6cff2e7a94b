"""Parakeet: the recogniser behind OpenAdapter's WebSocket and REST, as a plugin for livekit."""

from harness.pipeline.providers.parakeet.stt import ParakeetSTT

__all__ = ["ParakeetSTT"]
