"""What LiveKit Inference lets each vendor behind it be told, in ``extra``.

The names are those of livekit-agents 1.8's typed options. A vendor that is not listed takes what it
is given: whether it understands is between it and LiveKit.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["chat_options", "hearing_options", "speaking_options"]

_HEARING: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "assemblyai": frozenset(
            {
                "agent_context",
                "end_of_turn_confidence_threshold",
                "format_turns",
                "inactivity_timeout",
                "keyterms_prompt",
                "language_detection",
                "max_turn_silence",
                "min_end_of_turn_silence_when_confident",
                "mode",
                "previous_context_n_turns",
                "prompt",
                "speaker_labels",
                "voice_focus",
                "voice_focus_threshold",
            }
        ),
        "cartesia": frozenset(
            {
                "keyterm",
                "max_silence_duration_secs",
                "min_volume",
                "turn_eager_end_threshold",
                "turn_end_threshold",
                "turn_end_timeout_ms",
                "turn_start_threshold",
            }
        ),
        "deepgram": frozenset(
            {
                "callback",
                "callback_method",
                "channels",
                "detect_language",
                "diarize",
                "dictation",
                "endpointing",
                "extra",
                "filler_words",
                "interim_results",
                "keyterm",
                "keywords",
                "mip_opt_out",
                "no_delay",
                "numerals",
                "profanity_filter",
                "punctuate",
                "redact",
                "replace",
                "search",
                "smart_format",
                "tag",
                "utterance_end",
                "vad_events",
                "version",
            }
        ),
        "deepgram/flux": frozenset(
            {
                "detect_language",
                "eager_eot_threshold",
                "eot_threshold",
                "eot_timeout_ms",
                "keyterm",
                "language_hint",
                "mip_opt_out",
                "tag",
            }
        ),
        "google": frozenset(
            {
                "custom_vocabulary",
                "language_codes",
            }
        ),
        "inworld": frozenset(
            {
                "audio_encoding",
                "enable_voice_profile",
                "end_of_turn_confidence_threshold",
                "inactivity_timeout_seconds",
                "include_word_timestamps",
                "min_end_of_turn_silence_when_confident",
                "prompts",
                "vad_threshold",
                "voice_profile_top_n",
            }
        ),
        "openai": frozenset(
            {
                "delay",
                "keywords",
                "languages",
                "noise_reduction",
                "prompt",
            }
        ),
        "speechmatics": frozenset(
            {
                "additional_vocab",
                "audio_filtering_config",
                "diarization",
                "domain",
                "enable_entities",
                "enable_partials",
                "end_of_utterance_silence_trigger",
                "max_delay",
                "max_delay_mode",
                "max_speakers",
                "output_locale",
                "prefer_current_speaker",
                "punctuation_overrides",
                "speaker_sensitivity",
                "transcript_filtering_config",
            }
        ),
        "xai": frozenset(
            {
                "diarize",
                "endpointing",
                "format",
                "interim_results",
            }
        ),
    }
)
_SPEAKING: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "cartesia": frozenset(
            {
                "add_phoneme_timestamps",
                "add_timestamps",
                "duration",
                "emotion",
                "max_buffer_delay_ms",
                "speed",
                "use_normalized_timestamps",
                "volume",
            }
        ),
        "deepgram": frozenset(
            {
                "mip_opt_out",
            }
        ),
        "fishaudio": frozenset(
            {
                "chunk_length",
                "condition_on_previous_chunks",
                "early_stop_threshold",
                "latency",
                "max_new_tokens",
                "min_chunk_length",
                "normalize",
                "normalize_loudness",
                "speed",
                "temperature",
                "top_p",
                "volume",
            }
        ),
        "inworld": frozenset(
            {
                "apply_text_normalization",
                "delivery_mode",
                "speaking_rate",
                "temperature",
                "timestamp_type",
            }
        ),
        "rime": frozenset(
            {
                "inline_speed_alpha",
                "no_text_normalization",
                "pause_between_brackets",
                "phonemize_between_brackets",
                "speed_alpha",
            }
        ),
        "xai": frozenset(
            {
                "bit_rate",
                "optimize_streaming_latency",
                "speed",
            }
        ),
    }
)
_CHAT: Final = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "modalities",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "temperature",
        "tool_choice",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)


def hearing_options(model: str) -> frozenset[str] | None:
    """Return what a recogniser's ``extra`` may hold; None where the vendor is not known."""
    if model.startswith("deepgram/flux"):
        return _HEARING["deepgram/flux"]
    return _HEARING.get(model.partition("/")[0])


def speaking_options(model: str) -> frozenset[str] | None:
    """Return what a voice's ``extra`` may hold; None where the vendor is not known."""
    return _SPEAKING.get(model.partition("/")[0])


def chat_options(model: str) -> frozenset[str]:
    """Return what a chat model's ``extra`` may hold, which is the same for all."""
    del model
    return _CHAT
