"""What the page in a real browser marks, leaves out and prints."""

from dataclasses import replace

import pytest
from playwright.sync_api import expect

from harness.report.charts import draw_charts
from harness.report.html import render_html
from tests.report.conftest import VIEW, Opener

pytestmark = pytest.mark.browser


def test_a_page_that_is_emulated_throughout_says_so_once(opened: Opener) -> None:
    """Banner, heading and each candidate's name say EMULATED; the numbers bear no badge each."""
    page, _ = opened(replace(VIEW, comparisons=VIEW.comparisons * 2))
    expect(page.locator(".emulated-banner")).to_contain_text("EMULATED")
    assert page.locator(".emu").count() == page.locator("h1 .emu").count() == 1
    names = page.locator(".headline tbody .cand").all_inner_texts()
    names += page.locator("#trial-table tbody .cand").all_inner_texts()
    for cell in ("Candidate", "against"):
        names += page.locator(f'.compared td[data-label="{cell}"]').all_inner_texts()
    assert len(names) > 4
    assert all("emulated" in name for name in names)


def test_an_emulated_number_beside_a_live_one_is_marked(opened: Opener) -> None:
    """Where one candidate is live, each number of the emulated one has its badge."""
    live, other = VIEW.candidates
    mixed = (replace(live, name=live.name[:4], emulated=False), other)
    rows = (
        replace(
            VIEW.rows[0],
            cells=tuple(
                replace(
                    each,
                    statistics=tuple(
                        (label, replace(cell, emulated=False)) for label, cell in each.statistics
                    ),
                )
                for each in VIEW.rows[0].cells
            ),
        ),
        *VIEW.rows[1:],
    )
    page, _ = opened(replace(VIEW, candidates=mixed, rows=rows))
    for position, marked in enumerate((False, True)):
        row = page.locator(".headline tbody tr").nth(position)
        numbers = row.locator("td .st").count()
        assert row.locator("td .st .emu").count() == (numbers if marked else 0)
        assert numbers > 0


def test_a_phone_shows_the_comparison_s_numbers(opened: Opener) -> None:
    """At 390 px each figure of the comparison lies within the screen, under its name."""
    page, _ = opened(replace(VIEW, comparisons=VIEW.comparisons * 2), width=390)
    table = page.locator(".compared").first
    for name in ("Difference", "Ratio", "p, corrected", "Could have seen"):
        cells = table.locator(f'td[data-label="{name}"]')
        assert cells.count() > 0
        for box in (cells.nth(k).bounding_box() for k in range(cells.count())):
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390


def test_live_numbers_are_not_marked(opened: Opener) -> None:
    """A live run shows the word nowhere."""
    names = [replace(each, name=each.name[:4], emulated=False) for each in VIEW.candidates]
    rows = tuple(
        replace(
            row,
            cells=tuple(
                replace(
                    each,
                    statistics=tuple(
                        (label, replace(cell, emulated=False)) for label, cell in each.statistics
                    ),
                )
                for each in row.cells
            ),
        )
        for row in VIEW.rows
    )
    live = replace(
        VIEW,
        emulated="",
        verdict=None,
        candidates=tuple(names),
        rows=rows,
        comparisons=(),
        distributions=(),
        pareto=(),
        word_error_totals=None,
    )
    page, _ = opened(live)
    assert page.locator(".emu").count() == 0


def test_the_target_is_a_line(opened: Opener) -> None:
    """The response's chart shows the suite's target with its value; another metric's has none."""
    curves = (replace(VIEW.distributions[0], target=800.0), *VIEW.distributions[1:])
    page, _ = opened(replace(VIEW, distributions=curves))
    assert page.locator("#ecdf .target").count() == 1
    expect(page.locator("#ecdf")).to_contain_text("target 800")
    page.locator("#ecdf-metric").select_option("1")
    assert page.locator("#ecdf .target").count() == 0


def test_print_shows_charts_and_no_controls(opened: Opener) -> None:
    """On paper the interactive parts give way to drawn charts, and nothing is dark."""
    page, _ = opened(text=render_html(VIEW, prints=draw_charts(VIEW)), scheme="dark")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 794, "height": 1123})
    assert page.evaluate("document.documentElement.scrollWidth") == 794
    head = page.locator(".headline thead").bounding_box()
    body = page.locator(".headline tbody").bounding_box()
    assert head is not None
    assert body is not None
    assert head["y"] + head["height"] <= body["y"] + 1
    expect(page.locator("#theme")).to_be_hidden()
    expect(page.locator("#trials")).to_be_hidden()
    for image in page.locator(".print-only img").all():
        assert image.is_visible()
        assert image.evaluate("i => i.naturalWidth") > 100
        assert image.get_attribute("alt")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_paper_has_the_wide_layout_and_what_is_open(opened: Opener) -> None:
    """A sheet of A4 is no telephone: tables stay tables, and closed details stay closed."""
    page, _ = opened(replace(VIEW, comparisons=VIEW.comparisons * 2))
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 703, "height": 1000})
    head = page.locator(".headline thead").bounding_box()
    row = page.locator(".headline tbody tr").first.bounding_box()
    assert head is not None
    assert row is not None
    assert head["height"] > 10
    assert head["width"] == row["width"]
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("main details").count() > 0
    assert page.locator("main details[open]").count() == 0
