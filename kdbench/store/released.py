"""results/released_weights/NAME.SHA256.json: what released weights gave when kdbench evaluated them.

Each is the provenance record that `kdbench import` writes beside the weights in the scratch folder; this copy
is kept with the results, so that a verdict on the weights needs neither them nor the data.
"""

from pathlib import Path

from kdbench.errors import UserError
from kdbench.spec.weights import Imported
from kdbench.store.json_files import load_folder, save_json
from kdbench.store.provenance import PROVENANCE_SCHEMA, Provenance

FOLDER = "released_weights"


def save_evaluation(results: Path, provenance: Provenance) -> Path:
    """Keep what released weights gave, instead of an earlier evaluation of the same file under the same name.

    Raises:
        UserError: the folder cannot be written.
    """
    path = results / FOLDER / f"{provenance.name}.{provenance.source.sha256[:12]}.json"
    save_json(path, provenance)
    return path


def load_evaluations(results: Path) -> dict[Path, Provenance]:
    """Every stored evaluation, by its file.

    Raises:
        UserError: a file is broken or of another schema.
    """
    hint = "import the weights again (kdbench import)"
    found = load_folder(results / FOLDER, Provenance, what="evaluation of weights", hint=hint)
    problems = [
        f"{path}: of schema {each.schema}, this is {PROVENANCE_SCHEMA}; {hint}"
        for path, each in found.items()
        if each.schema != PROVENANCE_SCHEMA
    ]
    if problems:
        raise UserError(*problems)
    return found


def evaluation_of(
    weights: Imported, dataset: str, stored: dict[Path, Provenance]
) -> tuple[Path, Provenance] | None:
    """The evaluation of weights on a data set, by the digest of their file; None where there is none."""
    for path, each in stored.items():
        if (each.identity, each.model) == (weights.sha256, weights.model) and dataset in each.top1:
            return path, each
    return None
