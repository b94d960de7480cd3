# ruff: noqa: E501 - a case is a line
"""Files of weights as the field writes them: each imported with the right accuracy, or refused with why.

One small network is trained once; each case writes it in another way. No file is opened but by kdbench, and
none is run: what would run when it is opened leaves a mark that a test looks for.
"""

import argparse
import dataclasses
import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import Struct
from msgspec.structs import replace
from safetensors.torch import save, save_file
from torch import Tensor, nn

from kdbench.catalog import DATASETS
from kdbench.data.opened import OpenDatasets
from kdbench.data.packed import Dataset
from kdbench.errors import UserError
from kdbench.importing.files import read_weights
from kdbench.importing.loading import Filled
from kdbench.importing.teacher import Request, import_teacher, most_accurate
from kdbench.machine import Data, Folders, Local, Machine
from kdbench.models.digits import digits_cnn, digits_mlp
from kdbench.spec.runs import Recipe
from kdbench.spec.weights import Imported
from kdbench.store.imported import find_imported
from kdbench.store.label_spaces import Measured
from kdbench.store.provenance import in_suite
from kdbench.training.context import open_context
from kdbench.training.run import train
from tests.support.build import CE, KD, make_run
from tests.support.refused import problems_of

State = dict[str, Tensor]
LAYERS = ("body.0", "body.1", "body.3", "body.4", "body.7", "body.8", "classifier")
"""Of digits_cnn: convolution, norm, three times, and the classifier."""
TORCHVISION = ("conv1", "bn1", "layer1.0.conv1", "layer1.0.bn1", "layer2.0.conv1", "layer2.0.bn1", "fc")
NESTED = ("pre.0", "pre.1", "stage1.residual.0", "stage1.residual.1", "conv2.0", "conv2.1", "linear")
IN_A_ROW = (
    "features.0",
    "features.1",
    "features.3",
    "features.4",
    "features.7",
    "features.8",
    "classifier.1",
)
TIMM = ("conv_stem", "bn1", "blocks.0.0.conv", "blocks.0.0.bn", "conv_head", "bn2", "head.fc")
OPENED = Path("opened")


class Teacher(Struct):
    """The network that all files hold, and its accuracy."""

    state: State
    top1: float
    machine: Machine


@pytest.fixture(scope="module", autouse=True)
def _few_test_images() -> Iterator[None]:
    """Each import is measured on 200 images instead of 1,397."""
    named = OpenDatasets.named

    def first(data: OpenDatasets, name: str) -> Dataset:
        whole = named(data, name)
        return dataclasses.replace(
            whole, test_images=whole.test_images[:200], test_labels=whole.test_labels[:200]
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OpenDatasets, "named", first)
        yield


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    root = tmp_path_factory.mktemp("machine")
    data = Data(folder=str(root / "data"), offline=True)
    machine = Machine(local=Local(device="cpu"), data=data, folders=Folders(), root=str(root))
    recipe = Recipe(epochs=4, batch_size=32, lr=0.05, momentum=0.9)
    run = make_run("digits_cnn", 0, CE)
    run = replace(run, dataset="digits", data=DATASETS["digits"].digest, recipe=recipe)
    result = train(run, open_context(machine))
    (file,) = (machine.scratch / "weights" / run.id).glob("4.*.safetensors")
    state = read_weights(file).tensors
    ordered = {name: state[name] for name in digits_cnn(10, 1).state_dict()}
    return Teacher(ordered, result.last, machine)


def renamed(state: State, names: Iterable[str]) -> State:
    """The same weights with the layers called otherwise."""
    called = dict(zip(LAYERS, names, strict=True))
    found = {}
    for name, tensor in state.items():
        layer, _, part = name.rpartition(".")
        found[f"{called[layer]}.{part}"] = tensor
    return found


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def moved(state: State, *layers: str) -> State:
    """The same weights with these layers last."""
    last = tuple(f"{layer}." for layer in layers)
    first = {name: tensor for name, tensor in state.items() if not name.startswith(last)}
    return first | {name: tensor for name, tensor in state.items() if name.startswith(last)}


def wrapped(key: str, prefix: str = "", **beside: object) -> Callable[[State], object]:
    return lambda state: {key: prefixed(state, prefix), "epoch": 3, **beside}


def averaged(plain: str, key: str, prefix: str = "") -> Callable[[State], object]:
    """A checkpoint with weights that know nothing beside the right ones under `key`."""

    def write(state: State) -> object:
        wrong = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
        others = {plain: wrong} if plain else {}
        return {**others, key: prefixed(state, prefix) | {"n_averaged": torch.tensor(9)}}

    return write


def with_outputs(state: State, outputs: int) -> State:
    """Classes that are never predicted behind the ten."""
    weight, bias = state["classifier.weight"], state["classifier.bias"]
    more = outputs - len(bias)
    return state | {
        "classifier.weight": torch.cat([weight, torch.zeros(more, weight.shape[1])]),
        "classifier.bias": torch.cat([bias, torch.full((more,), -1e4)]),
    }


def profiled(state: State) -> State:
    """With what a profiler leaves in a state dict."""
    layers = dict.fromkeys(name.rpartition(".")[0] for name in state)
    return state | {f"{layer}.total_ops": torch.zeros(1, dtype=torch.float64) for layer in layers}


def without_counters(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def beside_a_teacher(state: State) -> State:
    other = digits_mlp(10, 1).state_dict()
    return prefixed(renamed(state, TORCHVISION), "student.") | prefixed(other, "teacher.")


class Case(Struct, kw_only=True):
    """A file, how it is imported, and why it is refused ("": it is not)."""

    what: str
    name: str = "best.pth.tar"
    write: Callable[[State], object] = dict
    options: dict[str, Any] = {}
    map: str = ""
    refused: str = ""


ARGS = argparse.Namespace(lr=0.1, arch="resnet8")
SWAPPED = ("conv1", "bn1", "conv2", "bn3", "conv3", "bn2", "fc")
MAP = "".join(f"{theirs} = {ours}\n" for theirs, ours in zip(SWAPPED, LAYERS, strict=True))
# fmt: off
IMPORTED = [
    Case(what="bare state dict", name="a.pth"),
    Case(what="bare, kdbench's own names, safetensors", name="a.safetensors"),
    Case(what="as torch saved until 1.5", name="old.pt"),
    Case(what="ImageNet example", write=wrapped("state_dict", best_acc1=torch.tensor(97.0), arch="cnn")),
    Case(what="RepDistiller", write=wrapped("model", best_acc=np.float64(90.0), optimizer={})),
    Case(what="pytorch-cifar", name="ckpt.t7", write=wrapped("net", "module.", acc=90.0)),
    Case(what="PyTorch tutorial", write=wrapped("model_state_dict", optimizer_state_dict={}, loss=0.1)),
    Case(what="options beside", write=wrapped("state_dict", args=ARGS, best=np.float32(90))),
    Case(what="Lightning", name="last.ckpt", write=wrapped("state_dict", "model.", global_step=9)),
    Case(what="wrapper in a wrapper", write=lambda state: {"model": {"state_dict": state}}),
    Case(what="data parallel", name="a.pth", write=lambda state: prefixed(state, "module.")),
    Case(what="compiled", name="a.pth", write=lambda state: prefixed(state, "_orig_mod.")),
    Case(what="compiled, parallel", name="a.pth", write=lambda state: prefixed(state, "_orig_mod.module.")),
    Case(what="mdistiller", write=wrapped("model", "module.student.", best_acc=90.0)),
    Case(what="parallel, safetensors", name="a.safetensors", write=lambda state: prefixed(state, "module.")),
    Case(what="averaged alone", write=averaged("", "state_dict_ema")),
    Case(what="timm, averaged", write=averaged("state_dict", "state_dict_ema"), options={"weights": "ema"}),
    Case(what="timm, plain", write=averaged("state_dict_ema", "state_dict"), options={"weights": "plain"}),
    Case(what="torchvision, averaged", write=averaged("model", "model_ema", "module."), options={"weights": "ema"}),
    Case(what="head fc", write=lambda state: renamed(state, (*LAYERS[:-1], "fc"))),
    Case(what="head linear", write=lambda state: renamed(state, (*LAYERS[:-1], "linear"))),
    Case(what="head head.fc, safetensors", name="a.safetensors", write=lambda state: renamed(state, TIMM)),
    Case(what="names of torchvision", write=lambda state: renamed(state, TORCHVISION)),
    Case(what="names of torchvision, safetensors", name="a.safetensors", write=lambda state: renamed(state, TORCHVISION)),
    Case(what="names of Tf-KD", write=lambda state: {"state_dict": renamed(state, NESTED), "acc": 0.97}),
    Case(what="names in a row", write=lambda state: renamed(state, IN_A_ROW)),
    Case(what="names in a row, safetensors", name="a.safetensors", write=lambda s: renamed(s, IN_A_ROW)),
    Case(what="convolutions before norms", write=lambda s: moved(renamed(s, TIMM), "bn1", "blocks.0.0.bn", "bn2")),
    Case(what="a profiler's counts", write=lambda state: profiled(renamed(state, TORCHVISION))),
    Case(what="before counters", write=lambda state: without_counters(renamed(state, TORCHVISION))),
    Case(what="half precision", write=lambda state: {name: each.half() for name, each in state.items()}),
    Case(what="student beside its teacher", write=beside_a_teacher),
    Case(what="more outputs than classes", write=lambda s: renamed(with_outputs(s, 12), TORCHVISION)),
    Case(what="map", write=lambda s: moved(renamed(s, SWAPPED), "bn2"), map=MAP),
    Case(what="map in TOML", write=lambda s: moved(renamed(s, SWAPPED), "bn2"), map='bn2 = "body.8"\nbn3 = "body.4"'),
]
# fmt: on


class Mark:
    """Leaves a file if its pickle is run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {OPENED}",)


class Options(dict[str, object]):
    """A trainer's options, of a class of its own."""


def archive_of(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, b"weights")
    return made.getvalue()


def tar_of(*names: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return made.getvalue()


def saved(content: object, **options: bool) -> bytes:
    made = io.BytesIO()
    torch.save(content, made, **options)
    return made.getvalue()


def half_of(content: bytes) -> bytes:
    return content[: len(content) // 2]


def network_of(state: State) -> nn.Module:
    network = digits_cnn(10, 1)
    network.load_state_dict(state, strict=False)
    return network


def misleading(state: State) -> object:
    """In the order of shapes, but the second norm stands where the third belongs."""
    swapped = renamed(state, SWAPPED)
    order = ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "fc")
    by_layer = [{k: v for k, v in swapped.items() if k.startswith(f"{layer}.")} for layer in order]
    return {"state_dict": {k: v for layer in by_layer for k, v in layer.items()}, "best_acc": 97.0}


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
CONFIRM = b"<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title>"
# fmt: off
REFUSED = [
    Case(what="pointer", write=lambda _: POINTER, refused="it is a pointer of Git LFS; `git lfs pull`"),
    Case(what="page", write=lambda _: CONFIRM, refused="it is an HTML page, as of a download"),
    Case(what="error of a server", write=lambda _: b"<?xml version=", refused="it is a server's message of an"),
    Case(what="empty", write=lambda _: b"", refused="it is empty; fetch it again"),
    Case(what="tar", write=lambda _: tar_of("a.pth", "b.pth"), refused="it is a tar archive of several files"),
    Case(what="gzip", write=lambda _: gzip.compress(b"weights"), refused="it is compressed with gzip; unpack"),
    Case(what="zip", write=lambda _: archive_of("a.pth", "b.pth"), refused="it is a zip archive of other files"),
    Case(what="truncated", write=lambda s: half_of(saved(s)), refused="it ends in the middle or is damaged"),
    Case(what="truncated, old", write=lambda s: half_of(saved(s, _use_new_zipfile_serialization=False)), refused="no whole file that torch.save wrote"),
    Case(what="truncated, safetensors", name="a.safetensors", write=lambda s: half_of(save(s)), refused="no whole safetensors file"),
    Case(what="whole network", write=network_of, refused="it is a whole pickled network (kdbench.models.output.Network), which runs code when"),
    Case(what="whole network, old", name="old.pt", write=network_of, refused="it is a whole pickled network (kdbench.models.output.Network), which runs code when"),
    Case(what="program", write=lambda _: archive_of("a/data.pkl", "a/constants.pkl", "a/code/__torch__.py"), refused="it is a TorchScript program"),
    Case(what="call", write=wrapped("state_dict", by=Mark()), refused="beside weights it holds a posix.system"),
    Case(what="a trainer's class", write=wrapped("state_dict", hparams=Options(lr=0.1)), refused="beside weights it holds a tests.importing.test_checkpoints.Options, which runs code when"),
    Case(what="list", write=lambda s: list(s.values()), refused="holds a list, not a state dict"),
    Case(what="no weights", write=lambda _: {"epoch": 3}, refused="'epoch' is no dense tensor but a int"),
    Case(what="other kind", name="a.onnx", write=lambda _: b"onnx", refused="unknown kind of file '.onnx'"),
    Case(
        what="both, unchosen",
        write=averaged("state_dict", "state_dict_ema"),
        refused="holds plain weights (state_dict) and averaged ones (state_dict_ema), whose accuracies "
        "differ; add --weights plain or --weights ema",
    ),
    Case(what="no averaged", options={"weights": "ema"}, refused="--weights ema: it holds no averaged weights (state_dict_ema, model_ema"),
    Case(what="only averaged", write=averaged("", "model_ema"), options={"weights": "plain"}, refused="--weights plain: it holds only averaged weights (model_ema)"),
    Case(what="another network", write=lambda _: {"fc1.weight": torch.ones(32, 64), "fc2.weight": torch.ones(10, 32)}, refused="2 layers under other names; it has 7"),
    Case(
        what="fewer outputs",
        write=lambda s: renamed(s, TORCHVISION) | {"fc.weight": torch.ones(9, 128), "fc.bias": torch.ones(9)},
        refused="its classifier has 9 outputs; the data set has 10 classes",
    ),
    Case(what="NaN", write=lambda s: s | {"classifier.bias": torch.full((10,), torch.nan)}, refused="'classifier.bias' holds NaN or infinite values"),
    Case(what="misleading order", write=misleading, refused="7 of 7 layers have other names, found by order and shape, and it gives "),
    Case(what="never trained", write=lambda s: {name: torch.zeros_like(tensor) for name, tensor in s.items()}, refused="on digits it is no better than guessing"),
    Case(what="two that fit", write=lambda s: prefixed(s, "student.") | prefixed(s, "teacher."), refused="holds several networks that fit: student, teacher; save the one that is meant alone"),
    Case(what="mistake in a map", write=lambda s: renamed(s, TORCHVISION), map="conv9 = body.0\n", refused="unknown layer of the file of weights 'conv9'"),
]
# fmt: on


def write_file(case: Case, state: State, folder: Path) -> Path:
    """The case's file, as whoever trained the network would have written it."""
    path = folder / case.name
    content = case.write(dict(state))
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".safetensors":
        save_file({name: each.contiguous() for name, each in content.items()}, path)  # type: ignore[attr-defined]
    else:
        torch.save(content, path, _use_new_zipfile_serialization=case.name != "old.pt")
    return path


def imported(
    case: Case, teacher: Teacher, folder: Path, model: str = "digits_cnn"
) -> tuple[float, list[str]]:
    """The accuracy that was measured, and the steps of the record."""
    file = write_file(case, teacher.state, folder)
    map_file = None
    if case.map:
        map_file = folder / ("map.toml" if '"' in case.map else "map.txt")
        map_file.write_text(case.map)
    asked = Request(file=file, model=model, dataset="digits", map_file=map_file, **case.options)
    machine = replace(teacher.machine, root=str(folder))
    _, provenance = import_teacher(asked, machine)
    return provenance.top1["digits"], list(provenance.lineage)


@pytest.mark.parametrize("case", IMPORTED, ids=lambda case: case.what)
def test_checkpoint_is_imported_with_the_right_accuracy(case: Case, teacher: Teacher, tmp_path: Path) -> None:
    top1, lineage = imported(case, teacher, tmp_path)
    assert top1 == pytest.approx(teacher.top1, abs=0.5)  # half precision may turn one image of 200
    tensors = read_weights(tmp_path / case.name, case.options.get("weights", "")).tensors
    ways = ("found by order and shape", "by the names in map")
    own = tensors.keys() - {"n_averaged"} <= teacher.state.keys()
    assert own or any(way in step for step in lineage for way in ways)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.what)
def test_checkpoint_is_refused_with_its_reason_and_nothing_in_it_is_run(
    case: Case, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    problem = problems_of(imported, case, teacher, tmp_path)[0]
    assert case.refused in problem
    assert problem.startswith(str(tmp_path))
    assert "\n" not in problem
    assert "weights_only" not in problem
    assert not OPENED.exists()
    assert not list(tmp_path.rglob("*.json"))


def test_table_has_at_least_forty_files() -> None:
    assert len(IMPORTED) + len(REFUSED) >= 40


def test_two_ways_of_about_the_same_accuracy_are_refused_with_both() -> None:
    network = nn.Linear(1, 1)
    tried = [
        (Filled(network, "found"), Measured(top1={"digits": top1}, predicted=(0,), outputs=10, images=9))
        for top1 in (60.0, 70.0, 20.0)
    ]
    asked = Request(file=Path("a.pth"), model="digits_cnn", dataset="digits")
    with pytest.raises(
        UserError, match=r"3 ways, which give 70.00 % and 60.00 % and 20.00 % on digits; say by"
    ):
        most_accurate(tried, asked)
    assert most_accurate([tried[0], tried[2]], asked)[1].top1 == {"digits": 60.0}


def test_weights_that_were_chosen_in_a_file_are_named_by_their_own_digest(
    teacher: Teacher, tmp_path: Path
) -> None:
    """The file is the same; a number must not stand for the other weights in it."""
    both = {"state_dict": teacher.state, "state_dict_ema": with_outputs(teacher.state, 10)}
    both["state_dict_ema"]["classifier.bias"] = teacher.state["classifier.bias"] + torch.arange(10) / 100
    torch.save(both, tmp_path / "best.pth.tar")
    machine = replace(teacher.machine, root=str(tmp_path))
    asked = Request(file=tmp_path / "best.pth.tar", model="digits_cnn", dataset="digits")
    kept = [import_teacher(replace(asked, weights=which), machine)[1] for which in ("plain", "ema")]
    assert kept[0].source.sha256 == kept[1].source.sha256
    assert [each.name for each in kept] == ["best.pth", f"best.pth-{kept[1].source.sha256[:8]}"]
    run = replace(
        make_run("digits_mlp", 0, KD), dataset="digits", recipe=Recipe(epochs=1, batch_size=32, lr=0.1)
    )
    for each in kept:
        assert f'sha256 = "{each.sha256}"' in in_suite(each)
        found = find_imported(replace(run, imported=Imported("digits_cnn", each.sha256)), machine.scratch)
        assert found is not None
        assert found[1] == each
