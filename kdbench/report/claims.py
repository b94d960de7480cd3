"""The paper's conclusions and what comes of them: a section of the report, lines of a terminal."""

from collections.abc import Iterable, Iterator, Sequence

from tabulate import tabulate

from kdbench.formatting import EMPTY, escape, escape_table, signed
from kdbench.spec.suites import Claim
from kdbench.spec.verdicts import ClaimCheck, Part

HEADS = ("claim", "where", "printed", "outcome", "p for", "p against", "why")
_ALIGN = ("left", "left", "left", "left", "right", "right", "left")

LEGEND = """\
Paired differences over the seeds that both rows have. A claim `holds` where each of its comparisons is
shown at 5 %, and `does not hold` where one is shown to be false at 5 % divided by their number; else it is
`undecided`. Printed: whether the printed numbers bear it out."""


def claims_section(found: Sequence[ClaimCheck]) -> Iterator[str]:
    """The report's section, nothing without claims."""
    if found:
        yield "## Claims"
        yield LEGEND
        body = escape_table(map(_line, found))
        yield tabulate(body, HEADS, tablefmt="pipe", colalign=_ALIGN, disable_numparse=True)
        yield "\n".join(f"- {escape(_details(each))}" for each in found)


def claim_lines(found: Sequence[ClaimCheck]) -> list[str]:
    """For a terminal: one claim a line, its outcome first; nothing without claims."""
    lines = []
    for each in found:
        lines.append(f"{each.outcome}: {each.claim.says}{_place(each.claim)}; {each.reason}")
        lines += [f"  across recipes: {text}" for text in _across(each)]
    return lines


def _across(found: ClaimCheck) -> Iterator[str]:
    """The comparisons of a claim whose two sides are not trained by one recipe: each difference once."""
    rows: dict[str, list[str]] = {}
    for part in found.parts:
        if part.recipes:
            rows.setdefault(part.recipes, []).append(f"{part.row} - {part.than}")
    for recipes, some in rows.items():
        more = f" and {len(some) - 1} more" if len(some) > 1 else ""
        yield f"{some[0]}{more}: {recipes}"


def _place(claim: Claim) -> str:
    return f" ({claim.section})" if claim.section else ""


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
        around = ""
        if part.interval is not None:
            low, high = part.interval
            around = f" ± {(high - low) / 2:.2f}"
        yield (
            f"{part.row} - {part.than}: printed {signed(part.printed)}, "
            f"measured {signed(part.measured)}{around} ({part.n})"
            f"{f', across recipes: {part.recipes}' if part.recipes else ''}"
        )
