"""What is wrong with a suite that is well formed: names, teachers, parameters, arithmetic."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from msgspec.structs import asdict, fields

from kdbench import catalog
from kdbench.printed import gain_error, printed_baselines
from kdbench.schema import Place, struct_at
from kdbench.spec import Delta, Loss, Recipe, Row, Suite


def find_mistakes(suite: Suite) -> list[str]:
    """One sentence for each mistake, with the file, the row and the cure."""
    place = Place(suite.path)
    _check_names(suite, place)
    _check_duplicates(suite, place)
    if not place.problems:
        for row in suite.rows:
            _check_row(suite, row, place.at(row.name))
        _check_teachers(suite, place)
        _check_gains(suite, place)
    for number, delta in enumerate(suite.deltas, 1):
        _check_delta(suite, delta, place.at(f"delta {number} ({delta.at})"))
    return place.problems


def _found(kind: catalog.Kind, name: str, place: Place) -> bool:
    try:
        catalog.find(kind, name)
    except LookupError as error:
        place.say(str(error))
        return False
    return True


def _check_names(suite: Suite, place: Place) -> None:
    """Each unknown name once, at the first row that uses it."""
    _found("datasets", suite.dataset, place.at("[suite], dataset"))
    first: dict[tuple[catalog.Kind, str], str] = {}
    for row in suite.rows:
        first.setdefault(("models", row.student), f"{row.name}, student")
        first.setdefault(("losses", row.loss.name), f"{row.name}, loss")
    for (kind, name), where in first.items():
        _found(kind, name, place.at(where))


def _check_duplicates(suite: Suite, place: Place) -> None:
    for name, times in Counter(row.name for row in suite.rows).items():
        if times > 1:
            place.say(f"row {name} stands {times} times; a printed cell is one row")


def _check_row(suite: Suite, row: Row, place: Place) -> None:
    dataset = catalog.find("datasets", suite.dataset)
    least = catalog.find("models", row.student).least_size
    if least > dataset.size:
        place.say(
            f"{row.student} needs images of {least} pixels; those of {suite.dataset} have {dataset.size}"
        )
    if row.recipe.classes and row.recipe.classes < dataset.classes:
        place.say(f"classes = {row.recipe.classes}; {suite.dataset} has {dataset.classes} classes")
    for problem in loss_mistakes(row.loss):
        place.say(problem)
    entry = catalog.find("losses", row.loss.name)
    if entry.teacher and row.teacher is None:
        place.say(f"loss {row.loss.name!r} needs a teacher; add teacher = ... to the row")
    if row.teacher is not None and not entry.teacher:
        place.say(f"loss {row.loss.name!r} takes no teacher, but the row names {str(row.teacher)!r}")
    if isinstance(row.reading, int) and row.reading > row.recipe.epochs:
        place.say(f"reading = {row.reading}, but it trains {row.recipe.epochs} epochs")
    _check_recipe(row.recipe, place)


def _check_recipe(recipe: Recipe, place: Place) -> None:
    if recipe.milestones and recipe.gamma == 1:
        place.say("milestones without gamma: the lr would never change; add gamma = ... to [recipe]")
    if list(recipe.milestones) != sorted(set(recipe.milestones)):
        place.say(f"milestones = {list(recipe.milestones)}; they must rise")
    if recipe.normalize:
        _found("datasets", recipe.normalize, place.at("recipe.normalize"))


def loss_mistakes(loss: Loss) -> Iterator[str]:
    """Parameters that the loss does not take, or needs and has not."""
    takes = catalog.find("losses", loss.name).params
    for name in loss.params:
        if name not in takes:
            yield catalog.unknown(f"parameter of loss {loss.name!r}", name, takes or ("none",))
    for name in takes:
        if name not in loss.params:
            yield f"loss {loss.name!r} needs the parameter {name!r}; it takes {', '.join(takes)}"


def _check_teachers(suite: Suite, place: Place) -> None:
    epochs: dict[str, int] = {}
    for row in suite.rows:
        if row.is_baseline:
            epochs.setdefault(row.student, row.recipe.epochs)
    for row in suite.rows:
        name = row.teacher_student
        if name is None or row.teacher is None:
            continue
        if name not in epochs:
            place.at(row.name).say(
                f"no row trains the teacher {name!r}: it needs a row of loss ce without a teacher. "
                + catalog.unknown("teacher", name, ["self", *epochs])
            )
        elif isinstance(row.teacher.epoch, int) and row.teacher.epoch > epochs[name]:
            place.at(row.name).say(f"teacher {row.teacher}: {name} trains only {epochs[name]} epochs")


def _check_gains(suite: Suite, place: Place) -> None:
    printed = printed_baselines(suite.rows)
    for row in suite.rows:
        error = gain_error(row, printed(row))
        if error is not None and not row.sic:
            place.at(row.name).say(
                f"gain = {row.reference.gain}, but {row.reference.top1} - {printed(row)} is "
                f"{row.reference.top1 - printed(row):.2f}; if the paper prints it so, add sic = true"  # type: ignore[operator]
            )
        elif error is None and row.sic:
            place.at(row.name).say("sic = true, but the printed gain adds up; remove it")


def _check_delta(suite: Suite, delta: Delta, place: Place) -> None:
    concerned = [row for row in suite.rows if delta.concerns(row)]
    if not concerned:
        place.say(f"concerns no row: where = {dict(delta.where)}, loss = {dict(delta.loss)}")
    for name in delta.loss.values():
        _found("losses", name, place.at("loss"))
    _check_delta_recipe(delta, concerned, place.at("recipe"))


def _check_delta_recipe(delta: Delta, concerned: list[Row], place: Place) -> None:
    known = {info.name for info in fields(Recipe)}
    for key in delta.recipe.keys() - known:
        place.say(catalog.unknown("key", key, sorted(known)))
    if concerned and delta.recipe and not delta.recipe.keys() - known:
        made: dict[str, Any] = {**asdict(concerned[0].recipe), **delta.recipe}
        recipe = struct_at(Recipe, made, place)
        if recipe is not None:
            _check_recipe(recipe, place)
