"""Weights that kdbench did not train, named by the digest of their file."""

from typing import Annotated

from msgspec import Meta, Struct

Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Weights(Struct, frozen=True):
    """Published weights that a training starts from."""

    name: str
    """As a row has it: `timm/resnet50.a1_in1k`."""
    sha256: Digest
    """Of the file."""


class Imported(Struct, frozen=True):
    """Somebody else's network, made a teacher by `kdbench import`."""

    model: str
    sha256: Digest
    """Of the file as its author published it, or of the weights that were chosen in it."""
