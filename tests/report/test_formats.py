"""The report in each format: its figures, its shape, and what no name or error text may break."""

import csv
import json
import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.formatting import clean
from kdbench.formatting import escape_latex as escape
from kdbench.report.badge import svg
from kdbench.report.content import Report
from kdbench.report.formats import FORMATS, format_of, render, write_out
from kdbench.report.html import page
from kdbench.report.sentences import legend
from kdbench.report.summary import lines, summary
from kdbench.spec.runs import Loss
from kdbench.spec.verdicts import Check, Outcome, Verdict, Word
from kdbench.verdict.controls import Control, Controlled
from tests.support.build import make_row, make_suite

REPRODUCED = Verdict(
    word=Word.REPRODUCED,
    printed=71.0,
    measured=71.12,
    std=0.1,
    n=3,
    interval=(-0.05, 0.29),
    within=True,
    p=0.01,
)
BELOW = replace(REPRODUCED, word=Word.BELOW, measured=69.0, interval=(-2.4, -1.6), within=False)
NONE = Verdict(word=Word.NO_REFERENCE)
FAILED = Verdict(word=Word.FAILED, printed=71.0, reason="seed 0 failed: loss is NaN (logs/a.txt)")
PENDING = Verdict(word=Word.PENDING, printed=71.0, reason="not run yet")


def checked(top1: Verdict, gain: Verdict = NONE, student: str = "mobilenetv2") -> Check:
    return Check(row=make_row(student, "resnet18"), ids=(), top1=top1, gain=gain)


def report(*checks: Check) -> Report:
    return Report(suite=make_suite(*(check.row for check in checks)), checks=checks)


def rendered(kind: str, *checks: Check) -> str:
    return render(make_suite(*(check.row for check in checks)), checks, format=kind)


# Choosing a format.


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.md", "markdown"), ("a", "markdown"), ("a.HTML", "html"), ("a.tex", "latex"), ("a.b.xml", "junit")],
)
def test_suffix_chooses_the_format(name: str, kind: str) -> None:
    assert format_of(Path(name)) == kind


def test_suffix_of_no_format_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"^a/report\.pdf: no format has the suffix \.pdf; .*\.tex \(latex\)"):
        format_of(Path("a/report.pdf"))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("options", ["--smoke", "--set epochs=5"])
def test_every_format_of_a_trial_looks_like_one(kind: str, options: str) -> None:
    own = report(checked(NONE))
    altered = write_out([replace(own, altered=options)], kind)
    if kind in ("badge", "shields"):
        assert "trial, no verdicts" in altered
    else:
        assert options in altered.replace("\\", "")
    assert "Trial" not in write_out([own], kind)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_of_nothing_at_all_is_whole(kind: str) -> None:
    assert rendered(kind).endswith("\n")


# JUnit.


def cases(text: str) -> list[ET.Element]:
    return list(ET.fromstring(text).iter("testcase"))  # noqa: S314 - our own text


@pytest.mark.parametrize(
    ("top1", "gain", "kind"),
    [
        (REPRODUCED, NONE, "system-out"),
        (REPRODUCED, PENDING, "system-out"),
        (BELOW, NONE, "failure"),
        (REPRODUCED, BELOW, "failure"),
        (FAILED, BELOW, "failure"),
        (FAILED, FAILED, "error"),
        (PENDING, PENDING, "skipped"),
        (NONE, NONE, "skipped"),
    ],
)
def test_junit_case_of_a_verdict(top1: Verdict, gain: Verdict, kind: str) -> None:
    [case] = cases(rendered("junit", checked(top1, gain)))
    assert [child.tag for child in case] == [kind]


def test_junit_failure_tells_the_verdict_with_its_figures() -> None:
    [case] = cases(rendered("junit", checked(BELOW)))
    told = "below: accuracy 69.00 ± 0.40 (3) against - printed, difference -2.00, tolerance 0.5"
    assert [failure.text for failure in case] == [told]


def test_junit_error_of_a_failed_run_says_why() -> None:
    [case] = cases(rendered("junit", checked(FAILED, FAILED)))
    assert case[0].get("message") == "failed: seed 0 failed: loss is NaN (logs/a.txt)"


def test_junit_counts_its_cases() -> None:
    text = rendered("junit", *map(checked, (BELOW, FAILED, PENDING, REPRODUCED), [NONE] * 4, "abcd"))
    root = ET.fromstring(text)  # noqa: S314 - our own text
    assert [root.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["4", "1", "1", "1"]


# The page, what stands beside its tables.


def test_page_tells_controls_where_they_are_asked_for() -> None:
    control = Control(name="lsr", loss=Loss("lsr"), ids=(), gain=0.4, interval=(0.1, 0.7), n=3)
    held = Controlled(
        row="1.kd/a<b", controls=(control,), best="lsr", gain=0.4, interval=(0.1, 0.7), outcome=Outcome.HOLDS
    )
    text = page([replace(report(checked(REPRODUCED)), controls=[held])])
    assert "<td>1.kd/a&lt;b</td><td>-</td><td>+0.40 ± 0.30</td>" in text
    assert "<td>lsr</td><td>+0.40 ± 0.30</td><td>holds</td>" in text
    assert "Beside controls" not in rendered("html", checked(REPRODUCED))


# CSV, JSON, LaTeX, badge.


def test_csv_has_the_values_of_each_seed() -> None:
    check = replace(checked(REPRODUCED), values={10: 71.5, 2: 70.25}, gains={2: -0.33333})
    [line] = csv.DictReader(StringIO(rendered("csv", check)))
    assert (line["top1 by seed"], line["gain by seed"]) == ("2=70.25 10=71.5", "2=-0.3333")


def test_csv_has_the_figures_of_a_row() -> None:
    [line] = csv.DictReader(StringIO(rendered("csv", checked(REPRODUCED))))
    figures = [
        line[f"top1 {name}"] for name in ("verdict", "measured", "n", "difference", "low", "high", "within")
    ]
    assert figures == ["reproduced", "71.12", "3", "0.12", "-0.05", "0.29", "true"]
    assert (line["gain measured"], line["gain within"], line["gain n"]) == ("", "", "0")


def test_json_has_each_check_on_a_line() -> None:
    text = rendered("json", *map(checked, (BELOW, FAILED), [NONE] * 2, "ab"))
    whole = json.loads(text)
    assert whole["schema"] == 1
    checks = [line for line in text.splitlines() if line.lstrip().startswith('{"row":')]
    assert [json.loads(line.rstrip(",")) for line in checks] == whole["reports"][0]["checks"]
    assert len(checks[0]) < 1400


def test_json_has_every_check_and_names_its_suite() -> None:
    [told] = json.loads(rendered("json", checked(BELOW)))["reports"]
    assert (told["suite"]["name"], told["checks"][0]["top1"]["interval"]) == ("tfkd_cifar100", [-2.4, -1.6])


def test_latex_row_is_set_as_mathematics() -> None:
    text = rendered("latex", checked(BELOW, replace(BELOW, measured=-0.5, printed=1.0), "a_b"))
    assert r"a\_b & resnet18 & -- & $69.00 \pm 0.40$ (3) & $-2.00$ & below & $+1.00$ & $-0.50" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2


@pytest.mark.parametrize(
    ("verdicts", "message", "colour"),
    [
        ([REPRODUCED, REPRODUCED], "2 of 2 reproduced", "brightgreen"),
        ([REPRODUCED, PENDING], "1 of 2 reproduced", "green"),
        ([REPRODUCED, BELOW, FAILED], "1 of 3 reproduced, 2 off", "orange"),
        ([PENDING], "0 of 1 reproduced", "lightgrey"),
        ([NONE], "nothing printed", "lightgrey"),
    ],
)
def test_badge_counts_and_is_coloured_as_the_exit_code(
    verdicts: list[Verdict], message: str, colour: str
) -> None:
    checks = [checked(verdict, student=str(number)) for number, verdict in enumerate(verdicts)]
    badge = json.loads(rendered("shields", *checks))
    assert (badge["schemaVersion"], badge["message"], badge["color"]) == (1, message, colour)
    assert f"<title>kdbench: {message}</title>" in svg([report(*checks)])


# The summary, cut.


def many(count: int, *, bad: int) -> list[Check]:
    """Rows of which the one at `bad` is below."""
    return [checked(BELOW if at == bad else REPRODUCED, student=f"student{at}") for at in range(count)]


def test_summary_below_the_limit_is_whole() -> None:
    text = summary([report(*many(20, bad=19))])
    assert (text.count("| 1.kd/student"), "left out" in text) == (20, False)


def test_summary_is_cut_below_the_limit_and_keeps_what_is_off() -> None:
    text = summary([report(*many(200, bad=199))], rest="https://ci/run/1", limit=4000)
    shown = text.count("| 1.kd/student")
    assert len(text.encode()) < 4000
    assert "student199" in text
    assert (
        f"{200 - shown} more rows, left out to keep this short: see [the whole report](https://ci/run/1)"
        in text
    )


@pytest.mark.slow
def test_summary_of_ten_thousand_rows_is_below_one_mebibyte() -> None:
    suites = [report(*many(5000, bad=4999)), report(*many(5000, bad=0))]
    text = summary(suites)
    assert 800_000 < len(text.encode()) < 2**20
    assert text.count("below") >= 4  # a row of each suite, and both headlines


# What names and texts may hold.

SPITEFUL = [
    "|",
    "<script>",
    "</script>",
    "<!--",
    "]]>",
    "`",
    "```",
    "\x1b[31m",
    "\x1b]0;a\x07",
    "\n",
    "\r\n",
    "\x00",
]
SPITEFUL += [
    "\x0b",
    "\x85",
    "\u2028",
    "\u202e",
    "\ufffe",
    "\\",
    "&amp;",
    "$u$",
    "{{ 1 }}",
    "{% x %}",
    '"',
    "'",
    "_",
    "*",
]
TEXTS = st.lists(st.sampled_from(SPITEFUL) | st.text(max_size=4), max_size=6).map("".join)
HALVES = TEXTS | st.just("half \ud800 a pair")


def spiteful(text: str) -> Check:
    """A row that has a text wherever a text can be."""
    row = replace(make_row(text, None, note=f"note {text}"), name=f"1/{text}", table=f"1{text}")
    return Check(row=row, ids=(), top1=replace(FAILED, reason=f"reason {text}"), gain=NONE)


@cache
def plain_report(kind: str) -> str:
    """The same of a text that does nothing."""
    return spiteful_report(kind, "a")


def spiteful_report(kind: str, text: str) -> str:
    check = spiteful(text)
    suite = replace(make_suite(check.row), paper=f"Paper {text}", code=f"code {text}")
    return render(suite, [check], format=kind, environment={"cpu": text}, command="kdbench")


READER = MarkdownIt("commonmark").enable("table")


def tokens(text: str) -> Iterator[Any]:
    for token in READER.parse(text):
        yield token
        yield from token.children or ()


@given(HALVES)
def test_no_text_breaks_the_markdown(text: str) -> None:
    found = list(tokens(spiteful_report("markdown", text)))
    kinds = [token.type for token in found]
    assert not {"html_block", "html_inline", "fence"} & set(kinds)
    assert kinds.count("code_inline") == legend("printed").count("`") / 2
    assert (kinds.count("table_open"), kinds.count("tr_open"), kinds.count("td_open")) == (1, 2, 10)
    cells = found[kinds.index("td_open") :]
    assert "".join(child.content for child in cells[1].children or ()) == clean(text)


class Page(HTMLParser):
    """The tags of a page, and the text of its row's header."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.student = ""
        self._inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count, but for places where a name may break, and notice the cell of the student."""
        if tag != "wbr":
            self.tags.append(tag)
        if dict(attrs).get("class") == "who":
            self.student = dict(attrs)["data-value"] or ""


@given(HALVES)
def test_no_text_breaks_the_page(text: str) -> None:
    page = Page(spiteful_report("html", text))
    assert page.tags == Page(plain_report("html")).tags
    assert page.student == clean(text)


@given(HALVES)
def test_no_text_breaks_the_xml(text: str) -> None:
    [case] = cases(spiteful_report("junit", text))
    assert case.get("name") == clean(f"1/{text}")
    assert (case[0].text or "").splitlines()[1] == clean(f"reason {text}")


@given(HALVES)
def test_no_text_breaks_the_csv(text: str) -> None:
    head, line = csv.reader(StringIO(spiteful_report("csv", text)))
    assert (len(head), dict(zip(head, line, strict=True))["student"]) == (len(line), clean(text))


@given(TEXTS)
def test_no_text_breaks_the_json(text: str) -> None:
    [told] = json.loads(spiteful_report("json", text))["reports"]
    assert told["checks"][0]["row"]["student"] == text


@given(HALVES)
def test_no_text_breaks_the_latex(text: str) -> None:
    assert not re.search(r'[\\&%$#_{}~^<>|"`]', re.sub(r"\\(?:[&%$#_{}]|text\w+\{\})", "", escape(text)))
    assert spiteful_report("latex", text).count("\n") == plain_report("latex").count("\n")


@given(HALVES)
def test_no_text_reaches_the_terminal_unclean(text: str) -> None:
    told, plain = lines([spiteful(text)]), lines([spiteful("a")])
    assert len(told) == len(plain)
    assert all(line.isprintable() or not re.search(r"[\x00-\x1f\x7f-\x9f]", line) for line in told)


@given(HALVES)
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    clean(text).encode()
