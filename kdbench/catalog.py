"""Every name a suite may use and where its code lies: the only registry, read without importing torch.

A user's own loss, distiller, model or data set joins from an installed package through an entry point of the
group `kdbench.losses`, `.distillers`, `.models` or `.datasets`; its value names an entry of this file's
classes, and nothing here changes (docs/your-method.md).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from typing import Any, Literal, overload

from msgspec import Struct

from kdbench import plugins
from kdbench.errors import UserError
from kdbench.quantities import ANY, FACTOR, FRACTION, TEMPERATURE, Count, Positive, Range

Kind = Literal["losses", "models", "datasets"]


class LossEntry(Struct, frozen=True, kw_only=True):
    """A loss: its code, its parameters, what else it needs, its objective in print."""

    code: str
    params: Mapping[str, Range] | tuple[str, ...] = {}
    """Each parameter with the values that can be meant; names alone (in a plugin) may be any number."""
    starting_values: Mapping[str, float] = {}
    """Of each parameter, for `kdbench new suite`: what its paper or its authors' code has, on CIFAR-100."""
    shares: tuple[str, ...] = ()
    """Parameters that share out one whole: their sum is at most 1."""
    teacher: bool = False
    logits_only: bool = False
    """Looks at nothing of the teacher but its logits, so that kept ones will do."""
    neighbours: bool = False
    """Needs A(x), the classes near the true one: `DatasetEntry.neighbours`."""
    needs_class: bool = False
    """Looks up the class of each image: its targets can be neither smoothed nor mixed by the recipe."""
    scores: str = ""
    """A function of (Output, **params) -> (N, K), by whose argmax a student is judged ("": its logits)."""
    formula: str

    @property
    def ranges(self) -> Mapping[str, Range]:
        """By parameter: the values that can be meant."""
        return self.params if isinstance(self.params, Mapping) else dict.fromkeys(self.params, ANY)


class DistillerEntry(LossEntry, frozen=True, kw_only=True):
    """A distiller: a class of (Setting, **params), as of `kdbench.training.distillers.distiller`."""

    maps: bool = False
    """Reads the maps of both networks."""
    memory: bool = False
    """Keeps something of each image; another package's sees whole batches only, in one process."""


class ModelEntry(Struct, frozen=True, kw_only=True):
    """A model: a function of (classes, channels); the smallest image side it takes."""

    code: str
    least_size: Positive = 32
    test_batch: Count = 0
    """Test images of a batch on a CPU, for networks that do next to nothing with each (0: as any other)."""
    tiny: bool = False
    """So small that the steps of several seeds are done as one: kdbench/training/stacked.py."""
    about: str = ""
    maps: bool = False
    """Gives the maps of its stages when asked: `kdbench.models.output.Network`."""
    timm: str = ""
    """The architecture of timm that it is, whose published weights fit ("": none)."""


class DatasetEntry(Struct, frozen=True, kw_only=True):
    """A data set: how it is packed and what it is.

    `digest` is the sha256 of the layout's version and the checksums of the official files it is packed
    from: it is known before anything is fetched, so a plan needs no data.
    """

    code: str
    """A function of (Fetcher) -> the tensors of the packed file."""
    pack: str
    """The packed file's stem: label spaces of one data set share a file."""
    labels: str
    """Which labels of the packed file: `labels` or `coarse_labels`."""
    classes: Positive
    channels: Positive
    size: Positive
    """The side of an image; where sizes vary, the shorter side that images are stored with."""
    train: Positive
    test: Positive
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str
    varied: bool = False
    """Images of many sizes: a recipe says which `size` a network sees."""
    held_by: str = "md5"
    """What its official files are held by: checksums, or their number."""
    about: str = ""
    neighbours: str = ""
    """A function of () -> its classes' names in groups of near ones ("": nothing says which are near)."""
    neighbours_digest: str = ""
    """The sha256 of the matrix that they make: `kdbench.data.neighbours`."""
    generated: bool = False
    """`code` is a function of the name and a run's seed instead; float32 values, packed nowhere."""
    test_labels_digest: str = ""
    """The sha256 of the test images' classes as `kdbench.store.predictions` keeps them ("": not measured)."""


DESIGNED = Range("(0, 1)", usual="[0.5, 1)", why="the loss takes log a and log (1 - a)")
"""What Tf-KD's designed teacher gives to the class."""

LOSSES = {
    "ce": LossEntry(code="kdbench.training.losses:ce", formula="H(q, p)"),
    "lsr": LossEntry(
        code="kdbench.training.losses:lsr",
        params={"epsilon": FRACTION},
        starting_values={"epsilon": 0.1},
        formula="H(q', p),  q' = (1 - ε) q + ε u",
    ),
    "lsr_released": LossEntry(
        code="kdbench.training.losses:lsr_released",
        params={"epsilon": FRACTION},
        starting_values={"epsilon": 0.1},
        needs_class=True,
        formula="H(q', p),  q' = 1 - ε on the class, ε / (K - 1) on the others",
    ),
    "kd": LossEntry(
        code="kdbench.training.losses:kd",
        params={"alpha": FRACTION, "tau": TEMPERATURE},
        starting_values={"alpha": 0.95, "tau": 20},
        teacher=True,
        logits_only=True,
        formula="(1 - α) H(q, p) + α D_KL(p^t_τ, p_τ)",
    ),
    "kd_released": LossEntry(
        code="kdbench.training.losses:kd_released",
        params={"alpha": FRACTION, "tau": TEMPERATURE},
        starting_values={"alpha": 0.95, "tau": 20},
        teacher=True,
        logits_only=True,
        formula="(1 - α) H(q, p) + α τ² / K · D_KL(p^t_τ, p_τ)",
    ),
    "tfkd_self": LossEntry(
        code="kdbench.training.losses:tfkd_self",
        params={"alpha": FRACTION, "tau": TEMPERATURE},
        starting_values={"alpha": 0.95, "tau": 20},
        teacher=True,
        logits_only=True,
        formula="(1 - α) H(q, p) + α D_KL(p^t_τ, p_τ),  the teacher is the student itself, pre-trained",
    ),
    "tfkd_self_released": LossEntry(
        code="kdbench.training.losses:tfkd_self_released",
        params={"alpha": FRACTION, "tau": TEMPERATURE, "multiplier": FACTOR},
        starting_values={"alpha": 0.95, "tau": 20, "multiplier": 1},
        teacher=True,
        logits_only=True,
        formula="(1 - α) H(q, p) + α τ² m / K · D_KL(p^t_τ, p_τ)",
    ),
    "tfkd_reg": LossEntry(
        code="kdbench.training.losses:tfkd_reg",
        params={"alpha": FRACTION, "tau": TEMPERATURE, "a": DESIGNED},
        starting_values={"alpha": 0.1, "tau": 20, "a": 0.99},
        needs_class=True,
        formula="(1 - α) H(q, p) + α D_KL(p^d_τ, p_τ),  p^d = a on the class, (1 - a) / (K - 1) elsewhere",
    ),
    "tfkd_reg_probabilities": LossEntry(
        code="kdbench.training.losses:tfkd_reg_probabilities",
        params={"alpha": FRACTION, "tau": TEMPERATURE, "a": FRACTION, "tau_d": TEMPERATURE},
        starting_values={"alpha": 0.1, "tau": 20, "a": 0.99, "tau_d": 20},
        needs_class=True,
        formula="(1 - α) H(q, p) + α D_KL(softmax(p^d / τ_d), p_τ)",
    ),
    "tfkd_reg_released": LossEntry(
        code="kdbench.training.losses:tfkd_reg_released",
        params={"alpha": FRACTION, "tau": TEMPERATURE, "a": FRACTION, "multiplier": FACTOR},
        starting_values={"alpha": 0.1, "tau": 20, "a": 0.99, "multiplier": 1},
        needs_class=True,
        formula="(1 - α) H(q, p) + α m / K · D_KL(softmax(p^d / τ), p)",
    ),
    "lsd": LossEntry(
        code="kdbench.training.losses_fnkd:lsd",
        params={"epsilon1": FRACTION},
        starting_values={"epsilon1": 0.1},
        formula="H(q_lsd, p),  q_lsd = (1 - ε₁) q + ε₁ u",
    ),
    "alsd": LossEntry(
        code="kdbench.training.losses_fnkd:alsd",
        params={"epsilon1": FRACTION, "epsilon2": FRACTION},
        starting_values={"epsilon1": 0.1, "epsilon2": 0.1},
        shares=("epsilon1", "epsilon2"),
        neighbours=True,
        needs_class=True,
        formula="H(q_alsd, p),  q_alsd = (1 - ε₁ - ε₂) q + ε₁ u + ε₂ ρ,  ρ = 1 / |A(x)| on A(x)",
    ),
    "fnkd_kd": LossEntry(
        code="kdbench.training.losses_fnkd:fnkd_kd",
        params={"alpha": FRACTION, "T": TEMPERATURE},
        starting_values={"alpha": 0.5, "T": 3},
        teacher=True,
        logits_only=True,
        formula="(1 - α) H(q, σ(z)) + α H(q_kd, σ(z / T)),  q_kd = σ(z^t / T)",
    ),
    "fnkd_kd_released": LossEntry(
        code="kdbench.training.losses_fnkd:fnkd_kd_released",
        params={"alpha": FRACTION, "T": TEMPERATURE},
        starting_values={"alpha": 0.5, "T": 3},
        teacher=True,
        logits_only=True,
        formula="(1 - α) H(q, σ(z)) + α T² H(q_kd, σ(z / T)),  q_kd = σ(z^t / T)",
    ),
    "fnkd": LossEntry(
        code="kdbench.training.losses_fnkd:fnkd",
        params={"lam": FACTOR, "tau": TEMPERATURE},
        starting_values={"lam": 3, "tau": 2},
        teacher=True,
        formula="H(q, σ(z)) + λ² H(q_fn, σ(τ v / ‖f‖)),  q_fn = σ(τ v^t / ‖f^t‖),  v = W f",
    ),
    "fnkd_released": LossEntry(
        code="kdbench.training.losses_fnkd:fnkd_released",
        params={"lam": FACTOR, "tau": TEMPERATURE},
        starting_values={"lam": 3, "tau": 2},
        teacher=True,
        formula="H(q, σ(z)) + λ² H(σ(c^t v^t + b^t), σ(c v + b)),  c = min(‖f‖, τ) / ‖f‖,  v = W f",
    ),
    "hinton_kd": LossEntry(
        code="kdbench.training.losses_logits:hinton_kd",
        params={"alpha": FRACTION, "tau": TEMPERATURE},
        starting_values={"alpha": 0.9, "tau": 4},
        teacher=True,
        logits_only=True,
        formula="(1 - α) H(q, p) + α τ² D_KL(p^t_τ, p_τ)",
    ),
    "kd_weighted": LossEntry(
        code="kdbench.training.losses_logits:kd_weighted",
        params={"alpha": FRACTION, "tau": TEMPERATURE, "multiplier": FACTOR},
        starting_values={"alpha": 0.9, "tau": 4, "multiplier": 1},
        teacher=True,
        logits_only=True,
        formula="(1 - α) H(q, p) + α m τ² D_KL(p^t_τ, p_τ)",
    ),
    "kd_ls": LossEntry(
        code="kdbench.training.losses_logits:kd_ls",
        params={"alpha": FRACTION, "tau": TEMPERATURE, "multiplier": FACTOR},
        starting_values={"alpha": 0.9, "tau": 2, "multiplier": 10},
        teacher=True,
        logits_only=True,
        formula="(1 - α) H(q, p) + α m τ² D_KL(p^t_τ, p_τ),  p_τ in D_KL of z-scores of the logits",
    ),
    "lopezpaz": LossEntry(
        code="kdbench.training.losses_lopezpaz:lopezpaz",
        params={"lam": FRACTION, "T": TEMPERATURE},
        starting_values={"lam": 1, "T": 1},
        teacher=True,
        logits_only=True,
        formula="(1 - λ) H(q, p) + λ H(p^t_T, p)",
    ),
    "lopezpaz_released": LossEntry(
        code="kdbench.training.losses_lopezpaz:lopezpaz_released",
        params={"lam": FRACTION, "T": TEMPERATURE},
        starting_values={"lam": 1, "T": 1},
        teacher=True,
        logits_only=True,
        formula="(1 - λ) H(q, p) + λ T² H(p^t_T, p)",
    ),
    "dist": LossEntry(
        code="kdbench.training.losses_logits:dist",
        params={"beta": FACTOR, "gamma": FACTOR, "tau": TEMPERATURE},
        starting_values={"beta": 1, "gamma": 1, "tau": 1},
        teacher=True,
        logits_only=True,
        formula="H(q, p) + τ² (β d(p_τ, p^t_τ) + γ d(p_τ', p^t_τ')),  d = 1 - mean correlation of rows",
    ),
    "confidence_penalty": LossEntry(
        code="kdbench.training.losses_logits:confidence_penalty",
        params={"beta": FACTOR},
        starting_values={"beta": 0.1},
        formula="H(q, p) - β H(p)",
    ),
    "lsr_scaled": LossEntry(
        code="kdbench.training.losses:lsr_scaled",
        params={"epsilon": FRACTION, "scale": FACTOR},
        starting_values={"epsilon": 0.1, "scale": 1},
        formula="c H(q', p),  q' = (1 - ε) q + ε u,  c = scale",
    ),
    "he": LossEntry(
        code="kdbench.training.losses_fnkd:he",
        params={"scale": FACTOR},
        starting_values={"scale": 16},
        scores="kdbench.training.losses_fnkd:he_scores",
        formula="H(q, σ(s cos θ)),  cos θ_k = W_k · f / (‖W_k‖ ‖f‖)",
    ),
}

_BETA = Range("[0, 1e6]", why="it multiplies a part of the loss")
_WIDTH = Range("[1, 65536]", why="it is a number of features")
_WARMUP = Range("[1, 10000]", why="it is a number of epochs; 1 is no warm-up")
_CRD = {
    "beta": _BETA,
    "dim": _WIDTH,
    "negatives": Range("[1, 1e7]", why="it is a number of images"),
    "T": Range("[0.001, 100]", why="cosines are divided by it"),
    "momentum": FRACTION,
}
_CRD_VALUES = {"beta": 0.8, "dim": 128, "negatives": 16384, "T": 0.07, "momentum": 0.5}
_DKD = {"alpha": FACTOR, "beta": FACTOR, "tau": TEMPERATURE, "warmup": _WARMUP}
_CTKD = {"alpha": FRACTION, "multiplier": FACTOR, "T_0": TEMPERATURE, "R": FACTOR, "curriculum": _WARMUP}

DISTILLERS = {
    "dkd": DistillerEntry(
        code="kdbench.training.distillers.dkd:Decoupled",
        params=_DKD,
        starting_values={"alpha": 1, "beta": 8, "tau": 4, "warmup": 20},
        teacher=True,
        logits_only=True,
        needs_class=True,
        formula="H(q, p) + w τ² (α D_KL(b^t_τ, b_τ) + β D_KL(p̂^t_τ, p̂_τ)),  w = min(epoch / warmup, 1)",
    ),
    "dkd_ls": DistillerEntry(
        code="kdbench.training.distillers.dkd:DecoupledStandardized",
        params=_DKD,
        starting_values={"alpha": 9, "beta": 72, "tau": 2, "warmup": 20},
        teacher=True,
        logits_only=True,
        needs_class=True,
        formula="H(q, p) + w τ² (α D_KL(b^t_τ, b_τ) + β D_KL(p̂^t_τ, p̂_τ)),  b, p̂ of z-scores of the logits",
    ),
    "ctkd": DistillerEntry(
        code="kdbench.training.distillers.ctkd:CurriculumTemperature",
        params=_CTKD,
        starting_values={"alpha": 0.9, "multiplier": 1, "T_0": 1, "R": 20, "curriculum": 10},
        teacher=True,
        logits_only=True,
        formula="(1 - α) H(q, p) + α m T² D_KL(p^t_T, p_T),  T = T_0 + R σ(θ), θ trained against the student",
    ),
    "ctkd_ls": DistillerEntry(
        code="kdbench.training.distillers.ctkd:CurriculumTemperatureStandardized",
        params=_CTKD,
        starting_values={"alpha": 0.9, "multiplier": 10, "T_0": 2, "R": 40, "curriculum": 10},
        teacher=True,
        logits_only=True,
        formula="(1 - α) H(q, p) + α m T² D_KL(p^t_T, p_T) of z-scores,  T = T_0 + R σ(θ) as in ctkd",
    ),
    "fitnet": DistillerEntry(
        code="kdbench.training.distillers.fitnet:FitNet",
        params={"beta": _BETA, "layer": Range("[0, 9]", why="it is the place of a map, counted from 0")},
        starting_values={"beta": 100, "layer": 2},
        teacher=True,
        maps=True,
        formula="H(q, p) + β mean (r(f_l) - f^t_l)²,  r a trained regressor",
    ),
    "at": DistillerEntry(
        code="kdbench.training.distillers.at:AttentionTransfer",
        params={"beta": _BETA},
        starting_values={"beta": 1000},
        teacher=True,
        maps=True,
        formula="H(q, p) + β Σ_l mean (a(f_l) - a(f^t_l))²,  a = mean of f² over channels, of norm 1",
    ),
    "sp": DistillerEntry(
        code="kdbench.training.distillers.sp:SimilarityPreserving",
        params={"beta": _BETA},
        starting_values={"beta": 3000},
        teacher=True,
        maps=True,
        formula="H(q, p) + β / B² ‖G - G^t‖²,  G = f f' of the last map, rows of norm 1",
    ),
    "cc": DistillerEntry(
        code="kdbench.training.distillers.cc:CorrelationCongruence",
        params={"beta": _BETA, "dim": _WIDTH},
        starting_values={"beta": 0.02, "dim": 128},
        teacher=True,
        formula="H(q, p) + β mean_i Σ_d δ_i δ_i+1,  δ = |E f - E^t f^t|, E trained",
    ),
    "vid": DistillerEntry(
        code="kdbench.training.distillers.vid:VariationalInformation",
        params={"beta": _BETA},
        starting_values={"beta": 1},
        teacher=True,
        maps=True,
        formula="H(q, p) + β Σ_l mean ½ ((f^t_l - μ_l(f_l))² / σ²_l + log σ²_l),  μ, σ trained",
    ),
    "rkd": DistillerEntry(
        code="kdbench.training.distillers.rkd:Relational",
        params={"beta": _BETA, "w_d": _BETA, "w_a": _BETA},
        starting_values={"beta": 1, "w_d": 25, "w_a": 50},
        teacher=True,
        formula="H(q, p) + β (w_d Huber(ψ_D, ψ^t_D) + w_a Huber(ψ_A, ψ^t_A)),  ψ: distances, angles",
    ),
    "pkt": DistillerEntry(
        code="kdbench.training.distillers.pkt:ProbabilisticTransfer",
        params={"beta": _BETA},
        starting_values={"beta": 30000},
        teacher=True,
        formula="H(q, p) + β mean_ij p^t_ij log (p^t_ij / p_ij),  p_ij ~ 1 + cos(f_i, f_j)",
    ),
    "nst": DistillerEntry(
        code="kdbench.training.distillers.nst:NeuronSelectivity",
        params={"beta": _BETA},
        starting_values={"beta": 50},
        teacher=True,
        maps=True,
        formula="H(q, p) + β Σ_l MMD²(f_l, f^t_l),  k(a, b) = (a' b)² of channels",
    ),
    "crd": DistillerEntry(
        code="kdbench.training.distillers.crd:Contrastive",
        params=_CRD,
        starting_values=_CRD_VALUES,
        teacher=True,
        memory=True,
        needs_class=True,
        formula="H(q, p) + β (L(h) + L(h^t)),  h_ij = exp(v_i' m^t_j / T) / Z, M negatives of a memory",
    ),
    "crd_kd": DistillerEntry(
        code="kdbench.training.distillers.crd:ContrastiveAndKD",
        params={"alpha": FACTOR, "tau": TEMPERATURE, **_CRD},
        starting_values={"alpha": 1, "tau": 4, **_CRD_VALUES},
        teacher=True,
        memory=True,
        needs_class=True,
        formula="H(q, p) + α τ² D_KL(p^t_τ, p_τ) + β (L(h) + L(h^t))",
    ),
}


def _family(file: str, names: str, about: str) -> dict[str, ModelEntry]:
    """Networks of one file that give maps, by their names with spaces between."""
    return {
        name: ModelEntry(code=f"kdbench.models.{file}:{name}", maps=True, about=about)
        for name in names.split()
    }


def _mlp(name: str, side: int, about: str, *, tiny: bool = False) -> ModelEntry:
    return ModelEntry(
        code=f"kdbench.models.mlp:{name}", test_batch=2000, tiny=tiny, least_size=side, about=about
    )


MODELS = {
    "resnet18": ModelEntry(code="kdbench.models.resnet:resnet18", maps=True),
    "resnet50": ModelEntry(code="kdbench.models.resnet:resnet50", maps=True),
    "resnext29": ModelEntry(code="kdbench.models.resnet:resnext29", maps=True, about="8 x 64d"),
    "resnext101": ModelEntry(
        code="kdbench.models.resnet:resnext101", maps=True, about="resnext29's rule at depth 101"
    ),
    "densenet121": ModelEntry(code="kdbench.models.densenet:densenet121"),
    "googlenet": ModelEntry(code="kdbench.models.googlenet:googlenet"),
    "mobilenetv2": ModelEntry(code="kdbench.models.mobilenetv2:mobilenetv2"),
    "shufflenetv2": ModelEntry(code="kdbench.models.shufflenetv2:shufflenetv2"),
    "plaincnn": ModelEntry(code="kdbench.models.plaincnn:plaincnn"),
    "resnet20_v2": ModelEntry(code="kdbench.models.resnet_v2:resnet20_v2", about="pre-activation, FNKD's"),
    "resnet56_v2": ModelEntry(code="kdbench.models.resnet_v2:resnet56_v2", about="pre-activation, FNKD's"),
    "resnet110_v2": ModelEntry(code="kdbench.models.resnet_v2:resnet110_v2", about="pre-activation, FNKD's"),
    "mobilenetv2_fnkd": ModelEntry(
        code="kdbench.models.mobilenetv2_fnkd:mobilenetv2_fnkd", about="FNKD's: 32 pixels become 8, no bias"
    ),
    "resnet50_crd": ModelEntry(
        code="kdbench.models.resnet:resnet50_crd", maps=True, about="CRD's initialisation"
    ),
    **_family(
        "resnet_v1",
        "resnet8 resnet14 resnet20 resnet32 resnet44 resnet56 resnet110",
        "16-32-64 channels, CRD's",
    ),
    **_family("resnet_v1", "resnet8x4 resnet32x4", "64-128-256 channels, CRD's"),
    **_family("wrn", "wrn_16_1 wrn_16_2 wrn_40_1 wrn_40_2", "CRD's"),
    **_family("vgg", "vgg8 vgg11 vgg13 vgg16 vgg19", "with batch norm, CRD's"),
    "mobilenetv2_crd": ModelEntry(
        code="kdbench.models.mobilenetv2_crd:mobilenetv2_crd",
        maps=True,
        about="CRD's: half the width, 32 pixels become 2",
    ),
    "shufflenetv1": ModelEntry(
        code="kdbench.models.shufflenetv1:shufflenetv1", maps=True, about="three groups, CRD's"
    ),
    "shufflenetv2_crd": ModelEntry(
        code="kdbench.models.shufflenetv2_crd:shufflenetv2_crd", maps=True, about="CRD's: no biases"
    ),
    **_family(
        "plane",
        "plane2_cifar10 plane4_cifar10 plane6_cifar10 plane8_cifar10 plane10_cifar10",
        "TAKD's, for CIFAR-10",
    ),
    **_family(
        "plane",
        "plane2_cifar100 plane4_cifar100 plane6_cifar100 plane8_cifar100 plane10_cifar100",
        "TAKD's, for CIFAR-100",
    ),
    "blank": ModelEntry(
        code="kdbench.models.blank:blank", least_size=1, about="zero at its start: uniform targets"
    ),
    "resnet18_224": ModelEntry(code="kdbench.models.imagenet:resnet18", timm="resnet18"),
    "resnet34_224": ModelEntry(code="kdbench.models.imagenet:resnet34", timm="resnet34"),
    "resnet50_224": ModelEntry(code="kdbench.models.imagenet:resnet50", timm="resnet50"),
    "resnet101_224": ModelEntry(code="kdbench.models.imagenet:resnet101", timm="resnet101"),
    "resnet152_224": ModelEntry(code="kdbench.models.imagenet:resnet152", timm="resnet152"),
    "densenet121_224": ModelEntry(code="kdbench.models.imagenet:densenet121", timm="densenet121"),
    "resnext101_32x8d_224": ModelEntry(
        code="kdbench.models.imagenet:resnext101_32x8d", timm="resnext101_32x8d"
    ),
    "mobilenetv1_224": ModelEntry(
        code="kdbench.models.imagenet:mobilenetv1", timm="mobilenetv1_100", about="with ReLU"
    ),
    "mobilenetv2_224": ModelEntry(code="kdbench.models.imagenet:mobilenetv2", timm="mobilenetv2_100"),
    "mlp_784_20_20": _mlp("mlp_784_20_20", 28, "28 pixels; Glorot-uniform", tiny=True),
    "mlp_49_20_20": _mlp("mlp_49_20_20", 7, "7 pixels; Glorot-uniform", tiny=True),
    "mlp_784_1200_1200": _mlp("mlp_784_1200_1200", 28, "28 pixels; Glorot-uniform"),
    "mlp_784_1200_1200_dropout": _mlp(
        "mlp_784_1200_1200_dropout", 28, "mlp_784_1200_1200 with dropout 0.2, 0.5"
    ),
    "mlp_784_800_800": _mlp("mlp_784_800_800", 28, "28 pixels; Glorot-uniform"),
    "mlp_784_1024_1024": _mlp("mlp_784_1024_1024", 28, "28 pixels; N(0, 0.01)"),
    "mlp_784_1024_1024_dropout": _mlp(
        "mlp_784_1024_1024_dropout", 28, "mlp_784_1024_1024 with dropout 0.2, 0.5"
    ),
    "logistic": _mlp("logistic", 1, "logistic regression on values", tiny=True),
    "digits_mlp": ModelEntry(code="kdbench.models.digits:digits_mlp", least_size=8),
    "digits_cnn": ModelEntry(code="kdbench.models.digits:digits_cnn", maps=True, least_size=8),
}

_CIFAR = {"channels": 3, "size": 32, "train": 50_000, "test": 10_000}
_CIFAR100 = _CIFAR | {
    "code": "kdbench.data.cifar:cifar100",
    "pack": "cifar100",
    "mean": (0.5070751592371323, 0.48654887331495095, 0.4409178433670343),
    "std": (0.2673342858792401, 0.2564384629170883, 0.27615047132568404),
    "digest": "ab8b7492989bf5ea134feacaa0235601187aad69d79bfff5e26f61fafd05cc52",
}
_VARIED = {
    "labels": "labels",
    "channels": 3,
    "size": 256,
    "varied": True,
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
_MNIST = {"labels": "labels", "classes": 10, "channels": 1, "train": 60_000, "test": 10_000}
DATASETS = {
    "digits": DatasetEntry(
        code="kdbench.data.digits:digits",
        pack="digits",
        labels="labels",
        classes=10,
        channels=1,
        size=8,
        train=400,
        test=1397,
        mean=(0.2878,),
        std=(0.3535,),
        digest="78c9cdd277560958d8bfba7679724e4074d62796803f16d98c81fa8cd8e5f869",
        held_by="sha256",
        about="scikit-learn's 1,797 handwritten digits",
        test_labels_digest="e61432c68cc276d1d2b4973734d43928d84ee16ac39ba450707d3ea54b2605d6",
    ),
    "cifar10": DatasetEntry(
        code="kdbench.data.cifar:cifar10",
        pack="cifar10",
        labels="labels",
        classes=10,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.247, 0.243, 0.261),
        digest="9b2f714e80a2b8efd32d2b4059d3de0c96c16a17b114aa1d539f368ab2f9a020",
        **_CIFAR,  # type: ignore[arg-type]
    ),
    "cifar100": DatasetEntry(
        labels="labels",
        classes=100,
        neighbours="kdbench.data.neighbours:cifar100",
        neighbours_digest="3426fbe1c4ce7ecb3c3d1ecb4e5d422d25126ff53219f86f590ed70c723695df",
        **_CIFAR100,  # type: ignore[arg-type]
        test_labels_digest="4dad7d09c7c97d33f6cb928d705cf4196221316fd6e31bdd978a08ed9103ee0b",
    ),
    "cifar100_coarse": DatasetEntry(
        labels="coarse_labels",
        classes=20,
        about="CIFAR-100 with its 20 superclasses",
        **_CIFAR100,  # type: ignore[arg-type]
        test_labels_digest="48df17fb3bf299f43dd7e131db11ca0ea8b07d750be8b6dcf7ad6ff1b4cc721d",
    ),
    "tinyimagenet": DatasetEntry(
        code="kdbench.data.tinyimagenet:tinyimagenet",
        pack="tinyimagenet",
        labels="labels",
        classes=200,
        channels=3,
        size=64,
        train=100_000,
        test=10_000,
        mean=(0.4802, 0.4481, 0.3975),
        std=(0.2302, 0.2265, 0.2262),
        digest="6e1acf1d2e895b7bc5ab740ac73e78db7845e080512578f991d24ebcd243f749",
        about="tested on its validation images",
    ),
    "cub200": DatasetEntry(
        code="kdbench.data.cub:cub200",
        pack="cub200",
        classes=200,
        train=5_994,
        test=5_794,
        digest="ede6cf985408fe34e62324d47c7b3cf9ccbe79ada573776b4d308938b913e950",
        about="CUB-200-2011",
        neighbours="kdbench.data.neighbours:cub200",
        neighbours_digest="2ec8de30a21b3e569f351d4c92ce55ff6b0f7d524e165a95356eae370769c003",
        **_VARIED,  # type: ignore[arg-type]
    ),
    "cars": DatasetEntry(
        code="kdbench.data.cars:cars",
        pack="cars",
        classes=196,
        train=8_144,
        test=8_041,
        digest="0aed7661f85b0a2ae12751dd5131360584eb14c2cf8e3c29ee994c5ea4cec7e1",
        about="Stanford Cars",
        **_VARIED,  # type: ignore[arg-type]
    ),
    "imagenet": DatasetEntry(
        code="kdbench.data.imagenet:imagenet",
        pack="imagenet",
        classes=1_000,
        train=1_281_167,
        test=50_000,
        digest="1a040bfaafb9b9d05ad599e2694c9f29a4b4d5846ce8b043cf3100cd29993d24",
        held_by="number",
        about="ILSVRC 2012, tested on its validation images",
        **_VARIED,  # type: ignore[arg-type]
    ),
    "mnist": DatasetEntry(
        code="kdbench.data.mnist:mnist",
        pack="mnist",
        size=28,
        mean=(0.1307,),
        std=(0.3081,),
        digest="f5e524922497ba86ca7ee3f806fe7b923a559ab2e866358751902fbd0ce7f92f",
        about="handwritten digits",
        **_MNIST,  # type: ignore[arg-type]
    ),
    "mnist_7x7": DatasetEntry(
        code="kdbench.data.mnist:mnist_7x7",
        pack="mnist_7x7",
        size=7,
        mean=(0.1317,),
        std=(0.1981,),
        digest="ac2a5d2a5ceb8da03fc4f4910a8d609a9c7d1f0492afeaa4f4a57be8460e117b",
        about="MNIST at a quarter of the side",
        **_MNIST,  # type: ignore[arg-type]
    ),
}


_SYNTHETIC_VALUES = {
    "synthetic1": 1,
    "synthetic2": 50,
    "synthetic3": 3,
    "synthetic4": 3,
    "synthetic4_released": 3,
    "synthetic4_largest": 3,
}
"""Experiments of Lopez-Paz et al. (kdbench.data.synthetic), and how many values a teacher sees in each."""


def _synthetic(pack: str, values: int, about: str) -> DatasetEntry:
    return DatasetEntry(
        code="kdbench.data.synthetic:generate",
        pack=pack,
        labels="labels",
        classes=2,
        channels=values,
        size=1,
        train=200,
        test=10_000,
        mean=(0.0,) * values,
        std=(1.0,) * values,
        digest="4711de0b977e1a1fad03b4319a003e5323eb206e1eb131e0a395f56769d85cd1",
        generated=True,
        held_by="seed",
        about=about,
    )


for _name, _values in _SYNTHETIC_VALUES.items():
    DATASETS[_name] = _synthetic(_name, 50, "points generated for each seed")
    DATASETS[f"{_name}_privileged"] = _synthetic(
        f"{_name}_privileged", _values, "what a teacher sees of the same points"
    )

Entry = LossEntry | ModelEntry | DatasetEntry
_BUILT_IN: Mapping[Kind, Mapping[str, Entry]] = {
    "losses": {**LOSSES, **DISTILLERS},
    "models": MODELS,
    "datasets": DATASETS,
}
_ENTRIES: Mapping[Kind, type[Entry]] = {"losses": LossEntry, "models": ModelEntry, "datasets": DatasetEntry}
_SINGULAR: Mapping[Kind, str] = {"losses": "loss", "models": "model", "datasets": "data set"}


@overload
def find(kind: Literal["losses"], name: str) -> LossEntry: ...
@overload
def find(kind: Literal["models"], name: str) -> ModelEntry: ...
@overload
def find(kind: Literal["datasets"], name: str) -> DatasetEntry: ...
def find(kind: Kind, name: str) -> Entry:
    """The entry of a name.

    Raises:
        LookupError: nothing has this name; the message gives the nearest ones.
        BrokenPluginError: an installed package has it, and it cannot be used.
    """
    entry = find_or_none(kind, name)
    if entry is None:
        raise LookupError(unknown_name(kind, name))
    return entry


def find_or_none(kind: Kind, name: str) -> Entry | None:
    """The entry of a name; None where nothing has it, without looking for near names.

    Raises:
        BrokenPluginError: an installed package has it, and it cannot be used.
    """
    return _BUILT_IN[kind].get(name) or plugins.entry_of(kind, name, _ENTRIES[kind])


def statistics(
    dataset: str, normalize: str, std: tuple[float, ...] = ()
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and std, per channel, by which a recipe has images of a data set normalised.

    Args:
        dataset: theirs.
        normalize: the recipe's `normalize`.
        std: its `normalize_std`; () where it gives none.
    """
    entry = find("datasets", dataset)
    if normalize == "none":
        return (0.0,) * entry.channels, (1.0,) * entry.channels
    if normalize:
        entry = find("datasets", normalize)
    return entry.mean, std or entry.std


def names(kind: Kind) -> list[str]:
    """Every name of a kind, the built-in ones first; those of packages may turn out to be broken."""
    return [*_BUILT_IN[kind], *sorted(plugins.offered(kind).keys() - _BUILT_IN[kind].keys())]


@overload
def entries(kind: Literal["losses"]) -> dict[str, LossEntry]: ...
@overload
def entries(kind: Literal["models"]) -> dict[str, ModelEntry]: ...
@overload
def entries(kind: Literal["datasets"]) -> dict[str, DatasetEntry]: ...
def entries(kind: Kind) -> Mapping[str, Entry]:
    """Every entry of a kind that can be used, by name; imports all packages that offer one."""
    found = {}
    for name in names(kind):
        with suppress(plugins.BrokenPluginError):
            found[name] = find(kind, name)
    return found


def plugin_problems(kind: Kind) -> Iterator[str]:
    """What is wrong with what installed packages offer, a sentence for each."""
    for name in sorted(plugins.offered(kind)):
        try:
            find(kind, name)
        except plugins.BrokenPluginError as error:
            yield str(error)
    yield from taken_names((kind, name) for name in plugins.offered(kind))


def taken_names(used: Iterable[tuple[Kind, str]]) -> Iterator[str]:
    """Which of these names are kdbench's own and a package's too: a sentence for each, in their order.

    kdbench's own is meant by such a name: a package that is installed changes nobody's runs.
    """
    if not plugins.any_offered():
        return
    for kind, name in sorted(set(used)):
        if name in _BUILT_IN[kind] and (points := plugins.offered(kind).get(name)):
            owners = " and ".join(map(plugins.owner, points))
            yield (
                f"{owners}: the {_SINGULAR[kind]} {name!r} has the name of one of kdbench's own, which is "
                f"used; give it another name in the package's entry points"
            )


def load(code: str) -> Callable[..., Any]:
    """The function that `module:function` names; imports torch."""
    from importlib import import_module

    module, _, function = code.partition(":")
    return getattr(import_module(module), function)  # type: ignore[no-any-return]


def code_of(kind: Kind, name: str) -> Callable[..., Any]:
    """The function of a name's entry; imports torch.

    Raises:
        LookupError: as `find`.
    """
    return plugins.code_of(kind, name, find(kind, name).code)


def package_of(kind: Kind, name: str) -> str:
    """`wkd 0.1.0`, the package that a name is of; "" where it is kdbench's own."""
    found = () if name in _BUILT_IN[kind] else plugins.offered(kind).get(name, ())
    return plugins.owner(found[0]) if found else ""


@contextmanager
def naming_package(kind: Kind, name: str) -> Iterator[None]:
    """Around code of a name: what a package's gets wrong is an error that names the package.

    Raises:
        BrokenPluginError: the code raised something else than a place that cannot be read or written.
    """
    try:
        yield
    except (UserError, OSError):
        raise
    except (Exception, SystemExit) as error:
        if not (package := package_of(kind, name)):
            raise
        where = plugins.line_of(error, find(kind, name).code.partition(":")[0])
        problem = f"fails with {plugins.described(error)}{where}"
        raise plugins.BrokenPluginError(f"{package}: the {_SINGULAR[kind]} {name!r} {problem}") from error


def plugins_of(*used: tuple[Kind, str]) -> tuple[plugins.Plugin, ...]:
    """The packages, as installed now, whose code stands behind any of these names: each once, in order.

    Names that nothing has are left out: suites that use them are refused elsewhere.
    """
    # kdbench's own code has its version in the protocol: only packages are a part of a run's identity.
    found = set()
    for kind, name in used:
        if name not in _BUILT_IN[kind] and name in plugins.offered(kind):
            found.add(plugins.plugin_of(kind, name, find(kind, name).code))
    return tuple(sorted(each for each in found if each is not None))


def unknown_name(kind: Kind, name: str) -> str:
    """The sentence on a name that neither kdbench nor an installed package has."""
    known = unknown(_SINGULAR[kind], name, names(kind))
    return f"{known}. No installed package offers it either; if one should: pip install THAT_PACKAGE"


def unknown(what: str, name: str, valid: Iterable[str]) -> str:
    """One sentence on a name that nothing has, with the nearest valid name and all of them."""
    known = list(valid)
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    more = f" and {len(known) - 40} more" if len(known) > 40 else ""
    return f"unknown {what} {name!r:.80}.{guess} Valid: {', '.join(known[:40])}{more}"


def require_known(what: str, value: object, valid: Iterable[str]) -> None:
    """Refuse a word that is none of these.

    Raises:
        UserError: it is not.
    """
    known = list(valid)
    if value not in known:
        raise UserError(unknown(what, str(value), known))
