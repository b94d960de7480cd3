"""Published weights that a training starts from: timm's, as Hugging Face keeps them, each with its sha256.

A row names them with their digest, `timm/resnet50.a1_in1k@SHA256`: it is part of the run's identity, and a
file with another one is refused. `kdbench data weights timm/resnet50.a1_in1k` fetches a file and tells it.
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from kdbench.data.download import download
from kdbench.data.fetch import Fetcher, mirror_addresses
from kdbench.data.progress import reporting
from kdbench.errors import UserError
from kdbench.spec import Weights
from kdbench.store import digest

if TYPE_CHECKING:
    from kdbench.models.output import Network

HUB = "HF_ENDPOINT"
"""The environment variable that names another hub than huggingface.co, as its own tools read it."""
LIMIT = 1 << 32


def fetched(name: str, sha256: str, fetcher: Fetcher) -> Path:
    """The file of published weights, downloaded if it must be.

    Args:
        name: `timm/resnet50.a1_in1k`.
        sha256: what the file must have ("": whatever comes).
        fetcher: where the data lie, and whether and whence they may be fetched.

    Raises:
        UserError: it has another digest, or cannot be had.
    """
    file = fetcher.place / "weights" / f"{name}.safetensors"
    if not file.exists():
        _download(name, sha256, file, fetcher)
    found = digest(file)
    if sha256 and found != sha256:
        raise UserError(
            f"{name}: refused, {file} has the sha256 {found}, not {sha256}, which the row asks for; they "
            f"were published anew or altered. Delete the file, or name the weights that are meant"
        )
    return file


def named(name: str, place: Path, *, offline: bool, mirrors: tuple[str, ...]) -> str:
    """Fetch published weights; how a row names them, and where they lie.

    Raises:
        UserError: it is no such name, or they cannot be had.
    """
    if not re.fullmatch(r"timm/[A-Za-z0-9_.]{1,80}", name):
        raise UserError(f"{name!r:.80}: expected weights of timm, as timm/resnet50.a1_in1k")
    file = fetched(name, "", Fetcher(place=place, offline=offline, progress=True, mirrors=mirrors))
    return f'weights = "{name}@{digest(file)}"\n{file}'


def start_from(network: "Network", weights: Weights, fetcher: Fetcher) -> None:
    """Give a network of timm its published weights; a classifier for other classes stays as it is.

    Raises:
        UserError: the file cannot be had, or holds another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = fetched(weights.name, weights.sha256, fetcher)
    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise UserError(f"{file}: cannot be read ({error})") from error
    described: Any = network.body.pretrained_cfg
    body, head = _parts(tensors, described["classifier"])
    problems = _mismatches(network.body, body)
    if problems:
        raise UserError(*(f"{weights.name}: not the network's weights: {problem}" for problem in problems))
    network.body.load_state_dict(body, strict=False)
    own = network.classifier.state_dict()
    if {name: each.shape for name, each in own.items()} == {name: each.shape for name, each in head.items()}:
        network.classifier.load_state_dict(head)


def _download(name: str, sha256: str, file: Path, fetcher: Fetcher) -> None:
    hub = os.environ.get(HUB, "https://huggingface.co").rstrip("/")
    urls = [
        *mirror_addresses(file.name, fetcher.mirrors),
        f"{hub}/{name}/resolve/main/model.safetensors",
    ]
    if fetcher.offline:
        raise UserError(
            f"{name}: {file} is not there, and offline nothing is fetched. Run `kdbench data weights {name}` "
            f"where there is a network, or put {urls[-1]} there"
        )
    with reporting(name, wanted=fetcher.progress) as report:
        download(urls, file, sha256, limit=LIMIT, report=report)


def _parts(tensors: dict[str, Tensor], classifier: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of the body, and those of the classifier under its own names."""
    prefix = f"{classifier}."
    body = {name: each for name, each in tensors.items() if not name.startswith(prefix)}
    head = {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}
    return body, head


def _mismatches(body: nn.Module, given: dict[str, Tensor]) -> list[str]:
    wanted = {name: tuple(each.shape) for name, each in body.state_dict().items()}
    there = {name: tuple(each.shape) for name, each in given.items()}
    missing = [name for name in wanted if name not in there and not name.endswith("num_batches_tracked")]
    extra = [name for name in there if name not in wanted]
    other = [name for name in wanted if name in there and there[name] != wanted[name]]
    told = ((missing, "missing"), (extra, "too much"), (other, "of another shape"))
    return [f"{len(names)} tensors are {what}: {', '.join(names[:3])}" for names, what in told if names]
