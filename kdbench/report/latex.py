r"""The tables of a report for a paper: LaTeX with \usepackage{booktabs}, one table environment each."""

import re
from collections.abc import Iterable, Sequence

from kdbench.formatting import EMPTY
from kdbench.formatting import escape_latex as escape
from kdbench.report.content import Report
from kdbench.report.methods import latex_tables, side_by_side
from kdbench.report.sentences import BARE_LEGEND, altered, settings, who_by_setting
from kdbench.report.words import accuracy, gain
from kdbench.spec.verdicts import Check

_VALUE = re.compile(r"[-+]?[\d.]+(?: ± [\d.]+)?")
"""`+2.85 ± 0.56`, at the beginning of a cell."""
_HEAD = (
    r"  \begin{tabular}{llrrrlrrl}",
    r"    \toprule",
    r"    & & \multicolumn{4}{c}{Accuracy, \%} & \multicolumn{3}{c}{Gain, points} \\",
    r"    \cmidrule(lr){3-6} \cmidrule(lr){7-9}",
    r"    Student & Teacher & printed & measured & difference & verdict & printed & measured & verdict \\",
)
_BARE_HEAD = (
    r"  \begin{tabular}{llrr}",
    r"    \toprule",
    r"    Student & Teacher & Accuracy, \% & Gain, points \\",
)
"""Of a suite of which nothing is printed."""
_PREAMBLE = (
    r"% The preamble needs \usepackage[T1]{fontenc} and \usepackage{booktabs}; "
    r"tables of methods \usepackage{graphicx} too."
)


def latex(reports: Iterable[Report]) -> str:
    r"""Every table of the suites, to be \input; what the preamble needs stands on top."""
    tables: list[str] = []
    for report in reports:
        if report.is_bare:
            tables += latex_tables(side_by_side(report))
        fields = report.recipe_fields
        tables += [_table(report, table, checks, fields) for table, checks in report.tables.items()]
    return "\n".join([f"{_PREAMBLE}\n", *tables])


def _table(report: Report, table: str, checks: Sequence[Check], fields: Sequence[str]) -> str:
    trial = altered(report.altered)
    about = f"{report.suite.paper}, {report.suite.dataset}, Table {table}, as {report.variant}."
    rows = [check.row for check in checks]
    what, names = settings(rows, fields), who_by_setting(rows)
    legend = " ".join(BARE_LEGEND.split()) if report.is_bare else ""
    label = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{report.suite.name}-{table}")
    lines = [
        *([f"% {escape(trial)}"] if trial else []),
        r"\begin{table}",
        r"  \centering\small",
        rf"  \caption{{{escape(' '.join(filter(None, [trial, about, what, legend])))}}}",
        rf"  \label{{tab:{label}}}",
        *(_BARE_HEAD if report.is_bare else [line.replace("printed", report.against) for line in _HEAD]),
        r"    \midrule",
        *(f"    {' & '.join(_cells(report, check, names[check.row.name]))} \\\\" for check in checks),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _cells(report: Report, check: Check, student: str) -> list[str]:
    top1, over = accuracy(check), gain(check)
    shown = (top1.measured, over.measured) if report.is_bare else (*top1, *over)
    return [escape(student), escape(check.row.teacher or ""), *map(_figure, shown)]


def _figure(text: str) -> str:
    r"""`$+0.12$`, `$75.98 \pm 0.18$ (5)`, `$+0.85$ over kd`, a verdict as it is, or a dash."""
    if text == EMPTY:
        return "--"
    value = _VALUE.match(text)
    if value is None:
        return text
    # The number is mathematics, so that its sign is a minus; the count behind it and `over kd` are text.
    number = value[0].replace("±", r"\pm")
    return f"${number}$ {escape(text[value.end() :])}".rstrip()
