"""What labels a network was measured to know, and whether they are those that it is wanted for."""

from msgspec import Struct

from kdbench import catalog
from kdbench.errors import UserError
from kdbench.formatting import spans


class Measured(Struct, frozen=True, kw_only=True):
    """What a network makes of the test images."""

    top1: dict[str, float]
    """The accuracy in percent by label space, the wanted one first."""
    predicted: tuple[int, ...]
    """The class ids that it ever predicts."""
    outputs: int
    images: int


def label_spaces(dataset: str) -> list[str]:
    """The data sets of the catalog that are the same images, this one first."""
    pack = catalog.find("datasets", dataset).pack
    same = [name for name, each in catalog.entries("datasets").items() if each.pack == pack]
    return [dataset, *(name for name in same if name != dataset)]


def check_label_space(
    measured: Measured, dataset: str, path: str, hint: str = "import it with --dataset {best}"
) -> None:
    """Refuse a teacher of other labels than the data set's; `hint` is for one that knows the `best` ones.

    Raises:
        UserError: another label space of the same images fits better, or none does; with the evidence.
    """
    best = max(measured.top1, key=lambda space: measured.top1[space])
    scores = ", ".join(f"{value:.2f} % on {space}" for space, value in measured.top1.items())
    evidence = (
        f"measured on {measured.images:,} test images: {scores}; "
        f"of its {measured.outputs} outputs it only ever predicts {spans(measured.predicted, ' to ', ', ')}"
    )
    if best != dataset and measured.top1[best] > guessing(best, measured.images):
        raise UserError(
            f"{path}: refused, this teacher knows the labels of {best}, not of {dataset}: {evidence}; "
            + hint.format(best=best)
        )
    if measured.top1[dataset] <= guessing(dataset, measured.images):
        doubt = "is it for another model, data set or normalisation (--normalize)?"
        raise UserError(f"{path}: refused, on {dataset} it is no better than guessing: {evidence}; {doubt}")


def guessing(dataset: str, images: int) -> float:
    """The accuracy, in percent, three standard deviations above that of guessing."""
    chance = 1 / catalog.find("datasets", dataset).classes
    return float(100 * (chance + 3 * (chance * (1 - chance) / images) ** 0.5))
