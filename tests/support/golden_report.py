"""The golden reports: tests/golden/report holds a project of made-up results, and what is reported of it.

`make golden` (python -m tests.support.golden_report) makes all of it again; what changed is for a
person to read.
"""

import os
import re
from collections.abc import Mapping
from contextlib import chdir
from math import exp
from pathlib import Path
from shutil import rmtree

from msgspec.structs import replace

from kdbench.plan.expand import expand
from kdbench.plan.selection import Selection
from kdbench.report import gather
from kdbench.report.formats import write_out
from kdbench.spec.results import Failure
from kdbench.spec.runs import Run
from kdbench.store.records import save_failure, save_result
from kdbench.suite.load import load_suite
from kdbench.verdict import judge
from tests.support.build import make_result
from tests.support.places import GOLDEN

FOLDER = GOLDEN / "report"
SUITE = "suites/golden"
REPORTS = {"markdown": "golden.md", "html": "golden.html", "junit": "golden.xml"}
DAMAGED = -1.0
FINAL: Mapping[str, tuple[float | None, ...]] = {
    "1.base/digits_mlp": (90.1, 89.9, 90.0),  # reproduced
    "1.base/digits_cnn": (95.3, 94.8, None),  # consistent, and a seed failed
    "1.kd/digits_mlp:digits_cnn": (93.5, 93.4, None),  # above
    "1.kd/digits_cnn:digits_mlp": (95.6, 95.4, 95.5),  # below
    "1.kd/digits_mlp:digits_mlp@2": (91.1, 93.0, 90.9),  # inconclusive
    "1.kd/digits_mlp:digits_mlp@3": (None,),  # failed
    "1.kd/digits_mlp:digits_cnn@4": (92.0,),  # single seed, outside
    "1.kd/digits_mlp:digits_cnn@5": (DAMAGED,),  # unreadable
    "1.kd/digits_cnn:self": (),  # blocked: a run of digits_cnn failed
    "2/digits_mlp": (),  # pending
    "2/digits_cnn": (95.2, 95.4),  # no reference
}
"""The last accuracy of each seed; None: the run failed. Rows without a number were not run.
A record that is `DAMAGED` is cut.
"""
CAUSE = "RuntimeError: loss is NaN at step `3` | <b>lr</b> 0.1"


def make_results(folder: Path) -> None:
    """The made-up records, in place of those there are."""
    rmtree(folder / "results", ignore_errors=True)
    for cell in expand(load_suite(folder / f"{SUITE}.toml")):
        for run, final in zip(cell.runs, FINAL.get(cell.row.name, ()), strict=False):
            _save(folder / "results", run, final)


def _save(folder: Path, run: Run, final: float | None) -> None:
    if final is None:
        save_failure(folder, Failure(id=run.id, run=run, cause=CAUSE, log="logs/a.txt"))
        return
    if final == DAMAGED:
        save_result(folder, make_result(run, *[90.0] * run.recipe.epochs)).write_text("{", encoding="utf-8")
        return
    climb = [round(final - 60 * exp(-epoch) + 0.1 * (epoch % 3), 2) for epoch in range(1, run.recipe.epochs)]
    result = make_result(run, *climb, final)
    save_result(folder, replace(result, seconds=1.5, environment={"torch": "2.6.0", "device": "cpu"}))


def reports(folder: Path) -> dict[str, str]:
    """What kdbench reports of a project, in the formats that are golden; HTML without style and script."""
    with chdir(folder):
        made = gather.gather(judge.judge(Selection(suites=(SUITE,))))
    texts = {kind: write_out(made, kind) for kind in REPORTS}
    return {**texts, "html": normalised(texts["html"])}


def normalised(page: str) -> str:
    """A page as it differs for a reason: style and script stand in files of their own; a tag per line."""
    bare = re.sub(r"<(style|script)>.*?</\1>", r"<\1></\1>", page, flags=re.DOTALL)
    lines = (" ".join(line.split()) for line in bare.replace("<", "\n<").splitlines())
    return "\n".join(filter(None, lines)) + "\n"


def main() -> None:
    """Write the records, then the reports."""
    make_results(FOLDER)
    for kind, text in reports(FOLDER).items():
        (FOLDER / REPORTS[kind]).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    os.environ.pop("KDBENCH_DATA", None)
    main()
