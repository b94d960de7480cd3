"""`run --on slurm`: what is missing becomes jobs, once, whoever asks for it."""

import time
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from kdbench.cluster import sbatch
from kdbench.cluster.groups import JobArray, align_to_teacher_array, make_arrays, max_timeouts
from kdbench.cluster.ledger import MAX_DEATHS, Ledger, Submission, SubmittedJob
from kdbench.cluster.node import Assignment, JobWork
from kdbench.cluster.profiles import Profile, check_shared, load_profile
from kdbench.cluster.queue import SchedulerSnapshot, array_of, read_death, take_snapshot
from kdbench.cluster.scheduler import cancel, check_commands, query_jobs
from kdbench.cost.speeds import Estimate, expected_need
from kdbench.data.place import where
from kdbench.errors import UserError
from kdbench.machine import Machine, load_machine
from kdbench.plan.expand import weights_needed
from kdbench.plan.selection import Selection, Workload, find_work
from kdbench.run.preflight import check_ghost_batches, check_packages, fetch_missing
from kdbench.spec.events import Task
from kdbench.spec.runs import Run
from kdbench.store.files import check_writable
from kdbench.store.records import index
from kdbench.store.weights import newest_checkpoint

MAX_NAMED_JOBS = 40
"""So many single jobs may stand in a dependency; beyond, whole arrays do."""
SBATCH_TIMEOUT_S = 60
"""Seconds after which sbatch, whose caller was killed, has done what it will do."""
QUERY_INTERVAL_S = 2.0
"""Seconds between two questions whether it has."""


class Submitted(Struct, frozen=True):
    """What became of a wish to train."""

    work: Workload
    machine: Machine
    made: tuple[Submission, ...]
    under_way: frozenset[str]
    """Runs that were queued or running before."""
    given_up: dict[str, str]
    """Runs that have died too often, and why."""


def submit_missing(chosen: Selection, profile_name: str, *, offline: bool) -> Submitted:
    """Submit what has no result and is not queued or running already.

    Raises:
        UserError: a suite, benchmark.toml or the profile is wrong, a folder cannot be used, the data cannot
            be had, or the cluster refuses.
    """
    machine = shared_machine(offline=offline)
    profile = load_profile(profile_name, machine, sbatch.sbatch_options())
    check_commands()
    data = where(machine.data_folder).path
    check_shared(profile, {"results": machine.results, "scratch": machine.scratch, "data": data})
    check_name(machine.scratch)
    check_writable(machine.results)
    check_writable(machine.scratch)
    ledger = Ledger(machine.scratch)
    with ledger.lock():
        work = find_work(chosen, machine)
        check_ghost_batches(work.runs, profile.work.nodes * profile.work.tasks_per_node)
        check_packages(work.runs, machine)
        fetch_missing(work.runs, machine)
        return _submit(work, chosen, machine, profile, ledger)


def check_name(scratch: Path) -> None:
    """Refuse a scratch folder that Slurm and submitit would take for another: they replace `%j` in paths.

    Raises:
        UserError: its path has a percent sign.
    """
    if "%" in str(scratch):
        raise UserError(
            f"{scratch}: Slurm replaces % and a letter in the paths of jobs (%j is a number), so that they "
            f"would write elsewhere; name another folder as `scratch` under [folders] in benchmark.toml"
        )


def shared_machine(*, offline: bool = False) -> Machine:
    """This machine as jobs get it: with whole paths, and the data folder that is used here."""
    machine = load_machine()
    data = replace(
        machine.data,
        folder=str(where(machine.data_folder).path.resolve()),
        offline=offline or machine.data.offline,
    )
    return replace(machine, root=str(Path(machine.root).resolve()), data=data)


def _submit(
    work: Workload, chosen: Selection, machine: Machine, profile: Profile, ledger: Ledger
) -> Submitted:
    """Under the lock: forget what is over, leave out what is queued or has died too often, submit the rest.

    An error in the middle names the jobs that were submitted before it.
    """
    # In this order: what other drivers left half submitted must be gone before it is asked what is under way;
    # and groups come teachers first, so that students find their teachers' jobs in `queued`.
    clear_broken_off(ledger)
    ledger.forget_finished(index(machine.results).results.keys())  # submissions of other suites are over, too
    known = take_snapshot(ledger, [run.id for run in work.runs])
    queued = known.under_way([run.id for run in work.runs])
    lost = given_up(ledger, [run for run in work.runs if run.id not in queued], known)
    runs = [run for run in work.runs if run.id not in queued and run.id not in lost]
    before = frozenset(queued)
    need = expected_need(work.index, profile.work.images_per_second)
    made: list[Submission] = []
    submitter = Submitter(machine, ledger, profile, work, chosen, need)
    for group in make_arrays(runs, before, profile, need):
        try:
            submission = submitter.submit(group, queued)
        except UserError as error:
            jobs = ", ".join(one.job for one in made)
            raise UserError(*error.problems, *([f"submitted before: {jobs}"] if made else [])) from error
        made.append(submission)
        for job in submission.jobs:
            queued |= dict.fromkeys(job.runs, job)
    return Submitted(work, machine, tuple(made), before, lost)


def clear_broken_off(ledger: Ledger) -> None:
    """Cancel and forget what this user's drivers were submitting when they were killed.

    For who holds the ledger's lock: no other driver is submitting. A killed driver's sbatch lives on, so its
    jobs may appear only now; and they lack what they are to do, which submitit puts in place after sbatch
    answers.

    Raises:
        UserError: the scheduler does not answer.
    """
    broken = ledger.broken_off()
    while broken:
        view = query_jobs(broken)
        cancel(sorted({array_of(seen.job) for seen in view.values() if seen.alive}))
        appeared = {token for token, _ in view}
        over = [one for one in broken if one.token in appeared or time.time() - one.at > SBATCH_TIMEOUT_S]
        ledger.forget_submissions(over)
        broken = [one for one in broken if one not in over]
        if broken:
            time.sleep(QUERY_INTERVAL_S)


class Submitter(Struct, frozen=True):
    """What all groups of one wish have in common."""

    machine: Machine
    ledger: Ledger
    profile: Profile
    work: Workload
    chosen: Selection
    need: Estimate

    def submit(self, group: JobArray, queued: Mapping[str, SubmittedJob]) -> Submission:
        """Submit one array: written down, submitted, written down with its number.

        Args:
            group: the array.
            queued: by run, the jobs in which its students' teachers may be.

        Raises:
            UserError: sbatch refuses.
        """
        chunks, dependency = wait_for_teachers(group, queued)
        name = f"{Path(self.chosen.suites[0]).stem}-{_what(group)}"
        ids = [list(map(attrgetter("id"), chunk)) for chunk in chunks]
        submission = self.ledger.new_submission(name, self.profile.name, ids)
        self.ledger.save(submission)  # before sbatch: should this process die, its jobs are found
        works = [self.work_of(chunk, group.minutes) for chunk in chunks]
        try:
            job = sbatch.submit(submission, works, self.profile, group, dependency)
        except UserError:
            self.ledger.forget_submissions([submission])
            raise
        submission = replace(submission, job=job)
        self.ledger.save(submission)
        return submission

    def work_of(self, runs: Sequence[Run], minutes: int) -> JobWork:
        """What one job gets."""
        keep, needed = self.work.keep, weights_needed(runs)

        def task(run: Run) -> Task:
            return Task(run, tuple(keep.get(run.id, ())), trial=run.id in self.work.trials)

        own = self.profile.work.tasks_per_node // self.profile.slurm_tasks  # that a worker starts itself
        local = replace(self.machine.local, processes=own)
        return JobWork(
            machine=replace(self.machine, local=local),
            assignments=tuple(Assignment(task(run), max_timeouts(run, minutes, self.need)) for run in runs),
            teachers={name: tuple(keep.get(name, set()) | epochs) for name, epochs in needed.items()},
            workers=self.profile.workers,
            nodes=self.profile.work.nodes,
            minutes=minutes,
            signal=min(self.profile.slurm.signal, 15 * minutes),
        )


def _what(group: JobArray) -> str:
    names = ("first", "students")
    return names[group.generation] if group.generation < len(names) else f"students{group.generation}"


def wait_for_teachers(
    group: JobArray, queued: Mapping[str, SubmittedJob]
) -> tuple[tuple[tuple[Run, ...], ...], str | None]:
    """The jobs of a group, and sbatch's word for what they wait for.

    A single teachers' job: `afterok`. Two arrays that correspond job by job: `aftercorr`. Otherwise
    `afterany`: with `afterok` one failed teacher would cancel the students of all; each student looks at its
    own teacher when it starts.
    """
    teachers = {run.taught_by for chunk in group.chunks for run in chunk}
    parents = {name: queued[name] for name in teachers if name in queued}
    jobs = sorted({job.id for job in parents.values()})
    if not jobs:
        return group.chunks, None
    if len(jobs) == 1:
        return group.chunks, f"afterok:{jobs[0]}"
    arrays = {job.submission.job: len(job.submission.elements) for job in parents.values()}
    numbers = {name: (job.submission.job, job.number) for name, job in parents.items()}
    if found := align_to_teacher_array(group.chunks, numbers, arrays):
        return found[0], f"aftercorr:{found[1]}"
    return group.chunks, "afterany:" + ":".join(jobs if len(jobs) <= MAX_NAMED_JOBS else sorted(arrays))


def given_up(ledger: Ledger, runs: Sequence[Run], known: SchedulerSnapshot) -> dict[str, str]:
    """Of runs that are not under way: those that have died too often to be started again, and why."""
    found = {}
    histories = ledger.histories(run.id for run in runs)
    never_began = known.never_began(histories)
    for run in runs:
        deaths = [read_death(job) for job in never_began.get(run.id, [])]
        counted = [death for death in deaths if not death.cancelled]
        if len(counted) >= MAX_DEATHS:
            found[run.id] = (
                f"{len(counted)} jobs of it ended before kdbench began, the last: {counted[0]}; "
                f"`kdbench retry` starts it anew"
            )
            continue
        if histories[run.id].attempts:
            epoch = newest_checkpoint(ledger.scratch, run.id)
            if reason := histories[run.id].given_up(epoch):
                found[run.id] = reason
    return found
