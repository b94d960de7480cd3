"""Methods side by side: what a method is, the columns, average ranks, scipy's tests."""

import pytest
import scipy

from kdbench.errors import UserError
from kdbench.spec.runs import Loss
from kdbench.spec.suites import Reference, Row
from kdbench.spec.verdicts import Check, Verdict, Word
from kdbench.verdict.methods import MethodTable, Number, Pair, compare_methods, name_methods, rank, tables
from tests.support.build import CE, KD, make_row, make_suite

# Ranks by hand, the best first: on the pairs in turn a 1 2 2 1.5, b 2 1 3 1.5 (the last is a tie), c 3 3 1 3.
THREE = {"a": [0.90, 0.80, 0.70, 0.60], "b": [0.89, 0.81, 0.69, 0.60], "c": [0.88, 0.79, 0.71, 0.50]}
# Of twelve pairs `best` always comes first and `worst` last; the two between take turns.
FOUR = {"worst": [0.1] * 12, "odd": [0.3, 0.2] * 6, "best": [0.9] * 12, "even": [0.2, 0.3] * 6}


def table_of(values: dict[str, list[float]], against: str = "") -> MethodTable:
    pairs = tuple(Pair(f"s{number}", "t") for number in range(max(map(len, values.values()))))
    cells = {}
    for name, some in values.items():
        cells[name] = {pair: Number(row="", mean=100 * each) for pair, each in zip(pairs, some, strict=False)}
    return MethodTable(evidence="printed", pairs=pairs, cells=cells, teachers={}, against=against)


def check_of(row: Row, *values: float) -> Check:
    none = Verdict(word=Word.NO_REFERENCE)
    return Check(row=row, ids=(), top1=none, gain=none, values=dict(enumerate(values)))


def test_average_ranks_share_ties() -> None:
    found = rank(table_of(THREE))
    assert found is not None
    assert found.ranks == {"a": 1.625, "b": 1.875, "c": 2.5}
    assert found.groups == [("a", "b", "c")]


def test_methods_closer_than_the_critical_difference_are_one_group() -> None:
    """At 5 % it is 2.569 sqrt(4 * 5 / (6 * 12)) = 1.354, less than the 1.5 ranks on either side."""
    found = rank(table_of(FOUR))
    assert found is not None
    assert found.ranks == {"best": 1.0, "odd": 2.5, "even": 2.5, "worst": 4.0}
    assert found.critical == pytest.approx(1.354, abs=0.001)
    assert found.groups == [("odd", "even")]
    tenth = rank(table_of(FOUR), 0.1)
    assert tenth is not None
    assert tenth.critical < found.critical


@pytest.mark.parametrize("values", [THREE, FOUR], ids=["three", "four"])
def test_friedmans_test_is_scipys(values: dict[str, list[float]]) -> None:
    found, theirs = rank(table_of(values)), scipy.stats.friedmanchisquare(*values.values())
    assert found is not None
    assert (found.chi2, found.p) == pytest.approx((theirs.statistic, theirs.pvalue))


@pytest.mark.parametrize(
    ("k", "quantile"), [(3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (8, 3.031), (10, 3.164)]
)
def test_critical_values_are_nemenyis(k: int, quantile: float) -> None:
    values = {f"m{number}": [0.1 * number, 0.2 * number] for number in range(k)}
    found = rank(table_of(values))
    assert found is not None
    assert found.critical == pytest.approx(quantile * (k * (k + 1) / 12) ** 0.5, abs=0.004)


def test_method_that_lacks_a_pair_has_no_rank() -> None:
    found = rank(table_of({**THREE, "late": [0.5]}))
    assert found is not None
    assert (found.left_out, "late" in found.ranks) == (("late",), False)
    assert rank(table_of({name: THREE[name] for name in "ab"})) is None


def test_comparison_over_pairs_is_scipys() -> None:
    [found] = [each for each in compare_methods(table_of(THREE, "c")) if each.method == "a"]
    differences = [100 * (a - c) for a, c in zip(THREE["a"], THREE["c"], strict=True)]
    assert found.p == pytest.approx(scipy.stats.wilcoxon(differences).pvalue)
    low, high = scipy.stats.ttest_1samp(differences, 0).confidence_interval(0.90)
    assert found.interval == pytest.approx((low, high))
    assert (found.better, found.pairs, found.by_seeds) == (3, 4, 0)


def test_p_values_are_holms_for_the_lines_and_tests_by_seed_for_the_pairs_of_a_line() -> None:
    values = {"a": [3.0, 4.0, 5.0, 6.0, 7.0], "b": [1.5, 0.6, 1.7, 1.8, 1.9], "kd": [1.0] * 5}
    a, b = compare_methods(table_of(values, "kd"))
    smallest = scipy.stats.wilcoxon([2, 3, 4, 5, 6]).pvalue
    assert (a.p, a.p_adjusted) == pytest.approx((smallest, 2 * smallest))
    assert b.p is not None
    assert smallest < b.p
    assert b.p_adjusted == pytest.approx(max(b.p, 2 * smallest))

    rows, checks = [], []
    for student, first in {"a": 71.0, "b": 70.3, "c": 70.3}.items():
        for method, seeds in {"kd": (70.0, 72.0, 71.0), "dkd": (first, 73.1, 71.9)}.items():
            rows.append(make_row(student, "t", table=f"1.{method}", loss=Loss(method)))
            checks.append(check_of(rows[-1], *seeds))
    [table] = tables(make_suite(*rows), checks)
    [line] = compare_methods(table)
    alone = scipy.stats.ttest_1samp([0.3, 1.1, 0.9], 0, alternative="greater").pvalue
    assert (alone <= 0.05 < 2 * alone, line.better_by_seeds, line.by_seeds) == (True, 1, 3)


def test_p_values_of_a_single_pair_are_holms_for_the_lines_too() -> None:
    rows = [make_row("a", "b", table=f"1.{name}", loss=Loss(name)) for name in ("kd", "dkd", "dist")]
    seeds = (70.0, 72.0, 71.0), (71.0, 73.1, 71.9), (69.5, 72.5, 71.3)
    checks = [check_of(row, *values) for row, values in zip(rows, seeds, strict=True)]
    [table] = tables(make_suite(*rows), checks)
    dkd, dist = compare_methods(table)
    assert dkd.p_adjusted == pytest.approx(2 * scipy.stats.ttest_1samp([1.0, 1.1, 0.9], 0).pvalue)
    assert dist.p_adjusted == pytest.approx(scipy.stats.ttest_1samp([-0.5, 0.5, 0.3], 0).pvalue)


def test_a_single_pair_of_one_run_has_no_p_value() -> None:
    rows = [make_row("a", "b", table=f"1.{name}", loss=Loss(name)) for name in ("kd", "dkd")]
    checks = [check_of(rows[0], 70.0), check_of(rows[1], 71.0)]
    [table] = tables(make_suite(*rows), checks)
    [line] = compare_methods(table)
    assert (line.p, line.p_adjusted, line.interval) == (None, None, None)


def test_comparison_of_a_single_pair_is_paired_by_seed() -> None:
    rows = [make_row("a", "b", table="1.kd"), make_row("a", "b", table="1.new", loss=Loss("dkd"))]
    checks = [check_of(rows[0], 70.0, 72.0, 71.0), check_of(rows[1], 71.0, 73.1, 71.9)]
    [table] = tables(make_suite(*rows), checks)
    [found] = compare_methods(table)
    assert (found.method, found.against) == ("new", "kd")
    assert found.p == pytest.approx(scipy.stats.ttest_1samp([1.0, 1.1, 0.9], 0).pvalue)
    assert (found.better_by_seeds, found.worse_by_seeds, found.by_seeds) == (1, 0, 1)
    low, high = scipy.stats.ttest_1samp([1.0, 1.1, 0.9], 0).confidence_interval(0.90)
    assert found.interval == pytest.approx((low, high))
    assert table.gain("new", Pair("a", "b")) == pytest.approx(1.0)


def test_methods_are_named_by_tables_losses_and_labels() -> None:
    on_the_way = make_row("b", table="4", loss=CE, report_epoch=1)
    rows = [
        make_row("a", table="1.baseline", loss=CE),
        make_row("a", "b", table="1.kd", loss=KD),
        make_row("a", "b", table="2.kd", loss=KD),
        make_row("a", "b", table="5", loss=Loss("dkd")),
        make_row("a", table="9.baseline", loss=CE),
        on_the_way,
    ]
    names = ["student", "kd", "2.kd", "dkd"]
    assert name_methods(rows) == dict(zip([row.name for row in rows[:4]], names, strict=True))


def test_kinds_of_evidence_are_tables_of_their_own_and_students_stand_in_all_their_pairs() -> None:
    rows = [
        make_row("a", table="0", loss=CE, reference=Reference(top1=70.0)),
        make_row("t", table="0", loss=CE, reference=Reference(top1=75.0)),
        make_row("a", "t", reference=Reference(top1=71.0)),
        make_row("a", "u", reference=Reference(top1=72.0)),
    ]
    checks = [check_of(rows[0]), check_of(rows[1]), check_of(rows[2], 71.5, 71.7), check_of(rows[3])]
    ours, printed = tables(make_suite(*rows), checks)
    assert (ours.evidence, list(ours.cells), ours.pairs) == ("our runs", ["kd"], (Pair("a", "t"),))
    assert printed.pairs == (Pair("a", "t"), Pair("a", "u"))
    assert [printed.cells["student"][pair].mean for pair in printed.pairs] == [70.0, 70.0]
    assert printed.teachers[Pair("a", "t")].mean == 75.0
    assert printed.best(Pair("a", "u")) == {"kd"}
    assert printed.gain("student", Pair("a", "u")) == pytest.approx(-2.0)


def test_unknown_method_to_be_held_against_is_refused() -> None:
    row = make_row("a", "t", reference=Reference(top1=71.0))
    with pytest.raises(UserError, match=r"--against: unknown method 'kdd'\. Did you mean 'kd'\?"):
        tables(make_suite(row), [check_of(row)], "kdd")
