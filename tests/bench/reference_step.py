"""The usual way to distil on CIFAR, as published code does it: the side that kdbench is measured against.

torchvision's transforms on one PIL image at a time in a DataLoader, without workers where there is one
core; the teacher's forward with gradients enabled, its output detached; NCHW float32; torch.optim.SGD; the
loss read back after every step for the running mean; a Python loop over the batch for Tf-KD_reg's target;
evaluation without no_grad. Networks and losses compute what kdbench's do: tests/bench/test_ratios.py.
"""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import log_softmax, softmax
from torch.utils.data import DataLoader, Dataset

from kdbench.spec.runs import Run
from kdbench.training.images import statistics

WORKERS = {"cpu": 0, "cuda": 4}
"""Of the DataLoader: none where both sides have one core."""
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of the student's logits, the classes and the teacher's logits."""


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's data sets hold them: an array (N, H, W, C), made a PIL image when asked for."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
        self.labels = labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def training_transform(run: Run, side: int) -> Callable[[Image.Image], Tensor]:
    """What an image goes through in training."""
    from torchvision import transforms

    turned = [transforms.RandomRotation(run.recipe.rotation)] if run.recipe.rotation else []
    transform: Callable[[Image.Image], Tensor] = transforms.Compose(
        [
            transforms.RandomCrop(side, padding=run.recipe.crop),
            transforms.RandomHorizontalFlip(),
            *turned,
            transforms.ToTensor(),
            transforms.Normalize(*statistics(run)),
        ]
    )
    return transform


def training_loader(
    run: Run, images: Tensor, labels: Tensor, device: str = "cpu"
) -> DataLoader[tuple[Tensor, int]]:
    """Shuffled batches: crop, flip, rotation, normalisation."""
    pictures = Pictures(images, labels, training_transform(run, images.shape[-1]))
    return DataLoader(
        pictures,
        batch_size=run.recipe.batch_size,
        shuffle=True,
        num_workers=WORKERS[device],
        pin_memory=device != "cpu",
    )


def evaluation_loader(
    run: Run, images: Tensor, labels: Tensor, device: str = "cpu"
) -> DataLoader[tuple[Tensor, int]]:
    """Batches in the data set's order, as large as in training."""
    from torchvision import transforms

    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*statistics(run))])
    return DataLoader(
        Pictures(images, labels, transform),
        batch_size=run.recipe.batch_size,
        num_workers=WORKERS[device],
        pin_memory=device != "cpu",
    )


def usual(network: nn.Module) -> nn.Module:
    """A copy in PyTorch's own memory format (NCHW), whose parameters take gradients."""
    copy = deepcopy(network).to(memory_format=torch.contiguous_format)
    return copy.requires_grad_(requires_grad=True)


def sgd(run: Run, student: nn.Module, lr: float) -> torch.optim.Optimizer:
    """torch's own optimizer, at a learning rate."""
    recipe = run.recipe
    return torch.optim.SGD(
        student.parameters(), lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )


def kd_loss(run: Run) -> Loss:
    """Tf-KD's released normal KD: `kd_released`."""
    alpha, tau = run.loss.params["alpha"], run.loss.params["tau"]
    multiplier = run.loss.params.get("multiplier", 1)
    divergence, cross_entropy = nn.KLDivLoss(reduction="none"), nn.CrossEntropyLoss()

    def loss(outputs: Tensor, labels: Tensor, taught: Tensor) -> Tensor:
        each = divergence(log_softmax(outputs / tau, dim=1), softmax(taught / tau, dim=1))
        soft: Tensor = each.mean() * (tau * tau * multiplier)
        hard: Tensor = cross_entropy(outputs, labels)
        return (1 - alpha) * hard + alpha * soft

    return loss


def reg_loss(run: Run) -> Loss:
    """Tf-KD's released regularisation, `tfkd_reg_released`: its target is filled image by image."""
    params = run.loss.params
    divergence, cross_entropy = nn.KLDivLoss(reduction="none"), nn.CrossEntropyLoss()

    def loss(outputs: Tensor, labels: Tensor, _: Tensor) -> Tensor:
        classes = outputs.size(1)
        with torch.no_grad():
            target = torch.ones_like(outputs) * (1 - params["a"]) / (classes - 1)
            for number in range(len(labels)):
                target[number, labels[number]] = params["a"]
        each = divergence(log_softmax(outputs, dim=1), softmax(target / params["tau"], dim=1))
        soft: Tensor = each.mean() * params["multiplier"]
        hard: Tensor = cross_entropy(outputs, labels)
        return (1 - params["alpha"]) * hard + params["alpha"] * soft

    return loss


def step(
    student: nn.Module,
    teacher: nn.Module,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
) -> float:
    """One batch (N, C, H, W); the value of the loss before the step."""
    outputs, taught = student(x).logits, teacher(x).logits.detach()
    value = loss(outputs, y, taught)
    optimizer.zero_grad()
    value.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return value.item()


def train_epoch(
    student: nn.Module,
    teacher: nn.Module,
    loader: DataLoader[tuple[Tensor, int]],
    loss: Loss,
    optimizer: torch.optim.Optimizer,
) -> float:
    """One pass over the training images; the mean of the batches' losses."""
    student.train()
    teacher.eval()
    device = next(student.parameters()).device
    values = [step(student, teacher, x.to(device), y.to(device), loss, optimizer) for x, y in loader]
    return sum(values) / len(values)


def evaluate(student: nn.Module, loader: DataLoader[tuple[Tensor, int]]) -> tuple[float, float]:
    """The accuracy in percent and the mean of the batches' cross-entropies."""
    student.eval()
    right, losses = 0, []
    device = next(student.parameters()).device
    for images, labels in loader:
        x, y = images.to(device), labels.to(device)
        outputs = student(x).logits
        losses.append(nn.functional.cross_entropy(outputs, y).item())
        right += int((outputs.argmax(dim=1) == y).sum())
    return 100 * right / len(loader.dataset), sum(losses) / len(losses)  # type: ignore[arg-type]
