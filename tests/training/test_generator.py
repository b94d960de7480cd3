"""Torch's own generator, and seeds of it."""

import torch

from kdbench.training.generator import seed_torch


def test_seeded_generator_draws_what_torchs_own_would() -> None:
    seed_torch(2**63 + 5)
    drawn = torch.rand(3)
    torch.manual_seed(2**63 + 5)
    assert torch.equal(drawn, torch.rand(3))
