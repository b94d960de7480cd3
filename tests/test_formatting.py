"""Tables for a terminal: those that are written without tabulate are the same."""

from hypothesis import given
from hypothesis import strategies as st
from tabulate import tabulate

from kdbench.formatting import columns, plural, spans

CELLS = st.one_of(
    st.text(alphabet=" ab|-1.%\\é漢", max_size=6), st.integers(), st.floats(), st.none(), st.booleans()
)


def tables(width: int) -> st.SearchStrategy[tuple[list[list[object]], list[str]]]:
    """Rows of so many cells, with or without heads."""
    rows = st.lists(st.lists(CELLS, min_size=width, max_size=width), max_size=4)
    heads = st.lists(st.text(alphabet="ab é", max_size=5), min_size=width, max_size=width)
    return st.tuples(rows, st.just([]) | heads)


@given(st.integers(1, 4).flatmap(tables))
def test_table_is_that_of_tabulate(table: tuple[list[list[object]], list[str]]) -> None:
    rows, heads = table
    assert columns(rows, heads) == tabulate(rows, headers=heads, tablefmt="plain", disable_numparse=True)


def test_whole_numbers_that_follow_each_other_are_joined() -> None:
    assert spans([5, 2, 0, 1, 8, 7]) == "0-2,5,7-8"
    assert spans([0, 1, 2, 5, 7, 8], " to ", ", ") == "0 to 2, 5, 7 to 8"
    assert spans([]) == ""


def test_counts_have_their_plural_and_their_thousands() -> None:
    counted = [(1, "run"), (0, "run"), (1760, "run"), (2, "weights")]
    assert [plural(*each) for each in counted] == ["1 run", "0 runs", "1,760 runs", "2 weights"]
