"""The packed file: whole, verified, refused when altered; the digits, which need no network."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from kdbench import catalog
from kdbench.data import cifar, packed, place
from kdbench.data.digits import digits, training
from kdbench.data.fetch import Fetcher
from kdbench.data.packed import content_digest, open_dataset, source_digest
from kdbench.errors import UserError
from tests.support.permissions import bound_by_permissions

DIGITS = catalog.DATASETS["digits"]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def opened(tmp_path: Path) -> packed.Dataset:
    return open_dataset("digits", Fetcher(place=tmp_path))


def shapes(data: packed.Dataset) -> list[tuple[int, ...]]:
    return [tuple(part.shape) for part in (data.train_images, data.test_images)]


def test_digits_open_without_a_network(opened: packed.Dataset) -> None:
    assert shapes(opened) == [(400, 1, 8, 8), (1397, 1, 8, 8)]
    assert (opened.train_images.dtype, opened.train_labels.dtype) == (torch.uint8, torch.int64)
    assert (opened.name, opened.classes) == ("digits", 10)


def test_digits_have_forty_training_images_each(opened: packed.Dataset) -> None:
    assert opened.train_labels.bincount().tolist() == [40] * 10


@pytest.mark.slow  # importing scikit-learn takes seconds
def test_digits_lose_nothing(opened: packed.Dataset) -> None:
    from sklearn.datasets import load_digits

    found = load_digits()
    test = ~training(found.target)
    assert np.array_equal(opened.test_images.numpy().reshape(-1, 64), 15 * found.data[test])
    assert np.array_equal(opened.test_labels.numpy(), found.target[test])


def test_digits_content_is_pinned(opened: packed.Dataset) -> None:
    assert opened.content == packed.CONTENT["digits"]


def test_digits_statistics_are_those_of_the_training_images(opened: packed.Dataset) -> None:
    pixels = opened.train_images.double() / 255
    measured = (round(float(pixels.mean()), 4), round(float(pixels.std(correction=0)), 4))
    assert (DIGITS.mean[0], DIGITS.std[0]) == measured


@pytest.mark.parametrize("name", catalog.DATASETS)
def test_catalog_digest_is_that_of_the_sources(name: str) -> None:
    assert catalog.DATASETS[name].digest == source_digest(catalog.DATASETS[name])


@pytest.mark.parametrize("pack", cifar.FILES)
def test_official_files_are_those_torchvision_names(pack: str) -> None:
    assert cifar.files(pack) == tuple(cifar.official(pack).files)


def test_packing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        open_dataset("digits", Fetcher(place=tmp_path / folder))
    for name in ("digits.v1.safetensors", "digits.v1.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_packing_leaves_no_temporary_file(opened: packed.Dataset, tmp_path: Path) -> None:
    assert opened.name == "digits"
    found = sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock")
    assert found == ["digits.v1.json", "digits.v1.safetensors"]


@pytest.mark.usefixtures("opened")
def test_a_packed_file_opens_where_nothing_can_be_written(tmp_path: Path) -> None:
    for path in tmp_path.glob(".*.lock"):
        path.unlink()
    open_dataset("digits", Fetcher(place=tmp_path, offline=True))
    assert not list(tmp_path.glob(".*.lock"))


def alter(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.usefixtures("opened")
def test_an_altered_packed_file_is_refused(tmp_path: Path) -> None:
    alter(tmp_path / "digits.v1.safetensors", -1000)
    with pytest.raises(UserError, match=r"digits.v1.safetensors: refused, its content is .* Delete it and"):
        open_dataset("digits", Fetcher(place=tmp_path))


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("size", [0, 4, 300, 5000, -1])
def test_a_truncated_packed_file_is_refused(size: int, tmp_path: Path) -> None:
    path = tmp_path / "digits.v1.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match="refused, it cannot be read"):
        open_dataset("digits", Fetcher(place=tmp_path))


@pytest.mark.usefixtures("opened")
def test_an_altered_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "digits.v1.json"
    path.write_text(path.read_text().replace(packed.CONTENT["digits"], "0" * 64))
    with pytest.raises(UserError, match="refused, its content is"):
        open_dataset("digits", Fetcher(place=tmp_path))


@pytest.mark.usefixtures("opened")
def test_a_file_and_record_altered_together_are_refused_by_the_pin(tmp_path: Path) -> None:
    alter(tmp_path / "digits.v1.safetensors", -1000)
    record, now = tmp_path / "digits.v1.json", _content(tmp_path / "digits.v1.safetensors")
    record.write_text(record.read_text().replace(packed.CONTENT["digits"], now))
    with pytest.raises(UserError, match="refused, its content is"):
        open_dataset("digits", Fetcher(place=tmp_path))


def _content(path: Path) -> str:
    from safetensors.numpy import load_file

    return content_digest(load_file(path))


@pytest.mark.usefixtures("opened")
def test_a_file_packed_from_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "digits.v1.json"
    path.write_text(path.read_text().replace(DIGITS.digest, "1" * 64))
    with pytest.raises(UserError, match="refused, it was packed from"):
        open_dataset("digits", Fetcher(place=tmp_path))


@pytest.mark.usefixtures("opened")
def test_a_file_without_its_record_is_packed_again(tmp_path: Path) -> None:
    (tmp_path / "digits.v1.json").unlink()
    (tmp_path / "digits.v1.safetensors").write_bytes(b"broken off")
    assert open_dataset("digits", Fetcher(place=tmp_path)).content == packed.CONTENT["digits"]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written: .*; name another folder in KDBENCH_DATA"):
        open_dataset("digits", Fetcher(place=tmp_path / "file" / "data"))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder of a system that has /proc")
def test_a_place_that_takes_no_files_is_no_wait_for_a_lock() -> None:
    """There a lock cannot be made, even by root; it is not one that somebody else holds."""
    with pytest.raises(UserError, match="/proc: cannot be written: No such file or directory; "):
        open_dataset("digits", Fetcher(place=Path("/proc")))


def test_a_shared_place_that_cannot_be_written_may_be_linked(tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python").mkdir()
    tmp_path.chmod(0o555)
    try:
        with bound_by_permissions(), pytest.raises(UserError) as error:
            open_dataset("digits", Fetcher(place=tmp_path))
    finally:
        tmp_path.chmod(0o755)
    told = (
        f"link what lies there into it (ln -s {tmp_path}/* FOLDER), and name another folder in KDBENCH_DATA"
    )
    assert told in str(error.value)


def test_a_linked_pack_is_opened(opened: packed.Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    for file in tmp_path.glob("digits.*"):
        (folder / file.name).symlink_to(file)
    assert open_dataset("digits", Fetcher(place=folder)).content == opened.content


def test_an_unknown_data_set_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'cifar100'"):
        open_dataset("cifar1000", Fetcher(place=tmp_path))


def test_cifar_offline_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cifar-100-python/train, .*offline nothing is fetched") as error:
        open_dataset("cifar100_coarse", Fetcher(place=tmp_path, offline=True))
    assert str(tmp_path) in str(error.value)


def test_a_form_unlike_the_catalogs_is_refused_with_every_difference(tmp_path: Path) -> None:
    arrays = digits(Fetcher(place=tmp_path))
    wrong = replace(DIGITS, train=500, channels=3, classes=9)
    with pytest.raises(UserError) as error:
        packed.check_form(wrong, arrays)
    assert error.value.problems == (
        "digits: train_images: uint8 (400, 1, 8, 8), not uint8 (500, 3, 8, 8)",
        "digits: train_labels: int64 (400,), not int64 (500,)",
        "digits: train_labels: not all within 0 .. 8",
        "digits: test_images: uint8 (1397, 1, 8, 8), not uint8 (1397, 3, 8, 8)",
        "digits: test_labels: not all within 0 .. 8",
    )


def test_content_digest_tells_shapes_apart() -> None:
    flat = np.zeros(4, np.uint8)
    assert content_digest({"a": flat}) != content_digest({"a": flat.reshape(2, 2)})


def test_where_takes_the_named_folder_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDBENCH_DATA", "/b")
    assert place.where(Path("/a")) == place.Place(Path("/a"), "benchmark.toml")
    assert place.where() == place.Place(Path("/b"), "KDBENCH_DATA; it is not there yet")


def test_where_falls_back_to_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KDBENCH_DATA", raising=False)
    assert place.where().path.parts[-2:] == ("kdbench", "data")


@pytest.mark.usefixtures("opened")
def test_list_tells_the_state_of_every_data_set(tmp_path: Path) -> None:
    for name in cifar.FILES["cifar100"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    rows = {row.name: row for row in place.list_datasets(tmp_path)}
    states = [row.state for row in rows.values()]
    assert states == ["packed", "missing", "fetched", "fetched", *6 * ["missing"], *12 * ["generated"]]
    coarse = place.DatasetRow("cifar100_coarse", 20, 50_000, 10_000, "fetched", 10, "md5")
    assert (rows["cifar100_coarse"], rows["digits"].content) == (coarse, packed.CONTENT["digits"][:12])
    assert [name for name, row in rows.items() if row.held_by == "number"] == ["imagenet"]


def test_list_and_where_import_no_heavy_library(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from kdbench.data import place\n"
        f"place.where(); place.list_datasets(Path({str(tmp_path)!r}))\n"
        "print({'torch', 'torchvision', 'sklearn', 'safetensors'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_fetch_gives_the_packed_file(tmp_path: Path) -> None:
    assert place.fetch_dataset("digits", Fetcher(place=tmp_path)) == tmp_path / "digits.v1.safetensors"


@pytest.mark.usefixtures("opened")
def test_verify_sums_up_a_packed_file(tmp_path: Path) -> None:
    summary = place.verify_dataset("digits", tmp_path)
    assert summary.startswith("digits: ")
    assert summary.endswith("400 + 1,397 images, content 17140c6de885, as pinned")


def test_verify_refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"digits is not packed in .*kdbench data fetch digits"):
        place.verify_dataset("digits", tmp_path)
