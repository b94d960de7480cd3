"""Every command on a throw-away project: what it prints, what it exits with, what it says of bad input."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.version import __version__
from tests.support.command import Command, Outcome
from tests.support.project import AS_PRINTED, change, fail_teacher, make_project, store, write_suite

KD = "1.kd/digits_mlp:digits_cnn"


# What each command prints.


def test_plan_says_what_is_trained(kdbench: Command) -> None:
    done = kdbench("plan", "suites/small")
    assert done.code == 0
    assert done.out.startswith("small: 3 rows; 0 runs stored, 6 to train\n")
    assert done.out.count("digits_mlp-kd_released-digits_cnn") == 2
    memory, disk = done.out.splitlines()[-2:]  # of networks of less than a hundredth of a GiB
    assert memory.endswith(" MiB for the largest run alone: weights, gradients, activations")
    assert " MiB of weights" in disk
    assert "0.00" not in memory + disk


ANSWERS: list[tuple[list[str], str, Callable[[Any], object], object]] = [
    (
        ["plan", "suites/small", "--rows", KD, "--seeds", "4"],
        "small: 1 row; 0 runs stored, 2 to train\n",
        lambda runs: [(each["run"]["student"], each["run"]["seed"]) for each in runs],
        [("digits_cnn", 4), ("digits_mlp", 4)],  # teachers first
    ),
    (["plan", "suites/small"], "small: 3 rows; 6 runs stored, 0 to train\n", len, 0),
    (["status", "suites/small"], "6 done\n", lambda runs: {each["state"] for each in runs}, {"done"}),
    (
        ["check", "suites/small"],
        "3 of 3 accuracies reproduced",
        lambda checks: [each["top1"]["word"] for each in checks],
        ["reproduced"] * 3,
    ),
    (["list", "rows", "suites/small"], KD, lambda rows: [each["name"] for each in rows], list(AS_PRINTED)),
    (
        ["show", f"small/{KD}", "--as", "printed"],
        "kd(alpha = 0.9, tau = 4)",
        lambda shown: [run["loss"]["name"] for run in shown["runs"].values()],
        ["kd", "kd"],
    ),
]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(("words", "said", "read", "found"), ANSWERS)
def test_answer_for_people_and_for_programs(
    kdbench: Command, words: list[str], said: str, read: Callable[[Any], object], found: object
) -> None:
    done = kdbench(*words)
    assert (done.code, said in done.out) == (0, True)
    assert read(kdbench(*words, "--json").json) == found


def test_suite_that_is_named_twice_counts_once(kdbench: Command) -> None:
    once = kdbench("plan", "small")
    assert kdbench("plan", "small", "suites/small.toml", "./suites/small", "small") == once
    assert kdbench("lint", "small", "small") == kdbench("lint", "small")


def test_plan_as_printed_has_the_printed_loss(kdbench: Command) -> None:
    assert "digits_mlp-kd-digits_cnn" in kdbench("plan", "suites/small", "--as", "printed").out


@pytest.mark.usefixtures("stored")
def test_plan_of_settings_has_other_runs(kdbench: Command) -> None:
    for words in (["--set", "epochs=2"], ["--smoke"]):
        assert "0 runs stored" in kdbench("plan", "suites/small", *words).out


@pytest.mark.parametrize("words", [["--smoke"], ["--set", "epochs=2"]])
def test_trial_says_on_top_that_it_is_one(kdbench: Command, words: list[str]) -> None:
    named = f"Trial ({' '.join(words)}): "
    assert kdbench("check", "suites/small", *words).out.startswith(named)
    title, line = kdbench("report", "suites/small", *words).out.split("\n\n")[:2]
    assert (title, line.startswith(f"**{named}")) == ("# A paper", True)


def test_dry_run_trains_nothing(kdbench: Command, project: Path) -> None:
    done = kdbench("run", "suites/small", "--dry-run")
    assert (done.code, "6 to train" in done.out) == (0, True)
    assert not (project / "results").exists()


@pytest.mark.usefixtures("stored")
def test_run_of_all_stored_prints_the_report(kdbench: Command) -> None:
    done = kdbench("run", "suites/small")
    assert (done.code, done.out.splitlines()[0]) == (0, "# A paper")
    assert "6 runs stored, 0 to train" in done.err


@pytest.mark.usefixtures("stored")
def test_run_judges_by_the_text_that_it_trained(
    kdbench: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit(*_: object) -> dict[str, None]:
        (project / "suites" / "small.toml").write_text(change(("top1 = 90.0", "top1 = 60.0")))
        (project / "benchmark.toml").write_text('[folders]\nresults = "elsewhere"\n')
        return {}

    monkeypatch.setattr("kdbench.run.local.train_missing", edit)
    done = kdbench("run", "suites/small")
    assert (done.code, "60" in done.out, done.out.count("90.00 ± 0.00")) == (0, False, 1)


def test_status_counts(kdbench: Command, project: Path) -> None:
    store(project, project / "suites" / "small.toml", {"1.base/digits_cnn": 95.0})
    assert kdbench("status", "suites/small").out.startswith("2 done, 4 waiting")


def test_status_names_the_cause_of_a_failure(kdbench: Command, project: Path) -> None:
    fail_teacher(project)
    done = kdbench("status", "suites/small", "--rows", KD)
    assert "loss is NaN (logs/a.txt)" in done.out
    assert "blocked" in done.out


@pytest.mark.usefixtures("stored")
def test_report_is_markdown(kdbench: Command) -> None:
    out = kdbench("report", "suites/small").out
    assert [line for line in out.splitlines() if line.startswith("## Table")] == [
        "## Table 1.base",
        "## Table 1.kd",
    ]


def test_report_goes_to_a_file(kdbench: Command, stored: Path) -> None:
    done = kdbench("report", "suites/small", "-o", "a/report.md")
    assert (done.code, done.out) == (0, "")
    printed = kdbench("report", "suites/small").out
    assert (stored / "a" / "report.md").read_text(encoding="utf-8") == printed


def test_report_names_the_command_that_makes_it(kdbench: Command) -> None:
    words = ["suites/small", "--rows", "1.*", "--seeds", "0,1", "--as", "printed", "--set", "epochs=2"]
    out = kdbench("report", *words, "--format", "markdown").out
    for command in ("run", "report"):
        assert f"    kdbench {command} suites/small --rows '1.*' {' '.join(words[3:])}" in out


def test_lint_finds_what_does_not_add_up(kdbench: Command, project: Path) -> None:
    write_suite(project, change(("gain = 2.0", "gain = 2.5, sic = true")))
    done = kdbench("lint", "suites/small")
    assert (done.code, "the printed gain is 2.50, but 92.00 - 90.00 is 2.00" in done.out) == (0, True)


def test_lint_for_programs(kdbench: Command, project: Path) -> None:
    write_suite(project, change(("gain = 2.0", "gain = 2.5, sic = true")))
    (findings,) = kdbench("lint", "suites/small", "--json").json.values()
    assert [finding["rule"] for finding in findings] == ["gain-differs"]


def test_list_suites(kdbench: Command) -> None:
    assert kdbench("list", "suites").out.splitlines()[1].split() == [
        "suites/small",
        "3",
        "digits",
        "A",
        "paper",
    ]
    assert [suite["rows"] for suite in kdbench("list", "suites", "suites", "--json").json] == [3]


def test_list_rows_gives_addresses_that_show_takes(kdbench: Command) -> None:
    lines = kdbench("list", "rows", "suites/small").out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [f"suites/small/{name}" for name in AS_PRINTED]
    assert all(kdbench("show", line.split()[0]).code == 0 for line in lines)


@pytest.mark.parametrize(
    ("kind", "name"), [("losses", "tfkd_reg"), ("models", "resnet18"), ("datasets", "digits")]
)
def test_list_of_the_catalog(kdbench: Command, kind: str, name: str) -> None:
    assert any(line.startswith(name) for line in kdbench("list", kind).out.splitlines())
    assert name in kdbench("list", kind, "--json").json


def test_show_tells_the_objective_the_reference_and_the_deltas(kdbench: Command) -> None:
    out = kdbench("show", f"suites/small/{KD}").out
    for told in (
        "α τ² / K · D_KL(p^t_τ, p_τ)",
        "top1 92.00, gain +2.00",
        "code.py:1",
        "another loss",
        "epochs = 3",
    ):
        assert told in out


def test_show_takes_an_address_without_suites(kdbench: Command) -> None:
    assert kdbench("show", f"small/{KD}").out == kdbench("show", f"suites/small/{KD}").out


def test_show_takes_an_absolute_address(kdbench: Command, project: Path) -> None:
    assert kdbench("show", f"{project}/suites/small/{KD}").code == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(kdbench: Command, shell: str) -> None:
    out = kdbench("completion", shell).out
    assert f"_KDBENCH_COMPLETE={shell}_complete" in out


def test_completion_knows_the_suites(kdbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"_KDBENCH_COMPLETE": "bash_complete", "COMP_WORDS": "kdbench plan su", "COMP_CWORD": "2"}
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    assert kdbench().out == "plain,suites/small\n"


def test_data_where_says_who_named_the_folder(kdbench: Command, project: Path) -> None:
    assert kdbench("data", "where").out == f"{project / 'data'} (KDBENCH_DATA; it is not there yet)\n"


def test_data_list_names_every_data_set(kdbench: Command) -> None:
    experiments = ("1", "2", "3", "4", "4_released", "4_largest")
    generated = [f"synthetic{each}{view}" for each in experiments for view in ("", "_privileged")]
    assert [line.split()[0] for line in kdbench("data", "list").out.splitlines()[1:]] == [
        "digits",
        "cifar10",
        "cifar100",
        "cifar100_coarse",
        "tinyimagenet",
        "cub200",
        "cars",
        "imagenet",
        "mnist",
        "mnist_7x7",
        *generated,
    ]
    assert {row["state"] for row in kdbench("data", "list", "--json").json} == {"missing", "generated"}


@pytest.mark.slow
def test_data_of_the_quickstart_need_no_network(kdbench: Command) -> None:
    assert kdbench("data", "fetch", "digits", "--offline").code == 0
    assert kdbench("data", "verify", "digits").out.startswith("digits: ")


def test_version_and_help(kdbench: Command) -> None:
    assert kdbench("--version").out.split()[-1] == __version__
    assert kdbench("-h").out == kdbench("--help").out


# Bad input: exit code 2, one line for each mistake on standard error, no traceback.


def lines_of_bad_input(done: Outcome) -> list[str]:
    """What a command said of its bad input."""
    assert (done.code, done.out) == (2, "")
    lines = done.err.splitlines()
    assert all(line.startswith("error: ") for line in lines), done.err
    return [line.removeprefix("error: ") for line in lines]


def test_mistakes_of_a_suite_are_a_line_each(kdbench: Command, project: Path) -> None:
    write_suite(project, change(("epochs = 3", "epochs = 0"), ("gain = 2.0", "gain = 2.5"), ("tau", "tua")))
    assert len(lines_of_bad_input(kdbench("plan", "suites/small"))) == 4


def test_mistakes_of_benchmark_toml_are_a_line_each(kdbench: Command, project: Path) -> None:
    (project / "benchmark.toml").write_text("[local]\nslots = 0\n[folder]\n", encoding="utf-8")
    assert len(lines_of_bad_input(kdbench("plan", "suites/small"))) == 2


@pytest.mark.slow
def test_data_missing_offline_is_told_before_anything_is_trained(kdbench: Command, project: Path) -> None:
    suite = change(('"digits"\n', '"cifar10"\n'), ("digits_mlp", "resnet18"), ("digits_mlp", "resnet18"))
    write_suite(project, suite.replace("digits_cnn", "mobilenetv2"))
    done = kdbench("run", "suites/small", "--offline")
    assert (done.code, done.out) == (2, "")
    assert [line for line in done.err.splitlines() if line.startswith("error: ")] == done.err.splitlines()[
        -1:
    ]
    assert "cifar-10" in done.err.splitlines()[-1]
    assert not list((project / "results").rglob("*.json"))


def test_results_folder_that_cannot_be_written(kdbench: Command, project: Path) -> None:
    (project / "results").write_text("", encoding="utf-8")
    done = kdbench("run", "suites/small")
    assert (done.code, done.out) == (2, "")
    assert "results: a file, where a folder is kept; move it away" in done.err.splitlines()[-1]


@pytest.mark.slow
def test_run_that_failed_in_this_command_makes_exit_code_1(kdbench: Command) -> None:
    """What is trained with `--set` is held against nothing: no verdict says that it failed."""
    words = (
        "run",
        "suites/small",
        "--rows",
        "1.base/digits_mlp",
        "--seeds",
        "0",
        "--set",
        "lr=1000",
        "--set",
        "weight_decay=1",
    )
    done = kdbench(*words)
    assert (done.code, "FAILED" in done.err) == (1, True)


# A suite of another project.


def test_suite_of_another_project_is_noted_with_what_is_used(
    kdbench: Command, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    suite = make_project(other)
    done = kdbench("check", str(suite))
    note = f"note: the suite lies beside {other / 'benchmark.toml'}; used are {project / 'benchmark.toml'}"
    assert done.err.splitlines() == [f"{note} and the results of {project / 'results'}"]
    assert kdbench("check", str(project / "suites" / "small")).err == ""


def test_suite_beside_other_results_is_noted_with_those_that_are_used(
    project: Path, monkeypatch: pytest.MonkeyPatch, kdbench: Command
) -> None:
    """All is pending from another folder, also of a project that has no benchmark.toml."""
    (project / "benchmark.toml").unlink()
    store(project, project / "suites" / "small.toml", AS_PRINTED)
    assert kdbench("check", "suites/small").err == ""
    (project / "elsewhere").mkdir()
    monkeypatch.chdir(project / "elsewhere")
    results = project / "elsewhere" / "results"
    used = f"used are default settings (no benchmark.toml) and the results of {results}"
    said = kdbench("check", "../suites/small").err
    assert said == f"note: the suite lies beside {project / 'results'}; {used}\n"


def test_suite_of_another_project_is_noted_where_none_is_here(
    kdbench: Command, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    suite = make_project(tmp_path_factory.mktemp("other"))
    (project / "benchmark.toml").unlink()
    assert (
        "used are default settings (no benchmark.toml) and the results of" in kdbench("check", str(suite)).err
    )
