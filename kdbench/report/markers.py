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
    found = (text.count(BEGIN), text.count(END))
    if found != (1, 1) or not _BETWEEN.search(text):
        raise UserError(
            f"{where}: has {found[0]} lines {BEGIN} and {found[1]} lines {END}; it must have one of each, in "
            f"this order"
        )
    return _BETWEEN.sub(lambda there: f"{BEGIN}\n{summary}{END}".replace("\n", there[1]), text)
