"""What is known of an imported teacher: a JSON file beside its weights."""

from msgspec import Struct, field

from kdbench.formatting import columns, spans

PROVENANCE_SCHEMA = 1


class Source(Struct, frozen=True, kw_only=True):
    """The file that the weights were read from."""

    file: str
    format: str
    sha256: str
    bytes: int
    origin: str = field(default="", name="told")
    """Where it came from, in the words of whoever imported it; `told` in the record."""
    choice: str = ""
    """What a person chose of it: the `ema` or `plain` weights, or by a `map` which layer is which."""


class Normalisation(Struct, frozen=True, kw_only=True):
    """How the images were normalised when it was measured, per channel, of values from 0 to 1."""

    dataset: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Provenance(Struct, frozen=True, kw_only=True):
    """A teacher's identity, descent and what it can do."""

    schema: int
    name: str
    model: str
    classes: int
    """Outputs of its classifier."""
    parameters: int
    dataset: str
    """The data set, with its label space, that it was imported for."""
    sha256: str
    """Of the weights beside this file."""
    lineage: tuple[str, ...]
    """Each step from the source to these weights."""
    source: Source
    normalisation: Normalisation
    data: str
    """The content digest of the data that it was measured on."""
    images: int
    top1: dict[str, float]
    """Measured on the test images: the accuracy in percent on each label space of the data."""
    predicted: tuple[int, ...]
    """The class ids that it ever predicts on the test images."""
    size: int = 0
    """The side of the test images, in pixels (0: the data set's own)."""
    resize: int = 0
    """The shorter side that they were resized to before (0: size)."""

    @property
    def identity(self) -> str:
        """The sha256 by which a suite names these weights.

        The file's own; where a person chose among what the file holds, that of the weights that are kept.
        """
        return self.sha256 if self.source.choice else self.source.sha256


def describe(provenance: Provenance, path: str) -> str:
    """A provenance record for a terminal."""
    scores = ", ".join(f"{value:.2f} % on {space}" for space, value in provenance.top1.items())
    facts = [
        ("teacher", provenance.name),
        ("model", f"{provenance.model}, {provenance.parameters:,} parameters, {provenance.classes} outputs"),
        ("measured", f"{scores} ({provenance.images:,} test images)"),
        ("predicts", spans(provenance.predicted, " to ", ", ")),
        ("normalised", f"as {provenance.normalisation.dataset}"),
        ("weights", provenance.sha256),
        *(("" if step else "lineage", text) for step, text in enumerate(provenance.lineage)),
        ("provenance record", path),
    ]
    return f"{columns(facts, [])}\n\n{in_suite(provenance)}"


def in_suite(provenance: Provenance) -> str:
    """The lines by which a suite names an imported teacher."""
    return f"""\
To let it teach, add to a suite of {provenance.dataset}

    [[imported]]
    name   = "{provenance.name}"
    model  = "{provenance.model}"
    sha256 = "{provenance.identity}"

and to its row   teacher = "import:{provenance.name}\""""
