"""The bench of start-up: that it starts what it says; the ratios are for a quiet machine."""

from tests.bench.starts import BARS, measured


def test_each_command_costs_more_than_a_bare_interpreter() -> None:
    ratios = measured(1)
    assert ratios.keys() == BARS.keys()
    assert min(ratios.values()) > 1
