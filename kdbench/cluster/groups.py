"""Runs -> jobs: arrays of like size, teachers before students, short runs together. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import ceil, log2

from msgspec import Struct

from kdbench.cluster.profiles import Profile
from kdbench.cost.speeds import Estimate
from kdbench.plan.cohorts import make_cohorts
from kdbench.spec.runs import Run

STARTUP = 10
"""Minutes in every limit for what is not training."""
SUPERVISOR = 0.25
"""GiB of a job's own process, which trains nothing."""
HEADROOM = 1.5
"""Times what was measured is asked for: memory depends on the node's processor and libraries too."""


class JobArray(Struct, frozen=True, kw_only=True):
    """One array of jobs: one call of sbatch."""

    generation: int
    """0: waits for nobody; 1: students of 0; and so on."""
    minutes: int
    """The limit of each job."""
    memory: float | None = None
    """GiB of each job; None: the cluster's default."""
    chunks: tuple[tuple[Run, ...], ...]
    """The runs of each job."""


def generations(runs: Sequence[Run], elsewhere: Collection[str]) -> dict[str, int]:
    """How many trainings must be over before each run, teachers first; by id.

    Args:
        runs: to be submitted, teachers first.
        elsewhere: ids of runs that are queued or running already.
    """
    depth: dict[str, int] = {}
    for run in runs:
        teacher = run.taught_by
        depth[run.id] = depth[teacher] + 1 if teacher in depth else int(teacher in elsewhere)
    return depth


def make_arrays(
    runs: Sequence[Run], elsewhere: Collection[str], profile: Profile, need: Estimate
) -> list[JobArray]:
    """Spread runs over arrays, by generation, by how long they take and by their memory.

    Length and memory are classes, so that runs which differ little share an array. With [work] minutes = 60,
    two baselines of 20 minutes are an array of one job, their four students of 25 minutes each an array of
    two jobs (generation 1), and a third baseline of 5 hours is an array of its own.

    Args:
        runs: to be submitted, teachers first.
        elsewhere: ids of runs that are queued or running already.
        profile: the cluster.
        need: the estimate of a run.
    """
    depth = generations(runs, elsewhere)
    parts: dict[tuple[int, int, float], list[Run]] = {}
    for run in runs:
        length = length_class(need(run).seconds, profile)
        heaviness = memory_class(memory([run], profile, need), profile)
        parts.setdefault((depth[run.id], length, heaviness), []).append(run)
    groups = []
    for (generation, _, _), some in sorted(parts.items(), key=lambda part: part[0]):
        beside = [run for cohort in make_cohorts(some) for run in cohort]  # those of one teacher share a job
        chunks = make_chunks(beside, profile, need)
        groups.append(
            JobArray(
                generation=generation,
                minutes=time_limit(chunks, profile, need),
                memory=memory(some, profile, need),
                chunks=tuple(chunks),
            )
        )
    return groups


def length_class(seconds: float, profile: Profile) -> int:
    """The class of a run: 0 if it shares a job with others, else its length in powers of two."""
    return max(0, ceil(log2(max(seconds, 1) / (60 * profile.work.minutes))))


def memory(runs: Iterable[Run], profile: Profile, need: Estimate) -> float | None:
    """The GiB on each of its nodes that a job asks for which trains any of these runs in each of its workers.

    What was measured of their like, with headroom, but not more than the profile says. What the profile says
    where one of them was never measured, or where GPUs are asked for: training on a GPU takes memory of the
    node that training on a CPU does not.
    """
    asked = profile.slurm
    needs = [need(run).memory for run in runs]
    known = [one for one in needs if one is not None]
    if asked.gpus_per_node or asked.gres or len(known) < len(needs):
        return asked.memory
    wanted = ceil(SUPERVISOR + HEADROOM * profile.processes * max(known))
    return wanted if asked.memory is None else min(wanted, asked.memory)


def memory_class(memory: float | None, profile: Profile) -> float:
    """The class of a job: 0 if it asks for what the profile says, else its memory in powers of two."""
    return 0 if memory is None or memory == profile.slurm.memory else 2 ** ceil(log2(memory))


def make_chunks(runs: Sequence[Run], profile: Profile, need: Estimate) -> list[tuple[Run, ...]]:
    """Fill jobs in order: at least a run for each worker, and not more than [work] minutes of work."""
    room = 60.0 * profile.work.minutes * profile.workers
    most = profile.work.runs_per_job or len(runs)
    chunks = fill(runs, profile.workers, most, room, need)
    while len(chunks) > profile.work.max_array:  # the cluster takes no more jobs: each gets twice as much
        room *= 2
        most *= 2
        chunks = fill(runs, profile.workers, most, room, need)
    return chunks


def fill(runs: Iterable[Run], least: int, most: int, room: float, need: Estimate) -> list[tuple[Run, ...]]:
    """Put runs into jobs in order: of 5 runs of 20 minutes, where there is room for 60, three and two.

    Args:
        runs: to be put.
        least: so many runs a job takes however long they are.
        most: so many at most, however short they are.
        room: the seconds of training, all runs of a job together, beyond which it takes no more.
        need: the estimate of a run.
    """
    chunks: list[list[Run]] = []
    filled = 0.0
    for run in runs:
        seconds = need(run).seconds
        there = len(chunks[-1]) if chunks else most
        if there >= most or (there >= least and filled + seconds > room):
            chunks.append([])
            filled = 0.0
        chunks[-1].append(run)
        filled += seconds
    return [tuple(chunk) for chunk in chunks]


def time_limit(chunks: Iterable[Sequence[Run]], profile: Profile, need: Estimate) -> int:
    """The minutes that jobs ask for: twice the estimate, but not more than the profile's time."""
    longest = 0.0
    for chunk in chunks:
        seconds = [need(run).seconds for run in chunk]
        longest = max(longest, sum(seconds) / profile.workers, *seconds)
    return min(profile.slurm.time, STARTUP + ceil(2 * longest / 60))


def max_timeouts(run: Run, minutes: int, need: Estimate) -> int:
    """How often a run's jobs may run out of time before it counts as failed: twice as often as estimated."""
    return 2 + 2 * ceil(need(run).seconds / (60 * minutes))


def align_to_teacher_array(
    chunks: Sequence[Sequence[Run]], where: Mapping[str, tuple[str, int]], sizes: Mapping[str, int]
) -> tuple[tuple[tuple[Run, ...], ...], str] | None:
    """Order students' jobs as their teachers' jobs lie in an array, so that job k waits for job k alone.

    Args:
        chunks: the students, job by job.
        where: the job and the place in its array of each teacher under way, by the teacher's id.
        sizes: the number of places of each array.

    Returns:
        The jobs and the teachers' array; None where the two do not correspond one to one.
    """
    # Slurm's aftercorr: element k of one array waits for element k of the other. That serves where each job
    # of students has its teachers in one job, no two in the same, and all jobs of the teachers' array are
    # taken.
    placed: dict[tuple[str, int], tuple[Run, ...]] = {}
    for chunk in chunks:
        parents = {where.get(run.taught_by) for run in chunk}
        parent = parents.pop()
        if parents or parent is None or parent in placed:
            return None
        placed[parent] = tuple(chunk)
    array = next(iter(placed))[0]
    if set(placed) != {(array, number) for number in range(sizes[array])} or sizes[array] < 2:
        return None
    return tuple(placed[array, number] for number in range(sizes[array])), array
