"""How many verdicts there are of each word, and how many of them may be wrong by chance."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from kdbench.spec.verdicts import Check, Verdict, Word
from kdbench.verdict.stats import LEVEL


class Tally(Struct, frozen=True, kw_only=True):
    """The verdicts on the printed numbers of one kind: accuracies, or gains."""

    printed: int
    words: dict[Word, int]
    within: int
    tested: int
    """Those with at least two seeds, so that there is a test."""
    exact: int
    """Those of the tested whose printed number counts as exact."""
    chance: float
    """How many of the tested may be wrong by chance, if every true difference lies at its margin.

    A true difference is inside its margin or it is not, so that a verdict can be wrong in one way only,
    `reproduced` or `below` and `above`; each has a chance of at most 5 %. Chances add up however the
    verdicts depend on each other. Where they are adjusted: 0.05 for each of both ways, in all.
    """


def tally(verdicts: Iterable[Verdict]) -> Tally:
    """Count the verdicts that have a printed number."""
    printed = [verdict for verdict in verdicts if verdict.printed is not None]
    tested = [verdict for verdict in printed if verdict.p is not None]
    adjusted = any(verdict.p_adjusted is not None for verdict in tested)
    ways = 2 * bool(tested) if adjusted else len(tested)  # in which something may be wrong, at 5 % each
    return Tally(
        printed=len(printed),
        words=dict(Counter(verdict.word for verdict in printed)),
        within=sum(verdict.within is True for verdict in printed),
        tested=len(tested),
        exact=sum(verdict.exact for verdict in tested),
        chance=round(LEVEL * ways, 10),
    )


def tallies(checks: Iterable[Check]) -> dict[str, Tally]:
    """Those of the accuracies and of the gains, by these words."""
    checks = list(checks)
    return {
        "accuracies": tally(check.top1 for check in checks),
        "gains": tally(check.gain for check in checks),
    }


def sentence(found: Tally, what: str) -> str:
    """`41 of 48 accuracies reproduced, 3 consistent, 4 below (44 within the tolerance)`."""
    if not found.printed:
        return f"no printed {what}"
    words = dict(found.words)
    first = f"{words.pop(Word.REPRODUCED, 0)} of {found.printed} {what} reproduced"
    return ", ".join([first, *counts(words)]) + f" ({found.within} within the tolerance)"


def counts(words: Mapping[Word, int]) -> list[str]:
    """`3 consistent`, in the order of the verdicts' table."""
    return [f"{words[word]} {word}" for word in Word if word in words]


def by_chance(found: Collection[Tally], *, adjusted: bool) -> str:
    """What to make of so many verdicts at once; nothing where none is tested."""
    tested = sum(each.tested for each in found)
    if not tested:
        return ""
    if adjusted:
        return (
            f" Adjusted after Holm for {tested} tests: 5 % is the chance that any `reproduced` is wrong, and "
            f"that any `below` or `above` is."
        )
    wrong = sum(each.chance for each in found)
    most = f"{wrong:.2g}" if wrong < 10 else f"{wrong:.0f}"
    text = f" Of {tested} tested verdicts at most {most} are wrong by chance, on average."
    if exact := sum(each.exact for each in found):
        text += (
            f" That does not cover the error of the printed number itself, which counts as exact in {exact}."
        )
    return text
