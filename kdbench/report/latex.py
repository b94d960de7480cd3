r"""The tables of a report for a paper: LaTeX with \usepackage{booktabs}, one table environment each."""

import re
from collections.abc import Iterable, Sequence

from kdbench.formatting import EMPTY, clean, signed
from kdbench.report.content import Report
from kdbench.report.sentences import gain_word, settings
from kdbench.report.words import measured, printed
from kdbench.spec.verdicts import Check

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    **{character: rf"\{character}" for character in "&%$#_{}"},
}
_ANY = re.compile("[" + re.escape("".join(_SPECIAL)) + "]")
_HEADS = (
    "Student",
    "Teacher",
    "printed",
    "measured",
    "difference",
    "verdict",
    "printed",
    "measured",
    "verdict",
)

_PREAMBLE = r"% The preamble needs \usepackage[T1]{fontenc} and \usepackage{booktabs}."


def latex(reports: Iterable[Report]) -> str:
    r"""Every table of the suites, to be \input; what the preamble needs stands on top."""
    tables = [_table(report, *table) for report in reports for table in report.tables.items()]
    return "\n".join([f"{_PREAMBLE}\n", *tables])


def _table(report: Report, table: str, checks: Sequence[Check]) -> str:
    about = f"{report.suite.paper}, {report.suite.dataset}, Table {table}, as {report.variant}."
    what = settings([check.row for check in checks])
    label = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{report.suite.name}-{table}")
    lines = [
        r"\begin{table}",
        r"  \centering\small",
        rf"  \caption{{{escape(about)} {escape(what)}}}",
        rf"  \label{{tab:{label}}}",
        r"  \begin{tabular}{llrrrlrrl}",
        r"    \toprule",
        r"    & & \multicolumn{4}{c}{Accuracy, \%} & \multicolumn{3}{c}{Gain, points} \\",
        r"    \cmidrule(lr){3-6} \cmidrule(lr){7-9}",
        f"    {' & '.join(_HEADS)} \\\\",
        r"    \midrule",
        *(f"    {' & '.join(_cells(check))} \\\\" for check in checks),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _cells(check: Check) -> list[str]:
    row, top1, gain = check.row, check.top1, check.gain
    return [
        escape(row.shown),
        escape(row.teacher or ""),
        _figure(printed(row)),
        _figure(measured(top1)),
        _figure(signed(top1.difference)),
        top1.word,
        _figure(signed(gain.printed)),
        _figure(measured(gain, sign=True)),
        _figure(gain_word(check)) if gain_word(check) == EMPTY else gain_word(check),
    ]


def _figure(text: str) -> str:
    r"""`$+0.12$`, `$75.98 \pm 0.18$ (5)`, or a dash."""
    if text == EMPTY:
        return "--"
    value, bracket, runs = text.partition(" (")
    return f"${value.replace('±', chr(92) + 'pm')}${bracket}{runs}"


def escape(text: object) -> str:
    """Plain text as LaTeX that shows exactly it."""
    return _ANY.sub(lambda found: _SPECIAL[found[0]], clean(text))
