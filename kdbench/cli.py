"""The command line: `kdbench` and its commands, which lie in kdbench/commands/.

Exit codes: 0 all well; 1 a verdict is below, above, failed, blocked or unreadable; 2 the input is wrong, or a
place cannot be read or written; 3 an error of kdbench itself; 130 stopped (143 by SIGTERM, 129 by SIGHUP).
"""

import gc as memory
import sys
import warnings
from typing import Any

import click

from kdbench.commands.audit import audit, lint
from kdbench.commands.data import data
from kdbench.commands.evidence import attribute, bundle, compare, equivalence, history, verify
from kdbench.commands.jobs import cancel, logs, status
from kdbench.commands.judge import check, claims, power
from kdbench.commands.listing import list_, schema, show
from kdbench.commands.machine import bench, completion, doctor
from kdbench.commands.methods import methods
from kdbench.commands.new import new
from kdbench.commands.options import with_new_name
from kdbench.commands.plan import plan
from kdbench.commands.reference import reference
from kdbench.commands.report import overview, plot, report, site
from kdbench.commands.run import retry, run
from kdbench.commands.teachers import import_
from kdbench.commands.upkeep import compact, fingerprint, fsck, gc
from kdbench.errors import PluginWarning, UserError, plain
from kdbench.formatting import spell_on_terminal
from kdbench.version import __version__

BROKEN = 3
STOPPED = 130
COMMANDS = {
    "Train": (run, plan, status, cancel, retry, logs),
    "Judge": (check, report, methods, overview, site, plot, claims, power),
    "Explain": (attribute, equivalence, compare, history, bundle, verify),
    "Read": (lint, audit, list_, show, reference, schema),
    "Prepare": (new, data, import_, bench, doctor, completion),
    "Clean up": (gc, fsck, compact, fingerprint),
}


class Sections(click.Group):
    """A command whose help lists those below it under headings."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take options by their old names too."""
        return super().parse_args(ctx, [with_new_name(word) for word in args])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the headings of COMMANDS, each with its commands."""
        widest = max(len(name) for name in self.commands)
        for heading, commands in COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl(
                    [(f"{each.name:<{widest}}", each.get_short_help_str(limit=100)) for each in commands]
                )


def main() -> None:
    """Run the command line and exit."""
    memory.set_threshold(
        200_000, 20, 100
    )  # ten thousand rows are no garbage: looking costs a fifth of the time
    spell_on_terminal()
    show_notes()
    try:
        code = cli.main(standalone_mode=False, prog_name="kdbench")
        sys.stdout.flush()
    except UserError as error:
        for problem in error.problems:
            click.echo(f"error: {plain(problem)}", err=True)
        code = 2
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        click.echo("stopped; what is finished is kept, and the same command goes on from there", err=True)
        code = getattr(error.__cause__ or error, "code", STOPPED)  # click makes an Abort of what it was
    except SystemExit:  # click's way with `kdbench list rows ... | head`: nobody reads the rest
        code = 0
    except Exception as error:  # noqa: BLE001 - no traceback on the terminal, whatever went wrong
        code = unexpected(error)
    sys.exit(code)


def unexpected(error: Exception) -> int:
    """Print one line on an error that no code expected, and give the exit code."""
    from kdbench.commands.failure import describe_place, discard_output, keep_traceback

    place = describe_place(error) if isinstance(error, OSError) else None
    if place is not None:
        if getattr(error, "filename", None) is None:
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


for group in COMMANDS.values():
    for command in group:
        cli.add_command(command)
