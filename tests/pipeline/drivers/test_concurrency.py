"""Twenty sessions at once in one process."""

import re

import pytest

from harness.domain.request import TranscriptKind
from harness.domain.suite import Timeouts
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Trial
from harness.store.datasets.manifest import read_dataset
from tests.pipeline.playing import DATASET, Played, candidate, play, playable, response_ns, total_ns

SESSIONS = 20
LATENESS_MS = 50.0

pytestmark = [pytest.mark.realtime, pytest.mark.timing, pytest.mark.slow, pytest.mark.timeout(150)]


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return re.findall(r"[a-z']+", text.lower())


def heard(trial: Played) -> list[str]:
    """Return the words of a trial's final transcripts."""
    finals = [each.text for each in trial.turns[0].transcripts if each.kind is TranscriptKind.FINAL]
    return words(" ".join(finals))


async def test_twenty_sessions_at_once(address: tuple[str, str]) -> None:
    """Every trial is accounted for, none holds another's words, and frames keep their schedule."""
    dataset = read_dataset(DATASET)
    spoken = [playable(each.id) for each in dataset.utterances[:SESSIONS]]
    assert len({each.utterance.text for each in spoken}) == SESSIONS
    found = await play(
        *address, candidate(), spoken, timeouts=Timeouts(hang_up_s=0.1), together=True
    )

    assert [each.key.utterance for each in found] == [each.utterance.id for each in spoken]
    failures = [getattr(each, "failure", None) for each in found]
    trials = [each for each in found if isinstance(each, Trial)]
    assert len(trials) == SESSIONS, failures
    requests: set[str] = set()
    for trial, utterance in zip(trials, spoken, strict=True):
        turn = trial.turns[0]
        assert heard(trial) == words(utterance.utterance.text or "")
        # The caller hangs up, which cancels what the LLM would have said further.
        chain = turn.chain()
        assert [each.stage for each in chain] == [Stage.TTS, Stage.LLM]
        said, asked = chain
        assert said.text
        assert "".join(said.text.split()) in "".join(asked.text.split())
        ids = {str(each.facts["truth_id"]) for each in chain}
        assert ids.isdisjoint(requests)
        requests |= ids
        assert turn.marks[Mark.SPEECH_END] < turn.marks[Mark.FIRST_AUDIBLE]
        assert trial.started_ns < turn.marks[Mark.SPEECH_START] < trial.ended_ns
        assert total_ns(trial) == response_ns(trial)

    health = [trial.health for trial in trials if trial.health is not None]
    assert len(health) == SESSIONS
    worst_ms = max(each.lateness_p99_ns for each in health) / 1e6
    print(f"p99 frame lateness, worst of {SESSIONS} sessions: {worst_ms:.1f} ms")  # noqa: T201  (-s)
    assert worst_ms < LATENESS_MS
