"""Every row of every suite of the repository trains two steps, on random images of its shape."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from kdbench import catalog
from kdbench.data.packed import Dataset
from kdbench.jobs import Job
from kdbench.machine import Local, Machine
from kdbench.plan import expand
from kdbench.spec import Form, Run
from kdbench.suite import load_suite
from kdbench.training.checkpoint import save_weights
from kdbench.training.member import Member
from kdbench.training.run import training_views
from kdbench.training.teaching import Teaching
from kdbench.training.world import World, open_world

SUITES = sorted((Path(__file__).parents[1] / "suites").glob("*.toml"))
FORMS: tuple[Form, Form] = ("released", "printed")


def different() -> Iterator[Run]:
    """One run for each student, teacher and loss as released, and for each other loss as printed."""
    seen: set[object] = set()
    for form in FORMS:
        for path in SUITES:
            for cell in expand(load_suite(path), form=form, seeds=[0]):
                (run,) = cell.runs
                taught = run.teacher and run.teacher.run.student
                whole = (run.student, taught, run.loss.name)
                if (whole if form == "released" else run.loss.name) not in seen:
                    seen |= {whole, run.loss.name}
                    yield run


def random_data(name: str, n: int = 4) -> Dataset:
    entry, generator = catalog.find("datasets", name), torch.Generator().manual_seed(0)
    images = torch.randint(
        256, (n, entry.channels, entry.size, entry.size), dtype=torch.uint8, generator=generator
    )
    labels = torch.randint(entry.classes, (n,), generator=generator)
    return Dataset(name, images, labels, images, labels, entry.classes, content="random")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    machine = Machine(local=Local(device="cpu"), root=str(tmp_path_factory.mktemp("machine")))
    world = open_world(machine)
    world.datasets = {name: random_data(name) for name in catalog.names("datasets")}
    return world


def small(run: Run) -> Run:
    """Two steps of two images; the teacher as it is before training."""
    recipe = replace(run.recipe, epochs=1, batch_size=2, train_size=4, milestones=(), warmup_epochs=0)
    return replace(run, recipe=recipe, teacher=run.teacher and replace(run.teacher, epoch=1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "run", list(different()), ids=lambda run: f"{run.dataset}-{run.slug}-{run.recipe.classes}"
)
def test_row_trains_two_steps(world: World, run: Run) -> None:
    run = small(run)
    if run.teacher is not None:
        folder = world.machine.scratch / "weights" / run.teacher.run.id
        if not folder.exists():
            save_weights(folder, 1, world.network(run.teacher.run))
    member = Member(Job(run), world)
    before = [each.detach().clone() for each in member.student.parameters()]
    teaching = Teaching([run], training_views(run, member.data, world), world)
    assert len(teaching) == 2
    member.begin(1)
    for number, (x, y, taught) in enumerate(teaching.epoch(1)):
        member.step(number, 2, x, y, taught)
    member.mean_loss()  # raises where it is not finite
    after = list(member.student.parameters())
    moved = [not old.equal(new) for old, new in zip(before, after, strict=True)]
    assert sum(moved) > 0.9 * len(moved)
    assert all(each.isfinite().all() for each in after)
