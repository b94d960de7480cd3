"""Claims: how they are written, what is refused, when they hold; those of the papers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from kdbench.report.claims import claim_lines, claims_section
from kdbench.spec.suites import Claim, Reference
from kdbench.spec.verdicts import Check, ClaimCheck, Outcome, Verdict, Word
from kdbench.suite.load import load_suite
from kdbench.verdict.claims import check_claims
from kdbench.verdict.sequential import InterimPlan, levels
from tests.support.build import CE, RECIPE, make_row, make_suite
from tests.support.places import SUITES
from tests.support.project import SUITE, write_suite
from tests.support.refused import problems_of

Values = Mapping[str, Sequence[float]]
RIGHT: Values = {"a": [69.0, 69.2, 69.1], "b": [70.9, 71.2, 71.1]}
"""Two students under LSR, of which Tf-KD_reg is about 1 point better."""


def check_of(table: str, student: str, values: Sequence[float], top1: float | None = None) -> Check:
    """A check of these values, seeds 0, 1, ...; its baseline has 68.0."""
    verdict = Verdict(word=Word.NO_REFERENCE)
    return Check(
        row=make_row(student, table=table, loss=CE, reference=Reference(top1=top1)),
        ids=(),
        top1=verdict,
        gain=verdict,
        values=dict(enumerate(values)),
        gains={seed: value - 68.0 for seed, value in enumerate(values)},
    )


def checked(claim: Claim, *checks: Check) -> ClaimCheck:
    """A claim held against the checks of a suite of their rows."""
    suite = replace(make_suite(*(check.row for check in checks)), claims=(claim,))
    return check_claims(suite, checks)[0]


def claim_of(**variant: object) -> Claim:
    return Claim(id="c", says="It is so", section="Sec. 1", **variant)  # type: ignore[arg-type]


BEATS = claim_of(order=("9.lsr", "9.reg"))
ALIKE = claim_of(alike=("9.lsr", "9.reg"), margin=0.5)


def two_students(first: Sequence[float], second: Sequence[float]) -> list[Check]:
    """LSR as in `RIGHT`, and Tf-KD_reg better by these differences."""
    reg = {"a": first, "b": second}
    return [
        check_of(table, student, [v + d for v, d in zip(values, more, strict=False)])
        for student, values in RIGHT.items()
        for table, more in (("9.lsr", [0.0] * 3), ("9.reg", reg[student]))
    ]


@pytest.mark.parametrize(
    ("claim", "first", "second", "outcome"),
    [
        (BEATS, [1.0, 1.1, 0.9], [0.5, 0.4, 0.6], Outcome.HOLDS),
        (BEATS, [1.0, 1.1, 0.9], [-0.5, -0.4, -0.6], Outcome.FAILS),
        (BEATS, [1.0, 1.1, 0.9], [0.5, -0.4, 0.6], Outcome.UNDECIDED),
        (BEATS, [1.0, 1.1, 0.9], [0.0, 0.0, 0.0], Outcome.FAILS),
        (BEATS, [1.0, 1.1, 0.9], [0.5], Outcome.UNDECIDED),
        (BEATS, [-1.0, -1.1, -0.9], [0.5], Outcome.FAILS),
        (ALIKE, [0.1, 0.0, -0.1], [0.2, 0.1, 0.2], Outcome.HOLDS),
        (ALIKE, [0.1, 0.0, -0.1], [1.2, 1.1, 1.2], Outcome.FAILS),
        (ALIKE, [0.1, 0.0, -0.1], [0.4, 0.6, 0.1], Outcome.UNDECIDED),
    ],
)
def test_outcome_of_two_students(
    claim: Claim, first: list[float], second: list[float], outcome: Outcome
) -> None:
    assert checked(claim, *two_students(first, second)).outcome is outcome


def test_differences_are_paired_by_seed() -> None:
    noisy = [60.0, 70.0, 65.0]
    lsr, reg = check_of("9.lsr", "a", noisy), check_of("9.reg", "a", [value + 0.5 for value in noisy])
    part = checked(BEATS, lsr, reg).parts[0]
    assert (part.measured, part.interval, part.n) == (0.5, (0.5, 0.5), 3)


def test_claim_over_seeds_of_interim_analyses_is_tested_at_their_levels() -> None:
    """Differences of which p is 0.03: shown at 5 %, not at the 0.89 % of three of ten seeds."""
    checks = two_students([1.0, 1.1, 0.9], [0.5, 0.3, 0.9])
    planned = [replace(check, levels=dict(levels(InterimPlan()))) for check in checks]
    plain, strict = checked(BEATS, *checks), checked(BEATS, *planned)
    assert (plain.outcome, strict.outcome) == (Outcome.HOLDS, Outcome.UNDECIDED)
    assert "at 0.89 % in place of 5 % as the seeds were chosen by interim analyses" in strict.test
    assert strict.parts[0].level == levels(InterimPlan())[3]


@pytest.mark.parametrize("most", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_false_claim_after_interim_analyses_holds_in_at_most_one_case_in_twenty(most: int) -> None:
    """Whenever the analyses stop: no count of seeds up to `most` shows a difference of 0 more often."""
    draw, wrong, at = np.random.default_rng(most), 0, dict(levels(InterimPlan(most=most)))
    for _ in range(1000):
        values = draw.normal(70.0, 0.3, (2, most))
        rows = [
            [
                replace(check_of(table, "a", some[:n]), levels=at)
                for table, some in zip(("9.lsr", "9.reg"), values.tolist(), strict=True)
            ]
            for n in at
        ]
        wrong += any(checked(BEATS, *row).outcome is Outcome.HOLDS for row in rows)
    assert wrong / 1000 <= 0.065


def test_seeds_that_only_one_row_has_are_left_out() -> None:
    lsr, reg = check_of("9.lsr", "a", [69.0, 69.1]), check_of("9.reg", "a", [70.0, 70.1, 10.0])
    assert checked(BEATS, lsr, reg).parts[0].n == 2


def test_order_compares_each_with_the_one_before() -> None:
    claim = claim_of(order=("1.onehot", "1.lsd", "1.kd"))
    rows = [check_of(f"1.{name}", "a", []) for name in ("onehot", "lsd", "kd")]
    pairs = [(part.row, part.than) for part in checked(claim, *rows).parts]
    assert pairs == [("1.lsd/a", "1.onehot/a"), ("1.kd/a", "1.lsd/a")]


def test_improves_compares_with_the_baseline_of_the_same_seed() -> None:
    found = checked(claim_of(improves=("9.*",)), check_of("9.reg", "a", [68.5, 68.6, 68.4]))
    assert (found.outcome, found.parts[0].than) == (Outcome.HOLDS, "baseline")
    assert found.parts[0].measured == pytest.approx(0.5)


def test_margin_asks_for_more_than_better() -> None:
    checks = two_students([1.0, 1.1, 0.9], [1.0, 1.1, 0.9])
    assert checked(replace(BEATS, margin=0.5), *checks).outcome is Outcome.HOLDS
    assert checked(replace(BEATS, margin=2.0), *checks).outcome is Outcome.FAILS


def test_claim_on_rows_that_were_not_asked_for_is_left_out() -> None:
    checks = two_students([1.0, 1.1, 0.9], [1.0, 1.1, 0.9])
    suite = replace(make_suite(*(check.row for check in checks)), claims=(BEATS,))
    assert check_claims(suite, checks[:-1]) == []


@pytest.mark.parametrize(("reg", "borne_out"), [(70.88, True), (69.0, False), (None, None)])
def test_printed_numbers_bear_a_claim_out_or_not(reg: float | None, borne_out: bool | None) -> None:  # noqa: FBT001
    found = checked(BEATS, check_of("9.lsr", "a", [], 69.32), check_of("9.reg", "a", [], reg))
    assert found.printed is borne_out


@pytest.mark.parametrize("students", [1, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("truth", ["false", "true"])
def test_claim_is_decided_wrongly_in_at_most_one_case_in_twenty(students: int, truth: str) -> None:
    """At the edge: one student gains nothing and the others much (false), or all gain nothing (true)."""
    rng, wrong, rounds = np.random.default_rng(students), 0, 1000
    for _ in range(rounds):
        checks = []
        for number in range(students):
            gain = 2.0 if number and truth == "false" else 0.0
            values = rng.normal(70, 0.3, (2, 3))
            checks += [check_of("9.lsr", f"s{number}", values[0].tolist())]
            checks += [check_of("9.reg", f"s{number}", (values[1] + gain).tolist())]
        bad = Outcome.HOLDS if truth == "false" else Outcome.FAILS
        wrong += checked(BEATS, *checks).outcome is bad
    assert wrong / rounds <= 0.068  # 5 % and 2.6 standard errors of the drawing


def write(folder: Path, *lines: str) -> Path:
    """The small suite with a claim."""
    head = '[[claim]]\nid = "c"\nsays = "It is so"\nsection = "Sec. 1"'
    return write_suite(folder, "\n".join([SUITE, head, *lines]))


def test_claim_of_a_file_is_that_of_the_suite(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, 'order = ["1.base", "1.kd"]'))
    assert suite.claims == (claim_of(order=("1.base", "1.kd")),)


OVER = """
[[table]]
id = "1.kd"
loss = { name = "kd", alpha = 0.5, tau = 4 }
rows = [{ student = "digits_mlp", teacher = "digits_mlp", over = "1.kd/digits_mlp:digits_cnn" }]
"""


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "says nothing; give one of order, alike and improves"),
        (['improves = ["1.kd"]', 'order = ["1.base", "1.kd"]'], "says order and improves; give one"),
        (['improves = ["1.dk"]'], "unknown table or rows '1.dk'. Did you mean '1.kd'?"),
        (['improves = ["1.base"]'], "1.base/digits_mlp has no baseline to improve on"),
        (['improves = ["1.kd/*:digits_mlp"]', OVER], "gains over 1.kd/digits_mlp:digits_cnn; write order"),
        (['order = ["1.kd"]'], "order has two or more"),
        (['alike = ["1.base", "1.kd"]'], "alike needs a margin"),
        (['alike = ["1.kd"]', "margin = 1"], "alike compares two, not 1"),
        (['order = ["1.base/digits_cnn", "1.kd"]'], "have no student in common"),
        (['order = ["*", "1.kd"]'], "'*' has 2 rows of digits_mlp; name one of them"),
        (['better = ["1.kd"]'], "unknown key 'better'"),
        (['improves = ["1.kd"]', "margin = -1"], "margin = -1"),
    ],
)
def test_claim_that_is_wrong_is_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    found = "\n".join(problems_of(load_suite, write(tmp_path, *lines)))
    assert "claim 1 (c)" in found
    assert message in found


def test_all_mistakes_of_claims_are_said_at_once(tmp_path: Path) -> None:
    rerun = '[[claim]]\nid = "c"\nsays = "So"\nsection = "Sec. 2"\nimproves = ["9.x"]'
    assert len(problems_of(load_suite, write(tmp_path, 'order = ["1.kd"]', rerun))) == 3


SUITE_FILES = sorted(SUITES.glob("*.toml"))


@pytest.mark.parametrize("path", SUITE_FILES, ids=lambda path: path.stem)
def test_papers_own_numbers_bear_out_what_it_concludes(path: Path) -> None:
    suite = load_suite(path)
    bare = Verdict(word=Word.PENDING)
    found = check_claims(suite, [Check(row=row, ids=(), top1=bare, gain=bare) for row in suite.rows])
    assert [each.claim.id for each in found] == [claim.id for claim in suite.claims]
    assert [each.claim.id for each in found if each.printed is False] == []


def test_section_of_the_report_escapes_what_a_suite_says() -> None:
    claim = replace(BEATS, says="a | b <script>")
    text = "\n".join(claims_section([checked(claim, *two_students([1.0, 1.1, 0.9], [0.5, 0.4, 0.6]))]))
    assert r"a \| b \<script\>" in text
    assert "holds" in text


def test_comparison_across_recipes_is_said_to_be_one() -> None:
    slow = make_row("b", recipe=replace(RECIPE, lr=0.01)).recipe
    checks = two_students([1.0, 1.1, 0.9], [0.5, 0.4, 0.6])
    assert claim_lines([checked(BEATS, *checks)])[1:] == []
    checks[1] = replace(checks[1], row=replace(checks[1].row, recipe=slow))
    found = checked(BEATS, *checks)
    assert claim_lines([found])[1:] == ["  across recipes: 9.reg/a - 9.lsr/a: lr 0.01 against lr 0.1"]
    assert "(3), across recipes: lr 0.01 against lr 0.1; 9.reg/b" in "\n".join(claims_section([found]))


def test_gain_of_a_claim_over_a_baseline_of_another_recipe_says_so() -> None:
    check = replace(check_of("9.lsr", "a", RIGHT["a"]), recipes="lr 0.05 against lr 0.1")
    found = checked(claim_of(improves=("9.lsr",)), check)
    assert claim_lines([found])[1:] == ["  across recipes: 9.lsr/a - baseline: lr 0.05 against lr 0.1"]
