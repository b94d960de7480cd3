"""`kdbench reference add`: one line changes, the rest stays, and the loader has the last word."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kdbench.suite.load import load_suite
from tests.support.command import Command
from tests.support.project import SUITE, change, write_suite

BARE = change(
    ('digits_mlp", top1 = 90.0 },', 'digits_mlp" },  # not at hand'),
    (", top1 = 92.0, gain = 2.0 }", ', note = "a \\"note\\"" }'),
)
MLP, KD = "small/1.base/digits_mlp", "small/1.kd/digits_mlp:digits_cnn"
Add = Callable[..., tuple[int, str]]


@pytest.fixture
def path(project: Path) -> Path:
    return write_suite(project, BARE)


@pytest.fixture
def add(path: Path, kdbench: Command) -> Add:
    """Run `kdbench reference add`: its exit code and what it output."""
    assert path.exists()

    def run(row: str, *words: str, source: str = "Table 1, in the PDF") -> tuple[int, str]:
        done = kdbench("reference", "add", row, *words, "--source", source)
        return done.code, done.out + done.err

    return run


def test_number_stands_in_its_row_and_nothing_else_changes(add: Add, path: Path) -> None:
    code, output = add(MLP, "--top1", "90.50", "--std", "0.10", "--n", "3")
    line = '{ student = "digits_mlp", top1 = 90.50, std = 0.10, n = 3, source = "Table 1, in the PDF" }'
    assert (code, output) == (0, f"suites/small.toml: {line}\n")
    assert path.read_text() == BARE.replace('{ student = "digits_mlp" }', line)


def test_keys_stand_in_the_order_of_a_person(add: Add, path: Path) -> None:
    add(MLP, "--top1", "90.00")
    words = ("--gain", "2.00", "--gain-std", "0.30", "--n", "3", "--top1", "92.00")
    assert add(KD, *words, source='p. 5, "Table 2"')[0] == 0
    row = 'top1 = 92.00, n = 3, gain = 2.00, gain_std = 0.30, source = "p. 5, \\"Table 2\\"", note'
    row = f'{{ student = "digits_mlp", teacher = "digits_cnn", {row} = "a \\"note\\"" }},'
    assert row in path.read_text()


def test_added_number_is_the_rows_reference(add: Add, path: Path) -> None:
    add(MLP, "--top1", "90.50", "--kind", "second-hand", source="a survey")
    reference = load_suite(path).rows[0].reference
    assert (reference.top1, reference.kind, reference.source) == (90.5, "second-hand", "a survey")


def test_gain_over_another_row_is_added(add: Add, path: Path) -> None:
    assert add(KD, "--gain", "0.40", "--over", "1.base/digits_mlp")[0] == 0
    assert load_suite(path).rows[2].over == "1.base/digits_mlp"


def test_gain_that_does_not_add_up_is_refused_and_not_written(add: Add, path: Path) -> None:
    add(MLP, "--top1", "90.00")
    before = path.read_bytes()
    code, output = add(KD, "--top1", "92.00", "--gain", "2.10")
    assert (code, "gain = 2.1, but 92.0 - 90.0 is 2.00" in output) == (2, True)
    assert path.read_bytes() == before
    assert add(KD, "--top1", "92.00", "--gain", "2.10", "--sic")[0] == 0


def test_number_that_is_there_is_replaced_only_when_asked(add: Add, path: Path) -> None:
    add(MLP, "--top1", "90.50", "--std", "0.10", "--kind", "second-hand")
    code, output = add(MLP, "--top1", "91.00")
    assert (code, "has top1 = 90.50; --replace" in output) == (2, True)
    assert add(MLP, "--top1", "91.00", "--replace")[0] == 0
    reference = load_suite(path).rows[0].reference
    assert (reference.top1, reference.std, reference.kind) == (91.0, None, "printed")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--top1", "91,5"), "--top1 '91,5': expected a number as the paper prints it"),
        (("--top1", "nan"), "--top1 'nan': expected a number"),
        (("--top1", "910"), "top1 = 910: expected"),
        (("--top1", "0.85"), "top1 = 0.85: below chance, 10 % for 10 classes; is it 85 as a fraction?"),
        (("--top1", "85", "--std", "85"), "std = 85.0: must be in [0, 50]"),
        (("--std", "0.1"), "nothing to add: give --top1, --gain or both"),
        (("--gain", "1.00", "--over", "1.base/nobody"), "unknown row '1.base/nobody'"),
    ],
    ids=["comma", "nan", "range", "fraction", "std", "no number", "over"],
)
def test_what_is_no_number_is_refused(add: Add, path: Path, words: tuple[str, ...], message: str) -> None:
    code, output = add(MLP, *words)
    assert (code, message in output, path.read_text()) == (2, True, BARE), output


def test_row_that_is_no_line_is_refused(add: Add, path: Path) -> None:
    apart = '[[table.rows]]\nstudent = "digits_mlp"\n[[table.rows]]\nstudent = "digits_cnn"\ntop1 = 95.0\n'
    rows = BARE[BARE.index("rows = [") : BARE.index("]\n", BARE.index("rows = [")) + 2]
    path.write_text(change((rows, apart), suite=BARE), encoding="utf-8")
    code, output = add(MLP, "--top1", "90.00")
    assert (code, "is no line of `rows = [...]`" in output) == (2, True)


def test_unknown_row_is_told(add: Add) -> None:
    code, output = add("small/1.base/digits_mpl", "--top1", "90.00")
    assert (code, "Did you mean '1.base/digits_mlp'" in output) == (2, True)


def test_windows_line_ends_stay(add: Add, path: Path) -> None:
    path.write_bytes(BARE.replace("\n", "\r\n").encode())
    add(MLP, "--top1", "90.50")
    assert path.read_bytes().count(b"\r\n") == path.read_bytes().count(b"\n") == SUITE.count("\n")
