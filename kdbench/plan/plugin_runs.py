"""Runs with code of other packages: which packages, and whether they are those that are installed."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any

from msgspec.structs import replace

from kdbench import catalog, plugins
from kdbench.errors import DivergedError, UserError, each_of, is_out_of_memory
from kdbench.formatting import plural
from kdbench.grouping import grouped
from kdbench.machine import Machine
from kdbench.plan.expand import catalog_names, with_plugins
from kdbench.plugins import Plugin
from kdbench.spec.runs import Run
from kdbench.spec.suites import Cell
from kdbench.store.records import Index, load_result
from kdbench.store.run_log import with_packages


def made_otherwise(runs: Iterable[Run], there: Index) -> Iterator[str]:
    """`12 runs were made with wkd 0.1.0, installed is 0.2.0: ...`, a sentence for each pair of versions.

    Args:
        runs: those to be trained; nothing is opened where none of them uses a package.
        there: the results folder's index. A run's results lie under its slug and seed, whatever its id.
    """
    wanted = grouped((f"{run.slug}.s{run.seed}", run) for run in runs if packages(run))
    found: Counter[tuple[Plugin | None, Plugin | None]] = Counter()
    for path in there.results.values() if wanted else ():
        for run in wanted.get(path.name.rsplit(".", 2)[0], ()):
            with suppress(UserError):  # reported elsewhere
                stored = load_result(path).run
                if bare(stored) == bare(run):
                    found.update(_changed(packages(stored), packages(run)))
    for (old, new), number in found.items():
        yield _sentence(number, old, new)


def taken_names(cells: Iterable[Cell]) -> Iterator[str]:
    """`wkd 0.1.0: the loss 'kd' has the name of one of kdbench's own, which is used`, of names in rows."""
    every = (each for cell in cells for run in cell.runs for each in run.lineage)
    return catalog.taken_names(chain.from_iterable(map(catalog_names, every)))


def packages(run: Run) -> dict[str, Plugin]:
    """The packages whose code stands behind a run and its teachers, by name; its own count before theirs."""
    return {plugin.package: plugin for each in reversed(run.lineage) for plugin in each.plugins}


def plugin_facts(run: Run) -> dict[str, str]:
    """`{"plugins": "wkd 0.1.0 (source 3f2a81c0)"}`: the packages behind a run and its teachers, if any."""
    text = _listed(sorted(run.all_plugins))
    return {"plugins": text} if text else {}


def _listed(plugins: Iterable[Plugin]) -> str:
    return ", ".join(f"{each} (source {each.source[:8]})" for each in plugins)


def check_plugins(run: Run) -> None:
    """Refuse to train a run with other code than it is of, as a queued job might after an update.

    Raises:
        UserError: a package was changed, or is not here.
    """
    here = with_plugins(run).plugins
    if here == run.plugins:
        return
    raise UserError(
        f"{run.slug} seed {run.seed} (run {run.id}) is of {_listed(run.plugins) or 'nothing'}; installed "
        f"here is {_listed(here) or 'nothing'}: install that "
        f"one, or plan again with this one, which is another run"
    )


def codes_of(runs: Iterable[Run]) -> list[tuple[catalog.Kind, str, str]]:
    """All functions of packages behind runs and their teachers: kind, name and `module:function` of each."""
    names = {
        (kind, name)
        for run in runs
        for each in run.lineage
        if each.plugins
        for kind, name in catalog_names(each)
        if catalog.package_of(kind, name)
    }
    found = []
    for kind, name in sorted(names):
        entry = catalog.find(kind, name)
        also = {"losses": "scores", "datasets": "neighbours"}.get(kind, "")
        found += [(kind, name, code) for code in (entry.code, getattr(entry, also, "")) if code]
    return found


def check_codes(_: Machine, codes: Iterable[tuple[catalog.Kind, str, str]]) -> Iterator[str]:
    """Import functions of packages, as `codes_of` gives them, and torch with them; `module:function` of each.

    Raises:
        UserError: some cannot be imported; one sentence for each.
    """

    def imported(of: tuple[catalog.Kind, str, str]) -> str:
        plugins.code_of(*of)
        return of[2]

    return iter(each_of(imported, codes))


@contextmanager
def naming_packages(run: Run) -> Iterator[None]:
    """Around steps of a run that leaves no record: what a package may have got wrong is no error of kdbench.

    Raises:
        UserError: a step of a run with code of packages failed; the sentence names them.
    """
    try:
        yield
    except (UserError, DivergedError, OSError):
        raise
    except (Exception, SystemExit) as error:
        if not packages(run) or is_out_of_memory(error):
            raise
        raise UserError(f"{run.slug}: {with_packages(plugins.described(error), run)}") from error


def bare(run: Run, **other: Any) -> Run:  # noqa: ANN401 - a run's fields
    """The run, and its teachers, without the packages, and with other values of some fields."""
    teacher = run.teacher and replace(run.teacher, run=bare(run.teacher.run, **other))
    return replace(run, teacher=teacher, plugins=(), **other)


def _changed(old: dict[str, Plugin], new: dict[str, Plugin]) -> Iterator[tuple[Plugin | None, Plugin | None]]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield old.get(name), new.get(name)


def _sentence(number: int, old: Plugin | None, new: Plugin | None) -> str:
    """What is stored of another version of a package, and why it does not count."""
    runs = f"{plural(number, 'run')} {'was' if number == 1 else 'were'} made"
    if old is None:
        return f"{runs} before kdbench recorded the package {new}: its version is not known, so it is trained"
    if new is None:
        return f"{runs} with {old}, whose code is no part of them any more"
    if old.version == new.version:
        return (
            f"{runs} with {old} of another source ({old.source[:8]}, installed is {new.source[:8]}): raise "
            f"its version when its code changes"
        )
    return f"{runs} with {old}, installed is {new.version}: numbers of two versions are never mixed"
