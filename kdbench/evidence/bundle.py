"""An evidence bundle: all that is needed to judge a suite's numbers again without data, GPU or torch.

A zip of

    manifest.json               the selection, versions, and the sha256 of every other file
    suites/NAME.toml            the suite, as it stands
    results/DATASET/*.json      the records, byte for byte
    results/author_runs/*.json  what the authors published of their own runs, by suite
    results/released_weights/*  what released weights gave when kdbench evaluated them
    predictions/ID/*.classes    what each run predicted, and the true classes (`kdbench.store.predictions`)
    verdicts.json               what `kdbench check --json` says of it

The same state makes the same bytes.
"""

import zipfile
from collections.abc import Iterator, Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.machine import load_machine
from kdbench.plan.plugin_runs import packages
from kdbench.plan.selection import Selection, Suites
from kdbench.plugins import Plugin
from kdbench.spec.runs import PROTOCOL, Precision
from kdbench.spec.suites import Variant
from kdbench.spec.verdicts import Check
from kdbench.store.author_runs import author_runs_file
from kdbench.store.compact import folder_of
from kdbench.store.json_files import as_json
from kdbench.store.outputs import write_output
from kdbench.store.predictions import predictions_file
from kdbench.store.records import Index, content_of, index, load_result
from kdbench.store.released import evaluation_of, load_evaluations
from kdbench.suite.load import find_file
from kdbench.verdict.judge import beside_authors, check_cells
from kdbench.verdict.sequential import files_of, load_plans
from kdbench.version import __version__

FORMAT = 1
"""The version of the bundle's form."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every member: the same state makes the same bytes."""


class Manifest(Struct, frozen=True, kw_only=True):
    """What a bundle is."""

    format: int
    kdbench: str
    protocol: int
    suites: tuple[str, ...]
    """The members that hold them."""
    rows: str
    seeds: tuple[int, ...] | None
    variant: Variant
    formula: str = ""
    part: tuple[int, int]
    settings: dict[str, Any]
    smoke: bool
    precision: Precision = "float32"
    plugins: tuple[Plugin, ...] = ()
    """Packages other than kdbench whose code stands behind the runs."""
    files: dict[str, str]
    """The sha256 of every other member."""

    def selection(self, folder: Path) -> Selection:
        """The same rows, of the suites below a folder."""
        suites = tuple(str(folder / name) for name in self.suites)
        return Selection(suites=suites, **{name: getattr(self, name) for name in _CHOOSING})


_CHOOSING = ("rows", "seeds", "variant", "formula", "part", "settings", "smoke", "precision")
"""What a selection and a manifest both have, beside the suites."""


class Bundled(Struct, frozen=True):
    """What was put into a bundle."""

    records: int
    without: tuple[str, ...]
    """Records whose predictions are not on this machine, so that their curves stand for themselves."""
    size: int
    """Bytes."""


def bundle(chosen: Selection, path: Path) -> Bundled:
    """Write the evidence for the chosen rows.

    Raises:
        UserError: a suite or record is wrong, nothing is stored, or the file cannot be written.
    """
    if chosen.auto:
        raise UserError("bundle: --seeds auto depends on what is stored; give the seeds, as 0-4")
    machine = load_machine()
    suites, there = chosen.load(), index(machine.results)
    cells = [cell for _, some in suites for cell in some]
    paths = [find_file(Path(suite.path)) for suite, _ in suites]
    files = {f"suites/{path.name}": path.read_bytes() for path in paths}
    if len(files) < len(suites):
        raise UserError("bundle: two of the suites have one file name; make a bundle of each")
    ids = sorted({name for cell in cells for name in (*cell.ids, *cell.baselines)} & there.results.keys())
    published = _published_files(suites, machine.results)
    files |= {f"results/{path.parent.name}/{path.name}": path.read_bytes() for path in published}
    if not ids and len(files) == len(suites):
        raise UserError("bundle: none of the chosen rows has a result; `kdbench run` trains them")
    without = []
    for name in ids:
        for record in (there.results[name], *there.repeats.get(name, ())):
            predicted = _predicted(record, machine.scratch)
            files[f"results/{folder_of(record).name}/{record.name}"] = content_of(record)
            files |= predicted
            if not predicted:
                without.append(record.name)
    # Without the plans of interim analyses a stranger would judge these rows at 5 %.
    files |= files_of(machine.results, ids)
    files["verdicts.json"] = verdicts(judge_again(chosen, suites, there, machine.results))
    content = pack(files, manifest_of(chosen, suites, files))
    write_output(path, content)
    return Bundled(len(ids), tuple(without), len(content))


def _published_files(suites: Suites, results: Path) -> Iterator[Path]:
    """The author runs of suites, and the evaluations of the released weights that their rows name."""
    evaluations = load_evaluations(results)
    for suite, cells in suites:
        path = author_runs_file(results, suite.name)
        if path.is_file():
            yield path
        for row in (cell.row for cell in cells if cell.row.released):
            found = evaluation_of(suite.imported[row.released], suite.dataset, evaluations)
            if found is not None:
                yield found[0]


def _predicted(record: Path, scratch: Path) -> dict[str, bytes]:
    """The predictions that a record names, as far as they are on this machine, by member."""
    result = load_result(record)
    # A file that is not here, or is damaged, is left out: the record then stands for itself, and says so.
    found = (predictions_file(scratch, result.id, name, sha) for name, sha in result.predicted.items())
    return {f"predictions/{result.id}/{file.name}": file.read_bytes() for file in found if file}


def judge_again(chosen: Selection, suites: Suites, there: Index, results: Path) -> list[list[Check]]:
    """The checks of each suite, from the records of a results folder and the plans of interim analyses there.

    Raises:
        UserError: a record is wrong.
    """
    checked, _ = check_cells(suites, replace(there, failures={}), load_plans(results))
    checked, _ = beside_authors(checked, chosen, results)
    return [checks for _, checks in checked]


def verdicts(checks: list[list[Check]]) -> bytes:
    """Checks as they stand in a bundle; those of rows without author runs have no `published`, as before."""
    lines: list[list[dict[str, Any]]] = msgspec.to_builtins(checks)
    for check in (check for some in lines for check in some):
        if check["published"] is None:
            del check["published"]
    return as_json(lines)


def manifest_of(chosen: Selection, suites: Suites, files: Mapping[str, bytes]) -> Manifest:
    """What says which rows a bundle is about, of which packages they are, and which files it has."""
    runs = (run for _, cells in suites for cell in cells for run in cell.runs)
    found: set[Plugin] = set()
    for run in runs:
        found.update(packages(run).values())
    return Manifest(
        format=FORMAT,
        kdbench=__version__,
        protocol=PROTOCOL,
        suites=tuple(f"suites/{Path(suite.path).name}" for suite, _ in suites),
        **{name: getattr(chosen, name) for name in _CHOOSING},
        plugins=tuple(sorted(found)),
        files={name: sha256(content).hexdigest() for name, content in sorted(files.items())},
    )


def pack(files: Mapping[str, bytes], manifest: Manifest) -> bytes:
    """The zip's bytes: the manifest, then members by name, no times, no owners."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, content in (("manifest.json", as_json(manifest)), *sorted(files.items())):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)
    return packed.getvalue()
