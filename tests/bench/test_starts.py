"""The bench of start-up: that it starts what it says; the ratios are for a quiet machine."""

from pathlib import Path

import pytest

from tests.bench.starts import BARS, measured, seconds_to_first_line

pytestmark = pytest.mark.slow


def test_each_command_costs_more_than_a_bare_interpreter() -> None:
    ratios = measured(1)
    assert ratios.keys() == BARS.keys()
    assert min(ratios.values()) > 1


def test_first_sign_of_life_comes_within_two_seconds(tmp_path: Path) -> None:
    """Of CPU, and so before torch is imported, which takes longer: 0.2."""
    seconds, line = seconds_to_first_line("run quickstart", tmp_path)
    assert line.startswith("note: quickstart comes with kdbench")
    assert seconds < 2
