"""``turnbench datasets pull``: fetch public speech and make a dataset of it."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from harness.errors import ConfigurationError
from harness.store.datasets.corpora import CORPORA, Corpus
from harness.store.datasets.download import Progress, download
from harness.store.datasets.pull import choose, list_archive, make_corpus_dataset
from harness.store.spelling import nearest

__all__ = ["describe_corpora", "pull"]

MISUSE = 2
_EVERY_S = 0.25


def describe_corpora() -> list[dict[str, object]]:
    """Return what can be pulled, as JSON values."""
    return [
        {
            "name": each.name,
            "title": each.title,
            "utterances": each.utterances,
            "language": each.language,
            "megabytes": round(each.size / 1e6),
            "licence": each.licence,
            "url": each.url,
            "sha256": each.sha256,
        }
        for each in CORPORA.values()
    ]


def cache_folder() -> Path:
    """Return where archives are kept: ``turnbench`` within the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME", "").strip()
    return (Path(base) if base else Path.home() / ".cache") / "turnbench"


def pull(options: argparse.Namespace) -> int:
    """Fetch, check, choose and import; return the exit code."""
    corpus = _corpus(options.name)
    target = Path(options.to) if options.to else Path("datasets") / corpus.name
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigurationError(
            f"{target}: exists already and is never overwritten: give another folder with --to"
        )
    if not _accepted(corpus, yes=options.yes):
        return MISUSE
    url = options.url or corpus.url
    sha256 = (options.sha256 or corpus.sha256).lower()
    own = sha256 != corpus.sha256
    name = f"{corpus.name}-{sha256[:12]}.tar.gz"
    archive = (Path(options.cache) if options.cache else cache_folder()) / name
    print(f"turnbench: fetching {url} to {archive}", file=sys.stderr)
    download(
        url, archive, sha256=sha256, size=None if own else corpus.size, progress=_progress_line()
    )
    entries = list_archive(archive)
    chosen = choose(
        entries, limit=options.limit, max_seconds=options.max_seconds, seed=options.seed
    )
    recipe = (
        f"{len(chosen)} of {len(entries)} utterances of {url} (SHA-256 {sha256}), "
        f"limit {options.limit or 'none'}, max-seconds {options.max_seconds or 'none'}, "
        f"seed {options.seed}; speech bounds estimated by energy"
    )
    report = make_corpus_dataset(corpus, archive, target, chosen, recipe=recipe)
    if options.json:
        document = {
            "manifest": str(report.manifest),
            "archive": str(archive),
            "available": len(entries),
            "imported": report.imported,
            "speakers": len({each.speaker for each in chosen}),
            "skipped": list(report.skipped),
            "cautions": list(report.cautions),
        }
        print(json.dumps(document, ensure_ascii=False, indent=1))
        return 0
    for line in (*report.skipped, *report.cautions):
        print(f"caution: {line}")
    speakers = len({each.speaker for each in chosen})
    print(f"{report.manifest}: {report.imported} utterances of {speakers} speakers")
    print(
        "Their speech bounds were estimated by energy: differences between candidates hold, "
        "absolute times carry that tolerance."
    )
    print(f"The archive stays at {archive}; remove it when you need no other part of it.")
    print(f'Use the dataset in a suite: [[dataset]] path = "{target}"')
    return 0


def _corpus(name: str) -> Corpus:
    if name in CORPORA:
        return CORPORA[name]
    guess = nearest(name, tuple(CORPORA))
    mend = f"did you mean {guess}?" if guess else f"known: {', '.join(CORPORA)}"
    raise ConfigurationError(f"datasets pull: there is no {name!r}; {mend}")


def _accepted(corpus: Corpus, *, yes: bool) -> bool:
    """Show the licence and ask for consent."""
    print(
        f"{corpus.title}: {corpus.utterances} utterances, {corpus.size / 1e6:.0f} MB\n"
        f"  licence      {corpus.licence}, {corpus.licence_url}\n"
        f"  to be named  {corpus.attribution}\n"
        f"  note         {corpus.note}",
        file=sys.stderr,
    )
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigurationError(
            f"datasets pull: {corpus.name} is under {corpus.licence}: accept it with --yes"
        )
    print("Accept the licence and fetch it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().casefold() in {"y", "yes"}:
        return True
    print("Nothing was fetched.", file=sys.stderr)
    return False


def _progress_line() -> Progress:
    """Return what shows progress: one line that is written over, or a line every tenth."""
    shown = -1.0
    tenth = -1
    live = sys.stderr.isatty()

    def show(there: int, whole: int | None) -> None:
        nonlocal shown, tenth
        now = time.monotonic()
        done = there == whole
        part = -1 if not whole else there * 10 // whole
        if (live and (done or now - shown >= _EVERY_S)) or (not live and part > tenth):
            share = f" of {whole / 1e6:.0f} MB, {there / whole:.0%}" if whole else " MB"
            end = "\n" if done or not live else ""
            start = "\r\x1b[K" if live else ""
            print(f"{start}{there / 1e6:.0f}{share}", end=end, file=sys.stderr, flush=True)
            shown, tenth = now, part

    return show
