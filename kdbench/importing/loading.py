"""Tensors by name -> networks of the catalog that hold them."""

from collections.abc import Iterator
from pathlib import Path

import torch
from msgspec import Struct
from torch import Tensor, nn

from kdbench import catalog
from kdbench.errors import UserError
from kdbench.importing.matching import (
    IGNORED,
    Layers,
    Names,
    differences,
    in_natural_order,
    layers_of,
    mapped,
    matchings,
    outputs_of,
    read_map,
)
from kdbench.models.build import build_network


class Filled(Struct, frozen=True):
    """A network that holds a file's weights."""

    network: nn.Module
    how: str
    """How its layers were found under other names; "": the names are its own."""


def load(
    tensors: dict[str, Tensor],
    model: str,
    dataset: catalog.DatasetEntry,
    path: Path,
    *,
    ordered: bool = True,
    map_file: Path | None = None,
) -> list[Filled]:
    """Networks with as many outputs as the tensors have, filled: one for each way in which they fit.

    Args:
        tensors: by the names of the file.
        model: of the catalog.
        dataset: whose classes it is to know.
        path: the file, for messages.
        ordered: whether the tensors stand in the order of their network.
        map_file: a person's map of names, theirs = ours.

    Raises:
        UserError: the tensors are not those of the model, or have fewer outputs than there are classes.
    """
    tensors = {name: each for name, each in tensors.items() if name.rpartition(".")[2] not in IGNORED}
    given = layers_of(tensors)
    given = given if ordered else in_natural_order(given)
    # A teacher may have more outputs than the data set has classes: the network is built with as many.
    classes = outputs_of(given, _wanted(model, dataset.classes, dataset.channels)) or dataset.classes
    if classes < dataset.classes:
        raise UserError(
            f"{path}: its classifier has {classes} outputs; the data set has {dataset.classes} classes"
        )
    wanted = _wanted(model, classes, dataset.channels)
    if map_file is not None:
        ways = [mapped(read_map(map_file), map_file, given, wanted)]
    else:
        ways = matchings(given, wanted) or _of_one_part(given, wanted, path)
    if not ways:
        problems = differences(given, wanted)
        raise UserError(*(f"{path}: no weights for {model}: {problem}" for problem in problems))
    found = []
    for way in ways:
        network = build_network(model, classes, dataset.channels)
        network.load_state_dict(dict(_renamed(tensors, way)), strict=False)
        network.eval().requires_grad_(requires_grad=False)
        found.append(Filled(network, _how(way, given, map_file)))
    return found


def _wanted(model: str, classes: int, channels: int) -> Layers:
    # Nothing is drawn on the device "meta"; what another package does there is not known.
    device = "cpu" if catalog.package_of("models", model) else "meta"
    with torch.device(device):
        return layers_of(build_network(model, classes, channels).state_dict())


def _of_one_part(given: Layers, wanted: Layers, path: Path) -> list[Names]:
    """The ways in which one of several networks of a file fits: of `student.*` beside `teacher.*`.

    Raises:
        UserError: several of them do.
    """
    fitting = {}
    for part in dict.fromkeys(name.partition(".")[0] for name in given):
        inside = {name: shapes for name, shapes in given.items() if name.startswith(f"{part}.")}
        if len(inside) < len(given) and (ways := matchings(inside, wanted)):
            fitting[part] = ways
    if len(fitting) > 1:
        raise UserError(
            f"{path}: holds several networks that fit: {', '.join(fitting)}; save the one that is meant alone"
        )
    return next(iter(fitting.values()), [])


def _how(way: Names, given: Layers, map_file: Path | None) -> str:
    others = sum(theirs != ours for theirs, ours in way.items())
    if map_file is not None:
        return f"{len(way)} layers by the names in {map_file.name}"
    if not others and len(way) == len(given):
        return ""
    left = f"; {len(given) - len(way)} are of other networks" if len(way) < len(given) else ""
    return f"{others} of {len(way)} layers have other names, found by order and shape{left}"


def _renamed(tensors: dict[str, Tensor], way: Names) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".")
        if layer in way:
            yield f"{way[layer]}.{part}", tensor.to(torch.float32)
