"""The bench of a run's fixed cost: that it trains what it says; the seconds are for a quiet machine."""

from pathlib import Path

import pytest

from tests.bench.fixed import BARS, SETTINGS, fixed_costs, runs_of


def test_runs_are_another_one_each_time() -> None:
    for name in BARS:
        first, second = [run for run, _ in zip(runs_of(name), range(2), strict=False)]
        assert first.id != second.id
        assert second.recipe.epochs == SETTINGS["epochs"]


def test_a_run_of_one_step_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDBENCH_DATA", str(tmp_path / "data"))
    (seconds,) = fixed_costs("digits_kd", 1, tmp_path)
    assert seconds > 0
    assert len(list((tmp_path / "results" / "digits").glob("*.json"))) == 3
