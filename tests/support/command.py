"""What a command line gave: its exit code and what it printed."""

import json
from collections.abc import Callable
from typing import Any

from msgspec import Struct


class Outcome(Struct):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever it printed
        """Standard output, parsed."""
        return json.loads(self.out)


Command = Callable[..., Outcome]
