"""The report for CI: JUnit's XML, a test case per row, a test suite per table."""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from kdbench.formatting import EMPTY, clean, signed
from kdbench.report.content import Report
from kdbench.report.sentences import altered, notes
from kdbench.report.words import gain_word, measured, printed
from kdbench.spec.verdicts import Check, Verdict, Word
from kdbench.verdict.check import BAD

_BROKEN = frozenset({Word.FAILED, Word.BLOCKED, Word.UNREADABLE})
_OPEN = frozenset({Word.PENDING, Word.NO_REFERENCE})


def junit(reports: Sequence[Report]) -> str:
    """Below and above are failures; failed, blocked and unreadable are errors; without a verdict: skipped."""
    root = ET.Element("testsuites", name="kdbench")
    for report in reports:
        for table, checks in report.tables.items():
            suite = ET.SubElement(root, "testsuite", name=clean(f"{report.suite.name}/{table}"))
            if report.altered:
                properties = ET.SubElement(suite, "properties")
                ET.SubElement(properties, "property", name="trial", value=clean(altered(report.altered)))
            for check in checks:
                _case(suite, report, check)
            _count(suite)
    _count(root)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(suite: ET.Element, report: Report, check: Check) -> None:
    seconds = sum(report.results[of].seconds for of in check.ids if of in report.results)
    place = clean(f"{report.suite.name}.{check.row.table}")
    case = ET.SubElement(
        suite, "testcase", classname=place, name=clean(check.row.name), time=f"{seconds:.3f}"
    )
    words = {check.top1.word, check.gain.word}
    figures = "\n".join(_figures(check))
    if bad := words & BAD:
        kind = "error" if bad <= _BROKEN else "failure"
        what = ", ".join(word for word in Word if word in bad)
        ET.SubElement(case, kind, type=what, message=_message(check, figures)).text = figures
    elif words <= _OPEN:
        ET.SubElement(case, "skipped", message=_message(check, figures))
    else:
        ET.SubElement(case, "system-out").text = figures


def _message(check: Check, figures: str) -> str:
    """The figures that decide; where nothing was measured, why."""
    top1 = check.top1
    return figures.partition("\n")[0] if top1.measured is not None else clean(f"{top1.word}: {top1.reason}")


def _figures(check: Check) -> list[str]:
    """The verdicts with their figures, then what the row says, a line each."""
    top1, gain, row = check.top1, check.gain, check.row
    lines = [_sentence(top1, f"accuracy {measured(top1)}", printed(row), row.tolerance.top1)]
    if gain_word(check) != EMPTY:
        what = f"gain {measured(gain, sign=True)}"
        lines.append(_sentence(gain, what, signed(gain.printed), row.tolerance.gain))
    # CI shows the first line alone: it is about what failed.
    if gain.word in BAD and top1.word not in BAD:
        lines.reverse()
    return [clean(line) for line in (*lines, *notes(check))]


def _sentence(verdict: Verdict, what: str, printed: str, tolerance: float) -> str:
    difference = signed(verdict.difference)
    return (
        f"{verdict.word}: {what} against {printed} printed, difference {difference}, tolerance {tolerance:g}"
    )


def _count(element: ET.Element) -> None:
    """JUnit's sums, on a suite or on all of them."""
    cases = list(element.iter("testcase"))
    element.set("tests", str(len(cases)))
    for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(sum(case.find(kind) is not None for case in cases)))
    element.set("time", f"{sum(float(case.get('time', '0')) for case in cases):.3f}")
