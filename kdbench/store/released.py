"""results/released_weights/NAME.SHA256.json: what released weights gave when kdbench evaluated them.

Each is the provenance record that `kdbench import` writes beside the weights in the scratch folder; this copy
is kept with the results, so that a verdict on the weights needs neither them nor the data.
"""

from pathlib import Path

import msgspec

from kdbench.errors import UserError
from kdbench.spec.weights import Imported
from kdbench.store.provenance import PROVENANCE_SCHEMA, Provenance
from kdbench.store.records import write

FOLDER = "released_weights"


def save_evaluation(results: Path, provenance: Provenance) -> Path:
    """Keep what released weights gave, instead of an earlier evaluation of the same file under the same name.

    Raises:
        UserError: the folder cannot be written.
    """
    path = results / FOLDER / f"{provenance.name}.{provenance.source.sha256[:12]}.json"
    write(path, as_json(provenance))
    return path


def as_json(provenance: Provenance) -> bytes:
    """A provenance record as it lies on disk."""
    return msgspec.json.format(msgspec.json.encode(provenance), indent=1) + b"\n"


def load_evaluations(results: Path) -> dict[Path, Provenance]:
    """Every stored evaluation, by its file.

    Raises:
        UserError: a file is broken or of another schema.
    """
    return {path: _load(path) for path in sorted((results / FOLDER).glob("*.json"))}


def _load(path: Path) -> Provenance:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Provenance)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(
            f"{path}: no evaluation of weights: {error}; import them again (kdbench import)"
        ) from error
    if found.schema != PROVENANCE_SCHEMA:
        raise UserError(
            f"{path}: of schema {found.schema}, this is {PROVENANCE_SCHEMA}; import the weights again"
        )
    return found


def evaluation_of(
    weights: Imported, dataset: str, stored: dict[Path, Provenance]
) -> tuple[Path, Provenance] | None:
    """The evaluation of weights on a data set, by the digest of their file; None where there is none."""
    for path, each in stored.items():
        if (each.source.sha256, each.model) == (weights.sha256, weights.model) and dataset in each.top1:
            return path, each
    return None
