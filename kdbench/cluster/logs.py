"""`kdbench logs ROW`: what jobs wrote of a row's runs, and the traceback of those that failed."""

import time
from collections.abc import Iterable, Iterator

from kdbench.cluster.ledger import Attempt, Ledger, SubmittedJob
from kdbench.cluster.queue import array_of, read_death, try_snapshot
from kdbench.cluster.scheduler import QUESTION_INTERVAL_S
from kdbench.machine import Machine, load_machine
from kdbench.plan.lookup import find_trained_row
from kdbench.spec.suites import Cell, Variant
from kdbench.store import lease
from kdbench.store.records import index
from kdbench.store.run_log import log_files

READ_INTERVAL_S = 0.5
"""Seconds between two looks at the files."""


def read(address: str, variant: Variant) -> Iterator[str]:
    """The lines there are now, run by run.

    Raises:
        UserError: no such row.
    """
    machine = load_machine()
    cell = find_trained_row(address, variant)[1]
    ledger = Ledger(machine.scratch)
    known = try_snapshot(ledger, cell.ids)
    histories = ledger.histories(cell.ids)
    results = index(machine.results).results
    dead = known.never_began(histories)
    for run, name in zip(cell.runs, cell.ids, strict=True):
        yield f"== {run.slug} seed {run.seed} (run {name})"
        files = [*log_files(machine, run, "jobs.log"), *log_files(machine, run, "log")]
        there = [file for file in files if file.is_file()]
        for file in there:
            yield file.read_text(encoding="utf-8", errors="replace").rstrip()
        own = list(_own_output(ledger, name, histories[name].last, dead.get(name, [])))
        yield from own
        if not there and not own:
            done = f"it has a result and no log ({results[name]}); " if name in results else ""
            yield f"{done}no job has written of it{'' if done else ' yet'} (in {files[0].parent})"


def follow(address: str, variant: Variant) -> Iterator[str]:
    """Lines as they come, until none of the row's runs is queued or running.

    Raises:
        UserError: no such row.
    """
    machine = load_machine()
    cell = find_trained_row(address, variant)[1]
    files = {file: f"s{run.seed}" for run in cell.runs for file in log_files(machine, run, "jobs.log")}
    read_to = dict.fromkeys(files, 0)
    asked, over = -QUESTION_INTERVAL_S, False
    while not over:
        if time.monotonic() - asked >= QUESTION_INTERVAL_S:
            asked = time.monotonic()
            over = not _under_way(machine, cell)
        for file, who in files.items():
            if file.is_file():
                content = file.read_bytes()
                new = content[read_to[file] : content.rfind(b"\n") + 1]
                read_to[file] += len(new)
                yield from (f"{who} {line}" for line in new.decode(errors="replace").splitlines())
        time.sleep(0 if over else READ_INTERVAL_S)


def _under_way(machine: Machine, cell: Cell) -> bool:
    """Whether any run of a row that has no result is being trained, here or in a living job."""
    missing = set(cell.ids) - index(machine.results).results.keys()
    if any(lease.owner(machine.scratch / "locks" / name) for name in missing):
        return True
    jobs = try_snapshot(Ledger(machine.scratch), missing).jobs()
    return any(seen and seen.alive and not missing.isdisjoint(job.runs) for job, seen in jobs)


def _own_output(
    ledger: Ledger, run: str, last: Attempt | None, dead: Iterable[SubmittedJob]
) -> Iterator[str]:
    """How those jobs of a run ended that never began it, and where its latest start put its own output."""
    for job in dead:
        death = read_death(job)
        yield str(death)
        yield from death.written
    if last is None:
        return
    for one in ledger.submissions([run]):  # none where it is forgotten since
        if one.job == array_of(last.job):
            yield f"the job's own output: {one.logs}/{last.job}_0_log.out and .err"
