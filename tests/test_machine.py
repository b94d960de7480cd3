"""benchmark.toml: found above, relative to itself, every mistake told."""

from pathlib import Path

import pytest

from kdbench.errors import UserError
from kdbench.machine import Local, Machine, load_machine
from kdbench.upkeep.doctor import examine_workers


def load(folder: Path, text: str) -> Machine:
    (folder / "benchmark.toml").write_text(text, encoding="utf-8")
    return load_machine(folder / "benchmark.toml")


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(UserError) as error:
        load(folder, text)
    place = f"{folder / 'benchmark.toml'}: "
    return [problem.removeprefix(place) for problem in error.value.problems]


def test_slots_of_an_older_file_are_its_workers(tmp_path: Path) -> None:
    file = tmp_path / "benchmark.toml"
    file.write_text("[local]\nslots = 3\n", encoding="utf-8")
    assert load_machine(file).local.workers == 3
    file.write_text("[local]\nslots = 3\nworkers = 2\n", encoding="utf-8")
    with pytest.raises(UserError, match="unknown key 'slots'"):
        load_machine(file)


def test_machine_is_found_in_a_parent_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "benchmark.toml").write_text("[local]\nslots = 7\n", encoding="utf-8")
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert (load_machine().local.workers, load_machine().results) == (7, tmp_path / "results")


def test_machine_of_the_nearest_folder_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    for folder, workers in ((tmp_path, 1), (tmp_path / "a", 2)):
        (folder / "benchmark.toml").write_text(f"[local]\nworkers = {workers}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "a")
    assert load_machine().local.workers == 2


def test_relative_folders_start_at_the_file(tmp_path: Path) -> None:
    machine = load(tmp_path, '[folders]\nresults = "a/b"\n[data]\nfolder = "c"')
    assert (machine.results, machine.data_folder) == (tmp_path / "a" / "b", tmp_path / "c")
    assert machine.scratch == tmp_path / ".kdbench"


def test_absolute_folders_stand(tmp_path: Path) -> None:
    assert load(tmp_path, '[folders]\nresults = "/a/b"').results == Path("/a/b")


def test_data_folder_left_out_is_not_named(tmp_path: Path) -> None:
    assert load(tmp_path, "").data_folder is None


def test_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    machine = load(tmp_path, '[data]\nfolder = "~/data"\n[folders]\nscratch = "~/scratch"')
    assert (machine.data_folder, machine.scratch) == (Path("/home/ada/data"), Path("/home/ada/scratch"))


def test_variables_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "/place")
    machine = load(tmp_path, '[data]\nfolder = "$PLACE/data"\n[folders]\nresults = "${PLACE}/results"')
    assert (machine.data_folder, machine.results) == (Path("/place/data"), Path("/place/results"))


def test_home_of_an_unknown_user_stands_as_written(tmp_path: Path) -> None:
    assert (
        load(tmp_path, '[folders]\nresults = "~no-such-user/a"').results == tmp_path / "~no-such-user" / "a"
    )


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("local", "workers"),
        ("local", "threads"),
        ("local", "processes"),
        ("local", "runs_per_gpu"),
        ("data", "workers"),
    ],
)
def test_more_at_the_same_time_than_a_machine_takes_are_refused(
    tmp_path: Path, section: str, key: str
) -> None:
    load(tmp_path, f"[{section}]\n{key} = 512")
    [mistake] = mistakes(tmp_path, f"[{section}]\n{key} = 513")
    assert mistake.startswith(f"[{section}]: {key} = 513: must be in [1, 512]; so many processes and threads")


def test_doctor_says_where_there_are_more_threads_than_cores() -> None:
    machine = Machine(local=Local(device="cpu", workers=4, threads=2))
    assert examine_workers(machine, 8).found == "4 runs at a time, 2 threads each, 8 cores"
    assert examine_workers(machine, 2).found.endswith(
        "; 8 threads wait for each other: lower workers or threads of [local]"
    )


def test_mistakes_of_a_file_are_told_all_at_once(tmp_path: Path) -> None:
    assert len(mistakes(tmp_path, "[local]\nslots = 0\nthreads = 0\n[data]\nofline = 1\n[x]")) == 4
