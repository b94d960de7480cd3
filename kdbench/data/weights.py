"""Files of published weights: timm's, as Hugging Face keeps them, each held by its sha256. Imports no torch.

A row names them with their digest, `timm/resnet50.a1_in1k@SHA256`: it is part of the run's identity, and a
file with another one is refused. `kdbench data weights timm/resnet50.a1_in1k` fetches a file and prints it.
"""

import os
import re
from pathlib import Path

from kdbench.data.disk import locked
from kdbench.data.download import download
from kdbench.data.fetch import Fetcher, mirror_addresses
from kdbench.data.progress import reporting
from kdbench.errors import UserError
from kdbench.store.files import digest

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
        UserError: it is no such name, the file has another digest, or cannot be had.
    """
    if not re.fullmatch(r"timm/[A-Za-z0-9_.]{1,80}", name):
        raise UserError(f"{name!r:.80}: expected weights of timm, as timm/resnet50.a1_in1k")
    file = fetcher.place / "weights" / f"{name}.safetensors"
    if not file.exists():
        with locked(file.parent, file.name):
            if not file.exists():
                _download(name, sha256, file, fetcher)
    found = digest(file)
    if sha256 and found != sha256:
        raise UserError(
            f"{name}: refused, {file} has the sha256 {found}, not {sha256}, which the row asks for; they "
            f"were published anew or altered. Delete the file, or name the weights that are meant"
        )
    return file


def _download(name: str, sha256: str, file: Path, fetcher: Fetcher) -> None:
    """Fetch published weights, from mirrors first, held by their digest."""
    hub = os.environ.get(HUB, "https://huggingface.co").rstrip("/")
    official = f"{hub}/{name}/resolve/main/model.safetensors"
    if fetcher.offline:
        raise UserError(
            f"{name}: {file} is not there, and offline nothing is fetched. Run `kdbench data weights {name}` "
            f"where there is a network, or put {official} there"
        )
    urls = [*mirror_addresses(file.name, fetcher.mirrors), official]
    with reporting(name, wanted=fetcher.progress) as report:
        download(urls, file, sha256, limit=LIMIT, report=report)
