"""Hints. Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015.

arXiv 1412.6550, section 2.2. As released in RepDistiller at b84f547, `distiller_zoo/FitNet.py` and `ConvReg`
of `models/util.py`: the hint is taught together with the classes, not before them; the mean of squares, not
half their sum.
"""

from torch import Tensor, nn
from torch.nn.functional import mse_loss

from kdbench.models.output import Output
from kdbench.training.distillers.distiller import Setting, Weighted


class FitNet(Weighted):
    """H(q, p) + β mean (r(f_l) - f^t_l)², r a trained convolution with norm and ReLU, l = `layer`, from 0."""

    def __init__(self, setting: Setting, *, beta: float, layer: float) -> None:
        super().__init__(setting, beta=beta)
        self.layer = int(layer)
        ins, outs = setting.student.maps[self.layer].shape, setting.teacher.maps[self.layer].shape
        self.regressor = nn.Sequential(
            resizing(ins[1], outs[1], ins[2], outs[2]), nn.BatchNorm2d(outs[1]), nn.ReLU(inplace=True)
        )

    def term(self, s: Output, t: Output) -> Tensor:
        """The mean over images, channels and pixels."""
        return mse_loss(self.regressor(s.maps[self.layer]), t.maps[self.layer])


def resizing(ins: int, outs: int, side: int, wanted: int) -> nn.Module:
    """A convolution from maps of one side to maps of another.

    Raises:
        ValueError: the wanted side is larger, and not twice as large.
    """
    if side == 2 * wanted:
        return nn.Conv2d(ins, outs, 3, stride=2, padding=1)
    if 2 * side == wanted:
        return nn.ConvTranspose2d(ins, outs, 4, stride=2, padding=1)
    if side < wanted:
        raise ValueError(f"no hint from maps of {side} pixels to maps of {wanted}")
    return nn.Conv2d(ins, outs, 1 + side - wanted)
