"""`kdbench run` as torchrun starts it: one run in several ranks."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kdbench.store.records import index, load_result
from tests.support.command import Command

FEW = ("run", "suites/small", "--rows", "1.base/digits_mlp", "--seeds", "0", "--set", "epochs=2")


def torchrun(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Two processes of a command, on two nodes that are both this machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    common = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    found = ["--rdzv-backend", "c10d", "--rdzv-id", folder.name, "--rdzv-endpoint", f"127.0.0.1:{port}"]
    whole = [*common, *found, "-m", "kdbench", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(whole, cwd=folder, env=environment, stderr=subprocess.DEVNULL) as other:
        done = subprocess.run(
            whole, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        other.wait()
    return done


@pytest.mark.slow
def test_processes_of_torchrun_share_a_run_as_those_of_kdbench(
    kdbench: Command, project: Path, tmp_path: Path
) -> None:
    two = ("--set", "ghost_batches=2", "--json")
    assert torchrun(project, *FEW, *two).returncode == 0
    (path,) = index(project / "results").results.values()
    there = load_result(path)
    assert there.environment["processes"] == 2
    path.rename(tmp_path / "there.json")
    done = kdbench(*FEW, *two, "--processes", "2")
    assert done.code == 0, done.err
    (path,) = index(project / "results").results.values()
    here = load_result(path)
    assert (there.id, there.curve.top1, there.weights) == (here.id, here.curve.top1, here.weights)
