"""The paper's conclusions and what comes of them: a section of the report, lines of a terminal."""

from collections.abc import Iterable, Iterator, Sequence

from kdbench.formatting import EMPTY, and_more, plus_minus, signed
from kdbench.grouping import grouped
from kdbench.report.sections import table_section
from kdbench.spec.verdicts import ClaimCheck, Part

HEADS = ("claim", "where", "printed", "outcome", "p for", "p against", "why")

LEGEND = """\
Paired differences over the seeds that both rows have. A claim `holds` where each of its comparisons is
shown at 5 %, and `does not hold` where one is shown to be false at 5 % divided by their number; else it is
`undecided`. Printed: whether the printed numbers bear it out."""


def claims_section(found: Sequence[ClaimCheck]) -> Iterator[str]:
    """The report's section, nothing without claims."""
    return table_section("Claims", LEGEND, HEADS, map(_line, found), "llllrrl", map(_details, found))


def claim_lines(found: Sequence[ClaimCheck]) -> list[str]:
    """For a terminal: one claim a line, its outcome first; nothing without claims."""
    lines = []
    for each in found:
        place = f" ({each.claim.section})" if each.claim.section else ""
        lines.append(f"{each.outcome}: {each.claim.says}{place}; {each.reason}")
        # Comparisons of two sides that are not trained by one recipe: each difference of recipes once.
        across = grouped((part.recipes, f"{part.row} - {part.than}") for part in each.parts if part.recipes)
        lines += [f"  across recipes: {and_more(rows)}: {recipes}" for recipes, rows in across.items()]
    return lines


def _line(found: ClaimCheck) -> list[str]:
    printed = {True: "yes", False: "no", None: EMPTY}[found.printed]
    claim = found.claim
    p_for, p_against = _p(found.p_for), _p(found.p_against)
    return [claim.says, claim.section or EMPTY, printed, found.outcome, p_for, p_against, found.reason]


def _p(value: float | None) -> str:
    return EMPTY if value is None else f"{value:.2g}"


def _details(found: ClaimCheck) -> str:
    """The test and the comparisons of a claim, in a line."""
    note = f" {found.claim.note}." if found.claim.note else ""
    return f"{found.claim.id}: {found.test}.{note} {'; '.join(_compared(found.parts))}."


def _compared(parts: Iterable[Part]) -> Iterator[str]:
    for part in parts:
        yield (
            f"{part.row} - {part.than}: printed {signed(part.printed)}, "
            f"measured {signed(part.measured)}{plus_minus(part.interval)} ({part.n})"
            f"{f', across recipes: {part.recipes}' if part.recipes else ''}"
        )
