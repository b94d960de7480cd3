"""FLOPs and bytes against numbers made by hand, torch's own counter, and the table that is shipped."""

import pytest
import torch
from torch import Tensor, nn

from kdbench import catalog
from kdbench.cost import counts as costs
from kdbench.models.output import Network
from kdbench.training.counting import Counter, all_entries, count, counts_of
from tests.support.build import make_run
from tests.support.marks import slow_but
from tests.support.suites import every_cell


def net(*layers: nn.Module, width: int) -> Network:
    pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Network(nn.Sequential(*layers, *pool), nn.Linear(width, 10))


def flops(network: Network, images: Tensor) -> tuple[float, float]:
    forward, backward, _ = count(network, images)
    return forward.flops, backward.flops


IMAGES = torch.zeros(2, 4, 8, 8)
HEAD = 2 * 2 * 8 * 10
"""FLOPs of a classifier from 8 features to 10 classes, of two images."""


def test_flops_of_a_convolution_are_those_counted_by_hand() -> None:
    forward, backward = flops(net(nn.Conv2d(4, 8, 3, padding=1), width=8), IMAGES)
    by_hand = 2 * (2 * 8 * 64) * (4 * 9)
    assert (forward, backward) == (by_hand + HEAD, by_hand + 2 * HEAD)


@pytest.mark.parametrize("groups", [2, 4])
def test_flops_of_a_grouped_convolution_are_those_counted_by_hand(groups: int) -> None:
    layers = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=groups)
    forward, backward = flops(net(*layers, width=8), IMAGES)
    first, grouped = 2 * (2 * 4 * 64) * 4, 2 * (2 * 8 * 16) * (4 // groups * 9)
    assert forward == first + grouped + HEAD
    assert backward == first + 2 * grouped + 2 * HEAD  # the images need no gradient


def test_flops_of_a_transposed_convolution_are_those_of_its_input() -> None:
    forward, backward = flops(net(nn.ConvTranspose2d(4, 8, 2, stride=2), width=8), IMAGES)
    by_hand = 2 * (2 * 4 * 64) * (8 * 4)
    assert (forward, backward) == (by_hand + HEAD, by_hand + 2 * HEAD)


def test_bytes_are_those_read_and_written() -> None:
    forward, backward, _ = count(net(nn.Conv2d(4, 8, 3, padding=1, bias=False), width=8), IMAGES)
    x, weight, out = 2 * 4 * 64, 8 * 4 * 9, 2 * 8 * 64
    f, w, b, z = 2 * 8, 80, 10, 20
    assert forward.bytes == 4 * (x + weight + out + f + w + b + z)
    assert backward.bytes == 4 * (x + 2 * weight + out + 2 * (z + w + f))


@pytest.mark.parametrize("model", slow_but(["plaincnn"], ["resnet18", "googlenet", "plaincnn"]))
def test_flops_are_those_of_torchs_counter_without_groups(model: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = catalog.load(catalog.find("models", model).code)(100, 3)
        images = torch.empty(2, 3, 32, 32)
        with FlopCounterMode(display=False) as theirs:
            network(images).logits.sum().backward()
        assert sum(flops(network, images)) == theirs.get_total_flops()


def test_torchs_counter_is_still_wrong_with_groups() -> None:
    """Should this fail, torch has fixed it, and `Counter` may go."""
    from torch.utils.flop_counter import FlopCounterMode

    network = nn.Conv2d(8, 8, 3, groups=4)
    with FlopCounterMode(display=False) as theirs, Counter() as ours:
        network(torch.zeros(1, 8, 8, 8)).sum().backward()
    assert theirs.get_total_flops() > ours.flops


def test_counts_are_the_same_on_the_cpu_and_on_the_meta_device() -> None:
    network = catalog.load("kdbench.models.wrn:wrn_16_1")(100, 3)
    forward, backward, kept = count(network, torch.zeros(2, 3, 32, 32))
    counts = counts_of("wrn_16_1", 100, 3, 32)
    assert forward.flops == 2 * counts.forward
    assert backward.bytes == 2 * counts.backward_bytes + counts.batch_backward_bytes
    assert kept == pytest.approx(2 * counts.kept, rel=0.02)  # and the statistics of norms


def test_table_has_every_model_of_every_suite() -> None:
    runs = [run for cell in every_cell("released") for run in cell.runs]
    assert [run.slug for run in runs if costs.cost(run) is None] == []


def test_table_counts_other_numbers_of_classes() -> None:
    counted = counts_of("plaincnn", 37, 3, 32)
    entry = costs.table()[costs.key("plaincnn", 3, 32)]
    assert entry.body.plus(entry.per_class, 37) == counted


@pytest.mark.slow
def test_table_is_what_is_counted() -> None:
    assert costs.table() == all_entries(), "a model has changed: make costs"


def test_cost_of_a_taught_run_has_its_teachers_forward_passes() -> None:
    teacher = make_run("plaincnn")
    alone, taught = costs.cost(make_run()), costs.cost(make_run(teacher=teacher))
    forward = counts_of("plaincnn", 100, 3, 32).forward
    assert alone is not None
    assert taught is not None
    assert taught.work.flops - alone.work.flops == taught.teaching.flops == 2 * 50_000 * forward
