"""Where things lie in this repository."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository."""
SUITES = ROOT / "suites"
GOLDEN = ROOT / "tests" / "golden"
"""Facts that were measured on authors' code."""
