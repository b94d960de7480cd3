"""May a faster arithmetic stand for float32? The paired test, its record, and the verdicts that cite it."""

from pathlib import Path

import pytest
import scipy
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.plan.expand import expand
from kdbench.plan.selection import Selection
from kdbench.report import gather, terminal
from kdbench.report.markdown import markdown
from kdbench.store.records import save_result
from kdbench.suite.load import load_suite
from kdbench.verdict import equivalence, judge
from kdbench.verdict.equivalence import Equivalence, cited, equivalence_of, evidence
from tests.support.build import make_result
from tests.support.command import Command
from tests.support.project import make_project

ROW = "1.base/digits_mlp"
A, B = (90.0, 90.4, 89.8, 90.2), (90.1, 90.3, 90.0, 90.3)


def proof(folder: Path, a: tuple[float, ...] = A, b: tuple[float, ...] = B) -> Equivalence:
    """The test of a row whose runs gave these accuracies; all of them are stored."""
    folder.mkdir(exist_ok=True)
    suite = load_suite(make_project(folder))
    seeds = range(len(a))
    (exact,), (inexact,) = (
        expand(suite, rows=ROW, seeds=seeds, precision=each) for each in ("float32", "bf16")
    )
    pairs = zip((*exact.runs, *inexact.runs), (*a, *b), strict=False)
    results = {run.id: make_result(run, 1.0, 1.0, value) for run, value in pairs}
    for result in results.values():
        save_result(folder / "results", result)
    return equivalence_of(suite, exact, inexact, results)


def test_equivalence_is_two_one_sided_tests_on_the_pairs(tmp_path: Path) -> None:
    found = proof(tmp_path)
    differences = [b - a for a, b in zip(A, B, strict=True)]
    low = scipy.stats.ttest_1samp(differences, -0.5, alternative="greater").pvalue
    high = scipy.stats.ttest_1samp(differences, 0.5, alternative="less").pvalue
    assert found.p == pytest.approx(max(low, high))
    assert found.interval == pytest.approx(scipy.stats.ttest_1samp(differences, 0).confidence_interval(0.9))
    assert found.shown


def test_equivalence_of_pairs_that_differ_by_the_margin_is_not_shown(tmp_path: Path) -> None:
    assert not proof(tmp_path, b=(*(value + 0.5 for value in A[:3]), 90.6)).shown


def test_equivalence_of_one_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two seeds or more"):
        proof(tmp_path, A[:1], B[:1])


def test_equivalence_without_a_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1\.base/digits_mlp: no result of"):
        proof(tmp_path, b=B[:3])


def test_tests_of_other_seeds_are_kept_beside_each_other(tmp_path: Path) -> None:
    few, many = proof(tmp_path / "a", A[:3], B[:3]), proof(tmp_path / "b")
    for record in (few, many):
        equivalence.save(tmp_path, record, "digits_mlp-ce")
    kept = equivalence.load_all(tmp_path)
    assert sorted(len(each.seeds) for _, each in kept) == [3, 4]
    assert evidence(kept, "bf16", "digits") == (
        f"bf16: equivalent to float32 within 0.5 on {ROW}, by 4 seeds on {many.device} "
        f"(p = {many.p:.2g}, {_name(kept, many)})"
    )


def _name(kept: list[tuple[str, Equivalence]], record: Equivalence) -> str:
    return next(name for name, each in kept if each == record)


def test_test_that_failed_is_cited_as_such(tmp_path: Path) -> None:
    record = replace(proof(tmp_path), p=0.3)
    assert "bf16: not shown to be equivalent to float32" in evidence([("a", record)], "bf16", "digits")


@pytest.mark.parametrize(
    "change",
    [{"of": "tf32"}, {"of": "bf16-compiled"}, {"dataset": "cifar10"}, {"settings": {"epochs": 1}}],
    ids=str,
)
def test_test_of_something_else_is_not_cited(tmp_path: Path, change: dict[str, object]) -> None:
    record = replace(proof(tmp_path), **change)
    assert evidence([("a", record)], "bf16", "digits") == (
        "bf16: no test shows that it is equivalent to float32 on digits"
    )


def test_verdict_in_bf16_says_on_what_evidence_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = proof(tmp_path)
    monkeypatch.chdir(tmp_path)
    chosen = Selection(suites=("suites/small",), rows=ROW, precision="bf16")
    assert "bf16: no test shows" in terminal.table(judge.judge(chosen))
    path = equivalence.save(tmp_path / "results", record, "digits_mlp-ce")
    assert path.name in markdown(gather.gather(judge.judge(chosen)))


def test_verdict_in_float32_needs_no_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proof(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "float32" not in terminal.table(judge.judge(Selection(suites=("suites/small",), rows=ROW)))


def test_row_without_results_cites_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    ((_, checks),) = judge.judge(Selection(suites=("suites/small",))).suites
    assert cited(checks, "evidence") == checks


def test_record_that_is_broken_is_refused(tmp_path: Path) -> None:
    path = equivalence.save(tmp_path, proof(tmp_path), "digits_mlp-ce")
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="test again"):
        equivalence.load_all(tmp_path)


@pytest.mark.slow
def test_command_trains_both_ways_and_keeps_the_test(kdbench: Command, project: Path) -> None:
    words = ["--of", "bf16", "--row", f"small/{ROW}", "--seeds", "0-1", "--set", "epochs=2"]
    done = kdbench("equivalence", *words, "--json")
    assert done.json["seeds"] == [0, 1]
    assert done.json["settings"] == {"epochs": 2}
    assert done.code == (0 if done.json["p"] <= 0.05 else 1)
    trained = project / "results" / "trials" / "digits"  # by --set, which no suite in git asks for
    assert len(list(trained.glob("digits_mlp-ce.*.json"))) == 4
    assert len(list((project / "results" / "equivalence").glob("bf16.digits_mlp-ce.*.json"))) == 1


def test_command_of_one_seed_trains_nothing(kdbench: Command, project: Path) -> None:
    done = kdbench("equivalence", "--of", "bf16", "--row", f"small/{ROW}", "--seeds", "3")
    assert (done.code, "two seeds or more" in done.err) == (2, True)
    assert not (project / "results").exists()
