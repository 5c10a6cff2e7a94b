"""The grammar of the command line. Imports nothing heavy: help has to answer at once."""

import argparse
import importlib.metadata

from harness.cli.shared.arguments import (
    add_json,
    add_reports,
    add_verb,
    add_verdict,
    change,
    delay,
    natural,
    positive,
)

__all__ = ["make_parser"]

_DESCRIPTION = """\
Measure how long callers of a LiveKit voice agent wait, which stage is to blame, and whether a
change made it worse. Without keys, a loopback gateway stands in for the providers."""

_EPILOG = """\
first steps:
  turnbench run quick             measure two candidates; no keys, about a minute
  turnbench show latest t00004    one turn's waterfall
  turnbench compare latest        which is faster, how sure, at what word error rate
  turnbench run gate --gate       did a change make it slower? half a minute
  turnbench init                  lay suites and a workflow into your own repository

exit codes: 0 pass, 1 regression, 2 misuse or configuration, 3 inconclusive, 130 interrupted"""


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __init__(self, option_strings: list[str], dest: str, **_: object) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and leave")

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002 - argparse's signature
        values: object,  # noqa: ARG002 - likewise
        option_string: str | None = None,  # noqa: ARG002 - likewise
    ) -> None:
        try:
            version = importlib.metadata.version("turnbench")
        except importlib.metadata.PackageNotFoundError:
            version = "from a checkout that is not installed"
        print(f"turnbench {version}")
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; ``action`` of its result names ``module:function`` in this package."""
    parser = argparse.ArgumentParser(
        prog="turnbench",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    verbs = parser.add_subparsers(dest="verb", title="verbs", metavar="VERB")
    _add_run(verbs)
    _add_results(verbs)
    _add_predictions(verbs)
    _add_gate(verbs)
    _add_setup(verbs)
    return parser


change.__name__ = "percentage or ratio"
positive.__name__ = "whole number"
natural.__name__ = "whole number"


def _add_run(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = add_verb(
        verbs,
        "run",
        "run:run",
        "play a suite's utterances through its candidates and measure",
        "Play a suite's utterances through its candidates, measure every turn, and\n"
        "write a run folder with an HTML report. SUITE is a TOML file or a shipped suite's name.",
    )
    parser.add_argument("suite", metavar="SUITE", nargs="?", help="a suite file or a shipped name")
    parser.add_argument("--dry-run", action="store_true", help="say what it would take, and leave")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run that was cut short")
    parser.add_argument("--via", choices=("gateway", "live"), help="override the suite's via")
    parser.add_argument("--driver", choices=("session", "stage"), help="override the driver")
    parser.add_argument(
        "--candidate", metavar="NAME", action="append", help="only this one (may be repeated)"
    )
    parser.add_argument("--repeats", metavar="N", type=positive, help="override the repeats")
    parser.add_argument("--limit", metavar="N", type=positive, help="at most N utterances")
    parser.add_argument("--seed", metavar="N", type=natural, help="of order and gateway draws")
    parser.add_argument("--concurrency", metavar="N", type=positive, help="trials at once")
    parser.add_argument(
        "--clock",
        choices=("real", "virtual"),
        help="perform trials in real time, or on a clock that jumps while all is idle",
    )
    parser.add_argument(
        "--agent", metavar="MODULE:FUNCTION", help="measure your own session and agent"
    )
    parser.add_argument(
        "--keep-going",
        action="store_true",
        help="leave out a candidate that cannot start instead of refusing the run",
    )
    parser.add_argument(
        "--no-rerun", action="store_true", help="do not perform disturbed trials again"
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="play a run on the virtual clock twice, and say whether all values are equal",
    )
    parser.add_argument("--no-report", action="store_true", help="write no HTML report")
    parser.add_argument("--yes", action="store_true", help="do not ask before a live run")
    parser.add_argument(
        "--gate", action="store_true", help="judge the run by its budgets; exit 0, 1 or 3"
    )
    parser.add_argument(
        "--max-trials",
        metavar="N",
        type=positive,
        help="gate, and measure until the verdict is clear, at most N trials",
    )
    add_verdict(parser)
    add_reports(parser)
    add_json(parser)


def _add_results(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = add_verb(verbs, "report", "results:report", "write a stored run's report again")
    parser.add_argument("run", metavar="RUN", help="a run's folder or name, or latest")
    parser.add_argument(
        "--format",
        choices=("html", "markdown", "csv", "json", "parquet", "trace"),
        default="html",
        help="what to write (default: html)",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="where to (default: HTML in the run's folder, else stdout)"
    )
    parser.add_argument(
        "--table",
        choices=("trials", "turns", "requests", "parts", "summary"),
        help="what --format csv or parquet writes (default: trials)",
    )
    parser.add_argument("--trial", metavar="TRIAL", help="which one --format trace draws")
    parser.add_argument(
        "--audio", action="store_true", help="embed the replies' audio in the HTML report"
    )
    parser.add_argument(
        "--by",
        choices=("candidate", "llm", "stt", "tts", "voice"),
        help="compare by this part of the candidates",
    )
    add_reports(parser)

    parser = add_verb(verbs, "show", "results:show", "show one turn's waterfall in the terminal")
    parser.add_argument("run", metavar="RUN", help="a run's folder or name, or latest")
    parser.add_argument("trial", metavar="TRIAL", nargs="?", help="such as t00012; none lists all")
    add_reports(parser)
    add_json(parser)

    parser = add_verb(
        verbs,
        "intelligibility",
        "intelligibility:intelligibility",
        "transcribe a run's replies again and score them (tts_wer)",
    )
    parser.add_argument("run", metavar="RUN", help="a run's folder or name, or latest")
    parser.add_argument(
        "--provider", metavar="NAME", help="the recogniser (default: the suite's [intelligibility])"
    )
    parser.add_argument("--model", metavar="NAME", help="its model")
    parser.add_argument("--profile", metavar="NAME", help="its profile, through the gateway")
    parser.add_argument("--concurrency", metavar="N", type=positive, help="replies at once")
    add_reports(parser)
    add_json(parser)

    parser = add_verb(verbs, "compare", "compare:compare", "compare candidates, or two runs")
    parser.add_argument("runs", metavar="RUN", nargs="+", help="one run, or two")
    parser.add_argument(
        "--by",
        choices=("candidate", "llm", "stt", "tts", "voice"),
        help="which part of the candidates differs (default: candidate)",
    )
    add_reports(parser)
    add_json(parser)


def _add_predictions(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = add_verb(
        verbs,
        "compose",
        "predict:compose_run",
        "predict STT, LLM and TTS combinations that were not run",
        "Predict the response of any STT, LLM and TTS combination from stages that were measured:\n"
        "one by --stt, --llm and --tts, or every one. Where a combination was really run, the\n"
        "prediction's error is shown.",
    )
    parser.add_argument("run", metavar="RUN", help="a session run, or a run of the stage driver")
    for stage in ("stt", "llm", "tts"):
        parser.add_argument(f"--{stage}", metavar="CANDIDATE", help=f"whose {stage.upper()} it is")
    parser.add_argument(
        "--against", metavar="RUN", help="hold predictions against this session run's candidates"
    )
    add_reports(parser)
    add_json(parser)

    parser = add_verb(
        verbs,
        "whatif",
        "predict:whatif",
        "recompute a run's response under another setting",
        "Recompute the response from stored marks, without a provider: another endpointing delay,\n"
        "preemptive generation on or off, or another voice that the run has measured.",
    )
    parser.add_argument("run", metavar="RUN", help="a session run")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--endpointing-ms", metavar="MS", type=delay, help="the delay")
    choice.add_argument("--preemptive", choices=("on", "off"), help="preemptive generation")
    choice.add_argument("--voice", metavar="NAME", help="a voice of another candidate of the run")
    parser.add_argument("--candidate", metavar="NAME", help="only this one")
    add_reports(parser)
    add_json(parser)


delay.__name__ = "number of milliseconds"


def _add_gate(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = add_verb(verbs, "gate", "gate:gate", "judge a run by its suite's budgets")
    parser.add_argument("run", metavar="RUN", help="a run's folder or name, or latest")
    add_verdict(parser)
    parser.add_argument(
        "--format",
        choices=("text", "markdown", "junit", "json"),
        default="text",
        help="what to print (default: text)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write it there instead of printing")
    add_reports(parser)
    add_json(parser)

    parser = add_verb(verbs, "baseline", "gate:baseline", "keep what a gate compares against")
    parser.add_argument("do", choices=("save", "show", "update"), help="what to do")
    parser.add_argument("file", metavar="FILE", help="the baseline, such as bench/baselines/x.json")
    parser.add_argument("runs", metavar="RUN", nargs="*", help="runs to build it from")
    add_reports(parser)
    add_json(parser)

    parser = add_verb(verbs, "plan", "plan:plan", "say how many trials a detectable change needs")
    parser.add_argument("run", metavar="RUN", help="a pilot run: eight utterances or more")
    parser.add_argument("--metric", metavar="ID", default="response", help="(default: response)")
    parser.add_argument(
        "--change",
        metavar="SIZE",
        type=change,
        default=1.1,
        help="to detect: 10%% or 1.1 (default: 10%%)",
    )
    parser.add_argument(
        "--statistic", choices=("p50", "p90", "p95", "p99"), default="p50", help="(default: p50)"
    )
    parser.add_argument(
        "--budgets", metavar="N", type=positive, default=1, help="of the whole gate (default: 1)"
    )
    parser.add_argument(
        "--utterances",
        metavar="N",
        type=positive,
        help="of the planned run (default: the pilot's)",
    )
    add_reports(parser)
    add_json(parser)


def _add_setup(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = add_verb(
        verbs, "doctor", "doctor:doctor", "check keys, endpoints, clock and the harness's own error"
    )
    parser.add_argument("suite", metavar="SUITE", nargs="?", help="check what this suite needs")
    parser.add_argument(
        "--no-measure", action="store_true", help="do not measure the harness's own error"
    )
    add_reports(parser)
    add_json(parser)

    parser = add_verb(
        verbs,
        "overhead",
        "overhead:overhead",
        "measure the harness's own error on this machine",
        "Play trials against the gateway's profile of constant delays and compare what was marked\n"
        "with what the gateway did, on one clock. Takes twelve minutes; --quick half a minute.",
    )
    parser.add_argument("--quick", action="store_true", help="a few trials, as doctor does")
    parser.add_argument(
        "--clock-check",
        action="store_true",
        help="instead: how far the virtual clock lies from the real one, in a minute",
    )
    parser.add_argument("--output", metavar="FILE", help="write the result as JSON")
    parser.add_argument(
        "--strict", action="store_true", help="exit 1 when a promised figure is missed"
    )
    add_json(parser)

    parser = add_verb(verbs, "gateway", "gateway:gateway", "run the loopback gateway by itself")
    parser.add_argument("--port", metavar="N", type=natural, default=0, help="0 is any free one")
    parser.add_argument("--seed", metavar="N", type=natural, default=0, help="of its draws")
    parser.add_argument("--profiles", metavar="FILE", help="a TOML file with further profiles")
    parser.add_argument("--dataset", metavar="PATH", help="whose texts the oracle knows")
    parser.add_argument("--truth", metavar="FILE", help="write what was sent, and when")
    parser.add_argument(
        "--recogniser", choices=("pocketsphinx", "oracle"), help="instead of the profile's"
    )
    parser.add_argument("--list", action="store_true", help="list the profiles, and leave")
    add_json(parser)

    parser = add_verb(
        verbs, "datasets", "datasets:datasets", "list, check, import and pull recordings"
    )
    actions = parser.add_subparsers(dest="do", metavar="list|check|import|pull", required=True)
    listing = actions.add_parser("list", help="list the shipped datasets", allow_abbrev=False)
    add_json(listing)
    check = actions.add_parser(
        "check", help="verify hashes, formats and timings", allow_abbrev=False
    )
    check.add_argument("path", metavar="PATH", nargs="+", help="a dataset's folder or name")
    add_json(check)
    importing = actions.add_parser(
        "import",
        help="make a dataset of your own recordings",
        description="Make a dataset of a folder of recordings (any rate, channels and common "
        "format) with their texts beside them as .txt, CSV or JSON Lines. NeMo manifests, Kaldi "
        "folders, Common Voice releases, Hugging Face audio folders and LibriSpeech's layout are "
        "read as they are.",
        allow_abbrev=False,
    )
    importing.add_argument("source", metavar="DIR", help="the recordings")
    importing.add_argument("--to", metavar="DIR", help="the dataset's folder")
    importing.add_argument("--name", metavar="NAME", help="what reports call it")
    importing.add_argument("--language", metavar="TAG", help="of recordings that state none")
    importing.add_argument("--licence", metavar="TEXT", help="of the recordings")
    add_json(importing)
    pulling = actions.add_parser(
        "pull",
        help="fetch public speech",
        description="Fetch a public corpus, check it, and make a dataset of it or of a part that "
        "spreads evenly over its speakers. A fetch that broke off goes on where it stopped. "
        "`turnbench datasets list` names the corpora.",
        allow_abbrev=False,
    )
    pulling.add_argument("name", metavar="NAME", help="such as librispeech-test-clean")
    pulling.add_argument("--to", metavar="DIR", help="the dataset's folder")
    pulling.add_argument("--limit", metavar="N", type=positive, help="at most N utterances")
    pulling.add_argument(
        "--max-seconds", metavar="S", type=float, help="leave longer recordings out"
    )
    pulling.add_argument(
        "--seed", metavar="N", type=natural, default=0, help="of the choice (default: 0)"
    )
    pulling.add_argument("--yes", action="store_true", help="accept the licence without asking")
    pulling.add_argument("--url", metavar="URL", help="a mirror of the archive")
    pulling.add_argument(
        "--sha256", metavar="HEX", help="of an archive that is not the published one"
    )
    pulling.add_argument(
        "--cache", metavar="DIR", help="where archives are kept (default: ~/.cache/turnbench)"
    )
    add_json(pulling)

    parser = add_verb(verbs, "providers", "providers:providers", "list providers, models and keys")
    parser.add_argument("name", metavar="NAME", nargs="?", help="all about one provider")
    add_json(parser)

    parser = add_verb(verbs, "init", "init:init", "lay a suite and a workflow into your repository")
    parser.add_argument("folder", metavar="DIR", nargs="?", default=".", help="(default: here)")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")
