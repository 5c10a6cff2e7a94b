"""What an agent remembers from one trial to the next."""

import pytest

from harness.domain.candidate import Candidate
from harness.domain.suite import DatasetChoice, SessionOptions, Suite, Timeouts
from harness.domain.timeline import Stage
from harness.errors import ConfigurationError
from tests.pipeline.playing import Played, candidate, play, playable

HANG_UP = Timeouts(hang_up_s=0.1)


def _prompt_tokens(trial: Played) -> int:
    asked = next(each for each in trial.turns[0].requests if each.stage is Stage.LLM)
    tokens = asked.facts["usage.prompt_tokens"]
    assert isinstance(tokens, int)
    return tokens


@pytest.mark.realtime
@pytest.mark.parametrize("context", ["fresh", "growing"])
async def test_the_context_grows_only_where_asked(address: tuple[str, str], context: str) -> None:
    """A fresh context sends the same prompt each time, a growing one what was said before too."""
    found = await play(
        *address,
        candidate(),
        [playable("kal16-timer")] * 3,
        session=SessionOptions(context=context),
        timeouts=HANG_UP,
    )
    sizes = [_prompt_tokens(each) for each in found]
    if context == "fresh":
        assert len(set(sizes)) == 1
    else:
        assert sizes[0] < sizes[1] < sizes[2]


def test_a_growing_context_has_one_trial_at_a_time() -> None:
    """Two trials at once cannot both go on from the one before."""
    with pytest.raises(ConfigurationError, match="concurrency = 1"):
        Suite(
            name="s",
            datasets=(DatasetChoice(path="starter"),),
            candidates=(Candidate(name="a", agent="m:f"),),
            session=SessionOptions(context="growing"),
            concurrency=2,
        )
