"""`kdbench logs ROW`: what jobs wrote of a row's runs, and the traceback of those that failed."""

import time
from collections.abc import Iterator, Sequence

from kdbench.cluster import attempts, submissions
from kdbench.cluster.queue import Place, ask_scheduler, dead_jobs, error_tail, how_it_died
from kdbench.machine import Machine, load_machine
from kdbench.plan.lookup import find_trained_row
from kdbench.spec.suites import Cell, Variant
from kdbench.store import lease
from kdbench.store.records import index
from kdbench.store.run_log import log_files

LOOK = 0.5
"""Seconds between two looks at the files."""
TAIL = 20
"""Lines that are shown of what a job that never began wrote to standard error."""
ASK = 10.0
"""Seconds between two questions to the scheduler."""


def read(address: str, variant: Variant) -> Iterator[str]:
    """The lines there are now, run by run.

    Raises:
        UserError: no such row.
    """
    machine = load_machine()
    cell = find_trained_row(address, variant)[1]
    dead = dead_jobs(machine.scratch, cell.ids, ask_scheduler(machine.scratch, cell.ids))
    for run, name in zip(cell.runs, cell.ids, strict=True):
        yield f"== {run.slug} seed {run.seed} (run {name})"
        files = [*log_files(machine, run, "jobs.log"), *log_files(machine, run, "log")]
        there = [file for file in files if file.is_file()]
        for file in there:
            yield file.read_text(encoding="utf-8", errors="replace").rstrip()
        own = list(_own_output(machine, name, dead.get(name, [])))
        yield from own
        if not there and not own:
            yield f"no job has written of it yet (in {files[0].parent})"


def follow(address: str, variant: Variant) -> Iterator[str]:
    """Lines as they come, until none of the row's runs is queued or running.

    Raises:
        UserError: no such row.
    """
    machine = load_machine()
    cell = find_trained_row(address, variant)[1]
    files = {file: f"s{run.seed}" for run in cell.runs for file in log_files(machine, run, "jobs.log")}
    read_to = dict.fromkeys(files, 0)
    asked, over = -ASK, False
    while not over:
        if time.monotonic() - asked >= ASK:
            asked = time.monotonic()
            over = not _under_way(machine, cell)
        for file, who in files.items():
            if file.is_file():
                content = file.read_bytes()
                new = content[read_to[file] : content.rfind(b"\n") + 1]
                read_to[file] += len(new)
                yield from (f"{who} {line}" for line in new.decode(errors="replace").splitlines())
        time.sleep(0 if over else LOOK)


def _under_way(machine: Machine, cell: Cell) -> bool:
    """Whether any run of a row that has no result is being trained, here or in a living job."""
    missing = set(cell.ids) - index(machine.results).results.keys()
    if any(lease.owner(machine.scratch / "locks" / name) for name in missing):
        return True
    jobs = ask_scheduler(machine.scratch, missing).jobs()
    return any(seen and seen.alive and not missing.isdisjoint(place.runs) for place, seen in jobs)


def _own_output(machine: Machine, name: str, dead: Sequence[Place]) -> Iterator[str]:
    """Where the latest job of a run put its own output, and how those ended that never began it."""
    for place in dead:
        yield how_it_died(place)
        yield from error_tail(place.submission.error_file(place.number), TAIL)
    last = attempts.load(machine.scratch, name).last
    for one in submissions.concerning(submissions.load(machine.scratch), [name]) if last else ():
        if last is not None and one.job == last.job.partition("_")[0]:
            yield f"the job's own output: {one.logs}/{last.job}_0_log.out and .err"
