"""kdbench: which printed numbers of a knowledge-distillation paper come out again, how sure, and why not.

From a notebook, the same functions that the command line calls:

    import kdbench

    suite = kdbench.load_suite("suites/quickstart")
    cells = kdbench.expand(suite)        # rows with their runs, one per seed
    results = kdbench.train_all(cells)   # trains what is not stored, teachers first
    checks = kdbench.check_suite(cells, results)
    print(kdbench.render(suite, checks, kdbench.lint_suite(suite)))
"""

from typing import TYPE_CHECKING, Any

from kdbench.version import __version__

if TYPE_CHECKING:
    from kdbench.errors import UserError
    from kdbench.plan.expand import expand, make_plan, weights_needed
    from kdbench.report.formats import render
    from kdbench.report.frames import curves, results
    from kdbench.run.notebook import train, train_all
    from kdbench.run.stored import load_result
    from kdbench.store.records import save_result
    from kdbench.suite.lint import lint_suite
    from kdbench.suite.load import load_suite
    from kdbench.verdict.check import check_suite


__all__ = [
    "UserError",
    "__version__",
    "check_suite",
    "curves",
    "expand",
    "lint_suite",
    "load_result",
    "load_suite",
    "make_plan",
    "render",
    "results",
    "save_result",
    "train",
    "train_all",
    "weights_needed",
]

_HOME = {
    "UserError": "errors",
    "check_suite": "verdict.check",
    "curves": "report.frames",
    "expand": "plan.expand",
    "lint_suite": "suite.lint",
    "load_result": "run.stored",
    "load_suite": "suite.load",
    "make_plan": "plan.expand",
    "render": "report.formats",
    "results": "report.frames",
    "save_result": "store.records",
    "train": "run.notebook",
    "train_all": "run.notebook",
    "weights_needed": "plan.expand",
}


def __dir__() -> list[str]:
    """What completion in a notebook offers, also before it is imported."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import a function when it is first asked for: the command line must start fast."""
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module 'kdbench' has no attribute {name!r}")
    return getattr(import_module(f"kdbench.{_HOME[name]}"), name)
