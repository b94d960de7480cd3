"""One setting of each distiller, outputs to try it on, and what it is built of."""

import torch
from torch import Tensor, nn

from kdbench import catalog
from kdbench.models.output import Output
from kdbench.spec.runs import Loss
from kdbench.training.distillers.distiller import Setting, Step

SETTINGS = {
    "dkd": {"alpha": 1.0, "beta": 2.0, "tau": 4.0, "warmup": 2.0},
    "dkd_ls": {"alpha": 1.0, "beta": 2.0, "tau": 2.0, "warmup": 2.0},
    "ctkd": {"alpha": 0.9, "multiplier": 1.0, "T_0": 1.0, "R": 20.0, "curriculum": 2.0},
    "ctkd_ls": {"alpha": 0.9, "multiplier": 10.0, "T_0": 2.0, "R": 40.0, "curriculum": 2.0},
    "fitnet": {"beta": 10.0, "layer": 1.0},
    "at": {"beta": 100.0},
    "sp": {"beta": 300.0},
    "cc": {"beta": 0.02, "dim": 8.0},
    "vid": {"beta": 1.0},
    "rkd": {"beta": 1.0, "w_d": 25.0, "w_a": 50.0},
    "pkt": {"beta": 1000.0},
    "nst": {"beta": 50.0},
    "crd": {"beta": 0.8, "dim": 8.0, "negatives": 20.0, "T": 0.07, "momentum": 0.5},
    "crd_kd": {
        "alpha": 1.0, "tau": 4.0, "beta": 0.8, "dim": 8.0, "negatives": 20.0, "T": 0.07, "momentum": 0.5,
    },
}  # fmt: skip
LOSSES = [Loss(name, params) for name, params in SETTINGS.items()]
IMAGES, CLASSES = 12, 3


def output(seed: int, width: int, images: int = 6) -> Output:
    """Logits (B, 3), features (B, width) and three maps, of double precision."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(images, *shape, generator=generator, dtype=torch.float64)

    maps = tuple(draw(width, side, side).abs() for side in (8, 4, 2))
    return Output(draw(CLASSES), draw(width).abs(), maps=maps)


def built(name: str, student: int = 4, teacher: int = 5) -> nn.Module:
    """A distiller for networks of these widths, in double precision."""
    labels = torch.arange(IMAGES) % CLASSES
    setting = Setting(output(0, student, 1), output(1, teacher, 1), labels, CLASSES)
    torch.manual_seed(0)
    distiller: nn.Module = catalog.load(catalog.DISTILLERS[name].code)(setting, **SETTINGS[name])
    return distiller.double()


def step(images: int = 6, epoch: int = 1, number: int = 0) -> Step:
    """The first images of the data set."""
    return Step(torch.arange(images), epoch, number, 0)
