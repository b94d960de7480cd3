"""What a terminal of 80 columns shows while runs are trained."""

import re
from io import StringIO
from itertools import count

import pytest
from msgspec.structs import replace
from rich.console import Console

from kdbench.run.progress import Bars, shortened, titles
from kdbench.spec.events import Blocked, Update
from kdbench.spec.runs import Loss, Run
from tests.support.build import RECIPE, make_run

CONTROL = re.compile(r"\x1b\[\??[\d;]*[A-Za-z]")
STARTING = "starting 2 workers, importing torch"


def long_run(student: str, teacher: Run | None = None) -> Run:
    """A run of 100 epochs."""
    run = make_run(student, teacher=teacher)
    return replace(run, recipe=replace(run.recipe, epochs=100))


SHORT = long_run("digits_mlp")
LONG = long_run("mlp_784_800_800", make_run("mlp_784_1200_1200_dropout"))


def terminal(width: int) -> Console:
    """A terminal that keeps what is written to it, on a clock of 1, 2, 3, ... seconds."""
    clock = count(1)
    return Console(
        file=StringIO(),
        force_terminal=True,
        width=width,
        height=24,
        record=True,
        get_time=lambda: next(clock),
    )


def written(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def screen(text: str, width: int) -> list[str]:
    """The lines that a terminal shows in the end; it starts a new one where more than `width` is written."""
    lines, row, column = [""], 0, 0
    for part in re.findall(rf"{CONTROL.pattern}|[\s\S]", text):
        if part == "\n":
            row, column = row + 1, 0
        elif part == "\r":
            column = 0
        elif part == "\x1b[2K":
            lines[row] = ""
        elif up := re.fullmatch(r"\x1b\[(\d+)A", part):
            row -= int(up[1])
        elif not part.startswith("\x1b"):
            if column == width:
                row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
            lines[row] = lines[row].ljust(column)[:column] + part + lines[row][column + 1 :]
            column += 1
        lines += [""] * (row + 1 - len(lines))
    return [line.rstrip() for line in lines if line.strip()]


def stopped(runs: list[Run], width: int, last: int) -> list[str]:
    """What a terminal shows after Ctrl-C in the epoch after `last`."""
    console = terminal(width)
    updates = [Update(run.id, epoch, 92.84, 19_486.0) for epoch in range(1, last + 1) for run in runs]

    def press() -> None:
        bars = Bars({run.id: run for run in runs}, console, lambda: 2)
        with bars.live:
            for update in updates:
                bars.show(update)
            console.print("above")
            bars.live.refresh()
            console.file.write("^C")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        press()
    drawn = re.split(r"[\r\n]", CONTROL.sub("", written(console)))
    assert max(map(len, drawn)) <= width
    return screen(written(console), width)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("runs", [[SHORT], [LONG, SHORT]])
def test_time_left_is_whole_and_no_line_stays_twice(runs: list[Run], width: int) -> None:
    above, whole, *lines = stopped(runs, width, 5)
    assert (above, len(lines)) == ("above", len(runs))
    assert whole.startswith("all runs")
    for line in [whole, *lines]:
        assert len(line) <= width
        assert re.search(r" \d+:\d\d:\d\d$", line), line
    for run, line in zip(runs, lines, strict=True):
        assert line.startswith(run.student[:5])
        assert ("92.84, 19,486 images/s" in line) == (width >= 80)


def test_bar_goes_before_a_name_is_shortened() -> None:
    [_, _, short] = stopped([SHORT], 80, 5)
    assert ("━" in short, "…" in short) == (True, False)
    [_, whole, long] = stopped([LONG], 80, 5)
    assert ("━" in whole + long, "seed 0" in long, long.count("…")) == (False, True, 1)
    [_, _, wide] = stopped([LONG], 160, 5)
    assert ("━" in wide, f"{LONG.slug} seed 0 " in wide) == (True, True)


def test_workers_are_being_started_until_the_first_event() -> None:
    assert stopped([SHORT], 80, 0) == ["above", STARTING]
    console = terminal(80)
    bars = Bars({SHORT.id: SHORT}, console, lambda: 0)
    with bars.live:
        bars.show(Blocked(SHORT.id, "abc"))
    assert "starting workers, importing torch" in written(console)
    ended, whole = screen(written(console), 80)
    assert ended == f"{SHORT.slug} seed 0: blocked: its teacher abc failed"
    assert (whole[:8], "1 of 1 runs" in whole) == ("all runs", True)


def test_jobs_elsewhere_start_no_workers_here() -> None:
    console = terminal(80)
    with Bars({SHORT.id: SHORT}, console).live:
        pass
    assert screen(written(console), 80)[0].startswith("all runs")


@pytest.mark.parametrize(("width", "expected"), [(8, "digits_m"), (7, "dig…s_m"), (4, "d…_m"), (1, "…")])
def test_names_lose_their_middle(width: int, expected: str) -> None:
    assert shortened("digits_m", width) == expected


def test_runs_of_one_name_and_seed_are_told_apart_by_what_differs() -> None:
    warm = make_run("digits_mlp", loss=Loss("kd", {"alpha": 0.95, "tau": 20.0}))
    cold = make_run("digits_mlp", loss=Loss("kd", {"alpha": 0.95, "tau": 4.0}))
    long = replace(cold, recipe=replace(cold.recipe, epochs=9, crop=4))
    other = replace(warm, seed=1)
    assert list(titles({run.id: run for run in (warm, cold, long, other)}).values()) == [
        "digits_mlp-kd (epochs 2, tau 20) seed 0",
        "digits_mlp-kd (epochs 2, tau 4) seed 0",
        "digits_mlp-kd (crop 4, epochs 9, tau 4) seed 0",
        "digits_mlp-kd seed 1",
    ]


def test_students_of_one_name_are_told_apart_by_their_teachers_settings() -> None:
    teacher = make_run("digits_cnn")
    teachers = [replace(teacher, recipe=replace(RECIPE, lr=lr)) for lr in (0.1, 0.2)]
    students = [make_run("digits_mlp", teacher=each) for each in teachers]
    assert list(titles({run.id: run for run in students}).values()) == [
        "digits_mlp-kd-digits_cnn (teacher's lr 0.1) seed 0",
        "digits_mlp-kd-digits_cnn (teacher's lr 0.2) seed 0",
    ]
