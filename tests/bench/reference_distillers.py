"""KD, AT and CRD the usual way, as RepDistiller and mdistiller train: their step and losses in our own words.

One PIL image at a time in a DataLoader; for CRD the negatives of each image are drawn there too. NCHW; the
teacher without gradients, its batch norms not folded; both networks give their maps; the loss and the
accuracy are read back after every step. CRD gathers 1 + M rows of a memory for each image and network. They
compute what kdbench's distillers do: tests/bench/test_ratios.py.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, kl_div, log_softmax, normalize, softmax
from torch.utils.data import DataLoader, Dataset

from kdbench.models.output import Network, Output
from kdbench.spec.runs import Run
from tests.bench.reference_step import Pictures, training_transform

LEAST = 1e-7
"""Is added to denominators, as released."""
Loss = Callable[[Output, Tensor, Output, Tensor], Tensor]
"""Of the student's output, the classes, the teacher's output, and the images that CRD compares."""


class Compared(Dataset[tuple[Tensor, int, Tensor]]):
    """Images with their own index and those of so many images of other classes: (1 + M,); M = 0: its own."""

    def __init__(self, pictures: Pictures, negatives: int) -> None:
        self.pictures, self.negatives = pictures, negatives
        labels = np.asarray(pictures.labels)
        self.others = [np.flatnonzero(labels != label) for label in range(max(pictures.labels) + 1)]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, int, Tensor]:
        image, label = self.pictures[index]
        there = self.others[label]
        drawn = np.random.choice(there, self.negatives, replace=len(there) < self.negatives)  # noqa: NPY002 - as usual
        return image, label, torch.from_numpy(np.concatenate([[index], drawn]))


def loader(run: Run, images: Tensor, labels: Tensor) -> DataLoader[tuple[Tensor, int, Tensor]]:
    """Shuffled batches of images, classes and what CRD compares."""
    pictures = Pictures(images, labels, training_transform(run, images.shape[-1]))
    negatives = int(run.loss.params.get("negatives", 0))
    return DataLoader(Compared(pictures, negatives), batch_size=run.recipe.batch_size, shuffle=True)


def hinton(z: Tensor, z_t: Tensor, tau: float) -> Tensor:
    """tau^2 times the divergence of softened logits (N, K)."""
    p, p_t = log_softmax(z / tau, dim=1), softmax(z_t / tau, dim=1)
    return kl_div(p, p_t, reduction="sum") * tau**2 / len(z)


def attention_transfer(maps: Sequence[Tensor], maps_t: Sequence[Tensor]) -> Tensor:
    """The mean squares of the differences of both networks' attention, of all maps but the first."""
    terms = []
    for f, f_t in zip(maps[1:], maps_t[1:], strict=True):
        side = min(f.shape[2], f_t.shape[2])
        pair = [adaptive_avg_pool2d(each, side) for each in (f, f_t)]
        a, a_t = (normalize(each.pow(2).mean(1).flatten(1)) for each in pair)
        terms.append((a - a_t).pow(2).mean())
    return torch.stack(terms).sum()


class Memory(nn.Module):
    """CRD's memory of both networks and what embeds their features."""

    student_memory: Tensor
    teacher_memory: Tensor
    Z: Tensor

    def __init__(self, widths: tuple[int, int], images: int, *, dim: int, T: float, momentum: float) -> None:
        super().__init__()
        self.T, self.momentum = T, momentum
        self.student, self.teacher = (nn.Linear(width, dim) for width in widths)
        bound = (3 / dim) ** 0.5
        for name in ("student_memory", "teacher_memory"):
            self.register_buffer(name, torch.rand(images, dim) * 2 * bound - bound)
        self.register_buffer("Z", torch.full((2,), -1.0))

    def forward(self, f: Tensor, f_t: Tensor, compared: Tensor) -> Tensor:
        """The loss of features (B, D) and (B, D') against the images (B, 1 + M), their own first."""
        v, v_t = normalize(self.student(f)), normalize(self.teacher(f_t))
        value = self._one(0, v, self.teacher_memory, compared) + self._one(
            1, v_t, self.student_memory, compared
        )
        for embedded, memory in ((v, self.student_memory), (v_t, self.teacher_memory)):
            self._remember(embedded.detach(), memory, compared[:, 0])
        return value

    def _one(self, which: int, v: Tensor, memory: Tensor, compared: Tensor) -> Tensor:
        rows = memory.index_select(0, compared.flatten()).view(*compared.shape, -1)
        h = torch.bmm(rows, v.unsqueeze(2)).squeeze(2).div(self.T).exp()
        if self.Z[which] < 0:
            self.Z[which] = h.detach().mean() * len(memory)
        h = h / self.Z[which].clone()
        noise = (compared.shape[1] - 1) / len(memory)
        positive, negative = h[:, 0], h[:, 1:]
        known = (positive / (positive + noise + LEAST)).log().sum()
        told_apart = (noise / (negative + noise + LEAST)).log().sum()
        return -(known + told_apart) / len(h)

    def _remember(self, v: Tensor, memory: Tensor, images: Tensor) -> None:
        moved = memory.index_select(0, images) * self.momentum + v * (1 - self.momentum)
        memory.index_copy_(0, images, normalize(moved))


def loss_of(run: Run, memory: Memory | None) -> Loss:
    """The objective of a run of `hinton_kd`, `at` or `crd`."""
    params = run.loss.params

    def kd(s: Output, y: Tensor, t: Output, _: Tensor) -> Tensor:
        soft = hinton(s.logits, t.logits, params["tau"])
        return (1 - params["alpha"]) * cross_entropy(s.logits, y) + params["alpha"] * soft

    def at(s: Output, y: Tensor, t: Output, _: Tensor) -> Tensor:
        return cross_entropy(s.logits, y) + params["beta"] * attention_transfer(s.maps, t.maps)

    def crd(s: Output, y: Tensor, t: Output, compared: Tensor) -> Tensor:
        if memory is None:
            raise ValueError("CRD has a memory")
        contrast: Tensor = memory(s.features, t.features, compared)
        return cross_entropy(s.logits, y) + params["beta"] * contrast

    return {"hinton_kd": kd, "at": at, "crd": crd}[run.loss.name]


def memory_of(run: Run, widths: tuple[int, int], images: int) -> Memory | None:
    """CRD's memory, where the run has one."""
    if run.loss.name != "crd":
        return None
    params = run.loss.params
    return Memory(widths, images, dim=int(params["dim"]), T=params["T"], momentum=params["momentum"])


def train(
    student: nn.Module,
    teacher: nn.Module,
    batches: Iterable[Sequence[Tensor]],
    loss: Loss,
    optimizer: torch.optim.Optimizer,
) -> float:
    """Steps on some batches; the mean of their losses."""
    student.train()
    teacher.eval()
    cast("Network", student).gives_maps = cast("Network", teacher).gives_maps = True
    values: list[float] = []
    right: list[float] = []
    for x, y, compared in batches:
        s = student(x)
        with torch.no_grad():
            t = teacher(x)
        value = loss(s, y, t, compared)
        right.append(float((s.logits.topk(5).indices == y[:, None]).any(dim=1).float().mean()))
        values.append(value.item())
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return sum(values) / len(values)
