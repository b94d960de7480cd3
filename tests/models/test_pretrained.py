"""Published weights: fetched, held by their digest, part of a run's identity, loaded where they fit."""

from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import cast

import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import save

from kdbench.catalog import MODELS, load
from kdbench.data.fetch import Fetcher
from kdbench.data.weights import fetched
from kdbench.errors import UserError
from kdbench.machine import Data, Machine
from kdbench.models.output import Network
from kdbench.models.pretrained import start_from
from kdbench.plan.expand import expand
from kdbench.spec.runs import Run, Teacher
from kdbench.spec.weights import Weights
from kdbench.suite.load import load_suite
from kdbench.training.checkpoint import save_weights, weights_content
from kdbench.training.context import TrainingContext
from tests.support.command import Command
from tests.support.project import change, write_suite
from tests.support.server import Server

NAME = "timm/mobilenetv2_100.test"


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    import timm

    torch.manual_seed(11)
    return dict(timm.create_model("mobilenetv2_100", num_classes=7).state_dict())


@pytest.fixture(scope="module")
def content(tensors: dict[str, torch.Tensor]) -> bytes:
    return save(tensors)


@pytest.fixture
def hub(server: Server, content: bytes, monkeypatch: pytest.MonkeyPatch) -> Server:
    server.files[f"/{NAME}/resolve/main/model.safetensors"] = content
    monkeypatch.setenv("HF_ENDPOINT", server.url())
    return server


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def network(classes: int) -> Network:
    torch.manual_seed(0)
    return cast("Network", load(MODELS["mobilenetv2_224"].code)(classes, 3))


@pytest.mark.usefixtures("hub")
def test_weights_of_as_many_classes_are_taken_whole(
    tensors: dict[str, torch.Tensor], content: bytes, tmp_path: Path
) -> None:
    import timm

    ours = network(7)
    start_from(ours, Weights(NAME, digest(content)), Fetcher(place=tmp_path))
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    theirs = timm.create_model("mobilenetv2_100", num_classes=7)
    theirs.load_state_dict(tensors)
    assert ours.eval()(x).logits.equal(theirs.eval()(x))


@pytest.mark.usefixtures("hub")
def test_classifier_of_other_classes_stays_the_seeds(
    tensors: dict[str, torch.Tensor], content: bytes, tmp_path: Path
) -> None:
    ours, fresh = network(5), network(5)
    start_from(ours, Weights(NAME, digest(content)), Fetcher(place=tmp_path))
    assert ours.classifier.state_dict()["weight"].equal(fresh.classifier.state_dict()["weight"])
    assert ours.body.state_dict()["conv_stem.weight"].equal(tensors["conv_stem.weight"])


def test_weights_of_another_digest_are_refused_by_name(hub: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no mirror delivered mobilenetv2_100"):
        fetched(NAME, "0" * 64, Fetcher(place=tmp_path))
    assert len(hub.asked) == 1
    assert not list((tmp_path / "weights" / "timm").glob("mobile*"))


def test_file_of_another_digest_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "weights" / f"{NAME}.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"{NAME}: refused, .* has the sha256 {digest(content)}, not 0000"):
        fetched(NAME, "0" * 64, Fetcher(place=tmp_path))
    assert file.exists()


def test_weights_that_nobody_has_are_told_by_name(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url())
    fetcher = Fetcher(place=tmp_path, mirrors=(server.url("/near"),))
    with pytest.raises(
        UserError, match=r"^no mirror delivered mobilenetv2_100\.test\.safetensors:\n"
    ) as error:
        fetched(NAME, "", fetcher)
    assert f"{server.url('/near')}/mobilenetv2_100.test.safetensors: HTTP 404" in str(error.value)


def test_file_that_is_there_is_taken_offline(hub: Server, content: bytes, tmp_path: Path) -> None:
    first = fetched(NAME, digest(content), Fetcher(place=tmp_path))
    asked = len(hub.asked)
    assert fetched(NAME, digest(content), Fetcher(place=tmp_path, offline=True)) == first
    assert len(hub.asked) == asked


def test_offline_says_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        fetched(NAME, "0" * 64, Fetcher(place=tmp_path, offline=True))
    assert str(tmp_path / "weights" / f"{NAME}.safetensors") in str(error.value)
    assert f"{NAME}/resolve/main/model.safetensors" in str(error.value)


@pytest.mark.parametrize(
    ("change_", "sentence"),
    [
        ({"conv_stem.weight": None}, "1 tensors are missing: conv_stem.weight"),
        ({"more": torch.zeros(1)}, "1 tensors are too much: more"),
        ({"conv_stem.weight": torch.zeros(1)}, "1 tensors are of another shape: conv_stem.weight"),
    ],
)
def test_tensors_of_another_network_are_refused(
    tensors: dict[str, torch.Tensor],
    change_: dict[str, torch.Tensor | None],
    sentence: str,
    tmp_path: Path,
) -> None:
    other = {name: each for name, each in (tensors | change_).items() if each is not None}
    file = tmp_path / "weights" / f"{NAME}.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(save(other))
    with pytest.raises(UserError, match=sentence):
        start_from(network(7), Weights(NAME, digest(file.read_bytes())), Fetcher(place=tmp_path))


def test_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights" / f"{NAME}.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read"):
        start_from(network(7), Weights(NAME, digest(b"nothing")), Fetcher(place=tmp_path))


@pytest.mark.usefixtures("hub")
def test_command_fetches_them_and_tells_how_a_row_names_them(
    kdbench: Command, project: Path, content: bytes
) -> None:
    (project / "benchmark.toml").unlink()
    told = kdbench("data", "weights", NAME).out.splitlines()
    file = project / "data" / "weights" / f"{NAME}.safetensors"
    assert told == [f'weights = "{NAME}@{digest(content)}"', str(file)]
    assert file.read_bytes() == content


def test_command_refuses_what_is_no_name(kdbench: Command) -> None:
    done = kdbench("data", "weights", "../x")
    assert done.code == 2
    assert "'../x': expected weights of timm" in done.err


def run_with(weights: str, tmp_path: Path) -> Run:
    row = f'{{ student = "mobilenetv2_224", weights = "{weights}", recipe = {{ size = 32 }} }},\n'
    suite = change(('  { student = "digits_cnn", top', f'{row}  {{ student = "digits_cnn", top'))
    cells = expand(load_suite(write_suite(tmp_path, suite)), seeds=[0])
    return next(cell.runs[0] for cell in cells if cell.row.student == "mobilenetv2_224")


def test_row_with_weights_is_a_run_of_its_own(tmp_path: Path) -> None:
    runs = [run_with(f"{NAME}@{64 * of}" if of else "", tmp_path) for of in ("", "0", "1")]
    assert len({run.id for run in runs}) == 3
    assert runs[1].weights == Weights(NAME, 64 * "0")


@pytest.mark.usefixtures("hub")
def test_training_starts_from_them_and_its_students_need_them_not(
    tensors: dict[str, torch.Tensor], content: bytes, tmp_path: Path
) -> None:
    run = replace(run_with(f"{NAME}@{digest(content)}", tmp_path), dataset="cars")
    context = TrainingContext(
        Machine(data=Data(folder=str(tmp_path / "data")), root=str(tmp_path)), torch.device("cpu")
    )
    start = context.network(run)
    assert start.state_dict()["body.conv_stem.weight"].equal(tensors["conv_stem.weight"])
    save_weights(context.machine.scratch / "weights" / run.id, 1, weights_content(start))
    rmtree(tmp_path / "data")
    context.machine = replace(context.machine, data=Data(offline=True))
    teacher = context.teacher(replace(run, teacher=Teacher(run, 1)))
    assert teacher is not None
    assert teacher.state_dict()["body.conv_stem.weight"].equal(tensors["conv_stem.weight"])
