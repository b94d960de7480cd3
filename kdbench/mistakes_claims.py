"""What is wrong with a suite's claims: no rows, two rows of one student, no student in common."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from kdbench.catalog import unknown
from kdbench.claim import Claim
from kdbench.claims import named
from kdbench.schema import Place
from kdbench.spec import Row, Suite


def find_claim_mistakes(suite: Suite, place: Place) -> None:
    """Say each mistake once. Nothing is said of a suite some of whose rows could not be read."""
    for name, times in Counter(claim.id for claim in suite.claims).items():
        if times > 1:
            place.say(f"claim {name} stands {times} times")
    for number, claim in enumerate(suite.claims, 1):
        here = place.at(f"claim {number} ({claim.id})")
        said = len(place.problems)
        for problem in _form_mistakes(claim):
            here.say(problem)
        if not place.doubts and len(place.problems) == said:
            for problem in _row_mistakes(claim, suite):
                here.say(problem)


def _form_mistakes(claim: Claim) -> Iterator[str]:
    forms = {"order": claim.order, "alike": claim.alike, "improves": claim.improves}
    given = [form for form, entries in forms.items() if entries]
    if len(given) != 1:
        yield f"says {' and '.join(given) or 'nothing'}; give one of order, alike and improves"
    elif claim.alike and not claim.margin:
        yield "alike needs a margin: within how many points are two alike?"
    elif claim.order and len(claim.order) < 2:
        yield "order has two or more, from the worst to the best"
    elif claim.alike and len(claim.alike) != 2:
        yield f"alike compares two, not {len(claim.alike)}"


def _row_mistakes(claim: Claim, suite: Suite) -> Iterator[str]:
    tables = list(dict.fromkeys(row.table for row in suite.rows))
    entries = claim.order or claim.alike or claim.improves
    rows = {entry: named(suite.rows, entry) for entry in entries}
    for entry, found in rows.items():
        if not found:
            yield unknown("table or rows", entry, tables)
        if not claim.improves:
            for student, times in Counter(row.student for row in found).items():
                if times > 1:
                    cure = "name one of them, as TABLE/STUDENT:TEACHER"
                    yield f"{entry!r} has {times} rows of {student}; {cure}"
    for row in (row for entry in claim.improves for row in rows[entry]):
        yield from _baseline_mistakes(row, suite)
    for worse, better in pairwise(claim.order or claim.alike):
        shared = {row.student for row in rows[worse]} & {row.student for row in rows[better]}
        if rows[worse] and rows[better] and not shared:
            yield f"{worse!r} and {better!r} have no student in common"


def _baseline_mistakes(row: Row, suite: Suite) -> Iterator[str]:
    """Why a row cannot improve on its student's baseline."""
    if row.over:
        yield f"{row.name} gains over {row.over}; write order = [...] to compare the two"
    elif row.is_baseline or row.student not in {each.student for each in suite.rows if each.is_baseline}:
        yield f"{row.name} has no baseline to improve on"
