"""Methods side by side: what a method is, the columns, the ranks of Demšar's example, scipy's tests."""

import pytest
from scipy import stats

from kdbench.errors import UserError
from kdbench.spec.runs import Loss
from kdbench.spec.suites import Reference, Row
from kdbench.spec.verdicts import Check, Verdict, Word
from kdbench.verdict.methods import MethodTable, Number, Pair, compare, name_methods, rank, tables
from tests.support.build import CE, KD, make_row, make_suite

# Demšar 2006, Table 6: AUC of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 data sets. On the last but one, voting,
# cf and m+cf are printed alike and ranked 2 and 3; the average ranks and 9.28 below are those of its text.
TREES = {
    "C4.5": [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.0, 0.940, 0.619, 0.972, 0.957],
    "m": [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.0, 0.962, 0.666, 0.981, 0.978],
    "cf": [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.0, 0.965, 0.614, 0.9754, 0.946],
    "m+cf": [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.0, 0.962, 0.669, 0.975, 0.970],
}


def table_of(values: dict[str, list[float]], against: str = "") -> MethodTable:
    pairs = tuple(Pair(f"s{number}", "t") for number in range(max(map(len, values.values()))))
    cells = {}
    for name, some in values.items():
        cells[name] = {pair: Number(row="", mean=100 * each) for pair, each in zip(pairs, some, strict=False)}
    return MethodTable(evidence="printed", pairs=pairs, cells=cells, teachers={}, against=against)


def check_of(row: Row, *values: float) -> Check:
    none = Verdict(word=Word.NO_REFERENCE)
    return Check(row=row, ids=(), top1=none, gain=none, values=dict(enumerate(values)))


def test_ranks_are_those_of_demsars_example() -> None:
    found = rank(table_of(TREES))
    assert found is not None
    shown = {name: round(value, 3) for name, value in found.ranks.items()}
    assert shown == {"m+cf": 1.964, "m": 2.0, "cf": 2.893, "C4.5": 3.143}
    assert found.critical == pytest.approx(1.25, abs=0.005)
    tenth = rank(table_of(TREES), 0.1)
    assert tenth is not None
    assert tenth.critical == pytest.approx(1.12, abs=0.005)
    assert tenth.groups == [("m+cf", "m", "cf"), ("cf", "C4.5")]
    k, n = 4, 14
    squares = sum(each**2 for each in found.ranks.values())
    uncorrected = 12 * n / (k * (k + 1)) * (squares - k * (k + 1) ** 2 / 4)
    assert uncorrected == pytest.approx(9.28, abs=0.005)


def test_friedmans_test_is_scipys() -> None:
    found, scipy = rank(table_of(TREES)), stats.friedmanchisquare(*TREES.values())
    assert found is not None
    assert (found.chi2, found.p) == pytest.approx((scipy.statistic, scipy.pvalue))


@pytest.mark.parametrize(
    ("k", "quantile"), [(3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (8, 3.031), (10, 3.164)]
)
def test_critical_values_are_those_of_demsars_table_5(k: int, quantile: float) -> None:
    values = {f"m{number}": [0.1 * number, 0.2 * number] for number in range(k)}
    found = rank(table_of(values))
    assert found is not None
    assert found.critical == pytest.approx(quantile * (k * (k + 1) / 12) ** 0.5, abs=0.004)


def test_method_that_lacks_a_pair_has_no_rank() -> None:
    found = rank(table_of({**TREES, "late": [0.5]}))
    assert found is not None
    assert (found.left_out, "late" in found.ranks) == (("late",), False)
    assert rank(table_of({name: TREES[name] for name in ("m", "cf")})) is None


def test_comparison_over_pairs_is_scipys() -> None:
    [found] = [each for each in compare(table_of(TREES, "C4.5")) if each.method == "m"]
    differences = [100 * (m - one) for m, one in zip(TREES["m"], TREES["C4.5"], strict=True)]
    assert found.p == pytest.approx(stats.wilcoxon(differences).pvalue)
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.90)
    assert found.interval == pytest.approx((low, high))
    assert (found.better, found.pairs, found.by_seeds) == (10, 14, 0)


def test_comparison_of_a_single_pair_is_paired_by_seed() -> None:
    rows = [make_row("a", "b", table="1.kd"), make_row("a", "b", table="1.new", loss=Loss("dkd"))]
    checks = [check_of(rows[0], 70.0, 72.0, 71.0), check_of(rows[1], 71.0, 73.1, 71.9)]
    [table] = tables(make_suite(*rows), checks)
    [found] = compare(table)
    assert (found.method, found.against, found.p) == ("new", "kd", None)
    assert (found.better_by_seeds, found.worse_by_seeds, found.by_seeds) == (1, 0, 1)
    low, high = stats.ttest_1samp([1.0, 1.1, 0.9], 0).confidence_interval(0.90)
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
