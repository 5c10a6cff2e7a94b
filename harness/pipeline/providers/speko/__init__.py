"""Speko: its router of STT, LLM and TTS, as plugins for livekit."""

from harness.pipeline.providers.speko.clients import make_llm, make_stt, make_tts

__all__ = ["make_llm", "make_stt", "make_tts"]
