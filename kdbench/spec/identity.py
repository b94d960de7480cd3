"""A run as it is hashed: what can change a number, by name, without what is off."""

from functools import cache

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

HASHED_NAMES = {"ghost_batches": "parts"}
"""Fields that were renamed are hashed by their first name, so that no run changes its id."""


def identity(value: Struct) -> dict[str, object]:
    """A run, or a part of one, as it is hashed: every field by name but those that are off, a run by id.

    msgspec's own omit_defaults compares by identity, which a copy from another process does not keep.
    """
    hashed: dict[str, object] = {}
    for name, off in _fields(type(value)):
        part = getattr(value, name)
        if part != off:
            hashed[HASHED_NAMES.get(name, name)] = _hashed(part) if isinstance(part, Struct) else part
    return hashed


def _hashed(part: Struct) -> object:
    """A part that is a run by its id; one that remembers its identity (a recipe) by that."""
    if hasattr(part, "id"):
        return part.id
    return part.identity if hasattr(part, "identity") else identity(part)


@cache
def _fields(kind: type[Struct]) -> list[tuple[str, object]]:
    """Each field with the value that means "off"; a required one is never off."""
    optional = {info.name: info.default for info in fields(kind) if not info.required}
    values = {name: {} if value is NODEFAULT else value for name, value in optional.items()}
    return [(name, values.get(name, NODEFAULT)) for name in kind.__struct_fields__]
