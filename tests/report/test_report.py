"""The report: a small one whole, the words, the numbers, and what must not break a table."""

import re

import pytest
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.formatting import escape, number, signed
from kdbench.report.content import Report
from kdbench.report.formats import render
from kdbench.report.sentences import exactness, settings, who_by_setting
from kdbench.report.summary import BEGIN, END, lines, put_between, summary
from kdbench.report.words import measured
from kdbench.spec.runs import Loss, Recipe
from kdbench.spec.suites import Delta, Reference, Row, Suite
from kdbench.spec.verdicts import Check, Verdict, Word
from kdbench.suite.lint import lint_suite
from kdbench.verdict.check import check_suite
from tests.support.build import CE, make_cell, make_failures, make_results, make_row, make_run, make_suite


def small() -> tuple[Suite, list[Check]]:
    """A suite of two tables, checked: reproduced, consistent, sic, blocked, pending."""
    rows = [
        make_row("mobilenetv2", None, Reference(top1=68.38), table="1.ce", loss=CE),
        make_row("mobilenetv2", "resnet18", Reference(top1=71.05, std=0.16, n=3, gain=2.67)),
        make_row("mobilenetv2", "resnet50@50", Reference(top1=71.45, gain=3.09), table="4", sic=True),
        make_row("shufflenetv2", "resnet18", table="4", note="a | b", assumed="alpha 0.95"),
    ]
    cells = [
        make_cell(rows[0]),
        make_cell(rows[1], taught_by="resnet18"),
        make_cell(rows[2], taught_by="resnet50"),
        make_cell(rows[3]),
    ]
    results = make_results(cells[0], [68.3, 68.4, 68.5])
    results |= make_results(cells[1], [71.0, 71.4, None])
    suite = replace(make_suite(*rows), code="github.com/a/b", arxiv="1909.11723")
    shuffled = dict(reversed(results.items()))
    return suite, check_suite(cells, shuffled, make_failures(make_run("resnet50", 0, CE)))


DELTA = Delta(
    at="my_loss_function.py:14",
    why="KLDivLoss averages over the K classes too",
    where={"student": ("mobilenetv2", "resnet18")},
    recipe={"lr": 0.2},
    loss={"kd": "kd_released"},
    params={"multiplier": 50.0},
    teacher="best",
)

GOLDEN = r"""
# A paper

data set cifar100, as released, suite tfkd_cifar100, arXiv 1909.11723, github.com/a/b

1 of 3 accuracies reproduced, 1 consistent, 1 blocked (2 within the tolerance); 0 of 2 gains reproduced, 1 consistent, 1 blocked (1 within the tolerance); 1 without a printed accuracy. Of 3 tested verdicts at most 0.15 are wrong by chance, on average. That does not cover the error of the printed number itself, which counts as exact in 1.

Accuracies in percent, gains and differences in percentage points. Printed: the mean and, where given, ± the
standard deviation and in brackets the number of runs. Measured: the mean over the seeds, ± half the 90 %
interval of the difference, and in brackets the number of seeds. Difference: measured minus printed.
Verdict: `reproduced` and `consistent` lie within the tolerance; `inconclusive`, `below`, `above` and
`single seed, outside` do not.

## Table 1.ce

Loss: ce. Epochs: 2. Reported epoch: last. Tolerance: 0.5 (gain 0.5). Asked: 3 seeds.

| student     | teacher   |   printed |         measured |   difference | verdict    |   printed gain |   measured gain |   gain difference | verdict of the gain   |
|:------------|:----------|----------:|-----------------:|-------------:|:-----------|---------------:|----------------:|------------------:|:----------------------|
| mobilenetv2 |           |     68.38 | 68.40 ± 0.17 (3) |        +0.02 | reproduced |              - |               - |                 - | -                     |

The printed means count as exact: their error is not printed.

## Table 1.kd

Loss: kd (alpha 0.95, tau 20). Epochs: 2. Reported epoch: last. Tolerance: 0.5 (gain 0.5). Asked: 3 seeds.

| student     | teacher   |          printed |         measured |   difference | verdict    |   printed gain |    measured gain |   gain difference | verdict of the gain   |
|:------------|:----------|-----------------:|-----------------:|-------------:|:-----------|---------------:|-----------------:|------------------:|:----------------------|
| mobilenetv2 | resnet18  | 71.05 ± 0.16 (3) | 71.20 ± 0.85 (2) |        +0.15 | consistent |          +2.67 | +2.85 ± 0.56 (2) |             +0.18 | consistent            |

- mobilenetv2 from resnet18: 2 more seeds are needed, if mean and spread stay; 2 of 3 seeds so far

## Table 4

Loss: kd (alpha 0.95, tau 20). Epochs: 2. Reported epoch: last. Tolerance: 0.5 (gain 0.5). Asked: 3 seeds.

| student      | teacher     |   printed |   measured |   difference | verdict      |   printed gain |   measured gain |   gain difference | verdict of the gain   |
|:-------------|:------------|----------:|-----------:|-------------:|:-------------|---------------:|----------------:|------------------:|:----------------------|
| mobilenetv2  | resnet50@50 |     71.45 |          - |            - | blocked      |          +3.09 |               - |                 - | blocked               |
| shufflenetv2 | resnet18    |         - |          - |            - | no reference |              - |               - |                 - | -                     |

The printed means count as exact: their error is not printed.

- mobilenetv2 from resnet50@50: its teacher resnet50 (seed 0) failed: loss is NaN (logs/a.txt)
- mobilenetv2 from resnet50@50: the printed gain is not value minus baseline; it stands as printed
- shufflenetv2 from resnet18: no reference accuracy; not run yet
- shufflenetv2 from resnet18: assumed: alpha 0.95
- shufflenetv2 from resnet18: a \| b

## Remarks on the numbers

The best epoch on test lies +0.00 points above the last (mean over 2 trainings, each the mean of its seeds; from +0.00 to +0.00).

## Deltas

- my_loss_function.py:14: lr = 0.2; multiplier = 50.0; loss kd becomes kd_released; teachers are taken at best (where student mobilenetv2 or resnet18). KLDivLoss averages over the K classes too

## Lint

- mobilenetv2 from resnet50@50, kd, Table 4: the printed gain is 3.09, but 71.45 - 68.38 is 3.07

## Environment

- gpu: None
- torch: 2.6.0

## Command

    kdbench report suites/tfkd_cifar100.toml
"""  # noqa: E501 - as it is written

SUMMARY = r"""
| row                       |   reference |         measured | verdict      |   gain |    measured gain | verdict of the gain   |
|:--------------------------|------------:|-----------------:|:-------------|-------:|-----------------:|:----------------------|
| 1.ce/mobilenetv2          |       68.38 | 68.40 ± 0.17 (3) | reproduced   |      - |                - | -                     |
| 1.kd/mobilenetv2:resnet18 |       71.05 | 71.20 ± 0.85 (2) | consistent   |  +2.67 | +2.85 ± 0.56 (2) | consistent            |
| 4/mobilenetv2:resnet50@50 |       71.45 |                - | blocked      |  +3.09 |                - | blocked               |
| 4/shufflenetv2:resnet18   |           - |                - | no reference |      - |                - | -                     |
"""  # noqa: E501 - as it is written

LINES = """
row                          printed          measured    difference  verdict                   gain  verdict of the gain
-------------------------  ---------  ----------------  ------------  ------------  ----------------  ---------------------
1.ce/mobilenetv2               68.38  68.40 ± 0.17 (3)         +0.02  reproduced                   -  -
1.kd/mobilenetv2:resnet18      71.05  71.20 ± 0.85 (2)         +0.15  consistent    +2.85 ± 0.56 (2)  consistent
4/mobilenetv2:resnet50@50      71.45                 -             -  blocked                      -  blocked
4/shufflenetv2:resnet18            -                 -             -  no reference                 -  -

1.kd/mobilenetv2:resnet18: 2 more seeds are needed, if mean and spread stay; 2 of 3 seeds so far
4/mobilenetv2:resnet50@50: its teacher resnet50 (seed 0) failed: loss is NaN (logs/a.txt)
4/shufflenetv2:resnet18: no reference accuracy; not run yet

1 of 3 accuracies reproduced, 1 consistent, 1 blocked (2 within the tolerance); 0 of 2 gains reproduced, 1 consistent, 1 blocked (1 within the tolerance); 1 without a printed accuracy. Of 3 tested verdicts at most 0.15 are wrong by chance, on average. That does not cover the error of the printed number itself, which counts as exact in 1.
"""  # noqa: E501 - as it is written


def text_of(*rows: Row, kind: str = "markdown") -> str:
    """The report of rows that were not run."""
    return render(make_suite(*rows), check_suite(map(make_cell, rows), {}), format=kind)


def test_report_of_a_small_suite_whole() -> None:
    suite, checks = small()
    suite = replace(suite, deltas=(DELTA,))
    text = render(
        suite,
        checks,
        lint_suite(suite),
        variant="released",
        command="kdbench report suites/tfkd_cifar100.toml",
        environment={"torch": "2.6.0", "gpu": None},
    )
    assert text == GOLDEN.lstrip("\n")


def test_report_does_not_depend_on_the_order_of_the_checks() -> None:
    suite, checks = small()
    texts = {render(suite, order) for order in (checks, checks[::-1], checks[2:] + checks[:2])}
    assert len(texts) == 1


def test_report_as_printed_leaves_out_what_the_code_does() -> None:
    suite, checks = small()
    suite = replace(suite, deltas=(DELTA,))
    assert "Deltas" not in render(suite, checks, variant="printed", command="kdbench report")


def test_report_without_anything_to_say_has_no_empty_sections() -> None:
    suite, checks = small()
    text = render(suite, checks[3:])
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == ["# A paper", "## Rows"]


def test_report_of_a_delta_that_only_changes_a_formula() -> None:
    suite, checks = small()
    suite = replace(suite, deltas=(Delta(at="a.py:1", why="the *mean* is taken"),))
    text = render(suite, checks)
    assert "\n- a.py:1: the \\*mean\\* is taken\n" in text


def test_report_tells_rows_of_the_same_runs() -> None:
    rows = [make_row(table=table, reference=Reference(top1=71.0)) for table in ("1", "9")]
    assert "- mobilenetv2: same runs as 9/mobilenetv2\n" in text_of(*rows)


def test_report_counts_the_optimism_of_shared_runs_once() -> None:
    rows = [make_row(name, table=table) for name, table in (("a", "1"), ("a", "9"), ("b", "1"))]
    checks = [replace(check, optimism=0.2) for check in check_suite(map(make_cell, rows), {})]
    text = render(make_suite(*rows), checks)
    assert "+0.20 points above the last (mean over 2 trainings" in text


def test_report_says_that_one_teacher_taught_all_seeds() -> None:
    """Where there is one, and a row that has it."""
    taught, alone = make_row("a", "b"), make_row("b", loss=CE)
    suite = replace(make_suite(taught, alone), teacher_seed=4)
    sentence = "All seeds of a row learn from one teacher, that of seed 4: the spread over seeds does not"
    cases = (((taught,), suite, True), ((alone,), suite, False), ((taught,), make_suite(), False))
    for rows, shared, told in cases:
        checks = check_suite(map(make_cell, rows), {})
        text = render(shared, checks)
        assert (sentence in text) == told


def test_report_says_which_references_are_second_hand() -> None:
    row = make_row(reference=Reference(top1=71.0, kind="second-hand", source="a survey"))
    assert "- mobilenetv2: reference second-hand: a survey\n" in text_of(row)


@pytest.mark.parametrize("word", Word)
def test_every_word_is_written_in_every_form(word: Word) -> None:
    verdict = Verdict(word=word, printed=71.0)
    check = Check(row=make_row(), ids=(), top1=verdict, gain=verdict)
    suite = make_suite(check.row)
    texts = (
        render(suite, [check]),
        summary([Report(suite=suite, checks=[check])]),
        "\n".join(lines([check])),
    )
    assert [text.split("\n\n", 4)[-1].count(word) >= 2 for text in texts] == [True] * 3


@pytest.mark.parametrize(
    ("value", "plain", "difference"),
    [(76.324, "76.32", "+76.32"), (-0.301, "-0.30", "-0.30"), (-0.001, "0.00", "+0.00"), (None, "-", "-")],
)
def test_numbers_have_two_decimals_and_differences_a_sign(
    value: float | None, plain: str, difference: str
) -> None:
    assert (number(value), signed(value)) == (plain, difference)


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (Verdict(word=Word.PENDING), "-"),
        (Verdict(word=Word.CONSISTENT, measured=71.0, n=1), "71.00 (1)"),
        (Verdict(word=Word.BELOW, measured=71.0, n=3, std=9.0, interval=(-1.0, -0.5)), "71.00 ± 0.25 (3)"),
        (Verdict(word=Word.NO_REFERENCE, measured=71.0, n=4, std=0.5), "71.00 ± 0.59 (4)"),
    ],
)
def test_measured_shows_mean_interval_and_seeds(verdict: Verdict, text: str) -> None:
    assert measured(verdict) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("resnext101_32x8d _a_", r"resnext101_32x8d \_a\_"),
        ("<b> & [x](y) `z` *w* ~v~ $u$ #1", r"\<b\> \& \[x\](y) \`z\` \*w\* \~v\~ \$u\$ \#1"),
        ("two\nlines\t and  spaces", "two lines and spaces"),
        ("back\\slash", r"back\\slash"),
        ("\x1b[1;31mred\x1b[0m \x1b]0;title\x07text", "red text"),
        ("a\x00b\x08c\x7f\x9b \u202ed\ufeff", "abc d"),
        ("half \ud800", "half \ufffd"),
    ],
)
def test_text_is_escaped_for_markdown(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_pipe_in_a_name_does_not_add_a_column() -> None:
    text = text_of(make_row("a|b", reference=Reference(top1=71.0)))
    [line] = [line for line in text.splitlines() if line.startswith(r"| a\|b")]
    assert line.replace(r"\|", "").count("|") == 11


def test_summary_of_a_small_suite_whole() -> None:
    suite, checks = small()
    assert summary([Report(suite=suite, checks=checks)]).partition("\n\n")[2] == SUMMARY.lstrip("\n")


def test_lines_of_a_small_suite_whole() -> None:
    assert lines(small()[1]) == LINES.strip("\n").splitlines()


def test_sentence_that_all_rows_say_stands_once() -> None:
    rows = [make_row(student, assumed="alpha", reference=Reference(top1=71.0)) for student in ("a", "b")]
    text = text_of(*rows)
    assert text.count("assumed: alpha") == 1
    assert "- all rows: assumed: alpha" in text


def test_summary_replaces_what_stood_between_the_markers() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert put_between(text, "new\n", "README.md") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


@pytest.mark.parametrize("text", ["no markers", f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n", f"{END}\n{BEGIN}\n"])
def test_summary_has_no_place_without_one_pair_of_markers(text: str) -> None:
    with pytest.raises(UserError, match=r"README\.md: has \d lines"):
        put_between(text, "new\n", "README.md")


def test_reason_of_several_rows_is_one_line() -> None:
    checks = check_suite([make_cell(make_row(student)) for student in ("a", "b", "c")], {})
    [told] = [line for line in lines(checks) if "not run yet" in line]
    assert told.startswith(f"{checks[0].row.name} and 2 more: ")


@pytest.mark.parametrize(
    ("std", "said"),
    [
        (None, "The printed means count as exact: their error is not printed."),
        (0.2, "The printed means count as exact: a std alone, without its number of runs, gives no error."),
    ],
)
def test_means_that_count_as_exact_are_not_said_to_have_no_error_beside_a_printed_one(
    std: float | None, said: str
) -> None:
    row = make_row(reference=Reference(top1=71.0, std=std))
    assert exactness(check_suite([make_cell(row)], {})) == said


FAST, SLOW = (
    Recipe(epochs=2, batch_size=128, lr=0.1),
    Recipe(epochs=2, batch_size=128, lr=0.01, milestones=(1,)),
)


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        ("markdown", ["a, lr 0.1, no milestones |", "b, lr 0.01, milestones 1 |"]),
        ("latex", ["a, lr 0.1, no milestones &", "b, lr 0.01, milestones 1 &"]),
        ("csv", [',"lr 0.1, no milestones",', ',"lr 0.01, milestones 1",']),
    ],
)
@pytest.mark.parametrize("reference", [None, Reference(top1=71.0)], ids=["bare", "printed"])
def test_recipe_fields_that_differ_in_a_table_stand_at_the_row(
    kind: str, cells: list[str], reference: Reference | None
) -> None:
    rows = [make_row("a", reference=reference, recipe=FAST), make_row("b", reference=reference, recipe=SLOW)]
    text = text_of(*rows, kind=kind)
    assert [cell for cell in cells if cell not in " ".join(text.split())] == []


@pytest.mark.parametrize(
    ("losses", "shown"),
    [
        (
            [Loss("kd", {"alpha": 0.9, "tau": 4}), Loss("kd", {"alpha": 0.5, "tau": 4})],
            ["alpha 0.9", "alpha 0.5"],
        ),
        ([Loss("kd", {"alpha": 0.9, "tau": 4}), Loss("ce")], ["kd (alpha 0.9, tau 4)", "ce"]),
    ],
    ids=["parameters", "names"],
)
@pytest.mark.parametrize("kind", ["markdown", "latex", "html", "terminal", "summary"])
@pytest.mark.parametrize("reference", [None, Reference(top1=71.0)], ids=["bare", "printed"])
def test_losses_that_differ_in_a_table_stand_at_the_row(
    kind: str, losses: list[Loss], shown: list[str], reference: Reference | None
) -> None:
    rows = [make_row(name, reference=reference, loss=loss) for name, loss in zip("ab", losses, strict=True)]
    rows.append(make_row("c", table="2", reference=reference))
    suite, checks = make_suite(*rows), check_suite([make_cell(row) for row in rows], {})
    text = {
        "terminal": lambda: "\n".join(lines(checks)),
        "summary": lambda: summary([Report(suite=suite, checks=checks)]),
    }.get(kind, lambda: render(suite, checks, format=kind))()
    words = re.sub(r"</?(wbr|small)>", "", text)
    assert [
        f"{name}, {own}" for name, own in zip("ab", shown, strict=True) if f"{name}, {own}" not in words
    ] == []
    assert "c, kd" not in words


def test_note_on_rows_of_several_tables_names_them_whole() -> None:
    rows = [make_row("a", note="odd"), make_row("a", table="2", note="odd"), make_row("b", table="2")]
    assert f"- {rows[0].name}, {rows[1].name}: odd\n" in text_of(*rows, kind="markdown")


@pytest.mark.parametrize("kind", ["markdown", "latex", "html"])
def test_references_that_nobody_printed_are_not_called_printed(kind: str) -> None:
    own = Reference(top1=71.0, gain=1.0, std=0.2, n=3, kind="measured", source="ours")
    shown = {
        "markdown": ("reference |", "reference gain |", "Reference: the mean", "measured minus reference."),
        "latex": ("& reference & measured &", "verdict & reference & measured"),
        "html": (' own-references"', "Reference: the mean", "measured minus reference;", ">reference</text>"),
    }[kind]
    rows = [make_row("a"), make_row("b", reference=own)]
    text = text_of(*rows, kind=kind)
    assert [words for words in shown if words not in text] == []
    assert lines(check_suite(map(make_cell, rows), {}))[0].split()[:2] == ["row", "reference"]
    mixed = text_of(make_row("a", reference=Reference(top1=70.0)), make_row("b", reference=own), kind=kind)
    assert [words for words in shown if words in mixed] == []


def test_dashed_line_of_a_row_is_called_as_its_reference() -> None:
    own = Reference(top1=71.0, std=0.2, n=3, kind="measured", source="ours")
    called = {"measured": own, "printed": Reference(top1=71.0)}
    pages = {kind: text_of(make_row(reference=reference), kind="html") for kind, reference in called.items()}
    assert {kind: page.count('data-against="reference"') for kind, page in pages.items()} == {
        "measured": 1,
        "printed": 0,
    }
    assert 'data-against="printed"' in pages["printed"]


def test_page_shows_no_backticks_of_markdown() -> None:
    row = make_row(reference=Reference(top1=71.0, std=0.2, n=3, kind="measured", source="ours"))
    cell = make_cell(row)
    checks = check_suite([cell], make_results(cell, [71.0, 71.1, 70.9], [70.0, 70.1, 69.9]))
    page = render(make_suite(row), checks, format="html")
    assert "that loses 1 point is below in" in " ".join(page.split())


@pytest.mark.parametrize("kind", ["markdown", "latex", "html"])
def test_recipe_fields_that_differ_between_tables_stand_at_the_table(kind: str) -> None:
    rows = [make_row("a", table="1", recipe=FAST), make_row("a", table="2", recipe=SLOW)]
    text = text_of(*rows, kind=kind)
    assert "Recipe: lr 0.1, no milestones. Reported epoch" in text
    assert "Recipe: lr 0.01, milestones 1. Reported epoch" in text


@pytest.mark.parametrize("kind", ["markdown", "latex", "html", "terminal", "summary"])
def test_suite_of_which_nothing_is_printed_is_a_table_of_methods(kind: str) -> None:
    """No table for each loss, full of verdicts that there cannot be."""
    rows = [make_row("a", table="1.base", loss=Loss("ce")), make_row("a", "t", table="1.kd")]
    rows += [make_row("a", "t", table="1.mine", loss=Loss("dkd"), recipe=SLOW)]
    cells = [make_cell(row, taught_by="t" if row.teacher else None) for row in rows]
    results = {of: result for cell in cells for of, result in make_results(cell, [71.0, 71.2, 70.9]).items()}
    suite, checks = make_suite(*rows), check_suite(cells, results)
    text = {
        "terminal": lambda: "\n".join(lines(checks)),
        "summary": lambda: summary([Report(suite=suite, checks=checks)]),
    }.get(kind, lambda: render(suite, checks, format=kind))()
    words = " ".join(re.sub(r"<[^>]*>|\$", " ", text.partition("</style>")[2] or text).split())
    if kind == "html":
        assert text.count('<table role="table"') == text.count(' bare-rows"') == 3
    else:
        assert "no reference" not in words
    assert "71.03" in words
    if kind != "summary":
        assert "the mean over the seeds, ± half its 90 % interval" in words.replace(r"\%", "%")
    if kind in ("terminal", "summary"):
        assert "71.00, 71.20, 70.90" in words
    else:
        assert "3 methods, 1 pair" in words
        assert "other recipes: mine: lr 0.01, milestones 1 against lr 0.1, no milestones." in words
    if kind != "latex":
        assert "Nothing is printed of these 3 rows." in words or kind == "html"


def test_gain_over_a_run_of_another_recipe_says_so() -> None:
    row = make_row("a", reference=Reference(top1=71.0, gain=1.0))
    cell = make_cell(row)
    results = make_results(cell, [71.0, 71.2, 70.9], [70.0, 70.1, 70.0])
    other = {of: replace(results[of], run=replace(results[of].run, recipe=SLOW)) for of in cell.baselines}
    text = render(make_suite(row), check_suite([cell], results | other))
    said = "the gain is over a run of another recipe: lr 0.1, no milestones against lr 0.01, milestones 1"
    assert f"- a: {said}\n" in text
    assert said not in render(make_suite(row), check_suite([cell], results))


def test_curve_of_a_baseline_is_not_drawn_beside_another_one() -> None:
    """Two baselines of one student, of 300 and of 500 images: neither gains over the other."""
    few, last = replace(FAST, subset=300), replace(FAST, subset=500)
    rows = [
        make_row("mlp", None, table="300.ce", loss=CE, recipe=few),
        make_row("mlp", None, table="500.ce", loss=CE, recipe=last),
    ]
    taught = make_row("mlp", "cnn", Reference(top1=72.0, gain=1.0), table="500.kd", recipe=last)
    suite = make_suite(*rows, taught)
    report = Report(suite=suite, checks=check_suite(map(make_cell, suite.rows), {}))
    assert {name: check.row.name for name, check in report.baselines.items()} == {taught.name: rows[1].name}


def test_parameters_that_rows_name_are_not_listed_above_their_table() -> None:
    weights = {"mobilenetv2": 0.1, "resnet18": 0.5, "resnet50": 0.9}
    rows = [make_row(of, loss=Loss("kd", {"alpha": alpha, "tau": 4.0})) for of, alpha in weights.items()]
    assert settings(rows).startswith("Loss: kd (alpha of each row, tau 4). ")
    assert settings(rows[:1]).startswith("Loss: kd (alpha 0.1, tau 4). ")
    both = [*rows, make_row("googlenet", loss=CE)]
    assert settings(both).startswith("Loss: kd, ce (parameters of each row). ")
    assert who_by_setting(both)["1.kd/resnet50"] == "resnet50, kd (alpha 0.9, tau 4)"
