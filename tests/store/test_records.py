"""results/: what is kept, what is refused, and that nothing is ever overwritten or half-written."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.spec.results import Failure
from kdbench.spec.runs import Run
from kdbench.store.compact import compact
from kdbench.store.records import (
    LARGEST_RESULT,
    find_result,
    index,
    load_failure,
    load_result,
    load_results,
    read_failures,
    read_repeats,
    read_results,
    save_failure,
    save_result,
    sentence,
)
from tests.support.build import CE, make_result, make_run

RUN = make_run(loss=CE)
TAUGHT = make_run(teacher=make_run("resnet18", loss=CE))
RESULT = make_result(RUN, 60.0, 70.0)
DEEP = b'{"schema": 1, "extra": ' + b"[" * 100_000
FAILURE = Failure(id=RUN.id, run=RUN, cause="loss is NaN", log="logs/a.txt")


def spoil(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A stored result whose JSON was changed afterwards."""
    path = save_result(folder, RESULT)
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def refused(path: Path) -> str:
    """The mistake of a file, without its name."""
    with pytest.raises(UserError) as error:
        load_result(path)
    (problem,) = error.value.problems
    assert problem.startswith(f"{path}: ")
    return problem.removeprefix(f"{path}: ")


@pytest.mark.parametrize("run", [RUN, TAUGHT], ids=["alone", "taught"])
def test_result_comes_back(tmp_path: Path, run: Run) -> None:
    result = make_result(run, 60.0, 70.0)
    assert load_result(save_result(tmp_path, result)) == result


def test_result_lies_where_a_person_looks_for_it(tmp_path: Path) -> None:
    path = save_result(tmp_path, make_result(TAUGHT, 60.0, 70.0))
    assert path == tmp_path / "cifar100" / f"mobilenetv2-kd-resnet18.s0.{TAUGHT.id}.json"


def test_result_is_text_with_a_curve_on_a_line(tmp_path: Path) -> None:
    assert '\n  "top1": [60.0, 70.0],\n' in save_result(tmp_path, RESULT).read_text(encoding="utf-8")


def test_result_is_never_overwritten(tmp_path: Path) -> None:
    paths = [save_result(tmp_path, make_result(RUN, 60.0, top1)) for top1 in (70.0, 71.0, 72.0)]
    stem = f"mobilenetv2-ce.s0.{RUN.id}"
    assert [path.name for path in paths] == [f"{stem}.json", f"{stem}.repeat1.json", f"{stem}.repeat2.json"]
    assert [load_result(path).last for path in paths] == [70.0, 71.0, 72.0]


def test_repeats_are_listed_beside_the_first(tmp_path: Path) -> None:
    first, *others = (save_result(tmp_path, RESULT) for _ in range(3))
    there = index(tmp_path)
    assert (there.results, there.repeats) == ({RUN.id: first}, {RUN.id: others})


def test_one_runs_result_is_found_without_the_others(tmp_path: Path) -> None:
    assert find_result(tmp_path, RUN) is None
    path = save_result(tmp_path, RESULT)
    save_result(tmp_path, RESULT)  # a repeat
    assert (find_result(tmp_path, RUN), find_result(tmp_path, TAUGHT)) == (path, None)
    renamed = path.rename(path.with_name(path.name.replace("mobilenetv2", "of_old")))
    assert find_result(tmp_path, RUN) == renamed
    renamed.rename(path)
    compact(path.parent, tmp_path / "lock")
    assert find_result(tmp_path, RUN) == index(tmp_path).results[RUN.id]
    assert find_result(tmp_path, TAUGHT) is None
    apart = save_result(tmp_path, make_result(TAUGHT, 60.0, 70.0), trial=True)
    assert find_result(tmp_path, TAUGHT) == apart


def test_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert index(tmp_path / "none").results == {}


def test_other_files_are_not_results(tmp_path: Path) -> None:
    path = save_result(tmp_path, RESULT)
    for name in ("notes.txt", f".{path.name}.1.part", "a.json", path.name.replace(".json", ".json.bak")):
        (path.parent / name).write_text("x", encoding="utf-8")
    (tmp_path / "README.md").write_text("x", encoding="utf-8")
    assert list(index(tmp_path).results.values()) == [path]


def test_results_asked_for_are_loaded_as_far_as_there(tmp_path: Path) -> None:
    save_result(tmp_path, RESULT)
    assert load_results(index(tmp_path), ["0" * 12, RUN.id, RUN.id]) == {RUN.id: RESULT}


def test_broken_results_are_told_all_at_once(tmp_path: Path) -> None:
    for result in (RESULT, make_result(TAUGHT, 60.0, 70.0)):
        save_result(tmp_path, result).write_bytes(b"{")
    with pytest.raises(UserError) as error:
        load_results(index(tmp_path), [RUN.id, TAUGHT.id])
    assert len(error.value.problems) == 2


AGAIN = "; move it away to train the run again"
SUMMARY = re.escape("last, best and best_epoch are not those of its curve, (70.0, 70.0, 2)") + AGAIN


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(schema=0), "result of schema 0, which is older; this is 2"),
        (
            lambda content: content.update(schema=3),
            "result of schema 3, which is newer; update kdbench; this is 2",
        ),
        (
            lambda content: content.update(id=TAUGHT.id),
            f"its run hashes to {RUN.id}, its id is {TAUGHT.id}, its name says {RUN.id}.*",
        ),
        (
            lambda content: content["run"]["recipe"].update(lr=0.2),
            ".*it was changed by hand or comes from another experiment; move it away",
        ),
        (
            lambda content: content["curve"]["test_loss"].append(0.0),
            re.escape("its curve has [2, 3] points for 2 epochs") + AGAIN,
        ),
        (lambda content: content.update(last=60.0), SUMMARY),
        (lambda content: content.update(best=71.0), SUMMARY),
        (lambda content: content.update(best_epoch=1), SUMMARY),
        (lambda content: content.update(last=170.0), r".*`\$\.last`.*"),
    ],
    ids=["older", "newer", "id", "run", "curve", "last", "best", "best epoch", "170 percent"],
)
def test_changed_result_is_refused_with_what_is_wrong(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    problem = refused(spoil(tmp_path, change))
    assert re.fullmatch(message, problem), problem


def test_newer_schema_is_refused_before_its_content_is_read(tmp_path: Path) -> None:
    path = save_result(tmp_path, RESULT)
    path.write_text('{"schema": 9, "shape": "unknown"}', encoding="utf-8")
    assert "schema 9" in refused(path)


def test_result_under_another_name_is_refused(tmp_path: Path) -> None:
    path = save_result(tmp_path, RESULT)
    moved = path.rename(path.with_name(f"mobilenetv2-ce.s0.{TAUGHT.id}.json"))
    assert TAUGHT.id in refused(moved)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"schema": 1}', b'{"schema": "1"}', b'{"schema": 1, "id": "\xff"}', DEEP],
    ids=["empty", "cut", "list", "null", "bare", "text", "no text", "deep"],
)
def test_broken_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = save_result(tmp_path, RESULT)
    path.write_bytes(content)
    assert refused(path).startswith("no valid result: ")


def test_result_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = save_result(tmp_path, RESULT)
    whole = path.read_bytes().rstrip()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        assert refused(path).startswith("no valid result: ")


def test_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = save_result(tmp_path, RESULT)
    with path.open("wb") as file:
        file.truncate(LARGEST_RESULT + 1)
    assert refused(path) == "larger than the 10,000,000 bytes that a record may have"


def test_file_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / f"a.s0.{RUN.id}.json"
    path.mkdir()
    assert refused(path) == f"cannot be read: Is a directory{AGAIN}"


def test_link_to_what_is_not_there_is_refused_by_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / f"a.s0.{RUN.id}.json"
    path.symlink_to("gone.json")
    with pytest.raises(UserError) as error:
        load_result(path)
    assert sentence(error.value, path).startswith(
        f"{path}: a link to gone.json, which cannot be read: No such"
    )
    assert sentence(error.value, path).endswith("is it not mounted? Else move it away to train the run again")


def test_failure_comes_back(tmp_path: Path) -> None:
    save_failure(tmp_path, FAILURE)
    assert read_failures(index(tmp_path)).records == {RUN.id: FAILURE}


def test_later_failure_replaces_the_first(tmp_path: Path) -> None:
    save_failure(tmp_path, FAILURE)
    path = save_failure(tmp_path, replace(FAILURE, cause="killed"))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert read_failures(index(tmp_path)).records[RUN.id].cause == "killed"


def test_success_removes_the_failure(tmp_path: Path) -> None:
    save_failure(tmp_path, FAILURE)
    save_result(tmp_path, RESULT)
    assert index(tmp_path).failures == {}


@pytest.mark.parametrize("content", [b"{", DEEP, b'{"id": "\xff"}'])
def test_broken_failure_is_named(tmp_path: Path, content: bytes) -> None:
    save_failure(tmp_path, FAILURE).write_bytes(content)
    found = read_failures(index(tmp_path))
    assert found.records == {}
    assert re.search(r"no valid record of a failure: .*; remove it", found.unreadable[RUN.id])


def test_failure_beside_a_result_is_not_looked_at(tmp_path: Path) -> None:
    path = save_result(tmp_path, RESULT)
    path.with_name(path.name.replace(".json", ".failed.json")).write_bytes(b"{")
    found = read_failures(index(tmp_path))
    assert (found.records, found.unreadable) == ({}, {})


def test_damaged_result_leaves_the_others(tmp_path: Path) -> None:
    save_result(tmp_path, RESULT)
    damaged = save_result(tmp_path, make_result(TAUGHT, 60.0, 70.0))
    damaged.write_bytes(b"{")
    found = read_results(index(tmp_path), [RUN.id, TAUGHT.id])
    assert (found.records, list(found.unreadable)) == ({RUN.id: RESULT}, [TAUGHT.id])
    assert found.unreadable[TAUGHT.id].startswith(f"{damaged}: no valid result: ")


def test_damaged_repeat_leaves_the_others(tmp_path: Path) -> None:
    for _ in range(3):
        path = save_result(tmp_path, RESULT)
    path.write_bytes(b"{")
    found, unreadable = read_repeats(index(tmp_path), [RUN.id])
    assert (len(found[RUN.id]), len(unreadable[RUN.id])) == (1, 1)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"{\n<<<<<<< HEAD\n", "git's conflict markers; choose a side with `git checkout --ours`"),
        (b"<<<<<<< HEAD\n{", "git's conflict markers"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "`git lfs pull` fetches the file"),
    ],
)
def test_what_git_left_is_named_so(tmp_path: Path, content: bytes, hint: str) -> None:
    result, failure = (
        save_result(tmp_path, RESULT),
        save_failure(tmp_path, replace(FAILURE, run=TAUGHT, id=TAUGHT.id)),
    )
    for path in (result, failure):
        path.write_bytes(content)
        read = load_result if path is result else load_failure
        with pytest.raises(UserError, match=re.escape(hint)) as error:
            read(path)
        assert "train the run again" not in str(error.value)


@pytest.mark.parametrize("keep", [save_result, save_failure])
def test_file_where_the_folder_should_be_is_told(tmp_path: Path, keep: Callable[[Path, Any], Path]) -> None:
    (tmp_path / "results").write_text("", encoding="utf-8")
    record = RESULT if keep is save_result else FAILURE
    with pytest.raises(UserError, match=r"results/cifar100/.*json: cannot be written: Not a directory"):
        keep(tmp_path / "results", record)
