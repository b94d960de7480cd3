"""A throw-away project made of strings, its commands, and ways to wait for what its jobs do."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from kdbench.cli import cli
from kdbench.cluster.ledger import Attempt, Ledger
from kdbench.errors import UserError
from kdbench.machine import load_machine
from kdbench.store.records import index, load_result
from kdbench.store.weights import newest_checkpoint
from tests.support.places import ROOT

KDBENCH = (sys.executable, "-c", "from kdbench.cli import main; main()")
STANDSTILL_S = 150.0
"""Seconds in which nothing of the runs has moved, after which a test gives up waiting."""
SUITE = """
[suite]
paper = "A test"
dataset = "digits"
[tolerance]
top1 = 0.5
gain = 0.5
[recipe]
epochs = {epochs}
batch_size = 32
lr = 0.05
train_size = {train_size}
test_size = 64
{tables}
"""
ALONE = (
    '[[table]]\nid = "alone"\nseeds = {seeds}\nloss = { name = "ce" }\nrows = [{ student = "digits_cnn" }]\n'
)
TAUGHT = """
[[table]]
id = "teachers"
loss = { name = "ce" }
rows = [{ student = "digits_cnn" }, { student = "digits_mlp" }]
[[table]]
id = "kd"
loss = { name = "kd", alpha = 0.9, tau = 4 }
rows = [
  { student = "digits_mlp", teacher = "digits_cnn" },
  { student = "digits_cnn", teacher = "digits_mlp" },
]
"""
PROFILE = """
[slurm]
partition = "{partition}"
cpus = 1
memory = {memory}
time = {time}
signal = {signal}
{slurm}
[work]
{work}
{more}
"""


class Project:
    """A folder with benchmark.toml, slurm/dev.toml and suites/tiny.toml."""

    def __init__(self, folder: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.cluster, self.monkeypatch = folder, cluster, monkeypatch
        (folder / "benchmark.toml").write_text("[local]\nthreads = 1\ncheckpoint_seconds = 0\n")
        (folder / "suites").mkdir()
        (folder / "slurm").mkdir()
        self.children: list[subprocess.Popen[str]] = []
        self.suite()
        self.profile()

    def suite(self, tables: str = TAUGHT, *, epochs: int = 3, train_size: int = 64, seeds: int = 1) -> None:
        """Write the suite."""
        text = SUITE.format(
            epochs=epochs, train_size=train_size, tables=tables.replace("{seeds}", str(seeds))
        )
        (self.folder / "suites" / "tiny.toml").write_text(text)

    def profile(
        self,
        *,
        partition: str = "dev",
        memory: int = 1,
        minutes: int = 30,
        signal: int = 60,
        slurm: str = "",
        work: str = "",
        more: str = "",
    ) -> None:
        """Write the profile."""
        text = PROFILE.format(
            partition=partition, memory=memory, time=minutes, signal=signal, slurm=slurm, work=work, more=more
        )
        (self.folder / "slurm" / "dev.toml").write_text(text)

    def kd(self, *words: str) -> tuple[int, str]:
        """Run a command of kdbench here: its exit code and all that it says."""
        answer = CliRunner().invoke(cli, list(words), standalone_mode=False)
        if isinstance(answer.exception, UserError):
            return 2, answer.output + str(answer.exception)
        if answer.exception is not None:
            raise answer.exception
        return int(answer.return_value or 0), answer.output

    def submit(self, *words: str) -> str:
        """`run --on slurm:dev`, which must succeed; what it says."""
        code, said = self.kd("run", "suites/tiny", "--on", "slurm:dev", *words)
        assert code == 0, said
        return said

    def driver(self, *words: str, **environment: str) -> "subprocess.Popen[str]":
        """A command in a process of its own."""
        return self._start(words, self.folder, environment)

    def local(self, folder: Path, suite: Path, data: Path, *words: str) -> "subprocess.Popen[str]":
        """Train a suite without the cluster, in another folder."""
        folder.mkdir()
        (folder / "benchmark.toml").write_text(
            "[local]\nthreads = 1\ncheckpoint_seconds = 0\n"
        )  # else it would be the one above
        return self._start(("run", str(suite), *words), folder, {"KDBENCH_DATA": str(data)})

    def _start(self, words: tuple[str, ...], folder: Path, more: dict[str, str]) -> "subprocess.Popen[str]":
        child = subprocess.Popen(
            [*KDBENCH, *words],
            cwd=folder,
            env={**os.environ, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.children.append(child)
        return child

    @property
    def scratch(self) -> Path:
        """Of this project."""
        return load_machine().scratch

    @property
    def ledger(self) -> Ledger:
        """Of this project."""
        return Ledger(self.scratch)

    def runs(self) -> dict[str, str]:
        """The ids of the suite's runs, and their names."""
        return {one["id"]: f"{one['what']}.s{one['seed']}" for one in self.status()}

    def status(self) -> list[dict[str, Any]]:
        """What `kdbench status` says."""
        code, said = self.kd("status", "suites/tiny", "--json")
        assert code == 0, said
        states: list[dict[str, Any]] = json.loads(said)
        return states

    def states(self) -> dict[str, int]:
        """How many runs are in each state."""
        words = [one["state"] for one in self.status()]
        return {word: words.count(word) for word in dict.fromkeys(words)}

    def wait(self, what: str, condition: Callable[[], object], every: float = 0.1) -> None:
        """Until something is so, as long as something moves: on a slow machine that may take a while."""
        seen, since = self.progress(), time.monotonic()
        while not condition():
            now = self.progress()
            if now != seen:
                seen, since = now, time.monotonic()
            still = time.monotonic() - since
            assert still < STANDSTILL_S, f"{what} has not come about: {self.status()}\n{slurm('squeue')}"
            time.sleep(every)

    def progress(self) -> list[tuple[str, int]]:
        """What changes while something is done: when results and scratch were written.

        But for leases: an owner that hangs goes on to write its beats.
        """
        found = []
        for place in ("results", ".kdbench"):
            for folder, inside, files in os.walk(self.folder / place):  # which bears folders that vanish
                inside[:] = [name for name in inside if name != "locks"]
                for name in files:
                    with suppress(OSError):  # it was renamed or removed meanwhile
                        found.append((name, Path(folder, name).stat().st_mtime_ns))
        return sorted(found)

    def wait_for_results(self, number: int) -> None:
        """Until so many runs have a result and no job is left."""
        self.wait(f"{number} results", lambda: len(index(Path("results")).results) >= number)
        self.wait("an empty queue", lambda: not self.queue())

    def epoch(self, run: str) -> int:
        """Of a run's newest checkpoint."""
        return newest_checkpoint(self.scratch, run)

    def wait_for_epoch(self, run: str, epoch: int) -> None:
        """Until a run has got so far."""
        self.wait(f"epoch {epoch} of {run}", lambda: self.epoch(run) >= epoch, every=0.02)

    def attempts(self, run: str) -> list[Attempt]:
        """The starts of a run."""
        return list(self.ledger.history(run).attempts)

    def jobs(self) -> list[str]:
        """The numbers of all jobs that were submitted, the newest first."""
        return [one.job for one in self.ledger.submissions()]

    def queue(self) -> list[str]:
        """The jobs of this project that are queued or running."""
        mine = set(self.jobs())
        lines = slurm("squeue", "--noheader", "--array", "--format=%i").split()
        return [job for job in lines if job.partition("_")[0] in mine]

    def cancel_all(self) -> None:
        """End what this project started."""
        for child in self.children:
            if child.stdout and not child.stdout.closed:
                child.kill()
                child.communicate()
        if jobs := self.queue():
            with suppress(subprocess.CalledProcessError):  # one may have ended since
                slurm("scancel", "--full", "--signal=KILL", *jobs)
                slurm("scancel", *jobs)
            self.wait("an empty queue", lambda: not self.queue())


def slurm(*command: str) -> str:
    """The output of one of Slurm's commands."""
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout


def curves(folder: Path) -> dict[str, dict[str, Any]]:
    """All of a project's results that may not depend on where they were trained, by run."""
    found = {}
    for name, path in index(folder / "results").results.items():
        result = load_result(path)
        curve = msgspec.to_builtins(result.curve)
        del curve["seconds"]
        found[name] = {**curve, "weights": result.weights}
    return found


REPOSITORY = ROOT
SCRIPT = REPOSITORY / "slurm" / "dev-cluster.sh"


def script(command: str) -> subprocess.CompletedProcess[str]:
    """Run slurm/dev-cluster.sh."""
    return subprocess.run([SCRIPT, command], capture_output=True, text=True, timeout=600, check=False)
