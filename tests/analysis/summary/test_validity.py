"""Disturbed trials are found, re-runs take their place, cautions say what must be known."""

from dataclasses import replace

import pytest

from harness.analysis.summary.caution import Caution, RunFacts
from harness.analysis.summary.drift import _rank_z
from harness.analysis.summary.summary import summarise
from harness.analysis.summary.validity import cautions, disturbance, select
from harness.domain.boot import Boot
from harness.domain.request import Cause
from harness.domain.timeline import Mark, Stage
from harness.domain.trial import Trial, Turn
from tests.synthetic import (
    MS,
    Script,
    make_failed,
    make_health,
    make_run,
    make_suite,
    make_trial,
    make_turn,
    make_utterance,
    make_utterances,
)

UTTERANCES = {each.id: each for each in make_utterances(30)}


def codes(found: tuple[Caution, ...]) -> list[str]:
    """Return the cautions' codes."""
    return [each.code for each in found]


def stalled(from_end_ms: float, length_ms: float, script: Script | None = None) -> Trial:
    """Return a trial with a stall, so many milliseconds after the end of speech."""
    start = make_turn(script).marks[Mark.SPEECH_END] + round(from_end_ms * MS)
    stall = (start, start + round(length_ms * MS))
    return make_trial(script, health=make_health(stalls=(stall,)))


class TestDisturbance:
    """A stall over 10 ms on the critical path, or a frame over 20 ms late."""

    @pytest.mark.parametrize(
        ("from_end_ms", "length_ms", "disturbed"),
        [
            (100, 11, True),
            (100, 10, False),
            (-300, 50, False),
            (-11, 11, False),
            (-11, 11.5, True),
            (717, 20, True),
            (718, 500, False),
            (-2_000, 5_000, True),
        ],
    )
    def test_stall(self, from_end_ms: float, length_ms: float, disturbed: bool) -> None:
        """Only a stall over 10 ms that overlaps the critical path disturbs."""
        assert (disturbance(stalled(from_end_ms, length_ms)) is not None) is disturbed

    def test_preemptive_path_begins_earlier(self) -> None:
        """With a request before the end of speech, a stall before it disturbs."""
        plan = Script(preemptive=100 * MS)
        assert disturbance(stalled(-60, 20, plan)) is not None
        assert disturbance(stalled(-300, 20, plan)) is None

    def test_late_frames(self) -> None:
        """One late frame disturbs, and the text says both causes."""
        found = disturbance(make_trial(health=make_health(late_frames=1)))
        assert found is not None
        assert found.text == "1 audio frame was over 20 ms late"
        both = replace(stalled(100, 30))
        assert both.health is not None
        both = replace(both, health=replace(both.health, late_frames=3))
        found = disturbance(both)
        assert found is not None
        assert found.stalled_ns == 30 * MS
        assert found.text == (
            "the machine stalled for up to 30 ms; 3 audio frames were over 20 ms late"
        )

    def test_virtual_clock(self) -> None:
        """On a virtual clock nothing disturbs, and late frames are the agent's own blocking."""
        held_up = replace(
            make_health(late_frames=3, lateness_p99_ns=150 * MS, lateness_max_ns=150 * MS),
            virtual=True,
        )
        trials = [
            replace(each, health=held_up) for each in make_run(("a",)) if isinstance(each, Trial)
        ]
        assert disturbance(trials[0]) is None
        found = {each.code: each for each in cautions(trials, UTTERANCES)}
        assert "disturbed" not in found
        assert "held up by the agent's own code" in found["lateness"].text
        assert found["lateness"].advice.startswith("give what blocks to a thread")

    def test_quiet_and_unwatched(self) -> None:
        """A quiet trial, one without a record and a failed one are not disturbed."""
        assert disturbance(make_trial()) is None
        assert disturbance(replace(make_trial(), health=None)) is None
        stall = make_health(stalls=((0, 10**18),), late_frames=9)
        assert disturbance(replace(make_failed(), health=stall)) is None

    def test_stage_driver(self) -> None:
        """Where nothing is played, the requests' own spans count."""
        llm = make_turn().request("llm")
        assert llm is not None
        turn = Turn(index=0, utterance="u1", requests=(replace(llm, cause=Cause.FIXED),))
        asked = llm.marks[Mark.LLM_REQUEST]
        trial = replace(make_trial(driver="stage"), turns=(turn,))
        inside = make_health(stalls=((asked + MS, asked + 30 * MS),))
        outside = make_health(stalls=((asked - 40 * MS, asked - MS),))
        assert disturbance(replace(trial, health=inside)) is not None
        assert disturbance(replace(trial, health=outside)) is None


class TestSelect:
    """Warm-ups are left out, a re-run takes its predecessor's place, exclusions are counted."""

    def test_rerun(self) -> None:
        """The first undisturbed attempt stands in the main summary; all are kept."""
        bad = make_health(late_frames=2)
        first = make_trial(order=1, health=bad)
        second = make_trial(order=1, attempt=1)
        warmup = make_trial(order=0, warmup=True)
        chosen = select([warmup, second, first])
        assert chosen.main == (second,)
        assert chosen.undisturbed == (second,)
        assert chosen.everything == (second, first)
        assert (chosen.reruns, chosen.excluded) == (1, 0)

    def test_disturbed_to_the_end(self) -> None:
        """Where every attempt was disturbed the last one stands, counted as excluded."""
        bad = make_health(late_frames=2)
        attempts = [make_trial(order=1, attempt=number, health=bad) for number in range(3)]
        chosen = select(attempts)
        assert chosen.main == (attempts[2],)
        assert chosen.undisturbed == ()
        assert (chosen.reruns, chosen.excluded) == (2, 1)

    def test_boots_to_the_end(self) -> None:
        """What met a boot in each attempt is in no figure and counted; else the warm one stands."""
        boot = Boot(stage=Stage.STT, provider="baseten", took_ns=9_000_000_000, cold=True)
        booted = [replace(make_trial(order=1, attempt=each), boots=(boot,)) for each in range(3)]
        failed = make_failed(order=2)
        failed = replace(failed, key=replace(failed.key, repeat=1), boots=(boot,))
        late = make_trial(order=3, repeat=2, health=make_health(late_frames=2))
        again = replace(make_trial(order=3, repeat=2, attempt=1), boots=(boot,))
        chosen = select([*booted, failed, late, again])
        assert chosen.main == (late,)
        assert chosen.undisturbed == ()
        assert (chosen.reruns, chosen.excluded, chosen.booted) == (3, 1, 2)

    def test_failures_stay(self) -> None:
        """A failed re-run counts as the failure it is."""
        failed = make_failed(order=1)
        failed = replace(failed, key=replace(failed.key, attempt=1))
        chosen = select([make_trial(order=1, health=make_health(late_frames=1)), failed])
        assert chosen.main == (failed,)
        assert chosen.undisturbed == (failed,)


class TestCautions:
    """Each caution comes when its cause is there and not otherwise."""

    def test_clean_run(self) -> None:
        """A large quiet run of one candidate has none."""
        trials = make_run(["a"], utterances=24, repeats=3)
        assert cautions(trials, UTTERANCES, RunFacts(git_dirty=False)) == ()

    def test_too_few(self) -> None:
        """71 trials cannot carry a p95."""
        few = cautions(make_run(["a"], utterances=24, repeats=2), UTTERANCES)
        assert codes(few) == ["too_few"]
        assert "48" in few[0].text
        assert "72" in few[0].text

    def test_failures(self) -> None:
        """Failures are counted per candidate."""
        found = cautions(make_run(utterances=24, failed={"b": 5}), UTTERANCES)
        assert [(each.code, each.candidate) for each in found] == [("failures", "b")]
        assert "5 of 72" in found[0].text

    def test_disturbed(self) -> None:
        """A high share of disturbed attempts is said."""
        trials = [
            make_trial(
                utterance=f"u{number % 24 + 1}",
                repeat=number // 24,
                order=number,
                health=make_health(late_frames=int(number % 3 == 0)),
            )
            for number in range(72)
        ]
        found = cautions(trials, UTTERANCES)
        assert codes(found) == ["disturbed"]
        assert "24 of 72" in found[0].text

    def test_boots(self) -> None:
        """What met a boot is named, also where that left nothing to summarise."""
        boot = Boot(stage=Stage.STT, provider="baseten", took_ns=9_000_000_000, cold=True)
        trials = [replace(each, boots=(boot,)) for each in make_run(["a"], utterances=2, repeats=1)]
        (found,) = cautions(trials, UTTERANCES, RunFacts(git_dirty=False))
        assert found.code == "boots"
        assert "2 attempts found a deployment scaled to zero" in found.text
        assert "2 planned trials met nothing else" in found.text
        assert summarise(trials, UTTERANCES, make_suite("a")).candidates["a"].booted == 2

    def test_lateness_and_unwatched(self) -> None:
        """Late frames and trials without a record are said."""
        late = make_health(lateness_p99_ns=9 * MS)
        trials = [
            make_trial(utterance=f"u{n % 24 + 1}", repeat=n // 24, order=n, health=late)
            for n in range(72)
        ]
        assert codes(cautions(trials, UTTERANCES)) == ["lateness"]
        blind = [replace(each, health=None) for each in trials]
        assert codes(cautions(blind, UTTERANCES)) == ["unwatched"]

    def test_environment(self) -> None:
        """What the environment says is said, with advice, the gravest first."""
        facts = RunFacts(
            emulated={"a": frozenset({Stage.LLM}), "b": frozenset()},
            git_dirty=True,
            other_machine="8 cores instead of 2",
            synthetic=True,
            ended_early={"b": "401 four times in a row"},
        )
        found = cautions(make_run(["a"], utterances=24), UTTERANCES, facts)
        assert codes(found) == [
            "ended_early",
            "emulated",
            "other_machine",
            "git_dirty",
            "synthetic",
        ]
        assert all(each.advice for each in found)
        assert "EMULATED: a ran" in found[1].text

    def test_different_ways_with_caches(self) -> None:
        """Candidates that meet prompt caches differently are named, those alike are not."""
        trials = make_run(["a", "b"], utterances=24)
        mixed = RunFacts(caches={"a": "as-is", "b": "bust", "elsewhere": "as-is"})
        (caution,) = [each for each in cautions(trials, UTTERANCES, mixed) if each.code == "caches"]
        assert "a as-is, b bust" in caution.text
        alike = RunFacts(caches={"a": "bust", "b": "bust", "elsewhere": "as-is"})
        assert "caches" not in codes(cautions(trials, UTTERANCES, alike))

    def test_estimated_bounds(self) -> None:
        """Estimated ends of speech are counted with their tolerance."""
        guessed = {
            key: replace(each, timing="estimated", tolerance_ms=40.0)
            for key, each in UTTERANCES.items()
        }
        found = cautions(make_run(["a"], utterances=24), guessed)
        assert codes(found) == ["estimated_bounds"]
        assert "24 of 24" in found[0].text
        assert "40 ms" in found[0].text

    def test_wer(self) -> None:
        """An STT that mishears is said; a turn without a transcript counts as all wrong."""
        trials = list(make_run(["a"], utterances=24))
        wrong = [
            replace(each, turns=tuple(replace(turn, transcripts=()) for turn in each.turns))
            if isinstance(each, Trial) and number % 3 == 0
            else each
            for number, each in enumerate(trials)
        ]
        found = cautions(wrong, UTTERANCES)
        assert codes(found) == ["wer"]
        assert cautions(wrong, UTTERANCES, RunFacts(wer_limit=0.9)) == ()

    def test_finals_only_cold_and_retries(self) -> None:
        """Finals only, cold measured trials and retries are said."""
        plain = make_run(["a"], utterances=24, warmups=0, base=Script(first_transcript=None))
        assert codes(cautions(plain, UTTERANCES)) == ["finals_only"]
        trials = [
            replace(each, cold=True) if each.key.order < 2 else each
            for each in make_run(["a"], utterances=24, warmups=0)
            if isinstance(each, Trial)
        ]
        found = cautions(trials, UTTERANCES)
        assert codes(found) == ["cold"]
        assert "2 measured" in found[0].text
        assert cautions(trials, UTTERANCES, RunFacts(warm=False)) == ()
        turn = trials[5].turns[0]
        requests = tuple(
            replace(each, cause=Cause.RETRY) if each.stage is Stage.LLM else each
            for each in turn.requests
        )
        trials[5] = replace(trials[5], turns=(replace(turn, requests=requests),), cold=False)
        assert "retries" in codes(cautions(trials, UTTERANCES))

    def test_drift(self) -> None:
        """A run that grew slower half-way is said; a stable one is not."""
        trials = [
            make_trial(
                Script(llm=(300 + number % 7 * 10 + (150 if number > 40 else 0)) * MS),
                utterance=f"u{number % 24 + 1}",
                repeat=number // 24,
                order=number,
                start_ns=10**10 + number * 6_000 * MS,
            )
            for number in range(96)
        ]
        found = cautions(trials, UTTERANCES)
        assert codes(found) == ["drift"]
        assert "slower" in found[0].text
        assert "Voice-to-voice" in found[0].text

    def test_drift_false_alarms(self) -> None:
        """Unchanged runs are called drifting in fewer than 1 of 100."""
        alarms = sum(
            "drift" in codes(cautions(make_run(["a"], utterances=10, seed=seed), UTTERANCES))
            for seed in range(100)
        )
        assert alarms <= 1

    def test_rank_statistic(self) -> None:
        """The statistic agrees with the table value of a worked example and with ties."""
        # Ranks 1..5 against 6..10: W = 15, mean 27.5, sd sqrt(25 * 11 / 12).
        assert _rank_z([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(
            (15 - 27.5) / (25 * 11 / 12) ** 0.5
        )
        assert _rank_z([1.0] * 10, [1.0] * 10) == 0.0

    def test_silence_utterance(self) -> None:
        """An utterance that expects nothing leaves the word error rate alone."""
        silence = replace(
            make_utterance(), text=None, expect="none", speech_start_s=None, speech_end_s=None
        )
        found = cautions([make_trial(order=n, repeat=n) for n in range(72)], {"u1": silence})
        assert found == ()


def test_evidence_that_could_not_be_read_is_a_caution() -> None:
    """A reply that was heard counts, and what is lacking of its evidence is said."""
    trial = make_trial()
    (turn,) = trial.turns
    first, *others = turn.requests
    unread = replace(first, facts={**first.facts, "unread": 2})
    heard = replace(trial, turns=(replace(turn, requests=(unread, *others)),))
    assert "unread" in codes(cautions([heard], UTTERANCES))
    assert "unread" not in codes(cautions([trial], UTTERANCES))
