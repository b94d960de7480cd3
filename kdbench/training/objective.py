"""A loss's name and parameters -> the function that is called; one of another package is held to its word."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from kdbench import catalog
from kdbench.errors import DivergedError, UserError
from kdbench.plugins import described
from kdbench.spec.runs import Loss
from kdbench.training import memory


def loss_function(loss: Loss) -> Callable[..., Tensor]:
    """A loss with its parameters in place.

    Raises:
        LookupError: there is no such loss.
    """
    function = partial(catalog.code_of("losses", loss.name), **loss.params)
    package = catalog.package_of("losses", loss.name)
    return _checked(function, loss.name, package) if package else function


def _checked(function: Callable[..., Tensor], name: str, package: str) -> Callable[..., Tensor]:
    """What another package's loss gets wrong is one sentence that names it, not a traceback."""

    def call(*arguments: Any) -> Tensor:  # noqa: ANN401 - outputs and tensors
        try:
            value = function(*arguments)
        except (UserError, DivergedError):
            raise
        except Exception as error:
            if memory.is_short(error):
                raise
            raise UserError(
                f"{package}: the loss {name!r} fails with {described(error)}; it is called with the "
                f"student's Output(logits, features, weight, bias, maps), the classes (N,), and the "
                f"teacher's Output if its entry says teacher = True"
            ) from error
        if (came := _mistaken(value)) is not None:
            raise UserError(
                f"{package}: the loss {name!r} returns {came:.200}; it must return its mean over the batch, "
                f"a tensor of one number (add .mean())"
            )
        return value

    return call


def _mistaken(value: object) -> str | None:
    """What came instead of a tensor of one number, in words."""
    if not isinstance(value, Tensor):
        return repr(value)
    return f"a tensor of shape {tuple(value.shape)}" if value.ndim else None
