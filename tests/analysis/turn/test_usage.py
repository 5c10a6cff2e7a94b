"""What requests used, in whichever spelling the provider tells it, and what that costs."""

import pytest

from harness.analysis.turn.usage import audio_seconds_of, tokens_of
from harness.domain.request import Cause, Request
from harness.domain.timeline import Stage


def asked(**facts: object) -> Request:
    """Return an LLM request of which these facts were told."""
    spelt = {name.replace("__", "."): value for name, value in facts.items()}
    return Request(id="llm0", stage=Stage.LLM, cause=Cause.TURN, facts=spelt)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"usage__prompt_tokens": 40, "usage__completion_tokens": 7}, (40, 7, None)),
        (
            {
                "usage__prompt_tokens": 40,
                "usage__completion_tokens": 7,
                "usage__prompt_tokens_details__cached_tokens": 32,
            },
            (40, 7, 32),
        ),
        (
            {
                "usage__input_tokens": 9,
                "usage__output_tokens": 4,
                "usage__input_tokens_details__cached_tokens": 0,
            },
            (9, 4, 0),
        ),
        (
            {
                "usage__prompt_tokens": 40,
                "usage__completion_tokens": 7,
                "usage__prompt_cache_hit_tokens": 16,
            },
            (40, 7, 16),
        ),
        (
            {
                "usage__input_tokens": 9,
                "usage__output_tokens": 4,
                "usage__cache_read_input_tokens": 500,
                "usage__cache_creation_input_tokens": 20,
            },
            (529, 4, 500),
        ),
        ({"usage": {"promptTokens": 5, "completionTokens": 6}}, (5, 6, None)),
    ],
)
def test_tokens_in_any_spelling(
    facts: dict[str, object], expected: tuple[int, int, int | None]
) -> None:
    """Sent, received and cached tokens are found in each spelling; what is not told is None."""
    found = tokens_of(asked(**facts))
    assert found is not None
    assert (found.sent, found.received, found.cached) == expected


def test_no_usage_is_not_zero() -> None:
    """A request without usage has no tokens, rather than none."""
    assert tokens_of(asked(status=200)) is None
    assert audio_seconds_of(asked(audio_seconds=True)) is None
    assert audio_seconds_of(asked(audio_seconds=1.5)) == 1.5
