"""`pytest tests/bench --accept`: what is measured is what later runs are held against."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known where tests/bench is named on the command line."""
    parser.addoption("--accept", action="store_true", help="write results/bench/accepted.json anew")


def pytest_benchmark_update_machine_info(machine_info: dict[str, object]) -> None:
    """What is kept names the processor, not the host."""
    machine_info.pop("node", None)
