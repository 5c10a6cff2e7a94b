"""The command line as a user meets it: a process, its output and its exit code."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.store.runs.run import list_runs, open_run

ROOT = Path(__file__).parents[2]

TINY = """
name = "tiny"
warmups = 1
seed = 3
[[dataset]]
path = "starter"
ids = ["slt-clock", "slt-stop", "slt-yes"]
[[candidate]]
name = "exact"
stt = { provider = "openadapter", profile = "exact" }
llm = { provider = "openadapter", profile = "exact" }
tts = { provider = "openadapter", profile = "exact" }
"""


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without any provider's keys."""
    kept = {k: v for k, v in os.environ.items() if not k.endswith(("_API_KEY", "_API_SECRET"))}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def turnbench(
    *arguments: str, cwd: Path, check: bool = False, **more: str
) -> "subprocess.CompletedProcess[str]":
    """Run the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *arguments],
        capture_output=True,
        text=True,
        check=check,
        cwd=cwd,
        env=environment(**more),
        timeout=110,
        stdin=subprocess.DEVNULL,
    )


def start(*arguments: str, cwd: Path) -> "subprocess.Popen[str]":
    """Start the command line."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
    )


def wait_for_trials(folder: Path, count: int) -> Path:
    """Wait until the one run in a folder has stored so many trials; return its path."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for path in list_runs(folder):
            if len(open_run(path).trials()) >= count:
                return path
        time.sleep(0.05)
    pytest.fail(f"{folder}: no {count} trials within a minute")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Write a suite of four short trials; return its folder."""
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    return tmp_path


def test_no_verb(tmp_path: Path) -> None:
    """Without a verb the help is shown, and that is misuse."""
    done = turnbench(cwd=tmp_path)
    assert done.returncode == 2
    assert "turnbench run quick" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run"], "run: name a suite"),
        (["run", "quik"], "did you mean 'quick'"),
        (["run", "quick", "--candidate", "kimmi"], "did you mean 'kimi'"),
        (["run", "quick", "--agent", "nomodule_x:make"], "there is no module 'nomodule_x'"),
        (["run", "quick", "--agent", "nocolon"], "module:function"),
        (["run", "quick", "--driver", "stage", "--agent", "json:loads"], "session"),
        (["run", "--resume", "nothing"], "no run's folder"),
        (["run", "quick", "--resume", "nothing"], "leave SUITE out"),
        (["run", "--resume", "nothing", "--seed", "1"], "leave --seed out"),
        (["report", "latest"], "there is no run yet"),
        (["report", "."], "no run's folder"),
        (["show", "x", "t00000"], "no run's folder"),
        (["datasets", "check", "startr"], "startr"),
        (["datasets", "import", "nowhere"], "nowhere"),
        (["providers", "opnai"], "did you mean 'openai'"),
        (["gateway", "--profiles", "none.toml"], "none.toml"),
        (["gateway", "--port", "70000"], "0…65535"),
    ],
)
def test_misuse(tmp_path: Path, arguments: list[str], told: str) -> None:
    """Misuse is one line that says the mend, and exit code 2; never a traceback."""
    done = turnbench(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("turnbench: ")
    assert told in lines[0]
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_all_mistakes_of_a_suite(tiny: Path) -> None:
    """All mistakes of a suite are told together, each with the file."""
    text = TINY.replace("warmups", "warmup").replace('"exact"', '"exakt"')
    (tiny / "tiny.toml").write_text(text, encoding="utf-8")
    done = turnbench("run", "tiny.toml", cwd=tiny)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("turnbench: tiny.toml: ") for line in lines)


def test_bad_recordings(tiny: Path) -> None:
    """What is wrong with the recordings is told before anything starts."""
    text = TINY.replace('"slt-clock"', '"slt-clok"')
    (tiny / "tiny.toml").write_text(text, encoding="utf-8")
    done = turnbench("run", "tiny.toml", cwd=tiny)
    assert (done.returncode, list_runs(tiny / "reports")) == (2, ())
    assert "no utterance 'slt-clok'; did you mean 'slt-clock'?" in done.stderr


def test_dry_run(tiny: Path) -> None:
    """A dry run counts and asks nothing."""
    done = turnbench("run", "tiny.toml", "--dry-run", "--json", cwd=tiny, check=True)
    found = json.loads(done.stdout)
    assert (found["trials"], found["measured"], found["utterances"]) == (4, 3, 3)
    assert found["missing"] == []
    assert 15 < found["seconds"] < 60
    assert not (tiny / "reports").exists()
    text = turnbench("run", "tiny.toml", "--dry-run", cwd=tiny, check=True).stdout
    assert "4 trials (3 measured)" in text
    assert "EMULATED" in text


def test_missing_keys(tiny: Path) -> None:
    """A live run without keys names each variable and what it is for, before anything starts."""
    done = turnbench("run", "tiny.toml", "--via", "live", cwd=tiny)
    assert done.returncode == 2
    assert [line.split(":")[1].strip() for line in done.stderr.splitlines()] == [
        "PARAKEET_API_KEY",
        "OPENADAPTER_API_KEY",
    ]
    assert not (tiny / "reports").exists()


def test_dotenv(tiny: Path) -> None:
    """A `.env` beside the suite is honoured, never over the environment, and never shown."""
    (tiny / ".env").write_text("PARAKEET_API_KEY=from-the-file-1\n", encoding="utf-8")
    arguments = ("run", "tiny.toml", "--via", "live", "--dry-run")
    done = turnbench(*arguments, cwd=tiny, OPENADAPTER_API_KEY="from-the-shell-2")
    assert done.returncode == 0
    assert "missing" not in done.stdout
    done = turnbench(*arguments, cwd=tiny)
    assert "missing: OPENADAPTER_API_KEY" in done.stdout
    listed = turnbench("providers", "openadapter", cwd=tiny, check=True).stdout
    assert "from-the-file" not in done.stdout + listed
    assert "key of the Parakeet WebSocket (set, required)" in listed


def test_providers(tmp_path: Path) -> None:
    """Providers are listed for people and for programs, with what is missing and no value."""
    secret = "sk-do-not-show-me"
    done = turnbench("providers", "--json", cwd=tmp_path, check=True, OPENAI_API_KEY=secret)
    found = {each["name"]: each for each in json.loads(done.stdout)}
    assert found["openai"]["ready"] is True
    assert found["openadapter"]["missing"] == ["PARAKEET_API_KEY", "OPENADAPTER_API_KEY"]
    assert secret not in done.stdout + done.stderr


def test_datasets(tmp_path: Path) -> None:
    """Shipped datasets are listed and sound; recordings are imported and then sound too."""
    listed = json.loads(turnbench("datasets", "list", "--json", cwd=tmp_path, check=True).stdout)
    starter = next(each for each in listed if each["name"] == "starter")
    assert starter["synthetic"]
    assert turnbench("datasets", "check", "starter", cwd=tmp_path).returncode == 0
    calls = tmp_path / "calls"
    calls.mkdir()
    shutil.copy(Path(starter["path"]) / "slt-clock.flac", calls)
    (calls / "slt-clock.txt").write_text("What time is it?", encoding="utf-8")
    done = turnbench("datasets", "import", "calls", cwd=tmp_path)
    assert (done.returncode, "1 utterances" in done.stdout) == (0, True)
    assert turnbench("datasets", "check", "datasets/calls", cwd=tmp_path).returncode == 0
    (tmp_path / "datasets" / "calls" / "manifest.jsonl").write_text("{}\n", encoding="utf-8")
    done = turnbench("datasets", "check", "datasets/calls", "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert json.loads(done.stdout)[0]["sound"] is False


def test_init(tmp_path: Path) -> None:
    """`init` lays a legal suite and a workflow down, and overwrites nothing unasked."""
    (tmp_path / ".gitignore").write_text("*.log", encoding="utf-8")
    done = turnbench("init", "mine", cwd=tmp_path, check=True)
    suite = tmp_path / "mine" / "bench" / "agent.toml"
    assert f"turnbench run {suite.relative_to(tmp_path)}" in done.stdout
    dry = turnbench("run", "mine/bench/agent.toml", "--dry-run", cwd=tmp_path, check=True)
    assert dry.stdout.startswith("agent: ")
    suite.write_text("# my own\n", encoding="utf-8")
    again = turnbench("init", "mine", cwd=tmp_path)
    assert (again.returncode, suite.read_text(encoding="utf-8")) == (2, "# my own\n")
    turnbench("init", ".", cwd=tmp_path, check=True)
    assert (tmp_path / ".gitignore").read_text(encoding="utf-8") == "*.log\n/reports/\n.env\n"


def test_doctor(tmp_path: Path) -> None:
    """The doctor names a dead endpoint without its key and says so by its exit code."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        alive = turnbench(
            "doctor",
            "--no-measure",
            cwd=tmp_path,
            OPENAI_API_KEY="sk-do-not-show-me",
            OPENAI_BASE_URL=f"http://127.0.0.1:{port}/v1",
        )
    dead = turnbench(
        "doctor",
        "--no-measure",
        cwd=tmp_path,
        OPENAI_API_KEY="sk-do-not-show-me",
        OPENAI_BASE_URL=f"http://user:sk-do-not-show-me@127.0.0.1:{port}/v1",
    )
    assert alive.returncode == 0, alive.stdout
    assert f"http://127.0.0.1:{port} in " in alive.stdout
    assert dead.returncode == 2
    assert "cannot be reached" in dead.stdout
    assert "sk-do-not" not in alive.stdout + dead.stdout + dead.stderr


def test_gateway_alone(tmp_path: Path) -> None:
    """The gateway runs by itself until it is interrupted, and says where."""
    process = start("gateway", "--json", "--dataset", "starter", cwd=tmp_path)
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(process.stdout.readline())
    with socket.create_connection(("127.0.0.1", found["port"]), timeout=5):
        pass
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    process.communicate()
    with pytest.raises(ProcessLookupError):
        os.kill(found["pid"], 0)


def test_a_reader_that_leaves(tmp_path: Path) -> None:
    """Output into a pipe that nobody reads on is no error."""
    command = f"{sys.executable} -m harness.cli gateway --list | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.realtime
@pytest.mark.timeout(180)
def test_run(tiny: Path) -> None:
    """A run measures every trial, prints a table, and writes a report and all that it rests on."""
    done = turnbench("run", "tiny.toml", "--json", cwd=tiny)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["end"], found["planned"], found["remaining"]) == ("finished", 4, 0)
    assert found["emulated"] is True
    run = open_run(tiny / found["run"])
    assert {trial.key.order for trial in run.trials()} == set(range(4))
    assert run.truth_path.stat().st_size > 0
    assert run.status()["state"] == "finished"
    (first,) = run.environment()
    assert first["packages"]["livekit-agents"].startswith("1.8.")
    assert first["endpoints"]["exact"]["llm"]["provider"]
    assert len(list((run.path / "audio").glob("*.flac"))) >= 4
    page = (tiny / found["report"]).read_text(encoding="utf-8")
    assert "EMULATED" in page
    shown = turnbench("show", "latest", "t00001", cwd=tiny, check=True).stdout
    assert "response" in shown
    assert "EMULATED" in shown
    listed = turnbench("show", "latest", cwd=tiny, check=True).stdout
    assert "Stop the music." in listed
    for chosen in ("markdown", "csv", "json"):
        text = turnbench("report", "latest", "--format", chosen, cwd=tiny, check=True).stdout
        assert "exact" in text
    again = turnbench("run", "--resume", "latest", "--json", cwd=tiny)
    assert again.returncode == 0
    assert "every trial has been performed" in again.stderr


@pytest.mark.slow
@pytest.mark.realtime
@pytest.mark.timeout(180)
def test_kill_and_resume(tiny: Path) -> None:
    """A killed run loses no finished trial, leaves no gateway behind, and is gone on with."""
    process = start("run", "tiny.toml", "--out", "out", cwd=tiny)
    path = wait_for_trials(tiny / "out", 2)
    process.kill()
    process.communicate()
    before = open_run(path).trials()
    done = turnbench("run", "--resume", str(path), "--json", "--no-rerun", cwd=tiny)
    assert done.returncode == 0, done.stderr
    run = open_run(path)
    assert run.trials()[: len(before)] == before
    assert run.missing() == ()
    assert [each["first_trial"] for each in run.environment()] == [0, len(before)]
    # New connections were warmed up before they were measured.
    assert run.trials()[len(before)].key.warmup
    assert json.loads(done.stdout)["end"] == "finished"


@pytest.mark.slow
@pytest.mark.realtime
@pytest.mark.timing
@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt(tiny: Path, number: signal.Signals) -> None:
    """Ctrl-C ends a run within a second, keeps what is done, and says how to go on."""
    process = start("run", "tiny.toml", "--out", "out", cwd=tiny)
    path = wait_for_trials(tiny / "out", 1)
    begun = time.monotonic()
    process.send_signal(number)
    code = process.wait(20)
    took = time.monotonic() - begun
    _, told = process.communicate()
    assert code == 130
    assert f"turnbench run --resume {path.relative_to(tiny)}" in told.splitlines()[-1]
    assert "Traceback" not in told
    assert took < 1
    run = open_run(path)
    assert run.status()["state"] == "interrupted"
    assert len(run.trials()) >= 1


@pytest.mark.slow
@pytest.mark.realtime
@pytest.mark.timeout(180)
def test_two_runs_at_once(tiny: Path) -> None:
    """Two runs at once write two folders; a run that is written cannot be resumed beside it."""
    processes = [
        start("run", "tiny.toml", "--json", "--no-report", "--no-rerun", cwd=tiny) for _ in range(2)
    ]
    path = wait_for_trials(tiny / "reports", 1)
    refused = turnbench("run", "--resume", str(path), cwd=tiny)
    assert refused.returncode == 2
    assert "another process is writing this run" in refused.stderr
    found = []
    for process in processes:
        output, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
        found.append(json.loads(output)["run"])
    assert len(set(found)) == 2
    for each in found:
        assert {trial.key.order for trial in open_run(tiny / each).trials()} == set(range(4))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_same_failure(tiny: Path) -> None:
    """A candidate that only fails ends early, says why, and the exit code tells."""
    text = TINY.replace('llm = { provider = "openadapter", profile = "exact" }', BROKEN)
    (tiny / "tiny.toml").write_text(f"{text}\n[limits]\nsame_failures = 2\n", encoding="utf-8")
    done = turnbench("run", "tiny.toml", "--clock", "virtual", cwd=tiny)
    (path,) = list_runs(tiny / "reports")
    run = open_run(path)
    assert done.returncode == 1, done.stderr
    assert "candidate 'exact' ended early: 2 trials in a row failed alike: llm" in done.stderr
    assert len(run.trials()) == 2
    assert "exact" in run.status()["ended"]


BROKEN = 'llm = { provider = "openadapter", profile = "fault-llm-server-error" }'


def test_a_providers_page(tmp_path: Path) -> None:
    """The list says what each can do and reads; a provider's page has its models and options."""
    listed = turnbench("providers", cwd=tmp_path, check=True, OPENADAPTER_TTS_VOICE="nova").stdout
    assert "OPENADAPTER_TTS_VOICE  voice of the tts (nova)" in listed
    assert listed.count("stt  ") == listed.count("tts  ") == 5
    page = turnbench("providers", "livekit", cwd=tmp_path, check=True).stdout
    assert "zai/glm-5.1" in page
    assert "deepgram/flux-general …: detect_language, eager_eot_threshold" in page
    assert all(len(line) <= 100 or " " not in line.strip() for line in page.splitlines())
