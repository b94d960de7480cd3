"""Nodes that find each other, for `doctor --on`; here they are processes."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from kdbench.training.meeting import meet

MOMENT = timedelta(seconds=0.5)


def start(place: Path, rank: int) -> "subprocess.Popen[str]":
    """One of two nodes."""
    names = {"SLURM_PROCID": str(rank), "SLURM_NTASKS": "2", "SLURMD_NODENAME": f"n{rank}"}
    command = [sys.executable, "-m", "kdbench.training.meeting", str(place)]
    return subprocess.Popen(command, env={**os.environ, **names}, stdout=subprocess.PIPE, text=True)


def said(node: "subprocess.Popen[str]") -> object:
    return json.loads(node.communicate(timeout=60)[0])


def test_nodes_that_find_each_other_say_so(tmp_path: Path) -> None:
    nodes = [start(tmp_path / "place", rank) for rank in range(2)]
    assert [said(node) for node in nodes] == [
        {"rank": 0, "node": "n0", "met": ["n0", "n1"]},
        {"rank": 1, "node": "n1", "met": ["n0", "n1"]},
    ]


def test_process_that_waited_in_vain_finds_the_next_ones(tmp_path: Path) -> None:
    """A worker does, whose run lost a process before they had met."""
    with pytest.raises(RuntimeError):
        meet(tmp_path / "nobody", 0, 2, "n0", MOMENT)
    other = start(tmp_path / "place", 1)
    assert meet(tmp_path / "place", 0, 2, "n0") == ["n0", "n1"]
    assert said(other) == {"rank": 1, "node": "n1", "met": ["n0", "n1"]}


def test_node_without_a_first_one_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"the first node has not written .*place"):
        meet(tmp_path / "place", 1, 2, "n1", MOMENT)


def test_first_node_does_not_wait_for_ever(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        meet(tmp_path / "place", 0, 2, "n0", MOMENT)


def test_node_that_is_told_of_a_wrong_place_says_so(tmp_path: Path) -> None:
    (tmp_path / "place").write_text('["127.0.0.1", 1]', encoding="utf-8")
    with pytest.raises(RuntimeError):
        meet(tmp_path / "place", 1, 2, "n1", MOMENT)
