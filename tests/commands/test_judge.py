"""kdbench/commands/judge.py: every suite that has evidence, in short, with the exit code of `check`."""

import re
from pathlib import Path

import pytest

from tests.support.authors import store_curves
from tests.support.command import Command
from tests.support.places import ROOT
from tests.support.project import AS_PRINTED, change, store, write_suite

KD = "1.kd/digits_mlp:digits_cnn"


def test_every_suite_with_evidence_has_a_block(project: Path, kdbench: Command) -> None:
    write_suite(project, change(("epochs = 3", "epochs = 4")), name="untouched")
    write_suite(project, change(("epochs = 3", "epochs = 5")), name="zlogs")
    store(project, project / "suites" / "small.toml", AS_PRINTED)
    store_curves(project, {KD: [(80.0, 92.0), (80.0, 92.0)]}, suite="zlogs")
    done = kdbench("check", "--all")
    first, second, last = done.out.split("\n\n")
    assert done.code == 0
    assert first.startswith("suites/small: A paper\n  3 of 3 accuracies reproduced")
    assert second.startswith("suites/zlogs: A paper\n  Author runs, not trained by kdbench (2 runs of 1 row)")
    assert last == "2 suites with evidence; our runs: 3 reproduced; author run: 1 reproduced.\n"
    assert "untouched" not in done.out
    assert list(kdbench("check", "--all", "--json").json) == ["suites/small.toml", "suites/zlogs.toml"]


def test_what_is_off_is_named_and_makes_the_exit_code(project: Path, kdbench: Command) -> None:
    store(project, project / "suites" / "small.toml", AS_PRINTED | {KD: 80.0})
    done = kdbench("check", "--all")
    assert done.code == 1
    assert f"\n  below: {KD}, 80.00 ± 0.00 (2) against 92.00\n" in done.out
    assert f"\n  below: {KD}, gain -10.00 ± 0.00 (2) against 2.00\n" in done.out
    assert kdbench("check", "--all", "--rows", "1.base*").code == 0
    assert kdbench("check", "--all", "--rows", "1.base*", "--strict").code == 0


@pytest.mark.parametrize("words", [(), ("--all", "suites/small")])
def test_either_suites_or_all_are_named(kdbench: Command, words: tuple[str, ...]) -> None:
    done = kdbench("check", *words)
    assert done.code == 2
    assert "--all" in done.err


def test_a_folder_without_suites_says_where_to_go(
    kdbench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    done = kdbench("check", "--all")
    assert (done.code, done.err) == (
        2,
        "error: suites: no suite is there; go to the folder that holds suites/\n",
    )


@pytest.mark.slow
def test_committed_results_have_the_verdicts_of_their_page(
    kdbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdicts of our runs, suite by suite, as results/README.md counts them."""
    monkeypatch.chdir(ROOT)
    page = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| suites/")]
    found = kdbench("check", "--all", "--json").json
    for row in rows:
        checks = found[f"{row[1].strip()}.toml"]
        words = [check["top1"]["word"] for check in checks if check["values"]]
        counts = {word: int(count) for count, word in re.findall(r"(\d+) ([a-z ]+)", row[4].strip())}
        of_themselves = counts.pop("rows ", 0)  # kdbench's own references, made of these very runs
        for word, count in counts.items():
            assert 0 <= words.count(word) - count <= of_themselves
        assert sum(counts.values()) + of_themselves == len(words)
