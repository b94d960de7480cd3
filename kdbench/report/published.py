"""What others published of the same rows, beside our runs: a section of each report, lines of a terminal."""

from collections.abc import Iterable, Iterator, Sequence

from kdbench.formatting import EMPTY, and_more, clean, escape, number, plural, signed, table
from kdbench.grouping import grouped
from kdbench.report.claims import claim_lines
from kdbench.report.words import accuracy, gain_word, measured_gain
from kdbench.spec.suites import Suite
from kdbench.spec.verdicts import Check
from kdbench.verdict.claims import check_claims
from kdbench.verdict.published import LastOrBest, last_or_best, of_authors, published_headline

HEADS = (
    *("row", "evidence", "printed", "value", "difference", "verdict"),
    *("gain", "verdict of the gain", "last", "best", "epochs"),
)
_SIDES = "llrrrlrlrrr"
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
    yield table("pipe", HEADS, body(checks), _SIDES)
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
    lines = table("simple", HEADS, body(checks), _SIDES).splitlines()
    sentences = [*notes(checks), *filter(None, [last_or_best_sentence(checks)])]
    return [*lines, "", *map(clean, sentences), published_headline(checks), *claims(suite, checks)]


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
        *accuracy(check),
        measured_gain(check),
        gain_word(check),
        number(check.report_epochs.get("last")),
        number(check.report_epochs.get("best")),
        ", ".join(map(str, epochs)) or EMPTY,
    ]


def notes(checks: Iterable[Check]) -> list[str]:
    """Each thing to be known about author runs once, after the first row that it concerns."""
    published = [(check.row.name, check.published) for check in checks if check.published]
    rows = grouped((note, name) for name, theirs in published for note in theirs.notes)
    return [f"{and_more(names)}: {note}" for note, names in rows.items()]


def sources(checks: Iterable[Check]) -> list[str]:
    """Where author runs were published: each repository once, with the number of its files."""
    # A file that holds the runs of several rows counts once.
    every = dict.fromkeys(source for check in checks if check.published for source in check.published.sources)
    files = grouped((source.partition(":")[0], source) for source in every)  # of `REPOSITORY@COMMIT:PATH`
    return [f"from {repository}, {plural(len(some), 'file')}" for repository, some in files.items()]


def last_or_best_sentence(checks: Sequence[Check]) -> str:
    """Whether the last or the best epochs are printed, as far as author runs say; "" without any."""
    found = last_or_best(checks)
    if found is None:
        return ""
    best = (
        f"; best lies {signed(found.optimism)} above last "
        f"(mean of {plural(found.single, 'row')} with a single run)"
        if found.optimism is not None
        else ""
    )
    counted = (
        f"Last or best? The printed number is nearer to the best epoch on test in {found.nearer_best} of "
        f"{plural(found.rows, 'row')}, to the last in {found.nearer_last}{best}."
    )
    over_last, over_best = signed(found.over_last), signed(found.over_best)
    if found.rows == 1:  # one difference has no interval
        return f"{counted} Printed minus last is {over_last}, printed minus best {over_best}."
    return (
        f"{counted} Printed minus last is {over_last} ± {found.half_last:.2f} on average, printed minus best "
        f"{over_best} ± {found.half_best:.2f} (90 % intervals): {_answer(found)}."
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
