"""Every command on a throw-away project: what it prints, what it exits with, what it says of bad input."""

import io
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from kdbench.cli import cli, main
from kdbench.plan.expand import expand
from kdbench.report.formats import FORMATS
from kdbench.spec.results import Failure
from kdbench.store.records import save_failure, save_result
from kdbench.suite.load import load_suite
from kdbench.suite.schema import json_schema
from kdbench.version import __version__
from tests.support.build import make_result
from tests.support.command import Command, Outcome
from tests.support.places import ROOT, SUITES
from tests.support.project import AS_PRINTED, SUITE, change, make_project, store, write_suite

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
    fail(project)
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


# The JSON Schema.


@pytest.fixture(scope="module")
def valid() -> Callable[[str], bool]:
    """Whether a suite's text has the shape that the schema says."""
    from jsonschema import Draft202012Validator

    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    return lambda text: bool(validator.is_valid(tomllib.loads(text)))


def test_schema_is_printed_as_json(kdbench: Command) -> None:
    assert kdbench("schema").json == json.loads(json.dumps(json_schema()))


def test_schema_accepts_the_shipped_suites(valid: Callable[[str], bool]) -> None:
    shipped = sorted(SUITES.glob("*.toml"))
    assert [path.stem for path in shipped if not valid(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("epochs = 3", 'epochs = "3"'),
        ("epochs = 3", "epochs = 0"),
        ("lr = 0.1", "lr = 0.1\nmomentum = 1"),
        ("lr = 0.1", "lr = 0"),
        ("top1 = 0.5", "top1 = 0.005"),
        ("gain = 2.0", "gain = 200"),
        ('paper = "A paper"\n', ""),
        ("seeds = 2", "seed = 2"),
        ("lr = 0.1", "lrs = 0.1"),
        ("gain = 2.0", "gian = 2.0"),
        ("[tolerance]", "[tolerence]"),
    ],
)
def test_schema_refuses_what_the_loader_refuses(valid: Callable[[str], bool], old: str, new: str) -> None:
    assert valid(SUITE)
    assert not valid(change((old, new)))


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


# Exit codes of verdicts.


def fail(project: Path) -> None:
    """Record that the first run of digits_cnn, which teaches, failed."""
    run = store(project, project / "suites" / "small.toml", {"1.base/digits_cnn": 95.0})[0]
    next((project / "results" / "digits").glob(f"*{run.id}.json")).unlink()
    save_failure(project / "results", Failure(id=run.id, run=run, cause="loss is NaN", log="logs/a.txt"))


@pytest.mark.parametrize(("off", "code", "strict"), [(0.0, 0, 0), (0.4, 0, 0), (0.6, 1, 1), (-0.6, 1, 1)])
def test_check_exits_by_its_verdicts(
    kdbench: Command, project: Path, off: float, code: int, strict: int
) -> None:
    values = {name: top1 + off for name, top1 in AS_PRINTED.items()}
    store(project, project / "suites" / "small.toml", values)
    assert [kdbench("check", "suites/small", *words).code for words in ([], ["--strict"])] == [code, strict]


def test_check_of_nothing_stored_is_well_but_not_strictly(kdbench: Command) -> None:
    assert [kdbench("check", "suites/small", *words).code for words in ([], ["--strict"])] == [0, 1]


def test_check_of_a_failed_teacher_exits_with_1(kdbench: Command, project: Path) -> None:
    fail(project)
    done = kdbench("check", "suites/small", "--rows", KD)
    assert (done.code, "blocked" in done.out, "loss is NaN" in done.out) == (1, True, True)


def test_check_looks_only_at_the_rows_asked_for(kdbench: Command, project: Path) -> None:
    store(project, project / "suites" / "small.toml", AS_PRINTED | {"1.base/digits_cnn": 80.0})
    assert [kdbench("check", "suites/small", "--rows", rows).code for rows in ("*", KD)] == [1, 0]


def test_check_of_settings_holds_nothing_against_the_paper(kdbench: Command, project: Path) -> None:
    plan = kdbench("plan", "suites/small", "--set", "epochs=2", "--json").json
    assert plan[0]["run"]["recipe"]["epochs"] == 2
    store(project, project / "suites" / "small.toml", AS_PRINTED | {"1.base/digits_cnn": 80.0})
    assert kdbench("check", "suites/small", "--set", "epochs=2").code == 0


def test_repeat_that_differs_is_told(kdbench: Command, project: Path) -> None:
    run = store(project, project / "suites" / "small.toml", AS_PRINTED)[0]
    save_result(project / "results", make_result(run, 10.0, 20.0, 30.0))
    assert kdbench("check", "suites/small", "--json").json[0]["repeats"]


def curve(project: Path, path: Path, values: Mapping[str, tuple[float, float, float]]) -> None:
    """Results of three epochs for the rows of the small suite."""
    for cell in expand(load_suite(path)):
        for run in cell.runs if cell.row.name in values else ():
            save_result(project / "results", make_result(run, *values[cell.row.name]))


def test_reading_changes_the_verdict_and_trains_nothing(kdbench: Command, project: Path) -> None:
    curve(project, project / "suites" / "small.toml", {"1.base/digits_mlp": (80.0, 90.0, 70.0)})
    words = [
        kdbench("check", "suites/small", "--json", *report_epoch).json[0]["top1"]["word"]
        for report_epoch in ([], ["--report-epoch", "best"], ["--report-epoch", "2"], ["--report-epoch", "1"])
    ]
    assert words == ["below", "reproduced", "reproduced", "below"]


def test_reading_stands_in_the_command_of_the_report(kdbench: Command) -> None:
    report = kdbench("report", "suites/small", "--report-epoch", "best", "--holm").out
    assert "kdbench run suites/small --report-epoch best --holm" in report


def test_reading_leaves_an_epoch_that_is_printed(kdbench: Command, project: Path) -> None:
    path = write_suite(project, change(("top1 = 90.0", "top1 = 80.0, report_epoch = 1")))
    curve(project, path, {"1.base/digits_mlp@1": (80.0, 90.0, 70.0)})
    check = kdbench("check", "suites/small", "--report-epoch", "best", "--json", "--rows", "*@1").json[0]
    assert check["top1"]["word"] == "reproduced"


def test_plan_proposes_the_seeds_that_decide_and_what_they_cost(kdbench: Command, project: Path) -> None:
    store(project, project / "suites" / "small.toml", {"1.base/digits_mlp": 90.0})
    found = kdbench("plan", "suites/small", "--budget", "1h", "--json").json
    assert found == []  # the one is decided, nothing like the others was trained
    auto = kdbench("plan", "suites/small", "--seeds", "auto", "--json").json
    assert [each["row"] for each in auto] == ["1.base/digits_cnn", KD]
    assert "2 rows of unknown cost" in kdbench("plan", "suites/small", "--budget", "1h").out


def test_check_of_auto_seeds_takes_all_that_are_stored(kdbench: Command, project: Path) -> None:
    path = project / "suites" / "small.toml"
    for cell in expand(load_suite(path), rows="1.base/digits_mlp", seeds=range(4)):
        for run in cell.runs:
            save_result(project / "results", make_result(run, 90.0, 90.0, 90.0))
    check = kdbench("check", "suites/small", "--seeds", "auto", "--json").json[0]
    assert check["top1"]["n"] == 4


def test_dry_run_of_auto_seeds_is_the_first_step_of_the_run(kdbench: Command) -> None:
    """Two seeds of each row, not all four that it may come to."""
    words = ("run", "suites/small", "--seeds", "auto", "--dry-run", "--max-seeds", "4")
    dry = kdbench(*words).out.splitlines()
    assert dry[0] == "small: 3 rows; 0 runs stored, 6 to train"
    assert "each that is still open gets one seed more, up to 4 in all" in dry[-1]
    assert kdbench(*words, "--rerun").code == 2


def test_plan_and_check_of_auto_seeds_give_one_verdict(kdbench: Command, project: Path) -> None:
    """An interval of 90 % lies inside the tolerance, that of the first of ten analyses does not."""
    path = project / "suites" / "small.toml"
    runs = expand(load_suite(path), rows="1.base/digits_mlp")[0].runs
    for run, top1 in zip(runs, (90.1, 90.0), strict=True):
        save_result(project / "results", make_result(run, top1, top1, top1))
    words = ("suites/small", "--rows", "1.base/digits_mlp")
    assert kdbench("check", *words, "--json").json[0]["top1"]["word"] == "reproduced"
    [planned] = kdbench("plan", *words, "--seeds", "auto", "--json").json
    [checked] = kdbench("check", *words, "--seeds", "auto", "--json").json
    assert planned["top1"] == checked["top1"]["word"] == "consistent"


def test_check_names_seeds_that_are_stored_and_not_judged(kdbench: Command, stored: Path) -> None:
    path = stored / "suites" / "small.toml"
    [cell] = expand(load_suite(path), rows="1.base/digits_mlp", seeds=[2, 3, 6])
    for run in cell.runs:
        save_result(stored / "results", make_result(run, 90.0, 90.0, 90.0))
    named = "1.base/digits_mlp: seeds {} are stored too and not judged: --seeds {} judges all"
    assert named.format("2-3,6", "0-3,6") in kdbench("check", "suites/small").out
    assert named.format("6", "0-3,6") in kdbench("check", "suites/small", "--seeds", "auto").out
    assert "stored too" not in kdbench("check", "suites/small", "--seeds", "0-1").out


def test_attribute_says_what_is_missing_and_what_each_delta_explains(kdbench: Command, project: Path) -> None:
    assert "6 runs missing" in kdbench("attribute", f"small/{KD}").out
    path = project / "suites" / "small.toml"
    for variant, top1 in (("printed", 91.0), ("released", 92.5)):
        for cell in expand(load_suite(path), variant=variant, rows=KD):  # type: ignore[arg-type]
            for run in cell.runs:
                save_result(project / "results", make_result(run, top1, top1, top1))
    done = kdbench("attribute", f"small/{KD}", "--json")
    assert done.json["explained"][0]["explains"]["points"] == 1.5
    assert kdbench("attribute", f"small/{KD}").out.count("+1.50 ± 0.00 (2)") == 4


def test_controls_are_planned_and_reported_on_request(kdbench: Command, project: Path) -> None:
    store(project, project / "suites" / "small.toml", AS_PRINTED)
    words = ("suites/small", "--controls")
    assert "8 to train" in kdbench("run", *words, "--dry-run").out
    assert "## Controls" in kdbench("report", *words).out
    assert "the teacher matters" in kdbench("check", *words).out
    assert "## Controls" not in kdbench("report", "suites/small").out


CLAIM = """
[[claim]]
id = "kd"
says = "KD improves the student"
section = "Sec. 1"
improves = ["1.kd"]
"""


@pytest.mark.parametrize(("top1", "outcome", "code"), [(92.0, "holds", 0), (89.0, "does not hold", 1)])
def test_claim_is_told_by_check_report_and_claims(
    kdbench: Command, project: Path, top1: float, outcome: str, code: int
) -> None:
    path = write_suite(project, SUITE + CLAIM)
    store(project, path, AS_PRINTED | {KD: top1})
    assert f"{outcome}: KD improves the student (Sec. 1)" in kdbench("check", "suites/small").out
    assert "## Claims" in kdbench("report", "suites/small").out
    done = kdbench("claims", "suites/small", "--json")
    assert (done.code, done.json["suites/small.toml"][0]["outcome"]) == (code, outcome)


# The surface, frozen: a new command or option is written down here, and a command in docs/commands.md.

SURFACE = (Path(__file__).parent / "surface.txt").read_text(encoding="utf-8").splitlines()
COMMANDS = sorted({line.partition(":")[0] for line in SURFACE})


def surface(command: click.Command, name: str = "") -> dict[str, list[str]]:
    """Every command below one, with its arguments and options."""
    if isinstance(command, click.Group):
        below = [surface(each, f"{name} {key}".strip()) for key, each in commands_of(command).items()]
        return {key: options for each in below for key, options in each.items()}
    return {name: sorted(word for each in command.params for word in each.opts)}


def commands_of(group: click.Group) -> dict[str, click.Command]:
    """The commands of a group by their names."""
    context = click.Context(group)
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: command for name, command in found.items() if command}


def test_surface_is_as_written_down() -> None:
    """tests/surface.txt: each command, and each of its arguments and options, on a line of its own."""
    assert written(surface(cli)) == SURFACE


def written(surface: dict[str, list[str]]) -> list[str]:
    lines = [f"{name}: {word}".rstrip() for name, words in surface.items() for word in words or [""]]
    return sorted(lines)


def test_help_says_in_a_line_what_each_command_does(
    kdbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = kdbench("--help").out
    for name, command in commands_of(cli).items():
        (line,) = (line for line in told.splitlines() if line.startswith(f"  {name} "))
        assert (command.name, line.split(maxsplit=1)[1]) == (name, command.get_short_help_str(limit=100))
        assert line.endswith(".")
        assert not line.endswith("..")


def test_every_command_has_help(kdbench: Command) -> None:
    for name in COMMANDS:
        done = kdbench(*name.split(), "--help")
        assert (name, done.code, done.out.startswith(f"Usage: kdbench {name} ")) == (name, 0, True)


def test_module_is_the_command() -> None:
    words = [sys.executable, "-m", "kdbench", "nothing"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: No such command 'nothing'." in done.stderr


def test_listener_that_left_is_no_error(project: Path) -> None:
    listing = subprocess.Popen(
        [sys.executable, "-m", "kdbench", "schema"],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.close()
        assert (listing.stderr.read(), listing.wait()) == (b"", 0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["--reading", "best"], ["--report-epoch", "best"]),
        (["--reading=best"], ["--report-epoch=best"]),
        (["--part", "1/2"], ["--shard", "1/2"]),
        (["--seeds", "auto", "--most", "3"], ["--seeds", "auto", "--max-seeds", "3"]),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("stored")
def test_option_works_by_its_old_name(kdbench: Command, old: list[str], new: list[str]) -> None:
    by_old = kdbench("check", "suites/small", *old)
    assert by_old == kdbench("check", "suites/small", *new)
    assert by_old.code in (0, 1)
    assert old[-2 if len(old) > 1 else 0].partition("=")[0] not in kdbench("check", "--help").out


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


# What a terminal of another encoding gets.


@pytest.mark.parametrize(
    ("encoding", "words", "expected"),
    [
        ("latin-1", ["list", "losses"], "D_KL(p^t_tau, p_tau)"),
        ("latin-1", ["show", f"suites/small/{KD}"], "alpha"),
        ("cp1252", ["show", f"suites/small/{KD}"], "alpha"),
        ("cp1252", ["report", "suites/small"], "# A paper"),
        ("latin-1", ["lint", "suites/\N{GREEK SMALL LETTER ALPHA}"], "no such suite: suites/alpha"),
    ],
)
@pytest.mark.usefixtures("stored")
def test_signs_that_a_terminal_lacks_are_spelled(
    monkeypatch: pytest.MonkeyPatch, encoding: str, words: list[str], expected: str
) -> None:
    assert expected in run_in(encoding, monkeypatch, *words).decode(encoding)


@pytest.mark.parametrize("words", ["list losses --json", "report suites/small --format json"])
def test_what_is_for_programs_is_utf_8_on_any_terminal(
    monkeypatch: pytest.MonkeyPatch, stored: Path, words: str
) -> None:
    write_suite(stored, change(("A paper", "A paper on \N{GREEK SMALL LETTER TAU}")))
    said = run_in("latin-1", monkeypatch, *words.split()).decode("utf-8")
    assert "\N{GREEK SMALL LETTER TAU}" in said
    json.loads(said)


def run_in(encoding: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> bytes:
    """All that a command prints on a terminal of this encoding."""
    terminal = io.BytesIO()
    stream = io.TextIOWrapper(terminal, encoding=encoding, write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "argv", ["kdbench", *words])
    with pytest.raises(SystemExit):
        main()
    return terminal.getvalue()


# Damaged records.

BASE = "1.base/digits_mlp"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "no valid result: Input data was truncated; move it away to train the run again"),
        ("", "no valid result: Input data was truncated"),
        ("<<<<<<< HEAD\n", "git's conflict markers; choose a side with `git checkout --ours` or `--theirs`"),
        ("version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS; `git lfs pull` fetches"),
        ('{"schema": 9}', "result of schema 9, which is newer; update kdbench"),
    ],
    ids=["cut", "empty", "conflict", "pointer", "newer"],
)
def test_damaged_result_makes_its_row_unreadable_and_leaves_the_others(
    kdbench: Command, stored: Path, content: str, reason: str
) -> None:
    damaged = min((stored / "results" / "digits").glob("digits_mlp-ce.s0.*.json"))
    damaged.write_text(content, encoding="utf-8")
    checked = kdbench("check", "suites/small", "--json")
    words = {check["row"]["name"]: check["top1"]["word"] for check in checked.json}
    assert (checked.code, words) == (
        1,
        {BASE: "unreadable", "1.base/digits_cnn": "reproduced", KD: "reproduced"},
    )
    told = {check["row"]["name"]: check for check in checked.json}
    assert told[BASE]["top1"]["reason"].startswith(f"{damaged.relative_to(stored)}: ")
    assert reason in told[BASE]["top1"]["reason"]
    assert told[KD]["gain"]["word"] == "unreadable"
    for kind in FORMATS:
        assert kdbench("report", "suites/small", "--format", kind).code == 0
    assert damaged.name in kdbench("report", "suites/small").out
    status = kdbench("status", "suites/small")
    assert (status.code, status.out.splitlines()[0]) == (0, "5 done, 1 unreadable")
    assert f"{damaged.relative_to(stored)}: " in status.out
    assert reason in status.out


@pytest.mark.usefixtures("stored")
def test_damaged_failure_beside_a_result_stops_nothing(kdbench: Command, stored: Path) -> None:
    for path in list((stored / "results" / "digits").glob("*.json")):
        path.with_name(path.name.replace(".json", ".failed.json")).write_text("{", encoding="utf-8")
    assert kdbench("check", "suites/small").code == 0
    assert kdbench("report", "suites/small").code == 0
    assert kdbench("status", "suites/small").out == "6 done\n"


def test_damaged_failure_without_a_result_is_named(kdbench: Command, project: Path) -> None:
    fail(project)
    (damaged,) = (project / "results" / "digits").glob("*.failed.json")
    damaged.write_text("{", encoding="utf-8")
    done = kdbench("check", "suites/small")
    assert (done.code, "unreadable" in done.out, damaged.name in done.out) == (1, True, True)
    status = kdbench("status", "suites/small")
    assert f"{damaged.relative_to(project)}: no valid record of a failure" in status.out


def test_damaged_repeat_is_named_beside_the_verdict(kdbench: Command, stored: Path) -> None:
    first = min((stored / "results" / "digits").glob("digits_mlp-ce.s0.*.json"))
    first.with_name(first.name.replace(".json", ".repeat1.json")).write_text("{", encoding="utf-8")
    check = kdbench("check", "suites/small", "--json").json[0]
    assert check["top1"]["word"] == "reproduced"
    assert ".repeat1.json: no valid result" in check["repeats"][0]


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
