"""A project as large as kdbench is made for."""

from pathlib import Path

import msgspec

from kdbench.plan.expand import expand
from kdbench.suite.load import load_suite
from tests.support.build import make_result
from tests.support.project import make_project

HEAD = """\
[suite]
paper = "A large paper"
dataset = "digits"
seeds = 3
[tolerance]
top1 = 0.5
gain = 0.5
[recipe]
epochs = 3
batch_size = 32
lr = 0.1
[[table]]
id = "1.base"
loss = { name = "ce" }
rows = [{ student = "digits_mlp", top1 = 90.0 }, { student = "digits_cnn", top1 = 95.0 }]
"""


def large_project(folder: Path, rows: int) -> Path:
    """A suite of so many rows in tables of 100, with a result for each seed of each."""
    folder.mkdir()
    tables = [
        f'[[table]]\nid = "{table}.kd"\nloss = {{ name = "kd", alpha = 0.9, tau = {table} }}\nrows = [\n'
        + "".join(
            f'  {{ student = "digits_mlp", teacher = "digits_cnn@{1 + row % 3}",'
            f" loss = {{ alpha = 0.{row:02d}1 }}"
            f", report_epoch = {1 + row // 3}, recipe = {{ epochs = 40 }}, top1 = 91.0, gain = 1.0 }},\n"
            for row in range(min(100, rows - 100 * (table - 2)))
        )
        + "]\n"
        for table in range(2, 2 + -(-rows // 100))
    ]
    path = make_project(folder, HEAD + "".join(tables))
    cells = expand(load_suite(path))
    whole, into = make_result(cells[0].runs[0], 89.0, 90.0, 91.0), folder / "results" / "digits"
    into.mkdir(parents=True)
    for cell in cells:
        for run, name in zip(cell.runs, cell.ids, strict=True):
            epochs = run.recipe.epochs
            curve = make_result(run, *[90.0] * (epochs - 1), 91.0).curve if epochs != 3 else whole.curve
            result = msgspec.structs.replace(whole, id=name, run=run, curve=curve, best_epoch=epochs)
            (into / f"{run.slug}.s{run.seed}.{name}.json").write_bytes(msgspec.json.encode(result))
    return path
