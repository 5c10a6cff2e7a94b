"""What is known of the way to the STT, and of what the agent's filters hold back."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit import rtc

from harness.pipeline.transport.sending import samples_pushed_for
from harness.pipeline.transport.transforms import known_transforms, replay, unheld

MARKDOWN = ("filter_markdown", "filter_emoji")
PIECES = ("It", " is", " past", " ten", ".", " Shall", " I", " go", "?")


@pytest.mark.parametrize(("rate", "frame"), [(24_000, 160), (24_000, 320), (8_000, 320)])
def test_the_resampler_is_known_by_what_it_lets_out(rate: int, frame: int) -> None:
    """For each count that leaves livekit's resampler, the push that let it out is found."""
    resampler = rtc.AudioResampler(16_000, rate, quality=rtc.AudioResamplerQuality.HIGH)
    loud = rtc.AudioFrame(
        data=b"\x10\x20" * frame, sample_rate=16_000, num_channels=1, samples_per_channel=frame
    )
    out = list(
        accumulate(
            sum(each.samples_per_channel for each in resampler.push(loud)) for _ in range(60)
        )
    )
    for count in range(1, out[-1], 97):
        pushed = next(number for number, total in enumerate(out, 1) if total >= count)
        assert samples_pushed_for(count, rate=rate, frame=frame) == pushed * frame
    assert samples_pushed_for(rate // 50, rate=rate, frame=frame) > 16_000 // 50


def test_the_filters_tell_what_let_a_piece_go() -> None:
    """Each piece of the output names the piece of the input after which it came."""
    found = replay(PIECES, MARKDOWN)
    assert found is not None
    assert "".join(text for text, _ in found) == "".join(PIECES)
    shall = next(index for text, index in found if "Shall" in text)
    assert PIECES[shall] == " I"


def test_without_the_filters_a_text_goes_with_its_own_piece() -> None:
    """What follows the first sentence is there before the filter gives it away."""
    first = len("Itispastten.")
    assert unheld(PIECES, MARKDOWN, first) == PIECES.index(" Shall")
    assert unheld(PIECES, MARKDOWN, 1000) is None


@given(st.lists(st.text(alphabet="ab *_#-`[]().!? \n😀", max_size=6), max_size=12))
def test_any_reply_can_go_through_the_filters_again(pieces: list[str]) -> None:
    """Indices never run backwards, nor beyond the end, and nothing is out before it is free."""
    found = replay(pieces, MARKDOWN)
    assert found is not None
    indices = [index for _, index in found]
    assert indices == sorted(indices)
    assert all(0 <= index <= len(pieces) for index in indices)
    free = unheld(pieces, (), 0)
    if free is not None:
        assert pieces[free].strip()


def test_an_agent_s_own_filter_is_not_run_again() -> None:
    """Only livekit's filters are known to do nothing but wait for text."""
    assert known_transforms(MARKDOWN) == MARKDOWN
    assert known_transforms(None) == ()
    assert known_transforms(["filter_markdown", lambda text: text]) is None
    assert known_transforms(["another"]) is None
