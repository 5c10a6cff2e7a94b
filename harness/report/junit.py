"""The gate as JUnit XML: one test case for each budget, for the test view of a CI system."""

import xml.etree.ElementTree as ET

from harness.report.format import VIRTUAL_CLOCK
from harness.report.view import ReportView, VerdictKind

__all__ = ["render_junit"]


def _legal(text: str) -> str:
    """Drop what XML 1.0 cannot hold (section 2.2)."""
    return "".join(
        c
        for c in text
        if c in "\t\n\r"
        or " " <= c <= "\ud7ff"
        or "\ue000" <= c <= "\ufffd"
        or "\U00010000" <= c <= "\U0010ffff"
    )


def render_junit(view: ReportView, *, inconclusive_fails: bool = True) -> str:
    """Return the verdict as JUnit XML.

    A budget that fails is a ``failure``. An inconclusive one is never passed: it is an ``error``,
    or ``skipped`` where inconclusive gates do not stop the merge, or where the budget is not
    required and does not decide.

    Args:
        view: of a gated run.
        inconclusive_fails: whether an inconclusive budget turns the suite red.

    Raises:
        ValueError: the run was not gated.
    """
    verdict = view.verdict
    if verdict is None:
        raise ValueError("JUnit XML shows a gate; this run was not gated")
    unsure = [each for each in verdict.budgets if each.kind is VerdictKind.INCONCLUSIVE]
    inconclusive = sum(each.decides for each in unsure)
    # A gate can be inconclusive as a whole, of a disturbed run, while no single budget is.
    whole = verdict.kind is VerdictKind.INCONCLUSIVE and inconclusive == 0
    undecided = len(unsure) - inconclusive
    inconclusive += whole
    counts = {
        "tests": len(verdict.budgets) + whole,
        "failures": sum(each.kind is VerdictKind.FAIL for each in verdict.budgets),
        "errors": inconclusive if inconclusive_fails else 0,
        "skipped": undecided + (0 if inconclusive_fails else inconclusive),
    }
    attributes = {name: str(number) for name, number in counts.items()}
    suites = ET.Element("testsuites", {"name": "turnbench", **attributes})
    suite = ET.SubElement(suites, "testsuite", {"name": _legal(view.title), **attributes})
    properties = ET.SubElement(suite, "properties")
    for name, value in (
        ("run", view.run),
        ("verdict", verdict.kind.value),
        ("emulated", view.emulated),
        ("clock", f"{VIRTUAL_CLOCK}: {view.virtual}" if view.virtual else view.clock),
    ):
        if value:
            ET.SubElement(properties, "property", {"name": name, "value": _legal(value)})

    def complain(
        case: ET.Element, kind: VerdictKind, message: str, body: str, *, decides: bool = True
    ) -> None:
        if kind is VerdictKind.PASS:
            return
        stops = inconclusive_fails and decides
        tag = "failure" if kind is VerdictKind.FAIL else "error" if stops else "skipped"
        found = ET.SubElement(case, tag, {"message": _legal(message)})
        if tag != "skipped":
            found.set("type", kind.value.lower())
        found.text = _legal(body)

    for each in verdict.budgets:
        case = ET.SubElement(
            suite,
            "testcase",
            {"classname": _legal(each.candidate), "name": _legal(f"{each.budget}: {each.limit}")},
        )
        emulated = " (EMULATED)" if each.emulated else ""
        complain(
            case,
            each.kind,
            each.reason or each.kind.value,
            f"measured {each.measured}{emulated}, limit {each.limit}",
            decides=each.decides,
        )
    if whole:
        case = ET.SubElement(suite, "testcase", {"classname": "gate", "name": "the run"})
        complain(case, verdict.kind, verdict.reason, verdict.reason)
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, "unicode") + "\n"
