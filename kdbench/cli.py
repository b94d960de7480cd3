"""The command line: `kdbench` and its commands, which lie in kdbench/commands/.

Exit codes: 0 all well; 1 a verdict is below, above, failed, blocked or unreadable; 2 the input is wrong, or a
place cannot be read or written; 3 an error of kdbench itself; 130 stopped (143 by SIGTERM, 129 by SIGHUP).
"""

import gc
import os
import sys
import warnings
from importlib import import_module
from itertools import chain
from typing import Any

import click

from kdbench.commands.options import with_new_name
from kdbench.errors import PluginWarning, UserError, plain
from kdbench.formatting import spell_on_terminal
from kdbench.version import __version__

BROKEN = 3
STOPPED = 130
COMMANDS = {
    "Train": {
        "run": ("run", "Train what is missing, check it, print the report."),
        "plan": ("plan", "Say what would be trained and what it costs."),
        "status": ("jobs", "Say how far the runs are: done, under way, failed, waiting."),
        "cancel": ("jobs", "End the jobs of a suite on the cluster."),
        "retry": ("run", "Forget why runs have failed, and train them again."),
        "logs": ("jobs", "What jobs wrote of a ROW's runs."),
    },
    "Judge": {
        "check": ("judge", "Judge the rows by the stored results; trains nothing."),
        "report": ("report", "Write the report, in any of eight formats."),
        "methods": ("methods", "A table of methods by teacher-student pairs: mean, std, gains."),
        "overview": ("report", "Every suite of a FOLDER that has evidence."),
        "site": ("report", "Every suite of a FOLDER as a site."),
        "plot": ("report", "Draw plots of each table, and the methods beside each other."),
        "claims": ("judge", "Test what papers conclude on the stored results."),
        "power": ("judge", "How many seeds a verdict takes."),
    },
    "Explain": {
        "attribute": ("evidence", "How much each difference of code and paper changes a number."),
        "equivalence": ("evidence", "Test whether a faster arithmetic may replace float32."),
        "compare": ("evidence", "Compare two sets of results, row by row."),
        "history": ("evidence", "What a ROW gave with each version of kdbench."),
        "bundle": ("evidence", "Write the evidence for SUITE into one file."),
        "verify": ("evidence", "Judge a BUNDLE of evidence again."),
    },
    "Read": {
        "lint": ("audit", "Find where a paper's printed numbers disagree with each other."),
        "audit": ("audit", "Find out what each row's loss does, by its gradient."),
        "list": ("listing", "List suites, rows, losses, models or data sets."),
        "show": ("listing", "All about a ROW, by the address that `list rows` prints."),
        "reference": ("reference", "Add the printed numbers that a suite lacks."),
        "schema": ("listing", "Print the JSON Schema of a suite file, for editors."),
    },
    "Prepare": {
        "new": ("new", "Write a package for a method of your own, or a suite."),
        "data": ("data", "The data sets on this machine."),
        "import": ("teachers", "Import weights and logs of others."),
        "bench": ("machine", "Measure how fast this machine trains rows."),
        "doctor": ("machine", "Check that this machine, or a cluster, can train."),
        "completion": ("machine", "Print a shell's completion."),
    },
    "Clean up": {
        "gc": ("upkeep", "Remove what no row needs."),
        "fsck": ("upkeep", "Check every stored file against its digest."),
        "compact": ("upkeep", "Put the results of each data set's like runs into one file."),
        "fingerprint": ("upkeep", "The digest of a ROW's weights after 20 steps."),
    },
}
"""By heading and name: the file of kdbench/commands/, and the first sentence of the command's help.

A file is imported when its command is used: all of them together cost half of what a bare interpreter does.
"""


class Sections(click.Group):
    """A command whose help lists those below it under headings."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take options by their old names too."""
        return super().parse_args(ctx, [with_new_name(word) for word in args])

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names of all commands."""
        return sorted(chain.from_iterable(COMMANDS.values()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of a name: `list` is `list_` in its file, since Python has a word of that name."""
        for commands in COMMANDS.values():
            if cmd_name in commands:
                file = import_module(f"kdbench.commands.{commands[cmd_name][0]}")
                command: click.Command = getattr(file, cmd_name, None) or getattr(file, f"{cmd_name}_")
                return command
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names, as click does; it knows no names to propose."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(
                error.command_name, possibilities=self.list_commands(ctx), ctx=ctx
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the headings of COMMANDS, each with its commands."""
        widest = max(map(len, self.list_commands(ctx)))
        for heading, commands in COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:<{widest}}", what) for name, (_, what) in commands.items()])


def main() -> None:
    """Run the command line and exit."""
    gc.set_threshold(200_000, 20, 100)  # ten thousand rows are no garbage: looking took a fifth of the time
    open_closed_streams()
    spell_on_terminal()
    show_notes()
    sys.exit(run())


def open_closed_streams() -> None:
    """Put the null device where standard input, output or error is closed (`kdbench check ... >&-`).

    Python has None there. The next file to be opened would get its number, and what a worker prints would go
    into that file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            null = open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123, SIM115 - it has the lowest free number
            os.set_inheritable(null.fileno(), True)  # noqa: FBT003
            setattr(sys, name, null)


def run() -> int:
    """Run the command line, with a line on standard error for each thing that is wrong; the exit code."""
    try:
        code: int | None = cli.main(standalone_mode=False, prog_name="kdbench")
        sys.stdout.flush()
    except UserError as error:
        for problem in error.problems:
            click.echo(f"error: {plain(problem)}", err=True)
        return 2
    except click.ClickException as error:
        show_usage(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        return aborted(error)
    except SystemExit:  # click's way with `kdbench list rows ... | head`: nobody reads the rest
        return 0
    except Exception as error:  # noqa: BLE001 - no traceback on the terminal, whatever went wrong
        return unexpected(error)
    return code or 0


def show_usage(error: click.ClickException) -> None:
    """Print what is wrong with a command line in one line; `kdbench` or `kdbench list` alone is its help."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return
    line = plain(" ".join(error.format_message().split()))
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f" (`{context.command_path} --help` lists what it takes)" if context else ""
    click.echo(f"error: {line}{hint}", err=True)


def aborted(error: click.Abort | KeyboardInterrupt) -> int:
    """Print one line on a command that was stopped, or that asks where nobody can answer; the exit code."""
    # In a job, click's questions meet the end of standard input: it raises Abort `from None` there. Where
    # anything else has read to the end, the EOFError is the Abort's cause.
    if error.__cause__ is None and isinstance(error.__context__, EOFError):
        click.echo()  # the question's line
        click.echo(
            "error: no answer to a question: standard input has ended; give it as the option in brackets",
            err=True,
        )
        return 2
    click.echo("stopped; what is finished is kept, and the same command goes on from there", err=True)
    stopped = error.__cause__ or error  # click makes an Abort of what it was
    return int(getattr(stopped, "code", STOPPED))


def unexpected(error: Exception) -> int:
    """Print one line on an error that no code expected, and give the exit code."""
    from kdbench.commands.failure import HINTS, describe_place, discard_output, keep_traceback

    place = describe_place(error) if isinstance(error, OSError) else None
    if isinstance(error, OSError) and place is not None:
        if error.filename is None and error.errno in HINTS:  # standard output's
            discard_output()
        click.echo(f"error: {plain(place)}", err=True)
        return 2
    path = keep_traceback(error)
    where = f"the traceback is in {path}" if path else "its traceback could be written nowhere"
    line = " ".join(f"{type(error).__name__}: {error}".split())
    click.echo(f"error of kdbench itself: {plain(line):.500}; {where}, please report it", err=True)
    return BROKEN


def show_notes() -> None:
    """Print what there is to know about installed packages as notes, each once."""
    usual: Any = warnings.showwarning
    shown: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:  # noqa: ANN401
        if not issubclass(category, PluginWarning):
            usual(message, category, *place, **more)
        elif str(message) not in shown:
            shown.add(str(message))
            click.echo(f"note: {plain(str(message))}", err=True)

    warnings.simplefilter("always", PluginWarning)
    warnings.showwarning = show


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def cli() -> None:
    """Which printed numbers of a distillation paper come out again, how sure are we, and if not, why not?

    A SUITE is a file of suites/, named with or without .toml, or one that comes with kdbench, by its name.
    """
