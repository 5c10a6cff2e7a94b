"""What a verb leaves behind of a run: tables in the terminal, the page with its charts, texts."""

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from harness.analysis.compare.comparison import By
from harness.cli.shared.console import make_console
from harness.cli.shared.run_view import report_view
from harness.errors import ConfigurationError
from harness.report.charts import CHARTS, draw_charts
from harness.report.html import AudioClip, render_html
from harness.report.terminal import answer, failure_table, headline_table, plain_table, time_table
from harness.report.view import ReportView, VerdictView
from harness.store.files import replace_whole, write_output
from harness.store.runs.replies import reply_bytes
from harness.store.runs.run import Run
from harness.store.secrecy import mask_text

__all__ = ["print_view", "write_html", "write_text"]


CHARTS_FOLDER = "charts"
"""The folder beside a run's report that holds its charts as SVG."""


# Key, candidate, trials, failures, word errors, and the leading metric's p50 and p95.
# What a terminal would obey where the file is shown by `cat`.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_BREAKDOWN_COLUMNS = 7


def print_view(view: ReportView) -> None:
    """Print the answer, the table, where the time goes, and failures."""
    out = make_console()
    out.print()
    out.print(answer(view))
    out.print()
    if view.matrix is not None:
        out.print(plain_table(view.matrix))
        out.print()
    out.print(headline_table(view))
    out.print()
    if view.waterfalls:
        out.print(time_table(view))
        out.print()
    for table in view.breakdowns:
        out.print(plain_table(table, columns=_BREAKDOWN_COLUMNS))
        out.print()
    failures = failure_table(view)
    if failures is not None:
        out.print(failures)
        out.print()


def write_html(
    run: Run,
    path: Path | None = None,
    *,
    audio: bool = False,
    verdict: VerdictView | None = None,
    by: By | None = None,
) -> tuple[Path, ReportView]:
    """Write the HTML report of a run and its charts; return its path and what it shows.

    Args:
        run: to be reported.
        path: where to; None is ``report.html`` in the run's folder.
        audio: embed the replies instead of linking them.
        verdict: where the run was gated.
        by: the setting that candidates are compared by.
    """
    view = report_view(run, by=by, verdict=verdict)
    clips = _clips(run) if audio else {}
    target = path or run.path / "report.html"
    base = _link_to(run.path, target.parent)
    charts = draw_charts(view)
    page = render_html(view, prints=charts, audio=clips, audio_base=base)
    write_text(target, page, inside=path is None)
    _write_charts(run.path / CHARTS_FOLDER, charts)
    return target, view


def _write_charts(folder: Path, charts: Mapping[str, str]) -> None:
    """Write the charts as SVG files for slides; a folder that can only be read gets none."""
    with contextlib.suppress(OSError):
        if folder.is_symlink():
            folder.unlink()
        folder.mkdir(exist_ok=True)
        for name in CHARTS:
            path = folder / f"{name}.svg"
            if name in charts:
                text = mask_text(charts[name])
                replace_whole(path, text.encode("utf-8", "backslashreplace"), sync=False)
            else:
                # An earlier report of fewer trials may have had it.
                path.unlink(missing_ok=True)


def _link_to(folder: Path, page: Path) -> str:
    """Return the link from a page's folder to a run's, with its last slash; empty where equal."""
    there = os.path.relpath(folder.resolve(), page.resolve())
    return "" if there == "." else f"{quote(Path(there).as_posix())}/"


def _clips(run: Run) -> dict[tuple[str, int], AudioClip]:
    found = {}
    for trial in run.trials():
        for turn in trial.turns:
            if turn.reply is None or turn.reply.audio is None:
                continue
            try:
                data = reply_bytes(run.path, turn.reply.audio)
            except ConfigurationError:
                continue
            found[trial.key.id, turn.index] = AudioClip(media_type="audio/flac", data=data)
    return found


def write_text(path: Path, text: str, *, inside: bool = False) -> None:
    """Write a text file whole, without secrets; a write that fails leaves what was there.

    Args:
        path: where to.
        text: line ends are its own: CSV has CRLF.
        inside: of a run's folder, where no link is followed.

    Raises:
        ConfigurationError: it cannot be written.
    """
    content = _CONTROLS.sub("\ufffd", mask_text(text)).encode("utf-8", "backslashreplace")
    try:
        if inside:
            replace_whole(path, content)
        else:
            write_output(path, content)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error
