"""Published weights -> a network of timm that starts from them."""

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from kdbench.data.fetch import Fetcher
from kdbench.data.weights import fetched
from kdbench.errors import UserError
from kdbench.spec.weights import Weights

if TYPE_CHECKING:
    from kdbench.models.output import Network


def start_from(network: "Network", weights: Weights, fetcher: Fetcher) -> None:
    """Give a network of timm its published weights; a classifier for other classes stays as it is.

    Raises:
        UserError: the file cannot be had, or holds another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = fetched(weights.name, weights.sha256, fetcher)
    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise UserError(f"{file}: cannot be read ({error})") from error
    described: Any = network.body.pretrained_cfg
    body, head = _parts(tensors, described["classifier"])
    problems = _mismatches(network.body, body)
    if problems:
        raise UserError(*(f"{weights.name}: not the network's weights: {problem}" for problem in problems))
    network.body.load_state_dict(body, strict=False)
    own = network.classifier.state_dict()
    if {name: each.shape for name, each in own.items()} == {name: each.shape for name, each in head.items()}:
        network.classifier.load_state_dict(head)


def _parts(tensors: dict[str, Tensor], classifier: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of the body, and those of the classifier under its own names."""
    prefix = f"{classifier}."
    body = {name: each for name, each in tensors.items() if not name.startswith(prefix)}
    head = {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}
    return body, head


def _mismatches(body: nn.Module, given: dict[str, Tensor]) -> list[str]:
    wanted = {name: tuple(each.shape) for name, each in body.state_dict().items()}
    there = {name: tuple(each.shape) for name, each in given.items()}
    missing = [name for name in wanted if name not in there and not name.endswith("num_batches_tracked")]
    extra = [name for name in there if name not in wanted]
    other = [name for name in wanted if name in there and there[name] != wanted[name]]
    problems = ((missing, "missing"), (extra, "too much"), (other, "of another shape"))
    return [f"{len(names)} tensors are {what}: {', '.join(names[:3])}" for names, what in problems if names]
