"""The verdicts, by tables of cases; what is missing; exit codes; the headline."""

from collections.abc import Sequence
from cProfile import Profile
from math import sqrt

import numpy as np
import pytest
from msgspec.structs import replace

from kdbench.report.sentences import notes, settings, validation
from kdbench.spec.results import Failure, Result
from kdbench.spec.runs import Loss, Recipe, ReportEpoch, Ties
from kdbench.spec.suites import Reference, Tolerance
from kdbench.spec.verdicts import Check, Verdict, Word
from kdbench.verdict.check import check_suite, count_single_seeds, exit_code, headline, verdict_of
from kdbench.verdict.stats import Spread, detection_power
from tests.support.build import CE, make_cell, make_failures, make_result, make_results, make_row, make_run

ISSUE = [76.20, 75.80, 75.89, 75.85, 76.15]


def checked(
    values: Sequence[float | None], reference: Reference, baseline: Sequence[float | None] = ()
) -> Check:
    """A row of one result per value, held against a reference at a tolerance of 0.5."""
    cell = make_cell(make_row(reference=reference), seeds=range(len(values)))
    return check_suite([cell], make_results(cell, values, baseline))[0]


@pytest.mark.parametrize(("margin", "word"), [(0.5, Word.CONSISTENT), (1.0, Word.REPRODUCED)])
def test_verdict_of_the_runs_of_the_issue(margin: float, word: Word) -> None:
    assert verdict_of(ISSUE, 76.32, margin).word == word


@pytest.mark.parametrize(
    ("values", "word", "within"),
    [
        ([71.0, 71.1, 71.2], Word.REPRODUCED, True),
        ([71.5, 71.5, 71.5], Word.REPRODUCED, True),
        ([70.5, 71.5], Word.CONSISTENT, True),
        ([71.2, 71.5, 71.8], Word.CONSISTENT, True),
        ([70.2, 70.4, 70.6], Word.INCONCLUSIVE, False),
        ([71.4, 71.6, 71.8], Word.INCONCLUSIVE, False),
        ([70.0, 70.1, 70.2], Word.BELOW, False),
        ([71.8, 71.9, 72.0], Word.ABOVE, False),
        ([70.4, 70.4, 70.4], Word.BELOW, False),
        ([71.0], Word.CONSISTENT, True),
        ([71.5], Word.CONSISTENT, True),
        ([70.5], Word.CONSISTENT, True),
        ([71.51], Word.SINGLE_SEED, False),
        ([70.49], Word.SINGLE_SEED, False),
    ],
)
def test_verdict_of_an_accuracy_printed_as_71(values: list[float], word: Word, *, within: bool) -> None:
    verdict = checked(values, Reference(top1=71.0)).top1
    assert (verdict.word, verdict.within) == (word, within)


@pytest.mark.parametrize(
    ("values", "word", "within"),
    [
        ([71.0, 71.1, 71.2], Word.REPRODUCED, True),
        ([70.8, 71.1, 71.4], Word.CONSISTENT, True),
        ([70.2, 70.4, 70.6], Word.INCONCLUSIVE, False),
        ([69.9, 70.0, 70.1], Word.BELOW, False),
        ([72.0], Word.SINGLE_SEED, False),
    ],
)
def test_verdict_of_a_gain_printed_as_2(values: list[float], word: Word, *, within: bool) -> None:
    verdict = checked(values, Reference(gain=2.0), [69.0] * len(values)).gain
    assert (verdict.word, verdict.within) == (word, within)


def test_verdict_at_the_margin_forgives_the_noise_of_floats() -> None:
    verdict = verdict_of([1.1], 0.6, 0.5)
    assert verdict.difference is not None
    assert verdict.difference > 0.5
    assert (verdict.word, verdict.within) == (Word.CONSISTENT, True)


def test_numbers_of_a_verdict_against_an_exact_number() -> None:
    verdict = verdict_of([70.0, 71.0, 72.0], 71.2, 0.5)
    assert verdict.measured == 71.0
    assert (verdict.std, verdict.n, verdict.exact) == (1.0, 3, True)
    assert verdict.interval == pytest.approx((-0.2 - 1.68585, -0.2 + 1.68585), abs=1e-5)


def test_printed_spread_widens_the_interval() -> None:
    verdict = checked([71.0, 71.1, 71.2], Reference(top1=71.0, std=0.6, n=3)).top1
    assert (verdict.word, verdict.exact) == (Word.CONSISTENT, False)


@pytest.mark.parametrize(("std", "n"), [(0.6, None), (None, 3), (0.6, 1)])
def test_printed_mean_counts_as_exact_without_a_std_of_several_runs(std: float | None, n: int | None) -> None:
    verdict = checked([71.0, 71.1, 71.2], Reference(top1=71.0, std=std, n=n)).top1
    assert (verdict.word, verdict.exact) == (Word.REPRODUCED, True)


def test_printed_spread_of_the_student_is_that_of_its_gain() -> None:
    reference = Reference(top1=71.0, std=0.6, n=3, gain=2.0)
    verdict = checked([71.0, 71.1, 71.2], reference, [69.0] * 3).gain
    assert (verdict.word, verdict.exact) == (Word.CONSISTENT, False)


def test_spread_of_the_gain_itself_counts_before_the_students() -> None:
    """The standard error is sqrt(0.01 / 3 + 0.04 / 10), with 7.3 degrees."""
    reference = Reference(top1=71.0, std=2.0, n=10, gain=3.1, gain_std=0.2)
    values, baseline = [71.0, 71.1, 71.2], [69.0] * 3
    verdict = checked(values, reference, baseline).gain
    assert verdict.word == Word.BELOW
    assert verdict.interval == pytest.approx((-1.0 - 0.1611, -1.0 + 0.1611), abs=2e-3)
    students = checked(values, replace(reference, gain_std=None), baseline).gain
    assert students.word == Word.INCONCLUSIVE
    assert checked(values, replace(reference, n=None), baseline).gain.exact


def test_assumed_spread_of_a_single_printed_run_is_used_and_repeated() -> None:
    """The standard error is sqrt(0.01 / 3 + 0.16); Welch's degrees are nearly infinite."""
    reference = Reference(top1=71.0, n=1, assumed_std=0.4, assumed_std_source="Table 1, ResNet18")
    verdict = checked([70.3, 70.4, 70.5], reference).top1
    assert (verdict.word, verdict.exact) == (Word.INCONCLUSIVE, False)
    assert verdict.interval == pytest.approx((-0.6 - 0.6648, -0.6 + 0.6648), abs=2e-3)
    assert "a single run, its std assumed to be 0.4: Table 1, ResNet18" in verdict.reason


def test_accuracy_by_class_is_the_mean_over_the_seeds_and_stands_in_the_report() -> None:
    cell = make_cell(make_row(seeds=2), seeds=range(2))
    results = make_results(cell, [60.0, 62.0])
    classes = [(98.0, 0.0), (96.0, 2.0)]
    results |= {of: replace(results[of], by_class=each) for of, each in zip(cell.ids, classes, strict=True)}
    (check,) = check_suite([cell], results)
    assert check.by_class == (97.0, 1.0)
    assert "accuracy by class: 0 97.00, 1 1.00" in list(notes(check))


def test_error_count_widens_the_interval_and_is_named() -> None:
    """sqrt(0.02² / 5 + 0.0857²) = 0.0862, times 1.645."""
    values = [99.24, 99.26, 99.28, 99.25, 99.27]
    verdict = checked(values, Reference(top1=99.26, errors=74, of=10_000)).top1
    assert verdict.interval == pytest.approx((-0.1414, 0.1414), abs=1e-3)
    assert not verdict.exact
    assert "printed: 74 errors of 10,000, with a binomial error of 0.086 points" in verdict.reason


@pytest.mark.parametrize("n", [2, 5, 10])
def test_faithful_reproduction_of_a_single_printed_run_is_rarely_below_or_above_if_its_spread_is_assumed(
    n: int,
) -> None:
    """Exact, it is so in 4 to 13 %, as docs/verdicts.md says."""
    draw = np.random.default_rng(n)
    assumed = Spread(0.4, 1, assumed=True)
    exact = known = 0
    for _ in range(2000):
        values, printed = draw.normal(71.0, 0.4, n).tolist(), float(draw.normal(71.0, 0.4))
        exact += verdict_of(values, printed, 0.5).word in (Word.BELOW, Word.ABOVE)
        known += verdict_of(values, printed, 0.5, error=assumed).word in (Word.BELOW, Word.ABOVE)
    assert 0.03 < exact / 2000 < 0.14
    assert known / 2000 < 0.05


def test_headline_says_what_its_error_rate_does_not_cover() -> None:
    checks = [checked([71.0, 71.1, 71.2], Reference(top1=71.0, gain=2.0), [69.0] * 3)]
    assert headline(checks).endswith("the printed number itself, which counts as exact in 2.")


def test_headline_of_measured_references_has_the_power_of_their_check() -> None:
    reference = Reference(top1=71.0, std=0.3, n=5, kind="measured")
    checks = [checked([70.7, 71.0, 71.3], reference)]
    power = detection_power(1.0, 0.5, Spread(0.3, 3), Spread(0.3, 5))
    assert f"that loses 1 point is `below` in {100 * power:.0f} % of all cases." in headline(checks)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([71.0, 71.1, 71.2], ""),
        ([71.2, 71.5, 71.8], "not even 100 more seeds would do, if mean and spread stay"),
        ([70.6, 70.9, 71.2], "1 more seed is needed, if mean and spread stay"),
        ([70.5, 71.5], "6 more seeds are needed, if mean and spread stay; 2 of 3 seeds so far"),
        ([71.0], "a second seed is needed to know the spread; 1 of 3 seeds so far"),
        ([70.0, 70.0], "2 of 3 seeds so far"),
    ],
)
def test_reason_says_how_many_seeds_are_needed(values: list[float], reason: str) -> None:
    assert checked(values, Reference(top1=71.0)).top1.reason == reason


def test_gain_is_paired_by_seed() -> None:
    check = checked([70.0, None, 72.0], Reference(gain=2.0), [68.0, 69.0, 70.1])
    assert check.gain.measured == pytest.approx(1.95)
    assert check.gain.n == 2


def test_gain_leaves_out_seeds_without_a_baseline() -> None:
    gain = checked([70.0, 71.0, 72.0], Reference(gain=2.0), [68.0, None, None]).gain
    assert (gain.measured, gain.n) == (2.0, 1)


def test_gain_without_a_printed_one_is_measured_all_the_same() -> None:
    gain = checked([71.0, 71.0], Reference(top1=71.0), [68.0, 69.0]).gain
    assert (gain.word, gain.measured, gain.n) == (Word.NO_REFERENCE, 2.5, 2)


def test_accuracy_without_a_printed_one_is_measured_all_the_same() -> None:
    top1 = checked([70.0, 71.0, 72.0], Reference(gain=2.0)).top1
    assert (top1.word, top1.measured, top1.std) == (Word.NO_REFERENCE, 71.0, 1.0)
    assert top1.reason == "only the gain is printed"


def test_gain_of_a_baseline_is_not_asked_for() -> None:
    cell = make_cell(make_row(reference=Reference(top1=68.0), loss=CE))
    check = check_suite([cell], make_results(cell, [68.0, 68.0, 68.0]))[0]
    assert check.gain == Verdict(word=Word.NO_REFERENCE)


def test_gain_of_a_point_on_the_way_of_the_baseline_is_not_asked_for() -> None:
    row = make_row(reference=Reference(top1=15.0, gain=-53.0), loss=CE, report_epoch=1)
    cell = make_cell(row)
    check = check_suite([cell], make_results(cell, [68.0, 68.0, 68.0]))[0]
    assert check.gain == Verdict(word=Word.NO_REFERENCE)


def test_gain_waits_for_the_baseline() -> None:
    gain = checked([71.0, 71.0], Reference(gain=2.0)).gain
    reason = "the baseline has no result of these seeds yet"
    assert gain == Verdict(word=Word.PENDING, reason=reason, printed=2.0)


def test_gain_in_a_suite_without_a_baseline() -> None:
    cell = replace(make_cell(make_row(reference=Reference(gain=2.0))), baselines=())
    gain = check_suite([cell], {of: make_result(cell.runs[0], 71.0) for of in cell.ids})[0].gain
    assert (gain.word, gain.reason) == (Word.PENDING, "the suite has no baseline of mobilenetv2")


def test_gain_of_a_failed_baseline_says_so() -> None:
    cell = make_cell(make_row(reference=Reference(gain=2.0)))
    failures = make_failures(make_run(loss=CE))
    gain = check_suite([cell], make_results(cell, [71.0]), failures)[0].gain
    assert gain.reason == "the baseline of seed 0 failed: loss is NaN (logs/a.txt)"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (Reference(top1=71.0, gain=2.0), (Word.PENDING, Word.PENDING)),
        (Reference(gain=2.0), (Word.NO_REFERENCE, Word.PENDING)),
        (Reference(), (Word.NO_REFERENCE, Word.NO_REFERENCE)),
    ],
)
def test_words_before_anything_is_run(reference: Reference, words: tuple[Word, Word]) -> None:
    check = checked([None, None, None], reference)
    assert (check.top1.word, check.gain.word) == words
    assert check.top1.reason.endswith("not run yet")


def test_failed_run_is_told_with_cause_and_log() -> None:
    cell = make_cell(make_row(reference=Reference(top1=71.0, gain=2.0)))
    check = check_suite([cell], {}, make_failures(cell.runs[1]))[0]
    assert {check.top1.word, check.gain.word} == {Word.FAILED}
    assert check.top1.reason == "seed 1 failed: loss is NaN (logs/a.txt)"


def test_damaged_file_of_all_seeds_is_named_once() -> None:
    cell = make_cell(make_row(reference=Reference(top1=71.0, gain=2.0)))
    unreadable = dict.fromkeys((*cell.ids, *cell.baselines), "a.jsonl: damaged")
    check = check_suite([cell], {}, unreadable=unreadable)[0]
    assert {check.top1.word, check.gain.word} == {Word.UNREADABLE}
    assert {check.top1.reason, check.gain.reason} == {"a.jsonl: damaged"}


def test_failed_run_without_a_printed_number_is_failed() -> None:
    cell = make_cell(make_row())
    check = check_suite([cell], {}, make_failures(*cell.runs))[0]
    assert (check.top1.word, check.gain.word) == (Word.FAILED, Word.NO_REFERENCE)


def test_failed_seed_beside_good_ones_is_a_remark() -> None:
    cell = make_cell(make_row(reference=Reference(top1=71.0)))
    results = make_results(cell, [71.0, 71.1])
    verdict = check_suite([cell], results, make_failures(cell.runs[2]))[0].top1
    assert verdict.word == Word.REPRODUCED
    assert verdict.reason == "2 of 3 seeds so far; seed 2 failed: loss is NaN (logs/a.txt)"


def test_old_failure_of_a_run_with_a_result_is_forgotten() -> None:
    cell = make_cell(make_row(reference=Reference(top1=71.0)))
    results = make_results(cell, [71.0, 71.1, 71.0])
    assert not check_suite([cell], results, make_failures(*cell.runs))[0].top1.reason


def test_row_of_a_failed_teacher_is_blocked() -> None:
    cell = make_cell(make_row(reference=Reference(top1=71.0)), taught_by="resnet18")
    failures = make_failures(make_run("resnet18", 1, CE))
    verdict = check_suite([cell], {}, failures)[0].top1
    assert verdict.word == Word.BLOCKED
    assert verdict.reason == "its teacher resnet18 (seed 1) failed: loss is NaN (logs/a.txt)"


def chain_of_three() -> tuple[Check, Check]:
    """A row taught by a run that is itself taught: its check if the first failed, and if the second is in."""
    first = make_run("resnet50", 0, CE)
    second = make_run("resnet18", 0, Loss("kd"), first)
    third = make_run("mobilenetv2", 0, Loss("kd"), second)
    cell = make_cell(make_row(reference=Reference(top1=71.0)), seeds=[0])
    cell = replace(cell, runs=(third,))
    failures = make_failures(first)
    later = {second.id: make_result(second, 75.0)}
    return check_suite([cell], {}, failures)[0], check_suite([cell], later, failures)[0]


def test_row_is_blocked_by_its_teachers_teacher_until_the_teacher_is_in() -> None:
    before, after = chain_of_three()
    assert (before.top1.word, after.top1.word) == (Word.BLOCKED, Word.PENDING)
    assert "resnet50" in before.top1.reason


@pytest.mark.parametrize(("report_epoch", "top1"), [("last", 70.0), ("best", 71.0), (1, 69.0), (2, 71.0)])
def test_value_is_taken_at_the_reading(report_epoch: ReportEpoch, top1: float) -> None:
    cell = make_cell(make_row(report_epoch=report_epoch), seeds=[0])
    check = check_suite([cell], {cell.ids[0]: make_result(cell.runs[0], 69.0, 71.0, 70.0)})[0]
    assert check.values == {0: top1}


@pytest.mark.parametrize(("ties", "epoch"), [("earliest", 1), ("latest", 3)])
def test_best_of_equal_epochs_is_that_of_the_suite_and_the_report_says_which(ties: Ties, epoch: int) -> None:
    row = replace(make_row(report_epoch="best"), ties=ties)
    cell = make_cell(row, seeds=[0])
    check = check_suite([cell], {cell.ids[0]: make_result(cell.runs[0], 71.0, 70.0, 71.0)})[0]
    assert (check.values, check.best_epochs) == ({0: 71.0}, {0: epoch})
    assert f"best at epoch {epoch} (seed 0)" in list(notes(check))
    assert f"Reported epoch: best (of equal epochs the {ties})." in settings([row])


def test_value_beyond_the_end_of_a_curve_is_missing() -> None:
    cell = make_cell(make_row(reference=Reference(top1=71.0), report_epoch=9))
    verdict = check_suite([cell], make_results(cell, [71.0]))[0].top1
    assert (verdict.word, verdict.reason) == (Word.PENDING, "the curve ends before epoch 9")


def test_values_are_kept_by_seed() -> None:
    assert checked([71.0, None, 72.0], Reference()).values == {0: 71.0, 2: 72.0}


def test_epoch_may_be_chosen_on_held_out_images() -> None:
    """Of several equal ones the latest; a run that held out nothing has no such value."""
    recipe = Recipe(epochs=3, batch_size=128, lr=0.1, validation_size=10)
    row = make_row(recipe=recipe, report_epoch="best_validation", reference=Reference(top1=71.0))
    cell = make_cell(row, seeds=[0])
    result = make_result(cell.runs[0], 72.0, 71.0, 70.0)
    [check] = check_suite([cell], {cell.ids[0]: result})
    assert (check.top1.word, check.values) == (Word.PENDING, {})
    assert check.top1.reason == "its runs held out no images to choose an epoch on"
    curve = replace(result.curve, validation_top1=(80.0, 80.0, 79.0))
    [check] = check_suite([cell], {cell.ids[0]: replace(result, curve=curve)})
    assert check.values == {0: 71.0}
    assert check.report_epochs == {"last": 70.0, "best": 72.0, "best_validation": 71.0}
    assert validation([check]).startswith(
        "Choosing the epoch on test instead of held-out training images is worth +1.00 points"
    )
    assert not validation([replace(check, report_epochs={"best": 72.0})])


def test_optimism_is_the_mean_of_best_minus_last() -> None:
    cell = make_cell(make_row(), seeds=[0, 1])
    curves = ([70.5, 70.0], [70.0, 71.0])
    results = {run.id: make_result(run, *top1) for run, top1 in zip(cell.runs, curves, strict=True)}
    assert check_suite([cell], results)[0].optimism == 0.25


def test_runs_that_were_trained_again_are_held_against_the_first() -> None:
    cell = make_cell(make_row(seeds=2), seeds=range(2))
    results = {run.id: make_result(run, 70.0, 71.0) for run in cell.runs}
    first, second = cell.runs
    again = {first.id: [results[first.id]] * 2, second.id: [make_result(second, 70.0, 71.5)]}
    (check,) = check_suite([cell], results, repeats=again)
    assert check.repeats == (
        "seed 1, repeat 1: differs from epoch 2 on; last 71.50 against 71.00",
        "2 further trainings gave the same accuracies after each epoch",
    )
    assert set(check.repeats) <= set(notes(check))


def test_rows_of_the_same_runs_name_each_other() -> None:
    rows = [make_row(table=table) for table in ("1", "5", "9")]
    alone = make_row("resnet18")
    checks = check_suite([make_cell(row) for row in (*rows, alone)], {})
    assert [check.same_as for check in checks[::3]] == [("5/mobilenetv2", "9/mobilenetv2"), ()]


def test_checks_keep_the_order_of_the_cells() -> None:
    cells = [make_cell(make_row(student)) for student in ("b", "a", "c")]
    results: dict[str, Result] = {}
    for cell in cells[::-1]:
        results |= make_results(cell, [71.0, 71.0, 71.0])
    assert [check.row.student for check in check_suite(iter(cells), results)] == ["b", "a", "c"]


def check_of(top1: Word, gain: Word = Word.NO_REFERENCE, *, printed: bool = True) -> Check:
    """A check with these words."""
    known = 71.0 if printed else None
    first = Verdict(word=top1, printed=known, within=top1 in {Word.REPRODUCED, Word.CONSISTENT})
    second = Verdict(word=gain, printed=None if gain is Word.NO_REFERENCE else 2.0)
    return Check(row=make_row(), ids=(), top1=first, gain=second)


@pytest.mark.parametrize(
    ("word", "code", "strict"),
    [
        (Word.REPRODUCED, 0, 0),
        (Word.CONSISTENT, 0, 1),
        (Word.INCONCLUSIVE, 0, 1),
        (Word.SINGLE_SEED, 0, 1),
        (Word.PENDING, 0, 1),
        (Word.BELOW, 1, 1),
        (Word.ABOVE, 1, 1),
        (Word.FAILED, 1, 1),
        (Word.BLOCKED, 1, 1),
    ],
)
def test_exit_code_of_a_word_in_either_place(word: Word, code: int, strict: int) -> None:
    for check in (check_of(word), check_of(Word.REPRODUCED, word)):
        checks = [check_of(Word.REPRODUCED), check]
        assert (exit_code(checks), exit_code(checks, strict=True)) == (code, strict)


@pytest.mark.parametrize(("value", "word"), [(70.0, Word.BELOW), (71.0, Word.CONSISTENT), (72.0, Word.ABOVE)])
def test_single_seed_outside_is_a_verdict_only_where_asked_for(value: float, word: Word) -> None:
    check = checked([value], Reference(top1=71.0))
    assert exit_code([check]) == 0
    assert count_single_seeds([check])[0].top1.word is word


@pytest.mark.parametrize(("word", "code"), [(Word.NO_REFERENCE, 0), (Word.FAILED, 1)])
def test_exit_code_of_a_row_without_a_printed_number(word: Word, code: int) -> None:
    checks = [check_of(word, printed=False)]
    assert (exit_code(checks), exit_code(checks, strict=True)) == (code, code)


def test_headline_counts_the_words_of_printed_numbers() -> None:
    checks = [
        check_of(Word.REPRODUCED, Word.REPRODUCED),
        check_of(Word.REPRODUCED, Word.PENDING),
        check_of(Word.BELOW),
        check_of(Word.CONSISTENT),
        check_of(Word.NO_REFERENCE, printed=False),
        check_of(Word.FAILED, printed=False),
    ]
    assert headline(checks) == (
        "2 of 4 accuracies reproduced, 1 consistent, 1 below (3 within the tolerance); "
        "1 of 2 gains reproduced, 1 pending (0 within the tolerance); "
        "2 without a printed accuracy, 1 failed."
    )


def test_check_has_every_reading_and_the_gain_of_each_seed() -> None:
    cell = make_cell(make_row(report_epoch=1), seeds=[0, 1])
    results = {
        of: make_result(run, 70.0, 72.0, 71.0, of=of) for run, of in zip(cell.runs, cell.ids, strict=True)
    }
    base = make_result(cell.runs[0], 69.0, 69.0, 69.0, of=cell.baselines[0])
    check = check_suite([cell], results | {cell.baselines[0]: base})[0]
    assert check.report_epochs == {"last": 71.0, "best": 72.0, "1": 70.0}
    assert (check.values, check.gains) == ({0: 70.0, 1: 70.0}, {0: 1.0})


def test_reason_repeats_why_the_tolerance_is_the_rows_own() -> None:
    row = make_row(reference=Reference(top1=71.0))
    row = replace(row, tolerance=Tolerance(top1=1.0, gain=0.5, why="a noisy row"))
    cell = make_cell(row)
    reason = check_suite([cell], make_results(cell, [71.0, 71.1, 71.2]))[0].top1.reason
    assert reason == "tolerance 1 (gain 0.5): a noisy row"


def test_headline_of_nothing_printed() -> None:
    assert headline([]) == "no printed accuracies; no printed gains."


def test_printed_spread_of_two_runs_is_used_by_welch() -> None:
    verdict = verdict_of([71.0, 71.2], 71.1, 0.5, error=Spread(sqrt(0.02), 2))
    assert verdict.interval == pytest.approx((-0.41295, 0.41295), abs=1e-5)


def calls_of(rows: int) -> int:
    """Function calls to check so many rows of three seeds, with their gains: the same on any machine."""
    cells, results = [], dict[str, Result]()
    for place in range(rows):
        reference = Reference(top1=71.0, std=0.2, n=3, gain=2.0)
        cell = make_cell(make_row(f"m{place}", reference=reference))
        results |= make_results(cell, [70.5 + place % 9 / 10, 71.0, 71.3], [69.0, 69.1, 68.8])
        cells.append(cell)
    failures = dict[str, Failure](make_failures(make_run("none")))
    profile = Profile()
    profile.runcall(check_suite, cells, results, failures)
    return sum(entry.callcount for entry in profile.getstats())


def test_work_of_a_check_grows_with_the_rows_and_not_faster() -> None:
    calls_of(10)  # what is imported and cached once
    assert calls_of(240) < 8.5 * calls_of(30)
