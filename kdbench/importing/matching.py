"""Layers under other people's names -> kdbench's: by name, by a person's map, by order and shape.

A layer is what stands before the last dot of its tensors' names, with their shapes:
`conv1.weight` (16, 3, 3, 3) is the layer `conv1`, ((`weight`, (16, 3, 3, 3)),).
"""

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from kdbench.catalog import unknown
from kdbench.errors import UserError
from kdbench.toml import parse

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
Layers = dict[str, Shapes]
Names = dict[str, str]
"""Their name of a layer -> ours."""

IGNORED = ("num_batches_tracked", "n_averaged", "total_ops", "total_params")
"""Counters of batch norms, of averaged weights and of profilers: no output depends on them."""
SHORTCUT = re.compile(r"(?:(?P<block>.*)\.)?(?:shortcut|downsample|left)(?:\..*)?")


def layers_of(tensors: Mapping[str, Tensor]) -> Layers:
    """Tensors by name -> the layers that they make, in the same order."""
    parts: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".")
        if part not in IGNORED:
            parts[layer][part] = tuple(tensor.shape)
    return {layer: tuple(sorted(shapes.items())) for layer, shapes in parts.items()}


def in_natural_order(layers: Layers) -> Layers:
    """Layers by name, `layer1.2` before `layer1.10`: for files that do not keep the network's order."""
    return {name: layers[name] for name in sorted(layers, key=_natural)}


def _natural(name: str) -> list[tuple[int, int, str]]:
    words = re.findall(r"\d+|\D+", name)
    return [(0, int(word), "") if word.isdecimal() else (1, 0, word) for word in words]


def matchings(given: Layers, wanted: Layers) -> list[Names]:
    """Every way in which the layers of a file may be those of a network; none where the shapes differ.

    Args:
        given: the file's layers, in its order.
        wanted: the network's, in its own order.

    Names decide where they are the same, with or without `body.`, up to one layer (the classifier, which
    others call `fc`, `linear` or `head`). Then the order does, in which networks of the same design have
    their parts; a file may have lost it, and a block's shortcut may come before its branch. Where parts fit
    in no order, the first layer of a shape is the first of that shape. The accuracy decides between several.
    """
    if by_name := _by_name(given, wanted):
        return [by_name]
    if Counter(given.values()) != Counter(wanted.values()):
        return []
    orders = [list(given), _with_shortcuts_first(list(given))]
    arranged = [_by_parts(order, given, wanted) for order in orders]
    ways = list(filter(None, arranged)) or [_by_shape(order, given, wanted) for order in orders]
    return ways if ways[0] != ways[-1] else ways[:1]


Part = str | dict[str, "Part"]
"""A layer's name, or the parts of a module by their names."""


def _by_parts(order: Iterable[str], given: Layers, wanted: Layers) -> Names:
    """Modules in the order in which their layers' shapes are those of the network; {} where there is none.

    A file that is sorted by name has `blocks` before `conv1`. A module's layers follow each other, and those
    that are numbered keep their order; `conv1` comes first, as only it has the shape that the network begins
    with. Of several that fit at a place, the one of the fewest layers is taken, of these the first.
    """
    shapes = list(wanted.values())

    def placed(part: Part, at: int) -> list[str]:
        """The layers of a part in the order that fits from a place on; [] where none does."""
        if isinstance(part, str):
            return [part] if shapes[at : at + 1] == [given[part]] else []
        # Numbered parts (`layer1.0`, `layer1.1`) are tried in their order alone, named ones in any.
        found: list[str] = []
        left = dict(part)
        while left:
            tried = [next(iter(left))] if all(map(str.isdecimal, left)) else list(left)
            ways = {name: placed(left[name], at + len(found)) for name in tried}
            fitting = [name for name in tried if ways[name]]
            if not fitting:
                return []
            chosen = min(fitting, key=lambda name: len(ways[name]))
            found += ways[chosen]
            del left[chosen]
        return found

    return dict(zip(placed(_parts(order), 0), wanted, strict=False))


def _parts(names: Iterable[str]) -> dict[str, Part]:
    """`["a.b", "a.c"]` -> `{"a": {"b": {"": "a.b"}, "c": {"": "a.c"}}}`: modules in modules."""
    whole: dict[str, Part] = {}
    for name in names:
        inside: Any = whole
        for word in name.split("."):
            inside = inside.setdefault(word, {})
        inside[""] = name
    return whole


def _by_name(given: Layers, wanted: Layers) -> Names:
    """Layers of the same names and shapes; {} where more than one is left over."""
    found = {}
    for name, shapes in given.items():
        for ours in (name, f"body.{name}"):
            if wanted.get(ours) == shapes:
                found[name] = ours
    theirs = [name for name in given if name not in found]
    ours_left = [name for name in wanted if name not in found.values()]
    if len(theirs) == len(ours_left) == 1 and given[theirs[0]] == wanted[ours_left[0]]:
        found[theirs[0]] = ours_left[0]
    whole = len(found) == len(given) == len(wanted) == len(set(found.values()))
    return found if whole else {}


def _by_shape(order: Iterable[str], given: Layers, wanted: Layers) -> Names:
    """The k-th layer of a shape there is the k-th of it here."""
    places: dict[Shapes, deque[str]] = defaultdict(deque)
    for name, shapes in wanted.items():
        places[shapes].append(name)
    return {name: places[given[name]].popleft() for name in order}


def _with_shortcuts_first(names: list[str]) -> list[str]:
    """`a.conv1, a.shortcut.0, b.conv1` -> `a.shortcut.0, a.conv1, b.conv1`."""
    shortcuts: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if found := SHORTCUT.fullmatch(name):
            shortcuts[found["block"] or ""].append(name)
    # A block's shortcuts are put in before its first layer; a dict keeps the first place of each name.
    moved: dict[str, None] = {}
    for name in names:
        for block in [each for each in shortcuts if name.startswith(f"{each}." if each else "")]:
            moved |= dict.fromkeys(shortcuts.pop(block))
        moved[name] = None
    return list(moved)


def outputs_of(given: Layers, wanted: Layers) -> int | None:
    """How many outputs a file's classifier has, if it differs from the network's in nothing else.

    None where it does not differ, or the two are not the same network.
    """
    # The classifier's weight is (outputs, inputs): the two differ in this layer alone, and there in outputs.
    extra = list((Counter(given.values()) - Counter(wanted.values())).elements())
    lacking = list((Counter(wanted.values()) - Counter(given.values())).elements())
    if len(extra) != 1 or len(lacking) != 1:
        return None
    theirs, ours = dict(extra[0]), dict(lacking[0])
    weight = theirs.get("weight", ())
    same = theirs.keys() == ours.keys() and weight[1:] == ours.get("weight", ())[1:]
    return weight[0] if same and len(weight) > 1 else None


def differences(given: Layers, wanted: Layers) -> list[str]:
    """Why layers do not fit, a sentence each: of the same names as far as there are some, else by shape."""
    same = sum(name in wanted for name in given)
    if same * 2 < len(wanted):
        return _differences_by_shape(given, wanted)
    problems = []
    if missing := [name for name in wanted if name not in given]:
        problems.append(f"{len(missing)} of its layers are missing: {some(missing)}")
    if extra := [name for name in given if name not in wanted]:
        problems.append(f"{len(extra)} layers are not its own: {some(extra)}")
    other = [name for name in wanted if name in given and given[name] != wanted[name]]
    return problems + [
        f"{name} is {_shapes(given[name])}, not {_shapes(wanted[name])}" for name in other[:10]
    ]


def _differences_by_shape(given: Layers, wanted: Layers) -> list[str]:
    extra, lacking = Counter(given.values()), Counter(wanted.values())
    extra, lacking = extra - lacking, lacking - extra
    problems = [f"{len(given)} layers under other names; it has {len(wanted)}"]
    for what, left, layers in (("no place for", extra, given), ("nothing for", lacking, wanted)):
        names = [f"{name} ({_shapes(shapes)})" for name, shapes in layers.items() if shapes in left]
        if names:
            problems.append(f"{what} {sum(left.values())} layers, of the shapes of {some(names)}")
    return problems


def _shapes(shapes: Shapes) -> str:
    return ", ".join(f"{part} {'x'.join(map(str, shape)) or 'one number'}" for part, shape in shapes)


def some(names: Iterable[str]) -> str:
    """The first four names."""
    found = list(names)
    return ", ".join(f"{name:.120}" for name in found[:4]) + (", ..." if len(found) > 4 else "")


def read_map(path: Path) -> Names:
    """A person's map of names, theirs = ours: TOML, or two columns with or without `=` between them.

    Raises:
        UserError: it cannot be read, or a line says nothing or the same name twice; a sentence for each.
    """
    pairs = list(_toml_pairs(parse(path))) if path.suffix == ".toml" else _columns(path)
    problems = []
    for side, names in (
        ("in the file of weights", [a for a, _ in pairs]),
        ("of kdbench", [b for _, b in pairs]),
    ):
        twice = [name for name, count in Counter(names).items() if count > 1]
        problems += [f"{path}: {name!r:.80} {side} stands on two lines" for name in twice]
    if not pairs:
        problems.append(f"{path}: maps nothing; write a line THEIRS = OURS for each layer")
    if problems:
        raise UserError(*problems)
    return dict(pairs)


def _toml_pairs(table: Mapping[str, object], before: str = "") -> Iterator[tuple[str, str]]:
    """The dotted keys of TOML with their values; `a.b = "c"` is a table in a table."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _toml_pairs(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", str(value)


def _columns(path: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: no text in UTF-8; write a line THEIRS = OURS for each layer") from error
    pairs, problems = [], []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].replace("=", " ").replace(",", " ").split()
        if len(words) == 2:
            pairs.append((words[0], words[1]))
        elif words:
            problems.append(f"{path}:{number}: {line.strip()!r:.80}: write two names, THEIRS = OURS")
    if problems:
        raise UserError(*problems[:20])
    return pairs


def mapped(names: Names, path: Path, given: Layers, wanted: Layers) -> Names:
    """A person's map, and for all that it leaves out the one way that there is.

    Args:
        names: their layers, or what several layers' names begin with -> ours.
        path: the map's file, for messages.
        given: the file's layers.
        wanted: the network's.

    Raises:
        UserError: a name of the map is nobody's, or what it joins has other shapes; a sentence for each.
    """
    found: Names = {}
    problems = []
    for theirs, ours in names.items():
        there, here = _below(theirs, given), _below(ours, wanted)
        if not there:
            problems.append(f"{path}: {unknown('layer of the file of weights', theirs, given)}")
        if not here:
            problems.append(f"{path}: {unknown('layer of the network', ours, wanted)}")
        if not there or not here:
            continue
        ways = matchings(there, here)
        if len(ways) == 1:
            found |= {theirs + a: ours + b for a, b in ways[0].items()}
        elif ways:
            problems.append(f"{path}: {theirs} = {ours} fits in {len(ways)} ways; map its layers one by one")
        else:
            shapes = f"{len(there)} and {len(here)} layers"
            if len(there) == len(here) == 1:
                shapes = f"{_shapes(*there.values())} and {_shapes(*here.values())}"
            problems.append(f"{path}: {theirs} = {ours} are not alike: {shapes}")
    if problems:
        raise UserError(*problems[:20])
    taken = set(found.values())
    rest = {name: shapes for name, shapes in given.items() if name not in found}
    places = {name: shapes for name, shapes in wanted.items() if name not in taken}
    return found | _unmapped(path, rest, places)


def _unmapped(path: Path, rest: Layers, places: Layers) -> Names:
    """What a map leaves out, by name, order and shape as without a map: there must be one way."""
    ways = matchings(rest, places)
    if not ways:
        raise UserError(*(f"{path}: beside what it maps, {each}" for each in differences(rest, places)))
    if len(ways) > 1:
        raise UserError(f"{path}: what it leaves out fits in {len(ways)} ways; map more of it")
    return ways[0]


def _below(prefix: str, layers: Layers) -> Layers:
    """The layer of a name, as "", or those below it, each as the rest of its name with the dot."""
    if prefix in layers:
        return {"": layers[prefix]}
    return {
        name.removeprefix(prefix): shapes for name, shapes in layers.items() if name.startswith(f"{prefix}.")
    }
