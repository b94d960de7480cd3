"""How recipes differ, and how their fields are written."""

from collections.abc import Iterable

from msgspec.structs import asdict

from kdbench.spec.runs import Recipe


def differing(recipes: Iterable[Recipe]) -> tuple[str, ...]:
    """The fields in which recipes are not all the same, in the order of `Recipe`.

    `draw` is left out: other initial weights are no other recipe.
    """
    distinct = [asdict(recipe) for recipe in dict.fromkeys(recipes)]
    found = []
    for name, value in distinct[0].items() if distinct else ():
        if name != "draw" and any(other[name] != value for other in distinct):
            found.append(name)
    return tuple(found)


def shown(recipe: Recipe, names: Iterable[str]) -> str:
    """These fields of a recipe: `lr 0.01, milestones 60 120, no flip`."""
    return ", ".join(_field(name, getattr(recipe, name)) for name in names)


def against(one: Recipe, other: Recipe) -> str:
    """`lr 0.05 against lr 0.1`: how a recipe differs from another one; "" where it does not."""
    names = differing((one, other))
    return f"{shown(one, names)} against {shown(other, names)}" if names else ""


def _field(name: str, value: object) -> str:
    if isinstance(value, bool) or value in ("", ()):
        return name if value else f"no {name}"
    if isinstance(value, tuple):
        return f"{name} {' '.join(map(str, value))}"
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
