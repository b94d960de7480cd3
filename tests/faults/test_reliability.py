"""docs/reliability.md: every line of its tables names a test that there is."""

import re

import pytest

from tests.support.places import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
}
LINES = [
    line
    for table in re.findall(r"^\| .*\| test \|\n\|[-:| ]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    for line in table.splitlines()
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split("|")[1].strip())
def test_line_names_tests_that_there_are(line: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", line.split("|")[-2]))
    assert named
    assert named <= TESTS


def test_all_tables_are_looked_at() -> None:
    assert len(LINES) == sum(line.startswith("| ") and "`test_" in line for line in PAGE.splitlines())


def test_tests_that_the_text_names_are_there() -> None:
    assert set(re.findall(r"`(test_\w+)`", PAGE)) <= TESTS
