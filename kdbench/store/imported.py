"""Imported teachers as runs need them: found by the digest of their file, refused where they do not fit."""

from collections.abc import Iterable
from itertools import chain, count
from pathlib import Path

from kdbench import catalog
from kdbench.errors import UserError, each_of
from kdbench.spec.runs import Run
from kdbench.spec.weights import Imported
from kdbench.store.files import digest
from kdbench.store.json_files import load_folder, load_json
from kdbench.store.label_spaces import Measured, check_label_space
from kdbench.store.provenance import PROVENANCE_SCHEMA, Provenance


def check_imported(runs: Iterable[Run], scratch: Path) -> None:
    """Refuse runs whose imported teachers are not here or do not fit.

    Raises:
        UserError: one sentence for each.
    """
    each_of(lambda run: find_imported(run, scratch), runs)


def find_imported(run: Run, scratch: Path) -> tuple[Path, Provenance] | None:
    """The weights of a run's imported teacher, with its provenance record; None where it has none.

    Raises:
        UserError: it is not imported here, or damaged, or knows other labels, has another number of outputs
            or another size or normalisation of the images than the run's student.
    """
    if run.imported is None:
        return None
    # By the digest and not by the name: a suite names weights that another machine may call otherwise.
    found = _provenance_records(run.imported, scratch / "imported")
    fits = [each for each in found.items() if run.dataset in each[1].top1]
    if not fits:
        raise UserError(_missing(run, run.imported, found, scratch))
    path, provenance = _fitting(run, fits)
    weights = path.with_suffix(".safetensors")
    if not weights.is_file() or digest(weights) != provenance.sha256:
        raise UserError(f"{weights}: missing or damaged; import it again: {_command(run, run.imported)}")
    return weights, provenance


def _fitting(run: Run, found: list[tuple[Path, Provenance]]) -> tuple[Path, Provenance]:
    """The first record that fits the run's student; a file may have been imported in several ways.

    Raises:
        UserError: none does; why the first does not.
    """
    refusals = []
    for path, provenance in found:
        try:
            _check(run, provenance, path)
        except UserError as error:
            refusals.append(error)
        else:
            return path, provenance
    raise refusals[0]


def free_name(wanted: Provenance, folder: Path, *, chosen: bool) -> str:
    """A name under which a teacher can be kept without replacing another one.

    Args:
        wanted: what is to be kept, with the name that it would have.
        folder: where imported teachers lie.
        chosen: whether a person chose the name; else another one is found, `NAME-SHA256` or
            `NAME-SHA256-2`.

    Raises:
        UserError: a person chose the name of another teacher.
    """
    name = wanted.name
    others = (f"{name}-{wanted.source.sha256[:8]}-{number}" for number in count(2))
    for candidate in chain([name, f"{name}-{wanted.source.sha256[:8]}"], others):
        there = folder / f"{candidate}.json"
        if not there.exists() or _is_same(there, wanted):
            return candidate
        if chosen:
            raise UserError(f"--name {name}: {there} is another teacher; choose another name, or remove it")
    raise AssertionError  # the numbers do not end


def _is_same(path: Path, wanted: Provenance) -> bool:
    """Whether a record is of the same file, imported in the same way: it may be replaced."""
    try:
        there = load_json(path, Provenance, what="provenance record", hint="remove it")
    except UserError:
        return False
    return _settings(there) == _settings(wanted)


def _settings(provenance: Provenance) -> tuple[object, ...]:
    """What was imported, and how."""
    images = (provenance.dataset, provenance.normalisation, provenance.size, provenance.resize)
    return provenance.identity, provenance.model, *images


def _provenance_records(wanted: Imported, folder: Path) -> dict[Path, Provenance]:
    """The provenance records of a file; several where it was imported for several data sets."""
    found = load_folder(folder, Provenance, what="provenance record", hint="import the teacher again")
    asked = (PROVENANCE_SCHEMA, wanted.sha256, wanted.model)
    return {path: each for path, each in found.items() if (each.schema, each.identity, each.model) == asked}


def _missing(run: Run, wanted: Imported, found: dict[Path, Provenance], scratch: Path) -> str:
    where = f"is not in {scratch / 'imported'}"
    if found:
        others = ", ".join(each.dataset for each in found.values())
        where = f"was imported for {others} and never measured on {run.dataset}"
    return f"the teacher {wanted.model} of sha256 {wanted.sha256} {where}: {_command(run, wanted)}"


def _command(run: Run, wanted: Imported) -> str:
    return f"`kdbench import FILE --model {wanted.model} --dataset {run.dataset}`"


def _check(run: Run, provenance: Provenance, path: Path) -> None:
    """Whether a teacher and a student mean the same by an image and by an output.

    Raises:
        UserError: they do not; with what to do.
    """
    measured = Measured(
        top1=provenance.top1,
        predicted=provenance.predicted,
        outputs=provenance.classes,
        images=provenance.images,
    )
    check_label_space(measured, run.dataset, str(path), hint="it can teach rows of {best}")
    entry = catalog.find("datasets", run.dataset)
    if provenance.classes != run.outputs:
        raise UserError(
            f"{path}: refused, it has {provenance.classes} outputs and the student {run.outputs}; "
            f"give the row recipe = {{ classes = {provenance.classes} }}"
        )
    seen, side = run.recipe.size or entry.size, provenance.size or entry.size
    if seen != side:
        raise UserError(
            f"{path}: refused, it was measured on images of {side} pixels and the student sees {seen}; "
            f"import it with --size {seen}"
        )
    statistics = catalog.statistics(run.dataset, run.recipe.normalize, run.recipe.normalize_std)
    if (provenance.normalisation.mean, provenance.normalisation.std) != statistics:
        as_student = run.recipe.normalize or run.dataset
        if run.recipe.normalize_std:
            raise UserError(
                f"{path}: refused, it was measured with the std of {provenance.normalisation.dataset}, the "
                f"student's images have normalize_std = {list(run.recipe.normalize_std)}; leave that out"
            )
        raise UserError(
            f"{path}: refused, it was measured on images normalised as {provenance.normalisation.dataset}, "
            f"the student sees them as {as_student}; import it with --normalize {as_student}"
        )
