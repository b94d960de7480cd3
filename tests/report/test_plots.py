"""`kdbench plot`: which pictures there are, what they show, and that equal checks give equal bytes."""

from contextlib import chdir

import pytest
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.plan.selection import Selection
from kdbench.report import gather, plots
from kdbench.report.content import Report
from kdbench.report.plots import draw, extent
from kdbench.spec.results import Curve
from kdbench.spec.verdicts import Check
from kdbench.verdict import judge
from kdbench.verdict.methods import tables
from tests.support.golden_report import FOLDER, SUITE

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def golden() -> Report:
    """The golden project's only report."""
    with chdir(FOLDER):
        return gather.gather(judge.judge(Selection(suites=(SUITE,))))[0]


@pytest.fixture
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are made and not encoded: their names alone count."""
    monkeypatch.setattr(plots, "encoded", lambda figure, kind: b"")  # noqa: ARG005


@pytest.fixture(scope="module")
def pictures(golden: Report) -> dict[str, str]:
    """All its pictures as SVG, in which texts are comments beside outlines."""
    return {name: picture.decode() for name, picture in draw(golden, ["svg"])}


def test_each_table_with_results_has_both_pictures(pictures: dict[str, str]) -> None:
    assert list(pictures) == [
        "golden.1.base.forest.svg",
        "golden.1.base.curves.svg",
        "golden.1.kd.forest.svg",
        "golden.1.kd.curves.svg",
        "golden.2.curves.svg",
        "golden.methods.our-runs.svg",
        "golden.methods.printed.svg",
    ]


def test_forest_plot_names_rows_figures_and_verdicts(pictures: dict[str, str]) -> None:
    forest = pictures["golden.1.kd.forest.svg"]
    for words in (
        "digits_cnn from digits_mlp",
        "95.50 ± 0.17 (3), printed 96.50: below",
        "printed +2.00: above",
    ):
        assert words in forest


def test_texts_of_a_single_panel_are_not_cut(golden: Report) -> None:
    figure = plots._panels("fnkd_cifar100_coarse, Table fnkd", golden, golden.checks[:1])  # noqa: SLF001
    figure.draw_without_rendering()
    for text in (figure._suptitle, figure._supxlabel):  # type: ignore[attr-defined]  # noqa: SLF001
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1


def test_plots_call_references_that_nobody_printed_so(golden: Report) -> None:
    def own(check: Check) -> Check:
        return replace(check, row=replace(check.row, reference=replace(check.row.reference, kind="measured")))

    checks = [own(check) for check in golden.checks]
    beside = [plots._beside(check) for check in checks]  # noqa: SLF001
    assert any("95.50 ± 0.17 (3), reference 96.50: below" in text for text in beside)
    assert "dashed: reference" in plots._drawn(replace(golden, checks=checks), checks)  # noqa: SLF001


def test_captions_name_what_is_drawn_and_nothing_else(pictures: dict[str, str]) -> None:
    assert "accuracy (circle)<" in pictures["golden.1.base.forest.svg"].replace(" -->", "<")
    assert "line: 90 % confidence interval" in pictures["golden.1.kd.forest.svg"]
    assert "epoch; line: mean of the seeds, dashed: printed<" in pictures["golden.1.base.curves.svg"].replace(
        " -->", "<"
    )
    assert "grey: the baseline, dashed: printed" in pictures["golden.1.kd.curves.svg"]
    assert "dashed" not in pictures["golden.2.curves.svg"].partition("epoch; line")[2]


def test_methods_of_a_pair_stand_beside_each_other(pictures: dict[str, str]) -> None:
    ours, printed = pictures["golden.methods.our-runs.svg"], pictures["golden.methods.printed.svg"]
    for words in (
        "Our runs: methods beside each other",
        "from digits_mlp",
        "accuracy, %; line: std, dashed: kd",
    ):
        assert words in ours
    assert "Printed numbers: methods beside each other" in printed


@pytest.mark.usefixtures("_undrawn")
def test_single_method_has_nothing_beside_it(golden: Report) -> None:
    single = [check for check in golden.checks if check.row.is_baseline]
    assert not [name for name, _ in draw(replace(golden, checks=single), ["svg"]) if ".methods." in name]


def test_texts_of_the_methods_of_a_single_pair_are_not_cut(golden: Report) -> None:
    table = tables(golden.suite, golden.checks)[0]
    figure = plots._methods(replace(golden, altered="--smoke"), table, table.pairs[:1])  # noqa: SLF001
    figure.draw_without_rendering()
    for text in (figure._suptitle, figure._supxlabel):  # type: ignore[attr-defined]  # noqa: SLF001
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1


@pytest.mark.slow
def test_same_checks_give_the_same_bytes(golden: Report) -> None:
    short = replace(golden, checks=golden.checks[:1])
    pictures = dict(draw(short, ["svg", "png"]))
    again = dict(draw(short, ["svg"]))
    assert again == {name: picture for name, picture in pictures.items() if name.endswith("svg")}
    assert all(picture.startswith(PNG) == name.endswith("png") for name, picture in pictures.items())
    assert {name.rpartition(".")[2] for name in pictures} == {"png", "svg"}


@pytest.mark.usefixtures("_undrawn")
def test_long_table_becomes_several_pictures(golden: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "CURVE_PANELS", 2)
    table = replace(golden, checks=[check for check in golden.checks if check.row.table == "1.kd"])
    names = [name for name, _ in draw(table, ["svg"]) if ".1.kd.curves" in name]
    assert names == ["golden.1.kd.curves.svg", "golden.1.kd.curves-2.svg"]


def test_name_that_looks_like_mathematics_is_drawn_as_it_is(golden: Report) -> None:
    check = replace(golden.checks[0], row=replace(golden.checks[0].row, student="$\\frac{$ _x_"))
    forest = dict(draw(replace(golden, checks=[check]), ["svg"]))["golden.1.base.forest.svg"]
    assert b"$\\frac{$ _x_" in forest


def test_nothing_to_draw_is_told(golden: Report) -> None:
    with pytest.raises(UserError, match="none of these rows has a result yet: there is nothing to draw"):
        list(draw(replace(golden, results={}), ["png"]))


def test_extent_leaves_the_first_climb_out() -> None:
    curve = Curve(tuple([10.0] * 2 + [70.0] * 18), (), (), ())
    assert extent([curve], 71.0) == pytest.approx((69.94, 71.06))
    assert extent([curve], None) == pytest.approx((69.95, 70.05))


def test_row_gains_over_the_row_that_it_names(golden: Report) -> None:
    assert golden.baselines["1.kd/digits_mlp:digits_cnn"].row.name == "1.base/digits_mlp"
    over = "1.kd/digits_mlp:digits_mlp@2"
    checks = [
        replace(check, row=replace(check.row, over=over)) if check.row.name == "2/digits_mlp" else check
        for check in golden.checks
    ]
    found = replace(golden, checks=checks).baselines
    assert (found["2/digits_mlp"].row.name, "1.base/digits_mlp" in found) == (over, False)


def test_epochs_are_whole_numbers(golden: Report) -> None:
    figure = plots._panels("", golden, golden.checks[:1])  # noqa: SLF001
    (axes,) = figure.axes
    axes.set_xlim(0.9, 3.1)
    assert [tick % 1 for tick in axes.get_xticks()] == [0.0] * len(axes.get_xticks())
