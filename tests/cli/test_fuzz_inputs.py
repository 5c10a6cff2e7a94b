"""However a user's file is damaged, what is told of it are lines with the file, and no defect.

``TURNBENCH_FUZZ_INPUTS`` sets how many damaged files of each kind there are.
"""

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.cli.shared.suite_options import find_suite
from harness.domain.typed import mistyped
from harness.errors import ConfigurationError
from harness.gateway.profiles.files import read_profiles
from harness.gateway.profiles.profiles import PROFILES
from harness.store.datasets.manifest import read_dataset
from harness.store.runs.baselines import read_baseline
from harness.store.runs.decode import WireError, decode_trial
from harness.store.runs.encode import encode_trial
from tests.cli.test_cli import ROOT
from tests.cli.test_decide import asked, stored
from tests.cli.toml_damage import damaged_toml
from tests.pipeline.damage import bent
from tests.pipeline.mutations import mutate
from tests.synthetic import make_run

ROUNDS = int(os.environ.get("TURNBENCH_FUZZ_INPUTS", "100"))
STARTER = ROOT / "datasets" / "starter"

pytestmark = pytest.mark.timeout(3600)

PROFILE_FILE = """
["my-llm"]
base = "exact"
["my-llm".llm]
first_text = { p50_ms = 300, p95_ms = 700, max_ms = 4000 }
gap = 12
max_sentences = 2
reasoning = { first = 150, gap = 20 }
prompt_cache = { saving = 0.6, min_tokens = 16, block_tokens = 4 }
faults = { rates = { rate-limited = 0.01, reset = 0.5 }, retry_after_s = 1, first = 1 }
["my-tts".tts]
first_byte = { values_ms = [110, 120, 180] }
realtime_factor = 0.2
leading_silence_ms = 20
["my-ears".stt]
endpoint_silence = 300
recogniser = "oracle"
["my-router"]
base = "exact"
["my-router".routing]
failover = 80
llm = [
    { provider = "alder", model = "fast", weight = 3, failure = 0.05 },
    { provider = "birch", model = "slow", profile = "kimi-k2.6@baseten" },
]
"""


def _judge(name: str, read: Callable[[], object], found: Counter[str]) -> None:
    """Read a damaged file; what is raised must be one line for each mistake, with the file."""
    try:
        read()
    except ConfigurationError as error:
        problems = error.problems
    else:
        found["read"] += 1
        return
    found["refused"] += 1
    assert problems
    for line in problems:
        assert name in line, line
        assert ":" in line.split(name, 1)[1], line
        assert len(line) < 8000, line[:200]


@pytest.mark.parametrize("name", ["quick", "systems", "gate", "interruption", "conditions"])
def test_damaged_suites(tmp_path: Path, name: str) -> None:
    """A damaged suite is refused in lines that name it, or is a suite."""
    text = (ROOT / "bench" / f"{name}.toml").read_text(encoding="utf-8")
    rng = random.Random(1)
    found: Counter[str] = Counter()
    path = tmp_path / "mine.toml"
    for _ in range(ROUNDS):
        path.write_bytes(damaged_toml(text, rng))
        _judge("mine.toml", lambda: find_suite(str(path)), found)
    assert found["refused"] > 0.3 * ROUNDS
    assert found["read"] > 0.02 * ROUNDS


def test_damaged_profiles(tmp_path: Path) -> None:
    """A damaged file of profiles is refused in lines that name it, or holds profiles."""
    rng = random.Random(2)
    found: Counter[str] = Counter()
    path = tmp_path / "profiles.toml"
    for _ in range(3 * ROUNDS):
        path.write_bytes(damaged_toml(PROFILE_FILE, rng))
        _judge("profiles.toml", lambda: read_profiles(path, PROFILES), found)
    assert found["refused"] > 0.3 * ROUNDS
    assert found["read"] > 0.05 * ROUNDS


def _json_lines(data: bytes, rng: random.Random) -> bytes:
    """Damage one line of JSON, or the file of them."""
    if rng.random() < 0.3:
        return mutate(data, rng)
    lines = data.splitlines()
    number = rng.randrange(len(lines))
    lines[number] = bent(lines[number], rng)
    return b"\n".join(lines) + b"\n"


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A dataset of two recordings."""
    folder = tmp_path / "calls"
    folder.mkdir()
    rows = (STARTER / "manifest.jsonl").read_bytes().splitlines()[:2]
    for row in rows:
        shutil.copy(STARTER / json.loads(row)["audio"], folder)
    (folder / "manifest.jsonl").write_bytes(b"\n".join(rows) + b"\n")
    return folder


def test_damaged_manifests(calls: Path) -> None:
    """A damaged manifest is refused in lines that name it, or is a dataset."""
    path = calls / "manifest.jsonl"
    whole = path.read_bytes()
    rng = random.Random(3)
    found: Counter[str] = Counter()
    for _ in range(2 * ROUNDS):
        path.write_bytes(_json_lines(whole, rng))
        _judge("manifest.jsonl", lambda: read_dataset(calls), found)
    assert found["refused"] > 0.3 * ROUNDS
    assert found["read"] > 0.02 * ROUNDS


def test_damaged_headers_of_datasets(calls: Path) -> None:
    """A damaged header of a dataset is refused in lines that name it."""
    path = calls / "dataset.toml"
    text = (STARTER / "dataset.toml").read_text(encoding="utf-8")
    rng = random.Random(4)
    found: Counter[str] = Counter()
    for _ in range(ROUNDS):
        path.write_bytes(damaged_toml(text, rng))
        _judge("dataset.toml", lambda: read_dataset(calls), found)
    assert found["refused"] > 0.2 * ROUNDS


def test_damaged_lines_of_trials() -> None:
    """A damaged line of trials is a trial, or is refused in words."""
    lines = [
        encode_trial(each).encode() for each in make_run(utterances=3, repeats=1, failed={"a": 1})
    ]
    rng = random.Random(5)
    found: Counter[str] = Counter()
    for _ in range(10 * ROUNDS):
        data = _json_lines(rng.choice(lines), rng).strip()
        try:
            trial = decode_trial(data)
        except WireError:
            found["refused"] += 1
        else:
            found["read"] += 1
            if mistyped(trial) is None:
                encode_trial(trial)
    assert found["refused"] > ROUNDS
    assert found["read"] > ROUNDS


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A stored run."""
    return stored(tmp_path)


def _files(run: Path) -> Iterator[Path]:
    return (run / name for name in ("plan.json", "trials.jsonl", "environment.json"))


def _told(capsys: pytest.CaptureFixture[str], *arguments: str) -> int:
    """Run the command line; it must end by one of its own exit codes, and with no defect."""
    code, _, errors = asked(capsys, *arguments)
    assert code in (0, 1, 2, 3), errors
    assert "defect" not in errors, errors
    assert "Traceback" not in errors, errors
    for line in errors.splitlines():
        if code == 2:
            assert line.startswith("turnbench: "), errors
    return code


def test_damaged_runs(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever has happened to a run's folder, each verb ends in order."""
    rng = random.Random(6)
    whole = {path: path.read_bytes() for path in _files(run_folder)}
    first = json.loads(whole[run_folder / "trials.jsonl"].splitlines()[0])["key"]
    name = f"{first['candidate']}/{first['utterance']}"
    run = str(run_folder)
    verbs = (
        *(("report", run, "--format", form) for form in ("json", "markdown", "csv")),
        ("compare", run),
        ("gate", run),
        ("show", run, name),
    )
    codes: Counter[int] = Counter()
    for _ in range(ROUNDS // 4):
        path = rng.choice(list(whole))
        path.write_bytes(_json_lines(whole[path], rng))
        codes[_told(capsys, *rng.choice(verbs))] += 1
        path.write_bytes(whole[path])
    assert codes[2]
    assert codes[0]


def test_damaged_baselines(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged baseline is refused in lines that name it, and a gate against it ends in order."""
    path = tmp_path / "kept.json"
    runs = [str(run_folder), *(str(stored(tmp_path)) for _ in range(2))]
    assert asked(capsys, "baseline", "save", str(path), *runs)[0] == 0
    whole = json.dumps(json.loads(path.read_text(encoding="utf-8"))).encode()
    rng = random.Random(7)
    found: Counter[str] = Counter()
    for number in range(2 * ROUNDS):
        path.write_bytes(_json_lines(whole, rng))
        _judge("kept.json", lambda: read_baseline(path), found)
        if number % 20 == 0:
            _told(capsys, "gate", str(run_folder), "--baseline", str(path))
    assert found["refused"] > 0.3 * ROUNDS
    assert found["read"] > 0.1 * ROUNDS


def test_damaged_suites_on_the_command_line(
    calls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged suite and its plan end with code 0 or 2, and in lines of turnbench's own."""
    text = (ROOT / "bench" / "systems.toml").read_text(encoding="utf-8")
    rng = random.Random(8)
    path = tmp_path / "mine.toml"
    codes: Counter[int] = Counter()
    assert calls.is_dir()
    for _ in range(ROUNDS // 20):
        path.write_bytes(damaged_toml(text, rng))
        codes[_told(capsys, "run", str(path), "--dry-run")] += 1
    assert codes[2]
    assert set(codes) <= {0, 2}
