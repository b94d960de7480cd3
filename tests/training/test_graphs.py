"""Steps as CUDA graphs, on a CPU that stands in for the GPU: whole trainings have the bits of those without.

A graph is here what it is there: operators that read from and write to the places they had at the capture.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from kdbench.errors import UserError
from kdbench.spec.events import Task
from kdbench.spec.results import Result
from kdbench.spec.runs import Loss, Run
from kdbench.training import graphs, student_run
from kdbench.training.calls import Call, tensors_of
from kdbench.training.graphs import Graphed
from kdbench.training.images import training_views
from kdbench.training.recorded import Recorder
from kdbench.training.student_run import StudentRun
from tests.support.build import KD
from tests.support.distillers import SETTINGS as DISTILLERS
from tests.support.marks import slow_but
from tests.support.training import SETTINGS, TEACHER, Opened, digits, numbers, together

pytestmark = pytest.mark.usefixtures("digits_dropout")

STUDENTS = [
    digits("digits_mlp", KD, TEACHER, epochs=2),
    digits("digits_cnn", KD, TEACHER, lr=0.02, epochs=2),
    digits(
        "digits_cnn", Loss("fnkd", {"lam": 3.0, "tau": 2.0}), TEACHER, optimizer="adam", lr=0.001, epochs=2
    ),
    digits("digits_dropout", KD, TEACHER, epochs=2),
    digits("digits_cnn", KD, TEACHER, ema=0.8, label_smoothing=0.1, clip_norm=0.5, epochs=2),
]
FAST = {"adam", "all that follows a step", "ctkd"}
"""Settings and distillers of which each changes something else of a step; the others' tests are slow."""
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "nesterov": {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    "sgd without momentum": {"momentum": 0.0, "weight_decay": 5e-4},
    "adam": {"optimizer": "adam", "momentum": 0.0, "lr": 0.001, "weight_decay": 5e-4},
    "adamw": {"optimizer": "adamw", "momentum": 0.0, "lr": 0.001, "weight_decay": 0.05},
    "rmsprop": {"optimizer": "rmsprop", "lr": 0.001, "momentum": 0.9, "weight_decay": 5e-4},
    "rmsprop of Keras": {"optimizer": "rmsprop", "lr": 0.001, "momentum": 0.0, "eps_inside": True},
    "all that follows a step": {"clip_norm": 0.5, "max_norm": 1.0, "ema": 0.8, "milestones": (1,)},
}
ALL = {**SETTINGS, **OPTIMIZERS, "passes": {"passes": 2}}


class Graph:
    """Operators, done again on what lies in their places; what they give is put where it was put before."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.replays = 0

    @torch.no_grad()
    def replay(self) -> None:
        """Do all of them."""
        self.replays += 1
        for call in self.calls:
            again = call.function(*call.args, **call.kwargs)
            for place, made in zip(call.results, tensors_of(again), strict=True):
                if made is not place:
                    place.copy_(made)


class Cuda:
    """What `torch.cuda` does for a capture, for a CPU."""

    CUDAGraph = Graph

    def __init__(self) -> None:
        self.graphs: list[Graph] = []

    @contextmanager
    def graph(self, graph: Graph, pool: object) -> Iterator[None]:
        """Capture; unlike on a GPU the operators are done, too."""
        assert pool == "pool"
        with torch.no_grad(), Recorder() as recorder, torch.enable_grad():
            yield
        graph.calls = recorder.calls
        self.graphs.append(graph)

    def current_stream(self) -> "Cuda":
        """The only one."""
        return self

    Stream = current_stream

    def wait_stream(self, _: object) -> None:
        """Nothing runs beside the CPU."""

    def stream(self, _: object) -> AbstractContextManager[None]:
        """The only one."""
        return nullcontext()

    device = stream

    def get_rng_state(self) -> Tensor:
        """Of the CPU's generator."""
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor) -> None:
        """Of the CPU's generator."""
        torch.set_rng_state(state)

    def graph_pool_handle(self) -> str:
        """A name for it."""
        return "pool"


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cuda]:
    """A CPU on which steps are graphs."""
    here = Cuda()
    monkeypatch.setattr(graphs, "cuda", here)
    monkeypatch.setattr(graphs, "uses_graphs", lambda context: context.machine.local.cuda_graphs)
    monkeypatch.setattr("kdbench.training.student_run.rate_on", lambda _, lr: torch.tensor(lr))
    for module in ("images", "student_run", "teacher_batches"):
        monkeypatch.setattr(f"kdbench.training.{module}.uses_graphs", graphs.uses_graphs)
    graphs.shared_pool.cache_clear()
    yield here
    graphs.shared_pool.cache_clear()


def ends(opened: Opened, name: str, runs: list[Run], **local: Any) -> list[object]:  # noqa: ANN401
    found = together(runs, opened(name, **local))
    return [found[run.id] for run in runs]


def test_cohort_has_the_bits_of_one_without_graphs(with_teacher: Opened, cuda: Cuda) -> None:
    """With dropout, which is no graph; with a short last batch; with statistics that a graph changes."""
    usual = ends(with_teacher, "usual", STUDENTS)
    assert not cuda.graphs
    graphed = ends(with_teacher, "graphed", STUDENTS, cuda_graphs=True)
    assert list(map(numbers, graphed)) == list(map(numbers, usual))
    assert cuda.graphs
    assert all(graph.replays > 1 for graph in cuda.graphs)
    for one, other in zip(usual, graphed, strict=True):
        assert isinstance(one, Result)
        assert isinstance(other, Result)
        assert "cuda_graphs" not in one.environment
        assert other.environment["cuda_graphs"] is True


@pytest.mark.parametrize("name", slow_but(FAST, ALL))
def test_every_setting_of_a_recipe_has_the_same_bits(with_teacher: Opened, cuda: Cuda, name: str) -> None:
    run = digits("digits_cnn", KD, TEACHER, **{"train_size": 70, "epochs": 2, **ALL[name]})
    (usual,), (graphed,) = (
        ends(with_teacher, "usual", [run]),
        ends(with_teacher, "graphed", [run], cuda_graphs=True),
    )
    assert numbers(graphed) == numbers(usual)
    assert cuda.graphs, "the teacher's at least"
    assert isinstance(graphed, Result)
    assert ("cuda_graphs" in graphed.environment) == (not run.recipe.mixes), "the whole step"


@pytest.mark.parametrize(
    ("run", "is_graph"),
    [
        (STUDENTS[1], True),
        (replace(STUDENTS[1], precision="bf16"), True),
        (replace(STUDENTS[1], precision="float32-compiled"), False),
        (digits("digits_cnn", KD, TEACHER, clip_norm=0.5), True),
        (digits("digits_cnn", KD, TEACHER, mixup=1.0), False),
        (digits("digits_cnn", KD, TEACHER, ghost_batches=2), False),
    ],
    ids=["float32", "bf16", "compiled", "clip_norm", "mixup", "ghost_batches"],
)
@pytest.mark.usefixtures("cuda")
def test_which_students_steps_are_graphs(
    with_teacher: Opened, monkeypatch: pytest.MonkeyPatch, run: Run, *, is_graph: bool
) -> None:
    for name in ("check_precision", "forward_of"):  # which would compile
        monkeypatch.setattr(student_run, name, lambda *_: None)
    made = StudentRun(Task(run), with_teacher("here", cuda_graphs=True))
    assert (made.graphed is not None) == is_graph


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("name", slow_but(FAST, DISTILLERS))
def test_distiller_that_sees_outputs_and_the_epoch_is_part_of_the_graph(
    with_teacher: Opened, name: str
) -> None:
    """What is trained beside the student and what has running means, too; others step without a graph.

    DKD and CTKD are another loss in the second epoch, and the same in the third.
    """
    loss = Loss(name, DISTILLERS[name])
    run = digits("digits_cnn", loss, TEACHER, train_size=70, lr=0.001, weight_decay=5e-4)
    (usual,), (graphed,) = (
        ends(with_teacher, "usual", [run]),
        ends(with_teacher, "graphed", [run], cuda_graphs=True),
    )
    assert numbers(graphed) == numbers(usual)
    assert isinstance(graphed, Result)
    assert ("cuda_graphs" in graphed.environment) == (name not in ("crd", "crd_kd"))


def test_views_of_a_batch_are_a_graph_whose_images_stay(opened: Opened, cuda: Cuda) -> None:
    run = digits("digits_cnn", train_size=70)
    found = []
    for name, on in (("usual", False), ("graphed", True)):
        context = opened(name, cuda_graphs=on)
        views = training_views(run, context.data.of(run), context)
        found.append([batch for epoch in (1, 2) for batch in views.epoch(epoch)])
    for usual, graphed in zip(*found, strict=True):
        assert all(map(torch.equal, usual, graphed))
    assert len(cuda.graphs) == 2, "one of a whole batch, one of the last"


def test_cpu_has_no_graphs(with_teacher: Opened) -> None:
    assert StudentRun(Task(STUDENTS[1]), with_teacher("here", cuda_graphs=True)).graphed is None


def test_graph_reads_its_arguments_anew_and_leaves_what_it_changes_as_it_was(cuda: Cuda) -> None:
    count = torch.zeros(())

    def function(x: Tensor, more: tuple[Tensor | None, ...]) -> tuple[Tensor, list[Tensor | None]]:
        count.add_(1)
        return x.sum() * count, [None, x + (more[0] if more[0] is not None else 0)]

    graphed = Graphed(function, [count], "a test")
    for number, size in enumerate([3, 3, 2, 3, 2], start=1):
        x = torch.full((size,), float(number))
        total, (nothing, sum_) = graphed(x, (x, None))
        assert float(total) == size * number * number
        assert nothing is None
        assert sum_.tolist() == [2.0 * number] * size
        assert int(count) == number
    assert float(graphed(x, (None,))[0]) == 2 * 5 * 6
    assert len(cuda.graphs) == 3


def test_graph_is_made_anew_for_another_int(cuda: Cuda) -> None:
    graphed = Graphed(lambda x, epoch: x * epoch, (), "a test")
    assert [float(graphed(torch.ones(()), epoch)) for epoch in (1, 1, 2, 2)] == [1, 1, 2, 2]
    assert [graph.replays for graph in cuda.graphs] == [3, 3], "once to hold it against the operators"
    assert len(graphed.captured) == 1


def test_function_that_draws_is_no_graph_and_draws_what_it_would(cuda: Cuda) -> None:
    def function(x: Tensor) -> Tensor:
        return torch.rand_like(x)

    graphed = Graphed(function, (), "a test")
    torch.manual_seed(3)
    found = [graphed(torch.zeros(4)).tolist() for _ in range(3)]
    torch.manual_seed(3)
    assert found == [torch.rand(4).tolist() for _ in range(3)]
    assert not cuda.graphs


@pytest.mark.usefixtures("cuda")
def test_graph_that_gives_other_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Graph, "replay", lambda graph: graph.calls[-1].out.fill_(7))
    with pytest.raises(UserError, match=r"a test gives other numbers as a CUDA graph .* cuda_graphs = false"):
        Graphed(lambda x: x * 2, (), "a test")(torch.ones(2))


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize(("name", "bits"), [("changes", False), ("changes", True), ("weights", True)])
def test_graph_that_leaves_other_numbers_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, *, bits: bool
) -> None:
    """State always, weights where operators have the same bits each time: Adam may turn a step around."""
    place, usual = torch.zeros(2), Graph.replay

    def replay(graph: Graph) -> None:
        usual(graph)
        place[0] += 0.5

    monkeypatch.setattr(Graph, "replay", replay)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: bits)
    changed: dict[str, Any] = {"changes": (), name: [place]}
    graphed = Graphed(lambda x: place.add_(x).sum(), changed.pop("changes"), "a test", **changed)
    with pytest.raises(UserError, match="a test gives other numbers"):
        graphed(torch.ones(2))
    assert place.tolist() == [0.5, 0.0] or place.tolist() == [1.5, 1.0]


def test_what_cannot_be_captured_is_refused(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def refuse(_: Graph, pool: object) -> Iterator[None]:
        yield
        raise RuntimeError(f"operation not permitted when stream is capturing ({pool})\nCUDA kernel errors")

    monkeypatch.setattr(cuda, "graph", refuse)
    with pytest.raises(UserError, match=r"^a test cannot be captured as a CUDA graph: operation"):
        Graphed(lambda x: x * 2, (), "a test")(torch.ones(2))
