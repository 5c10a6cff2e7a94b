"""Run folders: a kill at any moment loses no finished trial, and two writers never meet."""

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from harness.domain.driver import ReplyAudio
from harness.domain.plan import make_plan
from harness.domain.trial import FailedTrial, Trial
from harness.errors import ConfigurationError
from harness.store.runs.encode import encode_trial
from harness.store.runs.plans import RunPlan, decode_plan, encode_plan
from harness.store.runs.replies import read_reply
from harness.store.runs.run import find_run, list_runs, open_run
from harness.store.runs.writer import create_run, resume_run
from tests.runner.scripted_performer import failed_of, playable, suite_of, trial_of


def plan_of(*ids: str, **changes: object) -> RunPlan:
    """Return the plan of two candidates over these utterances."""
    suite = suite_of("a", "b", warmups=0, **changes)
    return RunPlan(
        suite=suite,
        source="bench/scripted.toml",
        seed=5,
        keys=make_plan(suite, ids, 5),
        utterances=tuple(each.utterance for each in playable(*ids).values()),
        origin=dict.fromkeys(ids, 0),
        datasets=(),
    )


def test_round_trip(tmp_path: Path) -> None:
    """A run that is closed and opened again has the same plan and the same trials."""
    plan = plan_of("u", "v")
    with create_run(plan, reports=tmp_path) as writer:
        stored: list[Trial | FailedTrial] = [trial_of(plan.keys[0]), failed_of(plan.keys[1])]
        for trial in stored:
            writer.append(trial)
        assert writer.run.trials() == tuple(stored)
    run = open_run(writer.run.path)
    assert run.plan == plan
    assert run.trials() == tuple(stored)
    assert run.missing() == plan.keys[2:]
    assert run.plan.emulated


def test_names(tmp_path: Path) -> None:
    """A folder is named by time, suite and four digits, safely whatever the suite is called."""
    paths = []
    for _ in range(3):
        with create_run(plan_of("u", name="Ünsafe/../Name"), reports=tmp_path) as writer:
            paths.append(writer.run.path)
    assert len(set(paths)) == 3
    assert all(path.parent == tmp_path for path in paths)
    assert set(list_runs(tmp_path)) == set(paths)
    assert find_run("latest", reports=tmp_path) == list_runs(tmp_path)[-1]
    assert find_run(paths[0].name, reports=tmp_path) == paths[0]
    assert find_run(paths[0].name[-4:], reports=tmp_path) == paths[0]
    assert find_run(str(paths[0]), reports=tmp_path / "elsewhere") == paths[0]
    with pytest.raises(ConfigurationError, match="several runs fit"):
        find_run("2", reports=tmp_path)
    with pytest.raises(ConfigurationError, match="latest"):
        find_run("nothing", reports=tmp_path)


def test_audio_is_kept_exactly(tmp_path: Path) -> None:
    """A reply is stored sample for sample and named in its trial."""
    plan = plan_of("u")
    audio = ReplyAudio(pcm=bytes(range(256)) * 40, sample_rate=24_000)
    with create_run(plan, reports=tmp_path) as writer:
        writer.append(trial_of(plan.keys[0]), audio)
    (trial,) = open_run(writer.run.path).trials()
    reply = trial.turns[0].reply
    assert reply is not None
    assert reply.audio == "audio/t00000.flac"
    assert read_reply(writer.run.path, reply.audio) == audio


def test_audio_is_left_out_when_the_suite_says_so(tmp_path: Path) -> None:
    """`keep_audio = false` stores no audio."""
    plan = plan_of("u", keep_audio=False)
    with create_run(plan, reports=tmp_path) as writer:
        writer.append(trial_of(plan.keys[0]), ReplyAudio(pcm=bytes(200), sample_rate=24_000))
    assert not (writer.run.path / "audio").exists()
    assert open_run(writer.run.path).trials() == (trial_of(plan.keys[0]),)


def test_every_cut_of_the_last_line(tmp_path: Path) -> None:
    """Wherever a kill has torn the last line, all before it is read, and resuming cuts it off."""
    plan = plan_of("u", "v")
    with create_run(plan, reports=tmp_path) as writer:
        writer.append(trial_of(plan.keys[0]))
        whole = (writer.run.path / "trials.jsonl").read_bytes()
        writer.append(trial_of(plan.keys[1]))
    path = writer.run.path / "trials.jsonl"
    both = path.read_bytes()
    for cut in range(len(whole), len(both)):
        path.write_bytes(both[:cut])
        assert len(open_run(writer.run.path).trials()) == 1
    with resume_run(writer.run.path) as again:
        assert path.read_bytes() == whole
        again.append(trial_of(plan.keys[1]))
    assert path.read_bytes() == both


def test_a_torn_first_line(tmp_path: Path) -> None:
    """A file that holds nothing but a torn line is cut to nothing."""
    plan = plan_of("u")
    with create_run(plan, reports=tmp_path) as writer:
        pass
    path = writer.run.path / "trials.jsonl"
    path.write_bytes(b'{"v":1,' + b"x" * 200_000)
    with resume_run(writer.run.path) as again:
        assert path.read_bytes() == b""
        assert again.run.missing() == plan.keys


def test_a_damaged_line(tmp_path: Path) -> None:
    """A damaged line is left out and told of; going on performs its trial again."""
    plan = plan_of("u", "v")
    with create_run(plan, reports=tmp_path) as writer:
        writer.append(trial_of(plan.keys[0]))
        writer.append(trial_of(plan.keys[1]))
    path = writer.run.path / "trials.jsonl"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"Yes.", b"Yes!", 1))
    run = open_run(writer.run.path)
    assert [each.key for each in run.trials()] == [plan.keys[1]]
    (line,) = run.damage()
    assert line.startswith(f"{path}: line 1: damaged and left out")
    with resume_run(writer.run.path) as again:
        assert plan.keys[0] in again.run.missing()
        again.append(trial_of(plan.keys[0]))
    assert len(open_run(writer.run.path).trials()) == 2


def test_every_flip_of_a_byte_is_told(tmp_path: Path) -> None:
    """One bit changed anywhere in the trials changes no value silently: it is told."""
    plan = plan_of("u", "v")
    with create_run(plan, reports=tmp_path) as writer:
        for key in plan.keys[:2]:
            writer.append(trial_of(key))
    path = writer.run.path / "trials.jsonl"
    content, whole = path.read_bytes(), writer.run.trials()
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << (at % 8)
        path.write_bytes(flipped)
        run = open_run(writer.run.path)
        found = run.trials()
        assert all(each in whole for each in found)
        # The last line end is all that a kill may have torn off.
        assert found == whole or run.damage() or at == len(content) - 1


def test_trials_of_an_older_version(tmp_path: Path) -> None:
    """Lines without a checksum are read; after lines with one, such a line has lost it."""
    plan = plan_of("u", "v")
    with create_run(plan, reports=tmp_path) as writer:
        for key in plan.keys[:2]:
            writer.append(trial_of(key))
    path = writer.run.path / "trials.jsonl"
    first, second, _ = path.read_text(encoding="utf-8").split("\n")
    bare = [encode_trial(trial_of(key)) for key in plan.keys[:2]]
    path.write_text(f"{bare[0]}\n{second}\n", encoding="utf-8")
    assert len(open_run(writer.run.path).trials()) == 2
    path.write_text(f"{first}\n{bare[1]}\n", encoding="utf-8")
    run = open_run(writer.run.path)
    assert (len(run.trials()), len(run.damage())) == (1, 1)


@pytest.mark.parametrize("name", ["environment.json", "status.json"])
@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff", b'{"starts": 5, "crc":"00000000"}'])
def test_a_torn_derived_file_bars_nothing(tmp_path: Path, name: str, damage: bytes) -> None:
    """A torn status or environment is left out and told of; the trials are as they were."""
    plan = plan_of("u")
    with create_run(plan, reports=tmp_path) as writer:
        writer.add_environment({"machine": {"cpu": "x"}})
        writer.append(trial_of(plan.keys[0]))
    (writer.run.path / name).write_bytes(damage)
    run = open_run(writer.run.path)
    assert (run.environment() == ()) is (name == "environment.json")
    assert (run.status() == {}) is (name == "status.json")
    assert len(run.trials()) == 1
    assert name in run.damage()[0]


def test_a_damaged_plan(tmp_path: Path) -> None:
    """A plan in which one digit differs is refused by name: nothing could be trusted."""
    with create_run(plan_of("u"), reports=tmp_path) as writer:
        path = writer.run.path / "plan.json"
    path.write_text(path.read_text().replace('"seed": 5', '"seed": 6'), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"plan\.json: damaged"):
        open_run(writer.run.path)


def test_a_removed_folder(tmp_path: Path) -> None:
    """A folder that goes while it is written is told of at the next trial and not made again."""
    import shutil

    plan = plan_of("u")
    with create_run(plan, reports=tmp_path) as writer:
        writer.append(trial_of(plan.keys[0]))
        shutil.rmtree(writer.run.path)
        with pytest.raises(ConfigurationError, match="has been removed"):
            writer.append(trial_of(plan.keys[1]))
        with pytest.raises(ConfigurationError, match="has been removed"):
            writer.set_status("finished", done=2)
    assert not writer.run.path.exists()


def test_a_lone_surrogate(tmp_path: Path) -> None:
    """Half a surrogate pair in a provider's text is stored as valid UTF-8, and comes back."""
    plan = plan_of("u")
    trial = trial_of(plan.keys[0], text="half \ud83d of a face")
    with create_run(plan, reports=tmp_path) as writer:
        writer.append(trial)
    (writer.run.path / "trials.jsonl").read_text(encoding="utf-8")
    assert open_run(writer.run.path).trials() == (trial,)


def test_one_writer(tmp_path: Path) -> None:
    """A folder that is being written is refused to a second writer, and free afterwards."""
    with create_run(plan_of("u"), reports=tmp_path) as writer:
        with pytest.raises(ConfigurationError, match=f"another process.*pid {os.getpid()}"):
            resume_run(writer.run.path)
        assert open_run(writer.run.path).trials() == ()
    resume_run(writer.run.path).close()


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from harness.domain.driver import ReplyAudio
    from harness.store.runs.writer import create_run
    from tests.runner.scripted_performer import trial_of
    from tests.store.runs.test_run import plan_of

    plan = plan_of(*[f"u{n}" for n in range(200)])
    writer = create_run(plan, reports=Path(sys.argv[1]))
    print(writer.run.path, flush=True)
    for key in plan.keys:
        writer.append(trial_of(key), ReplyAudio(pcm=bytes(4800), sample_rate=24_000))
        print(key.order, flush=True)
"""


@pytest.mark.parametrize("after", [0, 1, 17])
def test_kill(tmp_path: Path, after: int) -> None:
    """Kill -9 loses no trial that was said to be stored, and lets the next writer in."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    path = Path(process.stdout.readline().strip())
    told = -1
    while told < after:
        told = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    told = max([told, *(int(line) for line in process.stdout if line.strip())])
    process.wait()
    process.stdout.close()
    with resume_run(path) as writer:
        orders = [trial.key.order for trial in writer.run.trials()]
        assert orders == list(range(len(orders)))
        assert len(orders) > told
        assert writer.run.missing() == writer.run.plan.keys[len(orders) :]
        assert writer.run.status()["state"] == "running"


FULL = """
    import resource, signal, sys
    from pathlib import Path
    from harness.domain.driver import ReplyAudio
    from harness.errors import ConfigurationError
    from harness.store.runs.writer import create_run
    from tests.runner.scripted_performer import trial_of
    from tests.store.runs.test_run import plan_of

    plan = plan_of(*[f"u{n}" for n in range(200)])
    writer = create_run(plan, reports=Path(sys.argv[1]))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    stored = 0
    try:
        for key in plan.keys:
            writer.append(trial_of(key), ReplyAudio(pcm=bytes(2), sample_rate=24_000))
            stored += 1
    except ConfigurationError as error:
        print(writer.run.path)
        print(stored)
        print(error)
"""


def test_full_disk(tmp_path: Path) -> None:
    """A full disk is one line with the mend; what was stored stays, and nothing is half a line."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    path, stored, *told = done.stdout.splitlines()
    assert len(told) == 1
    assert "free some space and go on with `turnbench run --resume" in told[0]
    run = open_run(path)
    assert len(run.trials()) == int(stored) > 5
    assert (run.path / "trials.jsonl").read_bytes().endswith(b"\n")
    with resume_run(path) as writer:
        writer.append(trial_of(writer.run.missing()[0]))
    assert len(run.trials()) == int(stored) + 1


def test_full_disk_for_audio_alone(tmp_path: Path) -> None:
    """Where only the audio does not fit, the trial is stored without it, and the error is told."""
    plan = plan_of("u")
    noise = ReplyAudio(pcm=os.urandom(200_000), sample_rate=24_000)
    with create_run(plan, reports=tmp_path) as writer:
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, old[1]))
        try:
            with pytest.raises(ConfigurationError, match="t00000"):
                writer.append(trial_of(plan.keys[0]), noise)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
            signal.signal(signal.SIGXFSZ, handler)
    assert open_run(writer.run.path).trials() == (trial_of(plan.keys[0]),)
    assert list((writer.run.path / "audio").iterdir()) == []


def test_secrets_do_not_reach_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that a provider echoes stands in no file, however JSON writes it."""
    secret = 'sk-"quoted"-0123456789'
    monkeypatch.setenv("OPENADAPTER_API_KEY", secret)
    monkeypatch.setenv("PARAKEET_API_KEY", "12345678")
    plan = plan_of("u")
    with create_run(plan, reports=tmp_path) as writer:
        trial = trial_of(plan.keys[0], at_ns=12345678_000000, text=f"Your key is {secret}.")
        writer.append(trial)
        writer.add_environment({"endpoints": {"a": {"said": f"no such key {secret}"}}})
    for path in writer.run.path.rglob("*"):
        if path.is_file():
            assert "0123456789" not in path.read_text(encoding="utf-8")
    (stored,) = open_run(writer.run.path).trials()
    assert stored.turns[0].requests[0].text == "Your key is [redacted]."
    assert stored.turns[0].requests[0].marks == trial.turns[0].requests[0].marks


def test_environment_of_each_start(tmp_path: Path) -> None:
    """Each start of a run adds its facts and keeps those before it."""
    with create_run(plan_of("u"), reports=tmp_path) as writer:
        writer.add_environment({"first_trial": 0})
    with resume_run(writer.run.path) as again:
        again.add_environment({"first_trial": 4})
        again.set_status("finished", done=2)
    run = open_run(writer.run.path)
    assert [each["first_trial"] for each in run.environment()] == [0, 4]
    assert run.status()["state"] == "finished"


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"v": 1, "suite": {}}', "\udcff"])
def test_no_plan(tmp_path: Path, content: str) -> None:
    """A folder without a readable plan is refused in a line that names the file."""
    (tmp_path / "plan.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigurationError, match=r"plan\.json"):
        open_run(tmp_path)


def test_a_newer_plan(tmp_path: Path) -> None:
    """A plan of a newer format asks for a newer turnbench."""
    document = json.loads(encode_plan(plan_of("u")))
    document["v"] = 99
    with pytest.raises(ConfigurationError, match="upgrade turnbench"):
        decode_plan(json.dumps(document), source=tmp_path)


def test_reports_cannot_be_made(tmp_path: Path) -> None:
    """A reports folder that cannot be made is told before anything runs."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigurationError, match="--out"):
        create_run(plan_of("u"), reports=tmp_path / "file" / "reports")
