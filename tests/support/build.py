"""Small suites, cells and results made of numbers, for the tests of the core."""

from collections.abc import Iterable, Mapping, Sequence

from kdbench.spec.results import RESULT_SCHEMA, Curve, Failure, Result
from kdbench.spec.runs import Loss, Recipe, ReportEpoch, Run, Teacher
from kdbench.spec.suites import Cell, Reference, Row, Suite, TeacherName, Tolerance

RECIPE = Recipe(epochs=2, batch_size=128, lr=0.1)
CE = Loss("ce")
KD = Loss("kd", {"alpha": 0.95, "tau": 20.0})


def make_row(  # noqa: PLR0913 - the fields that tests vary
    student: str = "mobilenetv2",
    teacher: str | None = None,
    reference: Reference | None = None,
    *,
    table: str = "1.kd",
    loss: Loss = KD,
    report_epoch: ReportEpoch = "last",
    seeds: int = 3,
    sic: bool = False,
    assumed: str = "",
    note: str = "",
    recipe: Recipe = RECIPE,
) -> Row:
    """A row; the teacher as a person writes it, with an epoch or without."""
    name, _, epoch = (teacher or "").partition("@")
    return Row(
        name=f"{table}/{student}" + (f":{teacher}" if teacher else ""),
        table=table,
        student=student,
        recipe=recipe,
        loss=loss,
        seeds=seeds,
        report_epoch=report_epoch,
        tolerance=Tolerance(top1=0.5, gain=0.5),
        reference=reference or Reference(),
        teacher=TeacherName(name, int(epoch) if epoch else None) if teacher else None,
        sic=sic,
        assumed=assumed,
        note=note,
    )


def make_run(student: str = "mobilenetv2", seed: int = 0, loss: Loss = KD, teacher: Run | None = None) -> Run:
    """A run of two epochs, taught by the last epoch of another."""
    return Run(
        protocol=1,
        dataset="cifar100",
        data="0" * 64,
        student=student,
        recipe=RECIPE,
        loss=loss,
        seed=seed,
        teacher=Teacher(teacher, 2) if teacher else None,
    )


def make_cell(row: Row, *, seeds: Iterable[int] = (0, 1, 2), taught_by: str | None = None) -> Cell:
    """A row with a run and a baseline run for each seed, taught by the last epoch of a baseline."""
    numbers = tuple(seeds)
    runs = tuple(
        make_run(row.student, seed, row.loss, make_run(taught_by, seed, CE) if taught_by else None)
        for seed in numbers
    )
    baselines = tuple(make_run(row.student, seed, CE).id for seed in numbers)
    return Cell(row=row, runs=runs, baselines=baselines)


def make_result(run: Run, *top1: float, of: str | None = None) -> Result:
    """What a run gave, by its accuracies after each epoch; `of`: under another id."""
    zeros = (0.0,) * len(top1)
    curve = Curve(top1, zeros, zeros, zeros)
    return Result(
        schema=RESULT_SCHEMA,
        id=of or run.id,
        run=run,
        curve=curve,
        last=top1[-1],
        best=max(top1),
        best_epoch=curve.best_epoch,
        seconds=1.0,
        images_per_second=100.0,
        peak_memory=0,
        weights={},
        environment={},
    )


def make_results(
    cell: Cell, values: Sequence[float | None], baseline: Sequence[float | None] = ()
) -> dict[str, Result]:
    """One result for each value of a cell and of its baseline; None: not run."""
    pairs = [*zip(cell.ids, values, strict=False), *zip(cell.baselines, baseline, strict=False)]
    runs = {
        **dict(zip(cell.baselines, cell.runs, strict=True)),
        **dict(zip(cell.ids, cell.runs, strict=True)),
    }
    return {of: make_result(runs[of], value - 1, value, of=of) for of, value in pairs if value is not None}


def make_failures(*runs: Run) -> Mapping[str, Failure]:
    """Each of these runs failed."""
    return {run.id: Failure(id=run.id, run=run, cause="loss is NaN", log="logs/a.txt") for run in runs}


def make_suite(*rows: Row) -> Suite:
    """A suite of these rows."""
    return Suite(
        name="tfkd_cifar100", path="suites/tfkd_cifar100.toml", paper="A paper", dataset="cifar100", rows=rows
    )
