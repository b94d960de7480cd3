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
from kdbench.importing.files import Weights, read_weights
from kdbench.importing.loading import load
from kdbench.importing.measuring import measure
from kdbench.importing.names import translate
from kdbench.machine import Machine
from kdbench.store.imported import free_name
from kdbench.store.json_files import save_json
from kdbench.store.label_spaces import check_label_space
from kdbench.store.provenance import PROVENANCE_SCHEMA, Normalisation, Provenance, Source
from kdbench.store.records import write
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
    told: str = ""
    """Where the file came from."""
    normalize: str = ""
    """The data set whose mean and std normalise the images ("": its own)."""
    size: int = 0
    """The side of the images that it sees, in pixels (0: the data set's own)."""
    resize: int = 0
    """The shorter side of an image before its centre is taken (0: size)."""


def import_teacher(asked: Request, machine: Machine) -> tuple[Path, Provenance]:
    """Make a teacher of a file of weights: `NAME.safetensors`, beside it its provenance record `NAME.json`.

    The record is kept with the results too: a row of these released weights is judged by it.

    Raises:
        UserError: the file is broken or for another network, the teacher knows other labels, or the name that
            a person chose is another teacher's.
    """
    name, framing = teacher_name(asked), _framing(asked)
    weights = read_weights(asked.file)
    network = load(translate(weights, asked.model), asked.model, entry(asked.dataset), asked.file)
    normalisation = _normalisation(asked)
    context = open_context(machine)
    measured = measure(network, asked.dataset, normalisation, context, framing)
    check_label_space(measured, asked.dataset, str(asked.file))
    content = save({key: value.cpu().contiguous() for key, value in network.state_dict().items()})
    provenance = Provenance(
        schema=PROVENANCE_SCHEMA,
        name=name,
        model=asked.model,
        classes=measured.outputs,
        parameters=sum(each.numel() for each in network.parameters()),
        dataset=asked.dataset,
        sha256=sha256(content).hexdigest(),
        lineage=_lineage(weights, asked),
        source=_source(weights, asked),
        normalisation=normalisation,
        size=asked.size,
        resize=asked.resize,
        data=context.dataset(asked.dataset).content,
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


def _lineage(weights: Weights, asked: Request) -> tuple[str, ...]:
    """Each step from the source to the weights that are kept."""
    origin = [asked.told] if asked.told else []
    code = catalog.find("models", asked.model).code
    return (
        *origin,
        f"{weights.file}, {weights.format}, sha256 {weights.sha256}",
        f"kdbench {__version__}: as {code}, float32, safetensors",
    )


def _source(weights: Weights, asked: Request) -> Source:
    return Source(
        file=weights.file,
        format=weights.format,
        sha256=weights.sha256,
        bytes=asked.file.stat().st_size,
        told=asked.told,
    )
