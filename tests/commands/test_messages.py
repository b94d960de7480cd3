"""Messages say what to do, not only what is wrong."""

from pathlib import Path

import pytest

from tests.support.command import Command
from tests.support.project import change, write_suite

SMALL = "suites/small"


def test_single_seed_is_said_to_be_one_seed_and_not_so_many(kdbench: Command) -> None:
    done = kdbench("list", "rows", SMALL, "--seeds", "3")
    assert done.err == "note: --seeds 3 is the seed number 3 alone; the first 3 seeds are --seeds 0-2\n"
    assert kdbench("list", "rows", SMALL, "--seeds", "0-2").err == ""


def test_folder_without_suites_says_where_to_go(
    kdbench: Command, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    said = kdbench("plan", "mine").err
    assert f"There are none in {project / 'elsewhere'}: go to the folder that has suites/" in said
    assert "`kdbench new suite NAME` writes one; kdbench's own, by name: crd_cifar100, " in said


@pytest.mark.parametrize("written", ["suites/quickstart", "elsewhere/quickstart.toml", "quickstrat"])
def test_suite_of_kdbench_is_offered_by_its_name(kdbench: Command, written: str) -> None:
    done = kdbench("plan", written)
    assert done.code == 2
    assert f"no such suite: {written}. Did you mean quickstart? " in done.err


def test_suite_of_kdbench_is_found_by_its_name_and_says_which_settings_are_used(
    kdbench: Command, project: Path
) -> None:
    done = kdbench("list", "rows", "quickstart", "--rows", "lsr/*")
    assert done.out.splitlines()[1].startswith("quickstart/lsr/digits_mlp")
    used = f"used are {project / 'benchmark.toml'} and the results of {project / 'results'}"
    assert done.err == f"note: quickstart comes with kdbench; {used}\n"
    assert "epsilon" in kdbench("show", "quickstart/lsr/digits_mlp").out
    assert "quickstart" in kdbench("list", "suites").out


def test_suite_of_the_folder_is_meant_before_one_of_kdbench(kdbench: Command, project: Path) -> None:
    write_suite(project, name="quickstart")
    done = kdbench("list", "rows", "quickstart")
    assert (done.err, "suites/quickstart/1.kd/" in done.out) == ("", True)


def test_suite_of_kdbench_is_not_changed(kdbench: Command) -> None:
    done = kdbench("reference", "add", "quickstart/lsr/digits_mlp", "--top1", "90", "--source", "Table 1")
    assert done.code == 2
    assert "quickstart.toml comes with kdbench; copy it to suites/" in done.err


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("top1 = 90.0 },\n", "top1 = 90.0 }\n", '{ student = "digits_mlp", top1 = 90.0 }'),
        ("top1 = 90.0 },\n", "top1 = 90.0 } # no comma\n", '{ student = "digits_mlp", top1 = 90.0 }'),
    ],
)
def test_missing_comma_is_found_at_the_end_of_the_line_before(
    kdbench: Command, project: Path, old: str, new: str, line: str
) -> None:
    path = write_suite(project, change((old, new)))
    number = next(
        count for count, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if line in text
    )
    done = kdbench("plan", SMALL)
    assert done.code == 2
    assert f"; line {number} lacks a comma at its end?" in done.err


@pytest.mark.parametrize(
    ("named", "what_to_do"),
    [
        ("gone/data", "is it mistyped, or a disk that is not mounted? `mkdir -p {}` makes it"),
        ("benchmark.toml", "is a file; name a folder"),
    ],
)
def test_data_folder_that_cannot_be_one_is_a_line(
    kdbench: Command, project: Path, monkeypatch: pytest.MonkeyPatch, named: str, what_to_do: str
) -> None:
    path = project / named
    monkeypatch.setenv("KDBENCH_DATA", str(path))
    for words in (["data", "where"], ["run", SMALL, "--smoke"]):
        done = kdbench(*words)
        assert (done.code, f"error: KDBENCH_DATA: {path} is " in done.err) == (2, True)
        assert done.err.endswith(what_to_do.format(path) + "\n")


def test_other_mistakes_of_toml_are_not_taken_for_a_missing_comma(kdbench: Command, project: Path) -> None:
    write_suite(project, change(("lr = 0.1", "lr = = 0.1")))
    assert "comma" not in kdbench("plan", SMALL).err


def test_logs_of_a_row_that_was_trained_here_say_so(kdbench: Command, stored: Path) -> None:
    done = kdbench("logs", "suites/small/1.base/digits_mlp")
    lines = done.out.splitlines()
    result = next((stored / "results/digits").glob("digits_mlp-ce.s0.*.json"))
    assert not done.err
    assert f"it has a result and no log ({result}); no job has written of it" in lines[1]
