"""Reading TOML that a person wrote: one clear error instead of a traceback."""

from pathlib import Path
from typing import Any

import tomli

from kdbench.errors import UserError

LARGEST_FILE = 10_000_000
"""Bytes; a suite of 10,000 rows has about a million."""


def parse(file: Path) -> dict[str, Any]:
    """The TOML of a file, as it stands.

    Raises:
        UserError: unreadable, too large, or not TOML (with line and column).
    """
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise UserError(f"{file}: larger than {LARGEST_FILE:,} bytes; split it")
        return tomli.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text: {error}") from error
    except ValueError as error:  # tomli.TOMLDecodeError, or a number of thousands of digits
        raise UserError(f"{file}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise UserError(f"{file}: not valid TOML: nested too deep") from error
