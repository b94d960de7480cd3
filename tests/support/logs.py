"""Training logs as other programs write them, made of numbers."""

from collections.abc import Sequence
from pathlib import Path

DASHES = "-" * 25 + "\n"


def worklog(*runs: Sequence[float], ended: bool = True) -> str:
    """mdistiller's `worklog.txt`: after `best_acc` there is no line break, as appended runs show."""
    text = ""
    for top1 in runs:
        for epoch, value in enumerate(top1, 1):
            text += f"{DASHES}epoch: {epoch}\nlr: 0.05\ntrain_acc: 99.00\ntest_acc: {value:.2f}\n{DASHES}"
        text += f"best_acc\t{max(top1):.2f}" if ended else ""
    return text


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path
