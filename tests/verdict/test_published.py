"""kdbench/verdict/published.py: author runs judged as ours are, and never counted among ours."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.plan.expand import expand
from kdbench.spec.author_runs import AuthorRun
from kdbench.spec.suites import Suite
from kdbench.spec.verdicts import Check, Published, Verdict
from kdbench.suite.load import load_suite
from kdbench.verdict.check import check_suite, count_single_seeds, exit_code, headline
from kdbench.verdict.holm import adjust
from kdbench.verdict.published import (
    for_both,
    is_reference,
    last_or_best,
    of_authors,
    published_headline,
    with_author_runs,
)
from tests.support.authors import author_runs, curve
from tests.support.project import SUITE, change, write_suite

MLP, CNN, KD = "1.base/digits_mlp", "1.base/digits_cnn", "1.kd/digits_mlp:digits_cnn"


def judged(folder: Path, *runs: AuthorRun, text: str = SUITE) -> tuple[Suite, dict[str, Check]]:
    """The small suite without results of ours, beside author runs."""
    suite = load_suite(write_suite(folder, text))
    checks = with_author_runs(suite, check_suite(expand(suite), {}), author_runs(*runs))
    return suite, {check.row.name: check for check in checks}


def published(check: Check) -> Published:
    assert check.published is not None
    return check.published


def test_author_runs_are_judged_as_seeds_are(tmp_path: Path) -> None:
    values = (91.9, 92.0, 92.1, 92.05)
    runs = [AuthorRun(row=KD, run=number, value=value) for number, value in enumerate(values)]
    _, checks = judged(tmp_path, *runs)
    found = published(checks[KD])
    assert (found.kind, found.top1.word, found.top1.n) == ("author run", "reproduced", 4)
    assert found.top1.measured == pytest.approx(92.0125)
    assert found.values == dict(enumerate(values))
    assert checks[KD].top1.word == "pending", "ours stays what it is"
    assert checks[MLP].published is None


def test_gain_is_over_the_authors_baseline_of_the_same_number(tmp_path: Path) -> None:
    runs = [
        *(AuthorRun(row=MLP, run=number, value=90.0 + number) for number in (0, 1, 2)),
        *(AuthorRun(row=KD, run=number, value=92.0 + number) for number in (0, 1, 5)),
    ]
    _, checks = judged(tmp_path, *runs)
    found = published(checks[KD])
    assert found.gains == {0: 2.0, 1: 2.0}
    assert found.gain.word == "reproduced"
    assert published(checks[MLP]).gain.printed is None


BASES = """
[[table]]
id = "{0}"
loss = {{ name = "ce" }}
recipe = {{ subset = {0} }}
rows = [ {{ student = "digits_mlp" }}, {{ student = "digits_cnn" }} ]
"""


def test_gain_is_over_the_authors_baseline_on_the_same_images(tmp_path: Path) -> None:
    """A suite may have a student's baseline on all images, on 300 and on 400 of them, in any order."""
    text = change(('id = "1.kd"', 'id = "1.kd"\nrecipe = { subset = 400 }'))
    text += BASES.format(300) + BASES.format(400)
    values = {MLP: 10.0, "300/digits_mlp": 20.0, "400/digits_mlp": 90.0, KD: 92.0}
    runs = [AuthorRun(row=row, run=0, value=value) for row, value in values.items()]
    _, checks = judged(tmp_path, *runs, text=text)
    assert published(checks[KD]).gains == {0: 2.0}


def test_reported_epoch_picks_last_or_best_and_a_value_stands_for_either(tmp_path: Path) -> None:
    text = change(('id = "1.kd"', 'id = "1.kd"\nreport_epoch = "best"'))
    runs = [curve(KD, 80.0, 92.4, 91.0), AuthorRun(row=KD, run=2, value=92.0)]
    runs += [AuthorRun(row=KD, run=3, last=50.0)]
    _, checks = judged(tmp_path, *runs, text=text)
    found = published(checks[KD])
    assert found.values == {1: 92.4, 2: 92.0}
    assert found.report_epochs == {"last": pytest.approx(70.5), "best": 92.4}
    assert found.optimism == pytest.approx(1.4)


def test_an_epoch_that_is_not_published_is_pending(tmp_path: Path) -> None:
    text = change(('id = "1.kd"', 'id = "1.kd"\nreport_epoch = "best"'))
    _, checks = judged(tmp_path, AuthorRun(row=KD, run=1, last=92.0), text=text)
    found = published(checks[KD]).top1
    assert (found.word, found.reason) == ("pending", "nothing is published at the reported epoch best")


def test_another_number_of_epochs_is_a_protocol_note(tmp_path: Path) -> None:
    _, checks = judged(tmp_path, curve(KD, 80.0, 91.0, 92.0, 92.1), curve(MLP, 80.0, 85.0, 90.0))
    assert published(checks[KD]).notes == ("protocol: logged for 4 epochs, the row trains 3",)
    assert "protocol: logged for 4 epochs" in published(checks[KD]).top1.reason
    assert published(checks[KD]).epochs == (4,)
    assert published(checks[MLP]).notes == ()


def test_sources_name_the_log_of_each_run(tmp_path: Path) -> None:
    _, checks = judged(tmp_path, curve(KD, 80.0, 91.0, 92.0, path="logs/a.txt"))
    assert published(checks[KD]).sources == ("github.com/a/b@c0ffee000000:logs/a.txt",)


def test_a_run_of_no_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"author_runs/small.json: unknown row '1.kd/x'"):
        judged(tmp_path, curve("1.kd/x", 90.0))


def test_authors_are_not_counted_in_our_headline_or_exit_code(tmp_path: Path) -> None:
    suite, checks = judged(tmp_path, curve(KD, 70.0, 70.0, 70.0), curve(KD, 70.0, 70.1, 70.0, run=2))
    ours = check_suite(expand(suite), {})
    assert published(checks[KD]).top1.word == "below"
    assert headline(checks.values()) == headline(ours)
    assert exit_code(checks.values()) == 0
    assert published_headline(ours) == ""
    assert published_headline(checks.values()).startswith(
        "Author runs, not trained by kdbench (2 runs of 1 row): 0 of 1 accuracies reproduced, 1 below"
    )


def test_runs_whose_mean_is_the_reference_judge_nothing(tmp_path: Path) -> None:
    """92.00 ± 0.10 (3) is what 91.9, 92.0 and 92.1 are printed as; of other runs it is held against them."""
    text = change(("top1 = 92.0, gain", "std = 0.1, n = 3, top1 = 92.0, gain"))
    runs = [AuthorRun(row=KD, run=number, value=value) for number, value in enumerate((91.9, 92.0, 92.1))]
    _, checks = judged(tmp_path, *runs, text=text)
    assert is_reference(checks[KD])
    assert published_headline(checks.values()).endswith(
        "(3 runs of 1 row): 1 not counted: their printed numbers are the means of these runs."
    )
    _, checks = judged(tmp_path, *runs[:2], replace(runs[2], value=92.2), text=text)
    assert not is_reference(checks[KD])
    _, checks = judged(tmp_path, *runs)
    assert not is_reference(checks[KD]), "nothing says that the printed number is a mean of three"


def test_changes_of_verdicts_reach_both_apart(tmp_path: Path) -> None:
    _, checks = judged(tmp_path, curve(KD, 70.0, 70.0, 70.0))
    single = published(checks[KD]).top1
    assert single.word == "single seed, outside"
    counted = {check.row.name: check for check in for_both(list(checks.values()), count_single_seeds)}
    assert published(counted[KD]).top1.word == "below"
    assert counted[KD].top1 == checks[KD].top1
    _, checks = judged(tmp_path, curve(KD, 92.0, 92.0), curve(KD, 92.0, 92.1, run=2))
    adjusted = {check.row.name: check for check in for_both(list(checks.values()), adjust)}
    assert published(adjusted[KD]).top1.p_adjusted == pytest.approx(published(checks[KD]).top1.p)


def test_of_authors_has_their_values_and_none_of_our_runs(tmp_path: Path) -> None:
    _, checks = judged(tmp_path, curve(KD, 80.0, 91.0, 92.0))
    (only,) = of_authors(checks.values())
    assert (only.row.name, only.ids, only.values) == (KD, (), {1: 92.0})


def row(check: Check, printed: float, last: float, best: float, runs: int = 1) -> Check:
    """A check whose author runs have these means."""
    found = Published(
        kind="author run",
        top1=Verdict(word=check.top1.word),
        gain=Verdict(word=check.top1.word),
        values=dict.fromkeys(range(runs), last),
        report_epochs={"last": last, "best": best},
    )
    reference = replace(check.row.reference, top1=printed)
    return replace(check, row=replace(check.row, reference=reference), published=found)


def test_last_or_best_counts_rows_and_averages_differences(tmp_path: Path) -> None:
    _, checks = judged(tmp_path)
    check = checks[KD]
    rows = [row(check, 90, 89.6, 90.1), row(check, 80, 79.9, 80.3), row(check, 70, 69.5, 70.5, runs=2)]
    found = last_or_best(rows)
    assert found is not None
    assert (found.rows, found.nearer_best, found.nearer_last, found.single) == (3, 1, 1, 2)
    assert found.over_last == pytest.approx((0.4 + 0.1 + 0.5) / 3)
    assert found.over_best == pytest.approx((-0.1 - 0.3 - 0.5) / 3)
    assert found.optimism == pytest.approx((0.5 + 0.4) / 2)
    assert found.half_last > 0
    assert last_or_best([check]) is None


def test_author_runs_of_a_mean_are_its_rows_means_number_by_number(tmp_path: Path) -> None:
    mean_row = (
        '[[table]]\nid = "1.mean"\nloss = { name = "ce" }\n'
        'rows = [ { student = "digits_mlp", label = "both", mean = ["1.base/digits_mlp", "1.kd"], '
        "top1 = 91.0 } ]\n\n"
    )
    text = change(('[[table]]\nid = "1.kd"', f'{mean_row}[[table]]\nid = "1.kd"'))
    runs = [AuthorRun(row=MLP, run=number, value=90.0 + number) for number in (0, 1, 2)]
    runs += [AuthorRun(row=KD, run=number, value=92.0 + number) for number in (0, 1)]
    _, checks = judged(tmp_path, *runs, text=text)
    found = published(checks["1.mean/digits_mlp+both"])
    assert found.values == {0: 91.0, 1: 92.0}
    assert found.top1.n == 2
    _, checks = judged(tmp_path, *runs[:3], text=text)
    assert checks["1.mean/digits_mlp+both"].published is None, "one of its rows has no author runs"
