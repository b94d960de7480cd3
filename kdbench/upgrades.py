"""Results of older schemas: what each version of their JSON needs to become the next one.

Who raises `spec.RESULT_SCHEMA` from k to k + 1 adds `UPGRADES[k]`, a function from the JSON's content to that
of the next schema, and keeps a result of schema k in tests/faults/schemas/ for the test that reads it. An
upgrade never touches the run, whose hash is the result's id.
"""

from collections.abc import Callable
from typing import Any

Content = dict[str, Any]
UPGRADES: dict[int, Callable[[Content], Content]] = {}
"""By the schema that is upgraded. Schema 1 is the first that was ever written."""
