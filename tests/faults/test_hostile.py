"""Files from strangers: an error in bounded time and memory, whatever stands in them."""

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import process_time

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdbench.errors import UserError
from kdbench.spec.results import Failure
from kdbench.store.records import index, load_failure, load_result, read_failures, save_failure, save_result
from kdbench.suite.load import MOST_ROWS, load_suite
from kdbench.toml import LARGEST_FILE, Place
from tests.support.build import make_result, make_run
from tests.support.faults.targets import TARGETS, refused
from tests.support.project import SUITE

RUN = make_run(teacher=make_run("resnet18"))
HEAD = SUITE.partition("[[table]]")[0]
fuzzed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@contextmanager
def bounded(megabytes: float, seconds: float) -> Iterator[None]:
    """What happens inside takes no more memory and CPU seconds."""
    tracemalloc.start()
    began = process_time()
    try:
        yield
        assert process_time() - began < seconds
        assert tracemalloc.get_traced_memory()[1] < megabytes * 1e6
    finally:
        tracemalloc.stop()


def stored(folder: Path, content: bytes) -> Path:
    """A result with this content."""
    path = save_result(folder, make_result(RUN, 60.0, 70.0))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", TARGETS)
@fuzzed
@given(data=st.data())
def test_changed_file_is_read_or_refused(tmp_path: Path, name: str, data: st.DataObject) -> None:
    """Bytes put in, cut out, changed and doubled, in a file that was whole."""
    target = TARGETS[name]
    content = bytearray(data.draw(st.sampled_from(target.seeds)))
    for _ in range(data.draw(st.integers(1, 4))):
        at, length = (data.draw(st.integers(0, len(content))) for _ in range(2))
        new = data.draw(st.binary(max_size=8) | st.just(bytes(content[at : at + length])))
        content[at : at + data.draw(st.sampled_from([0, len(new), length]))] = new
    refused(target, tmp_path, bytes(content))


@pytest.mark.parametrize("name", TARGETS)
def test_whole_file_is_read(tmp_path: Path, name: str) -> None:
    """Otherwise the fuzzing would only see the first line of each reader."""
    TARGETS[name].read(tmp_path, TARGETS[name].seeds[0])


def test_result_of_a_gigabyte_is_refused_unread(tmp_path: Path) -> None:
    path = stored(tmp_path, b"")
    with path.open("wb") as file:
        file.truncate(10**9)
    with bounded(1, 5), pytest.raises(UserError, match="larger than the 10,000,000 bytes"):
        load_result(path)


@pytest.mark.parametrize("opening", ["[", '{"a":'], ids=["lists", "objects"])
def test_json_nested_ten_thousand_deep_is_refused(tmp_path: Path, opening: str) -> None:
    with bounded(20, 20), pytest.raises(UserError, match="no valid result"):
        load_result(stored(tmp_path, f'{{"schema": 1, "x": {opening * 10_000}'.encode()))


@pytest.mark.parametrize("depth", [100, 200, 1000])
def test_teachers_nested_deep_are_refused(tmp_path: Path, depth: int) -> None:
    """Each a run that is right in itself: hashing them recurses."""
    result = json.loads(msgspec.json.encode(make_result(RUN, 60.0, 70.0)))
    teacher = result["run"]["teacher"]
    inner = json.dumps(result["run"])
    text = json.dumps(result)
    assert text.count(json.dumps(teacher)) == 1
    before, after = inner.split(json.dumps(teacher))
    chain = before + '{"epoch": 2, "run": '
    nested = chain * depth + inner + ("}" + after) * depth
    path = stored(tmp_path, text.replace(inner, nested).encode())
    with (
        bounded(50, 20),
        pytest.raises(UserError, match=r"nested too deep|no valid result|its run hashes to"),
    ):
        load_result(path)


def test_toml_of_a_million_rows_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        HEAD + '[[table]]\nid = "1"\nrows = [\n' + '{ student = "digits_mlp" },\n' * 10**6 + "]\n"
    )
    assert path.stat().st_size > LARGEST_FILE
    with bounded(1, 5), pytest.raises(UserError, match="larger than 10,000,000 bytes; split it"):
        load_suite(path)


@pytest.mark.slow
def test_toml_of_many_tiny_rows_is_refused_once(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(f"{HEAD}[[table]]\nrows = [{'{a=1},' * 200_000}]\n")
    with bounded(500, 120), pytest.raises(UserError, match=f"at most {MOST_ROWS:,}: split it") as error:
        load_suite(tmp_path / "a.toml")
    assert len(error.value.problems) == 1


@pytest.mark.slow
def test_rows_that_are_all_wrong_are_told_in_linear_time(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(f"{HEAD}[[table]]\nid = '1'\nrows = [{'{},' * MOST_ROWS}]\n")
    with bounded(300, 120), pytest.raises(UserError) as error:
        load_suite(tmp_path / "a.toml")
    assert len(error.value.problems) > MOST_ROWS


@pytest.mark.parametrize("sign", ["\x1b[2J", "\x07", "\x9b31m", "\u202e", "\n"])
def test_failure_that_would_move_the_cursor_is_refused(tmp_path: Path, sign: str) -> None:
    failure = Failure(id=RUN.id, run=RUN, cause=f"all is well{sign}", log="")
    path = tmp_path / f"a.s0.{RUN.id}.failed.json"
    path.write_bytes(msgspec.json.encode(failure))
    with pytest.raises(UserError, match="no valid record of a failure"):
        load_failure(path)


def test_cause_of_our_own_is_kept_without_control_characters(tmp_path: Path) -> None:
    """Whatever an exception says must be readable again."""
    save_failure(tmp_path, Failure(id=RUN.id, run=RUN, cause="a\x1b[2J\nb" + "c" * 9000, log="logs/\x07"))
    [kept] = read_failures(index(tmp_path)).records.values()
    assert (kept.cause[:10], len(kept.cause), kept.log) == ("a?[2J bccc", 4096, "logs/?")


def test_environment_that_would_move_the_cursor_is_refused(tmp_path: Path) -> None:
    content = json.loads(msgspec.json.encode(make_result(RUN, 60.0, 70.0)))
    path = stored(tmp_path, json.dumps({**content, "environment": {"cpu": "\x1b]0;x\x07"}}).encode())
    with pytest.raises(UserError, match="no valid result"):
        load_result(path)


def test_name_with_control_characters_is_told_without_them(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        f'{HEAD}[[table]]\nid = "1\\u001b[2J"\nrows = [{{ student = "a\\u0007" }}]\nloss.name = "ce"\n'
    )
    with pytest.raises(UserError) as error:
        load_suite(path)
    assert all(problem.isprintable() for problem in error.value.problems), error.value.problems


def test_a_mistake_is_told_once() -> None:
    place = Place("a.toml")
    place.at("row 1").report("wrong")
    place.at("row 1").report("wrong")
    assert list(place.problems) == ["a.toml: row 1: wrong"]
