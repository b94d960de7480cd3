"""The loop: a cohort from its first epoch, or its newest checkpoints, to its results.

Members see the same views and hear the same teacher, both made once per batch. Each one's numbers are those
that it has alone. A run alone is a cohort of one.

On one thread of a 2-core machine the quickstart's runs take about a second each; what real rows attain,
on what and in how long, stands in the README.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from time import perf_counter

from kdbench.spec.events import Job
from kdbench.spec.results import Result
from kdbench.spec.runs import Run
from kdbench.training import memory
from kdbench.training.checkpoint import Progress
from kdbench.training.images import training_views
from kdbench.training.member import Member
from kdbench.training.teaching import Teaching
from kdbench.training.world import World

Watch = Callable[[Run, Progress], None]
Failures = Iterator[tuple[Member, Exception]]


def train(
    run: Run,
    world: World,
    *,
    keep: Collection[int | str] = (),
    watch: Callable[[Progress], None] = lambda _: None,
) -> Result:
    """Train one run to its end.

    Args:
        run: what to train.
        world: this process's hold on its machine.
        keep: epochs, or "best", whose weights others learn from; the last epoch's are always kept.
        watch: called after each epoch.

    Raises:
        DivergedError: the loss became NaN or infinite.
        UserError: the data or the teacher's weights are missing or damaged.
    """
    [(_, end)] = train_cohort([Job(run, tuple(keep))], world, lambda _, progress: watch(progress))
    if isinstance(end, Exception):
        raise end
    return end


def train_cohort(
    jobs: Sequence[Job], world: World, watch: Watch = lambda *_: None
) -> Iterator[tuple[Job, Result | Exception]]:
    """Train runs beside each other, and tell how each one ends as soon as it does.

    A member that fails takes no other with it. Members whose checkpoints are further wait for the others.
    Of the processes of a group, the first one alone tells of results.

    Args:
        jobs: all of one cohort (`kdbench.plan.cohorts.lessons`).
        world: this process's hold on its machine.
        watch: called after each epoch of each run.

    Raises:
        Exception: all of them fail, or there is too little memory for several beside each other.
    """
    memory.reset_peak(world.device)
    members = []
    for job in jobs:
        try:
            members.append(Member(job, world, len(jobs)))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this run's failure and no other's
            _pass_on(error, len(jobs))
            yield job, error
    if not members:
        return
    views = training_views(members[0].run, members[0].data, world)
    teaching = Teaching([member.run for member in members], views, world)
    for epoch in range(1 + min(member.progress.epoch for member in members), epochs(members) + 1):
        for member, failure in train_epoch(epoch, members, teaching, watch):
            members.remove(member)
            yield member.job, failure
    for member in members if world.group.leads else ():
        try:
            yield member.job, member.result()
        except Exception as error:  # noqa: BLE001 - as above
            yield member.job, error


def epochs(members: Sequence[Member]) -> int:
    """Of each member of a cohort."""
    return members[0].run.recipe.epochs


def train_epoch(epoch: int, members: Sequence[Member], teaching: Teaching, watch: Watch) -> Failures:
    """One pass over the training images by those who have not done it yet; tells which of them fail.

    The epoch's seconds are divided among them by what their own steps took.
    """
    learning = [member for member in members if member.progress.epoch < epoch]
    if not learning:
        return
    started = perf_counter()
    yield from _each(learning, lambda member: member.begin(epoch))
    for number, lesson in enumerate(teaching.epoch(epoch)):
        yield from _each(learning, lambda member: member.step(number, len(teaching), lesson))  # noqa: B023 - called at once
        if not learning:
            return
    seconds = perf_counter() - started
    total = sum(member.seconds for member in learning)

    def end(member: Member) -> None:
        member.end(seconds * member.seconds / total)
        watch(member.run, member.progress)

    yield from _each(learning, end)


def _each(members: list[Member], act: Callable[[Member], None]) -> Failures:
    """Let each member do something; those that fail are told and leave."""
    for member in list(members):
        try:
            act(member)
        except Exception as error:  # noqa: BLE001 - as above
            _pass_on(error, len(members))
            members.remove(member)
            yield member, error


def _pass_on(error: Exception, runs: int) -> None:
    """Want of memory is no member's own failure while there are several."""
    if runs > 1 and memory.is_short(error):
        raise error
