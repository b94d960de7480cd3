"""Never mixed: results, weights, checkpoints and data of one experiment are not taken for another's."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.machine import Folders, Local, Machine
from kdbench.spec.events import Event, Task, Update
from kdbench.spec.identity import identity
from kdbench.spec.results import RESULT_SCHEMA
from kdbench.spec.runs import PROTOCOL, Loss, Recipe, Teacher
from kdbench.store.files import digest
from kdbench.store.records import UPGRADES, Content, index, load_result, save_result
from kdbench.store.weights import checkpoints, weights_file
from kdbench.training.context import TrainingContext, open_context
from kdbench.training.environment import environment
from kdbench.training.fingerprint import compute
from kdbench.training.task import do
from tests.support.build import KD, make_result, make_run
from tests.support.distillers import SETTINGS
from tests.support.faults.pins import NAMES, PINS, ids
from tests.support.faults.project import digits, epochs, events, failure, numbers
from tests.support.places import ROOT

SCHEMAS = ROOT / "tests" / "faults" / "schemas"
TEACHER = digits()
STUDENT = digits(KD, Teacher(TEACHER, 4))
SOME = ("ctkd",)
"""A distiller with a parameter that knows the epoch; the others' tests are slow."""


def flip(path: Path) -> None:
    """The last bit."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def teacher_file(context: TrainingContext) -> Path:
    """The weights that teach."""
    path = weights_file(context.machine.scratch, TEACHER.id, 4)
    assert path is not None
    return path


class Stop(BaseException):
    """Ends a run from inside, as a kill does."""


def stop_after(epoch: int) -> Callable[[Event], None]:
    def look(event: Event) -> None:
        if isinstance(event, Update) and event.epoch == epoch:
            raise Stop

    return look


# Results.


@pytest.mark.parametrize("schema", range(1, RESULT_SCHEMA + 1))
def test_result_of_each_schema_that_was_ever_written_is_read(schema: int) -> None:
    [path] = (SCHEMAS / str(schema)).glob("*.json")
    assert json.loads(path.read_bytes())["schema"] == schema
    result = load_result(path)
    assert (result.schema, result.run.id) == (RESULT_SCHEMA, path.name.split(".")[-2])


def test_ghost_batches_of_schema_1_were_called_parts(tmp_path: Path) -> None:
    """In a run and in its teachers' runs; the ids are those that the runs had then."""
    recipe = Recipe(epochs=2, batch_size=4, lr=0.1, ghost_batches=2)
    run = replace(make_run(), recipe=recipe, teacher=Teacher(replace(make_run(seed=1), recipe=recipe), 2))
    path = save_result(tmp_path, make_result(run, 60.0, 70.0))
    written = path.read_text(encoding="utf-8")
    assert written.count('"ghost_batches": 2') == 2
    older = written.replace('"ghost_batches": 2', '"parts": 2').replace('"schema": 2', '"schema": 1')
    path.write_text(older, encoding="utf-8")
    assert load_result(path).run == run
    assert identity(recipe)["parts"] == 2


def test_every_older_schema_has_its_upgrade() -> None:
    assert sorted(UPGRADES) == list(range(1, RESULT_SCHEMA))


def test_older_result_is_upgraded_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The `last` of schema RESULT_SCHEMA - 2 was called `end`, and that of the next `final`."""

    def rename(old: str, new: str) -> Callable[[Content], Content]:
        return lambda content: {new if key == old else key: value for key, value in content.items()}

    first = RESULT_SCHEMA - 2
    for schema, step in ((first, rename("end", "final")), (first + 1, rename("final", "last"))):
        monkeypatch.setitem(UPGRADES, schema, step)
    result = make_result(make_run(), 60.0, 70.0)
    path = save_result(tmp_path, result)
    content = rename("last", "end")(json.loads(path.read_bytes()))
    path.write_text(json.dumps({**content, "schema": first}), encoding="utf-8")
    assert load_result(path) == result


def test_upgrade_that_does_not_fit_is_a_broken_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(UPGRADES, RESULT_SCHEMA - 1, lambda content: {"a": content["b"]})
    path = save_result(tmp_path, make_result(make_run(), 60.0, 70.0))
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps({**content, "schema": RESULT_SCHEMA - 1}), encoding="utf-8")
    with pytest.raises(UserError, match="no valid result: 'b'; move it away"):
        load_result(path)


def test_result_that_another_process_writes_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It appears between the look and the rename."""
    result = make_result(make_run(), 60.0, 70.0)
    first = save_result(tmp_path, make_result(make_run(), 60.0, 71.0))
    exists = Path.exists
    monkeypatch.setattr(
        Path, "exists", lambda path: exists(path) and not path.name.endswith(f"{result.id}.json")
    )
    second = save_result(tmp_path, result)
    monkeypatch.undo()
    assert second.name.endswith(".repeat1.json")
    assert [load_result(path).last for path in (first, second)] == [71.0, 70.0]


@pytest.mark.parametrize("name", NAMES)
def test_ids_of_a_sample_of_every_suite_are_pinned(name: str) -> None:
    pins = json.loads(PINS.read_bytes())
    assert pins["protocol"] == PROTOCOL, "PROTOCOL was raised: run `python tests/support/faults/pins.py`"
    assert name in pins["suites"], "a new suite: run `python tests/support/faults/pins.py`"
    assert ids(name) == pins["suites"][name], "new rows: run `python tests/support/faults/pins.py`"


# Teachers.


def test_teacher_whose_weights_are_not_those_of_its_result_is_refused_by_name(
    context: TrainingContext,
) -> None:
    """Whole, with the digest of its content in its name, but not what was trained."""
    events(context, TEACHER)
    path = teacher_file(context)
    recorded = path.name.split(".")[1]
    flip(path)
    path = path.rename(path.with_name(f"4.{digest(path)}.safetensors"))
    cause = failure(events(context, STUDENT)).failure.cause
    assert cause.startswith(f"{path}: refused, the result of digits_mlp-ce (run {TEACHER.id}) records other ")
    assert recorded[:12] in cause


def test_teacher_with_a_flipped_bit_is_refused_and_trained_again(context: TrainingContext) -> None:
    events(context, TEACHER)
    before = teacher_file(context)
    flip(before)
    cause = failure(events(context, STUDENT)).failure.cause
    assert cause.startswith(f"the weights of digits_mlp-ce (run {TEACHER.id}, epoch 4) are not in ")
    assert not before.exists()
    do([Task(TEACHER, (4,))], context, lambda _: None)
    assert teacher_file(context) == before
    assert epochs(events(context, STUDENT)) == [1, 2, 3, 4]


# Checkpoints.


def test_checkpoint_of_another_run_is_not_gone_on_from(context: TrainingContext) -> None:
    """Of the same network, so that it would fit."""
    other, run = digits(lr=0.01), digits()
    with pytest.raises(Stop):
        events(context, other, stop_after(2))
    folder = context.machine.scratch / "checkpoints"
    shutil.copytree(folder / other.id, folder / run.id)
    assert epochs(events(context, run)) == [1, 2, 3, 4]


def test_checkpoint_of_another_teacher_is_not_gone_on_from(context: TrainingContext) -> None:
    """A teacher that was trained again elsewhere may have other weights: no curve has two teachers."""
    events(context, TEACHER)
    with pytest.raises(Stop):
        events(context, STUDENT, stop_after(2))
    path, result = teacher_file(context), index(context.machine.results).results[TEACHER.id]
    before = path.name.split(".")[1]
    flip(path)
    after = digest(path)
    path.rename(path.with_name(f"4.{after}.safetensors"))
    result.write_text(result.read_text("utf-8").replace(before, after), encoding="utf-8")
    emitted = events(context, STUDENT)
    assert epochs(emitted) == [1, 2, 3, 4]
    assert load_result(index(context.machine.results).results[STUDENT.id]).environment["teacher"] == after


def test_checkpoint_that_names_a_way_out_of_its_folder_is_not_gone_on_from(context: TrainingContext) -> None:
    """Whole by its digest: a stranger's."""
    run = digits()
    with pytest.raises(Stop):
        events(context, run, stop_after(2))
    [newest, _] = checkpoints(context.machine.scratch / "checkpoints" / run.id)
    content = newest.read_bytes().replace(b'\\"best\\"', b'\\"../b\\"')
    newest.unlink()
    newest.with_name(f"2.{sha256(content).hexdigest()}.safetensors").write_bytes(content)
    assert epochs(events(context, run)) == [2, 3, 4]


# Determinism on record.


def test_fingerprint_is_the_same_twice_and_another_with_another_seed(context: TrainingContext) -> None:
    first, second = (compute(STUDENT, context.machine, 5, deterministic=False)[0] for _ in range(2))
    other = compute(replace(STUDENT, seed=1), context.machine, 5, deterministic=False)[0]
    assert first == second != other


@pytest.mark.parametrize(
    "name", [name if name in SOME else pytest.param(name, marks=pytest.mark.slow) for name in SETTINGS]
)
def test_fingerprint_of_a_distiller_is_the_same_twice_and_sees_its_settings(
    context: TrainingContext, name: str
) -> None:
    """Of what is trained beside the student and of a memory too, beyond an epoch."""
    loss, (first, value) = Loss(name, SETTINGS[name]), next(iter(SETTINGS[name].items()))
    teacher = Teacher(replace(TEACHER, student="digits_cnn"), 4)
    same = replace(digits(loss, teacher), student="digits_cnn")
    other = replace(same, loss=Loss(name, {**loss.params, first: value / 2}))
    found = [compute(run, context.machine, 3, deterministic=False)[0] for run in (same, same, other)]
    assert found[0] == found[1] != found[2]


def test_fingerprint_goes_on_beyond_an_epoch(context: TrainingContext) -> None:
    """Two batches an epoch."""
    found = {compute(TEACHER, context.machine, steps, deterministic=False)[0] for steps in (2, 3, 4, 5)}
    assert len(found) == 4


def test_fingerprint_of_all_steps_is_the_run(context: TrainingContext) -> None:
    """The weights that the whole run ends with: it computes what training computes."""
    emitted = events(context, TEACHER)
    assert compute(TEACHER, context.machine, 8, deterministic=False)[0] == dict(numbers(emitted)[3])["4"]  # type: ignore[call-overload]


def test_fingerprint_leaves_no_trace(context: TrainingContext) -> None:
    compute(STUDENT, context.machine, 2, deterministic=False)
    assert not Path(context.machine.root, "scratch").exists()


def test_record_says_deterministic_on_the_cpu(context: TrainingContext) -> None:
    assert environment(context.device)["deterministic"] is True


@pytest.mark.gpu
@pytest.mark.parametrize("wanted", [False, True])
def test_record_says_whether_a_gpu_was_deterministic(tmp_path: Path, *, wanted: bool) -> None:
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("default")
    local = Local(device="cuda", deterministic=wanted)
    opened = open_context(Machine(local=local, folders=Folders(), root=str(tmp_path)))
    assert environment(opened.device)["deterministic"] is wanted
    torch.set_deterministic_debug_mode(before)
