"""`kdbench run` and `retry`: train, then judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kdbench.commands.judge import print_verdicts
from kdbench.commands.options import (
    PARALLEL,
    Command,
    as_json,
    judgement,
    offline,
    on_where,
    selection,
    wait_for,
)
from kdbench.errors import UserError

if TYPE_CHECKING:
    from kdbench.plan.selection import Selection
    from kdbench.run.local import Trained


@click.command(cls=Command)
@selection
@judgement
@click.option("-j", "--jobs", type=PARALLEL, help="Runs at a time.")
@click.option("--processes", type=PARALLEL, help="That train each run together, by its ghost batches.")
@click.option("--rerun", is_flag=True, help="Train what has a result once more, beside it.")
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
    rerun: bool,
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
    chosen = chosen.opened()
    if dry_run:
        print_missing(chosen, rerun=rerun, offline=offline)
        return 0
    if on == "local":
        from kdbench.run import local, preflight

        machine = preflight.this_machine(offline=offline, deterministic=deterministic, processes=processes)
        options = local.RunOptions(workers=jobs, rerun=rerun, cohorts=cohorts)
        trained = local.train(chosen, machine, options)
    else:
        local_only = {
            "--rerun": rerun,
            "--jobs": jobs is not None,
            "--processes": processes is not None,
            "--no-cohorts": not cohorts,
            "--deterministic": deterministic,
        }
        given = [name for name, is_given in local_only.items() if is_given]
        if given:
            raise UserError(
                f"{' and '.join(given)}: for --on local only; a profile has [work] workers and "
                f"tasks_per_node; [local] deterministic in benchmark.toml counts everywhere"
            )
        trained = train_on_cluster(chosen, on, wait=wait, offline=offline)
    return judge_trained(trained, chosen, strict=strict, as_json=as_json)


@click.command(cls=Command)
@selection
@on_where
@wait_for
def retry(chosen: Selection, *, on: str, wait: bool) -> int:
    """Forget why runs have failed, and train them again."""
    from kdbench.cluster import commands

    chosen = chosen.opened()
    click.echo(commands.retry(chosen), err=True)
    if on == "local":
        from kdbench.run import local, preflight

        trained = local.train(chosen, preflight.this_machine(offline=False), local.RunOptions())
    else:
        trained = train_on_cluster(chosen, on, wait=wait, offline=False)
    return judge_trained(trained, chosen, strict=False, as_json=False)


def print_missing(chosen: Selection, *, rerun: bool, offline: bool) -> None:
    """Print what a run on this machine would train, and at what cost."""
    from kdbench.commands.plan import note_missing_teachers
    from kdbench.cost.estimate import describe_plan, estimate_cost
    from kdbench.run import local

    work, machine = local.prepare(chosen, rerun=rerun, offline=offline)
    click.echo("\n".join(describe_plan(work, estimate_cost(work, machine))))
    if chosen.auto and work.runs:
        click.echo(
            f"\nthen rows are analysed, and each that is still open gets one seed more, up to "
            f"{chosen.most} in all: `kdbench plan --seeds auto` says how many that may be"
        )
    note_missing_teachers(work.runs, machine)


def judge_trained(trained: Trained, chosen: Selection, *, strict: bool, as_json: bool) -> int:
    """Print the verdicts, if they are this process's to print.

    Returns:
        The exit code: that of the verdicts, and 1 where a run failed in this command, whatever they say.
    """
    code = int(bool(trained.failed))
    if trained.over:
        verdicts = print_verdicts(
            chosen,
            strict=strict,
            as_json=as_json,
            report=True,
            machine=trained.machine,
            failed={of: failure for of, failure in trained.failed.items() if failure is not None},
        )
        code = max(code, verdicts)
    if trained.repeated:
        click.echo(trained.repeated, err=True)
    return code


def train_on_cluster(chosen: Selection, on: str, *, wait: bool, offline: bool) -> Trained:
    """Submit what is missing, and with `wait` follow it to its end.

    Raises:
        UserError: a suite, benchmark.toml or the profile is wrong, or nothing can be submitted.
    """
    from kdbench.cluster import commands
    from kdbench.workers.launch import launched

    if launched():
        raise UserError(f"--on {on} submits jobs of its own; torchrun is for --on local")
    if chosen.auto:
        raise UserError("--seeds auto analyses after each seed, which is for --on local; give seeds, as 0-4")
    return commands.train(chosen, commands.profile_of(on), wait=wait, offline=offline)
