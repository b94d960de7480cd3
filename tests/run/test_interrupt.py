"""Ctrl-C in the middle of a real `kdbench run`, as a person presses it."""

import os
import signal
from pathlib import Path

import pytest

from kdbench.store.records import index, load_result
from tests.support.faults.project import make_suite, start, wait_for


@pytest.mark.slow
def test_interrupted_run_leaves_nothing_half_written_and_goes_on(tmp_path: Path) -> None:
    make_suite(tmp_path)
    process = start(tmp_path)
    wait_for(lambda: list(tmp_path.glob(".kdbench/checkpoints/*/*.safetensors")), process)
    os.killpg(process.pid, signal.SIGINT)
    _, output = process.communicate(timeout=600)
    assert (process.returncode, "the same command goes on" in output) == (130, True), output
    assert index(tmp_path / "results").results == {}
    assert list((tmp_path / "results").rglob("*.part")) == []

    rerun = start(tmp_path)
    _, output = rerun.communicate(timeout=600)
    assert rerun.returncode == 0, output
    [path] = index(tmp_path / "results").results.values()
    assert len(load_result(path).curve.top1) == 60
    assert list(tmp_path.glob(".kdbench/checkpoints/*")) == []
