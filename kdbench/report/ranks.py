"""A plot of average ranks with their critical difference (Demšar 2006, Figure 1), drawn by matplotlib."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from kdbench.formatting import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kdbench.verdict.methods import Ranking

INK, SOFT = "#1d1f23", "#5d636d"


def draw_ranks(ranking: Ranking, title: str, kind: str) -> bytes:
    """The plot as `svg` or `png`; the same ranks give the same bytes.

    Ranks run from right (1, the best) to left; each method has a line to its name, the better half on the
    right. Thick bars join methods that are not told apart.
    """
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "kdbench", "font.size": 9.0, "text.parse_math": False}):
        return encoded(_figure(ranking, title), kind)


def encoded(figure: Figure, kind: str) -> bytes:
    """A figure as `svg` or `png`, without the date at which it is drawn."""
    stream = BytesIO()
    figure.savefig(stream, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else {})
    return stream.getvalue()


def _figure(ranking: Ranking, title: str) -> Figure:
    from matplotlib.figure import Figure

    names, k, bars = list(ranking.ranks), len(ranking.ranks), ranking.groups
    half = (k + 1) // 2
    first = 0.5 + 0.3 * len(bars)  # the height of the first name, below the bars
    depth = first + 0.5 * half
    figure = Figure(figsize=(7.5, 0.9 + 0.42 * depth), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(k + 0.35 * k, 1 - 0.35 * k), ylim=(-depth - 0.2, 1.6))
    axes.axis("off")
    axes.plot((1, k), (0, 0), color=INK, linewidth=1)
    for rank in range(1, k + 1):
        axes.plot((rank, rank), (0, 0.14), color=INK, linewidth=1)
        axes.text(rank, 0.24, str(rank), ha="center", va="bottom", color=SOFT, fontsize=8)
    for place, name in enumerate(names):
        right = place < half
        line = place if right else k - 1 - place
        _leader(
            axes, ranking.ranks[name], name, -first - 0.5 * line, edge=0.8 if right else k + 0.2, right=right
        )
    for number, group in enumerate(bars):
        ends = (ranking.ranks[group[0]] - 0.03, ranking.ranks[group[-1]] + 0.03)
        axes.plot(ends, (-0.25 - 0.3 * number,) * 2, color=INK, linewidth=3, solid_capstyle="butt")
    axes.plot((1, 1 + min(ranking.critical, k - 1)), (1.1, 1.1), color=SOFT, linewidth=1.4)
    at = f"critical difference {ranking.critical:.2f} ({100 * ranking.level:g} %, {ranking.pairs} pairs)"
    axes.text(
        1 + min(ranking.critical, k - 1) + 0.05 * k, 1.1, at, ha="right", va="center", color=SOFT, fontsize=8
    )
    if title:
        axes.set_title(clean(title), loc="left", fontsize=10)
    return figure


def _leader(axes: Axes, rank: float, name: str, y: float, *, edge: float, right: bool) -> None:
    """From a rank down and out to the name of its method."""
    axes.plot((rank, rank, edge), (0, y, y), color=SOFT, linewidth=0.8)
    text = f" {clean(name)}  {rank:.2f}" if right else f"{rank:.2f}  {clean(name)} "
    axes.text(edge, y, text, ha="left" if right else "right", va="center", color=INK)
