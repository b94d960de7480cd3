"""What a job writes down of its runs while it trains: how far they are, for status; and a log of each."""

import time
from collections.abc import Mapping
from contextlib import suppress

from kdbench.cluster import attempts
from kdbench.cluster.attempts import Cause
from kdbench.errors import UserError
from kdbench.machine import Machine
from kdbench.run.progress import ending
from kdbench.spec.events import Done, Elsewhere, ExecutorEvent, Failed, Update
from kdbench.spec.runs import Run
from kdbench.store.run_log import log

SECONDS = 1.0
"""Between two notes on one run."""


class Journal:
    """The notes of one job."""

    def __init__(self, machine: Machine, job: str, runs: Mapping[str, Run]) -> None:
        self.machine, self.job, self.runs = machine, job, runs
        self.last_noted: dict[str, float] = {}

    def note(self, event: ExecutorEvent) -> None:
        """Something happened to a run."""
        if isinstance(event, Update):
            self._update(event)
        if isinstance(event, Update | Elsewhere):
            return
        self.say(event.id, ending(event))
        if isinstance(event, Done) and event.trained:
            self.end(event.id, "done")
        if isinstance(event, Failed):
            self.end(event.id, "failed", event.failure.cause)

    def _update(self, event: Update) -> None:
        """An epoch is over: a line for the log each time, a note for `status` at most once in `SECONDS`."""
        speed = f"{event.images_per_second:,.0f} images/s"
        self.say(
            event.id,
            f"epoch {event.epoch}/{self.runs[event.id].recipe.epochs}, top1 {event.top1:.2f}, {speed}",
        )
        if time.monotonic() - self.last_noted.get(event.id, -SECONDS) >= SECONDS:
            self.last_noted[event.id] = time.monotonic()
            with suppress(UserError):  # a note that cannot be written costs no training
                attempts.note(self.machine.scratch, self.job, event)

    def end(self, run: str, cause: Cause, why: str = "") -> None:
        """A start of a run is over."""
        if cause not in ("done", "failed"):
            self.say(run, f"{cause}: {why}" if why else cause)
        with suppress(UserError):
            attempts.end(self.machine.scratch, run, self.job, cause, why)

    def say(self, run: str, what: str) -> None:
        """A line in the run's log and in the job's own output."""
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} job {self.job}: {what}"
        print(f"{line} [{run}]", flush=True)  # noqa: T201 - the job's output
        log(self.machine, self.runs[run], "jobs.log", f"{line}\n")
