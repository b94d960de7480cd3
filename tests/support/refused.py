"""What a call says when it refuses its input."""

from collections.abc import Callable
from typing import Any

import pytest

from kdbench.errors import UserError


def problems_of(call: Callable[..., object], *given: Any, **options: Any) -> tuple[str, ...]:  # noqa: ANN401 - the call's
    """The sentences of the UserError that a call must raise, one for each mistake."""
    with pytest.raises(UserError) as caught:
        call(*given, **options)
    return tuple(caught.value.problems)
