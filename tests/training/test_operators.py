"""What a step does, operator by operator: nothing for which the host would wait for a GPU."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from kdbench.spec.runs import Loss
from kdbench.training.bench import Parts, give_untrained_teacher
from kdbench.training.context import TrainingContext
from kdbench.training.distillers.crd import OtherClasses
from kdbench.training.evaluation import evaluate
from kdbench.training.images import MOST_TESTED, training_views
from kdbench.training.operators import Operators
from tests.support.distillers import SETTINGS, built, output, step
from tests.support.training import digits

KD = Loss("kd", {"alpha": 0.9, "tau": 4.0})
STEPS: dict[str, tuple[Loss, dict[str, Any]]] = {
    "baseline": (Loss("ce"), {}),
    "kd": (KD, {}),
    "kd_released": (Loss("kd_released", {"alpha": 0.9, "tau": 4.0}), {}),
    "tfkd_reg": (Loss("tfkd_reg", {"alpha": 0.9, "tau": 2.0, "a": 0.99}), {}),
    "adam": (KD, {"optimizer": "adam", "momentum": 0.0}),
    "rmsprop": (KD, {"optimizer": "rmsprop", "momentum": 0.0}),
    "clip_norm": (KD, {"clip_norm": 0.5}),
    "ema": (KD, {"ema": 0.8}),
    "label_smoothing": (KD, {"label_smoothing": 0.1}),
    "mixup": (KD, {"mixup": 1.0}),
    "ghost_batches": (KD, {"ghost_batches": 2}),
    "vid": (Loss("vid", SETTINGS["vid"]), {}),
}
MASK = torch.tensor([True, False, True])
WAITING: dict[str, Callable[[Tensor], object]] = {
    "_local_scalar_dense": lambda x: x.sum().item(),
    "nonzero": lambda x: x.nonzero(),
    "index": lambda x: x[MASK],
    "index_put_": lambda x: x.index_put_((MASK,), torch.ones(2)),
    "equal": lambda x: x.equal(x),
    "masked_select": lambda x: x.masked_select(MASK),
    "_unique2": lambda x: x.unique(),  # type: ignore[no-untyped-call]
    "cpu": lambda x: x.cpu(),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
}


@pytest.mark.parametrize("name", WAITING)
def test_what_waits_for_a_gpu_is_counted_by_name(name: str) -> None:
    x = torch.ones(3)
    with Operators() as counted:
        WAITING[name](x)
    assert counted.synchronising == {name: 1}


def test_views_are_no_work_and_indices_of_numbers_do_not_wait() -> None:
    x = torch.ones(3, 2)
    with Operators() as counted:
        x.mul_(2).t().detach()[torch.tensor([0, 1])]
    assert {"mul_": 1, "index": 1}.items() <= counted.operators.items()
    assert not {"t", "view", "detach"} & counted.operators.keys()
    assert not counted.synchronising


def test_what_the_host_has_and_what_is_made_of_it_is_free() -> None:
    x = torch.ones(2)
    with Operators() as counted:
        steps = torch.ones(())
        (steps + 1).item()
        steps.tolist()
        torch.randperm(3).tolist()
        (steps + x).tolist()
    assert counted.synchronising == {"tolist": 1}


@pytest.mark.parametrize("name", STEPS)
def test_step_never_waits_for_a_gpu(name: str, context: TrainingContext) -> None:
    """Distillers by themselves: below."""
    loss, settings = STEPS[name]
    teacher = None if name in ("baseline", "tfkd_reg") else digits("digits_cnn")
    run = digits("digits_cnn", loss, teacher, **settings)
    give_untrained_teacher(run, context)
    batches = [next(training_views(run, context.data.of(run), context).epoch(1))]
    counted = Parts(run, context, batches).count()
    assert counted.operators["convolution"] >= (1 if teacher is None else 2)
    assert counted.operators["convolution_backward"]  # by autograd, not by a record of the step
    assert not counted.synchronising


@pytest.mark.parametrize("size", [20, 200])
def test_evaluation_waits_for_a_gpu_at_its_end_alone(context: TrainingContext, size: int) -> None:
    """For the predicted classes, and for the loss; however many batches there are.

    The third number is what is right of these classes, which a GPU's are on the host then.
    """
    run = digits("digits_cnn", test_size=size, bias=((1, 0.5),))
    network, data = context.network(run), context.data.of(run)
    with Operators() as counted:
        evaluate(run, network, data, context)
    assert counted.operators["convolution"] == 3 * -(-size // MOST_TESTED["cpu"]), "three of a batch"
    assert counted.synchronising == {"cpu": 1, "_local_scalar_dense": 2}


@pytest.mark.parametrize("name", SETTINGS)
def test_distiller_never_waits_for_a_gpu_where_classes_are_alike(name: str) -> None:
    distiller, s, t = built(name), output(2, 4), output(3, 5)
    for each in (s.logits, s.features, *s.maps):
        each.requires_grad_()
    y, at = torch.arange(6) % 3, step()
    with Operators() as counted:
        distiller(s, y, t, at).backward()
    assert counted.operators
    assert not counted.synchronising


def test_negatives_of_classes_that_differ_in_size_cost_one_wait() -> None:
    others = OtherClasses(torch.tensor([0, 0, 1]), 2)
    y = torch.tensor([0, 1])
    with Operators() as counted:
        others.draw(y, 1, torch.Generator())
    assert counted.synchronising == {"tolist": 1}
