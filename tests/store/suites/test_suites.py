"""Suite files: every mistake of a file at once, each in a line that says the mend."""

import json
from pathlib import Path

import pytest

from harness.cli.shared.suite_options import BUDGET_METRICS, known_profiles
from harness.domain.suite import BudgetKind, Driver, TurnDetection, Via
from harness.errors import ConfigurationError
from harness.store.shipped import shipped_names
from harness.store.suites.suite import parse_suite, read_suite, suite_document

SMALL = """
name = "small"
[[dataset]]
path = "starter"
[[candidate]]
name = "a"
[candidate.stt]
provider = "openadapter"
profile = "exact"
[candidate.llm]
provider = "openadapter"
model = "Kimi-K2.5"
temperature = 0
[candidate.tts]
provider = "openadapter"
voice = "alloy"
"""


def write(folder: Path, text: str) -> Path:
    """Write a suite file."""
    path = folder / "x.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> list[str]:
    """Return what is said of a suite file, without the file's name."""
    path = write(folder, text)
    with pytest.raises(ConfigurationError) as caught:
        read_suite(path, profiles=known_profiles, metrics=BUDGET_METRICS)
    prefix = f"{path}: "
    assert all(line.startswith(prefix) for line in caught.value.problems)
    return [line.removeprefix(prefix) for line in caught.value.problems]


@pytest.mark.parametrize("name", shipped_names("bench"))
def test_shipped(name: str) -> None:
    """Every shipped suite is found by its bare name and is legal."""
    suite = read_suite(name, profiles=known_profiles, metrics=BUDGET_METRICS)
    assert suite.name == name
    assert suite.description


def test_there_are_shipped_suites() -> None:
    """The suites of the README are shipped."""
    assert {"quick", "stages", "gate", "openadapter"} <= set(shipped_names("bench"))


def test_values_and_defaults(tmp_path: Path) -> None:
    """A suite says what it says; all else has the default that the report prints."""
    suite = read_suite(write(tmp_path, SMALL), profiles=known_profiles)
    assert (suite.via, suite.driver, suite.repeats) == (Via.GATEWAY, Driver.SESSION, 1)
    assert suite.candidates[0].llm is not None
    assert dict(suite.candidates[0].llm.options) == {"temperature": 0.0}
    assert suite.session.turn_detection is TurnDetection.STT
    assert suite.seed is None


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    """All mistakes are told together, each with its key and the nearest known name."""
    text = (
        SMALL.replace('model = "Kimi-K2.5"', 'modle = "Kimi-K2.5"')
        .replace("temperature = 0", "temperture = 0.2")
        .replace('voice = "alloy"', "voice = 7")
        .replace('profile = "exact"', 'profile = "exakt"')
        .replace('name = "small"', 'name = "small"\nrepeats = "3"\nvia = "gatewy"\nwarmup = 1')
    )
    found = problems(tmp_path, text)
    assert found == [
        "via: 'gatewy' is unknown; did you mean 'gateway'?",
        "repeats: text, but an integer is needed",
        "candidate[1].llm.modle: unknown key; did you mean 'model'?",
        "candidate[1].llm.temperture: unknown key; did you mean 'temperature'?",
        "candidate[1].tts.voice: an integer, but text is needed",
        "warmup: unknown key; did you mean 'warmups'?",
        "candidate[1].stt.profile: 'exakt' is unknown; did you mean 'exact'?",
    ]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            'provider = "openadapter"\nprofile',
            'provider = "openadaptor"\nprofile',
            "candidate[1].stt.provider: 'openadaptor' is unknown; did you mean 'openadapter'?",
        ),
        (
            'profile = "exact"',
            'profile = "kokoro-82m@polargrid"',
            "candidate[1].stt.profile: 'kokoro-82m@polargrid' does not serve stt",
        ),
        ('path = "starter"', "", "dataset[1].path: is missing"),
        (
            'name = "small"',
            'keep_audio = false\nintelligibility = { provider = "openai" }',
            "keep_audio: [intelligibility] hears the stored replies; leave keep_audio = false out",
        ),
        (
            'path = "starter"',
            'path = "starter"\nlimit = 0',
            "dataset[1].limit: 0 has to be 1 or more",
        ),
        ('name = "small"', "frame_ms = 30", "frame_ms: 30 is neither 10 nor 20"),
        ('name = "small"', "repeats = 0", "repeats: 0 has to be 1…10000"),
        ('name = "small"', "seed = -1", "seed: -1 has to be 0 or more"),
        ('name = "small"', "seed = true", "seed: a boolean, but an integer is needed"),
        ('name = "small"', "wer_limit = nan", "wer_limit: nan is not finite"),
        ('name = "small"', 'name = " "', "name: is blank; leave it out or fill it in"),
        ('name = "a"', 'name = "a"\nagent = "mine"', "candidate[1].agent: 'mine' is not of the"),
        ('voice = "alloy"', "speed = true", "candidate[1].tts.speed: a boolean, but a number"),
        (
            'voice = "alloy"',
            "[timeouts]\nreply_s = 0",
            "timeouts.reply_s: 0 has to be greater than 0",
        ),
        (
            'voice = "alloy"',
            '[session]\nturn_detection = "vad"',
            'session.turn_detection: "vad" needs vad = true',
        ),
        (
            'voice = "alloy"',
            "[session]\nmin_endpointing_delay_s = 4.0",
            "session.min_endpointing_delay_s: lies above max_endpointing_delay_s",
        ),
        (
            'voice = "alloy"',
            '[price."Kimi-K2.5"]\nper_audio_minute = 1',
            'price.Kimi-K2.5: a price is named after what it is for: [price."provider/model"]',
        ),
        (
            'voice = "alloy"',
            '[price."openadapter/Kimi-K2.5"]\nper_million_input_token = 1',
            "price.openadapter/Kimi-K2.5.per_million_input_token: unknown key; did you mean 'per_",
        ),
        (
            'voice = "alloy"',
            '[[budget]]\nmetric = "respons"\nstatistic = "p50"\nmax = 1',
            "budget[1].metric: 'respons' is unknown; did you mean 'response'?",
        ),
        (
            'voice = "alloy"',
            '[[budget]]\nmetric = "response"\nstatistic = "p50"\nmax = 1\nmax_ratio = 2',
            "budget[1].max: give either max",
        ),
        (
            'voice = "alloy"',
            '[[budget]]\nmetric = "response"\nstatistic = "p50"\nmax = 1\ncandidate = "z"',
            "budget.candidate: no candidate is named 'z'",
        ),
        (
            'voice = "alloy"',
            '[gateway]\nprofiles = "none.toml"',
            "gateway.profiles: ",
        ),
    ],
)
def test_one_mistake(tmp_path: Path, old: str, new: str, line: str) -> None:
    """A mistake is one line that names the key and the mend."""
    assert old in SMALL
    found = problems(tmp_path, SMALL.replace(old, new, 1))
    assert len(found) == 1, found
    assert found[0].startswith(line)


def test_missing_stage_of_a_session(tmp_path: Path) -> None:
    """A session needs all three stages; the stage driver takes any."""
    without = SMALL[: SMALL.index("[candidate.tts]")]
    assert problems(tmp_path, without) == [
        'candidate[1].tts: is missing; a session needs stt, llm and tts (or driver = "stage")'
    ]
    assert read_suite(write(tmp_path, 'driver = "stage"\n' + without)).candidates[0].tts is None


def test_duplicates(tmp_path: Path) -> None:
    """Candidates of one name and utterances named twice are refused."""
    twice = SMALL + SMALL[SMALL.index("[[candidate]]") :]
    twice = twice.replace('path = "starter"', 'path = "starter"\nids = ["x", "x"]')
    assert problems(tmp_path, twice) == [
        "dataset[1].ids: 'x' stands twice; name each utterance once",
        "candidate.name: 'a' stands twice; names are unique",
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"name = ", "not TOML: "), (b"\xff\xfe", "not UTF-8 text"), (b"", "candidate: give at")],
)
def test_unreadable(tmp_path: Path, content: bytes, told: str) -> None:
    """A file that is no suite at all is told in a line."""
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_suite(path)
    assert caught.value.problems[0].startswith(f"{path}: {told}")


def test_not_found(tmp_path: Path) -> None:
    """A name that is neither a file nor shipped is answered with the nearest shipped one."""
    with pytest.raises(ConfigurationError, match="did you mean 'quick'"):
        read_suite("quik")
    with pytest.raises(ConfigurationError, match="no such suite file"):
        read_suite(tmp_path / "none.toml")
    with pytest.raises(ConfigurationError, match="a folder"):
        read_suite(tmp_path)


def test_paths_count_from_the_file(tmp_path: Path) -> None:
    """Relative paths count from the suite's folder; a folder there comes before a shipped name."""
    suite = read_suite(write(tmp_path, SMALL.replace('"starter"', '"../calls"')))
    assert suite.datasets[0].path == str(tmp_path.parent / "calls")
    assert read_suite(write(tmp_path, SMALL)).datasets[0].path == "starter"
    (tmp_path / "starter").mkdir()
    assert read_suite(write(tmp_path, SMALL)).datasets[0].path == str(tmp_path / "starter")


@pytest.mark.parametrize("name", shipped_names("bench"))
def test_document_round_trip(name: str) -> None:
    """A suite, written as JSON and read back, is the same suite."""
    suite = read_suite(name)
    text = json.dumps(suite_document(suite))
    assert parse_suite(json.loads(text), source="plan.json") == suite


def test_stored_suite_of_another_version() -> None:
    """A stored suite is read even where it names what this version does not know."""
    document = suite_document(read_suite("quick"))
    document["candidate"][0]["llm"]["provider"] = "vanished"
    document["candidate"][0]["llm"]["novel_option"] = 1
    document["novel_table"] = {"a": 1}
    suite = parse_suite(document, source="plan.json", strict=False)
    assert suite.candidates[0].llm is not None
    assert suite.candidates[0].llm.provider == "vanished"
    assert suite.candidates[0].llm.options["novel_option"] == 1


def test_budgets(tmp_path: Path) -> None:
    """`max` is an absolute limit, `max_ratio` one against a reference."""
    text = SMALL + (
        '[[budget]]\nmetric = "response"\nstatistic = "p95"\nmax = 1200\n'
        '[[budget]]\nmetric = "wer"\nstatistic = "mean"\nmax_ratio = 1.1\nmde = 1.2\n'
    )
    suite = read_suite(write(tmp_path, text), metrics=BUDGET_METRICS)
    absolute, relative = suite.budgets
    assert (absolute.kind, absolute.limit, absolute.mde) == (BudgetKind.ABSOLUTE, 1200.0, None)
    assert (relative.kind, relative.limit, relative.mde) == (BudgetKind.RELATIVE, 1.1, 1.2)


def test_a_budget_of_an_increase(tmp_path: Path) -> None:
    """`max_increase` limits a rate against a reference of the run, and survives the document."""
    two = SMALL + SMALL[SMALL.index("[[candidate]]") :].replace('name = "', 'name = "other-', 1)
    text = two + '[[budget]]\nmetric = "failures"\nstatistic = "rate"\nmax_increase = 0.02\n'
    path = write(tmp_path, text + 'reference = "other-a"\n')
    suite = read_suite(path, metrics=BUDGET_METRICS)
    assert suite_document(suite)["budget"][0]["max_increase"] == 0.02
    budget = suite.budgets[0]
    assert (budget.kind, budget.limit, budget.reference) == (BudgetKind.INCREASE, 0.02, "other-a")
    with pytest.raises(ConfigurationError, match="limits a rate against a reference"):
        read_suite(write(tmp_path, text), metrics=BUDGET_METRICS)


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """A suite that an editor has saved with a byte order mark is read as without one."""
    path = write(tmp_path, SMALL)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_suite(path).name == "small"
