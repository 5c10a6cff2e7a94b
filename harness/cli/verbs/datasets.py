"""``turnbench datasets``: list the shipped, check any, import one's own, pull public ones."""

import argparse
import json
import sys
from pathlib import Path

from harness.cli.shared.corpora import describe_corpora, pull
from harness.domain.utterance import DEFAULT_LANGUAGE
from harness.store.datasets.check import check_dataset
from harness.store.datasets.imports import import_dataset
from harness.store.datasets.manifest import read_dataset
from harness.store.datasets.shipped import find_dataset, shipped_datasets

__all__ = ["datasets"]

MISUSE = 2


def datasets(options: argparse.Namespace) -> int:
    """Do what was asked with datasets; return the exit code."""
    if options.do == "list":
        return _list(options)
    if options.do == "check":
        return _check(options)
    if options.do == "pull":
        return pull(options)
    return _import(options)


def _list(options: argparse.Namespace) -> int:
    rows = []
    for name, path in shipped_datasets().items():
        dataset = read_dataset(path)
        rows.append(
            {
                "name": name,
                "utterances": len(dataset.utterances),
                "seconds": dataset.duration_s,
                "synthetic": dataset.synthetic,
                "description": dataset.description,
                "path": str(path),
                "sha256": dataset.sha256,
            }
        )
    if options.json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return 0
    for row in rows:
        length = "" if row["seconds"] is None else f", {row['seconds']:.0f} s"
        kind = ", synthetic speech" if row["synthetic"] else ""
        print(f"{row['name']}: {row['utterances']} utterances{length}{kind}")
        if row["description"]:
            print(f"  {row['description']}")
        print(f"  {row['path']}")
    print("\nto be fetched with `turnbench datasets pull NAME`:")
    for each in describe_corpora():
        print(
            f"{each['name']}: {each['utterances']} utterances ({each['language']}), "
            f"{each['megabytes']} MB, {each['licence']}"
        )
    return 0


def _check(options: argparse.Namespace) -> int:
    reports = [check_dataset(find_dataset(each, base=Path.cwd())) for each in options.path]
    if options.json:
        document = [
            {
                "path": each.path,
                "sound": each.is_sound,
                "utterances": 0 if each.dataset is None else len(each.dataset.utterances),
                "sha256": None if each.dataset is None else each.dataset.sha256,
                "problems": list(each.problems),
                "cautions": list(each.cautions),
            }
            for each in reports
        ]
        print(json.dumps(document, ensure_ascii=False, indent=1))
    for each in reports:
        for line in each.problems:
            print(f"turnbench: {line}", file=sys.stderr)
        if options.json:
            continue
        for line in each.cautions:
            print(f"caution: {line}")
        if each.dataset is not None:
            count = len(each.dataset.utterances)
            found = len(each.problems)
            state = "sound" if each.is_sound else f"{found} problem{'s' if found > 1 else ''}"
            print(f"{each.path}: {count} utterances, {state}, sha256 {each.dataset.sha256[:16]}")
    return 0 if all(each.is_sound for each in reports) else MISUSE


def _import(options: argparse.Namespace) -> int:
    source = Path(options.source)
    target = Path(options.to) if options.to else Path("datasets") / source.resolve().name
    report = import_dataset(
        source,
        target,
        name=options.name or source.resolve().name,
        language=options.language or DEFAULT_LANGUAGE,
        licence=options.licence,
    )
    if options.json:
        document = {
            "manifest": str(report.manifest),
            "imported": report.imported,
            "estimated": report.estimated,
            "skipped": list(report.skipped),
            "cautions": list(report.cautions),
        }
        print(json.dumps(document, ensure_ascii=False, indent=1))
        return 0
    for line in report.skipped:
        print(f"left out: {line}")
    for line in report.cautions:
        print(f"caution: {line}")
    print(f"{report.manifest}: {report.imported} utterances")
    if report.estimated:
        print(
            f"The speech bounds of {report.estimated} were estimated by energy; hear them through "
            "and write speech_start_s and speech_end_s where they are wrong."
        )
    print(f'Use it in a suite: [[dataset]] path = "{target}"')
    return 0
