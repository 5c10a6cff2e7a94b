"""Keys planted wherever one can stand, and looked for in everything that leaves the process."""

import base64
import binascii
import gzip
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import urllib.parse
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.domain.candidate import StageSettings
from harness.domain.driver import ReplyAudio
from harness.domain.request import Failure, FailureKind, Transcript
from harness.domain.suite import Budget, BudgetKind, Suite
from harness.domain.timeline import Stage
from harness.domain.trial import FailedTrial, Trial
from harness.store import secrecy
from harness.store.runs.plans import RunPlan
from harness.store.runs.writer import create_run
from harness.store.secrecy import remember_secrets
from tests.synthetic import make_run, make_suite, make_utterances

# What a provider may do to a key that it echoes.
FORMS: Mapping[str, Any] = {
    "plain": lambda key: f"Incorrect API key provided: {key}.",
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 after one": lambda key: base64.b64encode(b"u" + key.encode() + b"!").decode(),
    "base64 after two": lambda key: base64.urlsafe_b64encode(b"u:" + key.encode() + b"!!").decode(),
    "hex": lambda key: key.encode().hex(),
    "url": lambda key: "https://h/?k=" + urllib.parse.quote_plus(key),
    "json": lambda key: json.dumps({"detail": json.dumps({"key": key})}),
    "cut": lambda key: f"the key {key}"[:-3],
}
VARIABLES = (
    "OPENADAPTER_API_KEY",
    "MY_OWN_VARIABLE",
    "HEARING_VARIABLE",
    "AGENT_SERVICE_TOKEN",
    "DB_PASSWORD",
    "HEADER_VALUE",
)
CLEAR = ('sk-header-in-"clear"/0123456789', "pw-of-the-address-98765", "q-value-of-address-5")


def key_of(number: int) -> str:
    """Return a key with what is written differently in JSON, in a URL and in base64."""
    return f'sk-{number:02d}/"Ω+{"qz7Xw9Lm"[number % 8 :]}~{number}-EndOfKey{number:02d}'


def planted_suite() -> Suite:
    """Return a suite that names and holds secrets in every place that may have one."""
    options = {
        "api_key_variable": "MY_OWN_VARIABLE",
        "base_url": f"https://me:{CLEAR[1]}@h.example/v1?token={CLEAR[2]}",
        "extra_headers": {"X-Api-Key": f"Bearer {CLEAR[0]}", "X-Plain": "$HEADER_VALUE"},
    }
    hearing = StageSettings(provider="openai", options={"api_key_variable": "HEARING_VARIABLE"})
    suite = make_suite("a", "b")
    first, *rest = suite.candidates
    assert first.llm is not None
    held = replace(first, llm=replace(first.llm, provider="openai", options=options))
    budget = Budget(
        metric="response", statistic="p50", limit=5_000.0, kind=BudgetKind.ABSOLUTE, candidate="a"
    )
    return replace(
        suite, candidates=(held, *rest), intelligibility=hearing, budgets=(budget,), keep_audio=True
    )


def echoing(trial: Trial | FailedTrial, said: str) -> Trial | FailedTrial:
    """Return a trial in which a provider echoes, as a value and as a name, wherever it can."""
    turns = []
    for turn in trial.turns:
        requests = tuple(
            replace(
                each,
                text=f"{each.text} {said}",
                facts={**each.facts, "said": said, said: "as a name", "model": said},
                failure=Failure(stage=each.stage, kind=FailureKind.STREAM_ERROR, message=said),
            )
            for each in turn.requests
        )
        heard = tuple(
            replace(each, text=f"{each.text} {said}") if isinstance(each, Transcript) else each
            for each in turn.transcripts
        )
        turns.append(replace(turn, requests=requests, transcripts=heard))
    changed = replace(trial, turns=tuple(turns))
    if isinstance(changed, FailedTrial):
        return replace(changed, failure=replace(changed.failure, message=said))
    return changed


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[str]]:
    """Return a stored run full of echoes, and every key that it must not hold."""
    keys = [key_of(number) for number in range(len(VARIABLES))]
    for name, key in zip(VARIABLES, keys, strict=True):
        monkeypatch.setenv(name, key)
    monkeypatch.setattr(secrecy, "_named", set())
    monkeypatch.setattr(secrecy, "_held", set())
    monkeypatch.chdir(tmp_path)
    suite = planted_suite()
    remember_secrets(suite)
    trials = list(make_run(utterances=10, repeats=2, seed=5))
    echoes = itertools.cycle(form(key) for key in (*keys, *CLEAR) for form in FORMS.values())
    said = make_utterances(10)
    plan = RunPlan(
        suite=suite,
        source="planted.toml",
        seed=1,
        keys=tuple(each.key for each in trials),
        utterances=said,
        origin=dict.fromkeys([each.id for each in said], 0),
        datasets=(),
        facts={"echo": next(echoes)},
    )
    with create_run(plan, reports=tmp_path / "reports") as writer:
        writer.add_environment({"endpoints": {"a": {"llm": {next(echoes): next(echoes)}}}})
        for each in trials:
            told = " ".join(next(echoes) for _ in range(6))
            writer.append(echoing(each, told), ReplyAudio(pcm=bytes(2000), sample_rate=24_000))
        writer.set_status("finished", done=len(trials), reason=" ".join(map(str, keys)))
    return writer.run.path, [*keys, *CLEAR]


def unpacked(data: bytes) -> Iterator[str]:
    """Yield a file's text, and what is packed within it."""
    yield data.decode("utf-8", "replace")
    for _ in range(2):
        _, newline, rest = data.partition(b"\n")
        for each in (data, rest):
            if each[:2] == b"\x1f\x8b":
                yield gzip.decompress(each).decode("utf-8", "replace")
        if not newline:
            break
    for found in re.finditer(rb"[A-Za-z0-9+/]{80,}={0,2}", data):
        try:
            inner = base64.b64decode(found[0], validate=True)
            yield zlib.decompress(inner, wbits=31).decode("utf-8", "replace")
        except (binascii.Error, zlib.error):
            continue


def traces(text: str, key: str) -> list[str]:
    """Return in which forms a key, or most of it, stands in a text."""
    data = key.encode()
    forms = {
        "plain": key,
        "beginning": key[:14],
        "json": json.dumps(key)[1:-1],
        "json, not ASCII": json.dumps(key, ensure_ascii=False)[1:-1],
        "twice JSON": json.dumps(json.dumps(key)[1:-1])[1:-1],
        "url": urllib.parse.quote_plus(key),
        "url, strict": urllib.parse.quote(key, safe=""),
        "hex": data.hex(),
        "base64 0": base64.b64encode(data).decode()[: len(data) * 4 // 3 - 2],
        "base64 1": base64.b64encode(b"\0" + data).decode()[2 : len(data) * 4 // 3 - 2],
        "base64 2": base64.b64encode(b"\0\0" + data).decode()[3 : len(data) * 4 // 3 - 2],
        "html": key.replace('"', "&#34;"),
        "lower case": key.lower(),
    }
    shown = text.replace("-", "+").replace("_", "/")
    return [name for name, form in forms.items() if form in text or form in shown]


VERBS: tuple[tuple[str, ...], ...] = (
    ("report", "RUN"),
    ("report", "RUN", "--audio", "--output", "page.html"),
    ("report", "RUN", "--by", "llm"),
    ("report", "RUN", "--format", "markdown"),
    ("report", "RUN", "--format", "markdown", "--output", "out.md"),
    *(
        ("report", "RUN", "--format", "csv", "--table", table, "--output", f"{table}.csv")
        for table in ("trials", "turns", "requests", "parts", "summary")
    ),
    ("report", "RUN", "--format", "csv"),
    ("report", "RUN", "--format", "json"),
    ("report", "RUN", "--format", "parquet", "--table", "requests", "--output", "r.parquet"),
    ("report", "RUN", "--format", "trace", "--trial", "t00003", "--output", "trace.json"),
    ("show", "RUN"),
    ("show", "RUN", "--json"),
    ("show", "RUN", "t00003"),
    ("show", "RUN", "t00003", "--json"),
    ("compare", "RUN"),
    ("compare", "RUN", "--json"),
    ("gate", "RUN", "--markdown", "gate.md", "--junit", "gate.xml"),
    ("gate", "RUN", "--json"),
    ("baseline", "save", "base.json", "RUN"),
    ("plan", "RUN"),
    # What goes wrong says what it was given.
    ("report", "RUN", "--format", "trace", "--trial", "KEY"),
    ("run", "KEY"),
    ("intelligibility", "RUN"),
)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_no_key_leaves_the_process(
    planted: tuple[Path, list[str]], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """No form of no key stands in any file of the run, in any export, or in what is printed."""
    run, keys = planted
    printed = []
    for words in VERBS:
        given = {"RUN": str(run), "KEY": keys[0]}
        main([given.get(each, each) for each in words])
        out, errors = capfd.readouterr()
        printed += [(f"{' '.join(words)}: stdout", out), (f"{' '.join(words)}: stderr", errors)]
    texts = [
        (str(path.relative_to(tmp_path)), text)
        for path in tmp_path.rglob("*")
        if path.is_file()
        for text in unpacked(path.read_bytes())
    ]
    assert len(texts) > 15
    assert sum("[redacted]" in text for _, text in (*texts, *printed)) > 15
    found = {
        f"{name}: key {number}: {trace}"
        for name, text in (*texts, *printed)
        for number, key in enumerate(keys)
        for trace in traces(text, key)
    }
    assert not found


def test_a_reference_stays_and_a_clear_secret_does_not(planted: tuple[Path, list[str]]) -> None:
    """The plan keeps ``$NAME`` and the names of variables, so that a run can be gone on with."""
    run, _ = planted
    plan = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    llm = plan["suite"]["candidate"][0]["llm"]
    assert llm["extra_headers"] == {"X-Api-Key": "[redacted]", "X-Plain": "$HEADER_VALUE"}
    assert llm["api_key_variable"] == "MY_OWN_VARIABLE"
    assert llm["base_url"] == "https://me:[redacted]@h.example/v1?token=[redacted]"


def test_numbers_are_not_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of digits alone changes no number of a stored trial."""
    (trial, *_) = make_run(utterances=1, repeats=1, seed=1)
    digits = str(trial.started_ns)[:8]
    monkeypatch.setenv("OPENAI_API_KEY", digits)
    said = make_utterances(1)
    plan = RunPlan(
        suite=make_suite("a", "b"), source="s.toml", seed=1, keys=(trial.key,), utterances=said,
        origin={said[0].id: 0}, datasets=(),
    )  # fmt: skip
    with create_run(plan, reports=tmp_path) as writer:
        writer.append(trial)
    assert writer.run.trials() == (trial,)


@pytest.mark.parametrize("stage", list(Stage))
def test_a_short_key_is_no_word(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is a common word masks no text of ours."""
    monkeypatch.setenv("OPENAI_API_KEY", "response")
    assert secrecy.mask_text(f"response of {stage.value}") == f"response of {stage.value}"


class _Echo(BaseHTTPRequestHandler):
    """A provider that hears, and names the caller's key where it refuses to answer."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(200, b"{}")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0) or 0))
        if self.path.endswith("transcriptions"):
            return self._answer(200, b'{"text": "what time is it"}')
        given = [self.headers.get(name, "") for name in ("authorization", "x-plain")]
        words = {"error": {"message": f"Incorrect: {' '.join(given)}", given[0]: given[1]}}
        return self._answer(401, json.dumps(words).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


LIVE = """
via = "live"
warmups = 0
[session]
vad = true
[limits]
same_failures = 2
[[dataset]]
path = "starter"
ids = ["slt-yes", "slt-clock"]
[[candidate]]
name = "mine"
stt = {{ provider = "openai", model = "whisper-1", base_url = "{0}" }}
tts = {{ provider = "openai", model = "tts-1", base_url = "{0}" }}
[candidate.llm]
provider = "openai"
model = "m"
base_url = "{0}"
api_key_variable = "MY_OWN_VARIABLE"
extra_headers = {{ X-Plain = "$HEADER_VALUE" }}
"""


@pytest.mark.slow
@pytest.mark.realtime
@pytest.mark.timeout(180)
def test_a_live_provider_that_echoes(tmp_path: Path) -> None:
    """A provider that is asked with the keys, and names them in its refusal, publishes none."""
    own = 'own-key-0123456789"/xyz', "value-of-the-header-98765", "third-key-for-hearing-1"
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "live.toml").write_text(
        LIVE.format(f"http://127.0.0.1:{server.server_port}/v1"), encoding="utf-8"
    )
    names = ("MY_OWN_VARIABLE", "HEADER_VALUE", "OPENAI_API_KEY")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "harness.cli", "run", "live.toml", "--yes"],
            cwd=tmp_path, env={**os.environ, **dict(zip(names, own, strict=True))},
            capture_output=True, text=True, check=False, timeout=170,
        )  # fmt: skip
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 1, done.stderr
    assert "Incorrect: Bearer [redacted] [redacted]" in done.stderr
    texts = [
        text
        for path in (tmp_path / "reports").rglob("*")
        if path.is_file()
        for text in unpacked(path.read_bytes())
    ]
    for text in (done.stdout, done.stderr, *texts):
        assert not [traces(text, key) for key in own if traces(text, key)]
