"""`kdbench new plugin NAME`: an installable package of a loss, a distiller, a model, a suite and tests."""

import re
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path

from kdbench import catalog
from kdbench.errors import UserError
from kdbench.store.files import write

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "NAME"
version = "0.1.0"          # raise it when the code changes: kdbench never mixes the numbers of two versions
dependencies = ["kdbench"]

[project.optional-dependencies]
test = ["pytest"]

# What kdbench finds: the names that a suite may use, and where their entries stand.
[project.entry-points."kdbench.losses"]
NAME = "NAME.entries:LOSS"
[project.entry-points."kdbench.distillers"]
NAME_features = "NAME.entries:DISTILLER"
[project.entry-points."kdbench.models"]
NAME_net = "NAME.entries:MODEL"

[tool.setuptools]
packages = ["NAME"]
"""

ENTRIES = '''\
"""What NAME offers to kdbench. No torch here: `kdbench plan` and `check` read this file and stay fast."""

from kdbench.catalog import DistillerEntry, LossEntry, ModelEntry
from kdbench.quantities import FACTOR, FRACTION, TEMPERATURE

LOSS = LossEntry(
    code="NAME.losses:NAME",
    params={"alpha": FRACTION, "tau": TEMPERATURE},  # each parameter, with the values that can be meant
    teacher=True,
    logits_only=True,  # reads nothing of the teacher but its logits, so that stored logits will do
    needs_class=True,  # looks up the class of each image: recipes can neither smooth nor mix its targets
    formula="(1 - alpha) H(q, p) + alpha tau^2 mean w D_KL(p^t_tau, p_tau),  w = p^t of the true class",
)
DISTILLER = DistillerEntry(
    code="NAME.distillers:Features",
    params={"beta": FACTOR},
    teacher=True,
    maps=False,  # True: it reads the maps of both networks, which must give them
    memory=False,  # True: it keeps something of each image, by its index
    formula="H(q, p) + beta mean (E f - f^t)^2,  E trained",
)
MODEL = ModelEntry(code="NAME.models:NAME_net", least_size=8, maps=True, about="two convolutions")
'''

LOSSES = '''\
"""The losses of NAME: functions of what student and teacher put out."""

from kdbench.models.output import Output
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax


def NAME(s: Output, y: Tensor, t: Output, *, alpha: float, tau: float) -> Tensor:
    """KD whose teacher counts for each image as much as it is sure of the right class.

    Args:
        s: the student's output: logits (N, K), features (N, D), the classifier's weight (K, D), bias (K,).
        y: the classes (N,).
        t: the teacher's output on the same images; no gradient flows into it.
        alpha: the weight of the teacher.
        tau: the temperature.

    Returns:
        The mean over the batch, a tensor of one number.
    """
    # log_softmax, not softmax(...).log(): a probability that rounds to 0 would make the loss nan.
    log_p, log_p_t = log_softmax(s.logits / tau, dim=1), log_softmax(t.logits / tau, dim=1)
    divergence = kl_div(log_p, log_p_t, reduction="none", log_target=True).sum(dim=1)
    sure = softmax(t.logits, dim=1).gather(1, y[:, None]).squeeze(1)
    hard = cross_entropy(s.logits, y)
    return (1 - alpha) * hard + alpha * tau**2 * (sure * divergence).mean()
'''

DISTILLERS = '''\
"""The distillers of NAME: losses with parameters or a memory of their own."""

from kdbench.models.output import Output
from kdbench.training.distillers.distiller import Distiller, Setting, Step
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss


class Features(Distiller):
    """The student's features, mapped to the teacher's width by a trained layer, are drawn to the teacher's.

    It is built once for a run. Its parameters are trained with the student's and stand in the checkpoint.
    """

    def __init__(self, setting: Setting, *, beta: float) -> None:
        super().__init__()
        self.beta = beta
        self.embed = nn.Linear(setting.student.features.shape[1], setting.teacher.features.shape[1])

    def forward(self, s: Output, y: Tensor, t: Output, at: Step) -> Tensor:
        """The mean over the batch; `at` has the images' indices (N,), the epoch and the step."""
        return cross_entropy(s.logits, y) + self.beta * mse_loss(self.embed(s.features), t.features)
'''

MODELS = '''\
"""The networks of NAME: functions of (classes, channels of the images)."""

from kdbench.models.output import Network
from torch import nn


def NAME_net(classes: int, channels: int) -> Network:
    """A body that makes features (N, D) of images (N, C, H, W), and a classifier on top of it."""
    body = nn.Sequential(
        *(nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten()),
    )
    return Network(body, nn.Linear(32 * 2 * 2, classes), taps=(2, 5))  # its maps: after each activation
'''

TESTS = '''\
"""The loss by hand-made numbers, the distiller, the network's output, and all as kdbench finds them."""

from pathlib import Path

import kdbench
import torch
from kdbench import catalog
from kdbench.models.output import Output
from kdbench.training.distillers.distiller import Setting, Step
from torch.nn.functional import cross_entropy

from NAME.distillers import Features
from NAME.losses import NAME
from NAME.models import NAME_net

SUITE = Path(__file__).parents[1] / "suites" / "NAME_digits.toml"


def output(logits):
    return Output(torch.tensor(logits), torch.zeros(2, 3))


def test_loss_is_cross_entropy_where_student_and_teacher_agree():
    same = output([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0]])
    y = torch.tensor([0, 1])
    loss = NAME(same, y, same, alpha=0.9, tau=4.0)
    assert torch.isclose(loss, 0.1 * cross_entropy(same.logits, y))


def test_loss_of_extreme_logits_and_its_gradient_are_finite():
    logits = torch.tensor([[1e4, 0.0, -1e4], [0.0, -1e4, 1e4]], requires_grad=True)
    teacher = output([[-1e4, 0.0, 1e4], [0.0, 0.0, 1e4]])  # of probabilities that are exactly 0
    loss = NAME(Output(logits, torch.zeros(2, 3)), torch.tensor([0, 2]), teacher, alpha=0.9, tau=4.0)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_distiller_trains_its_own_layer():
    y, same = torch.tensor([0, 1]), output([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0]])
    distiller = Features(Setting(same, same, y, 3), beta=1.0)
    loss = distiller(same, y, same._replace(features=torch.ones(2, 3)), Step(torch.arange(2), 1, 0, 0))
    loss.backward()
    assert loss > cross_entropy(same.logits, y)
    assert distiller.embed.bias.grad.abs().sum() > 0


def test_network_gives_logits_features_and_maps():
    network = NAME_net(10, 1)
    network.gives_maps = True
    made = network(torch.zeros(2, 1, 8, 8))
    assert made.logits.shape == (2, 10)
    assert made.features.shape == (2, 128)
    assert [each.shape[1] for each in made.maps] == [16, 32]


def test_kdbench_finds_all_and_reads_the_suite():
    assert catalog.find("losses", "NAME").code == "NAME.losses:NAME"
    assert catalog.find("models", "NAME_net").code == "NAME.models:NAME_net"
    suite = kdbench.load_suite(SUITE)
    assert catalog.find("losses", "NAME_features").code == "NAME.distillers:Features"
    assert {row.loss.name for row in suite.rows} == {"ce", "kd", "NAME", "NAME_features"}
'''

SUITE = """\
# NAME beside KD on scikit-learn's handwritten digits: minutes on a laptop, no download.
[suite]
paper   = "NAME: my method"
dataset = "digits"            # `kdbench list datasets`
seeds   = 3                   # runs of each row: seeds 0, 1 and 2

[recipe]                      # how every student is trained, whatever teaches it
epochs       = 30
batch_size   = 32
lr           = 0.1
milestones   = [20, 26]       # after these epochs the lr is multiplied by gamma
gamma        = 0.2
momentum     = 0.9
weight_decay = 5e-4

[[table]]                     # what gains are measured over, and the teachers
id   = "1.baseline"
loss = { name = "ce" }
rows = [
  { student = "digits_mlp" },
  { student = "NAME_net" },
]

[[table]]
id   = "1.kd"
loss = { name = "kd", alpha = 0.9, tau = 4 }
rows = [
  { student = "digits_mlp", teacher = "NAME_net" },
]

[[table]]
id   = "1.NAME"
loss = { name = "NAME", alpha = 0.9, tau = 4 }
rows = [
  { student = "digits_mlp", teacher = "NAME_net" },
]

[[table]]
id   = "1.NAME_features"
loss = { name = "NAME_features", beta = 1 }
rows = [
  { student = "digits_mlp", teacher = "NAME_net" },
]

[[claim]]                     # judged by paired differences over the seeds
id    = "better"
says  = "NAME is better than KD"
order = ["1.kd", "1.NAME"]    # from the worst to the best
"""

FILES = {
    "pyproject.toml": PYPROJECT,
    "NAME/__init__.py": '"""NAME: a method for kdbench."""\n',
    "NAME/entries.py": ENTRIES,
    "NAME/losses.py": LOSSES,
    "NAME/distillers.py": DISTILLERS,
    "NAME/models.py": MODELS,
    "tests/test_NAME.py": TESTS,
    "suites/NAME_digits.toml": SUITE,
}


def write_plugin(name: str, folder: Path) -> list[Path]:
    """Write the package NAME into a folder of its name.

    Args:
        name: the package, its loss, with `_features` its distiller, and with `_net` its model.
        folder: in which the package's own folder is made.

    Returns:
        The files.

    Raises:
        UserError: the name is none for a Python package or is taken, or the folder is there already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
        raise UserError(f"{name!r:.80}: a package's name has small letters, digits and _, as my_kd")
    for kind, offered in (("losses", name), ("losses", f"{name}_features"), ("models", f"{name}_net")):
        if offered in catalog.names(kind):  # type: ignore[arg-type]
            raise UserError(f"{offered!r} is the name of one of the {kind} already; choose another name")
    home = folder / name
    if home.exists():
        raise UserError(f"{home} is there already; choose another name, or move it away")
    if iskeyword(name) or find_spec(name) is not None:
        raise UserError(f"{name!r} is a word or a module of Python here already; choose another name")
    files = {home / path.replace("NAME", name): text.replace("NAME", name) for path, text in FILES.items()}
    for path, text in files.items():
        write(path, text.encode())
    return list(files)
