"""`kdbench methods`: each format of the table, and the plot of the ranks."""

import json
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from kdbench.commands.methods import gather_methods
from kdbench.plan.selection import Selection
from kdbench.report.methods import MethodsReport
from tests.support.command import Command
from tests.support.places import SUITES

CRD = (str(SUITES / "crd_cifar100"), "--rows", "[01][./]*", "--evidence", "printed")
"""Its first table, with teachers: seven pairs, of which one method lacks one."""


def test_text_has_methods_down_pairs_across_and_the_best_marked(
    kdbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = kdbench("methods", *CRD)
    lines = done.out.splitlines()
    assert done.code == 0
    assert "Printed numbers: 14 methods, 7 pairs" in lines
    tables = [line for line in lines if line.startswith(("crd ", "teacher alone", "fsp "))]
    assert max(map(len, tables)) <= 80
    assert "75.48 (+0.56)*" in done.out
    assert "Without a rank, as they lack a pair: fsp." in lines
    assert ["crd", "kd", "7", "7", "of", "7", "-"] in [line.split()[:7] for line in lines]


@pytest.mark.parametrize(
    ("suffix", "texts"),
    [
        ("md", ["## Printed numbers: 14 methods, 7 pairs", "**75.48** (+0.56)", "| fsp "]),
        ("tex", [r"\toprule", r"$\mathbf{75.48}$ {\scriptsize$(+0.56)$}", r"wrn\_16\_2"]),
        ("html", ["<b>75.48</b> <small>(+0.56)</small>", "<svg", "critical difference"]),
        ("json", ['"against": "kd"', '"critical": ']),
        ("svg", ["critical difference"]),
    ],
)
def test_format_is_chosen_by_the_suffix(
    kdbench: Command, project: Path, suffix: str, texts: list[str]
) -> None:
    path = project / f"methods.{suffix}"
    assert kdbench("methods", *CRD, "-o", str(path)).code == 0
    text = path.read_text(encoding="utf-8")
    assert [each for each in texts if each not in text] == []
    if suffix == "json":
        assert len(json.loads(text)["suites"][0]["tables"]) == 1


def test_nothing_is_wider_than_a_narrow_terminal(kdbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = kdbench("methods", *CRD).out.splitlines()
    assert max(map(len, lines)) <= 40
    heads = [line.split()[-1] for line in lines if line.startswith("method ")]
    assert heads[-3:] == ["pairs", "seeds", "p"]


def test_plot_of_the_ranks_of_a_trial_says_so(kdbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    gather, titles = gather_methods, list[str]()

    def draw(_ranking: object, title: str, _kind: str) -> bytes:
        titles.append(title)
        return b""

    def of_trial(chosen: Selection, against: str, kinds: tuple[str, ...]) -> list[MethodsReport]:
        return [replace(each, altered="--set epochs=2") for each in gather(chosen, against, kinds)]

    monkeypatch.setattr("kdbench.report.ranks.draw_ranks", draw)
    monkeypatch.setattr("kdbench.commands.methods.gather_methods", of_trial)
    assert kdbench("methods", *CRD, "-o", "ranks.svg").code == 0
    assert titles == ["Trial (--set epochs=2), crd_cifar100: printed numbers"]


def test_page_has_one_minus_sign(kdbench: Command, project: Path) -> None:
    assert kdbench("methods", *CRD, "-o", "methods.html").code == 0
    cells = re.findall(r"<td>(.*?)</td>", (project / "methods.html").read_text(encoding="utf-8"))
    assert any("−" in cell for cell in cells)
    assert [cell for cell in cells if re.search(r"-\d|^-$", cell)] == []


@pytest.mark.usefixtures("stored")
def test_table_of_own_runs_has_std_and_the_gain_paired_by_seed(kdbench: Command) -> None:
    out = " ".join(kdbench("methods", "suites/small", "--evidence", "our runs").out.split())
    assert "92.00 ± 0.00*" in out
    assert "90.00 ± 0.00 (-2.00)" in out
    assert "of 2 runs; in brackets the gain over kd, paired by seed." in out
    assert "No ranks" in out
    alone = kdbench("methods", "suites/small", "--evidence", "our runs", "--seeds", "0").out
    assert "Accuracy in percent, of one run; in brackets the gain over kd" in alone
    over = kdbench("methods", "suites/small", "--evidence", "our runs", "--against", "student").out
    assert "92.00 ± 0.00 (+2.00)*" in over


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--against", "kdd"], "--against: unknown method 'kdd'. Did you mean 'kd'?"),
        (["--evidence", "our runs"], "no number of the kind our runs yet; `kdbench run` trains them"),
        (["--evidence", "author runs"], "no number of the kind author runs yet; leave --evidence out"),
        (["-o", "a.svg"], "no ranks to draw"),
        (["-o", "a.doc"], "no format has this suffix"),
        (["--format", "png"], "is a picture: name a file with -o"),
    ],
)
def test_what_cannot_be_shown_is_a_line(kdbench: Command, words: list[str], told: str) -> None:
    done = kdbench("methods", "suites/small", *words)
    assert done.code == 2
    assert told in done.err
