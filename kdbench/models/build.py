"""A model's name -> its network; one of another package is held to what the loop expects of it."""

from torch import Tensor, nn

from kdbench import catalog
from kdbench.errors import UserError, is_out_of_memory
from kdbench.models.output import Output
from kdbench.plugins import described


def build_network(model: str, classes: int, channels: int) -> nn.Module:
    """A network with random weights, drawn from torch's generator.

    Args:
        model: a name of the catalog.
        classes: K, its outputs.
        channels: of its images.

    Raises:
        LookupError: there is no such model.
        UserError: it is another package's, and its code fails or gives no module.
    """
    make, package = catalog.code_of("models", model), catalog.package_of("models", model)
    if not package:
        return make(classes, channels)  # type: ignore[no-any-return]
    try:
        network = make(classes, channels)
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"{package}: the model {model!r} cannot be built for {classes} classes and {channels} channels: "
            f"{described(error)}"
        ) from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{package}: the model {model!r} is a {type(network).__name__}, not an nn.Module")

    def check(_module: nn.Module, _inputs: object, output: object) -> None:
        if not isinstance(output, Output) or not isinstance(output.features, Tensor):
            raise UserError(
                f"{package}: the model {model!r} returns a {type(output).__name__}; it must return a kdbench."
                f"models.output.Output(logits, features), which kdbench.models.output.Network(body, "
                f"classifier) does"
            )

    network.register_forward_hook(check)
    return network
