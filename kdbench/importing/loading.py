"""Tensors by name -> a network of the catalog that holds them."""

from pathlib import Path

import torch
from torch import Tensor, nn

from kdbench import catalog
from kdbench.errors import UserError
from kdbench.models.build import build_network

COUNTERS = "num_batches_tracked"
"""PyTorch's batch norms count their steps; no number depends on it."""


def load(tensors: dict[str, Tensor], model: str, dataset: catalog.DatasetEntry, path: Path) -> nn.Module:
    """Build a model with as many outputs as the tensors have, and fill it.

    Raises:
        UserError: the tensors are not those of the model, or have fewer outputs than there are classes.
    """
    heads = [name for name in tensors if name.startswith("classifier.") and name.endswith("weight")]
    if not heads or not tensors[heads[-1]].ndim:
        raise UserError(
            f"{path}: no weights for {model}: there is no classifier.weight among {_some(tensors)}"
        )
    classes = len(tensors[heads[-1]])
    if classes < dataset.classes:
        raise UserError(
            f"{path}: its classifier has {classes} outputs; the data set has {dataset.classes} classes"
        )
    network = build_network(model, classes, dataset.channels)
    wanted = {name: each for name, each in network.state_dict().items() if not name.endswith(COUNTERS)}
    given = {name: each for name, each in tensors.items() if not name.endswith(COUNTERS)}
    if problems := mismatches(wanted, given):
        raise UserError(*(f"{path}: no weights for {model}: {problem}" for problem in problems))
    network.load_state_dict({name: each.to(torch.float32) for name, each in given.items()}, strict=False)
    return network.eval().requires_grad_(requires_grad=False)


def mismatches(wanted: dict[str, Tensor], given: dict[str, Tensor]) -> list[str]:
    """What is missing, what is too much, what has another shape: a sentence for each."""
    problems = []
    if missing := [name for name in wanted if name not in given]:
        problems.append(f"{len(missing)} of its tensors are missing: {_some(missing)}")
    if extra := [name for name in given if name not in wanted]:
        problems.append(f"{len(extra)} tensors are not its own: {_some(extra)}")
    shapes = [
        f"{name} has the shape {tuple(given[name].shape)}, not {tuple(each.shape)}"
        for name, each in wanted.items()
        if name in given and given[name].shape != each.shape
    ]
    return problems + shapes[:10]


def _entry(model: str) -> catalog.ModelEntry:
    try:
        return catalog.find("models", model)
    except LookupError as error:
        raise UserError(str(error.args[0])) from error


def _some(names: "dict[str, Tensor] | list[str]") -> str:
    first = list(names)[:4]
    return ", ".join(f"{name:.80}" for name in first) + (", ..." if len(names) > len(first) else "")
