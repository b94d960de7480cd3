"""Names of weights in another framework -> names of kdbench's networks."""

import re

from torch import Tensor

from kdbench.errors import UserError
from kdbench.importing.files import Weights

GLUON_MODELS = ("resnet20_v2", "resnet56_v2", "resnet110_v2")
"""The networks whose names in Gluon are known."""

_GLUON = re.compile(
    r"(?:\w*?_)?(?:stage(?P<stage>[123])_)?(?P<layer>batchnorm|conv|dense)(?P<at>\d{1,4})_"
    r"(?P<part>gamma|beta|weight|bias|running_mean|running_var)"
)
_PARTS = {"gamma": "weight", "beta": "bias"}
_OUTSIDE = {"batchnorm0": "body.0", "conv0": "body.1", "batchnorm1": "body.5", "dense0": "classifier"}
_FIXED = {"body.0.weight": 1.0, "body.0.bias": 0.0}
"""Gluon stores the scale and shift of a batch norm that has none."""


def translate(weights: Weights, model: str) -> dict[str, Tensor]:
    """The tensors of a file under the names of a model of kdbench.

    Raises:
        UserError: the model's names in this format are not known, or a constant is not what it must be.
    """
    if weights.format != "mxnet":
        return weights.tensors
    if model not in GLUON_MODELS:
        raise UserError(
            f"{weights.file}: the names of MXNet's layers are known for {', '.join(GLUON_MODELS)}, not for "
            f"{model!r}; save the weights as safetensors under the names of kdbench's network"
        )
    named = {_from_gluon(name): value for name, value in weights.tensors.items()}
    for name, constant in _FIXED.items():
        if name in named and not (named.pop(name) == constant).all():
            raise UserError(
                f"{weights.file}: the first batch norm has no scale and shift, but {name} is not {constant}"
            )
    return named


def _from_gluon(name: str) -> str:
    """A name in Gluon's CIFAR ResNet-v2 -> ours; any other name stays as it is, and fits nowhere."""
    found = _GLUON.fullmatch(name)
    if found is None:
        return name
    layer = found["layer"]
    at = int(found["at"])
    part = _PARTS.get(found["part"], found["part"])
    if found["stage"] is None:
        place = _OUTSIDE.get(f"{layer}{at}")
        return f"{place}.{part}" if place else name
    stage = int(found["stage"])
    return f"body.{1 + stage}.{_in_stage(layer, at, stage)}.{part}"


def _in_stage(layer: str, at: int, stage: int) -> str:
    """A layer's place in its stage, where layers are numbered as they are made.

    In a stage that changes the shape the third convolution is the first block's shortcut.
    """
    if layer == "conv" and stage > 1:
        # Of conv0 conv1 conv2 conv3 ... the first two are the first block's, and the third is its shortcut.
        if at == 2:
            return "0.shortcut.0"
        at -= at > 2
    block, second = divmod(at, 2)
    return f"{block}.branch.{3 * second + (2 if layer == 'conv' else 0)}"
