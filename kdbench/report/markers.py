"""A summary inside another text, between two markers: the table in a README."""

import re

from kdbench.errors import UserError

BEGIN, END = "<!-- kdbench: begin -->", "<!-- kdbench: end -->"
_BETWEEN = re.compile(f"{re.escape(BEGIN)}(\r?\n).*?{re.escape(END)}", re.DOTALL)


def put_between(text: str, summary: str, where: str) -> str:
    """The text with the summary in place of what stood between its markers, in lines that end as theirs.

    Raises:
        UserError: the text has no markers, or several pairs.
    """
    found = len(_BETWEEN.findall(text))
    if found != 1:
        raise UserError(f"{where}: has {found} pairs of the lines {BEGIN} and {END}; it must have one")
    return _BETWEEN.sub(lambda there: f"{BEGIN}\n{summary}{END}".replace("\n", there[1]), text)
