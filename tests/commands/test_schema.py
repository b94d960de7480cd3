"""`kdbench schema`: the JSON Schema of a suite file, held against suites."""

import json
import tomllib
from collections.abc import Callable

import pytest

from kdbench.suite.schema import json_schema
from tests.support.command import Command
from tests.support.places import SUITES
from tests.support.project import SUITE, change


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
