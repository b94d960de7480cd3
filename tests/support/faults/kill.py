"""Kill a training process at random moments, many times, and see what is lost.

    python tests/support/faults/kill.py --times 200 [--seed 1] [--json]

Each story trains some runs to their end in a folder of its own: one alone; one with a teacher and early
weights to keep; one with a teacher and a memory of every image (CRD); a cohort of three. A process forked for
each life trains them as a worker does, and is killed with SIGKILL in a phase drawn beforehand (training,
evaluation, writing of weights, checkpoint and result, handing over, cleaning up), at a drawn occurrence,
after a drawn part of the time that the phase takes; the next life goes on. At its end a story is compared
with one that nobody killed: curves, digests of all weights.

It prints {kills, resumed, identical, lost_epochs, moments}. `resumed`: kills after which the next life went
on from every epoch whose checkpoint had been written, without a failure. `identical`: kills in stories that
ended equal bit for bit. `lost_epochs`: finished epochs that were trained again. `moments`: the phase in which
death came.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import wraps
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from msgspec.structs import replace

from kdbench import catalog
from kdbench.machine import Data, Folders, Local, Machine
from kdbench.spec.events import Done, Event, Failed, Task
from kdbench.spec.runs import PROTOCOL, Loss, Recipe, Run, Teacher
from kdbench.store.records import index, load_result
from kdbench.training.checkpoint import Progress

PHASES = {
    "training": "kdbench.training.student_run:StudentRun.step",
    "evaluation": "kdbench.training.student_run:evaluate",
    "weights": "kdbench.training.checkpoint:save_weights",
    "checkpoint": "kdbench.training.checkpoint:save_progress",
    "handing over": "kdbench.training.checkpoint:publish",
    "result": "kdbench.training.task:save_result",
    "cleaning up": "kdbench.training.checkpoint:forget",
}
"""What is going on while which function runs."""
MOST_KILLS = 5
"""Of a story; then it may end."""
RECIPE = Recipe(
    epochs=5, batch_size=32, lr=0.1, momentum=0.9, weight_decay=5e-4, train_size=96, test_size=200
)


def make_run(student: str, loss: Loss, teacher: Teacher | None = None) -> Run:
    """A run on the digits."""
    data = catalog.DATASETS["digits"].digest
    return Run(PROTOCOL, "digits", data, student, RECIPE, loss, 0, teacher)


TEACHER = make_run("digits_cnn", Loss("ce"))
CRD = Loss("crd", {"beta": 0.8, "dim": 8.0, "negatives": 20.0, "T": 0.07, "momentum": 0.5})
STORIES: dict[str, tuple[Task, ...]] = {
    "alone": (Task(make_run("digits_mlp", Loss("lsr", {"epsilon": 0.1}))),),
    "taught": (
        Task(make_run("digits_mlp", Loss("kd", {"alpha": 0.9, "tau": 4.0}), Teacher(TEACHER, 5)), (1, 3)),
    ),
    "memory": (Task(make_run("digits_mlp", CRD, Teacher(TEACHER, 5))),),
    "cohort": tuple(
        Task(make_run(student, loss))
        for student, loss in (
            ("digits_mlp", Loss("ce")),
            ("digits_cnn", Loss("lsr", {"epsilon": 0.2})),
            ("digits_mlp", Loss("lsr", {"epsilon": 0.3})),
        )
    ),
}


class Word(NamedTuple):
    """What a life says: it enters or leaves a phase, or an epoch's checkpoint was written or loaded."""

    what: str
    name: str
    number: int
    at: float


class Life(NamedTuple):
    """What one process printed, and whether it was killed."""

    words: list[Word]
    killed: bool

    @property
    def moment(self) -> str:
        """The innermost phase that it was in at its end."""
        inside = []
        for word in self.words:
            if word.what == "enter":
                inside.append(word.name)
            elif word.what == "leave":
                inside.remove(word.name)
        return inside[-1] if inside else "between"

    def epochs(self, what: str) -> dict[str, int]:
        """The last epoch of each run that was `kept` or `loaded`."""
        return {word.name: word.number for word in self.words if word.what == what}


class Aim(NamedTuple):
    """When to kill: at an occurrence of a phase, so many seconds after it began."""

    phase: str
    occurrence: int
    delay: float


def make_machine(root: Path, data: Path) -> Machine:
    """A machine whose results and scratch are a story's own."""
    folders = Folders(results="results", scratch="scratch")
    return Machine(
        local=Local(device="cpu", checkpoint_seconds=0),
        data=Data(folder=str(data), offline=True),
        folders=folders,
        root=str(root),
    )


def live(machine: Machine, tasks: Sequence[Task], aim: Aim | None) -> Life:
    """One life of a worker, killed where it is aimed at; it ends by itself if that never comes."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _work(machine, tasks, write)
    os.close(write)
    words: list[Word] = []
    killed, seen = False, 0
    with os.fdopen(read, "rb") as pipe:
        for line in pipe:
            what, name, number, at = json.loads(line)
            words.append(Word(what, name, number, at))
            seen += aim is not None and (what, name) == ("enter", aim.phase)
            if aim is not None and not killed and seen == aim.occurrence:
                time.sleep(aim.delay)
                os.kill(child, signal.SIGKILL)
                killed = True
    status = os.waitpid(child, 0)[1]
    died = os.WIFSIGNALED(status)
    if not died and os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"a life failed by itself: {machine.root}, exit status {status}")
    return Life(words, died)


def _work(machine: Machine, tasks: Sequence[Task], pipe: int) -> None:
    """What a life does, in a process of its own."""
    code = 1
    try:
        from kdbench.training.context import open_context
        from kdbench.training.task import do

        def say(what: str, name: str, number: int = 0) -> None:
            os.write(pipe, json.dumps([what, name, number, time.perf_counter()]).encode() + b"\n")

        for phase, place in PHASES.items():
            _observe(place, phase, say)
        ends: list[Event] = []
        do(tasks, open_context(machine), ends.append)
        failures = [end.failure.cause for end in ends if isinstance(end, Failed)]
        for cause in failures:
            say("failed", cause)
        code = int(sum(isinstance(end, Done) for end in ends) != len(tasks) and not failures)
    finally:
        os._exit(code)


def _observe(place: str, phase: str, say: Callable[..., None]) -> None:
    """Let a function say when it begins and ends, and which epochs were kept or loaded."""
    module, _, path = place.partition(":")
    owner: Any = import_module(module)
    *parts, name = path.split(".")
    for part in parts:
        owner = getattr(owner, part)
    function = getattr(owner, name)

    @wraps(function)
    def observed(*args: Any, **settings: Any) -> Any:  # noqa: ANN401 - whatever it takes and gives
        say("enter", phase)
        given = function(*args, **settings)
        if phase == "checkpoint":
            say("kept", args[0].name, args[1].epoch)
        say("leave", phase)
        return given

    setattr(owner, name, observed)
    if phase == "checkpoint":
        load = owner.load_progress

        @wraps(load)
        def loaded(folder: Path, *args: Any, **settings: Any) -> Progress:  # noqa: ANN401 - as above
            progress: Progress = load(folder, *args, **settings)
            say("loaded", folder.name, progress.epoch)
            return progress

        owner.load_progress = loaded


class Truth(NamedTuple):
    """What a story gives that nobody kills."""

    numbers: dict[str, object]
    seconds: dict[str, float]
    """How long each phase takes at most."""
    times: Counter[str]
    """How often it is entered."""


def numbers(machine: Machine) -> dict[str, object]:
    """All of the results that must not depend on when a run was killed, and the weights on disk."""
    found: dict[str, object] = {}
    for name, path in index(machine.results).results.items():
        result = load_result(path)
        curve = result.curve
        found[name] = (curve.top1, curve.test_loss, curve.train_loss, result.weights)
    weights = machine.scratch / "weights"
    found["weights"] = sorted(str(path.relative_to(weights)) for path in weights.rglob("*.safetensors"))
    found["repeats"] = list(index(machine.results).repeats)
    return found


def teach(machine: Machine) -> None:
    """The teacher's weights, where a story's students look for them."""
    live(machine, [Task(TEACHER)], None)


def find_truth(root: Path, data: Path) -> dict[str, Truth]:
    """Each story without a kill."""
    truths = {}
    for name, tasks in STORIES.items():
        machine = begin(root / f"truth-{name}", data, name)
        words = live(machine, tasks, None).words
        seconds: dict[str, float] = {}
        entered: dict[str, float] = {}
        for word in words:
            if word.what == "enter":
                entered[word.name] = word.at
            elif word.what == "leave":
                seconds[word.name] = max(seconds.get(word.name, 0.0), word.at - entered[word.name])
        times = Counter(word.name for word in words if word.what == "enter")
        truths[name] = Truth(numbers(machine), seconds, times)
        assert set(times) == set(PHASES), f"{name} has no {set(PHASES) - set(times)}"
    return truths


def begin(root: Path, data: Path, story: str) -> Machine:
    """The folder of a story, with its teacher."""
    machine = make_machine(root, data)
    root.mkdir()
    if story in ("taught", "memory"):
        teach(machine)
    return machine


class Tally:
    """What came of all kills."""

    def __init__(self) -> None:
        self.kills = self.resumed = self.identical = self.lost = 0
        self.moments: Counter[str] = Counter()
        self.stories: Counter[str] = Counter()

    def content(self) -> dict[str, object]:
        """For JSON."""
        return {
            "kills": self.kills,
            "resumed": self.resumed,
            "identical": self.identical,
            "lost_epochs": self.lost,
            "moments": dict(self.moments.most_common()),
            "kills_by_story": dict(self.stories),
        }


def tell_story(
    name: str, machine: Machine, truth: Truth, most: int, tally: Tally, draw: random.Random
) -> None:
    """One story: at most so many kills, then its end."""
    kept: dict[str, int] = {}
    kills = pending = 0
    while True:
        aim = draw_aim(truth, draw) if kills < most else None
        life = live(machine, STORIES[name], aim)
        loaded = life.epochs("loaded")
        lost = sum(max(0, epoch - loaded.get(run, epoch)) for run, epoch in kept.items())
        tally.lost += lost
        failed = any(word.what == "failed" for word in life.words)
        tally.resumed += pending if not lost and not failed else 0
        kept |= life.epochs("kept")
        pending = int(life.killed)
        if not life.killed:
            break
        kills += 1
        tally.moments[life.moment] += 1
    tally.kills += kills
    tally.stories[name] += kills
    tally.identical += kills if numbers(machine) == truth.numbers else 0


def draw_aim(truth: Truth, draw: random.Random) -> Aim:
    """A phase, all alike often; one of its occurrences; a moment in it."""
    phase = draw.choice(list(PHASES))
    occurrence = draw.randint(1, max(1, 2 * truth.times[phase] // RECIPE.epochs))
    return Aim(phase, occurrence, draw.uniform(0.0, truth.seconds[phase]))


def kill(times: int, seed: int, emit: Callable[[Tally], None] = lambda _: None) -> Tally:
    """Tell stories until so many kills were made."""
    draw, tally = random.Random(seed), Tally()  # noqa: S311 - no secret
    import_module("kdbench.training.task")  # once, before the first fork
    with TemporaryDirectory(prefix="kdbench-kill-") as folder:
        root = Path(folder)
        live(
            make_machine(root / "first", root / "data"), [Task(replace(TEACHER, seed=9))], None
        )  # packs the data
        truths = find_truth(root, root / "data")
        for number, name in enumerate(_names()):
            most = min(MOST_KILLS, times - tally.kills)
            if most == 0:
                break
            machine = begin(root / str(number), root / "data", name)
            tell_story(name, machine, truths[name], most, tally, draw)
            emit(tally)
    return tally


def _names() -> Iterator[str]:
    while True:
        yield from STORIES


def main() -> int:
    """Run it from the command line; exits with 1 where anything was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()

    def emit(tally: Tally) -> None:
        if not asked.json:
            print(f"\r{tally.kills} of {asked.times} kills", end="", file=sys.stderr, flush=True)  # noqa: T201

    with suppress(KeyboardInterrupt):
        tally = kill(asked.times, asked.seed, emit)
        content = tally.content()
        print(json.dumps(content) if asked.json else "\n" + json.dumps(content, indent=1))  # noqa: T201
        return int(not tally.kills == tally.resumed == tally.identical or tally.lost > 0)
    return 130


if __name__ == "__main__":
    sys.exit(main())
