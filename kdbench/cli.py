"""The command line: each command is a few lines over the functions that do its work.

Exit codes: 0 all well; 1 a verdict is below, above, failed or blocked; 2 the input is wrong; 130 stopped
(143 by SIGTERM, 129 by SIGHUP).
"""

from __future__ import annotations

import gc as memory
import sys
from typing import TYPE_CHECKING

import click

from kdbench import __version__
from kdbench.cli_audit import audit
from kdbench.cli_bench import bench
from kdbench.cli_data import data
from kdbench.cli_equivalence import equivalence
from kdbench.cli_evidence import bundle, compare, history, verify
from kdbench.cli_import import import_
from kdbench.cli_judge import attribute, claims, power, propose
from kdbench.cli_list import list_
from kdbench.cli_options import (
    as_json,
    complete_suite,
    judgement,
    offline,
    on_where,
    say,
    selection,
    wait_for,
)
from kdbench.cli_reference import reference
from kdbench.cli_report import plot, report
from kdbench.cli_upkeep import fingerprint, fsck, gc
from kdbench.errors import UserError, plain

if TYPE_CHECKING:
    from kdbench.spec import Form
    from kdbench.workload import Selection

STOPPED = 130


def main() -> None:
    """Run the command line and exit."""
    memory.set_threshold(
        200_000, 20, 100
    )  # ten thousand rows are no garbage: looking costs a fifth of the time
    try:
        code = cli.main(standalone_mode=False, prog_name="kdbench")
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
    except SystemExit:  # click's way with `kdbench list rows ... | head`: who listened has heard enough
        code = 0
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def cli() -> None:
    """Which printed numbers of a distillation paper come out again, how sure are we, and if not, why not?

    A SUITE is a file of suites/, named with or without .toml.
    """


@cli.command()
@selection
@judgement
@click.option("-j", "--jobs", type=click.IntRange(1), help="Runs at a time.")
@click.option("--processes", type=click.IntRange(1), help="That share each run, whose batches have parts.")
@click.option("--again", is_flag=True, help="Train what has a result once more, beside it.")
@click.option("--cohorts/--no-cohorts", default=True, help="Several runs of one teacher in one process.")
@click.option("--deterministic", is_flag=True, help="On GPUs too: slower, the same bits each time.")
@click.option("--dry-run", is_flag=True, help="Only say what would be trained.")
@click.option("--strict", is_flag=True, help="Exit with 1 unless everything is reproduced.")
@on_where
@wait_for
@offline
@as_json
def run(  # noqa: PLR0913 - one per option
    chosen: Selection,
    *,
    jobs: int | None,
    processes: int | None,
    again: bool,
    cohorts: bool,
    deterministic: bool,
    dry_run: bool,
    strict: bool,
    on: str,
    wait: bool,
    offline: bool,
    as_json: bool,
) -> int:
    """Train what is missing, check it, print the report."""
    from kdbench import running

    if dry_run:
        from kdbench.bill import make_bill
        from kdbench.text import describe_plan

        work, machine = running.prepare(chosen, again=again, offline=offline)
        click.echo("\n".join(describe_plan(work, make_bill(work, machine))))
        return 0
    over = running.train(
        chosen,
        on=on,
        wait=wait,
        slots=jobs,
        again=again,
        cohorts=cohorts,
        deterministic=deterministic,
        offline=offline,
        processes=processes,
    )
    return _judge(chosen, strict=strict, as_json=as_json, report=True) if over else 0


@cli.command()
@selection
@click.option("--budget", metavar="TIME", help="The verdicts' next seeds, in 40h, 90m or 2d.")
@as_json
def plan(chosen: Selection, *, budget: str | None, as_json: bool) -> None:
    """Say what would be trained and what it costs; with --budget or --seeds auto, what helps most."""
    from kdbench.bill import make_bill
    from kdbench.machine import load_machine
    from kdbench.text import describe_plan
    from kdbench.workload import find_work

    if budget is not None or chosen.auto:
        propose(chosen, budget, as_json=as_json)
        return
    machine = load_machine()
    work = find_work(chosen, machine)
    bill = make_bill(work, machine)
    if as_json:
        say(
            [
                {"id": run.id, "retrained": run.id in work.retrained, "run": run, "alone": bill.items[run.id]}
                for run in work.runs
            ]
        )
    else:
        click.echo("\n".join(describe_plan(work, bill)))


@cli.command()
@selection
@as_json
def status(chosen: Selection, *, as_json: bool) -> None:
    """Say how far the runs are: done, under way, failed, waiting."""
    from kdbench.cluster import commands

    states, trouble = commands.states(chosen)
    if trouble:
        click.echo(f"from the disk alone, as the scheduler is silent: {trouble}", err=True)
    if as_json:
        say(states)
    else:
        click.echo(commands.describe_states(states))


@cli.command()
@selection
def cancel(chosen: Selection) -> None:
    """End the jobs of a suite on the cluster; what they have trained so far is kept."""
    from kdbench.cluster import commands

    click.echo(commands.cancel(chosen))


@cli.command()
@selection
@on_where
@wait_for
def retry(chosen: Selection, *, on: str, wait: bool) -> int:
    """Forget why runs have failed, and train them again."""
    from kdbench import running
    from kdbench.cluster import commands

    click.echo(commands.anew(chosen), err=True)
    over = running.train(chosen, on=on, wait=wait)
    return _judge(chosen, strict=False, as_json=False, report=True) if over else 0


@cli.command()
@click.argument("row")
@click.option("-f", "--follow", is_flag=True, help="Go on while it is queued or running.")
@click.option(
    "--as", "form", type=click.Choice(["released", "printed"]), default="released", show_default=True
)
def logs(row: str, *, follow: bool, form: Form) -> None:
    """What jobs wrote of a ROW's runs, and the traceback of those that failed."""
    from kdbench.cluster import logs as written

    for line in (written.follow if follow else written.read)(row, form):
        click.echo(line)


@cli.command()
@selection
@judgement
@click.option("--strict", is_flag=True, help="Exit with 1 unless everything is reproduced.")
@as_json
def check(chosen: Selection, *, strict: bool, as_json: bool) -> int:
    """Hold the rows against what is stored; trains nothing."""
    return _judge(chosen, strict=strict, as_json=as_json, report=False)


def _judge(chosen: Selection, *, strict: bool, as_json: bool, report: bool) -> int:
    from kdbench import judging, reporting
    from kdbench.check import exit_code
    from kdbench.report.markdown import markdown

    judged = judging.judge(chosen)
    checks = [check for _, some in judged.suites for check in some]
    if as_json:
        say(checks)
    else:
        click.echo(markdown(reporting.gather(judged)) if report else judging.table(judged))
    return exit_code(checks, strict=strict)


@cli.command()
@click.argument("suite", nargs=-1, required=True, shell_complete=complete_suite)
@as_json
def lint(suite: tuple[str, ...], *, as_json: bool) -> None:
    """Find where a paper's printed numbers disagree with each other."""
    from kdbench.lint import lint_suite
    from kdbench.suite import load_suite
    from kdbench.text import describe_findings

    found = {path: lint_suite(load_suite(path)) for path in suite}
    if as_json:
        say(found)
    else:
        click.echo("\n".join(line for path, some in found.items() for line in describe_findings(path, some)))


@cli.command()
@click.argument("row")
@click.option(
    "--as", "form", type=click.Choice(["released", "printed"]), default="released", show_default=True
)
@as_json
def show(row: str, *, form: Form, as_json: bool) -> None:
    """All about a ROW, by the address that `list rows` prints: run, objective, reference, deltas."""
    from kdbench.address import find_row
    from kdbench.text import describe_row

    suite, cell = find_row(row, form)
    if as_json:
        say({"suite": suite.path, "row": cell.row, "runs": dict(zip(cell.ids, cell.runs, strict=True))})
    else:
        click.echo("\n".join(describe_row(suite, cell, form)))


@cli.command()
@on_where
def doctor(*, on: str) -> int:
    """Check that this machine, or a cluster, can train, and say what to mend."""
    from kdbench import doctor as local
    from kdbench.text import columns

    if on == "local":
        found = local.examine()
    else:
        from kdbench.cluster import commands
        from kdbench.cluster import doctor as cluster_doctor

        found = cluster_doctor.examine(commands.profile_of(on))
    click.echo(columns([("ok" if each.ok else "MEND", each.what, each.found) for each in found], []))
    return int(not all(each.ok for each in found))


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the shell's completion: eval "$(kdbench completion bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(cli, {}, "kdbench", "_KDBENCH_COMPLETE").source())


@cli.command()
def schema() -> None:
    """Print the JSON Schema of a suite file, for editors."""
    from kdbench.schema import json_schema

    say(json_schema())


cli.add_command(audit)
cli.add_command(bench)
cli.add_command(equivalence)
cli.add_command(compare)
cli.add_command(history)
cli.add_command(bundle)
cli.add_command(verify)
cli.add_command(list_)
cli.add_command(data)
cli.add_command(import_)
cli.add_command(report)
cli.add_command(plot)
cli.add_command(claims)
cli.add_command(power)
cli.add_command(attribute)
cli.add_command(gc)
cli.add_command(fsck)
cli.add_command(fingerprint)
cli.add_command(reference)
