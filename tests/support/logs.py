"""Training logs as other programs write them, made of numbers."""

from collections.abc import Sequence
from pathlib import Path

import pytest

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


def write_events(folder: Path, *points: tuple[int, float], suffix: str = "") -> None:
    """An event file of TensorBoard in a folder, with the scalars of `test_acc`: their steps and values."""
    event_pb2 = pytest.importorskip("tensorboard.compat.proto.event_pb2", reason="needs kdbench[tensorboard]")
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder), filename_suffix=suffix)
    for step, value in points:
        summary = Summary(value=[Summary.Value(tag="test_acc", simple_value=value)])
        writer.add_event(event_pb2.Event(step=step, wall_time=step, summary=summary))
    writer.close()
