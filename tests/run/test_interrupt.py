"""Ctrl-C in the middle of a real `kdbench run`, as a person presses it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdbench.store.records import index, load_result

SUITE = """
[suite]
paper = "A paper"
dataset = "digits"

[tolerance]
top1 = 1
gain = 1

[recipe]
epochs = 60
batch_size = 32
lr = 0.1
train_size = 200

[[table]]
id = "1"
loss = { name = "ce" }
rows = [{ student = "digits_cnn" }]
"""


# A shell that starts something in the background lets it ignore Ctrl-C, and its children inherit that.
LISTENING = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from kdbench.cli import main; main()"
)


def start(folder: Path) -> subprocess.Popen[str]:
    """`kdbench run` in a process group of its own, as a terminal starts it."""
    command = [sys.executable, "-c", LISTENING, "run", "suite", "--jobs", "1"]
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not list(folder.glob(".kdbench/checkpoints/*/*.safetensors")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no checkpoint within two minutes"
        time.sleep(0.02)


@pytest.mark.slow
def test_interrupted_run_leaves_nothing_half_written_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text(SUITE, encoding="utf-8")
    (tmp_path / "benchmark.toml").write_text("[local]\ncheckpoint_seconds = 0\n", encoding="utf-8")
    process = start(tmp_path)
    wait_for_checkpoint(tmp_path, process)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, "the same command goes on" in said) == (130, True), said
    assert index(tmp_path / "results").results == {}
    assert list((tmp_path / "results").rglob("*.part")) == []

    rerun = start(tmp_path)
    _, said = rerun.communicate(timeout=120)
    assert rerun.returncode == 0, said
    [path] = index(tmp_path / "results").results.values()
    assert len(load_result(path).curve.top1) == 60
    assert list(tmp_path.glob(".kdbench/checkpoints/*")) == []
