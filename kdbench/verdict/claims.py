"""A paper's conclusions held against results: docs/verdicts.md, "Claims".

Pure: a suite and its checks in, one check per claim out, in the suite's order.

A claim is a conjunction of comparisons. It holds where each is shown at 5 %: the chance that a false claim
is found to hold is at most 5 %, however many comparisons there are and however they depend on each other,
since the false one among them has to pass too (intersection-union test; Berger, Technometrics 24, 1982).
It does not hold where one comparison is shown to be false at 5 % divided by their number (Bonferroni).
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from kdbench.spec.recipes import against
from kdbench.spec.suites import Claim, Row, Suite, named
from kdbench.spec.verdicts import Check, ClaimCheck, Outcome, Part
from kdbench.verdict.paired import Paired, conjunction, level_of, paired
from kdbench.verdict.stats import LEVEL, SLACK

BASELINE = "baseline"
"""What a row of `improves` is compared with."""

BETTER = "one-sided paired t tests that the difference is above {margin:g}"
ALIKE = "two one-sided paired t tests that the difference lies within ±{margin:g}"


def compared(claim: Claim, rows: Sequence[Row]) -> Iterator[tuple[Row, Row | None]]:
    """Each row of a claim with the one it is compared with; None: its baseline."""
    for entry in claim.improves:
        yield from ((row, None) for row in named(rows, entry))
    for worse, better in pairwise(claim.order or claim.alike):
        others = {row.student: row for row in named(rows, worse)}
        yield from ((row, others[row.student]) for row in named(rows, better) if row.student in others)


def check_claims(suite: Suite, checks: Iterable[Check]) -> list[ClaimCheck]:
    """Hold a suite's claims against the checks of its rows.

    Claims on rows that have no check are left out.
    """
    by_name = {check.row.name: check for check in checks}
    found = []
    for claim in suite.claims:
        pairs = list(compared(claim, suite.rows))
        if pairs and all(row.name in by_name for pair in pairs for row in pair if row):
            parts = [
                _part(claim, by_name[row.name], by_name[other.name] if other else None)
                for row, other in pairs
            ]
            found.append(_check(claim, parts))
    return found


def _part(claim: Claim, check: Check, other: Check | None) -> Part:
    """What the seeds say of one comparison of a claim: a row with another one, or with its baseline.

    Of a claim that rows are alike, p_for is that of a difference within the margin; else of one above it.
    """
    found = _differences(check, other)
    if claim.alike:
        p_for = found.p_within(claim.margin)
        p_against = found.p_outside(claim.margin)
    else:
        p_for = found.p_above(claim.margin)
        p_against = found.p_not_above(claim.margin)
    return Part(
        row=check.row.name,
        than=other.row.name if other else BASELINE,
        printed=_printed(check.row, other.row if other else None),
        measured=found.difference,
        interval=found.interval,
        n=found.n,
        p_for=p_for,
        p_against=p_against,
        level=found.level,
        recipes=against(check.row.recipe, other.row.recipe) if other else check.recipes,
    )


def _differences(check: Check, other: Check | None) -> Paired:
    """One per seed that both have; of a row and its baseline, what is judged as its gain."""
    if other is None:
        return Paired(check.gains, level_of(check.levels, len(check.gains)))
    return paired(check.values, other.values, check.levels, other.levels)


def _printed(row: Row, other: Row | None) -> float | None:
    """The difference of the printed accuracies, else of the printed gains: both are over one baseline."""
    if other is None or row.over == other.name:
        return row.reference.gain
    # Of two papers' tables some print accuracies and some gains: either will do, if both rows have it. Gains
    # over different rows are not to be compared.
    same = row.over == other.over
    pairs = [(row.reference.top1, other.reference.top1)]
    pairs += [(row.reference.gain, other.reference.gain)] if same else []
    return next((one - two for one, two in pairs if one is not None and two is not None), None)


def _check(claim: Claim, parts: Sequence[Part]) -> ClaimCheck:
    """A claim from its comparisons."""
    p_for, p_against, outcome = conjunction(
        [part.p_for for part in parts], [part.p_against for part in parts]
    )
    return ClaimCheck(
        claim=claim,
        outcome=outcome,
        parts=tuple(parts),
        test=_test(claim, parts),
        p_for=p_for,
        p_against=p_against,
        printed=_borne_out(claim, parts),
        reason=_reason(outcome, parts),
    )


def _test(claim: Claim, parts: Sequence[Part]) -> str:
    """How the comparisons are tested, and how their errors add up."""
    each = (ALIKE if claim.alike else BETTER).format(margin=claim.margin)
    levels = sorted({part.level for part in parts})
    if levels != [LEVEL]:
        shown = " to ".join(f"{100 * level:.2g}" for level in dict.fromkeys((levels[0], levels[-1])))
        each += f", at {shown} % in place of 5 % as the seeds were chosen by interim analyses"
    if len(parts) == 1:
        return each
    return f"{each}: all {len(parts)} at 5 % for it, one at 5 % / {len(parts)} against it"


def _borne_out(claim: Claim, parts: Sequence[Part]) -> bool | None:
    printed = [part.printed for part in parts if part.printed is not None]
    if len(printed) < len(parts):
        return None
    if claim.alike:
        return all(abs(each) <= claim.margin + SLACK for each in printed)
    return all(each > claim.margin + SLACK for each in printed)


def _reason(outcome: Outcome, parts: Sequence[Part]) -> str:
    """The comparison that decided, or what is missing."""
    # Without two shared seeds a comparison has no test: then a claim can fail by another one, but not hold.
    known = [part for part in parts if part.p_for is not None]
    if outcome is Outcome.FAILS:
        worst = min(known, key=lambda part: part.p_against or 0.0)
        return f"{worst.row} against {worst.than}: {worst.measured:+.2f} (n = {worst.n})"
    if len(known) < len(parts):
        return f"{len(known)} of {len(parts)} comparisons have the two shared seeds that a test takes"
    weakest = max(known, key=lambda part: part.p_for or 0.0)
    text = f"{weakest.row} against {weakest.than}: {weakest.measured:+.2f} (n = {weakest.n})"
    return f"the least certain: {text}" if len(parts) > 1 else text
