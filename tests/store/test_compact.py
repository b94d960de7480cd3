"""Compact files: the same records as before, in a thousandth of the files; nothing is lost or overwritten."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.spec.results import Curve, Result
from kdbench.store.compact import SUFFIX, common, compact, laid_over, rest
from kdbench.store.records import index, load_result, load_results, read_results, save_failure, save_result
from tests.support.build import CE, make_failures, make_result, make_run
from tests.support.command import Command

RUNS = [make_run(loss=CE, seed=seed) for seed in range(3)]
OTHER = make_run("resnet18", loss=CE)


def results() -> list[Result]:
    return [make_result(run, 60.0 + run.seed, 70.0) for run in (*RUNS, OTHER)]


def squeezed(folder: Path) -> dict[str, int]:
    return {file.name: n for file, n in compact(folder / "cifar100", folder / "lock").items()}


@pytest.fixture
def compacted(tmp_path: Path) -> Path:
    for result in results():
        save_result(tmp_path, result)
    squeezed(tmp_path)
    return tmp_path


def test_results_of_a_compact_file_come_back(compacted: Path) -> None:
    there = index(compacted)
    assert load_results(there, there.results) == {result.id: result for result in results()}


def test_there_is_a_file_for_each_slug_and_nothing_else(compacted: Path) -> None:
    names = sorted(path.name for path in (compacted / "cifar100").iterdir())
    assert names == [f"mobilenetv2-ce{SUFFIX}", f"resnet18-ce{SUFFIX}"]


def test_more_results_join_a_compact_file(compacted: Path) -> None:
    more = make_result(make_run(loss=CE, seed=7), 50.0, 55.0)
    save_result(compacted, more)
    assert squeezed(compacted) == {f"mobilenetv2-ce{SUFFIX}": 1}
    there = index(compacted)
    assert len(there.results) == 5
    assert load_result(there.results[more.id]) == more


def test_compacting_twice_changes_nothing(compacted: Path) -> None:
    before = {path: path.read_bytes() for path in (compacted / "cifar100").iterdir()}
    assert squeezed(compacted) == {}
    assert {path: path.read_bytes() for path in (compacted / "cifar100").iterdir()} == before


def test_run_trained_again_is_a_repeat_of_its_compacted_result(compacted: Path) -> None:
    path = save_result(compacted, make_result(RUNS[0], 10.0, 20.0))
    assert path.name.endswith(".repeat1.json")
    there = index(compacted)
    assert load_result(there.results[RUNS[0].id]) == results()[0]
    squeezed(compacted)
    assert there.repeats[RUNS[0].id] == [path]
    assert path.exists()


def test_single_result_outweighs_a_compacted_one_until_it_is_compacted(compacted: Path) -> None:
    """As where a compact file came back from git while a run was trained."""
    newer = replace(results()[0], seconds=9.0)
    name = index(compacted).results[RUNS[0].id].name
    save_result(compacted / "elsewhere", newer).rename(compacted / "cifar100" / name)
    assert load_result(index(compacted).results[RUNS[0].id]).seconds == 9.0
    squeezed(compacted)
    assert load_result(index(compacted).results[RUNS[0].id]).seconds == 9.0


def test_failures_stay(compacted: Path) -> None:
    (failure,) = make_failures(make_run(loss=CE, seed=9)).values()
    path = save_failure(compacted, failure)
    squeezed(compacted)
    assert path.exists()


def test_losses_keep_six_digits_and_accuracies_all(tmp_path: Path) -> None:
    curve = Curve((1.0, 100 / 3), (2.3025850929, 0.5), (1234.56789, 0.0), (0.125, 1.0))
    save_result(tmp_path, replace(make_result(RUNS[0], 1.0, 100 / 3), curve=curve))
    squeezed(tmp_path)
    found = load_result(index(tmp_path).results[RUNS[0].id]).curve
    assert found == Curve((1.0, 100 / 3), (2.30259, 0.5), (1234.57, 0.0), (0.125, 1.0))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "no common part": lambda _: b"{}\n",
    "a list": lambda _: b"[1]\n",
    "a record without an id": lambda content: content + b'{"run": 1}\n',
    "not UTF-8": lambda _: b"\xff\n",
    "cut in a line": lambda content: content[:-9],
    "cut before a record": lambda content: content.splitlines()[0],
    "conflict": lambda content: b"<<<<<<< HEAD\n" + content + b"=======\n" + content + b">>>>>>> x\n",
    "Git LFS": lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_compact_file_makes_its_runs_alone_unreadable(compacted: Path, damage: str) -> None:
    """Those whose id is left in it, and those that might have been in it."""
    file = compacted / "cifar100" / f"resnet18-ce{SUFFIX}"
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    there = index(compacted)
    known = {run.id: run for run in (*RUNS, OTHER, make_run("resnet18", loss=CE, seed=5))}
    found = read_results(there, known, known)
    assert {run.id for run in RUNS} <= found.records.keys()
    assert found.unreadable.keys() == known.keys() - found.records.keys() != set()
    assert all("no valid compact file of results" in each for each in found.unreadable.values())
    assert [*there.damaged] == [file]


def test_damaged_line_of_a_compact_file_loses_its_record_alone(compacted: Path) -> None:
    file = compacted / "cifar100" / f"mobilenetv2-ce{SUFFIX}"
    first, *lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + lines[0] + lines[1][:-20] + b"\n" + lines[2])
    there = index(compacted)
    known = {run.id: run for run in (*RUNS, OTHER, make_run(loss=CE, seed=5))}
    found = read_results(there, known, known)
    assert ([*found.unreadable], [*there.damaged]) == ([RUNS[1].id], [])
    assert found.records.keys() == {RUNS[0].id, RUNS[2].id, OTHER.id}


def test_damaged_compact_file_is_not_written_over(compacted: Path) -> None:
    file = compacted / "cifar100" / f"mobilenetv2-ce{SUFFIX}"
    damaged = file.read_bytes()[:-9]
    file.write_bytes(damaged)
    save_result(compacted, make_result(make_run(loss=CE, seed=7), 50.0, 55.0))
    with pytest.raises(UserError, match=f"{SUFFIX}: no valid compact file of results"):
        squeezed(compacted)
    assert file.read_bytes() == damaged


@pytest.mark.parametrize("damage", ["a line", "empty", "conflict", "Git LFS"])
def test_no_command_stops_at_a_damaged_compact_file(kdbench: Command, stored: Path, damage: str) -> None:
    """The rows of the student that lies in it are unreadable, and nothing is trained again."""
    kdbench("compact", "digits")
    file = stored / "results" / "digits" / "digits_mlp-ce.jsonl"
    content = file.read_bytes()
    file.write_bytes(DAMAGE[damage](content) if damage in DAMAGE else content[:-20] + b"\n")
    shown = str(file.relative_to(stored))
    checked = kdbench("check", "suites/small")
    words = {line.split()[0]: "unreadable" in line for line in checked.out.splitlines() if "/" in line[:8]}
    assert (words["1.base/digits_mlp"], words["1.base/digits_cnn"]) == (True, False)
    assert (checked.code, shown in checked.out) == (1, True)
    compared = kdbench("compare", "results", "results", "suites/small")
    assert (compared.code, "1.base/digits_mlp" in compared.out, shown in compared.out) == (1, True, True)
    assert compared.out.count(" unreadable ") == 1
    history = kdbench("history", "suites/small")
    assert (history.code, shown in history.out, "1.base/digits_cnn" in history.out) == (1, True, True)
    examined = kdbench("fsck")
    assert (examined.code, shown in examined.out) == (1, True)
    for command in ("status suites/small", "report suites/small", "claims suites/small", "gc -n"):
        done = kdbench(*command.split())
        assert done.code == 0, (command, done.err)
    status = kdbench("status", "suites/small").out
    lost = 1 if damage == "a line" else 2
    assert (status.splitlines()[0], shown in status) == (f"{6 - lost} done, {lost} unreadable", True)
    planned = kdbench("plan", "suites/small").out
    assert f"{6 - lost} runs stored, 0 to train" in planned
    assert shown in planned


def test_record_changed_by_hand_is_refused(compacted: Path) -> None:
    file = compacted / "cifar100" / f"mobilenetv2-ce{SUFFIX}"
    file.write_bytes(file.read_bytes().replace(b'"seed":1', b'"seed":5'))
    there = index(compacted)
    path = there.results[RUNS[1].id]
    with pytest.raises(UserError, match=rf"{SUFFIX}/mobilenetv2-ce.s5.{RUNS[1].id}.json: its run hashes to"):
        load_result(path)


RECORD = st.recursive(
    st.integers() | st.booleans() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), RECORD, max_size=4), min_size=1, max_size=4))
def test_common_part_and_rest_are_the_record(records: list[dict[str, Any]]) -> None:
    shared = common(records)
    assert [laid_over(shared, rest(record, shared)) for record in records] == records


def test_command_compacts_and_check_judges_as_before(kdbench: Command, stored: Path) -> None:
    before = kdbench("check", "suites/small").out
    assert kdbench("compact", "digits").out.count("2 more results") == 3
    assert not list((stored / "results" / "digits").glob("*.json"))
    assert kdbench("check", "suites/small").out == before
    assert kdbench("fsck").code == 0


@pytest.mark.parametrize("name", ["cifar10", "../results/digits", "{}/results/digits"])
def test_command_says_what_there_is(kdbench: Command, stored: Path, name: str) -> None:
    outcome = kdbench("compact", name.format(stored))
    assert (outcome.code, "no such folder of results; there are: digits" in outcome.err) == (2, True)


def test_command_says_where_there_is_nothing_to_do(kdbench: Command, stored: Path) -> None:
    (stored / "results" / "mnist").mkdir()
    assert kdbench("compact", "mnist").out.endswith("mnist: no results to put into one file\n")
