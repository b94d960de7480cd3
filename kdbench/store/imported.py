"""Imported teachers as runs need them: found by the digest of their file, refused where they do not fit."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from kdbench import catalog
from kdbench.errors import UserError
from kdbench.spec.runs import Run
from kdbench.spec.weights import Imported
from kdbench.store.label_spaces import Measured, check_label_space
from kdbench.store.passport import PASSPORT_SCHEMA, Passport
from kdbench.store.records import digest


def check_imported(runs: Iterable[Run], scratch: Path) -> None:
    """Refuse runs whose imported teachers are not here or do not fit.

    Raises:
        UserError: one sentence for each.
    """
    problems: dict[str, None] = {}
    for run in runs:
        try:
            find_imported(run, scratch)
        except UserError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise UserError(*problems)


def find_imported(run: Run, scratch: Path) -> tuple[Path, Passport] | None:
    """The weights of a run's imported teacher, with its passport; None where it has none.

    Raises:
        UserError: it is not imported here, or damaged, or knows other labels, has another number of outputs
            or another size or normalisation of the images than the run's student.
    """
    if run.imported is None:
        return None
    found = _passports(run.imported, scratch / "imported")
    fits = [each for each in found.items() if run.dataset in each[1].top1]
    if not fits:
        raise UserError(_missing(run, run.imported, found, scratch))
    path, passport = fits[0]
    _check(run, passport, path)
    weights = path.with_suffix(".safetensors")
    if not weights.is_file() or digest(weights) != passport.sha256:
        raise UserError(f"{weights}: missing or damaged; import it again: {_command(run, run.imported)}")
    return weights, passport


def _passports(wanted: Imported, folder: Path) -> dict[Path, Passport]:
    """The passports of a file; several where it was imported for several data sets."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            passport = msgspec.json.decode(path.read_bytes(), type=Passport)
        except (OSError, msgspec.DecodeError) as error:
            raise UserError(f"{path}: no passport: {error}; import the teacher again") from error
        of = (passport.schema, passport.source.sha256, passport.model)
        if of == (PASSPORT_SCHEMA, wanted.sha256, wanted.model):
            found[path] = passport
    return found


def _missing(run: Run, wanted: Imported, found: dict[Path, Passport], scratch: Path) -> str:
    where = f"is not in {scratch / 'imported'}"
    if found:
        others = ", ".join(each.dataset for each in found.values())
        where = f"was imported for {others} and never measured on {run.dataset}"
    return f"the teacher {wanted.model} of sha256 {wanted.sha256} {where}: {_command(run, wanted)}"


def _command(run: Run, wanted: Imported) -> str:
    return f"`kdbench import FILE --model {wanted.model} --dataset {run.dataset}`"


def _check(run: Run, passport: Passport, path: Path) -> None:
    """Whether a teacher and a student mean the same by an image and by an output.

    Raises:
        UserError: they do not; with the cure.
    """
    measured = Measured(
        top1=passport.top1, predicted=passport.predicted, outputs=passport.classes, images=passport.images
    )
    check_label_space(measured, run.dataset, str(path), cure="it can teach rows of {best}")
    entry = catalog.find("datasets", run.dataset)
    if passport.classes != (outputs := run.recipe.classes or entry.classes):
        raise UserError(
            f"{path}: refused, it has {passport.classes} outputs and the student {outputs}; "
            f"give the row recipe = {{ classes = {passport.classes} }}"
        )
    seen, side = run.recipe.size or entry.size, passport.size or entry.size
    if seen != side:
        raise UserError(
            f"{path}: refused, it was measured on images of {side} pixels and the student sees {seen}; "
            f"import it with --size {seen}"
        )
    statistics = catalog.find("datasets", run.recipe.normalize or run.dataset)
    if (passport.normalisation.mean, passport.normalisation.std) != (statistics.mean, statistics.std):
        as_student = run.recipe.normalize or run.dataset
        raise UserError(
            f"{path}: refused, it was measured on images normalised as {passport.normalisation.dataset}, the "
            f"student sees them as {as_student}; import it with --normalize {as_student}"
        )
