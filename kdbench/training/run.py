"""The loop: a cohort from its first epoch, or its newest checkpoints, to its results.

Students of a cohort see the same views and the same teacher outputs, both computed once per batch; or they
are tiny, and the steps of several seeds are done as one (stacked.py). Each one's numbers are those that it
has alone. A run alone is a cohort of one.

On one thread of a 2-core machine the quickstart's runs take about a second each; what real rows attain,
on what and in how long, stands in the README.
"""

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from time import perf_counter
from typing import NamedTuple

from kdbench.errors import is_out_of_memory
from kdbench.plan.cohorts import batch_streams
from kdbench.spec.events import Task
from kdbench.spec.results import Result
from kdbench.spec.runs import Run
from kdbench.training import memory
from kdbench.training.checkpoint import Progress
from kdbench.training.context import TrainingContext, fill_new_memory
from kdbench.training.images import training_views
from kdbench.training.recorded import UnrecordableError
from kdbench.training.stacked import Stack, make_stacks, side_by_side
from kdbench.training.student_run import StudentRun
from kdbench.training.teacher_batches import TeacherBatches

AfterEpoch = Callable[[Run, Progress], None]
"""What is called with a run when it has done an epoch, and with how far it is."""
Ends = Generator[tuple[Task, Result | Exception], None, None]
Failures = Iterator[tuple[StudentRun, Exception]]


def train(
    run: Run,
    context: TrainingContext,
    *,
    keep: Collection[int | str] = (),
    watch: Callable[[Progress], None] = lambda _: None,
) -> Result:
    """Train one run to its end.

    Args:
        run: what to train.
        context: this process's hold on its machine.
        keep: epochs, or "best", whose weights others learn from; the last epoch's are always kept.
        watch: called after each epoch.

    Raises:
        DivergedError: the loss became NaN or infinite.
        UserError: the data or the teacher's weights are missing or damaged.
    """
    [(_, end)] = train_cohort([Task(run, tuple(keep))], context, lambda _, progress: watch(progress))
    if isinstance(end, Exception):
        raise end
    return end


def train_cohort(
    tasks: Sequence[Task], context: TrainingContext, watch: AfterEpoch = lambda *_: None
) -> Ends:
    """Train runs beside each other; yields how each one ended as soon as it has.

    A run that fails takes no other with it. Runs whose checkpoints are further wait for the others.
    All ranks of a group call this with the same tasks; the first one alone yields results.

    Args:
        tasks: all of one cohort (`kdbench.plan.cohorts.make_cohorts`).
        context: this process's hold on its machine.
        watch: called after each epoch of each run.

    Raises:
        Exception: all of them fail, or there is too little memory for several beside each other, or a rank
            fails alone and leaves the group (`Group.is_whole`).
    """
    memory_keys = [_memory_key(task.run) for task in tasks]
    memory.reset_peak(context.device, give_back=memory_keys != context.kept.last_cohort)
    context.kept.last_cohort = memory_keys
    fill_new_memory(of=[task.run for task in tasks])
    try:
        streams = yield from _streams(tasks, context)
        yield from _train_streams(streams, context, watch)
    finally:  # a process that goes on with a run, this or another, finds its last checkpoint whole
        context.writer.wait()


def _train_streams(streams: Sequence["Stream"], context: TrainingContext, watch: AfterEpoch) -> Ends:
    """All epochs of a cohort; yields as `train_cohort` does."""
    left = [student_run for stream in streams for student_run in stream.student_runs]
    if not left:
        return
    stacks: list[Stack] = []
    # resumed runs may stand at different epochs: the loop begins with the one that is furthest behind, and
    # the others join in at their own
    furthest_behind = min(student_run.progress.epoch for student_run in left)
    epochs = left[0].run.recipe.epochs  # all runs of a cohort have as many
    for epoch in range(furthest_behind + 1, epochs + 1):
        learning = [student_run for student_run in left if student_run.progress.epoch < epoch]
        stacks = make_stacks(learning, stacks)
        for student_run, failure in train_epoch(epoch, learning, streams, watch, stacks):
            left.remove(student_run)
            yield student_run.task, failure
    for student_run in left if context.group.is_main else ():
        try:
            yield student_run.task, student_run.result()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this run's failure and no other's
            yield student_run.task, error


def _memory_key(run: Run) -> tuple[object, ...]:
    """What the memory that a run takes depends on: one like it takes what this one has left."""
    teacher = run.teacher.run.student if run.teacher else run.imported
    recipe = run.recipe
    return (
        run.student,
        teacher,
        run.loss.name,
        run.dataset,
        run.precision,
        recipe.batch_size,
        recipe.optimizer,
    )


class Stream(NamedTuple):
    """Runs that see the same batches and the same teacher."""

    batches: TeacherBatches
    student_runs: Sequence[StudentRun]

    @classmethod
    def opened(cls, student_runs: Sequence[StudentRun], context: TrainingContext) -> "Stream":
        """What they see.

        Raises:
            UserError: the teacher's weights are missing or damaged.
        """
        first = student_runs[0]
        with context.group.agree():
            views = training_views(first.run, first.data, context)
            runs = [student_run.run for student_run in student_runs]
            return cls(TeacherBatches(runs, views, context), student_runs)


def _streams(
    tasks: Sequence[Task], context: TrainingContext
) -> Generator[tuple[Task, Exception], None, list[Stream]]:
    """The streams of a cohort, one after the other; yields the runs that cannot begin.

    What one run of a stream needs of its data is there for the next.
    """
    by_id = {task.run.id: task for task in tasks}
    streams = []
    for runs in batch_streams(task.run for task in tasks):
        student_runs = []
        for task in [by_id[run.id] for run in runs]:
            try:
                student_runs.append(StudentRun(task, context, len(tasks)))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this run's failure and no other's
                _pass_on(error, len(tasks), context)
                yield task, error
        if not student_runs:
            continue
        try:
            streams.append(Stream.opened(student_runs, context))
        except Exception as error:  # noqa: BLE001 - as above, of those who would see these batches
            _pass_on(error, len(tasks), context)
            for student_run in student_runs:
                yield student_run.task, error
    return streams


def train_epoch(
    epoch: int,
    learning: list[StudentRun],
    streams: Sequence[Stream],
    watch: AfterEpoch,
    stacks: Sequence[Stack] = (),
) -> Failures:
    """One pass over the training images by those who have not done it yet; yields those that fail.

    The epoch's seconds are divided among them by what their own steps took.

    Args:
        epoch: counted from 1.
        learning: who does it; those that fail are removed.
        streams: what they see, and what others see that have done it.
        watch: called with each that has done it.
        stacks: of those whose steps are done as one; the others are `learning` too.
    """
    # Streams go on in step: batch k of each comes in the same turn, and a run learns from its own stream's.
    used = [stream for stream in streams if not set(learning).isdisjoint(stream.student_runs)]
    if not used:
        return
    stream_of: dict[StudentRun, int] = {}
    for at, stream in enumerate(used):
        stream_of |= dict.fromkeys(stream.student_runs, at)
    # Steps are done as one by a stack, or one by one (`alone`); a stack that fails its test joins the latter.
    stacked = list(stacks)
    streams_of: dict[Stack, list[int]] = {}
    alone = list(learning)
    for stack in stacked:
        streams_of[stack] = [stream_of[student_run] for student_run in stack.runs]
        alone = [student_run for student_run in alone if student_run not in stack.runs]
    steps = len(used[0].batches)
    started = perf_counter()
    yield from _each(learning, lambda student_run: student_run.begin(epoch))
    for number, batches in enumerate(side_by_side([stream.batches for stream in used], epoch)):
        for stack in list(stacked):
            try:
                stack.step(number, steps, batches, streams_of[stack])
            except UnrecordableError:  # found before anything was changed
                stacked.remove(stack)
                alone += stack.dissolved()
        failures = _each(alone, lambda each: each.step(number, steps, batches[stream_of[each]]))  # noqa: B023 - called at once
        for student_run, error in failures:
            learning.remove(student_run)
            yield student_run, error
        if not learning:
            return
    seconds = perf_counter() - started
    total = sum(student_run.seconds for student_run in learning)

    def end(student_run: StudentRun) -> None:
        student_run.end(seconds * student_run.seconds / total)
        watch(student_run.run, student_run.progress)

    yield from _each(learning, end)


def _each(student_runs: list[StudentRun], act: Callable[[StudentRun], None]) -> Failures:
    """Call something for each student; those that fail are yielded and dropped."""
    for student_run in list(student_runs):
        try:
            act(student_run)
        except Exception as error:  # noqa: BLE001 - as above
            failure = student_run.failure(error)
            _pass_on(failure, len(student_runs), student_run.context)
            student_runs.remove(student_run)
            yield student_run, failure


def _pass_on(error: Exception, runs: int, context: TrainingContext) -> None:
    """Want of memory is no run's own failure while there are several; nor is what one rank has alone."""
    if (runs > 1 and is_out_of_memory(error)) or not context.group.is_whole(error):
        raise error
