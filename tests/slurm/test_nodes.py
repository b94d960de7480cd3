"""One run in tasks on two nodes: the same numbers as on one, requeued or not."""

import os
import signal
from pathlib import Path

from kdbench.store.records import index, load_result
from tests.support.slurm import ALONE, Project, curves, slurm

SHARED = ALONE.replace('"digits_cnn"', '"digits_cnn", recipe = { ghost_batches = 4 }')


def test_run_of_two_nodes_is_that_of_one(project: Project, data: Path, tmp_path: Path) -> None:
    """Requeued on its way; then its task on the second node is killed, and the job starts again."""
    project.suite(SHARED, epochs=240, train_size=400)
    project.profile(slurm="gpus_per_node = 1", work="nodes = 2")
    reference = project.local(tmp_path / "local", tmp_path / "suites" / "tiny.toml", data, "--processes", "2")
    project.submit()
    (run,), (job,) = project.runs(), project.jobs()
    project.wait_for_epoch(run, 2)
    (attempt,) = project.attempts(run)
    assert attempt.node == "n[1-2]"
    slurm("scontrol", "requeue", job)
    project.wait("a second life", lambda: len(project.attempts(run)) == 2)
    project.wait_for_epoch(run, project.attempts(run)[-1].start + 2)
    os.kill(second_task(job), signal.SIGKILL)
    project.wait("a third start", lambda: len(project.attempts(run)) == 3)
    project.wait_for_results(1)
    assert [attempt.cause for attempt in project.attempts(run)] == ["stopped", "crash", "done"]
    assert "the processes of the run lost each other" in project.attempts(run)[1].why
    assert reference.wait() == 0, reference.communicate()
    assert curves(tmp_path) == curves(tmp_path / "local")
    assert load_result(index(Path("results")).results[run]).environment["processes"] == 2


def second_task(job: str) -> int:
    """The process of a job's task on the second node."""
    wanted = {f"SLURM_JOB_ID={job}".encode(), b"SLURM_PROCID=1"}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"submitit.core._submit" in words and wanted <= set(environment):
            return int(process.name)
    raise AssertionError(f"job {job} has no second task")


def test_doctor_lets_nodes_find_each_other(project: Project) -> None:
    project.profile(slurm="gpus_per_node = 1", work="nodes = 2")
    code, said = project.kd("doctor", "--on", "slurm:dev")
    assert code == 0, said
    assert "n1 and n2 find each other" in said
    project.profile(
        slurm="gpus_per_node = 1", work="nodes = 2", more='[environment]\nGLOO_SOCKET_IFNAME = "nowhere0"'
    )
    code, said = project.kd("doctor", "--on", "slurm:dev")
    assert code == 1
    assert "they do not find each other (n" in said
    assert "GLOO_SOCKET_IFNAME" in said
