"""Baseten: deployments of whisper, qwen3-asr, orpheus and qwen3-tts, and its model APIs.

Everything runs through livekit's own plugin. What it lacks for a measurement is mended here, in the
open: its whisper stream never says that speech has ended, so a turn that the STT is to commit would
never be (``end_of_speech = false`` leaves it so); and its connections, which carry the key, do not
check certificates.
"""

from harness.pipeline.providers.baseten.listening import make_stt
from harness.pipeline.providers.baseten.models import make_llm
from harness.pipeline.providers.baseten.speaking import make_tts

__all__ = ["make_llm", "make_stt", "make_tts"]
