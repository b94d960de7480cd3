"""How numbers, texts and tables are written: on a terminal, in Markdown and in LaTeX."""

import codecs
import re
import sys
from collections.abc import Iterable, Sequence
from io import TextIOWrapper
from itertools import chain
from typing import Literal
from unicodedata import name, normalize


def columns(rows: Sequence[Sequence[object]], heads: Sequence[str]) -> str:
    """A table for a terminal, as tabulate's plain one.

    tabulate itself takes a bare interpreter's time to import: it is left to text that is wider than long.
    """
    table = [list(map(_cell, row)) for row in rows]
    lines = [list(heads), *table] if heads else table
    narrow = all(text.isascii() and text.isprintable() for text in chain.from_iterable(lines))
    if not narrow or not table or len({*map(len, lines)}) > 1:
        from tabulate import tabulate

        return str(tabulate(rows, headers=heads, tablefmt="plain", disable_numparse=True))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    if heads:
        widths = [max(width, len(head) + 2) for width, head in zip(widths, heads, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _cell(value: object) -> str:
    return "" if value is None else str(value).strip()


EMPTY = "-"
"""What stands where there is no number."""

_SPECIAL = re.compile(r"([\\`*\[\]<>|~$&#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_IN_LATEX = {
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
_ANY_IN_LATEX = re.compile("[" + re.escape("".join(_IN_LATEX)) + "]")
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_LONE = re.compile("[\ud800-\udfff]")


def clean(text: object) -> str:
    """Text on one line, of characters that can be seen: what any format may hold, once it has escaped it.

    Colours of a terminal go, and so do control characters (most of which XML forbids) and those that
    turn the direction of writing. Half a surrogate pair, which no file can hold, becomes U+FFFD.
    """
    seen = _UNSEEN.sub("", _TERMINAL.sub("", str(text)))
    return _LONE.sub("\ufffd", " ".join(seen.split()))


def escape(text: object) -> str:
    """Plain text as Markdown that shows exactly it, on one line and inside a table."""
    return _SPECIAL.sub(r"\\\1", clean(text))


def escape_latex(text: object) -> str:
    """Plain text as LaTeX that shows exactly it."""
    return _ANY_IN_LATEX.sub(lambda found: _IN_LATEX[found[0]], clean(text))


_SIDES = {"l": "left", "r": "right"}


def table(
    kind: Literal["pipe", "simple"], heads: Sequence[str], lines: Iterable[Sequence[object]], sides: str = ""
) -> str:
    """A table that no text in it breaks: of Markdown (`pipe`), or of a terminal (`simple`).

    Args:
        kind: as tabulate calls it.
        heads: as they stand.
        lines: plain texts and numbers.
        sides: of the columns, a letter each: `llr` has the third one right-aligned; "": left.
    """
    from tabulate import tabulate

    shown = escape if kind == "pipe" else clean
    cells = [list(map(shown, line)) for line in lines]
    align = [_SIDES[side] for side in sides] or None
    return str(tabulate(cells, heads, tablefmt=kind, colalign=align, disable_numparse=True))


def plus_minus(interval: tuple[float, float] | None) -> str:
    """` ± 0.30`, half of an interval, to stand behind its middle; "" without one."""
    return "" if interval is None else f" ± {(interval[1] - interval[0]) / 2:.2f}"


def and_more(names: Sequence[str]) -> str:
    """`a and 2 more`: the first of at least one name, and how many others there are."""
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def number(value: float | None) -> str:
    """`76.32`, in percent or percentage points."""
    return EMPTY if value is None else f"{value:z.2f}"


def signed(value: float | None) -> str:
    """`+0.12`, `-0.30`: a difference or a gain, in percentage points."""
    return EMPTY if value is None else f"{value:+z.2f}"


def plural(count: int, one: str) -> str:
    """`1 seed`, `3 seeds`, `1,760 runs`; a word that ends in s, `weights`, stays as it is."""
    return f"{count:,} {one}" if count == 1 or one.endswith("s") else f"{count:,} {one}s"


def spans(numbers: Iterable[int], to: str = "-", comma: str = ",") -> str:
    """`0-2,5`: whole numbers as `--seeds` takes them; with other words between them `0 to 2, 5`."""
    found: list[list[int]] = []
    for each in sorted(numbers):
        if found and each == found[-1][-1] + 1:
            found[-1].append(each)
        else:
            found.append([each])
    return comma.join(str(one[0]) if len(one) == 1 else f"{one[0]}{to}{one[-1]}" for one in found)


_SPELLED = {
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "±": "+-",
    "×": "x",
    "·": "*",
    "‖": "||",
    "−": "-",
    "…": "...",
    "•": "*",
    "–": "-",
    "—": "-",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "λ": "lambda",
}


def spell_unencodable(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler for `codecs`: what is written for characters that an encoding lacks.

    A terminal of ISO-8859-1 gets `alpha` for α, `->` for an arrow, the letter for a letter with an accent,
    and its number, as U+2603 is written in Python, for what has no such spelling.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_spelled, error.object[error.start : error.end])), error.end


def _spelled(sign: str) -> str:
    """A sign that a terminal cannot show, in ASCII: `α` is `alpha`, `é` is `e`, any other its code."""
    if sign in _SPELLED:
        return _SPELLED[sign]
    match name(sign, "").split():
        case ["GREEK", "SMALL", "LETTER", letter]:
            return letter.lower()
        case ["GREEK", "CAPITAL", "LETTER", letter]:
            return letter.capitalize()
    plain = normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return plain or sign.encode("ascii", "backslashreplace").decode()


def spell_on_terminal() -> None:
    """Let no character that standard output or standard error cannot encode end a command."""
    codecs.register_error("spell", spell_unencodable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="spell")
