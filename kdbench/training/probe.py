"""What a loss does, found by its gradient alone, on fixed random logits in double precision.

The probe is a batch of N = 16 images: features f, a classifier W, b, logits z = W f + b, of a student twice
and of a teacher; classes y. It is drawn once, the same for every loss of K classes. A loss L is
differentiated by the student's logits and features, g = N dL/d(z, f), and g is held against three forms,
which fit exactly or not at all:

    a H(q, p) + b · soft    for a soft term of `TERMS` at its definition: least squares leaves no residual
    c H(q', p)              for a fixed target q': between two students g - g' = c (p - p'); q' = p - g / c
    label smoothing         the second, where q' = (1 - ε) q + ε u

Soft terms of several parts, as DKD's and DIST's, are held against `PARTS`: a H(q, p) + Σ b_i part_i.

Where a recipe smooths the labels, the loss is given the smoothed targets, and q in the forms is these: of
cross-entropy the probe finds the recipe's ε.

Of a distiller that reads maps, g has the gradients by five maps too. It does one step, after all
epochs of warm-up, as it is at its start.

Takes 5 ms a loss.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import cache, partial
from math import exp, log
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot, softmax

from kdbench import catalog
from kdbench.catalog import DistillerEntry
from kdbench.data.neighbours import neighbours
from kdbench.models.output import Output
from kdbench.plan.objectives import Probed
from kdbench.spec.runs import Loss
from kdbench.training.distillers.ctkd import START
from kdbench.training.distillers.distiller import Setting, Step
from kdbench.training.distillers.dkd import decoupled
from kdbench.training.losses import divergence, virtual_teacher
from kdbench.training.losses_fnkd import clipped, norm, soft, unbiased
from kdbench.training.losses_logits import uncorrelated, z_score
from kdbench.training.objective import loss_function, make_distiller
from kdbench.training.targets import hard_targets

IMAGES, FEATURES = 16, 32
SIDES = (8, 8, 4, 4, 2)
"""Of the maps."""
LATE = 10**6
"""An epoch after all warm-up."""
STUDENT, TEACHER = 2.0, 4.0
"""The std of the logits: a student's under way, and a trained teacher's (FNKD's released one has 3.9)."""
EXACT = 1e-9
"""The largest relative residual of a form that fits; rounding leaves 1e-13."""

Values = Mapping[str, float]


class Scene(NamedTuple):
    """The probe."""

    students: tuple[Output, Output]
    teacher: Output
    y: Tensor
    target: Tensor
    """What the hard term is given: the classes, or rows of probabilities (N, K)."""


class Term(NamedTuple):
    """A soft term, H(σ(z^t), σ(z)): z of the student, z^t of the teacher or designed by hand.

    D_KL to the same target differs from it by a constant, so it has the same gradient.
    """

    name: str
    takes: tuple[str, ...]
    """The parameters that a loss with this term has."""
    logits: Callable[[Output, Values], Tensor]
    """z of a network's output, (N, K): of the student, and by the same formula of the teacher."""
    designed: Callable[[Tensor, Values], Tensor] | None = None
    """In the teacher's place: z^t of p^d, (N, K)."""

    def target_logits(self, at: Scene, params: Values) -> Tensor:
        """z^t, (N, K)."""
        if self.designed is None:
            return self.logits(at.teacher, params)
        return self.designed(virtual_teacher(at.teacher.logits, at.y, a=params["a"]), params)


def _first_temperature(of: Values) -> float:
    """CTKD's, as θ has it before the first step."""
    return of["T_0"] + of["R"] / (1 + exp(-START))


TERMS = (
    Term("D_KL(p^t_T, p_T), T as it starts", ("T_0", "R"), lambda of, p: of.logits / _first_temperature(p)),
    Term(
        "D_KL of z-scores, T as it starts",
        ("T_0", "R"),
        lambda of, p: z_score(of.logits) / _first_temperature(p),
    ),
    Term("D_KL(p^t_τ, p_τ)", ("tau",), lambda of, p: of.logits / p["tau"]),
    Term("H(q_kd, σ(z / T))", ("T",), lambda of, p: of.logits / p["T"]),
    Term(
        "D_KL(p^d_τ, p_τ)",
        ("a", "tau"),
        lambda of, p: of.logits / p["tau"],
        designed=lambda p_d, p: p_d.log() / p["tau"],
    ),
    Term(
        "D_KL(softmax(p^d / τ_d), p_τ)",
        ("a", "tau", "tau_d"),
        lambda of, p: of.logits / p["tau"],
        designed=lambda p_d, p: p_d / p["tau_d"],
    ),
    Term("H(q_fn, σ(τ v / ‖f‖))", ("tau", "lam"), lambda of, p: p["tau"] * unbiased(of) / norm(of)),
    Term("H(σ(c^t v^t + b^t), σ(c v + b))", ("tau", "lam"), lambda of, p: clipped(of, p["tau"])),
)
"""In the order in which they are tried: the first one that fits has the loss."""


class Parts(NamedTuple):
    """A soft term of several parts: their names, and their values of (student, classes, teacher, τ)."""

    takes: tuple[str, ...]
    names: tuple[str, ...]
    values: Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, ...]]


def _relations(z: Tensor, _: Tensor, z_t: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """DIST's d of the classes of an image, and of the images of a class."""
    p, p_t = softmax(z / tau, dim=1), softmax(z_t / tau, dim=1)
    return uncorrelated(p, p_t), uncorrelated(p.T, p_t.T)


PARTS = (
    Parts(("tau", "warmup"), ("TCKD", "NCKD"), decoupled),
    Parts(
        ("tau", "warmup"),
        ("TCKD of z-scores", "NCKD of z-scores"),
        lambda z, y, z_t, tau: decoupled(z_score(z), y, z_score(z_t), tau),
    ),
    Parts(("tau", "gamma"), ("d of classes", "d of images"), _relations),
    Parts(
        ("tau", "multiplier"),
        ("D_KL of z-scores",),
        lambda z, _, z_t, tau: (divergence(z_score(z_t), z_score(z), tau),),
    ),
)


def probe(loss: Loss, dataset: str, classes: int, smoothing: float = 0.0) -> Probed:
    """Find out what a loss does.

    Args:
        loss: with all its parameters.
        dataset: gives A(x) to losses that need it.
        classes: K.
        smoothing: ε, the recipe's `label_smoothing`.

    Raises:
        UserError: the data set has no A(x), and the loss needs it.
    """
    entry = catalog.find("losses", loss.name)
    at = scene(classes, maps=isinstance(entry, DistillerEntry) and entry.maps)
    at = at._replace(target=hard_targets(at.y, at.teacher.logits, smoothing))
    value = _distiller(loss, at) if isinstance(entry, DistillerEntry) else _loss(loss, dataset, at)
    # g of the first student is explained; that of the second shows whether the target moves with the student.
    # A fixed target comes first: label smoothing is a mixture with the uniform target too.
    g, other = (slope(value, s) for s in at.students)
    plain, given = (slope(partial(_ce, of), at.students[0]) for of in (at.y, at.target))
    found = _fixed_target(g, other, at, loss.params)
    found |= _mixture(g, given, at, loss.params, taught=entry.teacher)
    if entry.teacher and not found:
        found |= _sum_of_parts(g, given, at, loss.params)
    found["gradient"] = float(g.norm() / plain.norm())
    parts = tuple((name, _rounded(weight)) for name, weight in found.pop("parts", ()))
    rounded: dict[str, Any] = {"parts": parts} | {key: _rounded(value) for key, value in found.items()}
    return Probed(slope=tuple(g.flatten().tolist()), **rounded)


def _ce(target: Tensor, s: Output) -> Tensor:
    return cross_entropy(s.logits, target)


def _loss(loss: Loss, dataset: str, at: Scene) -> Callable[[Output], Tensor]:
    """A loss as a function of the student's output."""
    entry = catalog.find("losses", loss.name)
    more: list[Output | Tensor] = [at.teacher] if entry.teacher else []
    more += [neighbours(dataset)] if entry.neighbours else []
    function = loss_function(loss)
    return lambda s: function(s, at.target, *more)


def _distiller(loss: Loss, at: Scene) -> Callable[[Output], Tensor]:
    """A distiller as a function of the student's output; what it learns from a call is forgotten."""
    setting = Setting(at.students[0], at.teacher, at.y, at.teacher.logits.shape[1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        distiller = make_distiller(loss, setting).double()
    step = Step(torch.arange(IMAGES), LATE, 0, 0)
    return lambda s: deepcopy(distiller)(s, at.target, at.teacher, step)


def _rounded(value: float | str) -> float | str:
    """Without the noise of rounding, which differs between machines."""
    return value if isinstance(value, str) else round(value, 10)


@cache
def scene(classes: int, *, maps: bool = False) -> Scene:
    """The probe of K classes, with maps or without.

    Feature norms run from 1 to 12, as those of FNKD's released teacher do.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def output(std: float) -> Output:
        f = draw(IMAGES, FEATURES).abs()
        f *= torch.linspace(1, 12, IMAGES)[:, None] / f.norm(dim=1, keepdim=True)
        weight, bias = draw(classes, FEATURES), draw(classes) / 10
        weight *= std / (f @ weight.T).std()
        return Output(f @ weight.T + bias, f, weight, bias)

    def with_maps(of: Output, width: int) -> Output:
        return of._replace(maps=tuple(draw(IMAGES, width, side, side).relu() for side in SIDES))

    one, other, teacher = output(STUDENT), output(STUDENT), output(TEACHER)
    y = torch.randint(classes, (IMAGES,), generator=generator)
    if maps:
        one = with_maps(one, 4)
        other = with_maps(other, 4)
        teacher = with_maps(teacher, 6)
    return Scene((one, other), teacher, y, y)


def slope(value: Callable[[Output], Tensor], s: Output) -> Tensor:
    """N times the gradient by logits, features and maps, as if each were free: (N, K + D + ...)."""
    z, f, *maps = (each.clone().requires_grad_() for each in (s.logits, s.features, *s.maps))
    made = value(s._replace(logits=z, features=f, maps=tuple(maps)))
    if not made.requires_grad:  # a loss of nothing
        return torch.zeros(len(z), sum(each[0].numel() for each in (z, f, *maps)), dtype=z.dtype)
    found = torch.autograd.grad(made, [z, f, *maps], materialize_grads=True)
    return len(z) * torch.cat([each.flatten(1) for each in found], dim=1)


def _mixture(g: Tensor, plain: Tensor, at: Scene, params: Values, *, taught: bool) -> dict[str, Any]:
    """a H(q, p) + b times the first soft term that leaves no residual."""
    for term in TERMS:
        if taught == (term.designed is not None) or not set(term.takes) <= set(params):
            continue
        z_t = term.target_logits(at, params)

        def value(s: Output, of: Term = term, z_t: Tensor = z_t) -> Tensor:
            return soft(z_t, of.logits(s, params))

        g_soft = slope(value, at.students[0])
        weights = _weights(g, [plain, g_soft])
        if weights:
            a, b = weights
            nats = from_uniform(softmax(z_t, dim=1))
            share = float(abs(b) * g_soft.norm() / g.norm())
            return {"hard": a, "soft": b, "term": term.name, "nats": nats, "share": share}
    return {}


def _sum_of_parts(g: Tensor, plain: Tensor, at: Scene, params: Values) -> dict[str, Any]:
    """a H(q, p) + Σ b_i part_i of the first soft term of several parts that leaves no residual."""
    for term in PARTS:
        if not set(term.takes) <= set(params):
            continue

        def part(s: Output, i: int, of: Parts = term) -> Tensor:
            return of.values(s.logits, at.y, at.teacher.logits, params["tau"])[i]

        slopes = [slope(partial(part, i=i), at.students[0]) for i in range(len(term.names))]
        weights = _weights(g, [plain, *slopes])
        if weights:
            return {"hard": weights[0], "parts": tuple(zip(term.names, weights[1:], strict=True))}
    return {}


def _weights(g: Tensor, basis: Sequence[Tensor]) -> list[float]:
    """By what gradients are multiplied to give g in sum; nothing where they leave a residual."""
    columns = torch.stack([each.flatten() for each in basis], dim=1)
    weights = torch.linalg.lstsq(columns, g.flatten()[:, None]).solution
    exact = (columns @ weights - g.flatten()[:, None]).norm() <= EXACT * g.norm()
    return [float(each) for each in weights] if exact else []


def _fixed_target(g: Tensor, other: Tensor, at: Scene, params: Values) -> dict[str, Any]:
    """c H(q', p); its hard term is what the class has above the least one, the soft term the rest of q'."""
    K = at.teacher.logits.shape[1]
    p, p_other = (softmax(s.logits, dim=1) for s in at.students)
    # g = c (p - q'): between two students the unknown q' falls out, g - g' = c (p - p'); c by least squares
    apart, by = (g - other)[:, :K], p - p_other
    c = float((apart * by).sum() / by.square().sum())
    if (apart - c * by).norm() > EXACT * apart.norm() or g[:, K:].any():
        return {}
    q = one_hot(at.y, K).double()
    rest = p - g[:, :K] / c  # q'
    wrong = rest[q == 0]  # on the classes that the image is not of: all ε / K where q' is smoothed labels
    found: dict[str, Any] = {"scale": c}
    if float(wrong.max() - wrong.min()) <= EXACT < float(K * wrong.mean()):
        found["epsilon"] = float(K * wrong.mean())
    share = float((rest[q == 1] - rest.min(dim=1).values).mean())
    return found | _split(c * share, c, c * rest, q, params)


def _split(hard: float, c: float, target: Tensor, q: Tensor, params: Values) -> dict[str, Any]:
    """The weights of q and of the rest of c q', and how far that rest is from uniform.

    A loss with an α has given (1 - α) of the rest to the hard term: what the soft one teaches is the others.
    """
    if c - hard <= EXACT * c:
        return {"hard": c, "soft": 0.0}
    taken = 1 - params["alpha"] if "alpha" in params else hard
    rest = (target - taken * q) / (c - taken)
    even = float((target - hard * q).std()) <= EXACT
    name = "D_KL(u, p)" if even else "H(q', p) less the class"
    return {"hard": hard, "soft": c - hard, "term": name, "nats": from_uniform(rest)}


def from_uniform(target: Tensor) -> float:
    """ln K minus the entropy of distributions (N, K), mean over N; in nats."""
    entropy = torch.special.entr(target.clamp_min(0)).sum(dim=1).mean()
    return max(0.0, log(target.shape[1]) - float(entropy))
