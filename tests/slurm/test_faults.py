"""What may befall a job: after each fault nothing is lost or trained twice, and the curve is the same.

A job that is told to end goes on training for the 2 s that Slurm leaves it: a run that must not be over by
then has some hundred epochs.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from kdbench.store.records import index, load_result
from tests.support.processes import descendants
from tests.support.slurm import ALONE, TAUGHT, Project, curves, script, slurm


def requeued(_project: Project, job: str) -> None:
    """By a person."""
    slurm("scontrol", "requeue", job)


def preempted(_project: Project, job: str) -> None:
    """By a job of a higher partition that wants the whole node."""
    node = slurm("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()
    wanted = ["--partition=urgent", f"--nodelist={node}", "--exclusive", "--output=/dev/null"]
    slurm("sbatch", *wanted, "--wrap=sleep 1")


def node_lost(project: Project, job: str) -> None:
    """And found again."""
    node = slurm("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()
    slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    project.wait("the job to leave the node", lambda: _state(job) != "RUNNING")
    project.wait("the node to be back", lambda: _back(node))


def _lives(project: Project, run: str, job: str) -> int:
    """How often a run has started. A job whose launch failed is held until somebody releases it."""
    if "held" in slurm("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%r"):
        slurm("scontrol", "release", job)
    return len(project.attempts(run))


def _back(node: str) -> bool:
    """Slurm may bring a node back by itself, before anybody asks it to."""
    if slurm("sinfo", "--noheader", f"--nodes={node}", "--partition=dev", "--format=%T").startswith("down"):
        command = ["scontrol", "update", f"nodename={node}", "state=resume"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return True


def _state(job: str) -> str:
    return slurm("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").strip()


def test_interrupted_run_gives_the_same_curve(project: Project, data: Path, tmp_path: Path) -> None:
    faults = (requeued, node_lost, preempted)
    project.suite(ALONE, epochs=600, train_size=400)
    reference = project.local(tmp_path / "local", tmp_path / "suites" / "tiny.toml", data)
    project.submit()
    (run,), (job,) = project.runs(), project.jobs()
    for life, fault in enumerate(faults, 1):
        project.wait("a new life", lambda life=life: _lives(project, run, job) == life)  # type: ignore[misc]
        project.wait_for_epoch(run, project.attempts(run)[-1].start + 3)
        fault(project, job)
        project.wait(f"the end of life {life}", lambda: _state(job) != "RUNNING")
        project.wait("its place in the queue", lambda: project.states() == {"queued": 1})
        assert "0 to train" not in project.submit()
        assert project.jobs() == [job]
    project.wait_for_results(1)
    starts = [attempt.start for attempt in project.attempts(run)]
    assert starts == sorted(set(starts))
    assert {attempt.cause for attempt in project.attempts(run)[:-1]} <= {"stopped", "lost", "time"}
    assert reference.wait() == 0, reference.communicate()
    assert curves(tmp_path) == curves(tmp_path / "local")


def test_time_limit_requeues(project: Project) -> None:
    """It comes once the run has epochs to go on from: how soon that is depends on the machine."""
    project.suite(ALONE, epochs=3000, train_size=400)
    project.profile(minutes=1, more="[extra]\nhold = true")
    project.submit()
    (run,), (job,) = project.runs(), project.jobs()
    _limit(job, 600)
    slurm("scontrol", "release", job)
    project.wait_for_epoch(run, 2)
    _limit(job, _minutes(job) + 2)
    project.wait("the end of its time", lambda: project.attempts(run)[0].cause == "time")
    _limit(job, 600)
    project.wait("a second life", lambda: len(project.attempts(run)) == 2)
    assert project.attempts(run)[1].start > 0
    assert project.states() == {"running": 1}
    assert "cancelled 1 job" in project.kd("cancel", "suites/tiny")[1]
    project.wait("the job's end", lambda: not project.queue())
    project.wait("its processes' end", lambda: project.states() == {"stopped": 1})


def _limit(job: str, minutes: int) -> None:
    """Give a job other minutes than its profile's."""
    slurm("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")


def _minutes(job: str) -> int:
    """How many whole ones a job has run: 62 of `1:02:03`, which days are not before."""
    used = slurm("squeue", "--noheader", f"--jobs={job}", "--format=%M").strip().split(":")
    return sum(60**place * int(part) for place, part in enumerate(reversed(used[:-1])))


def test_controller_restarted_mid_run(project: Project) -> None:
    project.suite(ALONE, epochs=400, train_size=400)
    project.submit()
    (run,) = project.runs()
    project.wait_for_epoch(run, 2)
    project.wait("Slurm to remember the job", lambda: _remembered(project))  # else it is run a second time
    controller = int((project.cluster / "pid" / "slurmctld.pid").read_text())
    os.kill(controller, signal.SIGKILL)
    code, said = project.kd("status", "suites/tiny")
    assert code == 0
    assert "1 running" in said
    assert script("up").returncode == 0
    project.monkeypatch.setattr("kdbench.cluster.logs.QUESTION_INTERVAL_S", 1.0)
    code, said = project.kd("logs", "tiny/alone/digits_cnn", "-f")
    assert (code, "epoch 400/400" in said) == (0, True)
    assert project.states() == {"done": 1}
    assert len(project.attempts(run)) == 1


def _remembered(project: Project) -> bool:
    """Whether the controller has written down since its submission what it knows of the job."""
    (submission,) = project.ledger.submissions()
    state = project.cluster / "state" / "job_state"
    return state.is_file() and state.stat().st_mtime > submission.at + 1


def test_killed_worker_then_killed_job(project: Project) -> None:
    project.suite(ALONE, epochs=400, train_size=400)
    project.submit()
    (run,) = project.runs()
    project.wait_for_epoch(run, 2)
    supervisor, worker = _processes(project.jobs()[0])
    os.kill(worker, signal.SIGKILL)
    project.wait("a second start", lambda: len(project.attempts(run)) == 2)
    project.wait_for_epoch(run, project.attempts(run)[-1].start + 2)
    assert project.states() == {"running": 1}
    os.kill(supervisor, signal.SIGKILL)
    project.wait("the job's end", lambda: not project.queue())
    project.wait("its processes' end", lambda: project.states() == {"stopped": 1})
    project.submit()
    assert len(project.jobs()) == 2
    project.wait_for_results(1)
    assert [attempt.cause for attempt in project.attempts(run)] == ["crash", "lost", "done"]


def _processes(job: str) -> tuple[int, int]:
    """The supervisor of a job and its worker: the youngest process below it, a fork of a server or not."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"SLURM_JOB_ID={job}".encode() in environment and b"submitit.core._submit" in words:
            found.append(int(process.name))
    supervisor = max(found)  # srun, which starts it, has its words too
    return supervisor, descendants(supervisor)[-1]


def test_one_job_of_an_array_cancelled(project: Project) -> None:
    project.suite(ALONE, epochs=400, train_size=400, seeds=2)
    project.profile(work="runs_per_job = 1")
    project.submit()
    (job,), names = project.jobs(), {name.rpartition(".s")[2]: run for run, name in project.runs().items()}
    project.wait_for_epoch(names["1"], 2)
    slurm("scancel", f"{job}_1")
    project.wait_for_results(1)
    project.wait("its processes' end", lambda: project.states() == {"done": 1, "stopped": 1})
    project.submit()
    project.wait_for_results(2)
    assert [attempt.cause for attempt in project.attempts(names["1"])] == ["stopped", "done"]
    assert not index(Path("results")).repeats


def test_cancelled_jobs_are_replaced_at_once(project: Project) -> None:
    project.suite(TAUGHT, epochs=200, train_size=400)
    project.submit()
    names = {name: run for run, name in project.runs().items()}
    project.wait_for_epoch(names["digits_cnn-ce.s0"], 2)
    assert "cancelled 2 jobs" in project.kd("cancel", "suites/tiny")[1]
    assert "already" not in project.submit()
    assert len(project.jobs()) == 4
    project.wait_for_results(4)
    assert project.states() == {"done": 4}
    assert [attempt.cause for attempt in project.attempts(names["digits_cnn-ce.s0"])] == ["stopped", "done"]
    assert not index(Path("results")).repeats


@pytest.mark.parametrize("work", ["", "runs_per_job = 1"])
def test_failed_teacher_blocks_its_students_alone(project: Project, work: str) -> None:
    project.profile(work=work)
    mlp = '{ student = "digits_mlp" }'
    text = Path("suites/tiny.toml").read_text()
    Path("suites/tiny.toml").write_text(
        text.replace(mlp, mlp.replace(" }", ", recipe = { lr = 1000, weight_decay = 1 } }"))
    )
    project.submit()
    project.wait_for_results(2)
    assert project.states() == {"done": 2, "failed": 1, "blocked": 1}
    code, said = project.kd("status", "suites/tiny")
    assert code == 0
    assert "diverged" in said
    said = project.kd("logs", "tiny/teachers/digits_mlp")[1]
    assert "job" in said
    assert "Traceback" in said


def test_teacher_that_is_missing_or_damaged_on_the_node_is_trained_there(project: Project) -> None:
    project.profile(more="[extra]\nhold = true")
    project.submit()
    (students, teachers) = project.ledger.submissions()
    slurm("scontrol", "release", teachers.job)
    project.wait("the teachers", lambda: len(index(Path("results")).results) == 2)
    missing, damaged = sorted((project.scratch / "weights").glob("*/3.*.safetensors"))
    missing.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-1])
    slurm("scontrol", "release", students.job)
    project.wait_for_results(4)
    there = index(Path("results"))
    for teacher in (missing.parent.name, damaged.parent.name):
        (rerun,) = there.repeats[teacher]
        assert load_result(rerun).weights == load_result(there.results[teacher]).weights
    assert project.states() == {"done": 4}


def test_results_that_the_node_cannot_write(project: Project) -> None:
    project.suite(ALONE)
    results = Path("results")
    project.profile(more="[extra]\nhold = true")
    project.submit()
    results.rmdir()
    results.write_text("a file, not a folder")
    slurm("scontrol", "release", project.jobs()[0])
    project.wait("the job's end", lambda: not project.queue())
    code, said = project.kd("status", "suites/tiny")
    assert (code, "a file, where a folder is kept" in said) == (2, True)
    results.unlink()
    (state,) = project.status()
    assert state["state"] == "failed"
    assert "a file, where a folder is kept" in state["detail"]
    (run,) = project.runs()
    assert project.epoch(run) == 0, "nothing is trained whose result could not be kept"
    project.profile()
    code, said = project.kd("retry", "suites/tiny", "--on", "slurm:dev")
    assert (code, "1 run to start anew" in said) == (0, True)
    project.wait_for_results(1)


NO_PYTHON = ('[node]\npython = "/nowhere/python"', "/nowhere/python")
FAILING_SETUP = ('[node]\nsetup = ["echo no such module >&2", "exit 3"]', "no such module")


@pytest.mark.parametrize(("node", "cause"), [NO_PYTHON, FAILING_SETUP])
def test_job_that_dies_before_kdbench_begins(project: Project, node: str, cause: str) -> None:
    project.suite(ALONE)
    project.profile(more=node)
    for death in (1, 2, 3):
        code, said = project.kd("run", "suites/tiny", "--on", "slurm:dev", "--wait")
        assert (code, said.count("FAILED")) == (1, 1)
        assert "seed 0 failed: job" in said, "the report says it too, not that it has not run"
        (state,) = project.status()
        assert state["state"] == "failed"
        assert "ended before kdbench began" in state["detail"]
        assert cause in state["detail"]
        assert len(project.jobs()) == death
    code, said = project.kd("run", "suites/tiny", "--on", "slurm:dev", "--wait")
    assert (code, len(project.jobs())) == (1, 3)
    assert "is not submitted: 3 jobs of it ended before kdbench began" in said
    assert project.kd("logs", "suites/tiny/alone/digits_cnn")[1].count(cause) >= 3
    project.profile()
    code, said = project.kd("retry", "suites/tiny", "--on", "slurm:dev", "--wait")
    assert (code, "1 run to start anew" in said) == (0, True)
    assert project.states() == {"done": 1}


def test_job_cancelled_before_kdbench_begins_counts_as_no_failure_of_its_run(project: Project) -> None:
    project.suite(ALONE)
    project.profile(more='[node]\nsetup = ["sleep 300"]')
    for _ in range(3):
        _cancel_once_it_runs(project, "run", "suites/tiny", "--on", "slurm:dev")
    waiting = project.driver("run", "suites/tiny", "--on", "slurm:dev", "--wait")
    _cancel_once_it_runs(project)
    said = waiting.communicate()[0]
    assert waiting.returncode == 1, said
    assert said.count("was cancelled before kdbench began") == 2
    assert "was cancelled" in project.status()[0]["detail"]
    assert "was cancelled" in project.kd("logs", "suites/tiny/alone/digits_cnn")[1]
    project.profile()
    code, said = project.kd("run", "suites/tiny", "--on", "slurm:dev", "--wait")
    assert (code, project.states()) == (0, {"done": 1}), said


def _cancel_once_it_runs(project: Project, *submitting: str) -> None:
    """Cancel the one job of the queue, as a person does, after the command that submits it, if any."""
    if submitting:
        assert project.kd(*submitting)[0] == 0
    project.wait("a job that runs", lambda: "RUNNING" in slurm("squeue", "--noheader", "--format=%T"))
    slurm("scancel", slurm("squeue", "--noheader", "--format=%A").strip())
    project.wait("its end", lambda: not project.queue())


def test_submitted_twice_at_once_and_a_driver_killed(project: Project) -> None:
    follows = project.driver("run", "suites/tiny", "--on", "slurm:dev", "--wait")
    other = project.driver("run", "suites/tiny", "--on", "slurm:dev")
    said = other.communicate()[0]
    assert other.returncode == 0, said
    project.wait("a submission", lambda: len(project.jobs()) == 2 and all(project.jobs()))
    follows.send_signal(signal.SIGKILL)
    assert "4 runs queued or running" in project.submit()
    assert len(project.jobs()) == 2
    project.wait_for_results(4)
    assert project.states() == {"done": 4}
    assert all(len(project.attempts(run)) == 1 for run in project.runs())
    assert not index(Path("results")).repeats


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"partition": "nowhere"}, "sinfo"),
        ({"slurm": 'account = "nobody"'}, "sacctmgr"),
        ({"slurm": 'qos = "few"', "work": "runs_per_job = 1"}, "runs_per_job"),
    ],
)
def test_refused_submission(project: Project, change: dict[str, str], word: str) -> None:
    project.suite(ALONE, seeds=3)
    project.profile(**change)  # type: ignore[arg-type]
    code, said = project.kd("run", "suites/tiny", "--on", "slurm:dev")
    assert code == 2
    assert word in said
    assert project.jobs() == []
    assert "tiny" not in slurm("squeue", "--noheader", "--format=%j")


def test_step_killed_below_its_worker(project: Project, data: Path, tmp_path: Path) -> None:
    """The job's processes live on as orphans while Slurm requeues it: the second life must not train too."""
    project.suite(ALONE, epochs=200, train_size=400)
    reference = project.local(tmp_path / "local", tmp_path / "suites" / "tiny.toml", data)
    project.submit()
    (run,), (job,) = project.runs(), project.jobs()
    project.wait_for_epoch(run, 2)
    for process in _steps(job):
        os.kill(process, signal.SIGKILL)
    node = slurm("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()
    project.wait("Slurm to miss it", lambda: _registered(project, node) and _state(job) != "RUNNING", every=2)
    project.wait_for_results(1)
    starts = [attempt.start for attempt in project.attempts(run)]
    assert starts == sorted(set(starts))
    assert not index(Path("results")).repeats
    assert reference.wait() == 0, reference.communicate()
    assert curves(tmp_path) == curves(tmp_path / "local")


def _registered(project: Project, node: str) -> bool:
    """Restart a node's daemon: it tells the controller at once what it holds, else only after minutes."""
    os.kill(int((project.cluster / "pid" / f"{node}.pid").read_text()), signal.SIGTERM)
    return script("up").returncode == 0


def _steps(job: str) -> list[int]:
    """The processes of Slurm that hold a job's batch script and its step."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name, words = (process / "comm").read_text(), (process / "cmdline").read_text()
        except OSError:
            continue
        if name == "slurmstepd\n" and f"[{job}." in words:
            found.append(int(process.name))
    return found


@pytest.mark.parametrize("dies", ["before", "during", "after"])
def test_driver_killed_inside_sbatch(project: Project, tmp_path: Path, dies: str) -> None:
    """Before sbatch submits; meanwhile, and it lives on; when it has, and its caller does not know."""
    project.suite(ALONE, seeds=2)
    project.profile(work="runs_per_job = 1")
    kill = "kill -9 $PPID"
    real = shutil.which("sbatch")
    lines = {"before": kill, "during": f'{kill}; sleep 3; exec {real} "$@"', "after": f'{real} "$@"; {kill}'}
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "sbatch"
    fake.write_text(f"#!/bin/sh\n{lines[dies]}\n")
    fake.chmod(0o755)
    driver = project.driver(
        "run", "suites/tiny", "--on", "slurm:dev", PATH=f"{fake.parent}:{os.environ['PATH']}"
    )
    assert driver.wait() == -signal.SIGKILL, driver.communicate()
    assert project.jobs() == [""]
    project.monkeypatch.setattr("kdbench.cluster.submit.SBATCH_TIMEOUT_S", 5.0 if dies == "before" else 60.0)
    assert "2 runs in 2 jobs" in project.submit()
    assert len(project.jobs()) == 1
    project.wait_for_results(2)
    assert [len(project.attempts(run)) for run in project.runs()] == [1, 1]
    assert not index(Path("results")).repeats
    mine = slurm(
        "squeue", "--noheader", "--array", "--states=all", f"--jobs={project.jobs()[0]}", "--format=%T"
    )
    assert mine.split() == ["COMPLETED", "COMPLETED"]


def test_launch_that_failed_is_released_by_retry(project: Project) -> None:
    project.suite(ALONE)
    spools = [project.cluster / "spool" / node for node in ("n1", "n2")]
    try:
        for spool in spools:
            spool.rename(spool.with_suffix(".away"))
            spool.touch()
        project.submit()
        project.wait("a held job", lambda: "held" in project.status()[0]["detail"])
    finally:
        for spool in spools:
            spool.unlink()
            spool.with_suffix(".away").rename(spool)
    assert "`kdbench retry` releases it" in project.status()[0]["detail"]
    assert "1 run queued or running" in project.submit()
    code, said = project.kd("retry", "suites/tiny", "--on", "slurm:dev")
    assert code == 0
    assert f"released {project.jobs()[0]}" in said
    project.wait_for_results(1)
    assert len(project.jobs()) == 1
