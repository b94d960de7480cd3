"""Suite -> runs: unique, teachers first, minus what is stored; the two variants; settings; deltas."""

import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from kdbench.errors import UserError
from kdbench.machine import Machine
from kdbench.plan.expand import SMOKE, expand, make_plan, weights_needed
from kdbench.plan.selection import Selection, find_work, parse_seeds, parse_settings
from kdbench.spec.runs import ReportEpoch, Run
from kdbench.spec.suites import Reference
from kdbench.suite.load import load_suite
from tests.support.places import ROOT, SUITES
from tests.support.project import cells, change, make_project, store, write_suite
from tests.support.refused import problems_of

KD = "1.kd/digits_mlp:digits_cnn"
TFKD = SUITES / "tfkd_cifar100.toml"


def kd(folder: Path, *edits: tuple[str, str], **options: Any) -> Run:  # noqa: ANN401 - expand's
    """The first run of the taught row."""
    return next(cell.runs[0] for cell in cells(folder, *edits, **options) if cell.row.table == "1.kd")


def delta(text: str) -> tuple[str, str]:
    """An edit that puts one more delta behind the first."""
    return (
        'kd = "kd_released" }\n',
        f'kd = "kd_released" }}\n[[delta]]\nat = "code.py:2"\nwhy = "x"\n{text}\n',
    )


def errors(folder: Path, *edits: tuple[str, str], **options: Any) -> tuple[str, ...]:  # noqa: ANN401 - expand's
    return problems_of(cells, folder, *edits, **options)


def test_plan_has_each_run_once(tmp_path: Path) -> None:
    runs = make_plan(chain(cells(tmp_path), cells(tmp_path)))
    assert len(runs) == len({run.id for run in runs}) == 6


def test_plan_of_the_paper_has_teachers_first() -> None:
    runs = make_plan(expand(load_suite(TFKD)))
    place = {run.id: number for number, run in enumerate(runs)}
    assert all(place[run.teacher.run.id] < place[run.id] for run in runs if run.teacher)


def test_plan_of_a_student_alone_brings_its_teachers(tmp_path: Path) -> None:
    runs = make_plan(cells(tmp_path, rows=KD))
    assert [(run.student, run.seed) for run in runs] == [
        ("digits_cnn", 0),
        ("digits_mlp", 0),
        ("digits_cnn", 1),
        ("digits_mlp", 1),
    ]


def test_one_teacher_teaches_all_seeds(tmp_path: Path) -> None:
    one = cells(tmp_path, ('dataset = "digits"', 'dataset = "digits"\nteacher_seed = 1'), rows=KD)
    runs = make_plan(one)
    assert [(run.student, run.seed) for run in runs] == [
        ("digits_cnn", 1),
        ("digits_mlp", 0),
        ("digits_mlp", 1),
    ]
    own = cells(tmp_path, rows=KD)
    assert one[0].ids[1] == own[0].ids[1], "the teacher of its own seed is the same run"
    assert one[0].baselines == own[0].baselines, "gains are over the student's seed"


CHAIN = (
    "top1 = 92.0, gain = 2.0 },",
    """top1 = 92.0, gain = 2.0 },
  { student = "digits_mlp", teacher = "self", teacher_row = "1.kd/digits_mlp:digits_cnn" },
  { student = "digits_cnn", teacher = "digits_mlp@2", teacher_row = "1.kd/digits_mlp:self" },""",
)
"""Three generations: a student of the CNN teaches itself once more, and that one the CNN."""


def test_teacher_that_was_taught_itself_is_a_run_inside_a_run(tmp_path: Path) -> None:
    found = {cell.row.name: cell for cell in cells(tmp_path, CHAIN)}
    last = found["1.kd/digits_cnn:digits_mlp@2"].runs[1]
    assert last.teacher is not None
    born_again = last.teacher.run
    assert (born_again.id, last.teacher.epoch) == (found["1.kd/digits_mlp:self"].ids[1], 2)
    assert born_again.teacher is not None
    assert born_again.teacher.run.id == found["1.kd/digits_mlp:digits_cnn"].ids[1]
    assert [run.loss.name for run in make_plan([found["1.kd/digits_cnn:digits_mlp@2"]])[:4]] == [
        "ce",
        "kd_released",
        "kd_released",
        "kd_released",
    ]
    assert weights_needed([last])[born_again.id] == {2}


def test_chain_has_the_teachers_of_the_suites_seed(tmp_path: Path) -> None:
    seeded = ('dataset = "digits"', 'dataset = "digits"\nteacher_seed = 1')
    found = {cell.row.name: cell for cell in cells(tmp_path, CHAIN, seeded)}
    for run in found["1.kd/digits_cnn:digits_mlp@2"].runs:
        assert run.teacher is not None
        assert run.teacher.run.seed == 1


def test_plan_leaves_out_what_is_stored(tmp_path: Path) -> None:
    found = cells(tmp_path)
    whole = make_plan(found)
    stored = {whole[0].id, whole[-1].id}
    assert make_plan(found, stored) == whole[1:-1]


def test_plan_of_a_stored_student_has_not_its_teacher(tmp_path: Path) -> None:
    found = cells(tmp_path, rows=KD)
    assert make_plan(found, set(found[0].ids)) == ()


def test_plan_of_two_suites_shares_runs(tmp_path: Path) -> None:
    one = cells(tmp_path)
    path = write_suite(
        tmp_path, change(("top1 = 90.0", "top1 = 91.0"), ("gain = 2.0", "gain = 1.0")), "other"
    )
    assert make_plan([*one, *expand(load_suite(path))]) == make_plan(one)


def test_released_and_printed_plans_of_the_paper_are_disjoint() -> None:
    suite = load_suite(TFKD)
    released, printed = make_plan(expand(suite)), make_plan(expand(suite, variant="printed"))
    assert len(released) == len(printed) == 150
    assert not {run.id for run in released} & {run.id for run in printed}


def test_teachers_of_de_kd_add_no_runs() -> None:
    suite = load_suite(TFKD)
    baselines = {name for cell in expand(suite, rows="1.baseline/*") for name in cell.ids}
    assert {name for cell in expand(suite, rows="4.teacher/*") for name in cell.ids} <= baselines
    taught = [run.teacher for cell in expand(suite, rows="4.dekd/*") for run in cell.runs]
    assert {teacher.run.id for teacher in taught if teacher} <= baselines
    assert {teacher.epoch for teacher in taught if teacher} == {1, 51}


def test_self_is_the_students_baseline_of_the_same_seed() -> None:
    for cell in expand(load_suite(TFKD), rows="5.tfkd_self/*"):
        taught_by = [run.teacher.run for run in cell.runs if run.teacher]
        assert [run.id for run in taught_by] == list(cell.baselines)
        assert [run.seed for run in taught_by] == [run.seed for run in cell.runs] == [0, 1, 2]


@pytest.mark.parametrize(
    ("suites", "written", "epoch"),
    [
        ("last", "digits_cnn", 3),
        ("best", "digits_cnn", "best"),
        (2, "digits_cnn", 2),
        ("best", "digits_cnn@last", 3),
        ("best", "digits_cnn@1", 1),
        ("last", "digits_cnn@best", "best"),
    ],
)
def test_checkpoint_that_teaches(tmp_path: Path, suites: ReportEpoch, written: str, epoch: int | str) -> None:
    head = ("seeds = 2", f"seeds = 2\nteacher = {suites!r}")
    teacher = kd(tmp_path, head, ('"digits_cnn", top1 = 92', f'"{written}", top1 = 92')).teacher
    assert teacher is not None
    assert teacher.epoch == epoch


def test_checkpoint_that_teaches_may_come_from_a_delta(tmp_path: Path) -> None:
    edits = [delta('teacher = "best"')]
    released, printed = (kd(tmp_path, *edits, variant=variant).teacher for variant in ("released", "printed"))
    assert released is not None
    assert printed is not None
    assert (released.epoch, printed.epoch) == ("best", 3)


def test_delta_changes_what_is_released_only(tmp_path: Path) -> None:
    assert [kd(tmp_path, variant=variant).loss.name for variant in ("released", "printed")] == [
        "kd_released",
        "kd",
    ]


def test_delta_concerns_only_its_rows(tmp_path: Path) -> None:
    found = cells(tmp_path, delta('where = { student = "digits_cnn" }\nrecipe = { lr = 0.7 }'))
    assert [cell.row.recipe.lr for cell in found] == [0.1, 0.7, 0.1]


def test_delta_of_a_teacher_reaches_its_students(tmp_path: Path) -> None:
    teacher = kd(tmp_path, delta('where = { student = "digits_cnn" }\nrecipe = { lr = 0.7 }')).teacher
    assert teacher is not None
    assert teacher.run.recipe.lr == 0.7


def test_later_delta_wins(tmp_path: Path) -> None:
    two = delta(
        'recipe = { lr = 0.7 }\n[[delta]]\nat = "b"\nwhy = "x"\nrecipe = { lr = 0.9, momentum = 0.5 }'
    )
    recipe = kd(tmp_path, two).recipe
    assert (recipe.lr, recipe.momentum) == (0.9, 0.5)


def test_delta_sets_parameters_of_the_renamed_loss(tmp_path: Path) -> None:
    run = kd(tmp_path, delta('where = { loss = "kd" }\nparams = { alpha = 0.6 }'))
    assert (run.loss.name, run.loss.params) == ("kd_released", {"alpha": 0.6, "tau": 4.0})


def test_setting_wins_over_a_delta(tmp_path: Path) -> None:
    edits = delta('where = { loss = "kd" }\nparams = { alpha = 0.6 }\nrecipe = { lr = 0.7 }')
    run = kd(tmp_path, edits, settings={"alpha": 0.1, "lr": 0.2})
    assert (run.loss.params["alpha"], run.recipe.lr) == (0.1, 0.2)


def test_setting_changes_the_identity_of_row_and_teacher(tmp_path: Path) -> None:
    plain, other = kd(tmp_path), kd(tmp_path, settings={"epochs": 2})
    assert plain.teacher is not None
    assert other.teacher is not None
    assert (other.id != plain.id, other.teacher.run.id != plain.teacher.run.id) == (True, True)


@pytest.mark.parametrize("options", [{"settings": {"lr": 0.1}}, {"smoke": True}])
def test_row_that_was_set_is_not_compared(tmp_path: Path, options: dict[str, Any]) -> None:
    assert {cell.row.reference for cell in cells(tmp_path, **options)} == {Reference()}


def test_setting_of_a_parameter_leaves_other_losses_alone(tmp_path: Path) -> None:
    found = cells(tmp_path, settings={"tau": 9})
    assert [cell.row.loss.params.get("tau") for cell in found] == [None, None, 9.0]


@pytest.mark.parametrize(
    ("options", "trials"),
    [
        ({}, []),
        ({"settings": {"tau": 9.0}}, ["digits_mlp-kd_released-digits_cnn"]),
        (
            {"settings": {"epochs": 2}},
            ["digits_cnn-ce", "digits_mlp-ce", "digits_mlp-kd_released-digits_cnn"],
        ),
        ({"smoke": True}, ["digits_cnn-ce", "digits_mlp-ce", "digits_mlp-kd_released-digits_cnn"]),
    ],
)
def test_trials_are_the_runs_that_the_suite_itself_has_not(
    tmp_path: Path, options: dict[str, Any], trials: list[str]
) -> None:
    selection = Selection(suites=(str(make_project(tmp_path)),), **options)
    work = find_work(selection, Machine(root=str(tmp_path)))
    assert sorted({run.slug for run in work.runs if run.id in work.trials}) == trials


def test_smoke_is_short_and_of_one_seed(tmp_path: Path) -> None:
    runs = make_plan(cells(tmp_path, smoke=True))
    assert {(run.seed, run.recipe.epochs, run.recipe.train_size) for run in runs} == {
        (0, SMOKE["epochs"], SMOKE["train_size"])
    }


def test_smoke_takes_a_small_data_set_whole_and_a_setting_may_not_ask_for_more(tmp_path: Path) -> None:
    synthetic = load_suite(ROOT / "suites" / "lopezpaz_synthetic.toml")
    assert expand(synthetic, smoke=True)  # 200 training points, of the first 256
    with pytest.raises(UserError, match=r"small\.toml: .*: subset = 401: the data set has 400 train"):
        cells(tmp_path, settings={"subset": 401})


def test_smoke_takes_the_last_epoch_of_a_teacher_for_a_later_one() -> None:
    (cell,) = expand(load_suite(TFKD), rows="4.dekd/mobilenetv2:resnet50@50", smoke=True)
    assert cell.runs[0].teacher is not None
    assert cell.runs[0].teacher.epoch == 2


def test_seeds_replace_the_suites(tmp_path: Path) -> None:
    assert [run.seed for run in cells(tmp_path, seeds=(7, 3))[0].runs] == [7, 3]


def test_rows_are_chosen_by_a_glob(tmp_path: Path) -> None:
    assert [cell.row.name for cell in cells(tmp_path, rows="*:digits_*")] == [KD]


def test_rows_are_chosen_by_several_globs_in_the_suites_order(tmp_path: Path) -> None:
    found = cells(tmp_path, rows="1.kd/*, *base/digits_mlp,*mlp")
    assert [cell.row.name for cell in found] == ["1.base/digits_mlp", KD]
    (message,) = errors(tmp_path, rows="1.kd/*,2.*")
    assert "no row is named like '2.*'. All rows: `kdbench list rows" in message


def test_no_row_matches(tmp_path: Path) -> None:
    (message,) = errors(tmp_path, rows="2.*")
    assert "no row is named like '2.*'. All rows: `kdbench list rows" in message


@pytest.mark.parametrize(
    ("written", "offered"),
    [
        ("kd", "*.kd/*"),
        ("1.kd", "1.kd/*"),
        ("cnn", "*cnn*"),
        ("1.kd/digit_mlp:digits_cnn", "1.kd/digits_mlp:digits_cnn"),
        (".*", "*"),
        ("^1\\.kd/.+$", "1.kd/*"),
        ("kd/.*mlp", "*kd/*mlp*"),
        ("base|kd", "1.base/*"),
        ("(kd|lsr)/.*", "1.kd/*"),
        ("*kd(", None),
        ("2.*", None),
    ],
)
def test_glob_that_fits_a_row_is_offered_also_for_a_regular_expression(
    tmp_path: Path, written: str, offered: str | None
) -> None:
    (message,) = errors(tmp_path, rows=written)
    hint = re.search(r"Did you mean --rows '(.*?)'( \(a glob: .*; no regular expression\))?\?", message)
    assert (hint and hint[1]) == offered
    if hint:
        assert cells(tmp_path, rows=hint[1])
        assert bool(hint[2]) == any(sign in written for sign in [".+", ".*", "|", "(", "^"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, "--set: unknown key 'epoch'. Did you mean 'epochs'? Valid: alpha, batch_size,"),
        ({"epsilon": 0.1}, "--set: unknown key 'epsilon'."),
        ({"epochs": 0}, "--set: epochs = 0: expected a whole number >= 1"),
        ({"epochs": "3"}, "--set: epochs = '3': expected a whole number, got text"),
        ({"alpha": "x"}, "--set: alpha = 'x': expected a finite number"),
        ({"alpha": True}, "--set: alpha = true: expected a finite number"),
        ({"alpha": float("nan")}, "--set: alpha = nan: expected a finite number"),
    ],
)
def test_wrong_setting_is_told(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    assert [problem.startswith(message) for problem in errors(tmp_path, settings=settings)] == [True]


def test_wrong_settings_are_told_all_at_once(tmp_path: Path) -> None:
    assert len(errors(tmp_path, settings={"epoch": 3, "lr": -1, "tau": "x"})) == 3


def test_setting_that_ends_before_a_teachers_epoch_is_refused(tmp_path: Path) -> None:
    (message,) = errors(
        tmp_path, ('"digits_cnn", top1 = 92', '"digits_cnn@3", top1 = 92'), settings={"epochs": 2}
    )
    assert message == f"{KD}@3: its teacher is epoch 3 of a run that trains 2 epochs"


def test_baselines_of_two_recipes_are_refused(tmp_path: Path) -> None:
    other = '[[table]]\nid = "2.base"\nrecipe = { lr = 0.2 }\nloss = { name = "ce" }\n'
    rows = 'rows = [{ student = "digits_cnn" }]\n[[table]]\nid = "1.kd"'
    (message,) = errors(tmp_path, ('[[table]]\nid = "1.kd"', other + rows))
    assert "the baselines of digits_cnn are different runs (1.base/digits_cnn, 2.base/digits_cnn)" in message


def test_weights_needed_are_those_that_teach(tmp_path: Path) -> None:
    runs = make_plan(cells(tmp_path, seeds=[0]))
    assert weights_needed(runs) == {runs[1].id: {3}}


def test_work_trains_a_stored_teacher_again_for_its_weights(tmp_path: Path) -> None:
    path = make_project(tmp_path)
    store(tmp_path, path, {"1.base/digits_cnn": 95.0})
    work = find_work(Selection(suites=(str(path),), rows=KD, seeds=(0,)), Machine(root=str(tmp_path)))
    assert [run.student for run in work.runs] == ["digits_cnn", "digits_mlp"]
    assert work.retrained == {work.runs[0].id}


def test_work_of_stored_rows_needs_no_weights(tmp_path: Path) -> None:
    path = make_project(tmp_path)
    store(tmp_path, path, {KD: 92.0})
    work = find_work(Selection(suites=(str(path),), rows=KD), Machine(root=str(tmp_path)))
    assert (work.runs, work.stored) == ((), 2)


def test_work_keeps_the_weights_that_rows_left_out_learn_from(tmp_path: Path) -> None:
    selection = Selection(suites=(str(make_project(tmp_path)),), rows="1.base/digits_cnn", seeds=(0,))
    work = find_work(selection, Machine(root=str(tmp_path)))
    assert work.keep == {work.runs[0].id: {3}}


def test_work_is_not_hindered_by_rows_left_out(tmp_path: Path) -> None:
    selection = Selection(suites=(str(TFKD),), rows="1.kd/*", settings={"epochs": 10})
    assert len(find_work(selection, Machine(root=str(tmp_path))).cells) == 8


def test_mistakes_of_all_suites_are_told_at_once(tmp_path: Path) -> None:
    wrong = [str(write_suite(tmp_path, change(("epochs = 3", "epochs = 0")), name)) for name in ("a", "b")]
    found = problems_of(Selection(suites=tuple(wrong)).load)
    assert [problem.split(":")[0] for problem in found] == wrong


@pytest.mark.parametrize(
    ("text", "seeds"), [("4", (4,)), ("0-2", (0, 1, 2)), ("3,0,3", (3, 0)), (" 0-1, 5", (0, 1, 5))]
)
def test_seeds_as_a_person_writes_them(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "1-", "2-1", "0-1000", "1.5", "٣", "1" * 40])
def test_seeds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^--seeds "):
        parse_seeds(text)


def test_settings_are_toml() -> None:
    found = parse_settings(("epochs=5", "lr = 1e-2", 'optimizer="adam"', "milestones=[1, 2]", "flip=true"))
    assert found == {"epochs": 5, "lr": 0.01, "optimizer": "adam", "milestones": [1, 2], "flip": True}


@pytest.mark.parametrize(
    "text", ["epochs", "=5", "epochs=", "optimizer=adam", "a=" + "[" * 5000, "a=" + "1" * 5000]
)
def test_settings_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^--set "):
        parse_settings((text,))
