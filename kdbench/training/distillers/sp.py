"""Similarity-preserving distillation. Tung & Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019.

arXiv 1907.09682, section 3. As released in RepDistiller at b84f547, `distiller_zoo/SP.py`, of the
last map.
"""

from torch import Tensor
from torch.nn.functional import normalize

from kdbench.models.output import Output
from kdbench.training.distillers.distiller import Weighted


class SimilarityPreserving(Weighted):
    """H(q, p) + β / B² ‖G - G^t‖²_F, G = f f' with rows of norm 1, f the last map as rows (B, C H W)."""

    def term(self, s: Output, t: Output) -> Tensor:
        """The mean square over the B x B pairs of images."""
        return (similarity(t.maps[-1]) - similarity(s.maps[-1])).square().mean()


def similarity(f: Tensor) -> Tensor:
    """(B, C, H, W) to (B, B), each row of norm 1."""
    rows = f.flatten(1)
    return normalize(rows @ rows.T)
