"""What is wrong with a suite that is well formed: names, teachers, parameters, arithmetic."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain, pairwise
from typing import Any

from msgspec.structs import asdict

from kdbench import catalog
from kdbench.catalog import unknown
from kdbench.formatting import plural
from kdbench.grouping import grouped
from kdbench.plugins import BrokenPluginError
from kdbench.spec.runs import Loss, Recipe
from kdbench.spec.suites import Claim, Delta, Reference, Row, Suite, named
from kdbench.suite.arithmetic import ROUNDING, gain_error, printed_baselines
from kdbench.suite.deltas import loss_read_by, released, released_epoch
from kdbench.toml import WRONG, Place, values_at

AUGMENTATIONS = ("crop", "flip", "rotation", "randaugment", "random_erasing", "mixup", "cutmix")
"""Fields of a recipe that make other images of the training images."""


def find_mistakes(suite: Suite, place: Place) -> None:
    """Say each mistake once, with the file, the first row that it concerns and a hint.

    What may only be a consequence of a row that could not be read is not reported: see `Place.doubts`.
    """
    if suite.dataset:
        place.at("[suite]").report_all(_name_mistakes("datasets", suite.dataset))
    _check_duplicates(suite, place)
    # A row whose loss is unknown, or takes no teacher and has one, is wrong itself. It may be meant as the
    # baseline that another row misses: no sentence says of that one that there is none.
    trained = [row for row in suite.rows if not row.untrained]
    place.doubts.update(row.student for row in trained if _takes_teacher(row) is None)
    unsure = place.doubts | {row.student for row in trained if row.teacher and not _takes_teacher(row)}
    checks = (
        _row_mistakes(suite),
        _teacher_mistakes(suite, unsure),
        _teacher_row_mistakes(suite, unsure),
        _imported_mistakes(suite, unsure),
        _released_weights_mistakes(suite),
        _over_mistakes(suite, unsure),
        _gain_mistakes(suite, unsure),
        _mean_mistakes(suite, unsure),
        _released_mistakes(suite),
    )
    # One sentence may hold of many rows: it is reported once, at the first of them.
    concerned = grouped((sentence, row.name) for row, sentence in chain.from_iterable(checks))
    for sentence, rows in concerned.items():
        others = f" and {plural(len(rows) - 1, 'more row')}" if len(rows) > 1 else ""
        place.at(rows[0] + others).report(sentence)
    _check_teacher_seed(suite, place.at("[suite]"))
    for number, delta in enumerate(suite.deltas, 1):
        _check_delta(suite, delta, place.at(f"delta {number} ({delta.at})"))
    _check_formulas(suite, place)


def _entry(kind: catalog.Kind, name: str) -> Any:  # noqa: ANN401 - of the kind's class
    try:
        return catalog.find_or_none(kind, name)
    except BrokenPluginError:
        return None


def _name_mistakes(kind: catalog.Kind, name: str) -> Iterator[str]:
    """Why a name cannot be used: nothing has it, or the package that does is broken."""
    try:
        catalog.find(kind, name)
    except LookupError as error:
        yield str(error)


def _takes_teacher(row: Row) -> bool | None:
    """Whether a row's loss does; None of an unknown one."""
    entry = _entry("losses", row.loss.name)
    return None if entry is None else bool(entry.teacher)


def _check_teacher_seed(suite: Suite, place: Place) -> None:
    """Generated points are those of a seed: a teacher of another one has learned from others."""
    dataset = _entry("datasets", suite.dataset)
    if suite.teacher_seed is not None and dataset is not None and dataset.generated:
        place.report(f"teacher_seed: {suite.dataset} is generated for each seed; leave it out")


def _check_duplicates(suite: Suite, place: Place) -> None:
    for name, times in _repeated(row.name for row in suite.rows):
        place.report(f"row {name} stands {times} times; a printed cell is one row")


def _repeated(names: Iterable[str]) -> Iterator[tuple[str, int]]:
    """The names that stand more than once, and how often."""
    return ((name, times) for name, times in Counter(names).items() if times > 1)


def _row_mistakes(suite: Suite) -> Iterator[tuple[Row, str]]:
    """What is wrong with single rows, whatever the others are."""
    for row in suite.rows:
        dataset = _entry("datasets", row.dataset or suite.dataset)
        # A row that is not trained may name what the catalog lacks: only its recipe can be wrong.
        names = () if row.untrained else (_model_mistakes(row, dataset), _loss_mistakes(row))
        problems = (
            *names,
            _dataset_mistakes(row),
            _neighbour_mistakes(row, dataset),
            _distiller_mistakes(row),
            recipe_mistakes(row.recipe),
            target_mistakes(row.recipe, row.loss, privileged=bool(row.teacher_dataset)),
            _weights_mistakes(row),
            _image_mistakes(row.recipe, dataset),
            _schedule_mistakes(row.recipe),
            _class_mistakes(row.recipe, dataset),
            _accuracy_mistakes(row, dataset),
        )
        yield from ((row, problem) for problem in chain.from_iterable(problems))
        for epoch in dict.fromkeys((row.report_epoch, released_epoch(suite, row, row.report_epoch))):
            if isinstance(epoch, int) and epoch > row.recipe.epochs:
                yield row, f"report_epoch = {epoch}, but it trains {row.recipe.epochs} epochs"
        if row.report_epoch == "best_validation" and not row.recipe.validation_size:
            none = "the best epoch on held-out images is reported, and none are held out: add "
            yield row, f"{none}validation_size = ... to [recipe]"
        classes = row.recipe.classes
        if dataset is not None and 0 < classes < dataset.classes:
            yield row, f"classes = {classes}; {row.dataset or suite.dataset} has {dataset.classes} classes"


def _dataset_mistakes(row: Row) -> Iterator[str]:
    for name in filter(None, (row.dataset, row.teacher_dataset)):
        yield from _name_mistakes("datasets", name)


def _model_mistakes(row: Row, dataset: catalog.DatasetEntry | None) -> Iterator[str]:
    try:
        least = catalog.find("models", row.student).least_size
    except LookupError as error:
        yield str(error)
    else:
        if dataset is not None and least > (side := row.recipe.size or dataset.size):
            yield f"{row.student} needs images of {least} pixels; it is given images of {side}"


def _weights_mistakes(row: Row) -> Iterator[str]:
    model = _entry("models", row.student)
    if row.weights is None or model is None:
        return
    architecture = row.weights.name.partition("/")[2].partition(".")[0]
    if model.timm != architecture:
        fit = f"it takes those of timm/{model.timm}" if model.timm else "no published weights fit it"
        yield f"weights {row.weights.name} are not for {row.student}: {fit}"


def _image_mistakes(recipe: Recipe, dataset: catalog.DatasetEntry | None) -> Iterator[str]:
    """Settings of images that a data set cannot follow."""
    if dataset is None:
        return
    stds = len(recipe.normalize_std)
    if stds not in (0, dataset.channels):
        yield f"normalize_std has {stds} values; an image has channels: {dataset.channels}"
    if dataset.generated:
        for name in (*AUGMENTATIONS, "size", "normalize", "normalize_std"):
            if getattr(recipe, name):
                yield f"{name} = {getattr(recipe, name)!r}: that is for images, not for generated values"
    beyond = list(size_mistakes(recipe, dataset))
    yield from beyond
    there = min(recipe.train_size or dataset.train, dataset.train)
    left = there - recipe.held_out(there)
    if recipe.subset > left and not beyond:
        yield (
            f"subset = {recipe.subset}: more than the {left:,} training images that train_size and "
            f"validation_size leave; at most {left} can be drawn"
        )
    if recipe.validation_size > there // 2:
        yield (
            f"validation_size = {recipe.validation_size}: more than half of the {there:,} training images; "
            f"at most {there // 2} can be held out"
        )
    if dataset.varied:
        yield from _varied_mistakes(recipe, dataset)


def size_mistakes(recipe: Recipe, dataset: catalog.DatasetEntry) -> Iterator[str]:
    """Sizes beyond the data set's own: all of its images are not as many as are asked for."""
    of = {"train_size": "train", "subset": "train", "test_size": "test"}
    for name, split in of.items():
        size, there = getattr(recipe, name), getattr(dataset, split)
        if size > there:
            images = "training images" if split == "train" else "test images"
            yield f"{name} = {size}: the data set has {there:,} {images}; give at most so many, or 0 for all"


def _varied_mistakes(recipe: Recipe, dataset: catalog.DatasetEntry) -> Iterator[str]:
    """The same of images of many sizes."""
    if not recipe.size:
        yield "its images have many sizes; add size = 224, or what the network sees, to [recipe]"
    if recipe.resize > dataset.size:
        yield f"resize = {recipe.resize}; images are stored with a shorter side of {dataset.size}"


def _schedule_mistakes(recipe: Recipe) -> Iterator[str]:
    """What a suite's schedule would do after the end; `--set epochs=2` may well cut a longer one."""
    late = [epoch for epoch in recipe.milestones if epoch > recipe.epochs]
    if late:
        yield f"milestones = {list(recipe.milestones)}: {late[0]} is beyond the last epoch, {recipe.epochs}"
    if recipe.warmup_epochs > recipe.epochs:
        yield f"warmup_epochs = {recipe.warmup_epochs}: more than epochs = {recipe.epochs}"


def _class_mistakes(recipe: Recipe, dataset: catalog.DatasetEntry | None) -> Iterator[str]:
    """Classes that the data set does not have."""
    classes = recipe.classes or (dataset.classes if dataset else 0)
    named = {"transfer_classes": recipe.transfer_classes, "bias": tuple(of for of, _ in recipe.bias)}
    for name, chosen in named.items():
        beyond = [of for of in chosen if of >= classes]
        if beyond and dataset is not None:
            yield f"{name}: class {beyond[0]}; the classes are 0 to {classes - 1}"


def _accuracy_mistakes(row: Row, dataset: catalog.DatasetEntry | None) -> Iterator[str]:
    """An accuracy below that of guessing: mostly a fraction or an error rate."""
    top1 = row.reference.top1
    if top1 is None or dataset is None or row.sic or not _is_below_chance(row, dataset):
        return
    meant = f"{100 * top1:g} as a fraction?" if top1 <= 1 else f"{100 - top1:g} as an error rate?"
    chance = f"chance, {100 / dataset.classes:g} % for {dataset.classes} classes"
    yield f"top1 = {top1}: below {chance}; is it {meant} If the paper prints it so, add sic = true"


def _is_below_chance(row: Row, dataset: catalog.DatasetEntry | None) -> bool:
    top1 = row.reference.top1
    return top1 is not None and dataset is not None and top1 * dataset.classes < 100


def _loss_mistakes(row: Row) -> Iterator[str]:
    try:
        entry = catalog.find("losses", row.loss.name)
    except LookupError as error:
        yield str(error)
        return
    yield from loss_mistakes(row.loss)
    if entry.teacher and row.teacher is None:
        yield f"loss {row.loss.name!r} needs a teacher; add teacher = ... to the row"
    if row.teacher is not None and not entry.teacher:
        yield f"loss {row.loss.name!r} takes no teacher, but the row names {str(row.teacher)!r}"


def _neighbour_mistakes(row: Row, dataset: catalog.DatasetEntry | None) -> Iterator[str]:
    loss = _entry("losses", row.loss.name)
    if loss is not None and loss.neighbours and dataset is not None and not dataset.neighbours:
        having = [name for name, each in catalog.entries("datasets").items() if each.neighbours]
        there = f"which data set says? {', '.join(having)}"
        yield f"loss {row.loss.name!r} needs to know which classes are near each other; {there}"


def _distiller_mistakes(row: Row) -> Iterator[str]:
    """What a distiller asks of the networks and of the recipe."""
    loss = _entry("losses", row.loss.name)
    if not isinstance(loss, catalog.DistillerEntry):
        return
    for model in (row.student, row.teacher_student):
        entry = _entry("models", model) if model else None
        if loss.maps and entry is not None and not entry.maps:
            having = ", ".join(name for name in catalog.names("models") if _entry("models", name).maps)
            yield f"{row.loss.name} reads the maps of both networks; {model} gives none. With maps: {having}"
    if loss.memory and row.recipe.ghost_batches and catalog.package_of("losses", row.loss.name):
        yield f"{row.loss.name} keeps something of each image, of whole batches: remove ghost_batches"


def recipe_mistakes(recipe: Recipe) -> Iterator[str]:
    """What contradicts itself within a recipe."""
    yield from _lr_mistakes(recipe)
    yield from _optimizer_mistakes(recipe)
    yield from _size_mistakes(recipe)
    if recipe.ghost_batches and recipe.batch_size % recipe.ghost_batches:
        yield f"ghost_batches = {recipe.ghost_batches}; they must divide batch_size = {recipe.batch_size}"
    if recipe.randaugment_magnitude and not recipe.randaugment:
        yield "randaugment_magnitude without randaugment: add randaugment = 2, or as many operations as it is"
    if recipe.validation_seed and not recipe.validation_size:
        yield "validation_seed without validation_size: add how many images are held out"
    if recipe.transfer_classes and recipe.subset:
        yield "transfer_classes with subset: a draw of all classes and a choice of classes; leave one out"
    biased = [of for of, _ in recipe.bias]
    for name, chosen in (("transfer_classes", recipe.transfer_classes), ("bias", biased)):
        if len(set(chosen)) < len(chosen):
            yield f"{name}: a class stands there twice"
    if recipe.normalize not in ("", "none"):
        yield from (f"normalize: {mistake}" for mistake in _name_mistakes("datasets", recipe.normalize))
    if recipe.normalize_std and recipe.normalize == "none":
        yield f'normalize_std = {list(recipe.normalize_std)}: leave out normalize = "none"'
    elif any(std > 1 for std in recipe.normalize_std):
        yield f"normalize_std = {list(recipe.normalize_std)}: it is of values from 0 to 1"


def target_mistakes(recipe: Recipe, loss: Loss, *, privileged: bool) -> Iterator[str]:
    """Targets that a recipe makes and a loss cannot take; nothing of a loss that the catalog lacks."""
    entry = _entry("losses", loss.name)
    names = [name for name in ("label_smoothing", "mixup", "cutmix") if getattr(recipe, name)]
    if entry is None or not names:
        return
    if recipe.mixes and privileged:
        yield "mixup and cutmix: the teacher sees other images (teacher_dataset), which are not mixed"
    if entry.needs_class:
        yield (
            f"{names[0]}: loss {loss.name!r} looks up the class of each image, so that targets can be "
            f"neither smoothed nor mixed; remove it for these rows"
        )
    elif recipe.label_smoothing and entry.ranges.keys() & {"epsilon", "epsilon1"}:
        yield f"label_smoothing: loss {loss.name!r} smooths its targets itself; remove one of the two"


def _lr_mistakes(recipe: Recipe) -> Iterator[str]:
    """Settings of another schedule than the recipe's, and milestones that do nothing."""
    if recipe.milestones and recipe.gamma == 1:
        yield "milestones without gamma: the lr would never change; add gamma = ... to [recipe]"
    if list(recipe.milestones) != sorted(set(recipe.milestones)):
        yield f"milestones = {list(recipe.milestones)}; they must rise"
    if recipe.schedule != "milestones" and (recipe.milestones or recipe.gamma != 1):
        yield (
            f"milestones and gamma are settings of schedule 'milestones'; schedule is {recipe.schedule!r}: "
            f"remove them, or set milestones = [] and gamma = 1.0"
        )
    if recipe.lr_end and recipe.schedule not in ("cosine", "linear"):
        yield f"lr_end is a setting of schedules cosine and linear; schedule is {recipe.schedule!r}"
    elif recipe.lr_end > recipe.lr:
        yield f"lr_end = {recipe.lr_end:g}: the lr would rise from lr = {recipe.lr:g}"


def _optimizer_mistakes(recipe: Recipe) -> Iterator[str]:
    """Settings of another optimizer than the recipe's."""
    for name in ("rho", "eps_inside"):
        if getattr(recipe, name) and recipe.optimizer != "rmsprop":
            yield f"{name} is a setting of rmsprop; optimizer is {recipe.optimizer!r}"
    if recipe.eps and recipe.optimizer == "sgd":
        yield "eps is a setting of adam, adamw and rmsprop; optimizer is 'sgd'"
    if recipe.eps_inside and (recipe.momentum or recipe.weight_decay):
        yield "eps_inside = true is Keras' rmsprop, which has neither momentum nor weight_decay"


def _size_mistakes(recipe: Recipe) -> Iterator[str]:
    if not recipe.size:
        for name in ("resized_crop", "resize"):
            if getattr(recipe, name):
                yield f"{name} without size: add size = ..., the side of the images that the network sees"
        return
    for name in ("crop", "rotation"):
        if getattr(recipe, name):
            yield f"{name} = {getattr(recipe, name)} with size: that is for images as they are"
    if 0 < recipe.resize < recipe.size:
        yield f"resize = {recipe.resize}; the centre of size = {recipe.size} would not fit in"


def loss_mistakes(loss: Loss) -> Iterator[str]:
    """Parameters that the loss does not take, needs and has not, or has with a value that cannot be meant."""
    entry = catalog.find("losses", loss.name)
    takes = entry.ranges
    for name, value in loss.params.items():
        if name not in takes:
            yield f"loss {loss.name!r}: {catalog.unknown('parameter', name, takes or ('none',))}"
        elif mistake := takes[name].mistake(name, value):
            yield f"loss {loss.name!r}: {mistake}"
    if sum(loss.params.get(name, 0.0) for name in entry.shares) > 1:
        yield f"loss {loss.name!r}: {' + '.join(entry.shares)} must be at most 1"
    for name in takes:
        if name not in loss.params:
            yield f"loss {loss.name!r} needs the parameter {name!r}; it takes {', '.join(takes)}"


def _teacher_mistakes(suite: Suite, unsure: Collection[str]) -> Iterator[tuple[Row, str]]:
    """Teachers that no row trains, on the same images and for as many epochs as are named.

    Args:
        suite: the suite.
        unsure: students some of whose rows could not be read: they may be the ones that are missed.
    """
    # How many epochs the baseline of a student trains on a data set and subset: {("mlp", "digits", 0): 200}.
    epochs: dict[tuple[str, str, int], int] = {}
    for row in suite.rows:
        if row.is_baseline and not row.untrained:
            seen = (row.student, row.dataset or suite.dataset, row.recipe.subset)
            epochs.setdefault(seen, row.recipe.epochs)
    for row in suite.rows:
        name, teacher = row.teacher_student, row.teacher
        if name is None or teacher is None or row.teacher_row or row.untrained or _unsure(name, unsure):
            continue
        dataset, subset = row.teacher_dataset or row.dataset or suite.dataset, row.recipe.subset
        last = epochs.get((name, dataset, subset))
        if last is None:
            on = f" on {dataset}" if dataset != suite.dataset else ""
            on += f" with subset = {subset}" if subset else ""
            trained = [student for student, *seen in epochs if seen == [dataset, subset]]
            yield (
                row,
                f"no row trains the teacher {name!r}{on}: it needs a row of loss ce without a teacher. "
                + catalog.unknown("teacher", name, ["self", *trained]),
            )
            continue
        for epoch in dict.fromkeys((teacher.epoch or suite.teacher, released(suite, row)[2])):
            if isinstance(epoch, int) and epoch > last:
                yield row, f"teacher {name}@{epoch}: {name} trains only {last} epochs"


def _teacher_row_mistakes(suite: Suite, unsure: Collection[str]) -> Iterator[tuple[Row, str]]:
    """A row that is named as the teacher trains that network, and is not taught by its own student."""
    rows = {row.name: row for row in suite.rows}
    for row in suite.rows:
        if not row.teacher_row or "*" in unsure:
            continue
        if row.teacher_row not in rows:
            same = [each.name for each in suite.rows if each.student == row.teacher_student]
            yield row, f"teacher_row: {unknown('row', row.teacher_row, same)}"
            continue
        # Of several reasons the first one is reported: the others mostly follow from it.
        named_row = rows[row.teacher_row]
        epoch = row.teacher.epoch if row.teacher else None
        if named_row.student != row.teacher_student:
            yield row, f"teacher_row: {named_row.name} trains {named_row.student}, not {row.teacher_student}"
        elif named_row.untrained or named_row.mean:
            yield row, f"teacher_row: {named_row.name} is not trained"
        elif named_row.seeds < row.seeds:
            yield row, f"teacher_row: {named_row.name} has {named_row.seeds} seeds, this row {row.seeds}"
        elif isinstance(epoch, int) and epoch > named_row.recipe.epochs:
            yield row, f"teacher {row.teacher}: {named_row.name} trains only {named_row.recipe.epochs} epochs"
        elif _teaches_itself(row, rows):
            yield row, f"teacher_row: {named_row.name} is itself taught, in the end, by this row"


def _teaches_itself(row: Row, rows: Mapping[str, Row]) -> bool:
    """Whether the chain of named teachers comes back to its start."""
    passed = {row.name}
    while row.teacher_row in rows:
        row = rows[row.teacher_row]
        if row.name in passed:
            return True
        passed.add(row.name)
    return False


def _imported_mistakes(suite: Suite, unsure: Collection[str]) -> Iterator[tuple[Row, str]]:
    for row in suite.rows:
        name = row.teacher.imported if row.teacher else ""
        if row.untrained or not name or row.teacher is None or "*" in unsure:
            continue
        if row.teacher.epoch is not None:
            yield row, f"teacher {str(row.teacher)!r}: an imported teacher has no epochs; leave out @"
        if name not in suite.imported:
            yield row, catalog.unknown("imported teacher", name, suite.imported or ["none: add [[imported]]"])
        else:
            yield from ((row, mistake) for mistake in _name_mistakes("models", suite.imported[name].model))


def _released_weights_mistakes(suite: Suite) -> Iterator[tuple[Row, str]]:
    """Rows of released weights whose file is not named, or is another network's."""
    for row in suite.rows:
        if not row.released:
            continue
        if row.released not in suite.imported:
            names = suite.imported or ["none: add [[imported]]"]
            yield row, catalog.unknown("imported weights", row.released, names)
        elif (model := suite.imported[row.released].model) != row.student:
            yield row, f"released = {row.released!r}: these weights are of {model}, not of {row.student}"
        if row.teacher is not None:
            yield (
                row,
                f"released = {row.released!r}: nothing is trained, so nobody teaches; leave out teacher",
            )


def _over_mistakes(suite: Suite, unsure: Collection[str]) -> Iterator[tuple[Row, str]]:
    students = {row.name: row.student for row in suite.rows}
    for row in suite.rows:
        if not row.over or _unsure(row.student, unsure):
            continue
        if row.over not in students:
            same = [name for name in students if students[name] == row.student and name != row.name]
            yield row, f"over: {catalog.unknown('row', row.over, same)}"
        elif row.over == row.name:
            yield row, "over: a row gains nothing over itself"
        elif students[row.over] != row.student:
            yield row, f"over: {row.over} trains {students[row.over]}; a gain is over the same student"


def _mean_mistakes(suite: Suite, unsure: Collection[str]) -> Iterator[tuple[Row, str]]:
    """What is wrong with means over rows; nothing is reported where a row could not be read."""
    tables = list(dict.fromkeys(row.table for row in suite.rows))
    for row in (row for row in suite.rows if row.mean and not unsure):
        members = [each for entry in row.mean for each in named(suite.rows, entry)]
        for entry in row.mean:
            if not named(suite.rows, entry):
                yield row, f"mean: {unknown('table or rows', entry, tables)}"
        if any(each.mean for each in members):
            yield row, "mean: a mean is over rows that are trained, not over other means"
        if row.teacher is not None or row.reference.gain is not None:
            yield row, "mean: it has neither a teacher nor a gain; those are its rows'"
        few = min((each.seeds for each in members), default=row.seeds)
        if few < row.seeds:
            yield row, f"mean: seeds = {row.seeds}, of which its rows train {few}"


def _unsure(student: str, unsure: Collection[str]) -> bool:
    return student in unsure or "*" in unsure


def _gain_mistakes(suite: Suite, unsure: Collection[str]) -> Iterator[tuple[Row, str]]:
    printed = printed_baselines(suite.rows)
    dataset = _entry("datasets", suite.dataset)
    for row in suite.rows:
        if _unsure(row.student, unsure):
            continue
        baseline, error = printed(row), gain_error(row, printed(row))
        if error is None and row.sic and not _is_below_chance(row, dataset):
            yield row, "sic = true, but the printed gain adds up; remove it"
        if error is not None and not row.sic and baseline is not None:
            yield row, _gain_mistake(row.reference, baseline)


def _gain_mistake(printed: Reference, baseline: float) -> str:
    """The sentence on a gain that is not value minus baseline; both numbers are printed."""
    top1, gain = printed.top1 or 0.0, printed.gain or 0.0
    hint = "if the paper prints it so, add sic = true"
    if abs(gain - (baseline - top1)) <= ROUNDING:
        hint = f"are these error rates? The accuracy of {top1} is {100 - top1:g}; else {hint}"
    return f"gain = {gain}, but {top1} - {baseline} is {top1 - baseline:.2f}; {hint}"


def _released_mistakes(suite: Suite) -> Iterator[tuple[Row, str]]:
    """What only the deltas together make wrong."""
    for row in suite.rows if suite.deltas else ():
        _, loss, _ = released(suite, row)
        known = _entry("losses", loss.name) and _entry("losses", row.loss.name) and not row.untrained
        if known and loss != row.loss and not list(loss_mistakes(row.loss)):
            yield from ((row, f"as released: {problem}") for problem in loss_mistakes(loss))


def _check_delta(suite: Suite, delta: Delta, place: Place) -> None:
    """Say where a delta names what is not there, or makes a recipe that was right wrong."""
    concerned = [row for row in suite.rows if delta.concerns(row)]
    if not place.doubts:
        _check_concerns(suite, delta, place)
    for name in delta.loss.values():
        place.at("loss").report_all(_name_mistakes("losses", name))
    for name in chain(delta.dataset, delta.dataset.values()):
        place.at("dataset").report_all(_name_mistakes("datasets", name))
    changed = values_at(Recipe, delta.recipe, place.at("recipe"))
    if concerned and changed and WRONG not in changed.values():
        before = concerned[0].recipe
        after = Recipe(**{**asdict(before), **changed})
        for problem in recipe_mistakes(after):
            if problem not in recipe_mistakes(before):
                place.at("recipe").report(problem)


def _check_formulas(suite: Suite, place: Place) -> None:
    """Of the readings of one formula one is assumed, and that is what the rows say."""
    for number, formula in enumerate(suite.formulas, 1):
        here = place.at(f"formula {number} ({formula.name})")
        _check_delta(suite, formula.delta, here)
        if formula.assumed and (formula.loss or formula.params):
            here.report(
                "the assumed reading is what the rows say: leave out loss and params, or change the rows"
            )
        known = all(_entry("losses", name) for name in formula.loss.values())
        concerned = [row for row in suite.rows if formula.delta.concerns(row) and not row.untrained]
        if known and concerned and not place.doubts:
            here.report_all(loss_mistakes(loss_read_by(formula, suite, concerned[0])))
    for of in dict.fromkeys(formula.of for formula in suite.formulas):
        readings = [formula for formula in suite.formulas if formula.of == of]
        assumed = sum(bool(formula.assumed) for formula in readings)
        if assumed != 1:
            place.at(f"formula ({of:.60})").report(
                f"{assumed} of its readings are assumed; exactly one is, with the reason"
            )
        for name, times in _repeated(formula.name for formula in readings):
            place.at(f"formula ({of:.60})").report(f"{times} readings are named {name}")


def _check_concerns(suite: Suite, delta: Delta, place: Place) -> None:
    """Each value of `where` names something, and together they name a row."""
    before = len(place.problems)
    for key, values in delta.where.items():
        there = list(dict.fromkeys(row.parts[key] for row in suite.rows))
        for value in values:
            if value not in there:
                place.at("where").report(catalog.unknown(key, value, filter(None, there)))
    named_epochs = [epoch for row in suite.rows for epoch in row.epochs]
    for epoch in delta.epoch.keys() - {*named_epochs}:
        valid = dict.fromkeys(named_epochs) or ["none"]
        place.at("epoch").report(catalog.unknown("epoch of a row", epoch, valid))
    if len(place.problems) == before and not any(delta.concerns(row) for row in suite.rows):
        place.report(f"concerns no row: where = {dict(delta.where)}, loss = {dict(delta.loss)}")


def find_claim_mistakes(suite: Suite, place: Place) -> None:
    """Report each mistake once; none of a suite some of whose rows could not be read."""
    for name, times in _repeated(claim.id for claim in suite.claims):
        place.report(f"claim {name} stands {times} times")
    for number, claim in enumerate(suite.claims, 1):
        here = place.at(f"claim {number} ({claim.id})")
        before = len(place.problems)
        here.report_all(_form_mistakes(claim))
        if not place.doubts and len(place.problems) == before:
            here.report_all(_claim_row_mistakes(claim, suite))


def _form_mistakes(claim: Claim) -> Iterator[str]:
    forms = {"order": claim.order, "alike": claim.alike, "improves": claim.improves}
    given = [variant for variant, entries in forms.items() if entries]
    if len(given) != 1:
        yield f"says {' and '.join(given) or 'nothing'}; give one of order, alike and improves"
    elif claim.alike and not claim.margin:
        yield "alike needs a margin: within how many points are two alike?"
    elif claim.order and len(claim.order) < 2:
        yield "order has two or more, from the worst to the best"
    elif claim.alike and len(claim.alike) != 2:
        yield f"alike compares two, not {len(claim.alike)}"


def _claim_row_mistakes(claim: Claim, suite: Suite) -> Iterator[str]:
    """Entries of a claim that name no row, or too many of a student to compare.

    An entry is a table or a glob over rows. `order = ["1.kd", "1.fnkd"]` says that the second is better for
    each student that stands in both; so a student stands once in each.
    """
    tables = list(dict.fromkeys(row.table for row in suite.rows))
    entries = claim.order or claim.alike or claim.improves
    rows = {entry: named(suite.rows, entry) for entry in entries}
    for entry, found in rows.items():
        if not found:
            yield unknown("table or rows", entry, tables)
        for student, times in _repeated(row.student for row in found) if not claim.improves else ():
            yield f"{entry!r} has {times} rows of {student}; name one of them, as TABLE/STUDENT:TEACHER"
    for entry in claim.improves:
        for row in rows[entry]:
            yield from _baseline_mistakes(row, suite)
    for worse, better in pairwise(claim.order or claim.alike):
        shared = {row.student for row in rows[worse]} & {row.student for row in rows[better]}
        if rows[worse] and rows[better] and not shared:
            yield f"{worse!r} and {better!r} have no student in common"


def _baseline_mistakes(row: Row, suite: Suite) -> Iterator[str]:
    """Why a row cannot improve on its student's baseline."""
    if row.over:
        yield f"{row.name} gains over {row.over}; write order = [...] to compare the two"
    elif row.is_baseline or row.trained_on not in {
        each.trained_on for each in suite.rows if each.is_baseline
    }:
        yield f"{row.name} has no baseline to improve on"
