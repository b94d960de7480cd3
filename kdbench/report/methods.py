"""Methods side by side, as text for a terminal, Markdown, LaTeX, a page and JSON."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from tabulate import tabulate

from kdbench.formatting import EMPTY, clean, escape, escape_latex, number, plural, plus_minus, signed
from kdbench.formatting import table as draw_table
from kdbench.report.content import Report
from kdbench.spec.suites import Suite, Variant
from kdbench.verdict.methods import (
    Comparison,
    MethodTable,
    Number,
    Pair,
    Ranking,
    compare_methods,
    rank,
    tables,
)
from kdbench.version import __version__

C = TypeVar("C")
TITLES = {
    "our runs": "Our runs",
    "author runs": "Author runs",
    "printed": "Printed numbers",
    "references": "kdbench's own references",
}
HEADS = ("method", "against", "pairs", "better on", "by its seeds", "difference", "p")
COMPARISON_SIDES = "llrrrrr"
NOTE = """\
Difference: the mean over the pairs, with half the 90 % interval over them (over the seeds of a single pair).
By its seeds: on how many pairs it is better, and worse, by paired tests at 5 %, Holm's for the pairs of the
line, one-sided in each direction. p: two-sided, Wilcoxon's signed-rank test over the pairs, which takes six
pairs to be below 5 % (the paired t test over the seeds of a single pair), Holm's for the lines of the
table."""
PREAMBLE = r"% The preamble needs \usepackage[T1]{fontenc}, \usepackage{booktabs} and \usepackage{graphicx}."


class MethodsReport(Struct, frozen=True, kw_only=True):
    """The tables of one suite, with the ranks and comparisons of each."""

    suite: Suite
    variant: Variant
    tables: Sequence[MethodTable]
    rankings: Sequence[Ranking | None]
    """In the order of the tables; None where there are too few methods or pairs."""
    comparisons: Sequence[Sequence[Comparison]]
    altered: str = ""
    """The options that make its runs others than the suite's."""

    def parts(self) -> Iterator[tuple[MethodTable, Ranking | None, Sequence[Comparison]]]:
        """Each table with what belongs to it."""
        return zip(self.tables, self.rankings, self.comparisons, strict=True)


def side_by_side(report: Report, against: str = "", kinds: Collection[str] = ()) -> MethodsReport:
    """The methods of a report's rows, beside each other.

    Args:
        report: of the rows.
        against: the method over which gains are shown; "": KD, else the student alone.
        kinds: of evidence; left out: each that there is.

    Raises:
        UserError: there is no such method.
    """
    found = tables(report.suite, report.checks, against)
    found = [table for table in found if not kinds or table.evidence in kinds]
    return MethodsReport(
        suite=report.suite,
        variant=report.variant,
        tables=found,
        rankings=[rank(table) for table in found],
        comparisons=[compare_methods(table) for table in found],
        altered=report.altered,
    )


def as_text(reports: Sequence[MethodsReport], width: int = 0) -> str:
    """For a terminal: a wider table is printed in pieces, a longer sentence in lines (width 0: neither)."""
    blocks: list[str] = []
    for report in reports:
        blocks += [_filled(_subject(report), width)]
        for table, ranking, comparisons in report.parts():
            blocks.append(_title(table))
            for pairs in _pieces(table, ranking, width):
                heads = ["method", *map(_two_lines, pairs), *_rank_head(ranking)]
                lines = _lines(_plain, table, ranking, pairs)
                body = [[name, *cells, *ranks] for name, cells, ranks in lines]
                blocks.append(draw_table("simple", heads, body, "l" + "r" * (len(heads) - 1)))
            sentences = _sentences(table, ranking, "*: the best of its pair")
            blocks += [_filled(sentence, width) for sentence in sentences]
            if comparisons:
                blocks += _comparison_tables(comparisons, width)
                blocks.append(_filled(" ".join(NOTE.split()), width) if width else NOTE)
    return "\n\n".join(filter(None, blocks)) + "\n"


def as_markdown(reports: Sequence[MethodsReport]) -> str:
    """A section for each kind of evidence."""
    blocks: list[str] = []
    for report in reports:
        blocks += [f"# Methods of {escape(report.suite.paper)}", escape(_subject(report))]
        blocks += markdown_sections(report)
    return "\n\n".join(blocks) + "\n"


def markdown_sections(report: MethodsReport) -> Iterator[str]:
    """The blocks of each kind of evidence: heading, table, sentences, comparisons."""
    for table, ranking, comparisons in report.parts():
        heads = ["method", *map(escape, table.pairs), *_rank_head(ranking)]
        lines = _lines(_bold, table, ranking, table.pairs)
        body = [[escape(name), *cells, *ranks] for name, cells, ranks in lines]
        yield f"## {_title(table)}"
        align = ["left", *["right"] * (len(heads) - 1)]
        yield tabulate(body, heads, tablefmt="pipe", colalign=align, disable_numparse=True)
        yield from map(escape, _sentences(table, ranking, "Bold: the best of its pair"))
        if comparisons:
            yield draw_table("pipe", HEADS, map(_comparison_line, comparisons), COMPARISON_SIDES)
            yield NOTE


def as_latex(reports: Sequence[MethodsReport]) -> str:
    r"""Tables of booktabs, to be \input, as wide as the text."""
    tables = [table for report in reports for table in latex_tables(report)]
    return "\n".join([f"{PREAMBLE}\n", *tables])


def latex_tables(report: MethodsReport) -> Iterator[str]:
    """A table for each kind of evidence, without what the preamble needs."""
    for table, ranking, _ in report.parts():
        yield "\n".join(_latex_table(report, table, ranking)) + "\n"


def _latex_table(report: MethodsReport, table: MethodTable, ranking: Ranking | None) -> Iterator[str]:
    teachers = [escape_latex(pair.teacher or EMPTY) for pair in table.pairs]
    students = [escape_latex(pair.student) for pair in table.pairs]
    about = [f"{report.suite.paper}, {_subject(report)}. {_title(table)}."]
    about += _sentences(table, ranking, "Bold: the best of its pair")
    yield r"\begin{table*}"
    yield r"  \centering\small"
    yield rf"  \caption{{{escape_latex(' '.join(about))}}}"
    yield rf"  \label{{tab:{report.suite.name}-{table.evidence.replace(' ', '-')}-methods}}"
    yield r"  \resizebox{\textwidth}{!}{%"
    yield rf"  \begin{{tabular}}{{l{'c' * len(table.pairs)}{'r' if ranking else ''}}}"
    yield r"    \toprule"
    yield f"    {' & '.join(['Teacher', *teachers, *_rank_head(ranking)])} \\\\"
    yield f"    {' & '.join(['Student', *students, *([''] if ranking else [])])} \\\\"
    yield r"    \midrule"
    for name, cells, ranks in _lines(_latex_cell, table, ranking, table.pairs):
        yield f"    {' & '.join([escape_latex(name), *cells, *ranks])} \\\\"
        if name == TEACHER:
            yield r"    \midrule"
    yield r"    \bottomrule"
    yield r"  \end{tabular}}"
    yield r"\end{table*}"


def _latex_cell(table: MethodTable, name: str, pair: Pair) -> str:
    found, best, gain = _cell(table, name, pair)
    if found is None:
        return "--"
    value = rf"\mathbf{{{number(found.mean)}}}" if best else number(found.mean)
    std = "" if found.std is None else rf" \pm {found.std:.2f}"
    over = "" if gain is None else rf" {{\scriptsize$({signed(gain)})$}}"
    return f"${value}{std}${over}"


def page_parts(report: MethodsReport) -> Iterator[dict[str, Any]]:
    """What the template shows of each kind of evidence."""
    from markupsafe import Markup

    from kdbench.report.ranks import draw_ranks

    for table, ranking, comparisons in report.parts():
        picture = draw_ranks(ranking, "", "svg") if ranking else b""
        yield {
            "suite": report.suite,
            "subject": _subject(report),
            "title": _title(table),
            "table": table,
            "ranked": ranking is not None,
            "body": list(_lines(_cell, table, ranking, table.pairs)),
            "sentences": _sentences(table, ranking, "Bold: the best of its pair"),
            "comparisons": list(map(_comparison_line, comparisons)),
            "picture": Markup(picture.decode().partition("?>")[2]),  # noqa: S704 - matplotlib's own
        }


def as_json(reports: Sequence[MethodsReport]) -> str:
    """All numbers, for programs."""
    whole = {"kdbench": __version__, "suites": [_content(report) for report in reports]}
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode() + "\n"


def _content(report: MethodsReport) -> dict[str, Any]:
    found = []
    for table, ranking, comparisons in report.parts():
        cells = [
            {"method": name, "student": pair.student, "teacher": pair.teacher, "number": each}
            for name, by_pair in table.cells.items()
            for pair, each in by_pair.items()
        ]
        found.append(
            {
                "evidence": table.evidence,
                "against": table.against,
                "cells": cells,
                "ranking": ranking,
                "comparisons": comparisons,
            }
        )
    return {"suite": report.suite.name, "variant": report.variant, "tables": found, "trial": report.altered}


def _subject(report: MethodsReport) -> str:
    trial = f"trial ({report.altered}), " if report.altered else ""
    return f"{trial}suite {report.suite.name}, data set {report.suite.dataset}, as {report.variant}"


def _title(table: MethodTable) -> str:
    counts = f"{plural(len(table.cells), 'method')}, {plural(len(table.pairs), 'pair')}"
    return f"{TITLES[table.evidence]}: {counts}"


TEACHER = "teacher alone"


def _names(table: MethodTable) -> list[str]:
    """What the lines of a table are called: the teachers first, as papers have them."""
    return [*([TEACHER] if table.teachers else []), *table.cells]


def _lines(
    write: Callable[[MethodTable, str, Pair], C],
    table: MethodTable,
    ranking: Ranking | None,
    pairs: Sequence[Pair],
) -> Iterator[tuple[str, list[C], list[str]]]:
    """Each line of a table: its name, its cells of these pairs as `write` gives them, its rank or nothing."""
    for name in _names(table):
        ranks = [number(ranking.ranks.get(name))] if ranking else []
        yield name, [write(table, name, pair) for pair in pairs], ranks


def _cell(table: MethodTable, name: str, pair: Pair) -> tuple[Number | None, bool, float | None]:
    """A number, whether it is the best of its pair, and what it gains."""
    if name == TEACHER:
        return table.teachers.get(pair), False, None
    found = table.cells[name].get(pair)
    return found, name in table.best(pair), table.gain(name, pair)


def _text(found: Number, gain: float | None) -> str:
    """`75.48 ± 0.21 (+1.23)`."""
    std = "" if found.std is None else f" ± {found.std:.2f}"
    return f"{number(found.mean)}{std}" + ("" if gain is None else f" ({signed(gain)})")


def _plain(table: MethodTable, name: str, pair: Pair) -> str:
    found, best, gain = _cell(table, name, pair)
    return EMPTY if found is None else _text(found, gain) + ("*" if best else " ")


def _bold(table: MethodTable, name: str, pair: Pair) -> str:
    found, best, gain = _cell(table, name, pair)
    if found is None:
        return EMPTY
    value, space, rest = _text(found, gain).partition(" ")
    return f"**{value}**{space}{rest}" if best else f"{value}{space}{rest}"


def _two_lines(pair: Pair) -> str:
    return clean(pair.student) + (f"\nfrom {clean(pair.teacher)}" if pair.teacher else "")


def _pieces(table: MethodTable, ranking: Ranking | None, width: int) -> Iterator[tuple[Pair, ...]]:
    """So many columns at a time as a terminal of this width has room for, at least one."""
    # Of each piece the width of the names and, beside them, of the ranks is taken: both are repeated.
    names = max(len("method  "), *map(len, _names(table)))
    room = width - names - (8 if ranking else 0)
    left, piece = room, list[Pair]()
    for pair in table.pairs:
        heads = max(map(len, _two_lines(pair).splitlines()))
        cells = max(len(_plain(table, name, pair)) for name in _names(table))
        wide = max(heads + 2, cells) + 2  # tabulate leaves two characters beside a head
        if width and piece and wide > left:
            yield tuple(piece)
            left, piece = room, []
        piece.append(pair)
        left -= wide
    yield tuple(piece)


def _rank_head(ranking: Ranking | None) -> list[str]:
    return ["rank"] if ranking else []


def _sentences(table: MethodTable, ranking: Ranking | None, best: str) -> list[str]:
    """How a table is read, and what its ranks say."""
    gain = f"; in brackets the gain over {table.against}" if table.against else ""
    paired = ", paired by seed" if table.against and table.evidence in ("our runs", "author runs") else ""
    numbers = [each for cells in table.cells.values() for each in cells.values()]
    # `of 3 runs`, `of 3 to 10 runs`: the std of a cell is one of so many.
    runs = sorted({each.n for each in numbers if each.n})
    ends = " to ".join(dict.fromkeys(map(str, (runs[0], runs[-1])))) if runs else ""
    cell = f"mean ± std (no interval), of {ends} runs" if runs else "mean ± std (no interval)"
    if ends == "1":  # no cell has a std
        cell = "of one run"
    found = [f"Accuracy in percent, {cell}{gain}{paired}. {best}."]
    if table.recipes:
        recipes = "; ".join(f"{name}: {recipe}" for name, recipe in table.recipes.items())
        found.append(f"These are trained by other recipes: {recipes}.")
    if ranking is None:
        return [*found, "No ranks: they take three methods that have a number for each of two pairs or more."]
    found.append(
        f"Ranks are means over {ranking.pairs} pairs, 1 is the best. Friedman's test that the methods do "
        f"not differ: p = {ranking.p:.2g}. Nemenyi's: two differ at {100 * ranking.level:g} % where ranks "
        f"are more than {ranking.critical:.2f} apart. Pairs that share a network count as independent."
    )
    groups = "; ".join(map(", ".join, ranking.groups)) or "none"
    found.append(f"Not told apart: {groups}.")
    if ranking.left_out:
        found.append(f"Without a rank, as they lack a pair: {', '.join(ranking.left_out)}.")
    return found


def _filled(text: str, width: int) -> str:
    """Text in lines of at most so many characters (0: in one)."""
    return fill(text, width, break_on_hyphens=False) if width else text


def _comparison_tables(comparisons: Sequence[Comparison], width: int) -> Iterator[str]:
    """The comparisons for a terminal: so many columns at a time as fit, the methods before them."""
    lines = [_comparison_line(each) for each in comparisons]
    columns = list(zip(HEADS, *lines, strict=True))
    # tabulate leaves two characters between columns, and beside a head.
    wide = [max(len(head) + 2, *map(len, cells)) + 2 for head, *cells in columns]
    pieces, left = [[0]], width - wide[0]
    for column in range(1, len(HEADS)):
        if width and wide[column] > left and pieces[-1] != [0]:
            pieces.append([0])
            left = width - wide[0]
        pieces[-1].append(column)
        left -= wide[column]
    for piece in pieces:
        heads = [HEADS[column] for column in piece]
        body = zip(*(columns[column][1:] for column in piece), strict=True)
        yield draw_table("simple", heads, body, "".join(COMPARISON_SIDES[column] for column in piece))


def _comparison_line(found: Comparison) -> tuple[str, ...]:
    by_seeds = f"{found.better_by_seeds} better, {found.worse_by_seeds} worse" if found.by_seeds else EMPTY
    return (
        *(found.method, found.against, str(found.pairs), f"{found.better} of {found.pairs}", by_seeds),
        f"{signed(found.difference)}{plus_minus(found.interval)}",
        EMPTY if found.p_adjusted is None else f"{found.p_adjusted:.2g}",
    )


WRITERS: Mapping[str, Any] = {"text": as_text, "markdown": as_markdown, "latex": as_latex, "json": as_json}
