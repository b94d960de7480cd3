"""What torchrun's variables say of this process."""

import pytest

from kdbench.errors import UserError
from kdbench.workers.launch import Launched, launched

VARIABLES = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_PORT": "29500",
}


def test_launched_is_what_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched() is None
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert launched() is None
    monkeypatch.setenv("MASTER_ADDR", "n1")
    assert launched() == Launched(rank=5, world_size=8, local_rank=1, local_world_size=4)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert launched() is None
    monkeypatch.setenv("WORLD_SIZE", "all")
    with pytest.raises(UserError, match="WORLD_SIZE='all' in the environment: torchrun sets a number"):
        launched()
