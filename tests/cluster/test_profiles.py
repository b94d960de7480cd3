"""slurm/NAME.toml: what is read, what is refused and with which words; no cluster is needed."""

from pathlib import Path

import pytest

from kdbench.cluster.groups import JobArray
from kdbench.cluster.ledger import Ledger
from kdbench.cluster.node import JobWork
from kdbench.cluster.profiles import check_shared, load_profile, read_profile
from kdbench.cluster.sbatch import parameters, refusal, sbatch_options
from kdbench.cluster.submit import check_name
from kdbench.errors import UserError
from kdbench.machine import Machine, Slurm
from tests.support.places import ROOT

OPTIONS = sbatch_options()
EXAMPLES = sorted((ROOT / "slurm").glob("*.toml"))


def written(folder: Path, text: str) -> Path:
    """A profile of this text."""
    file = folder / "some.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_example_is_valid(file: Path) -> None:
    assert read_profile(file, OPTIONS).name == file.stem


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        read_profile(written(tmp_path, "[slurm]\na = 1\n[work]\nb = 1\n[sbatch]\nc = 1"), OPTIONS)
    assert len(error.value.problems) == 3


@pytest.mark.parametrize("key", ["workers", "tasks_per_node"])
def test_more_at_the_same_time_than_a_node_takes_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(UserError, match=rf"\[work\]: {key} = 1000: must be in \[1, 512\]"):
        read_profile(written(tmp_path, f"[work]\n{key} = 1000"), OPTIONS)


def test_unknown_profile_lists_those_there(tmp_path: Path) -> None:
    (tmp_path / "slurm").mkdir()
    written(tmp_path / "slurm", "")
    with pytest.raises(UserError, match="Did you mean 'some'"):
        load_profile("sme", Machine(root=str(tmp_path)), OPTIONS)


def test_profile_of_benchmark_toml_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "slurm").mkdir()
    written(tmp_path / "slurm", "")
    machine = Machine(root=str(tmp_path))
    with pytest.raises(UserError, match="which cluster"):
        load_profile("", machine, OPTIONS)
    chosen = Machine(root=str(tmp_path), slurm=Slurm(profile="some"))
    assert load_profile("", chosen, OPTIONS).name == "some"


def test_folder_that_nodes_do_not_see(tmp_path: Path) -> None:
    profile = read_profile(written(tmp_path, f'[node]\nshared = ["{tmp_path}/shared"]'), OPTIONS)
    with pytest.raises(UserError, match="not there"):
        check_shared(profile, {})
    (tmp_path / "shared").mkdir()
    check_shared(profile, {"results": tmp_path / "shared" / "results"})
    with pytest.raises(UserError, match=r"results is .* which nodes do not see"):
        check_shared(profile, {"results": tmp_path / "results"})


def test_what_sbatch_is_asked_for(tmp_path: Path) -> None:
    text = """
    [slurm]
    partition = "gpu"
    gpus_per_node = 2
    memory = 8
    [node]
    setup = ["module load cuda"]
    [environment]
    A = "b c"
    [sbatch]
    mail-type = "END"
    [extra]
    licenses = "x"
    """
    profile = read_profile(written(tmp_path, text), OPTIONS)
    submission = Ledger(tmp_path).new_submission("tiny-first", "some", [["a"]])
    work = JobWork(Machine(), (), {}, 2, 30, 60)
    group = JobArray(generation=1, minutes=30, memory=6, chunks=())
    asked = parameters(submission, work, profile, group, "afterok:7")
    assert (asked["timeout_min"], asked["mem_gb"]) == (30, 6)
    assert asked["slurm_partition"] == "gpu"
    assert asked["cpus_per_task"] == 2
    assert asked["slurm_mail_type"] == "END"
    assert asked["slurm_setup"] == ["export A='b c'", "module load cuda"]
    assert asked["slurm_signal_delay_s"] == 60
    wanted = {"requeue": True, "licenses": "x", "kill-on-invalid-dep": "yes"}
    assert asked["slurm_additional_parameters"] == wanted


@pytest.mark.parametrize("key", ["tasks_per_node", "processes"])
def test_tasks_of_a_job_are_the_ranks_of_its_runs(tmp_path: Path, key: str) -> None:
    """`processes` is the older name."""
    text = f"[slurm]\ngpus_per_node = 4\n[work]\nnodes = 2\n{key} = 4"
    profile = read_profile(written(tmp_path, text), OPTIONS)
    submission = Ledger(tmp_path).new_submission("tiny-first", "some", [["a"]])
    work = JobWork(Machine(), (), {}, 1, 30, 60, nodes=2)
    asked = parameters(submission, work, profile, JobArray(generation=0, minutes=30, chunks=()), None)
    assert profile.workers == 1
    assert (asked["nodes"], asked["tasks_per_node"], asked["gpus_per_node"]) == (2, 4, 4)
    assert asked["cpus_per_task"] == 1
    assert asked["slurm_srun_args"] == ["--kill-on-bad-exit=0"]


def test_refusal_says_what_helps(tmp_path: Path) -> None:
    profile = read_profile(written(tmp_path, ""), OPTIONS)
    said = "Job failed:\nsbatch: error: invalid partition specified: x\nsbatch: error: Batch job refused"
    assert refusal(said, profile) == (
        "profile some: sbatch refuses: invalid partition specified: x; Batch job refused; "
        "see `sinfo` for the partitions there are"
    )


@pytest.mark.parametrize("name", ["%j", "100%A", "a%"])
def test_path_that_slurm_would_change_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="Slurm replaces % and a letter in the paths of jobs"):
        check_name(tmp_path / name / ".kdbench")
    check_name(tmp_path)
