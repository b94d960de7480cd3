"""`kdbench import`: read, translate, load, measure, refuse or keep.

Measuring FNKD's ResNet56-v2 on CIFAR-100's 10,000 test images takes 45 s on one core.
"""

import re
from hashlib import sha256
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace
from safetensors.torch import save

from kdbench import catalog
from kdbench.data.boxes import Framing
from kdbench.data.packed import entry
from kdbench.errors import UserError
from kdbench.importing.files import Weights, Which, read_weights
from kdbench.importing.loading import Filled, load
from kdbench.importing.measuring import measure
from kdbench.importing.names import translate
from kdbench.machine import Machine
from kdbench.store.files import write
from kdbench.store.imported import free_name
from kdbench.store.json_files import save_json
from kdbench.store.label_spaces import Measured, check_label_space
from kdbench.store.provenance import PROVENANCE_SCHEMA, Normalisation, Provenance, Source
from kdbench.store.released import save_evaluation
from kdbench.training.context import open_context
from kdbench.version import __version__


class Request(Struct, frozen=True, kw_only=True):
    """What is to be imported."""

    file: Path
    model: str
    """The network of the catalog that the weights are for."""
    dataset: str
    """The data set, with the label space, that it is to teach."""
    name: str = ""
    """How the teacher is called from now on ("": as the file, or so that it replaces no other)."""
    origin: str = ""
    """Where the file came from."""
    normalize: str = ""
    """The data set whose mean and std normalise the images ("": its own)."""
    size: int = 0
    """The side of the images that it sees, in pixels (0: the data set's own)."""
    resize: int = 0
    """The shorter side of an image before its centre is taken (0: size)."""
    weights: Which = ""
    """Which of its weights are meant, where the file holds averaged ones (`ema`) beside `plain` ones."""
    map_file: Path | None = None
    """A map of names, theirs = ours, where layers have other names and order and shape do not decide."""


REPORTED_WITHIN = 5.0
"""By how many points our accuracy may be below the one that a file gives if layers were found by shape."""


def import_teacher(asked: Request, machine: Machine) -> tuple[Path, Provenance]:
    """Make a teacher of a file of weights: `NAME.safetensors`, beside it its provenance record `NAME.json`.

    The record is kept with the results too: a row of these released weights is judged by it.

    Raises:
        UserError: the file is broken or for another network, its layers fit in several ways, the teacher
            knows other labels, or the name that a person chose is another teacher's.
    """
    name, framing = teacher_name(asked), _framing(asked)
    if asked.model not in catalog.names("models"):
        raise UserError(f"--model: {catalog.unknown_name('models', asked.model)}")
    weights = read_weights(asked.file, asked.weights)
    ways = load(
        translate(weights, asked.model),
        asked.model,
        entry(asked.dataset),
        asked.file,
        ordered=weights.format != "safetensors",
        map_file=asked.map_file,
    )
    normalisation = _normalisation(asked)
    context = open_context(machine)
    tried = [(way, measure(way.network, asked.dataset, normalisation, context, framing)) for way in ways]
    filled, measured = most_accurate(tried, asked)
    check_label_space(measured, asked.dataset, str(asked.file))
    _check_reported(weights, filled, measured, asked)
    network = filled.network
    content = save({key: value.cpu().contiguous() for key, value in network.state_dict().items()})
    provenance = Provenance(
        schema=PROVENANCE_SCHEMA,
        name=name,
        model=asked.model,
        classes=measured.outputs,
        parameters=sum(each.numel() for each in network.parameters()),
        dataset=asked.dataset,
        sha256=sha256(content).hexdigest(),
        lineage=_lineage(weights, asked, filled),
        source=_source(weights, asked),
        normalisation=normalisation,
        size=asked.size,
        resize=asked.resize,
        data=context.data.named(asked.dataset).content,
        images=measured.images,
        top1=measured.top1,
        predicted=measured.predicted,
    )
    folder = machine.scratch / "imported"
    provenance = replace(provenance, name=free_name(provenance, folder, chosen=bool(asked.name)))
    beside = folder / f"{provenance.name}.json"
    write(beside.with_suffix(".safetensors"), content)
    save_json(beside, provenance)
    save_evaluation(machine.results, provenance)
    return beside, provenance


def most_accurate(tried: list[tuple[Filled, Measured]], asked: Request) -> tuple[Filled, Measured]:
    """The way in which a file's layers fit that the accuracy shows to be the right one.

    Raises:
        UserError: two ways are about as accurate.
    """
    best, *others = sorted(tried, key=lambda each: each[1].top1[asked.dataset], reverse=True)
    scores = [measured.top1[asked.dataset] for _, measured in (best, *others)]
    # Layers in a wrong order give about the accuracy of guessing: one way stands out, or all are in doubt.
    if others and scores[1] > scores[0] / 2:
        given = " and ".join(f"{score:.2f} %" for score in scores)
        raise UserError(
            f"{asked.file}: its layers have other names and fit {asked.model} in {len(scores)} ways, which "
            f"give {given} on {asked.dataset}; say by --map FILE which layer is which, THEIRS = OURS"
        )
    return best


def _check_reported(weights: Weights, filled: Filled, measured: Measured, asked: Request) -> None:
    """Hold layers that were found by order and shape against the accuracy that the file gives.

    Raises:
        UserError: ours is lower by more than `REPORTED_WITHIN`.
    """
    if weights.reported is None or not filled.how or asked.map_file is not None:
        return
    key, reported = weights.reported
    score = measured.top1[asked.dataset]
    if reported - score > REPORTED_WITHIN:
        raise UserError(
            f"{asked.file}: refused: {filled.how}, and it gives {score:.2f} % on {asked.dataset} where the "
            f"file says {key} = {reported:.2f}; are its images normalised otherwise (--normalize), or its "
            f"layers in another order (--map FILE)?"
        )


def teacher_name(asked: Request) -> str:
    """The name of a teacher, which names its files.

    Raises:
        UserError: it is no name.
    """
    name = asked.name or asked.file.stem
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise UserError(
            f"{name!r:.80}: a teacher's name has at most 64 letters, digits, _, . and -; give --name"
        )
    return name


def _framing(asked: Request) -> Framing | None:
    if asked.size:
        return Framing(size=asked.size, resize=asked.resize or asked.size)
    if entry(asked.dataset).varied:
        raise UserError(f"--dataset {asked.dataset}: its images have many sizes; add --size 224 --resize 256")
    return None


def _normalisation(asked: Request) -> Normalisation:
    dataset = asked.normalize or asked.dataset
    channels = entry(asked.dataset).channels
    if dataset != "none" and entry(dataset).channels != channels:
        raise UserError(
            f"--normalize {dataset}: its images have {entry(dataset).channels} channels, those of "
            f"{asked.dataset} not"
        )
    mean, std = catalog.statistics(asked.dataset, asked.normalize)
    return Normalisation(dataset=dataset, mean=mean, std=std)


def _lineage(weights: Weights, asked: Request, filled: Filled) -> tuple[str, ...]:
    """Each step from the source to the weights that are kept."""
    file = f"{weights.file}, {weights.format}, sha256 {weights.sha256}"
    if weights.which:
        file += f", its {weights.which} weights"
    if weights.reported:
        file += f", {weights.reported[0]} {weights.reported[1]:.2f} %"
    code = catalog.find("models", asked.model).code
    steps = (asked.origin, file, filled.how, f"kdbench {__version__}: as {code}, float32, safetensors")
    return tuple(step for step in steps if step)


def _source(weights: Weights, asked: Request) -> Source:
    return Source(
        file=weights.file,
        format=weights.format,
        sha256=weights.sha256,
        bytes=asked.file.stat().st_size,
        origin=asked.origin,
        choice="map" if asked.map_file is not None else weights.which,
    )
