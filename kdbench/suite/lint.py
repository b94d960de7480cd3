"""The paper's own arithmetic: what does not add up, what differs between tables, what has no source.

Needs no results: it reads the printed numbers of one suite.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Literal

from msgspec import Struct
from msgspec.structs import asdict

from kdbench.catalog import find
from kdbench.errors import require
from kdbench.formatting import plural
from kdbench.grouping import grouped
from kdbench.quantities import Range, ranges_of
from kdbench.spec.runs import Recipe, ReportEpoch
from kdbench.spec.suites import Reference, Row, Suite, Tolerance
from kdbench.suite.arithmetic import gain_error, printed_baselines

MANY = 2
"""Rows that all fall below their baselines before they are taken for error rates."""
MOSTLY_WRONG = 50.0
"""Percent: a method whose accuracies are all below is rarely printed."""
Rule = Literal[
    "gain-differs",
    "baseline-differs",
    "number-differs",
    "error-rates",
    "protocol-differs",
    "no-reference",
    "second-hand",
    "assumed",
    "untrained",
    "unusual",
    "copied",
    "cited",
]


class Finding(Struct, frozen=True, kw_only=True):
    """One thing about the printed numbers that a reader should know."""

    rule: Rule
    level: Literal["warning", "info"]
    """`warning`: figures contradict each other or cannot be compared; `info`: a standing, or odd number."""
    table: str
    """The table of the paper; several as `5, 9`."""
    rows: tuple[str, ...]
    sentence: str
    """With all the figures in question, in percent or percentage points."""


def lint_suite(
    suite: Suite, originals: Mapping[str, Suite] | None = None, copies: Mapping[str, Suite] | None = None
) -> list[Finding]:
    """All findings of a suite, rule by rule, each rule in the suite's order.

    Args:
        suite: what `load_suite` gave.
        originals: by name, the suites that its rows are copied from, of which numbers are held against them.
        copies: by name, the suites that copy numbers from it.

    Raises:
        UserError: it is no suite.
    """
    require("suite", suite, Suite, "a suite from kdbench.load_suite")
    rules = (
        _gains(suite.rows),
        _differing(suite.rows, "baseline-differs", _student),
        _differing(suite.rows, "number-differs", _pairing),
        _error_rates(suite.rows),
        _protocols(suite.rows),
        _standing(suite.rows),
        _shared(suite.rows, "assumed"),
        _shared(suite.rows, "untrained"),
        _unusual(suite.rows),
        _copied(suite.rows),
        _unlike_their_originals(suite.rows, originals or {}),
        _cited(suite, copies or {}),
    )
    return list(chain.from_iterable(rules))


def _gains(rows: tuple[Row, ...]) -> Iterator[Finding]:
    """Printed gains that are not value minus printed baseline."""
    printed = printed_baselines(rows)
    for row in rows:
        baseline, reference = printed(row), row.reference
        if baseline is None or reference.top1 is None or gain_error(row, baseline) is None:
            continue
        known = "" if row.sic else "; the row does not say sic"
        yield _finding(
            "gain-differs",
            [row],
            f"{_who(row)}: the printed gain{_over(row)} is {reference.gain:.2f}, but {reference.top1:.2f} - "
            f"{baseline:.2f} is {reference.top1 - baseline:.2f}{known}",
        )


def _student(row: Row) -> Hashable | None:
    return (row.student, *_protocol(row)) if row.is_baseline else None


def _pairing(row: Row) -> Hashable | None:
    if row.is_baseline or row.mean:
        return None
    learning = (row.student, row.teacher_student, str(row.teacher), row.loss.name, row.report_epoch, row.over)
    return *learning, *_protocol(row)


def _protocol(row: Row) -> tuple[Hashable, ...]:
    """What makes rows of one student different experiments, which may well print different numbers."""
    recipe = row.recipe
    seen = (row.dataset, row.teacher_dataset, recipe.subset, recipe.transfer_classes)
    return *seen, row.teacher_row, recipe.draw, recipe.bias, row.label


def _differing(rows: Iterable[Row], rule: Rule, key: Callable[[Row], Hashable | None]) -> Iterator[Finding]:
    """Quantities that are one by their key and are printed differently in two tables of the paper."""
    groups = grouped((of, row) for row in rows if (of := key(row)) is not None)
    for group in groups.values():
        figures = "; ".join(filter(None, (_figures(group, "top1"), _figures(group, "gain"))))
        if figures:
            yield _finding(rule, group, f"{_what(group[0])}: {figures}")


def _figures(group: Iterable[Row], quantity: Literal["top1", "gain"]) -> str:
    """`gain 1.19 in Table 5, 1.32 in Table 9` if two tables differ; "" if not."""
    numbers = ((row.printed_table, getattr(row.reference, quantity)) for row in group)
    seen = grouped((table, f"{number:.2f}") for table, number in numbers if number is not None)
    figures = {table: " and ".join(dict.fromkeys(some)) for table, some in seen.items()}
    if len(set(figures.values())) < 2:
        return ""
    return f"{quantity} " + ", ".join(f"{figure} in Table {table}" for table, figure in figures.items())


def _protocols(rows: Iterable[Row]) -> Iterator[Finding]:
    """Printed tables whose rows train for different numbers of epochs: they compare more than methods."""
    for table, group in grouped((row.printed_table, row) for row in rows).items():
        # The rows by epochs, {200: [...], 240: [...]}: what most of them make is usual.
        by_epochs = grouped((row.recipe.epochs, row) for row in group)
        usual = max(by_epochs, key=lambda epochs: len(by_epochs[epochs]))
        del by_epochs[usual]
        parts = []
        for epochs, some in sorted(by_epochs.items()):
            names = dict.fromkeys(row.table for row in some)
            parts.append(f"{epochs} epochs: {', '.join(names)}")
        if parts:
            others = [row for some in by_epochs.values() for row in some]
            sentence = f"Table {table} mixes protocols: {usual} epochs, but {'; '.join(parts)}"
            yield _finding("protocol-differs", others, sentence)


def _standing(rows: Sequence[Row]) -> Iterator[Finding]:
    """Rows without a printed number, and numbers read second-hand: those of a table and a source once."""
    missing = grouped((row.table, row) for row in rows if not row.reference.is_given)
    for table, group in missing.items():
        sentence = f"{_who(group[0])}: no printed number"
        if len(group) > 1:
            pairs = ", ".join(map(_pair, group))
            sentence = f"Table {table}: {len(group)} rows without a printed number: {pairs}"
        yield _finding("no-reference", group, sentence, "info")

    second_hand = [row for row in rows if row.reference.is_given and row.reference.kind == "second-hand"]
    by_source = grouped(((row.table, row.reference.source), row) for row in second_hand)
    for (table, source), group in by_source.items():
        read_in = f" ({source})" if source else ""
        sentence = f"{_who(group[0])}: {_numbers(group[0])} second-hand{read_in}"
        if len(group) > 1:
            numbers = ", ".join(f"{_pair(row)} {_numbers(row)}" for row in group)
            sentence = f"Table {table}: the numbers of {len(group)} rows are second-hand{read_in}: {numbers}"
        yield _finding("second-hand", group, sentence, "info")


def _shared(rows: Iterable[Row], rule: Literal["assumed", "untrained"]) -> Iterator[Finding]:
    """What stands by assumption, and what kdbench cannot train, with the reason: each of a table once."""
    groups = grouped(((row.table, text), row) for row in rows if (text := getattr(row, rule)))
    for (table, text), group in groups.items():
        who = _who(group[0]) if len(group) == 1 else f"{len(group)} rows of {table}"
        yield _finding(rule, group, f"{who}: {rule}: {text}", "info")


def _error_rates(rows: tuple[Row, ...]) -> Iterator[Finding]:
    """Numbers below 50 that all fall where they should rise: error rates in the place of accuracies."""
    # All of them: a single row below its baseline is a result, a whole table of them is another quantity.
    printed = printed_baselines(rows)
    taught = [row for row in rows if row.teacher and row.reference.kind == "printed"]
    compared = [(row, row.reference.top1, printed(row)) for row in taught]
    both = [(row, top1, base) for row, top1, base in compared if top1 is not None and base is not None]
    if len(both) >= MANY and all(top1 < base < MOSTLY_WRONG for _, top1, base in both):
        sentence = f"all {len(both)} taught rows are below their baselines, and those below {MOSTLY_WRONG} %"
        hint = "are these error rates? An accuracy is 100 less that"
        yield _finding("error-rates", [row for row, _, _ in both], f"{sentence}: {hint}")


def _copied(rows: Iterable[Row]) -> Iterator[Finding]:
    """What a printed table copies from another paper, and whether it was chosen as the rest of the table was.

    CRD's benchmark reports the last epoch and mdistiller the best on test: a gain of DKD over a copied KD has
    in it what choosing on test is worth.
    """
    tables = grouped((row.printed_table, row) for row in rows if row.reference.top1 is not None)
    for table, group in tables.items():
        own = {_epoch(row.report_epoch) for row in group if not row.copied_from}
        copied = [row for row in group if row.copied_from]
        copies = grouped(((row.copied_from, _epoch(row.report_epoch)), row) for row in copied)
        for (source, epoch), some in copies.items():
            others = sorted(own - {epoch})
            beside = f"; beside them stand numbers of the {' and the '.join(others)}" if others else ""
            names = ", ".join(dict.fromkeys(row.table for row in some))
            copied_from = f"{plural(len(some), 'number')} of {names} from {source}"
            sentence = f"Table {table} copies {copied_from}, of the {epoch}{beside}"
            yield _finding("copied", some, sentence, "warning" if others else "info")


def _epoch(reported: ReportEpoch) -> str:
    """An epoch that is reported, in words."""
    words = {"last": "last epoch", "best": "best epoch on test"}
    return words.get(str(reported), f"epoch {reported}")


def _unlike_their_originals(rows: Iterable[Row], originals: Mapping[str, Suite]) -> Iterator[Finding]:
    """Copied numbers that are others in the suite they were copied from, or were chosen otherwise there."""
    known = {}
    for name, source in originals.items():
        for other in source.rows:
            known[name, *_cell(other)] = other
    for row in rows:
        original = known.get((row.copied_from, *_cell(row)))
        here = row.reference.top1
        if original is None or here is None or original.reference.top1 is None:
            continue
        there = original.reference.top1
        if here != there:
            sentence = f"{here:.2f} is copied from {row.copied_from}, where it is {there:.2f}"
            yield _finding("copied", [row], f"{_who(row)}: {sentence}")
        if row.report_epoch != original.report_epoch:
            both = f"the {_epoch(row.report_epoch)} here, the {_epoch(original.report_epoch)} there"
            yield _finding("copied", [row], f"{_who(row)}: copied from {row.copied_from}, but of {both}")


def citations(suite: Suite, copies: Mapping[str, Suite]) -> dict[str, tuple[str, ...]]:
    """By the name of a row: which rows of other suites print its number too; where it is another, with it.

    For example `{"1.kd/resnet20:resnet56": ("dkd_cifar100: 1.kd/resnet20:resnet56",)}`.
    """
    named = {_cell(row): row for row in suite.rows if row.reference.top1 is not None and not row.copied_from}
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, other in copies.items():
        for row in other.rows:
            original = named.get(_cell(row))
            if row.copied_from != suite.name or original is None or row.reference.top1 is None:
                continue
            there, here = original.reference.top1, row.reference.top1
            found[original.name].append(f"{name}: {row.name}{'' if here == there else f', as {here:.2f}'}")
    return {name: tuple(some) for name, some in found.items()}


def _cited(suite: Suite, copies: Mapping[str, Suite]) -> Iterator[Finding]:
    """Numbers that other papers copy, once for all the rows of a table that the same papers copy."""
    by_papers = []
    cited = citations(suite, copies)
    for row in suite.rows:
        if row.name in cited:
            papers = tuple(dict.fromkeys(each.partition(":")[0] for each in cited[row.name]))
            by_papers.append(((row.table, papers), row))
    for (table, papers), rows in grouped(by_papers).items():
        numbers = plural(len(rows), "number")
        pairs = ", ".join(map(_pair, rows))
        sentence = f"Table {table}: {numbers} copied by {' and '.join(papers)}: {pairs}"
        yield _finding("cited", rows, sentence, "info")


def _cell(row: Row) -> tuple[str, str, str]:
    """What two papers must share to print the same number."""
    return row.student, str(row.teacher), row.loss.name


def _unusual(rows: Iterable[Row]) -> Iterator[Finding]:
    """Numbers that are possible and odd, each once for all the rows that have it."""
    for sentence, group in grouped((odd, row) for row in rows for odd in _oddities(row)).items():
        who = _who(group[0]) if len(group) == 1 else f"{len(group)} rows"
        yield _finding("unusual", group, f"{who}: {sentence}", "info")


def _oddities(row: Row) -> Iterator[str]:
    """Values of a row that can be meant but hardly are."""
    recipe, top1 = row.recipe, row.reference.top1
    numbers: list[tuple[Mapping[str, Range], Mapping[str, object]]] = [
        (ranges_of(Recipe), asdict(recipe)),
        (ranges_of(Tolerance), asdict(row.tolerance)),
        (ranges_of(Reference), asdict(row.reference)),
    ]
    if not row.untrained:  # a loss that kdbench does not have declares nothing
        numbers.append((find("losses", row.loss.name).ranges, row.loss.params))
    for ranges, values in numbers:
        for name, each in ranges.items():
            sentence = each.oddity(name, values.get(name))
            if sentence is not None:
                yield sentence
    if top1 is not None and 0 < top1 <= 1:
        yield f"top1 = {top1} is in percent; was {100 * top1:g} meant?"
    if recipe.milestones and recipe.milestones[-1] == recipe.epochs:
        yield f"milestones = {list(recipe.milestones)}: nothing is trained after the last epoch"


def _numbers(row: Row) -> str:
    both = {"top1": row.reference.top1, "gain": row.reference.gain}
    numbers = ", ".join(f"{name} {number:.2f}" for name, number in both.items() if number is not None)
    return numbers + (_over(row) if row.reference.gain is not None else "")


def _over(row: Row) -> str:
    return f" over {row.over}" if row.over else ""


def _pair(row: Row) -> str:
    return f"{row.student} from {row.teacher}" if row.teacher else row.student


def _what(row: Row) -> str:
    return f"{_pair(row)}, {row.loss.name}"


def _who(row: Row) -> str:
    return f"{_what(row)}, Table {row.printed_table}"


def _finding(
    rule: Rule, rows: Sequence[Row], sentence: str, level: Literal["warning", "info"] = "warning"
) -> Finding:
    tables = ", ".join(dict.fromkeys(row.printed_table for row in rows))
    return Finding(
        rule=rule, level=level, table=tables, rows=tuple(row.name for row in rows), sentence=sentence
    )
