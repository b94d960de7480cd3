"""`kdbench new suite NAME`: a commented suite of some students, teachers and methods, which loads."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import json

from kdbench import catalog
from kdbench.errors import UserError
from kdbench.quantities import Range, interval
from kdbench.store.files import write
from kdbench.suite.load import read_suite

USUAL = {"alpha": 0.9, "tau": 4, "T": 4}
"""What a parameter begins with where its method, another package's, has no starting value for it."""

HEAD = """\
# %(name)s. One line of `rows` is one run for each seed; docs/suites.md has all keys.
[suite]
paper   = %(paper)s
dataset = %(dataset)s
seeds   = 3                   # runs of each row: seeds 0, 1 and 2

[recipe]                      # how every student is trained, whatever teaches it: put the paper's in
%(recipe)s
# Where numbers are printed, add them to their rows (top1 = 71.05, std = 0.16, gain = 2.67) and say how many
# percentage points a reproduction may be off:
# [tolerance]
# top1 = 0.5
# gain = 0.5
"""
SMALL = """\
epochs       = 30
batch_size   = 32
lr           = 0.1
milestones   = [20, 26]       # after these epochs the lr is multiplied by gamma
gamma        = 0.2
momentum     = 0.9
weight_decay = 5e-4
"""
LARGE = """\
epochs       = 200
batch_size   = 128
lr           = 0.1
milestones   = [60, 120, 160] # after these epochs the lr is multiplied by gamma
gamma        = 0.2
momentum     = 0.9
weight_decay = 5e-4
crop         = 4              # zero padding before a random crop, in pixels
flip         = true
"""
VARIED = """\
size         = 224            # of the images that the networks see
resized_crop = true
resize       = 256
"""


def write_suite(
    name: str,
    folder: Path,
    paper: str,
    dataset: str,
    students: Sequence[str],
    teachers: Sequence[str],
    methods: Sequence[str],
) -> Path:
    """Write a suite; nothing is written unless it loads.

    Args:
        name: the file's stem.
        folder: where it is written.
        paper: a line of text.
        dataset: a data set of the catalog.
        students: models, each with a row for each method and, where that has one, for each teacher.
        teachers: models, trained by plain cross-entropy like the students' baselines.
        methods: losses; `ce` stands in any case.

    Returns:
        The file.

    Raises:
        UserError: the file is there already, or a name is unknown, or anything else would not load.
    """
    path = folder / f"{name}.toml"
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,63}", name):
        raise UserError(f"{name!r:.80}: a suite's name has letters, digits, _, - and ., as mykd_cifar100")
    if path.exists():
        raise UserError(f"{path} is there already; choose another name, or edit it")
    try:
        found = catalog.find("datasets", dataset)
    except LookupError as error:
        raise UserError(f"--dataset: {error}") from error
    varied = VARIED if found.varied else ""
    recipe = (SMALL if found.size < 32 else LARGE) + varied
    text = HEAD % {
        "name": name,
        "paper": json.encode(paper).decode(),
        "dataset": json.encode(dataset).decode(),
        "recipe": recipe,
    }
    text += "\n".join(_tables(students, teachers, methods))
    read_suite(path, tomllib.loads(text))
    write(path, text.encode())
    return path


def _tables(students: Sequence[str], teachers: Sequence[str], methods: Sequence[str]) -> Iterator[str]:
    """The baselines of all networks, and a table for each method."""
    networks = dict.fromkeys((*students, *teachers))
    yield "\n# What gains are measured over, and the teachers."
    yield from _table("ce", "", [_row(network) for network in networks])
    for method in dict.fromkeys(methods):
        if method == "ce":
            continue
        try:
            entry = catalog.find("losses", method)
        except LookupError as error:
            raise UserError(f"--methods: {error}") from error
        if entry.teacher and not teachers:
            raise UserError(f"--methods: {method} needs a teacher; give --teachers")
        values = {name: _value(name, each) for name, each in entry.ranges.items()}
        values.update(entry.starting_values)
        params = "".join(f", {name} = {value:g}" for name, value in values.items())
        rows = [_row(student) for student in students]
        if entry.teacher:
            rows = [_row(student, teacher) for student in students for teacher in teachers]
        yield from _table(method, params, rows)


def _table(method: str, params: str, rows: Sequence[str]) -> Iterator[str]:
    yield "[[table]]"
    yield f'id   = "1.{"baseline" if method == "ce" else method}"'
    yield f'loss = {{ name = "{method}"{params} }}'
    yield "rows = ["
    yield from rows
    yield "]\n"


def _row(student: str, teacher: str = "") -> str:
    if not teacher:
        return f'  {{ student = "{student}" }},'
    name = "self" if teacher == student else teacher
    return f'  {{ student = "{student}", teacher = "{name}" }},'


def _value(name: str, range_: Range) -> float:
    """The usual value of a parameter of this name, else one inside of what can be meant."""
    if name in USUAL and USUAL[name] in interval(range_.valid):
        return USUAL[name]
    inside = interval(range_.usual or range_.valid)
    return next((each for each in (0.1, 1.0, 0.5) if each in inside), inside.low)
