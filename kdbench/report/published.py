"""What others published of the same rows, beside our runs: a section of each report, lines of a terminal."""

from collections.abc import Iterable, Iterator, Sequence

from tabulate import tabulate

from kdbench.formatting import EMPTY, clean, escape, escape_table, number, plural, signed
from kdbench.report.claims import claim_lines
from kdbench.report.sentences import gain_word
from kdbench.report.words import measured, measured_gain, printed
from kdbench.spec.suites import Suite
from kdbench.spec.verdicts import Check
from kdbench.verdict.claims import check_claims
from kdbench.verdict.published import LastOrBest, last_or_best, of_authors, published_headline

HEADS = (
    "row",
    "evidence",
    "printed",
    "value",
    "difference",
    "verdict",
    "gain",
    "verdict of the gain",
    "last",
    "best",
    "epochs",
)
_ALIGN = ("left", "left", "right", "right", "right", "left", "right", "left", "right", "right", "right")
LEGEND = """\
What the authors published, held against the same printed numbers by the same rules: an `author run` is a
log or a value of theirs, `released weights` are a network of theirs that kdbench evaluated. kdbench trained
none of them, and none is counted above. `our run` stands beside them where there is one."""


def published_section(suite: Suite, checks: Sequence[Check]) -> Iterator[str]:
    """The section of a report in Markdown; nothing without author runs."""
    if not of_authors(checks):
        return
    yield f"## {title(checks)}"
    yield published_headline(checks)
    yield LEGEND
    lines = escape_table(body(checks))
    yield tabulate(lines, HEADS, tablefmt="pipe", colalign=_ALIGN, disable_numparse=True)
    yield from map(escape, filter(None, [last_or_best_sentence(checks)]))
    yield "\n".join(
        f"- {escape(text)}" for text in [*notes(checks), *claims(suite, checks), *sources(checks)]
    )


def title(checks: Iterable[Check]) -> str:
    """`Author runs`, `Released weights` or both, as there are."""
    titles = {"author run": "Author runs", "released weights": "Released weights"}
    kinds = [check.published.kind for check in checks if check.published]
    return " and ".join(titles[kind] for kind in titles if kind in kinds).replace("and R", "and r")


def published_lines(suite: Suite, checks: Sequence[Check]) -> list[str]:
    """For a terminal; nothing without author runs."""
    if not of_authors(checks):
        return []
    lines = [list(map(clean, line)) for line in body(checks)]
    table = tabulate(lines, HEADS, tablefmt="simple", colalign=_ALIGN, disable_numparse=True)
    told = [*notes(checks), *filter(None, [last_or_best_sentence(checks)])]
    return [*table.splitlines(), "", *map(clean, told), published_headline(checks), *claims(suite, checks)]


def claims(suite: Suite, checks: Iterable[Check]) -> list[str]:
    """The paper's conclusions held against author runs alone: claims all of whose rows have some."""
    return [f"by author runs, {line}" for line in claim_lines(check_claims(suite, of_authors(checks)))]


def body(checks: Iterable[Check]) -> Iterator[list[str]]:
    """A line for the author runs of each row, and one before it for our runs where there are any."""
    for check in checks:
        if check.published is None:
            continue
        if check.values:
            yield _line(check, "our run", ())
        (theirs,) = of_authors([check])
        yield _line(theirs, check.published.kind, check.published.epochs)


def _line(check: Check, kind: str, epochs: Sequence[int]) -> list[str]:
    return [
        check.row.name,
        kind,
        printed(check.row),
        measured(check.top1),
        signed(check.top1.difference),
        check.top1.word,
        measured_gain(check),
        gain_word(check),
        number(check.report_epochs.get("last")),
        number(check.report_epochs.get("best")),
        ", ".join(map(str, epochs)) or EMPTY,
    ]


def notes(checks: Iterable[Check]) -> list[str]:
    """Each thing to be known about author runs once, after the first row that it concerns."""
    rows: dict[str, list[str]] = {}
    for check in checks:
        for note in check.published.notes if check.published else ():
            rows.setdefault(note, []).append(check.row.name)
    return [f"{_and_more(names)}: {note}" for note, names in rows.items()]


def sources(checks: Iterable[Check]) -> list[str]:
    """Where author runs were published: each repository once, with the number of its files."""
    files: dict[str, set[str]] = {}
    for check in checks:
        for source in check.published.sources if check.published else ():
            repository, _, path = source.partition(":")
            files.setdefault(repository, set()).add(path)
    return [f"from {repository}, {plural(len(paths), 'file')}" for repository, paths in files.items()]


def _and_more(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def last_or_best_sentence(checks: Sequence[Check]) -> str:
    """Whether the last or the best epochs are printed, as far as author runs say; "" without any."""
    found = last_or_best(checks)
    if found is None:
        return ""
    best = (
        f"; best lies {signed(found.optimism)} above last (mean of {found.single} rows with a single run)"
        if found.optimism is not None
        else ""
    )
    return (
        f"Last or best? The printed number is nearer to the best epoch on test in {found.nearer_best} of "
        f"{found.rows} rows, to the last in {found.nearer_last}{best}. Printed minus last is "
        f"{signed(found.over_last)} ± {found.half_last:.2f} on average, printed minus best "
        f"{signed(found.over_best)} ± {found.half_best:.2f} (90 % intervals): {_answer(found)}."
    )


def _answer(found: LastOrBest) -> str:
    """Which reported epoch the intervals allow."""
    last = abs(found.over_last) <= found.half_last
    best = abs(found.over_best) <= found.half_best
    if last and best:
        return "the logs cannot tell the last epoch from the best"
    if last or best:
        return f"the logs agree with the {'last' if last else 'best'} epoch only"
    return "the logs agree with neither"
