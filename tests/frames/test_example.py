"""The example of an analysis, run as a user runs it."""

import subprocess
import sys
from pathlib import Path

from tests.frames.stored import store_run
from tests.synthetic import MS, Script, make_trial

EXAMPLE = Path(__file__).parents[2] / "examples" / "analyse.py"


def test_the_example_finds_the_utterance_that_makes_the_tail(tmp_path: Path) -> None:
    """Of ten utterances the one whose LLM is slow is named first, and a figure is saved."""
    trials = [
        make_trial(
            Script(llm=(900 if number == 7 else 300 + number) * MS),
            utterance=f"u{number}",
            order=number * 2 + repeat,
            repeat=repeat,
        )
        for number in range(1, 11)
        for repeat in range(2)
    ]
    run = store_run(tmp_path / "reports", trials, candidates=("a",), utterances=10)
    figure = tmp_path / "tail.png"
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(run.path), str(figure)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    header, _, first, *_ = done.stdout.splitlines()
    assert {"stage", "llm", "stt", "tts", "in_the_tail"} <= set(header.split())
    assert first.split()[0] == "u7"
    assert first.split()[-1] == "1.0"
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_the_example_is_short() -> None:
    """It stays an example: fifteen lines of code."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    code = [each for each in lines if each and not each.startswith(("#", '"""', "import", "from"))]
    assert len(code) <= 15
