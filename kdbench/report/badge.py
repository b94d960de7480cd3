"""The report as a badge, `41 of 48 reproduced`: a picture, or the JSON that shields.io's endpoint reads."""

from collections.abc import Sequence

import msgspec

from kdbench.report.content import Report
from kdbench.spec.verdicts import Word
from kdbench.verdict.check import BAD, to_train

LABEL = "kdbench"
_COLOURS = {"brightgreen": "#2c8a4b", "green": "#4f8a10", "orange": "#b8560f", "lightgrey": "#6c7380"}
"""The names that shields.io knows, and what is drawn for them here: white text on each is well readable."""
_CHARACTER, _PADDING = 6.7, 10
"""Pixels: the mean width of a character at 11 px, and what is left free at either end."""


def endpoint(reports: Sequence[Report]) -> str:
    """JSON for https://img.shields.io/endpoint?url=..."""
    message, colour = _message(reports)
    badge = {"schemaVersion": 1, "label": LABEL, "message": message, "color": colour}
    return msgspec.json.format(msgspec.json.encode(badge), indent=2).decode() + "\n"


def svg(reports: Sequence[Report]) -> str:
    """A small picture of the same, without a server."""
    return draw(*_message(reports))


def draw(message: str, colour: str) -> str:
    """A badge with a message of plain words, in a colour of those that shields.io knows."""
    left, right = (round(len(text) * _CHARACTER) + 2 * _PADDING for text in (LABEL, message))
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img">
  <title>{LABEL}: {message}</title>
  <clipPath id="r"><rect width="{left + right}" height="20" rx="3"/></clipPath>
  <g clip-path="url(#r)">
    <rect width="{left}" height="20" fill="#444b55"/>
    <rect x="{left}" width="{right}" height="20" fill="{_COLOURS[colour]}"/>
  </g>
  <g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">
    <text x="{left / 2:g}" y="14" textLength="{left - 2 * _PADDING}">{LABEL}</text>
    <text x="{left + right / 2:g}" y="14" textLength="{right - 2 * _PADDING}">{message}</text>
  </g>
</svg>
"""


def _message(reports: Sequence[Report]) -> tuple[str, str]:
    """What the badge says of the printed accuracies, and its colour: orange where the exit code is 1."""
    if any(report.altered for report in reports):
        return "trial, no verdicts", "lightgrey"
    checks = to_train(check for report in reports for check in report.checks)
    words = [check.top1.word for check in checks if check.top1.printed is not None]
    reproduced = words.count(Word.REPRODUCED)
    bad = sum(check.top1.word in BAD or check.gain.word in BAD for check in checks)
    message = f"{reproduced} of {len(words)} reproduced" if words else "nothing printed"
    if bad:
        return f"{message}, {bad} off", "orange"
    if not words or set(words) == {Word.PENDING}:
        return message, "lightgrey"
    return message, "brightgreen" if reproduced == len(words) else "green"
