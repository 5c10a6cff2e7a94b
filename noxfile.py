"""The only entry point: each session is one thing that a user or CI does.

`nox` alone checks and tests. `nox -s bench` measures; what follows `--` goes to turnbench.
"""

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "tests"]
nox.options.reuse_venv = "yes"
# uv fills an environment in seconds, where there is one.
nox.options.default_venv_backend = "uv|virtualenv"

# Hundreds of processes import the same modules: let the first one keep what it has compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

HERE = Path(__file__).parent
REPORTS = HERE / "reports"


def _install(session: nox.Session, *extras: str) -> None:
    session.install("-q", f".[{','.join(extras)}]" if extras else ".")


def _turnbench(session: nox.Session, *arguments: str, codes: tuple[int, ...] = (0,)) -> None:
    session.run("turnbench", *arguments, success_codes=list(codes))


@nox.session
def bench(session: nox.Session) -> None:
    """Measure two candidates, or another suite (`-- systems`: every system); needs no key."""
    _install(session, "espeak")
    _turnbench(session, "run", *(session.posargs or ["quick"]))


@nox.session
def compare(session: nox.Session) -> None:
    """Answer which model and which voice: two models times two voices, compared in pairs."""
    _install(session, "espeak")
    _turnbench(session, "run", "compare", *session.posargs)
    for axis in ("llm", "voice"):
        _turnbench(session, "compare", "latest", "--by", axis)


@nox.session
def gate(session: nox.Session) -> None:
    """Measure reference and candidate side by side and pass, fail or say that it cannot tell."""
    _install(session, "espeak")
    _turnbench(session, "run", "gate", "--gate", *session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """Write the HTML report of the latest run, or of the one named after `--`."""
    _install(session)
    _turnbench(session, "report", *(session.posargs or ["latest"]))


@nox.session
def overhead(session: nox.Session) -> None:
    """Measure the harness's own error on this machine against the gateway's truth."""
    _install(session, "espeak")
    _turnbench(session, "overhead", *session.posargs)


@nox.session
def doctor(session: nox.Session) -> None:
    """Say what is ready here and what is missing: keys, endpoints, clock, the harness's error."""
    _install(session, "espeak")
    _turnbench(session, "doctor", *session.posargs)


# What does not judge milliseconds shares the machine, being mostly asleep.
_SHARED = ("-n", "4", "--dist", "loadgroup")


def _install_tests(session: nox.Session) -> None:
    # Editable, because the tests read the shipped suites and recordings from the checkout.
    session.install("-q", "-e", ".[dev,espeak,parquet]")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the test suite; what follows `--` goes to pytest."""
    _install_tests(session)
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    session.run("pytest", "-q", *_SHARED, "-m", "not browser and not timing and not long")
    # What judges milliseconds has the machine to itself.
    session.run("pytest", "-q", "-m", "not browser and timing")
    # The browser's driver keeps an event loop running, so its tests have a process of their own.
    session.run("pytest", "-q", "-m", "browser", "tests/report")


@nox.session
def faults(session: nox.Session) -> None:
    """Play the whole table of faults and fuzz at length: nightly, and before a release."""
    _install_tests(session)
    deep = {
        "TURNBENCH_FUZZ": "100000",
        "TURNBENCH_FUZZ_INPUTS": "1000",
        "TURNBENCH_FUZZ_LIVE": "200",
    }
    fuzz = sorted(map(os.fspath, Path("tests").rglob("test_fuzz_*.py")))
    table = "tests/pipeline/test_faults.py"
    session.run("pytest", "-q", *_SHARED, table, *fuzz, *session.posargs, env=deep)
    session.run("pytest", "-q", *_SHARED, "-m", "long", "tests/analysis", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types and the layers."""
    session.install("-q", "-e", ".[dev,espeak]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it elsewhere and measure with it."""
    folder = Path(session.create_tmp()).resolve()
    dist = folder / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.install("-q", "build")
    session.run("python", "-m", "build", "--outdir", str(dist), str(HERE), silent=True)
    built = next(dist.glob("*.whl"))
    session.install("-q", "--force-reinstall", "--no-deps", str(built))
    session.install("-q", f"turnbench[espeak] @ {built.as_uri()}")
    with session.chdir(folder):
        session.run("turnbench", "run", "quick", "--limit", "2", "--no-rerun", *session.posargs)
        session.run("turnbench", "report", "latest")


@nox.session
def calibrate(session: nox.Session) -> None:
    """Simulate the gate at full size and write bench/CALIBRATION.md; takes some two hours."""
    _install(session, "dev")
    session.run("python", str(HERE / "bench" / "calibrate.py"), *session.posargs)


@nox.session
def example(session: nox.Session) -> None:
    """Render the report that stands in reports/example from a fresh run."""
    _install(session, "espeak")
    session.run("turnbench", "run", "quick", "--no-report", *session.posargs)
    (REPORTS / "example").mkdir(exist_ok=True)
    _turnbench(
        session, "report", "latest", "--output", os.fspath(REPORTS / "example" / "report.html")
    )
