"""A virtual run is the same whoever plays it, and sees what changed and nothing else."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from tests.lanes.playing import ROOT, own, play, response_ns, rows

MS = 1_000_000
_EVERY_SYSTEM = (ROOT / "bench" / "systems.toml").read_text().partition("[[candidate]]")
SYSTEMS = "".join(_EVERY_SYSTEM[1:])
TWINS = """
[[candidate]]
name = "main"
stt = { provider = "openadapter", profile = "parakeet-tdt-0.6b-v3@together" }
llm = { provider = "openadapter", model = "Kimi-K2.5", profile = "kimi-k2.6@baseten" }
tts = { provider = "openadapter", voice = "alloy", profile = "kokoro-82m@polargrid" }
[[candidate]]
name = "change"
stt = { provider = "openadapter", profile = "parakeet-tdt-0.6b-v3@together" }
llm = { provider = "openadapter", model = "Kimi-K2.5", profile = "kimi-k2.6@baseten" }
tts = { provider = "openadapter", voice = "alloy", profile = "kokoro-82m@polargrid" }
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("driver", ["session", "stage"])
def test_every_system_gives_the_same_run_twice(tmp_path: Path, driver: str) -> None:
    """With another hash seed, with one lane or three: every value of virtual time is equal."""
    options = f'driver = "{driver}"'
    first = play(
        tmp_path, SYSTEMS, "--concurrency", "1", options=options, limit=1,
        environment={"PYTHONHASHSEED": "1"},
    )  # fmt: skip
    second = play(
        tmp_path, SYSTEMS, "--concurrency", "3", options=options, limit=1,
        environment={"PYTHONHASHSEED": "2"},
    )  # fmt: skip
    assert all(trial["kind"] == "trial" for trial in rows(first))
    assert rows(first) == rows(second)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_twins_differ_by_nothing(tmp_path: Path) -> None:
    """Two candidates with one profile answer each recording in the same nanosecond."""
    run = play(tmp_path, TWINS, limit=3, options="repeats = 2")
    pairs = defaultdict(set)
    for trial in rows(run):
        pairs[trial["key"]["utterance"], trial["key"]["repeat"]].add(response_ns(trial))
    assert [len(each) for each in pairs.values()] == [1] * 6
    assert len({min(each) for each in pairs.values()}) == 6


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_hook_costs_what_it_costs(tmp_path: Path) -> None:
    """Awaits, blocking calls, threads and requests of an agent show to the nanosecond."""
    names = ("plain", "waiting", "blocking", "in_a_thread", "asking", "burning")
    run = play(tmp_path, own(*names))
    took: dict[str, list[int]] = defaultdict(list)
    for trial in rows(run):
        assert trial["kind"] == "trial", trial
        took[trial["key"]["candidate"]].append(response_ns(trial))
    plain = sorted(took["plain"])

    def added(name: str) -> list[int]:
        return [after - before for before, after in zip(plain, sorted(took[name]), strict=True)]

    assert added("waiting") == [20 * MS] * 2
    assert added("blocking") == [150 * MS] * 2
    assert added("in_a_thread") == [70 * MS] * 2
    assert added("burning") == [0, 0]
    assert all(300 * MS < each < 3000 * MS for each in added("asking"))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_processor_time_shows_beside_the_clock(tmp_path: Path) -> None:
    """A burn of 300 ms in a hook is on the agent's account."""
    run = play(tmp_path, own("plain", "burning"), limit=3)
    spent: dict[str, list[int]] = defaultdict(list)
    for line in (run / "trials.jsonl").read_text().splitlines():
        trial = json.loads(line)
        spent[trial["key"]["candidate"]].append(trial["turns"][0]["agent_cpu"])
        assert trial["memory"] > 50_000_000
    # An agent that only answers takes some 50 ms, with the noise of the machine.
    assert min(spent["burning"]) - min(spent["plain"]) == pytest.approx(300 * MS, rel=0.1)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("clock", ["virtual", "real"])
def test_a_lane_that_dies_costs_its_trial(tmp_path: Path, clock: str) -> None:
    """The trial fails and says why; the lane is started anew and the run goes on."""
    died = {"DIED": str(tmp_path / "died")}
    options = ("--clock", clock, "--concurrency", "1", "--no-rerun")
    run = play(tmp_path, own("dying"), *options, environment=died)
    kinds = [trial["kind"] for trial in rows(run)]
    assert kinds == ["failed", "trial"]
    failure = rows(run)[0]["failure"]
    assert (failure["stage"], failure["kind"]) == ("harness", "internal")
    assert "process ended" in failure["message"]
