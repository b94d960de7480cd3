"""The surface, frozen: commands and options stand in surface.txt; how they are called, what terminals get."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kdbench.cli import cli, main
from tests.support.command import Command
from tests.support.places import ROOT
from tests.support.project import change, write_suite

KD = "1.kd/digits_mlp:digits_cnn"
SURFACE = (Path(__file__).parent / "surface.txt").read_text(encoding="utf-8").splitlines()
COMMANDS = sorted({line.partition(":")[0] for line in SURFACE})


def surface(command: click.Command, name: str = "") -> Iterator[str]:
    """A line for each argument and option of each command below one: `list rows: --json`."""
    if isinstance(command, click.Group):
        for key, each in commands_of(command).items():
            yield from surface(each, f"{name} {key}".strip())
        return
    for word in [word for each in command.params for word in each.opts] or [""]:
        yield f"{name}: {word}".rstrip()


def commands_of(group: click.Group) -> dict[str, click.Command]:
    """The commands of a group by their names."""
    context = click.Context(group)
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: command for name, command in found.items() if command}


def test_surface_is_as_written_down() -> None:
    """A new command or option is a line of surface.txt, and a command one of docs/commands.md."""
    assert sorted(surface(cli)) == SURFACE


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


def test_group_without_a_command_shows_its_help(kdbench: Command) -> None:
    done = kdbench("list")
    assert done.err.startswith("Usage: kdbench list [OPTIONS] COMMAND")
    assert len(done.err.splitlines()) > 10


def test_wrong_usage_is_one_line_with_the_help_to_look_at(kdbench: Command) -> None:
    done = kdbench("list", "rows")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: Missing argument 'SUITE...'. (`kdbench list rows --help` lists what it takes)\n"
    )


def test_module_is_the_command() -> None:
    words = [sys.executable, "-m", "kdbench", "nothing"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: No such command 'nothing'." in done.stderr


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
