"""An imported file as a row's teacher: trained end to end on digits, and refused where it does not fit."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from kdbench.catalog import DATASETS
from kdbench.errors import UserError
from kdbench.importing.teacher import Request, import_teacher
from kdbench.machine import Data, Local, Machine
from kdbench.plan.expand import expand, make_plan, weights_needed
from kdbench.spec.runs import Recipe, Run
from kdbench.spec.weights import Imported
from kdbench.store.imported import check_imported, find_imported, free_name
from kdbench.store.provenance import PROVENANCE_SCHEMA, Normalisation, Provenance, Source
from kdbench.store.records import index, load_results, save_result
from kdbench.suite.load import load_suite
from kdbench.training.context import open_context
from kdbench.training.run import train
from tests.support.build import make_run
from tests.support.command import Command
from tests.support.project import change, make_project, write_suite
from tests.support.refused import problems_of

SHA = "a" * 64
OTHER = "b" * 64
DECLARED = f"""\
[[imported]]
name = "friend"
model = "digits_cnn"
sha256 = "{SHA}"

[[table]]
id = "1.base\""""
TAUGHT = '{ student = "digits_mlp", teacher = "digits_cnn", top1 = 92.0, gain = 2.0 },'
BY_FRIEND = '  { student = "digits_mlp", teacher = "import:friend", top1 = 91.0, gain = 1.0 },'


def suite_text(*edits: tuple[str, str]) -> str:
    text = change(('[[table]]\nid = "1.base"', DECLARED), (TAUGHT, f"{TAUGHT}\n{BY_FRIEND}"))
    return change(*edits, suite=text)


def test_run_of_an_imported_teacher_holds_its_digest(tmp_path: Path) -> None:
    (cell,) = expand(load_suite(write_suite(tmp_path, suite_text())), rows="*friend")
    assert cell.row.name == "1.kd/digits_mlp:import:friend"
    assert {run.imported for run in cell.runs} == {Imported("digits_cnn", SHA)}
    assert cell.runs[0].slug == "digits_mlp-kd_released-digits_cnn"
    other = expand(load_suite(write_suite(tmp_path, suite_text((SHA, OTHER)))), rows="*friend")
    assert set(cell.ids).isdisjoint(other[0].ids)


def test_name_of_an_imported_teacher_is_no_part_of_a_run(tmp_path: Path) -> None:
    first = expand(load_suite(write_suite(tmp_path, suite_text())), rows="*friend")
    renamed = suite_text().replace("friend", "colleague")
    assert expand(load_suite(write_suite(tmp_path, renamed)), rows="*colleague")[0].ids == first[0].ids


def test_plan_trains_no_imported_teacher(tmp_path: Path) -> None:
    cells = expand(load_suite(write_suite(tmp_path, suite_text())), rows="*friend", seeds=[0])
    assert [run.student for run in make_plan(cells)] == ["digits_mlp"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("import:friend", "import:frend"), "unknown imported teacher 'frend'. Did you mean 'friend'?"),
        (("import:friend", "import:friend@3"), "an imported teacher has no epochs"),
        (('model = "digits_cnn"', 'model = "digits_cn"'), "unknown model 'digits_cn'"),
        ((SHA, "A" * 64), "expected a sha256, 64 digits of 0-9 and a-f"),
    ],
    ids=["name", "epoch", "model", "digest"],
)
def test_mistake_about_an_imported_teacher_is_told(
    tmp_path: Path, edit: tuple[str, str], message: str
) -> None:
    (problem,) = problems_of(load_suite, write_suite(tmp_path, suite_text(edit)))
    assert message in problem


def test_two_imported_teachers_of_one_name_are_refused(tmp_path: Path) -> None:
    rerun = DECLARED.replace(SHA, OTHER).replace("1.base", "1.kd")
    (problem,) = problems_of(load_suite, write_suite(tmp_path, suite_text(('[[table]]\nid = "1.kd"', rerun))))
    assert "two [[imported]] are named 'friend'" in problem


# Refused where it does not fit: the provenance record of a teacher of superclasses, as FNKD's released one.

CIFAR = DATASETS["cifar100"]
RECORD = Provenance(
    schema=PROVENANCE_SCHEMA,
    name="friend",
    model="resnet56_v2",
    classes=100,
    parameters=861_428,
    dataset="cifar100_coarse",
    sha256=SHA,
    lineage=("a test",),
    source=Source(file="a.params", format="mxnet", sha256=SHA, bytes=1),
    normalisation=Normalisation(dataset="cifar100", mean=CIFAR.mean, std=CIFAR.std),
    data="c" * 64,
    images=10_000,
    top1={"cifar100_coarse": 81.73, "cifar100": 1.83},
    predicted=tuple(range(20)),
)


def taught(dataset: str = "cifar100_coarse", **recipe: object) -> Run:
    made = Recipe(**{"epochs": 1, "batch_size": 2, "lr": 0.1, "classes": 100, **recipe})  # type: ignore[arg-type]
    return replace(
        make_run(), dataset=dataset, recipe=made, teacher=None, imported=Imported("resnet56_v2", SHA)
    )


def why_not(tmp_path: Path, run: Run, provenance: Provenance | None = RECORD) -> str:
    if provenance is not None:
        (tmp_path / "imported").mkdir(exist_ok=True)
        (tmp_path / "imported" / "friend.json").write_bytes(msgspec.json.encode(provenance))
    (problem,) = problems_of(check_imported, [run, run], tmp_path)
    return problem


def test_teacher_of_other_labels_is_refused_with_the_evidence(tmp_path: Path) -> None:
    assert why_not(tmp_path, taught("cifar100")).endswith(
        "refused, this teacher knows the labels of cifar100_coarse, not of cifar100: measured on 10,000 test "
        "images: 81.73 % on cifar100_coarse, 1.83 % on cifar100; of its 100 outputs it only ever predicts "
        "0 to 19; it can teach rows of cifar100_coarse"
    )


def test_teacher_of_other_images_is_refused(tmp_path: Path) -> None:
    message = why_not(tmp_path, taught("cifar10"))
    assert "was imported for cifar100_coarse and never measured on cifar10" in message
    assert "`kdbench import FILE --model resnet56_v2 --dataset cifar10`" in message


def test_teacher_with_other_outputs_than_the_student_is_refused(tmp_path: Path) -> None:
    assert "it has 100 outputs and the student 20" in why_not(tmp_path, taught(classes=0))


def test_teacher_of_another_normalisation_is_refused(tmp_path: Path) -> None:
    message = why_not(tmp_path, taught(normalize="cifar10"))
    assert "normalised as cifar100, the student sees them as cifar10" in message
    assert "import it with --normalize cifar10" in message
    message = why_not(tmp_path, taught(normalize_std=(0.2, 0.2, 0.2)))
    assert "the std of cifar100, the student's images have normalize_std = [0.2, 0.2, 0.2]; leave" in message


def test_teacher_of_images_of_another_size_is_refused(tmp_path: Path) -> None:
    message = why_not(tmp_path, taught(size=24))
    assert "measured on images of 32 pixels and the student sees 24; import it with --size 24" in message


def test_teacher_whose_weights_are_gone_is_refused(tmp_path: Path) -> None:
    assert "missing or damaged; import it again" in why_not(tmp_path, taught())


def test_teacher_that_nobody_imported_is_refused_with_the_command(tmp_path: Path) -> None:
    message = why_not(tmp_path, taught(), None)
    assert f"the teacher resnet56_v2 of sha256 {SHA} is not in" in message
    assert "`kdbench import FILE --model resnet56_v2 --dataset cifar100_coarse`" in message


def test_broken_provenance_record_is_reported(tmp_path: Path) -> None:
    (tmp_path / "imported").mkdir()
    (tmp_path / "imported" / "friend.json").write_text("{}", encoding="utf-8")
    assert "no valid provenance record" in why_not(tmp_path, taught(), None)


def test_run_without_an_imported_teacher_needs_none(tmp_path: Path) -> None:
    assert find_imported(make_run(), tmp_path) is None


# Names: no teacher replaces another one.


def keep(folder: Path, provenance: Provenance, *, chosen: bool = False) -> str:
    """Keep a record under the name that is free for it."""
    name = free_name(provenance, folder, chosen=chosen)
    (folder / f"{name}.json").write_bytes(msgspec.json.encode(provenance))
    return name


FROM_OTHER_FILE = replace(RECORD, source=replace(RECORD.source, sha256=OTHER))


@pytest.mark.parametrize(
    ("second", "name"),
    [
        (RECORD, "friend"),
        (replace(RECORD, sha256=OTHER, top1={}), "friend"),
        (FROM_OTHER_FILE, f"friend-{OTHER[:8]}"),
        (replace(RECORD, model="resnet110_v2"), f"friend-{SHA[:8]}"),
        (replace(RECORD, dataset="cifar100"), f"friend-{SHA[:8]}"),
        (replace(RECORD, size=64), f"friend-{SHA[:8]}"),
    ],
    ids=["the same", "again", "another file", "model", "data set", "size"],
)
def test_another_teacher_of_the_same_file_name_gets_another_name(
    tmp_path: Path, second: Provenance, name: str
) -> None:
    assert [keep(tmp_path, RECORD), keep(tmp_path, second)] == ["friend", name]
    assert keep(tmp_path, second) == name


def test_third_way_to_import_a_file_has_a_number(tmp_path: Path) -> None:
    ways = [replace(RECORD, size=size) for size in (0, 64, 96, 128)]
    ending = SHA[:8]
    names = ["friend", f"friend-{ending}", f"friend-{ending}-2", f"friend-{ending}-3"]
    assert [keep(tmp_path, way) for way in ways] == names


def test_name_of_another_teacher_that_a_person_chose_is_refused(tmp_path: Path) -> None:
    keep(tmp_path, RECORD)
    with pytest.raises(UserError, match=r"--name friend: .*friend.json is another teacher; choose another"):
        keep(tmp_path, FROM_OTHER_FILE, chosen=True)
    assert keep(tmp_path, RECORD, chosen=True) == "friend"


def test_damaged_record_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "friend.json").write_text("{", encoding="utf-8")
    assert keep(tmp_path, RECORD) == f"friend-{SHA[:8]}"


def test_record_that_fits_is_found_among_several_of_one_file(tmp_path: Path) -> None:
    (tmp_path / "imported").mkdir()
    for provenance in (RECORD, replace(RECORD, size=24)):
        name = keep(tmp_path / "imported", provenance)
        (tmp_path / "imported" / f"{name}.safetensors").touch()
    with pytest.raises(UserError, match=rf"friend-{SHA[:8]}.safetensors: missing or damaged"):
        find_imported(taught(size=24), tmp_path)


def test_plan_notes_a_teacher_that_is_not_imported(kdbench: Command, project: Path) -> None:
    write_suite(project, suite_text())
    for words in (["plan", "suites/small"], ["run", "suites/small", "--dry-run"]):
        done = kdbench(*words)
        assert done.code == 0
        assert f"note: the teacher digits_cnn of sha256 {SHA} is not in " in done.err


# End to end.

CHECKPOINTS = ("digits_cnn@1", "digits_cnn")
FRIENDS = ("friend", "colleague")


def taught_suite(digests: tuple[str, str]) -> str:
    """A student of two checkpoints of digits_cnn, and of the files that they were imported from."""
    rows = [f'{{ student = "digits_mlp", teacher = "{each}" }},' for each in CHECKPOINTS]
    rows += [f'{{ student = "digits_mlp", teacher = "import:{each}" }},' for each in FRIENDS]
    declared = [
        DECLARED.partition("\n\n")[0].replace("friend", name).replace(SHA, digest)
        for name, digest in zip(FRIENDS, digests, strict=True)
    ]
    return change(("[[table]]", "\n\n".join([*declared, "[[table]]"])), (TAUGHT, "\n".join(rows)))


@pytest.mark.slow
def test_imported_teachers_teach_as_the_checkpoints_that_they_were(tmp_path: Path) -> None:
    machine = Machine(
        local=Local(device="cpu"), data=Data(folder=str(tmp_path / "data"), offline=True), root=str(tmp_path)
    )
    path, context = make_project(tmp_path, taught_suite((SHA, OTHER))), open_context(machine)
    runs = make_plan(expand(load_suite(path), rows="1.kd/*:digits_cnn*", seeds=[0], variant="printed"))
    keep = weights_needed(runs)
    for run in runs:
        save_result(machine.results, train(run, context, keep=keep.get(run.id, ())))
    records = []
    for name, epoch in zip(FRIENDS, (1, 3), strict=True):
        (file,) = (machine.scratch / "weights" / runs[0].id).glob(f"{epoch}.*.safetensors")
        request = Request(file=file, model="digits_cnn", dataset="digits", name=name)
        records.append(import_teacher(request, machine)[1])
    first, second = (provenance.source.sha256 for provenance in records)
    path.write_text(taught_suite((first, second)), encoding="utf-8")
    command = [sys.executable, "-m", "kdbench", "run", str(path), "--rows", "*import:*", "--seeds", "0"]
    done = subprocess.run(
        [*command, "--as", "printed"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    cells = expand(load_suite(path), rows="1.kd/*", seeds=[0], variant="printed")
    results = load_results(index(machine.results), [cell.ids[0] for cell in cells])
    assert len(results) == 4, done.stderr
    early, late, friend, colleague = (results[cell.ids[0]].curve.test_loss for cell in cells)
    assert (friend, colleague) == (early, late)
    assert early != late
    message = [results[cell.ids[0]].environment["teacher"] for cell in cells[2:]]
    assert message == [provenance.sha256 for provenance in records]
