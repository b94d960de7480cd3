"""A(x): the classes near a class."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from msgspec import json
from msgspec.structs import replace

from kdbench import catalog
from kdbench.cli import cli
from kdbench.data.neighbours import CIFAR100, CUB200, cifar100, digest, matrix, named, neighbours
from kdbench.data.packed import entry, read
from kdbench.errors import UserError


def test_matrix_by_hand_numbers_classes_alphabetically() -> None:
    near = matrix([["dog", "cat"], ["ant"]])
    assert near.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_cifar100_has_four_near_each_class() -> None:
    near = neighbours("cifar100")
    assert near.shape == (100, 100)
    assert set(near.sum(dim=1).tolist()) == {4}
    assert near.equal(near.T)


def test_cifar100_by_name() -> None:
    found = named("cifar100")
    assert found["maple_tree"] == ["oak_tree", "palm_tree", "pine_tree", "willow_tree"]
    assert list(found) == sorted(name for group in cifar100() for name in group)


def test_cub200_by_name() -> None:
    found = named("cub200")
    assert found["001.Black_footed_Albatross"] == ["002.Laysan_Albatross", "003.Sooty_Albatross"]
    assert found["148.Green_tailed_Towhee"] == ["021.Eastern_Towhee"]
    assert found["200.Common_Yellowthroat"] == []


def test_cub200_has_as_many_near_as_share_a_last_word() -> None:
    near = neighbours("cub200")
    assert near.shape == (200, 200)
    assert near.equal(near.T)
    assert int(near.diagonal().sum()) == 0
    assert int((near.sum(dim=1) == 0).sum()) == 33
    assert int(near.sum(dim=1).max()) == 24  # 25 warblers


def test_cub200_numbers_classes_in_the_order_of_the_labels() -> None:
    assert list(named("cub200")) == list(CUB200)
    assert neighbours("cub200")[0].nonzero().flatten().tolist() == [1, 2]


@pytest.mark.real
def test_cifar100_is_that_of_the_official_labels(real_cifar100: Path) -> None:
    tensors, _ = read(entry("cifar100"), real_cifar100)
    names = sorted(name for group in cifar100() for name in group)
    group = {name: number for number, classes in enumerate(CIFAR100.values()) for name in classes.split()}
    table = torch.tensor([group[name] for name in names])
    for split in ("train", "test"):
        assert table[tensors[f"{split}_labels"]].equal(tensors[f"{split}_coarse_labels"])


def test_digest_changes_with_a_single_pair() -> None:
    near = neighbours("cifar100")
    near[0, 1] = 1 - near[0, 1]
    assert digest(near) != catalog.DATASETS["cifar100"].neighbours_digest


def test_table_that_is_not_that_of_its_digest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(catalog.DATASETS["cifar100"], neighbours_digest="0" * 64)
    monkeypatch.setitem(catalog.DATASETS, "cifar100", other)
    with pytest.raises(UserError, match="the catalog says 0000"):
        neighbours("cifar100")


def test_data_set_without_neighbours_is_refused_with_those_that_have() -> None:
    with pytest.raises(UserError, match=r"^cifar10 has no neighbours A\(x\); these have: cifar100, cub200$"):
        neighbours("cifar10")


def test_command_tells_the_neighbours_and_their_digest() -> None:
    done = CliRunner().invoke(cli, ["data", "neighbours", "cifar100", "--json"])
    found = json.decode(done.output)
    assert found["neighbours"]["apple"] == ["mushroom", "orange", "pear", "sweet_pepper"]
    assert found["sha256"] == catalog.DATASETS["cifar100"].neighbours_digest
