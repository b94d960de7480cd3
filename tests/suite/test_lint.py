"""The paper's arithmetic, on the CIFAR-100 figures of Tf-KD (Tables 1, 4, 5 and 9) and on small cases."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kdbench.spec.runs import Loss, ReportEpoch
from kdbench.spec.suites import Reference, Row
from kdbench.suite.lint import Finding, Rule, citations, lint_suite
from kdbench.suite.load import load_copies, load_originals, load_suite
from tests.support.build import CE, RECIPE, make_row, make_suite
from tests.support.places import SUITES
from tests.support.suites import shipped

FIGURES = """
1.ce mobilenetv2  -           68.38 -
1.ce shufflenetv2 -           70.34 -
1.ce resnet18     -           75.87 -
1.kd mobilenetv2  resnet18    71.05 2.67
1.kd shufflenetv2 resnet18    72.05 1.71
1.kd mobilenetv2  resnet50    71.04 2.66
1.kd shufflenetv2 resnet50    72.15 1.81
1.kd resnet18     resnext29   77.84 1.97
4    mobilenetv2  resnet18@1  70.65 2.27
4    shufflenetv2 resnet18@1  71.82 1.48
4    mobilenetv2  resnet50@50 71.45 3.09
4    shufflenetv2 resnet50@50 72.11 1.77
4    resnet18     resnet50@50 77.23 1.23
4    mobilenetv2  resnext29@50 71.52 3.14
5.ce googlenet    -           78.72 -
5.kd mobilenetv2  resnet18    -     2.67
5.kd shufflenetv2 resnet18    -     1.71
5.kd resnet18     resnet50    -     1.19
5.kd googlenet    resnext29   -     1.39
9.ce googlenet    -           78.15 -
9.kd mobilenetv2  resnet18    71.05 2.67
9.kd shufflenetv2 resnet18    72.05 1.71
9.kd resnet18     resnet50    77.19 1.32
9.kd googlenet    resnext29   78.84 0.99
9.lsr googlenet   -           79.07 0.92
"""
"""Table, student, teacher, top1, gain: as in the paper."""

SIC = {
    ("4", "mobilenetv2", "resnet50@50"),
    ("4", "resnet18", "resnet50@50"),
    ("9.kd", "googlenet", "resnext29"),
}


def figure_row(line: str) -> Row:
    """One line of the figures."""
    table, student, teacher, top1, gain = line.split()
    taught = None if teacher == "-" else teacher
    numbers = Reference(top1=None if top1 == "-" else float(top1), gain=None if gain == "-" else float(gain))
    loss = Loss(table.partition(".")[2] or "kd")
    sic = (table, student, teacher) in SIC
    return make_row(student, taught, numbers, table=table, loss=loss, sic=sic)


def warnings_of(*rows: Row) -> list[tuple[Rule, str]]:
    """The rule and the sentence of each warning."""
    found = lint_suite(make_suite(*rows))
    return [(finding.rule, finding.sentence) for finding in found if finding.level == "warning"]


def test_warnings_on_the_cifar100_figures_of_tfkd() -> None:
    assert warnings_of(*map(figure_row, FIGURES.strip().splitlines())) == [
        (
            "gain-differs",
            "mobilenetv2 from resnet50@50, kd, Table 4: the printed gain is 3.09, but 71.45 - 68.38 is 3.07",
        ),
        (
            "gain-differs",
            "resnet18 from resnet50@50, kd, Table 4: the printed gain is 1.23, but 77.23 - 75.87 is 1.36",
        ),
        (
            "gain-differs",
            "googlenet from resnext29, kd, Table 9: the printed gain is 0.99, but 78.84 - 78.15 is 0.69",
        ),
        ("baseline-differs", "googlenet, ce: top1 78.72 in Table 5, 78.15 in Table 9"),
        ("number-differs", "resnet18 from resnet50, kd: gain 1.19 in Table 5, 1.32 in Table 9"),
        ("number-differs", "googlenet from resnext29, kd: gain 1.39 in Table 5, 0.99 in Table 9"),
    ]


def test_gain_that_does_not_add_up_without_sic_says_so() -> None:
    rows = [make_row(loss=CE, reference=Reference(top1=68.0), table="1.ce")]
    rows.append(make_row(reference=Reference(top1=70.0, gain=2.5)))
    [(_, sentence)] = warnings_of(*rows)
    assert sentence.endswith("70.00 - 68.00 is 2.00; the row does not say sic")


@pytest.mark.parametrize(("gain", "warned"), [(2.0, 0), (2.005, 0), (1.995, 0), (2.01, 1), (1.99, 1)])
def test_gain_is_compared_at_two_decimals(gain: float, warned: int) -> None:
    base = make_row(loss=CE, reference=Reference(top1=68.38), table="1.ce")
    assert len(warnings_of(base, make_row(reference=Reference(top1=70.38, gain=gain)))) == warned


def test_finding_on_tables_that_differ_names_tables_and_rows() -> None:
    rows = [
        make_row(table=table, reference=Reference(top1=top1)) for table, top1 in (("5", 71.0), ("9", 72.0))
    ]
    assert lint_suite(make_suite(*rows)) == [
        Finding(
            rule="number-differs",
            level="warning",
            table="5, 9",
            rows=("5/mobilenetv2", "9/mobilenetv2"),
            sentence="mobilenetv2, kd: top1 71.00 in Table 5, 72.00 in Table 9",
        )
    ]


def test_top1_and_gain_that_both_differ_are_one_finding() -> None:
    numbers = (("5", 71.0, 2.0), ("9", 72.0, 3.0))
    rows = [make_row(table=table, reference=Reference(top1=top1, gain=gain)) for table, top1, gain in numbers]
    [(_, sentence)] = warnings_of(*rows)
    assert sentence.endswith("top1 71.00 in Table 5, 72.00 in Table 9; gain 2.00 in Table 5, 3.00 in Table 9")


@pytest.mark.parametrize(
    "other",
    [
        make_row("resnet18", "resnet50", Reference(top1=72.0), table="9"),
        make_row("mobilenetv2", "resnet50@5", Reference(top1=72.0), table="9"),
        make_row("mobilenetv2", "resnet50", Reference(top1=72.0), table="9", loss=Loss("lsr")),
        make_row("mobilenetv2", "resnet50", Reference(top1=72.0), table="5.b"),
        make_row("mobilenetv2", "resnet50", Reference(top1=71.0), table="9"),
        make_row("mobilenetv2", "resnet50", Reference(gain=2.0), table="9"),
    ],
)
def test_rows_that_are_not_one_quantity_in_two_tables_are_not_compared(other: Row) -> None:
    assert warnings_of(make_row("mobilenetv2", "resnet50", Reference(top1=71.0), table="5.a"), other) == []


@pytest.mark.parametrize(
    ("row", "rule", "sentence"),
    [
        (make_row(), "no-reference", "mobilenetv2, kd, Table 1: no printed number"),
        (
            make_row(reference=Reference(gain=0.5, kind="second-hand", source="a survey")),
            "second-hand",
            "mobilenetv2, kd, Table 1: gain 0.50 second-hand (a survey)",
        ),
        (
            make_row(reference=Reference(top1=71.0), assumed="lr 0.1: not printed"),
            "assumed",
            "mobilenetv2, kd, Table 1: assumed: lr 0.1: not printed",
        ),
    ],
)
def test_standing_of_a_row_is_information(row: Row, rule: Rule, sentence: str) -> None:
    [finding] = lint_suite(make_suite(row))
    assert (finding.level, finding.rule, finding.sentence) == ("info", rule, sentence)


def test_rows_of_a_table_without_a_number_are_one_finding() -> None:
    rows = [make_row(), make_row("resnet18", "resnet50"), make_row(table="9")]
    assert [finding.sentence for finding in lint_suite(make_suite(*rows))] == [
        "Table 1.kd: 2 rows without a printed number: mobilenetv2, resnet18 from resnet50",
        "mobilenetv2, kd, Table 9: no printed number",
    ]


def test_second_hand_numbers_of_one_source_are_one_finding() -> None:
    def row(student: str, top1: float, source: str) -> Row:
        return make_row(student, reference=Reference(top1=top1, kind="second-hand", source=source))

    rows = [row("vgg13", 71.0, "a survey"), row("vgg8", 72.0, "a survey"), row("wrn_16_2", 70.0, "a talk")]
    assert [finding.sentence for finding in lint_suite(make_suite(*rows))] == [
        "Table 1.kd: the numbers of 2 rows are second-hand (a survey): vgg13 top1 71.00, vgg8 top1 72.00",
        "wrn_16_2, kd, Table 1: top1 70.00 second-hand (a talk)",
    ]


def test_row_may_be_both_without_a_number_and_assumed() -> None:
    row = replace(make_row(), assumed="alpha")
    assert [finding.rule for finding in lint_suite(make_suite(row))] == ["no-reference", "assumed"]


def test_assumption_of_several_rows_of_a_table_is_one_finding() -> None:
    rows = [replace(make_row(student), assumed="alpha", reference=Reference(top1=71.0)) for student in "ab"]
    [finding] = lint_suite(make_suite(*rows))
    assert finding.sentence == f"2 rows of {rows[0].table}: assumed: alpha"
    assert finding.rows == tuple(row.name for row in rows)


KD = {"alpha": 0.9, "tau": 4.0}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (make_row(loss=Loss("kd", KD | {"tau": 1000.0})), "tau = 1000.0 is unusual: most are in [0.1, 100]"),
        (make_row(loss=Loss("kd_ls", KD | {"multiplier": 1e4})), "multiplier = 10000.0 is unusual"),
        (make_row(recipe=replace(RECIPE, epochs=5000)), "epochs = 5000 is unusual: most are in [1, 3000]"),
        (make_row(recipe=replace(RECIPE, lr=100.0)), "lr = 100.0 is unusual"),
        (make_row(recipe=replace(RECIPE, weight_decay=0.5)), "weight_decay = 0.5 is unusual"),
        (
            make_row(recipe=replace(RECIPE, epochs=2, milestones=(1, 2), gamma=0.1)),
            "milestones = [1, 2]: nothing is trained after the last epoch",
        ),
        (make_row(reference=Reference(top1=0.9)), "top1 = 0.9 is in percent; was 90 meant?"),
        (make_row(reference=Reference(top1=70.0, std=20.0)), "std = 20.0 is unusual"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_number_that_is_possible_and_odd_is_a_remark(row: Row, sentence: str) -> None:
    found = [finding for finding in lint_suite(make_suite(row)) if finding.rule == "unusual"]
    assert [(finding.level, sentence in finding.sentence) for finding in found] == [("info", True)]


def test_odd_number_of_several_rows_is_one_remark() -> None:
    rows = [make_row(student, recipe=replace(RECIPE, lr=100.0)) for student in ("resnet18", "resnet50")]
    [finding] = [each for each in lint_suite(make_suite(*rows)) if each.rule == "unusual"]
    assert finding.sentence == "2 rows: lr = 100.0 is unusual: most are in [1e-6, 10]"
    assert finding.rows == tuple(row.name for row in rows)


def test_error_rates_are_noticed_where_all_numbers_fall() -> None:
    def rows(*numbers: float) -> list[Row]:
        students = ("resnet18", "mobilenetv2")
        baselines = [make_row(each, reference=Reference(top1=25.0), loss=CE) for each in students]
        taught = [
            make_row(each, "resnet50", Reference(top1=top1))
            for each, top1 in zip(students, numbers, strict=True)
        ]
        return [*baselines, *taught]

    assert [rule for rule, _ in warnings_of(*rows(23.0, 24.0))] == ["error-rates"]
    assert warnings_of(*rows(23.0, 26.0)) == []


def copied(top1: float, epoch: ReportEpoch = "last") -> Row:
    """A cell of another paper's table."""
    row = make_row("resnet20", "resnet56", Reference(top1=top1), table="1.kd", report_epoch=epoch)
    return replace(row, copied_from="crd")


def test_copied_numbers_beside_others_that_were_chosen_on_test_are_a_warning() -> None:
    own = make_row("resnet20", "resnet56", Reference(top1=72.0), table="1.dkd", report_epoch="best")
    [(rule, sentence)] = warnings_of(copied(70.66), own)
    assert (rule, sentence.partition("; ")) == (
        "copied",
        (
            "Table 1 copies 1 number of 1.kd from crd, of the last epoch",
            "; ",
            "beside them stand numbers of the best epoch on test",
        ),
    )
    assert warnings_of(copied(70.66), replace(own, report_epoch="last")) == []


def test_copied_numbers_are_held_against_their_originals() -> None:
    original = make_row("resnet20", "resnet56", Reference(top1=70.66), table="2.kd")
    rows = [copied(70.66), copied(70.67), copied(70.66, "best")]
    found = [lint_suite(make_suite(row), {"crd": make_suite(original)}) for row in rows]
    who = "resnet20 from resnet56, kd, Table 1: "
    assert [[each.sentence for each in some if each.level == "warning"] for some in found] == [
        [],
        [f"{who}70.67 is copied from crd, where it is 70.66"],
        [f"{who}copied from crd, but of the best epoch on test here, the last epoch there"],
    ]


DKD_OF_LS = "wrn_16_2 from wrn_40_2, dkd, Table 1: 76.24 is copied from dkd_cifar100, where it is 76.23"


@pytest.mark.parametrize(
    ("name", "differing"), [("dkd_cifar100", []), ("dist_cifar100", []), ("ls_cifar100", [DKD_OF_LS])]
)
def test_suites_copy_what_the_papers_print(name: str, differing: list[str]) -> None:
    suite = shipped(name)
    found = [each for each in lint_suite(suite, load_originals(suite)) if each.rule == "copied"]
    assert [each.sentence for each in found if not each.sentence.startswith("Table")] == differing
    copies = {row.name for row in suite.rows if row.copied_from}
    assert {name for each in found for name in each.rows} == copies
    assert len(copies) in (10, 11, 28)


def test_original_says_who_copies_its_number_and_as_what() -> None:
    original = make_row("resnet20", "resnet56", Reference(top1=70.66), table="2.kd")
    other = replace(copied(70.67), copied_from="tfkd_cifar100")
    papers = {"dkd": make_suite(replace(other, reference=Reference(top1=70.66))), "ls": make_suite(other)}
    suite = make_suite(original, make_row("resnet8", "resnet56", Reference(top1=60.0), table="2.kd"))
    assert citations(suite, papers) == {original.name: (f"dkd: {other.name}", f"ls: {other.name}, as 70.67")}
    [found] = [each for each in lint_suite(suite, copies=papers) if each.rule == "cited"]
    assert found.level == "info"
    assert found.rows == (original.name,)
    assert found.sentence == "Table 2.kd: 1 number copied by dkd and ls: resnet20 from resnet56"
    assert citations(suite, {"dkd": make_suite(copied(70.66))}) == {}, "of another suite"


def test_copies_of_a_suite_are_found_beside_it() -> None:
    """22 numbers of RepDistiller's benchmark are printed 31 more times."""
    suite = shipped("crd_cifar100")
    copies = load_copies(suite)
    assert list(copies) == ["dist_cifar100", "dkd_cifar100", "ls_cifar100"]
    found = citations(suite, copies)
    assert (len(found), sum(map(len, found.values()))) == (22, 31)
    assert found["1.kd/resnet20:resnet56"] == (
        "dkd_cifar100: 1.kd/resnet20:resnet56",
        "ls_cifar100: 1.kd/resnet20:resnet56",
    )
    assert load_copies(shipped("tfkd_cifar100")) == {}


def test_suite_beside_it_that_is_wrong_or_unreadable_is_no_copy(tmp_path: Path) -> None:
    for name in ("crd_cifar100", "dkd_cifar100"):
        (tmp_path / f"{name}.toml").write_bytes((SUITES / f"{name}.toml").read_bytes())
    (tmp_path / "wrong.toml").write_text('copied_from = "crd_cifar100"\n[', "utf-8")
    (tmp_path / "folder.toml").mkdir()
    assert list(load_copies(load_suite(tmp_path / "crd_cifar100.toml"))) == ["dkd_cifar100"]
