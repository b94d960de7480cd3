"""Runs -> jobs: generations, chunks, limits, what waits for what."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kdbench.cluster.groups import JobArray, make_arrays, max_timeouts, memory
from kdbench.cluster.ledger import Ledger, SubmittedJob
from kdbench.cluster.profiles import JobRequest, Profile
from kdbench.cluster.profiles import Work as Spread
from kdbench.cluster.submit import wait_for_teachers
from kdbench.cost.speeds import Need
from kdbench.spec.runs import Run
from tests.support.build import CE, make_run

TEACHERS = [make_run("resnet18", seed, CE) for seed in range(3)]
STUDENTS = [make_run("mobilenetv2", teacher.seed, teacher=teacher) for teacher in TEACHERS]
PROFILE = Profile(name="some", slurm=JobRequest(time=600), work=Spread(minutes=60))


def minute(_run: Run) -> Need:
    """The estimate: a minute."""
    return Need(60.0)


def days(_run: Run) -> Need:
    """The estimate: twelve days."""
    return Need(1e6)


def queued(elements: list[list[Run]]) -> dict[str, SubmittedJob]:
    """Runs, queued in an array of these jobs."""
    made = Ledger(Path()).new_submission("a", "some", [[run.id for run in part] for part in elements])
    return {run: job for job in replace(made, job="7").jobs for run in job.runs}


def test_short_runs_share_a_job_by_generation() -> None:
    first, second = make_arrays([*TEACHERS, *STUDENTS], (), PROFILE, minute)
    assert (first.generation, first.chunks) == (0, (tuple(TEACHERS),))
    assert (second.generation, second.chunks) == (1, (tuple(STUDENTS),))
    assert first.minutes == 16


def test_runs_of_one_teacher_share_a_job() -> None:
    """In the plan they stand seed by seed, row after row."""
    others = [make_run("shufflenetv2", teacher.seed, teacher=teacher) for teacher in TEACHERS]
    profile = Profile(name="some", work=Spread(minutes=60, runs_per_job=2))
    (group,) = make_arrays([*STUDENTS, *others], (), profile, minute)
    assert group.chunks == tuple(zip(STUDENTS, others, strict=True))


def test_long_runs_have_jobs_of_their_own_and_their_own_array() -> None:
    def hours(run: Run) -> Need:
        return Need(7200.0 if run.seed == 0 else 60.0)

    short, long = make_arrays(TEACHERS, (), PROFILE, hours)
    assert [len(chunk) for chunk in short.chunks] == [2]
    assert [len(chunk) for chunk in long.chunks] == [1]
    assert long.minutes == 250


def test_limit_is_the_profiles_time_at_most() -> None:
    (group,) = make_arrays(TEACHERS, (), PROFILE, days)
    assert group.minutes == 600
    assert max_timeouts(TEACHERS[0], 600, days) == 2 + 2 * 28


def test_slots_are_filled_with_long_runs() -> None:
    profile = Profile(name="some", slurm=JobRequest(gpus_per_node=2), work=Spread(minutes=60))
    (group,) = make_arrays(TEACHERS, (), profile, days)
    assert [len(chunk) for chunk in group.chunks] == [2, 1]


@pytest.mark.parametrize(
    ("asked", "workers", "measured", "gib"),
    [
        (JobRequest(memory=16), 1, 2.0, 4),  # 0.25 + 1.5 * 2
        (JobRequest(memory=16), 4, 2.0, 13),
        (JobRequest(memory=16), 8, 2.0, 16),
        (JobRequest(), 8, 2.0, 25),
        (JobRequest(memory=16), 1, None, 16),
        (JobRequest(), 1, None, None),
        (JobRequest(memory=16, gpus_per_node=1), 1, 2.0, 16),
        (JobRequest(gres="gpu:1"), 1, 2.0, None),
    ],
)
def test_memory_of_a_job(asked: JobRequest, workers: int, measured: float | None, gib: float | None) -> None:
    profile = Profile(name="some", slurm=asked, work=Spread(workers=workers))
    assert memory(TEACHERS, profile, lambda _: Need(60.0, measured)) == gib


def test_memory_is_that_of_each_process_of_a_node() -> None:
    profile = Profile(name="some", slurm=JobRequest(memory=64), work=Spread(nodes=2, tasks_per_node=4))
    assert memory(TEACHERS, profile, lambda _: Need(60.0, 2.0)) == 13  # 0.25 + 1.5 * 4 * 2


def test_jobs_of_another_memory_are_another_array() -> None:
    def by_seed(run: Run) -> Need:
        return Need(60.0, [1.0, 1.1, 5.0][run.seed])

    small, large = make_arrays(TEACHERS, (), PROFILE, by_seed)
    assert [(group.memory, len(group.chunks[0])) for group in (small, large)] == [(2, 2), (8, 1)]


def test_array_is_not_larger_than_the_cluster_takes() -> None:
    profile = Profile(name="some", work=Spread(runs_per_job=1, max_array=2))
    (group,) = make_arrays(TEACHERS, (), profile, minute)
    assert [len(chunk) for chunk in group.chunks] == [2, 1]


def test_student_of_a_teacher_that_is_queued_elsewhere_waits() -> None:
    (group,) = make_arrays(STUDENTS[:1], {TEACHERS[0].id}, PROFILE, minute)
    assert group.generation == 1


@pytest.mark.parametrize(
    ("teachers", "students", "word"),
    [
        ([TEACHERS], [STUDENTS], "afterok:7"),
        ([[run] for run in TEACHERS], [[run] for run in reversed(STUDENTS)], "aftercorr:7"),
        ([[run] for run in TEACHERS], [STUDENTS], "afterany:7_0:7_1:7_2"),
        ([TEACHERS[:1], TEACHERS[1:]], [[run] for run in STUDENTS], "afterany:7_0:7_1"),
    ],
)
def test_what_students_wait_for(teachers: list[list[Run]], students: list[list[Run]], word: str) -> None:
    group = JobArray(generation=1, minutes=10, chunks=tuple(map(tuple, students)))
    chunks, dependency = wait_for_teachers(group, queued(teachers))
    assert dependency == word
    if word.startswith("aftercorr"):
        assert chunks == tuple((run,) for run in STUDENTS)


def test_who_has_no_teacher_under_way_waits_for_nobody() -> None:
    group = JobArray(generation=0, minutes=10, chunks=(tuple(STUDENTS),))
    assert wait_for_teachers(group, {})[1] is None
