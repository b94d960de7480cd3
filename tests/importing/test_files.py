"""`kdbench import` end to end on digits, and on FNKD's released teacher."""

import io
import pickle
import zipfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from safetensors.torch import save, save_file
from torch import Tensor

from kdbench.catalog import DATASETS
from kdbench.errors import UserError
from kdbench.importing import files
from kdbench.importing.files import Weights, read_weights
from kdbench.importing.loading import load
from kdbench.importing.names import translate
from kdbench.importing.teacher import Request, import_teacher, teacher_name
from kdbench.machine import Data, Folders, Local, Machine
from kdbench.models.digits import digits_mlp
from kdbench.models.resnet_v2 import resnet20_v2
from kdbench.spec.runs import Recipe
from kdbench.store.files import digest
from kdbench.store.label_spaces import Measured, check_label_space, guessing, label_spaces
from kdbench.store.provenance import Provenance, describe
from kdbench.store.released import load_evaluations
from kdbench.training.context import open_context
from kdbench.training.run import train
from tests.support import mxnet
from tests.support.build import CE, make_run
from tests.support.places import ROOT
from tests.support.refused import problems_of

RELEASED = ROOT.parent / "shared" / "data" / "fnkd" / "cifar_resnet56_v2.params"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    root = tmp_path_factory.mktemp("machine")
    data = Data(folder=str(root / "data"), offline=True)
    return Machine(local=Local(device="cpu"), data=data, folders=Folders(), root=str(root))


@pytest.fixture(scope="module")
def state(machine: Machine) -> dict[str, Tensor]:
    """The weights of a digits_mlp after a few epochs."""
    recipe = Recipe(epochs=5, batch_size=32, lr=0.1, momentum=0.9)
    run = replace(
        make_run("digits_mlp", 0, CE), dataset="digits", data=DATASETS["digits"].digest, recipe=recipe
    )
    train(run, open_context(machine))
    (file,) = (machine.scratch / "weights" / run.id).glob("5.*.safetensors")
    return read_weights(file).tensors


def ask(file: Path, **other: Any) -> Request:  # noqa: ANN401 - Request's
    return Request(file=file, model="digits_mlp", dataset="digits", **other)


@pytest.mark.parametrize("variant", ["safetensors", "pt", "checkpoint"])
def test_import_keeps_the_weights_with_a_provenance_record(
    machine: Machine, state: dict[str, Tensor], tmp_path: Path, variant: str
) -> None:
    file = tmp_path / ("teacher.safetensors" if variant == "safetensors" else "teacher.pth.tar")
    if variant == "safetensors":
        save_file(state, file)
    else:
        parallel = {f"module.{name}": each for name, each in state.items()}
        torch.save({"state_dict": parallel, "epoch": 3} if variant == "checkpoint" else state, file)
    path, provenance = import_teacher(ask(file, name=variant, origin="a test"), machine)
    assert msgspec.json.decode(path.read_bytes(), type=Provenance) == provenance
    assert provenance.sha256 == digest(path.with_suffix(".safetensors"))
    assert provenance in load_evaluations(machine.results).values()
    kept = read_weights(path.with_suffix(".safetensors")).tensors
    assert all(kept[name].equal(each) for name, each in state.items())
    assert provenance.top1["digits"] > 80
    assert (provenance.source.sha256, provenance.lineage[0]) == (digest(file), "a test")
    assert (provenance.predicted, provenance.images) == (tuple(range(10)), 1397)
    assert "on digits (1,397 test images)" in describe(provenance, str(path))


def test_teacher_that_guesses_is_refused_with_the_evidence(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "fresh.safetensors"
    state = digits_mlp(10, 1).state_dict()
    state["classifier.weight"].zero_()
    state["classifier.bias"].copy_(torch.eye(10)[3])
    save_file(state, file)
    (problem,) = problems_of(import_teacher, ask(file), machine)
    assert "no better than guessing" in problem
    assert "it only ever predicts 3;" in problem
    assert not (machine.scratch / "imported" / "fresh.json").exists()


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["cifar100_coarse", "cifar100"])
def test_released_teacher_of_fnkd_knows_superclasses(
    tmp_path: Path, real_cifar100: Path, dataset: str
) -> None:
    if not RELEASED.is_file():
        pytest.skip(
            "FNKD's released weights (aztc/FNKD at 099b6ca, init_weights) are not beside the repository"
        )
    machine = Machine(
        local=Local(device="cpu"), data=Data(folder=str(real_cifar100), offline=True), root=str(tmp_path)
    )
    request = Request(file=RELEASED, model="resnet56_v2", dataset=dataset)
    if dataset == "cifar100":
        (problem,) = problems_of(import_teacher, request, machine)
        assert "knows the labels of cifar100_coarse, not of cifar100" in problem
        assert "1.83 % on cifar100, 81.73 % on cifar100_coarse" in problem
        assert "of its 100 outputs it only ever predicts 0 to 19" in problem
    else:
        _, provenance = import_teacher(request, machine)
        assert provenance.top1 == {"cifar100_coarse": 81.73, "cifar100": 1.83}
        assert (provenance.predicted, provenance.parameters) == (tuple(range(20)), 861_428)
        (kept,) = load_evaluations(ROOT / "results").values()
        assert (kept.source.sha256, kept.top1) == (provenance.source.sha256, provenance.top1)


def measured(**top1: float) -> Measured:
    return Measured(top1=top1, predicted=(0, 1, 2, 7), outputs=100, images=10_000)


def test_teacher_of_another_label_space_is_refused_with_the_cure() -> None:
    found = measured(cifar100=1.83, cifar100_coarse=81.73)
    (problem,) = problems_of(check_label_space, found, "cifar100", "a.params")
    assert problem == (
        "a.params: refused, this teacher knows the labels of cifar100_coarse, not of cifar100: "
        "measured on 10,000 test images: 1.83 % on cifar100, 81.73 % on cifar100_coarse; "
        "of its 100 outputs it only ever predicts 0 to 2, 7; import it with --dataset cifar100_coarse"
    )


def test_poor_teacher_of_the_right_labels_is_accepted() -> None:
    check_label_space(measured(cifar100=15.48, cifar100_coarse=5.3), "cifar100", "a.params")


def test_guessing_is_chance_and_three_standard_deviations() -> None:
    assert guessing("cifar100", 10_000) == pytest.approx(1 + 3 * 100 * (0.01 * 0.99 / 10_000) ** 0.5)


def test_label_spaces_are_the_data_sets_of_the_same_images() -> None:
    assert label_spaces("cifar100_coarse") == ["cifar100_coarse", "cifar100"]
    assert label_spaces("digits") == ["digits"]


def gluon(depth: int = 3) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """A ResNet-v2 of Gluon's names and shapes, made without our names."""
    found: dict[str, tuple[int, ...]] = {}

    def norm(name: str, width: int) -> None:
        for part in ("gamma", "beta", "running_mean", "running_var"):
            found[f"net_{name}_{part}"] = (width,)

    norm("batchnorm0", 3)
    found["net_conv0_weight"] = (16, 3, 3, 3)
    ins = 16
    for stage, width in enumerate((16, 32, 64), 1):
        number = 0
        for layer in range(2 * depth):
            norm(f"stage{stage}_batchnorm{layer}", ins if layer == 0 else width)
            found[f"net_stage{stage}_conv{number}_weight"] = (width, ins if layer == 0 else width, 3, 3)
            number += 1
            if layer == 1 and ins != width:
                found[f"net_stage{stage}_conv{number}_weight"] = (width, ins, 1, 1)
                number += 1
        ins = width
    norm("batchnorm1", 64)
    found |= {"net_dense0_weight": (100, 64), "net_dense0_bias": (100,)}
    made = {name: np.full(shape, number, np.float32) for number, (name, shape) in enumerate(found.items())}
    return made | {
        "net_batchnorm0_gamma": np.ones(3, np.float32),
        "net_batchnorm0_beta": np.zeros(3, np.float32),
    }


def write_gluon(folder: Path, arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> Path:
    file = folder / "teacher.params"
    file.write_bytes(mxnet.params({f"arg:{name}": each for name, each in arrays.items()}))
    return file


def test_every_layer_of_gluons_resnet_finds_its_place(tmp_path: Path) -> None:
    arrays = gluon()
    tensors = translate(read_weights(write_gluon(tmp_path, arrays)), "resnet20_v2")
    (filled,) = load(tensors, "resnet20_v2", DATASETS["cifar100"], tmp_path / "a.params")
    assert filled.how == ""
    state = filled.network.state_dict()
    wanted = {name for name in resnet20_v2(100, 3).state_dict() if not name.endswith("num_batches_tracked")}
    assert set(tensors) == wanted
    for ours, theirs in {
        "body.3.0.shortcut.0.weight": "net_stage2_conv2_weight",
        "body.3.1.branch.2.weight": "net_stage2_conv3_weight",
        "body.2.1.branch.3.running_var": "net_stage1_batchnorm3_running_var",
        "body.5.weight": "net_batchnorm1_gamma",
        "classifier.bias": "net_dense0_bias",
    }.items():
        assert (state[ours] == float(arrays[theirs].flat[0])).all(), ours


def test_first_norm_with_a_scale_is_problems_of(tmp_path: Path) -> None:
    arrays = gluon() | {"net_batchnorm0_gamma": np.full(3, 2, np.float32)}
    (problem,) = problems_of(translate, read_weights(write_gluon(tmp_path, arrays)), "resnet20_v2")
    assert "the first batch norm has no scale and shift" in problem


def test_names_of_mxnet_are_known_for_some_models_only() -> None:
    (problem,) = problems_of(translate, Weights("a.params", "mxnet", "0" * 64, {}), "resnet18")
    assert "are known for resnet20_v2, resnet56_v2, resnet110_v2, not for 'resnet18'" in problem


def test_unknown_model_is_refused_with_the_nearest(machine: Machine, tmp_path: Path) -> None:
    (problem,) = problems_of(import_teacher, replace(ask(tmp_path / "a.pt"), model="digits_mpl"), machine)
    assert problem.startswith("--model: unknown model 'digits_mpl'. Did you mean 'digits_mlp'?")


def test_weights_of_another_network_are_refused_with_the_differences(tmp_path: Path) -> None:
    state = digits_mlp(10, 1).state_dict()
    state["classifier.weight"] = torch.zeros(10, 5)
    state["body.9.weight"] = torch.zeros(2)
    problems = problems_of(load, state, "digits_mlp", DATASETS["digits"], tmp_path / "a.pt")
    assert [problem.partition("digits_mlp: ")[2] for problem in problems] == [
        "1 layers are not its own: body.9",
        "classifier is bias 10, weight 10x5, not bias 10, weight 10x32",
    ]


def test_classifier_with_fewer_outputs_than_classes_is_problems_of(tmp_path: Path) -> None:
    (problem,) = problems_of(load, digits_mlp(9, 1).state_dict(), "digits_mlp", DATASETS["digits"], tmp_path)
    assert "its classifier has 9 outputs; the data set has 10 classes" in problem


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.onnx", b"", "unknown kind of file '.onnx'"),
        ("a.pt", b"nonsense", "no whole file that torch.save wrote (UnpicklingError); fetch it again"),
        (
            "a.pt",
            pickle.dumps([1, 2]),
            "no whole file that torch.save wrote (UnpicklingError); fetch it again",
        ),
        ("a.safetensors", b"\xff" * 20, "no whole safetensors file"),
        ("a.params", b"\0" * 9, "no whole MXNet .params file"),
    ],
    ids=["kind", "noise", "bare pickle", "header", "mxnet"],
)
def test_file_that_is_none_is_problems_of(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert why in problems_of(read_weights, tmp_path / name)[0]


@cache
def written(name: str) -> bytes:
    """A good file of a kind: today's and yesterday's of torch.save, safetensors."""
    state, content = {"a": torch.ones(5), "b": torch.zeros(2, 3)}, io.BytesIO()
    if name.endswith("safetensors"):
        return save(state)
    torch.save(state, content, _use_new_zipfile_serialization=name == "new.pt")
    return content.getvalue()


@pytest.mark.parametrize("name", ["new.pt", "old.pt", "a.safetensors"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_file_is_read_or_problems_of(tmp_path: Path, name: str, data: st.DataObject) -> None:
    content = bytearray(written(name))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 9999)) % len(content)] = data.draw(st.integers(0, 255))
    (tmp_path / name).write_bytes(content)
    with suppress(UserError):
        found = read_weights(tmp_path / name).tensors
        assert all(each.isfinite().all() for each in found.values())


def test_missing_file_is_problems_of(tmp_path: Path) -> None:
    assert problems_of(read_weights, tmp_path / "a.pt") == (f"{tmp_path / 'a.pt'}: there is no such file",)


def test_what_is_no_finite_tensor_is_refused_all_at_once(tmp_path: Path) -> None:
    torch.save({"a": torch.tensor([1.0, torch.nan]), "b": 3, "c": torch.ones(2)}, tmp_path / "a.pt")
    problems = problems_of(read_weights, tmp_path / "a.pt")
    assert ["'a' holds NaN" in problems[0], "'b' is no dense tensor but a int" in problems[1]] == [True, True]
    assert len(problems) == 2


def test_file_beyond_the_limit_is_problems_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST", 1000)
    (tmp_path / "a.params").write_bytes(bytes(1001))
    assert "1,001 bytes; at most 1,000" in problems_of(read_weights, tmp_path / "a.params")[0]


def test_archive_that_unpacks_beyond_the_limit_is_problems_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGEST", 10_000)
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", bytes(1_000_000))
    assert "unpacks to 1,000,000 bytes; at most 10,000" in problems_of(read_weights, tmp_path / "a.pt")[0]


@pytest.mark.parametrize("name", ["../teacher", "a/b", "", ".hidden", "a" * 65])
def test_name_that_would_leave_the_folder_is_problems_of(name: str) -> None:
    assert (
        "a teacher's name has at most 64 letters"
        in problems_of(teacher_name, ask(Path(f"{name}.x" if name else ".."), name=name))[0]
    )
