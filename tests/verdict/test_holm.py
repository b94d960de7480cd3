"""Holm's adjustment: by hand, what it does to verdicts, and the family's error rate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kdbench.spec.verdicts import Check, Verdict, Word
from kdbench.verdict.check import headline, verdict_of
from kdbench.verdict.holm import adjust, adjusted_p
from tests.support.build import make_row

SURE = [71.0, 71.01, 71.02]
FAIRLY = [70.80, 70.95, 71.20]
"""Against 71.0 at 0.5: p = 0.028."""


def checks_of(*verdicts: Verdict) -> list[Check]:
    """One check for each verdict on an accuracy."""
    none = Verdict(word=Word.NO_REFERENCE)
    return [
        Check(row=make_row(f"m{place}"), ids=(), top1=verdict, gain=none)
        for place, verdict in enumerate(verdicts)
    ]


def words(*verdicts: Verdict) -> list[Word]:
    return [check.top1.word for check in adjust(checks_of(*verdicts))]


def test_adjusted_p_of_hand_made_numbers() -> None:
    assert adjusted_p([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_adjusted_p_keeps_the_order_and_is_at_least_p(p: list[float]) -> None:
    adjusted = adjusted_p(p)
    assert all(one <= other <= 1 for one, other in zip(p, adjusted, strict=True))
    assert sorted(range(len(p)), key=lambda i: (p[i], adjusted[i])) == sorted(
        range(len(p)), key=p.__getitem__
    )


def test_single_verdict_is_not_changed_by_the_adjustment() -> None:
    verdict = verdict_of(FAIRLY, 71.0, 0.5)
    assert adjust(checks_of(verdict))[0].top1 == replace(verdict, p_adjusted=verdict.p)


def test_reproduced_among_many_becomes_consistent() -> None:
    unsure = verdict_of(FAIRLY, 71.0, 0.5)
    assert words(unsure, unsure) == [Word.CONSISTENT] * 2
    assert words(unsure, verdict_of(SURE, 71.0, 0.5)) == [Word.REPRODUCED] * 2


def test_below_among_many_becomes_inconclusive() -> None:
    below = verdict_of([70.0, 70.2, 70.3], 71.0, 0.5)
    assert below.word is Word.BELOW
    assert words(below, below, below) == [Word.INCONCLUSIVE] * 3


def test_single_seed_has_no_test_to_adjust() -> None:
    verdict = verdict_of([60.0], 71.0, 0.5)
    assert adjust(checks_of(verdict))[0].top1 == verdict


def test_missing_verdicts_stay() -> None:
    assert words(Verdict(word=Word.PENDING, printed=71.0), Verdict(word=Word.FAILED)) == [
        Word.PENDING,
        Word.FAILED,
    ]


def test_headline_says_that_it_is_adjusted() -> None:
    verdict = verdict_of(SURE, 71.0, 0.5)
    assert "Of 2 tested verdicts at most 0.1 are wrong by chance" in headline(checks_of(verdict, verdict))
    many = headline(checks_of(*[verdict] * 4_360))
    assert "Of 4360 tested verdicts at most 218 are wrong by chance" in many
    assert "Adjusted after Holm for 2 tests" in headline(adjust(checks_of(verdict, verdict)))


def test_family_of_numbers_at_their_margins_has_a_wrong_one_in_at_most_one_case_in_ten() -> None:
    """Both ways together; each has 5 %. Unadjusted, of 8 rows, more than half would have one."""
    rng, rounds, wrong, plain = np.random.default_rng(0), 400, 0, 0
    decided = {Word.REPRODUCED, Word.BELOW, Word.ABOVE}
    for _ in range(rounds):
        verdicts = [verdict_of(row, 71.0, 0.5) for row in rng.normal(71.5, 0.2, (8, 5)).tolist()]
        plain += any(verdict.word in decided for verdict in verdicts)
        wrong += any(word in decided for word in words(*verdicts))
    assert wrong / rounds <= 0.13
    assert plain / rounds > 0.4
