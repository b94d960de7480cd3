"""The ranks of a run: how their processes end."""

import os
import socket
import subprocess
import sys

import pytest

ENDS = """
import atexit
import torch

atexit.register(lambda: print("joined" if torch.distributed.is_initialized() else "let go"))

from kdbench.training.group import join
from kdbench.workers.launch import launched

group = join(launched(), torch.device("cpu"))
print(group.rank, group.size, torch.distributed.is_initialized())
"""


@pytest.mark.slow
def test_process_lets_go_of_the_other_ranks_before_it_ends() -> None:
    """Else gloo's threads may outlive the interpreter, which aborts the process after all is done."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = []
    for rank in ("0", "1"):
        environment = {**os.environ, **found, "RANK": rank, "LOCAL_RANK": rank}
        ranks.append(
            subprocess.Popen([sys.executable, "-c", ENDS], env=environment, stdout=subprocess.PIPE, text=True)
        )
    out = [process.communicate()[0].splitlines() for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0]
    assert out == [["0 2 True", "let go"], ["1 2 True", "let go"]]
