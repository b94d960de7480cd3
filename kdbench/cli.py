"""The command line: each command is a few lines over the functions that do its work.

Exit codes: 0 all well; 1 a verdict is below, above, failed or blocked; 2 the input is wrong; 130 stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kdbench import __version__
from kdbench.errors import UserError

if TYPE_CHECKING:
    from kdbench.catalog import Kind
    from kdbench.spec import Form
    from kdbench.workload import Selection

F = TypeVar("F", bound=Callable[..., Any])
STOPPED = 130


def main() -> None:
    """Run the command line and exit."""
    try:
        code = cli.main(standalone_mode=False, prog_name="kdbench")
    except UserError as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        code = 2
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped; what is finished is kept, and the same command goes on from there", err=True)
        code = STOPPED
    except BrokenPipeError:  # `kdbench list rows ... | head`: who listened has heard enough
        sys.stdout = None
        code = 0
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def cli() -> None:
    """Which printed numbers of a distillation paper come out again, how sure are we, and if not, why not?

    A SUITE is a file of suites/, named with or without .toml.
    """


def complete_suite(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """The suites of this folder, for the shell's completion."""
    return [
        name
        for path in sorted(Path("suites").glob("*.toml"))
        if (name := str(path.with_suffix(""))).startswith(begun)
    ]


def selection(command: F) -> F:
    """The arguments that choose suites, rows, seeds and the form; the command gets one Selection."""
    from functools import wraps

    @wraps(command)
    def with_selection(
        *,
        suite: tuple[str, ...],
        rows: str,
        seeds: str | None,
        form: Form,
        settings: tuple[str, ...],
        smoke: bool,
        **rest: Any,  # noqa: ANN401 - the command's own options
    ) -> Any:  # noqa: ANN401 - what the command returns
        from kdbench.workload import Selection, parse_seeds, parse_settings

        chosen = Selection(
            suites=suite,
            rows=rows,
            seeds=parse_seeds(seeds) if seeds is not None else None,
            form=form,
            settings=parse_settings(settings),
            smoke=smoke,
        )
        return command(chosen, **rest)

    options = (
        click.argument("suite", nargs=-1, required=True, shell_complete=complete_suite),
        click.option("--rows", default="*", metavar="GLOB", help="Only rows whose name matches."),
        click.option("--seeds", metavar="SEEDS", help="For example 0-2 or 0,3; instead of the suite's."),
        click.option(
            "--as",
            "form",
            type=click.Choice(["released", "printed"]),
            default="released",
            show_default=True,
            help="What the authors' code does, or what the paper prints.",
        ),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="A recipe field or loss parameter, for every row; never compared with a reference.",
        ),
        click.option("--smoke", is_flag=True, help="2 epochs on 256 images: does it train at all?"),
    )
    wrapped: Any = with_selection
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]


as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")
offline = click.option("--offline", is_flag=True, help="Never touch the network.")


def say(value: object) -> None:
    """Print a value as JSON."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


@cli.command()
@selection
@click.option("-j", "--jobs", type=click.IntRange(1), help="Runs at a time.")
@click.option("--again", is_flag=True, help="Train what has a result once more, beside it.")
@click.option("--dry-run", is_flag=True, help="Only say what would be trained.")
@click.option("--strict", is_flag=True, help="Exit with 1 unless everything is reproduced.")
@click.option("--on", default="local", metavar="WHERE", help="local, slurm or slurm:PROFILE.")
@click.option("--wait", is_flag=True, help="On a cluster: follow the jobs, then report.")
@offline
@as_json
def run(
    chosen: Selection,
    *,
    jobs: int | None,
    again: bool,
    dry_run: bool,
    strict: bool,
    on: str,
    wait: bool,
    offline: bool,
    as_json: bool,
) -> int:
    """Train what is missing, check it, print the report."""
    from kdbench import running
    from kdbench.text import describe_plan

    work, machine = running.prepare(chosen, again=again, offline=offline)
    if dry_run:
        click.echo("\n".join(describe_plan(work)))
        return 0
    if on == "local":
        running.train_missing(work, machine, slots=jobs, again=again)
    elif not _train(chosen, on, wait=wait, offline=offline, local=again or jobs is not None):
        return 0
    return _judge(chosen, strict=strict, as_json=as_json, report=True)


@cli.command()
@selection
@as_json
def plan(chosen: Selection, *, as_json: bool) -> None:
    """Say what would be trained, teachers first."""
    from kdbench.machine import load_machine
    from kdbench.text import describe_plan
    from kdbench.workload import find_work

    work = find_work(chosen, load_machine())
    if as_json:
        say([{"id": run.id, "retrained": run.id in work.retrained, "run": run} for run in work.runs])
    else:
        click.echo("\n".join(describe_plan(work)))


@cli.command()
@selection
@as_json
def status(chosen: Selection, *, as_json: bool) -> None:
    """Say how far the runs are: done, under way, failed, waiting."""
    from kdbench import remote

    states, trouble = remote.states(chosen)
    if trouble:
        click.echo(f"from the disk alone, as the scheduler is silent: {trouble}", err=True)
    if as_json:
        say(states)
    else:
        click.echo(remote.describe_states(states))


def _train(chosen: Selection, on: str, *, wait: bool, offline: bool, local: bool) -> bool:
    """Train on a cluster; whether it is over."""
    from kdbench import remote

    if local:
        raise UserError("--again and --jobs are for --on local; [work] slots of a profile is a job's --jobs")
    remote.train(chosen, remote.profile_of(on), wait=wait, offline=offline)
    return wait


@cli.command()
@selection
def cancel(chosen: Selection) -> None:
    """End the jobs of a suite on the cluster; what they have trained so far is kept."""
    from kdbench import remote

    click.echo(remote.cancel(chosen))


@cli.command()
@selection
@click.option("--on", default="local", metavar="WHERE", help="local, slurm or slurm:PROFILE.")
@click.option("--wait", is_flag=True, help="On a cluster: follow the jobs, then report.")
@click.pass_context
def retry(context: click.Context, chosen: Selection, *, on: str, wait: bool) -> int:
    """Forget why runs have failed, and train them again."""
    from kdbench import remote

    click.echo(remote.anew(chosen), err=True)
    inner: Any = run.callback
    given = {name: context.params[name] for name in ("suite", "rows", "seeds", "form", "settings", "smoke")}
    left = {
        "jobs": None,
        "again": False,
        "dry_run": False,
        "strict": False,
        "offline": False,
        "as_json": False,
    }
    return int(inner(**given, on=on, wait=wait, **left))


@cli.command()
@click.argument("row")
@click.option("-f", "--follow", is_flag=True, help="Go on while it is queued or running.")
@click.option(
    "--as", "form", type=click.Choice(["released", "printed"]), default="released", show_default=True
)
def logs(row: str, *, follow: bool, form: Form) -> None:
    """What jobs wrote of a ROW's runs, and the traceback of those that failed."""
    from kdbench import logs as written

    for line in (written.follow if follow else written.read)(row, form):
        click.echo(line)


@cli.command()
@selection
@click.option("--strict", is_flag=True, help="Exit with 1 unless everything is reproduced.")
@as_json
def check(chosen: Selection, *, strict: bool, as_json: bool) -> int:
    """Hold the rows against what is stored; trains nothing."""
    return _judge(chosen, strict=strict, as_json=as_json, report=False)


def _judge(chosen: Selection, *, strict: bool, as_json: bool, report: bool) -> int:
    from kdbench import judging
    from kdbench.check import exit_code

    judged = judging.judge(chosen)
    checks = [check for _, some in judged.suites for check in some]
    if as_json:
        say(checks)
    else:
        click.echo(judging.report(judged) if report else judging.table(judged))
    return exit_code(checks, strict=strict)


@cli.command()
@selection
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file to write it to."
)
def report(chosen: Selection, *, output: Path | None) -> None:
    """Write the report, in Markdown."""
    from kdbench import judging
    from kdbench.store import write

    text = judging.report(judging.judge(chosen))
    if output is None:
        click.echo(text)
    else:
        write(output, text.encode())


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


@cli.group("list")
def list_() -> None:
    """List suites, rows, losses, models or data sets."""


@list_.command("suites")
@click.argument("folder", default="suites", type=click.Path(exists=True, file_okay=False))
@as_json
def list_suites(folder: str, *, as_json: bool) -> None:
    """The suites of a folder."""
    from kdbench.suite import load_suite
    from kdbench.text import columns

    suites = [load_suite(path) for path in sorted(Path(folder).glob("*.toml"))]
    if as_json:
        say([{"path": suite.path, "paper": suite.paper, "rows": len(suite.rows)} for suite in suites])
    else:
        rows = [
            (suite.path.removesuffix(".toml"), len(suite.rows), suite.dataset, suite.paper)
            for suite in suites
        ]
        click.echo(columns(rows, ["suite", "rows", "data set", "paper"]))


@list_.command("rows")
@selection
@as_json
def list_rows(chosen: Selection, *, as_json: bool) -> None:
    """The rows of suites, each by the address that `show` takes."""
    from kdbench.text import describe_rows

    suites = chosen.load()
    if as_json:
        say([cell.row for _, cells in suites for cell in cells])
    else:
        click.echo(describe_rows(suites))


def _list_names(kind: Kind, what: str) -> None:
    @list_.command(kind, help=f"The {what} that a suite may name.")
    @as_json
    def list_names(*, as_json: bool) -> None:
        from kdbench.text import describe_names, entries

        if as_json:
            say(entries(kind))
        else:
            click.echo(describe_names(kind))


_list_names("losses", "losses")
_list_names("models", "models")
_list_names("datasets", "data sets")


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
@click.option("--on", default="local", metavar="WHERE", help="local, slurm or slurm:PROFILE.")
def doctor(*, on: str) -> int:
    """Check that this machine, or a cluster, can train, and say what to mend."""
    from kdbench import doctor as local
    from kdbench.text import columns

    if on == "local":
        found = local.examine()
    else:
        from kdbench import cluster_doctor, remote

        found = cluster_doctor.examine(remote.profile_of(on))
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


@cli.group()
def data() -> None:
    """The data sets on this machine."""


@data.command("list")
@as_json
def data_list(*, as_json: bool) -> None:
    """Each data set and what of it is here."""
    from kdbench.data.place import list_datasets
    from kdbench.text import columns

    rows = list_datasets(_data_folder())
    if as_json:
        say(rows)
    else:
        cells = [
            (
                row.name,
                row.classes,
                f"{row.train:,}",
                f"{row.test:,}",
                row.state,
                f"{row.bytes / 1e6:,.1f} MB",
            )
            for row in rows
        ]
        click.echo(columns(cells, ["data set", "classes", "train", "test", "here", "on disk"]))


@data.command("fetch")
@click.argument("name", nargs=-1, required=True)
@offline
def data_fetch(name: tuple[str, ...], *, offline: bool) -> None:
    """Fetch data sets, verify them and pack them."""
    from kdbench.data.place import fetch_dataset
    from kdbench.machine import load_machine

    settings = load_machine().data
    for each in name:
        file = fetch_dataset(
            each, _data_folder(), offline=offline or settings.offline, progress=True, mirrors=settings.mirrors
        )
        click.echo(f"{each}: {file}")


@data.command("verify")
@click.argument("name", nargs=-1, required=True)
def data_verify(name: tuple[str, ...]) -> None:
    """Hold packed data sets against their digests."""
    from kdbench.data.place import verify_dataset

    for each in name:
        click.echo(verify_dataset(each, _data_folder()))


@data.command("where")
def data_where() -> None:
    """The folder that data sets lie in, and what named it."""
    from kdbench.data.place import where
    from kdbench.machine import load_machine

    place = where(load_machine().data_folder)
    click.echo(f"{place.path} ({place.by})")


def _data_folder() -> Path:
    from kdbench.data.place import where
    from kdbench.machine import load_machine

    return where(load_machine().data_folder).path
