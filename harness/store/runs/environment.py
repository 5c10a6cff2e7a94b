"""Where and when a run was made, and the keys it must never show.

This module alone reads the wall clock. Everything here is provenance: it stands in the report and
decides nothing, but whether two runs may be compared.
"""

import contextlib
import datetime as dt
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import dotenv

from harness.clock import read_clock_pair
from harness.domain.candidate import StageSettings
from harness.domain.providers import PROVIDERS, EnvironmentKey
from harness.domain.secrecy import MASK, references
from harness.domain.suite import Suite
from harness.domain.timeline import Stage
from harness.errors import ConfigurationError
from harness.store.suites.stages import plain

__all__ = [
    "collect_environment",
    "load_dotenv",
    "missing_keys",
    "provider_keys",
    "stage_keys",
    "utc_now",
]

_PACKAGES = (
    "turnbench",
    "livekit-agents",
    "livekit",
    "livekit-plugins-openai",
    "livekit-plugins-baseten",
    "livekit-local-inference",
    "openai",
    "httpx",
    "aiohttp",
    "websockets",
    "numpy",
    "soxr",
    "soundfile",
    "jiwer",
    "pocketsphinx",
    "espeakng-loader",
    "uvloop",
)


def utc_now() -> dt.datetime:
    """Return the wall clock's time in UTC."""
    return dt.datetime.now(dt.UTC)  # noqa: TID251 - the one reader


def load_dotenv(*folders: Path) -> tuple[Path, ...]:
    """Put what the folders' ``.env`` files say into the environment; return the files read.

    A variable that is already set stays as it is, and an earlier folder wins over a later one.

    Raises:
        ConfigurationError: a file is there and cannot be read.
    """
    read: list[Path] = []
    for folder in folders:
        path = (folder / ".env").resolve()
        if path in read or not path.is_file():
            continue
        try:
            dotenv.load_dotenv(path, override=False)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path}: cannot be read: {error}") from error
        read.append(path)
    return tuple(read)


def provider_keys(provider: str, stages: Iterable[Stage]) -> tuple[EnvironmentKey, ...]:
    """Return the environment variables that a provider reads for some stages, each once."""
    spec = PROVIDERS[provider]
    found = {key.name: key for key in spec.keys}
    for stage in stages:
        if stage in spec.stages:
            found.update({key.name: key for key in spec.stages[stage].keys})
    return tuple(found.values())


def stage_keys(settings: StageSettings, stage: Stage) -> tuple[EnvironmentKey, ...]:
    """Return the environment variables that a stage with these settings reads, each once."""
    spec = PROVIDERS[settings.provider]
    own = spec.stages.get(stage)
    found = {key.name: key for key in spec.keys}
    if own is not None:
        keys = own.keys if own.keys_for is None else own.keys_for(settings.model, settings.options)
        found.update({key.name: key for key in keys})
    return tuple(found.values())


def missing_keys(suite: Suite, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return one line for each environment variable that a live run of the suite lacks.

    A stage that names its own variable by ``api_key_variable`` needs that one instead of the
    provider's key. Values are never part of a line.
    """
    values = os.environ if environ is None else environ
    users: dict[tuple[str, str], list[str]] = {}
    shared: dict[tuple[str, str], list[str]] = {}
    hidden: list[str] = []
    for candidate in suite.candidates:
        if candidate.agent is not None:
            # The user's own agent brings its own clients, and reads its own keys.
            continue
        asked = [(stage, candidate.stage(stage)) for stage in (Stage.STT, Stage.LLM, Stage.TTS)]
        if suite.session.preset == "measure" and suite.interruption(candidate).mode == "adaptive":
            # The detector is a service of LiveKit Inference, whoever the stages are asked of.
            asked.append((Stage.INTERRUPTION, StageSettings(provider="livekit")))
        for stage, settings in asked:
            if settings is None or settings.provider not in PROVIDERS:
                continue
            place = f"{candidate.name}.{stage.value}"
            for name in references(settings.options):
                if not values.get(name, "").strip():
                    users.setdefault((name, "what the suite takes from it"), []).append(place)
            if MASK in json.dumps(plain(settings.options)):
                hidden.append(place)
            own = settings.options.get("api_key_variable")
            any_stage = Stage.LLM if stage is Stage.INTERRUPTION else stage
            for key in stage_keys(settings, any_stage):
                name = own if own and key.secret else key.name
                given = values.get(name, "") or values.get(key.instead or "", "")
                if key.required and key.single:
                    shared.setdefault((candidate.name, name), []).append(place)
                if key.required and not given.strip():
                    title = PROVIDERS[settings.provider].title
                    purpose = f"{title}'s {key.purpose}" if key.purpose else title
                    users.setdefault((name, purpose), []).append(place)
    lines = [
        f"{name}: not set; it holds {purpose}, needed by {', '.join(dict.fromkeys(needed))}"
        for (name, purpose), needed in users.items()
    ]
    lines += [
        f"{name}: cannot serve {' and '.join(places)} at once; name each by an option of its stage"
        for (_, name), places in shared.items()
        if len(places) > 1
    ]
    lines += [
        f'{place}: the suite held a secret in clear, which no run keeps: write "$NAME" in its '
        "place, put it into the environment, and start a new run"
        for place in hidden
    ]
    return tuple(lines)


def collect_environment(folder: Path | None = None) -> dict[str, Any]:
    """Return the facts of this machine, this installation and this moment, as JSON values.

    Args:
        folder: whose git state is told; None is the current one.
    """
    pair = read_clock_pair()
    return {
        "started_utc": utc_now().isoformat(timespec="milliseconds"),
        "clock": {
            "monotonic_ns": pair.monotonic_ns,
            "wall_ns": pair.wall_ns,
            "uncertainty_ns": pair.uncertainty_ns,
            "name": "CLOCK_MONOTONIC (time.perf_counter_ns)",
        },
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": _packages(),
        "machine": _machine(),
        "git": _git(folder or Path.cwd()),
        "ci": next(
            (name for name in ("GITHUB_ACTIONS", "GITLAB_CI", "CI") if os.environ.get(name)), None
        ),
    }


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _machine() -> dict[str, Any]:
    facts: dict[str, Any] = {
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        ),
        "memory_bytes": _memory(),
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "clocksource": _first_line(
            "/sys/devices/system/clocksource/clocksource0/current_clocksource"
        ),
        "cpu_quota": _first_line("/sys/fs/cgroup/cpu.max"),
        "virtual": "hypervisor" in (_cpu_field("flags") or "").split(),
        "gil_switch_interval_s": sys.getswitchinterval(),
    }
    with contextlib.suppress(OSError):
        facts["load_average"] = [round(each, 2) for each in os.getloadavg()]
    return {key: value for key, value in facts.items() if value is not None}


def _first_line(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").split("\n", 1)[0].strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _cpu_field(name: str) -> str | None:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else None


def _cpu_model() -> str:
    return _cpu_field("model name") or platform.processor() or platform.machine()


def _memory() -> int | None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _git(folder: Path) -> dict[str, Any] | None:
    """Return commit, branch and whether the work tree differs; None outside a repository."""

    def ask(*arguments: str) -> str | None:
        try:
            done = subprocess.run(  # noqa: S603 - a fixed program with fixed arguments
                ["git", "-C", str(folder), *arguments],  # noqa: S607 - the user's own git
                capture_output=True,
                text=True,
                timeout=5,
                check=False,
                env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    if commit is None:
        return None
    status = ask("status", "--porcelain", "--untracked-files=no")
    return {
        "commit": commit,
        "branch": ask("rev-parse", "--abbrev-ref", "HEAD"),
        "dirty": None if status is None else bool(status),
    }
