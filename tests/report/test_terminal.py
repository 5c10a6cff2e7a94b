"""Tables and bars in a terminal."""

import io
from dataclasses import replace

from rich.console import Console, RenderableType

from harness.report.terminal import answer, budget_table, failure_table, headline_table, time_table
from harness.report.trial_terminal import show_trial
from harness.report.view import VerdictKind
from tests.report.samples import make_view

VIEW = make_view(160, verdict=VerdictKind.INCONCLUSIVE)


def rendered(what: RenderableType, width: int = 120) -> str:
    """Return what a terminal without colours shows."""
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(what)
    return out.getvalue()


def test_headline_holds_every_metric() -> None:
    """The printed table has a line of each candidate for each metric, with n and failures."""
    text = rendered(headline_table(VIEW))
    for column in VIEW.columns:
        assert column.name in text
    for row in VIEW.rows:
        for each in row.cells:
            assert str(each.n) in text
            assert all(cell.text in text for _, cell in each.statistics)
    assert text.count("(emulated)") == len(VIEW.columns) * len(VIEW.rows)


def test_headline_fits_a_narrow_terminal() -> None:
    """At 80 columns no line is longer and every metric is still there."""
    text = rendered(headline_table(VIEW), width=80)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "Voice-to-voice" in text


def test_time_table_shares() -> None:
    """Where the time goes: bars of at most the given width, and the largest stage by share."""
    text = rendered(time_table(VIEW, width=40))
    assert "LLM" in text
    assert "%" in text
    assert max(line.count("█") + line.count("░") for line in text.splitlines()) <= 40


def test_answer_says_emulated_first() -> None:
    """EMULATED and the verdict come before the answer, the cautions after it."""
    text = rendered(answer(VIEW))
    assert text.index("EMULATED") < text.index("INCONCLUSIVE") < text.index("sooner")
    assert text.index("sooner") < text.index("disturbed by the machine")


def test_budgets_and_failures() -> None:
    """The gate's table shows each budget; a run without failures has no failure table."""
    table = budget_table(VIEW)
    assert table is not None
    assert "llm_ttft p50" in rendered(table)
    assert budget_table(replace(VIEW, verdict=None)) is None
    failures = failure_table(VIEW)
    assert failures is not None
    assert "no answer within 30 s" in rendered(failures)
    assert failure_table(replace(VIEW, failures=())) is None


def test_show_draws_the_turn() -> None:
    """One turn is shown with each part, its length, its transcripts and its events in order."""
    trial = next(each for each in VIEW.trials if each.turns[0].bars)
    text = rendered(show_trial(VIEW, trial))
    for bar in trial.turns[0].bars:
        assert bar.label in text
    assert "final transcript" in text
    assert text.index("speech_end") < text.index("first_audible")


def test_show_tells_slivers_in_one_line() -> None:
    """Parts below the stamps' own exactness are counted and summed, and have no line each."""
    trial = next(each for each in VIEW.trials if each.turns[0].bars)
    turn = trial.turns[0]
    end = turn.bars[-1].end_ns
    slivers = tuple(
        turn.bars[-1]._replace(label=f"sliver {number}", start_ns=end + start, end_ns=end + stop)
        for number, (start, stop) in enumerate(((0, 900), (900, 3_000), (3_000, 12_999)))
    )
    text = rendered(
        show_trial(VIEW, replace(trial, turns=(replace(turn, bars=(*turn.bars, *slivers)),)))
    )
    assert "sliver" not in text
    line = next(each for each in text.splitlines() if "below 0.01" in each)
    assert "3 parts" in line
    assert "0.013" in line


def test_show_moves_no_cursor() -> None:
    """A provider's escape sequence and markup reach the terminal as visible text."""
    trial = VIEW.trials[4]
    evil = "\x1b[2J\x1b]0;pwned\x07 [bold]x[/bold] \u202e"
    turn = replace(trial.turns[0], reply_text=evil)
    text = rendered(show_trial(VIEW, replace(trial, turns=(turn,))))
    assert not set(text) & {"\x1b", "\x07", "\u202e"}
    assert "[bold]x[/bold]" in text


def test_show_of_a_failed_trial() -> None:
    """A trial without a response still shows why it failed and what had happened."""
    trial = next(each for each in VIEW.trials if each.failure)
    text = rendered(show_trial(VIEW, trial))
    assert trial.failure in text
    assert trial.note in text
