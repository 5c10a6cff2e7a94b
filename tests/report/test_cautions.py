"""What has one cause is one line."""

from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.summary.caution import Caution
from harness.report.cautions import caution_views, merged


def disturbed(name: str, hit: int, of: int) -> Caution:
    """Return a caution of one candidate."""
    return Caution(
        code="disturbed",
        text=f"{name}: the machine disturbed {hit} of {of} attempts",
        advice="take a quieter machine",
        candidate=name,
    )


def test_one_cause_is_one_line_with_a_range() -> None:
    """Six candidates with six counts are one line that gives the least and the most."""
    found = [disturbed(f"glm-5.{k}", 3 + k, 9 + k % 2) for k in range(6)]
    (line,) = caution_views(found, 6)
    assert line.title == "All 6 candidates: the machine disturbed 3 to 8 of 9 to 10 attempts"
    assert line.advice == "Take a quieter machine."
    assert line.serious


def test_a_few_are_named_and_many_are_counted() -> None:
    """Up to three names stand in the line; of more it says how many of how many."""
    found = [disturbed(name, 3, 9) for name in "abcd"]
    assert caution_views(found[:1], 6)[0].title == "a: the machine disturbed 3 of 9 attempts"
    assert caution_views(found[:3], 6)[0].title.startswith("a, b, c: the machine")
    assert caution_views(found, 6)[0].title.startswith("4 of 6 candidates: the machine")


def test_other_causes_stay_apart() -> None:
    """Another cause, another advice, or another percentile is a line of its own."""
    late = Caution(
        code="lateness",
        text="a: frames were up to 57.4 ms late (p99 of a trial)",
        advice="lower the concurrency",
        candidate="a",
    )
    other = Caution(code="lateness", text=late.text.replace("p99", "p95"), advice=late.advice)
    whole = Caution(code="synthetic", text="the recordings are synthetic", advice="import some")
    titles = [each.title for each in caution_views([late, other, whole, disturbed("a", 1, 2)], 1)]
    assert titles == [
        "a: frames were up to 57.4 ms late (p99 of a trial)",
        "A: frames were up to 57.4 ms late (p95 of a trial)",
        "The recordings are synthetic",
        "a: the machine disturbed 1 of 2 attempts",
    ]


def test_a_name_within_the_sentence_keeps_its_numbers() -> None:
    """Candidates whose names differ in digits are not made a range."""
    found = [
        Caution(code="x", text=f"{name} answered nobody", advice="look", candidate=name)
        for name in ("b 2", "b 10")
    ]
    assert [each.title for each in caution_views(found, 2)] == [
        "b 2 answered nobody",
        "b 10 answered nobody",
    ]


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=8))
def test_every_number_lies_in_the_range_that_is_told(counts: list[tuple[int, int]]) -> None:
    """No caution says less than what was found: its ends are the least and the most."""
    found = [disturbed(f"c{k}", *each) for k, each in enumerate(counts)]
    (line,) = caution_views(found, len(counts))
    for column in zip(*counts, strict=True):
        low, high = min(column), max(column)
        assert (str(low) if low == high else f"{low} to {high}") in line.title


def test_texts_that_differ_in_numbers_are_one() -> None:
    """Notes of one cause are merged in the order of their first, and a percentile is no number."""
    notes = [
        "No p95: 59 are needed, there are 24",
        "left out",
        "No p95: 59 are needed, there are 8",
    ]
    assert merged(notes) == ("No p95: 59 are needed, there are 8 to 24", "left out")
    assert merged([]) == ()
