"""A section of a report in Markdown whose content is a table."""

from collections.abc import Iterable, Iterator, Sequence

from kdbench.formatting import escape, table


def table_section(
    title: str,
    legend: str,
    heads: Sequence[str],
    body: Iterable[Sequence[str]],
    sides: str,
    notes: Iterable[str],
) -> Iterator[str]:
    """The blocks of a section: heading, legend, table, a list of notes; nothing where the table is empty.

    Args:
        title: plain text, as `notes`.
        legend: Markdown.
        heads: of the columns.
        body: the cells of each line, plain text.
        sides: `l` or `r` for each column.
        notes: what stands below the table.
    """
    lines = list(body)
    if lines:
        yield f"## {title}"
        yield legend
        yield table("pipe", heads, lines, sides)
        yield "\n".join(f"- {escape(note)}" for note in notes)
