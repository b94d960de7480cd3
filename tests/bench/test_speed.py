"""Step and data path, tracked: `make bench`. Their ratio to the usual way is held against an accepted one.

A ratio, so that machines do not matter; CPU seconds, so that what else they do matters little. `make
bench-accept` writes results/bench/accepted.json anew.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import process_time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kdbench.machine import Local, Machine
from tests.bench import ratios
from tests.support.places import ROOT

ACCEPTED = ROOT / "results" / "bench" / "accepted.json"
LOSS = 0.15
"""How much of the accepted ratio may be lost."""
ROUNDS = 5
TRACKED = [
    case for case in ratios.CASES if case.name in {"views", "step_shufflenetv2", "cached_shufflenetv2"}
]


@pytest.fixture(scope="module")
def context() -> Iterator[object]:
    from tests.bench import sides

    with sides.context_of(Machine(root=str(ROOT), local=Local(device="cpu"))) as opened:
        yield opened


@pytest.mark.real
@pytest.mark.parametrize("case", TRACKED, ids=[case.name for case in TRACKED])
@pytest.mark.benchmark(timer=process_time)
def test_speed_is_that_of_the_last_accepted_run(
    case: ratios.Case, benchmark: BenchmarkFixture, request: pytest.FixtureRequest
) -> None:
    if not benchmark.enabled:
        pytest.skip("a measurement: make bench")
    from tests.bench import sides

    context, runs, usual = request.getfixturevalue("context"), ratios.runs_of(case), []
    ours, theirs = (getattr(sides, f"{side}_{case.sort}")(runs, context) for side in ("ours", "usual"))

    def take_turns() -> None:
        started = process_time()
        theirs()
        usual.append(process_time() - started)

    benchmark.pedantic(ours, setup=take_turns, rounds=ROUNDS, warmup_rounds=1)  # type: ignore[no-untyped-call]
    assert benchmark.stats is not None
    ratio = median(usual[1:]) / benchmark.stats.stats.median
    benchmark.extra_info.update(usual=median(usual[1:]), ratio=ratio)
    if request.config.getoption("--accept", default=False):
        accept(ACCEPTED, case.name, ratio)
    assert ratio >= least(ACCEPTED, case.name), f"{ratio:.2f} times the usual way; accepted: {ACCEPTED}"


def least(file: Path, name: str) -> float:
    """The smallest ratio that is no regression."""
    return (1 - LOSS) * float(json.loads(file.read_text(encoding="utf-8"))[name])


def accept(file: Path, name: str, ratio: float) -> None:
    """Hold later runs against this one."""
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**before, name: round(ratio, 2)}, indent=1) + "\n", encoding="utf-8")


def test_regression_is_a_ratio_below_85_percent_of_the_accepted_one(tmp_path: Path) -> None:
    accept(tmp_path / "accepted.json", "views", 20.0)
    accept(tmp_path / "accepted.json", "step", 2.0)
    assert least(tmp_path / "accepted.json", "views") == pytest.approx(17)


def test_every_tracked_case_has_an_accepted_ratio() -> None:
    assert json.loads(ACCEPTED.read_text(encoding="utf-8")).keys() == {case.name for case in TRACKED}
