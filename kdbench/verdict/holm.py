"""Many verdicts at once: Holm's adjustment (Scand. J. Statist. 6, 1979), on request.

The printed accuracies and gains that are asked for, as far as they have a test, are two families of m
hypotheses each: "the difference is not inside the margin", whose rejection is `reproduced`, and "it is not
outside", whose rejection is `below` or `above`. Within a family the smallest p-value is multiplied by m,
the next by m - 1, and so on. The chance of even one wrong `reproduced` is then at most 5 %, and so is that
of even one wrong `below` or `above`, however the verdicts depend on each other.
"""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from kdbench.spec.verdicts import Check, Verdict, Word
from kdbench.verdict.stats import LEVEL

_WEAKER = {Word.REPRODUCED: Word.CONSISTENT, Word.BELOW: Word.INCONCLUSIVE, Word.ABOVE: Word.INCONCLUSIVE}


def adjusted_p(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: what is at most 5 % is so for the whole family."""
    # The running maximum keeps the order: of 0.01 0.02 0.021, times 3 2 1, the last is 0.04 and not 0.021, as
    # what is rejected after a hypothesis that stands would break the 5 % of the family.
    largest = 0.0
    adjusted = [0.0] * len(p)
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, p[place] * (len(p) - rank)))
        adjusted[place] = largest
    return adjusted


def adjust(checks: Iterable[Check]) -> list[Check]:
    """The checks with verdicts that hold for all of them at once.

    What is no longer shown is weaker by one: `reproduced` becomes `consistent`, `below` and `above` become
    `inconclusive`. A single seed has no test and stays what it is.
    """
    checks = list(checks)
    verdicts = [verdict for check in checks for verdict in (check.top1, check.gain)]
    verdicts = [verdict for verdict in verdicts if verdict.p is not None and verdict.printed is not None]
    # Two families: a verdict that cannot be `below` in the one may still be `reproduced` in the other.
    inside = adjusted_p([_scaled(verdict.p, verdict) for verdict in verdicts])
    outside = adjusted_p([_scaled(verdict.p_outside, verdict) for verdict in verdicts])
    # By identity and not by value: two rows may have equal verdicts, whose places in the families differ.
    by_identity = {
        id(verdict): (one, other) for verdict, one, other in zip(verdicts, inside, outside, strict=True)
    }
    return [
        replace(
            check,
            top1=_adjusted(check.top1, by_identity.get(id(check.top1))),
            gain=_adjusted(check.gain, by_identity.get(id(check.gain))),
        )
        for check in checks
    ]


def _scaled(p: float | None, verdict: Verdict) -> float:
    """A p-value as one of a test at 5 %: where a row is analysed after each seed, less counts."""
    return min(1.0, (1.0 if p is None else p) * LEVEL / verdict.level)


def _adjusted(verdict: Verdict, p: tuple[float, float] | None) -> Verdict:
    if p is None:
        return verdict
    inside, outside = p
    claimed = outside if verdict.word in (Word.BELOW, Word.ABOVE) else inside
    verdict = replace(verdict, p_adjusted=claimed)
    if verdict.word in _WEAKER and claimed > LEVEL:
        weaker = f"{verdict.word} by itself, but p = {claimed:.2g} after Holm"
        reason = "; ".join(filter(None, [weaker, verdict.reason]))
        return replace(verdict, word=_WEAKER[verdict.word], reason=reason)
    return verdict
