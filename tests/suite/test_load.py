"""The loader: levels, defaults, and a fuzz test that nothing but a Suite or a UserError comes out."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdbench.errors import UserError
from kdbench.plan.expand import expand
from kdbench.report import sentences
from kdbench.report.claims import claim_lines
from kdbench.spec.runs import Loss, Recipe
from kdbench.spec.suites import Delta, Row, Suite, TeacherName, Tolerance
from kdbench.suite.load import build, load_suite
from kdbench.suite.schema import RowFile, SuiteFile, SuiteHead, TableFile, read_suite_file
from kdbench.toml import Place
from kdbench.verdict.check import check_suite
from kdbench.verdict.claims import check_claims
from tests.support.places import SUITES
from tests.support.project import SUITE, change, write_suite

Edits = list[tuple[str, str]]


def load(folder: Path, *edits: tuple[str, str]) -> Suite:
    return load_suite(write_suite(folder, change(*edits)))


def test_suite_is_found_with_and_without_toml(tmp_path: Path) -> None:
    path = write_suite(tmp_path)
    assert load_suite(path) == load_suite(str(path.with_suffix("")))


def test_suite_is_named_after_its_file(tmp_path: Path) -> None:
    assert load_suite(write_suite(tmp_path, name="tfkd.v2")).name == "tfkd.v2"


def test_rows_keep_the_order_of_the_file(tmp_path: Path) -> None:
    assert [row.name for row in load(tmp_path).rows] == [
        "1.base/digits_mlp",
        "1.base/digits_cnn",
        "1.kd/digits_mlp:digits_cnn",
    ]


BASE, KD, MLP = 'id = "1.base"', 'id = "1.kd"', "top1 = 90.0"
# Edits of the small suite, what is read of each of its rows, and what that is.
LEVELS: dict[str, tuple[Edits, Callable[[Row], object], list[object]]] = {
    "recipe: suite": ([], lambda row: row.recipe.epochs, [3, 3, 3]),
    "recipe: table": ([(KD, f"{KD}\nrecipe = {{ epochs = 5 }}")], lambda row: row.recipe.epochs, [3, 3, 5]),
    "recipe: row before table": (
        [(BASE, f"{BASE}\nrecipe = {{ epochs = 5 }}"), (MLP, f"{MLP}, recipe = {{ epochs = 7 }}")],
        lambda row: row.recipe.epochs,
        [7, 5, 3],
    ),
    "recipe: row keeps the table's other keys": (
        [(BASE, f"{BASE}\nrecipe = {{ lr = 0.5 }}"), (MLP, f"{MLP}, recipe = {{ epochs = 7 }}")],
        lambda row: (row.recipe.epochs, row.recipe.lr, row.recipe.batch_size),
        [(7, 0.5, 32), (3, 0.5, 32), (3, 0.1, 32)],
    ),
    "recipe: a required key at each table": (
        [
            ("lr = 0.1\n", ""),
            (BASE, f"{BASE}\nrecipe = {{ lr = 0.2 }}"),
            (KD, f"{KD}\nrecipe = {{ lr = 0.3 }}"),
        ],
        lambda row: row.recipe.lr,
        [0.2, 0.2, 0.3],
    ),
    "loss: row before table": (
        [("gain = 2.0", "gain = 2.0, loss = { alpha = 0.5 }")],
        lambda row: row.loss,
        [Loss("ce"), Loss("ce"), Loss("kd", {"alpha": 0.5, "tau": 4.0})],
    ),
    "tolerance: row before suite": (
        [("gain = 2.0", 'gain = 2.0, tolerance = { gain = 0.1, why = "noisy" }')],
        lambda row: (row.tolerance.top1, row.tolerance.gain, row.tolerance.why),
        [(0.5, 0.5, ""), (0.5, 0.5, ""), (0.5, 0.1, "noisy")],
    ),
    "seeds: row before table before suite": (
        [(BASE, f"{BASE}\nseeds = 4"), (MLP, f"{MLP}, seeds = 5")],
        lambda row: row.seeds,
        [5, 4, 2],
    ),
    "report_epoch: row before table before suite": (
        [
            ('dataset = "digits"', 'dataset = "digits"\nreading = "best"'),
            (BASE, f"{BASE}\nreading = 2"),
            ("top1 = 95.0", 'top1 = 95.0, report_epoch = "last"'),
        ],
        lambda row: row.report_epoch,
        [2, "last", "best"],
    ),
    "n: only where a std is printed": (
        [(BASE, f"{BASE}\nn = 3"), (MLP, f"{MLP}, std = 0.1")],
        lambda row: row.reference.n,
        [3, None, None],
    ),
    "assumed: table and row are joined": (
        [(BASE, f'{BASE}\nassumed = "tau"'), (MLP, f'{MLP}, assumed = "alpha"')],
        lambda row: row.assumed,
        ["tau; alpha", "tau", ""],
    ),
    "gain: does not add up, with sic": (
        [("gain = 2.0", "gain = 2.5, sic = true")],
        lambda row: (row.reference.gain, row.sic),
        [(None, False), (None, False), (2.5, True)],
    ),
    "gain: off by rounding": (
        [("gain = 2.0", "gain = 2.004")],
        lambda row: row.reference.gain,
        [None, None, 2.004],
    ),
    "gain: off by rounding, below": (
        [("gain = 2.0", "gain = 1.996")],
        lambda row: row.reference.gain,
        [None, None, 1.996],
    ),
    "no number": ([(", top1 = 92.0, gain = 2.0", "")], lambda row: row.reference.top1, [90.0, 95.0, None]),
}


@pytest.mark.parametrize("case", LEVELS)
def test_row_has_what_its_nearest_level_says(tmp_path: Path, case: str) -> None:
    edits, of, values = LEVELS[case]
    assert list(map(of, load(tmp_path, *edits).rows)) == values


def test_tolerance_of_a_row_without_a_reason_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"row 1 \(digits_mlp\), tolerance: other margins .* need a reason"):
        load(tmp_path, ("gain = 2.0", "gain = 2.0, tolerance = { gain = 0.1 }"))


def test_best_may_be_the_best_on_held_out_images(tmp_path: Path) -> None:
    """Of rows that report the best; a checkpoint that teaches is the best on test all the same."""
    edits = [("seeds = 2", 'seeds = 2\nbest_on = "validation"\nreport_epoch = "best"\nteacher = "best"')]
    edits += [("lr = 0.1", "lr = 0.1\nvalidation_size = 50"), ("gain = 2.0", "gain = 2.0, report_epoch = 2")]
    suite = load_suite(write_suite(tmp_path, change(*edits)))
    assert [row.report_epoch for row in suite.rows] == ["best_validation", "best_validation", 2]
    assert suite.teacher == "best"


def test_row_read_at_an_epoch_says_so_in_its_name(tmp_path: Path) -> None:
    extra = '{ student = "digits_mlp", top1 = 90.0 },\n  { student = "digits_mlp", report_epoch = 1 },'
    rows = load(tmp_path, ('{ student = "digits_mlp", top1 = 90.0 },', extra)).rows
    assert rows[1].name == "1.base/digits_mlp@1"


@pytest.mark.parametrize(
    ("written", "teacher"),
    [
        ("digits_cnn", TeacherName("digits_cnn")),
        ("digits_cnn@1", TeacherName("digits_cnn", 1)),
        ("digits_cnn@best", TeacherName("digits_cnn", "best")),
        ("digits_cnn@last", TeacherName("digits_cnn", "last")),
        ("self", TeacherName("self")),
        ("self@2", TeacherName("self", 2)),
    ],
)
def test_teacher_as_a_person_writes_it(tmp_path: Path, written: str, teacher: TeacherName) -> None:
    assert load(tmp_path, ('teacher = "digits_cnn"', f'teacher = "{written}"')).rows[2].teacher == teacher


def test_where_of_a_delta_takes_one_value_without_brackets(tmp_path: Path) -> None:
    delta = load(
        tmp_path, ('at = "code.py:1"', 'at = "code.py:1"\nwhere = { student = "digits_mlp" }')
    ).deltas[0]
    assert delta.where == {"student": ("digits_mlp",)}


@pytest.mark.parametrize("name", ["quickstart", "tfkd_cifar100"])
def test_shipped_suite_loads(name: str) -> None:
    suite = load_suite(SUITES / name)
    assert len(suite.rows) >= 8


@pytest.mark.parametrize("place", ["[suite]", "[[table]]", "row"])
def test_key_of_an_older_suite_is_read_as_todays(tmp_path: Path, place: str) -> None:
    edits = {
        "[suite]": ("seeds = 2\n", "seeds = 2\n{key} = 'best'\n"),
        "[[table]]": ('id = "1.base"\n', 'id = "1.base"\n{key} = "best"\n'),
        "row": ("top1 = 90.0 }", "top1 = 90.0, {key} = 'best' }"),
    }
    old, new = edits[place]
    suites = []
    for key in ("reading", "report_epoch"):
        path = write_suite(tmp_path, change((old, new.replace("{key}", key))))
        suites.append(load_suite(path))
    assert suites[0] == suites[1]
    assert suites[0].rows[0].report_epoch == "best"


def test_old_and_new_key_together_are_refused(tmp_path: Path) -> None:
    path = write_suite(
        tmp_path, change(("seeds = 2\n", "seeds = 2\nreading = 'last'\nreport_epoch = 'best'\n"))
    )
    with pytest.raises(UserError, match="unknown key 'reading'"):
        load_suite(path)


KINDS = (SuiteFile, SuiteHead, TableFile, RowFile, Recipe, Tolerance, Delta)
KEYS = sorted({key for kind in KINDS for key in kind.__struct_fields__} | {"reading", "name", "alpha", "tau"})
WORDS = st.sampled_from(["digits", "digits_mlp", "self", "kd", "ce", "last", "1.kd", "a@1", "a@0", "\n", ""])
VALUES = st.recursive(
    WORDS | st.text(max_size=4) | st.integers() | st.floats() | st.booleans() | st.dates() | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


def _places(part: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401 - any part of a TOML file
    """Every (container, key) of a parsed file."""
    inside = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return [place for key, value in inside for place in [(part, key), *_places(value)]]


def _suite_or_error(file: Path) -> None:
    problems: tuple[str, ...] = ()
    try:
        assert load_suite(file).rows
    except UserError as error:
        problems = error.problems or ("",)
    assert all("\n" not in problem and str(file) in problem for problem in problems)


def _write(value: Any) -> str:  # noqa: ANN401 - any TOML value
    """A value as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_write(key)} = {_write(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_write, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(sign):08x}" for sign in value) + '"'
    return str(value).lower() if isinstance(value, bool) else str(value)


relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_suite_written_for_the_fuzz_tests_is_a_suite(tmp_path: Path) -> None:
    text = "\n".join(f"{_write(key)} = {_write(part)}" for key, part in tomllib.loads(SUITE).items())
    assert load_suite(write_suite(tmp_path, text)) == load_suite(write_suite(tmp_path))


@relaxed
@given(data=st.data())
def test_suite_with_anything_anywhere_is_a_suite_or_an_error(tmp_path: Path, data: st.DataObject) -> None:
    content = tomllib.loads(SUITE)
    for _ in range(data.draw(st.integers(1, 3))):
        part, key = data.draw(st.sampled_from(_places(content)))
        part[key] = data.draw(VALUES)
    text = "\n".join(f"{_write(key)} = {_write(part)}" for key, part in content.items())
    _suite_or_error(write_suite(tmp_path, text))


@relaxed
@given(text=st.text(max_size=200) | st.lists(st.sampled_from(SUITE.splitlines())).map("\n".join))
def test_suite_of_any_text_is_a_suite_or_an_error(tmp_path: Path, text: str) -> None:
    _suite_or_error(write_suite(tmp_path, text))


@relaxed
@given(content=st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), VALUES, max_size=6))
def test_any_parsed_content_is_built_or_complained_of(content: dict[str, Any]) -> None:
    place = Place("a.toml")
    suite = build(Path("a.toml"), read_suite_file(content, place), place)
    assert place.problems or suite.rows


def test_spread_of_a_gain_is_read_and_needs_a_gain(tmp_path: Path) -> None:
    row = load(tmp_path, ("gain = 2.0", "gain = 2.0, gain_std = 0.3, n = 3")).rows[-1]
    assert (row.reference.gain_std, row.reference.n) == (0.3, 3)
    with pytest.raises(UserError, match="gain_std is the spread of a gain: add the gain"):
        load(tmp_path, ("top1 = 95.0", "top1 = 95.0, gain_std = 0.3"))


ASSUMED = 'seeds = 2\nprinted_n = 1\nassumed_std = 0.4\nassumed_std_source = "our own seeds"'


def test_assumed_spread_of_the_suite_stands_for_rows_without_a_printed_one(tmp_path: Path) -> None:
    rows = load(tmp_path, ("seeds = 2", ASSUMED), ("top1 = 95.0", "top1 = 95.0, std = 0.1, n = 3")).rows
    found = [(row.reference.n, row.reference.std, row.reference.assumed_std) for row in rows]
    assert found == [(1, None, 0.4), (3, 0.1, None), (1, None, 0.4)]
    assert rows[0].reference.assumed_std_source == "our own seeds"


def test_assumed_spread_of_a_table_overrides_the_suites(tmp_path: Path) -> None:
    table = 'id = "1.kd"\nprinted_n = 3\nassumed_std = 0.2\nassumed_std_source = "Table 1"'
    row = load(tmp_path, ("seeds = 2", ASSUMED), ('id = "1.kd"', table)).rows[-1]
    assert (row.reference.n, row.reference.assumed_std) == (3, 0.2)


def test_assumed_spread_without_its_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\[suite\]: assumed_std needs assumed_std_source"):
        load(tmp_path, ("seeds = 2", "seeds = 2\nassumed_std = 0.4"))


@pytest.mark.parametrize("tolerance", ["", "[tolerance]\ntop1 = 0.5\n"])
def test_suite_of_ones_own_needs_no_tolerance_and_a_claim_no_section(tmp_path: Path, tolerance: str) -> None:
    text = change(
        ("[tolerance]\ntop1 = 0.5\ngain = 0.5\n", tolerance),
        (", top1 = 90.0", ""),
        (", top1 = 95.0", ""),
        (", top1 = 92.0, gain = 2.0", ""),
    )
    claim = '[[claim]]\nid = "kd"\nsays = "KD helps"\nimproves = ["1.kd"]\n'
    suite = load_suite(write_suite(tmp_path, f"{text}\n{claim}"))
    assert len(suite.rows) == 3
    assert suite.claims[0].section == ""
    checks = check_suite(expand(suite), {})
    assert "Tolerance" not in sentences.settings(suite.rows)
    assert claim_lines(check_claims(suite, checks))[0].startswith("undecided: KD helps; ")
