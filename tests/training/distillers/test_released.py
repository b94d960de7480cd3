"""The terms of distillers against values and gradients of the authors' code (golden/distillers.json)."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from kdbench.models.output import Output
from kdbench.training.distillers.at import AttentionTransfer
from kdbench.training.distillers.cc import congruence
from kdbench.training.distillers.crd import Contrastive
from kdbench.training.distillers.distiller import Setting
from kdbench.training.distillers.dkd import decoupled
from kdbench.training.distillers.fitnet import FitNet
from kdbench.training.distillers.nst import NeuronSelectivity
from kdbench.training.distillers.pkt import ProbabilisticTransfer
from kdbench.training.distillers.rkd import Relational
from kdbench.training.distillers.sp import SimilarityPreserving
from kdbench.training.distillers.vid import Gaussian
from tests.support.places import GOLDEN

CASES: dict[str, dict[str, Any]] = {
    case["method"]: case for case in json.loads((GOLDEN / "distillers.json").read_text("utf-8"))["cases"]
}


def doubles(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def given(method: str) -> tuple[list[Tensor], list[Tensor]]:
    """The student's inputs, to be differentiated by, and the teacher's."""
    case = CASES[method]
    return [doubles(each).requires_grad_() for each in case["student"]], [
        doubles(each) for each in case["teacher"]
    ]


def check(method: str, value: Tensor, inputs: Sequence[Tensor]) -> None:
    case = CASES[method]
    assert value.item() == pytest.approx(case["value"], abs=1e-9, rel=0)
    gradients = torch.autograd.grad(value, inputs)
    for gradient, wanted in zip(gradients, case["gradient"], strict=True):
        torch.testing.assert_close(gradient, doubles(wanted), atol=1e-9, rtol=0)


def of(features: Tensor, maps: Sequence[Tensor] = ()) -> Output:
    """The released lists of maps have one more before those that the methods read."""
    return Output(features, features, maps=tuple(maps))


def setting(features: int = 5, teacher_features: int = 7, images: int = 9) -> Setting:
    shapes = (torch.empty(1, width, device="meta") for width in (features, teacher_features))
    student, teacher = (of(each) for each in shapes)
    return Setting(student, teacher, torch.arange(images) % 3, 3)


@pytest.mark.parametrize(
    ("method", "distiller"), [("at", AttentionTransfer), ("nst", NeuronSelectivity)], ids=["at", "nst"]
)
def test_sum_over_stages_equals_the_authors_code(
    method: str, distiller: type[AttentionTransfer | NeuronSelectivity]
) -> None:
    s, t = given(method)
    nothing = torch.zeros(4, 1)
    unread = torch.zeros(4, 2, 9, 9)  # the first map, which neither reads
    term = distiller(setting(), beta=1.0).term(of(nothing, [unread, *s]), of(nothing, [unread, *t]))
    check(method, term, s)


def test_similarity_of_the_last_map_equals_the_authors_code() -> None:
    s, t = given("sp")
    nothing = torch.zeros(4, 1)
    check("sp", SimilarityPreserving(setting(), beta=1.0).term(of(nothing, s), of(nothing, t)), s)


def test_relations_equal_the_authors_code() -> None:
    s, t = given("rkd")
    term = Relational(setting(), beta=1.0, **CASES["rkd"]["params"]).term(of(s[0]), of(t[0]))
    check("rkd", term, s)


def test_neighbourhoods_equal_the_authors_code() -> None:
    s, t = given("pkt")
    check("pkt", ProbabilisticTransfer(setting(), beta=1.0).term(of(s[0]), of(t[0])), s)


def test_congruence_of_embeddings_equals_the_authors_code() -> None:
    s, t = given("cc")
    check("cc", congruence(s[0], t[0]), s)


def test_hint_after_the_regressor_equals_the_authors_code() -> None:
    """The regressor is of the same size; with the identity in its place the term is the released loss."""
    s, t = given("hint")
    nothing = torch.zeros(4, 1)
    shape = of(nothing, [torch.empty(1, 3, 4, 4, device="meta")])
    fitnet = FitNet(Setting(shape, shape, torch.arange(4), 3), beta=1.0, layer=0)
    fitnet.regressor = nn.Sequential()
    check("hint", fitnet.term(of(nothing, s), of(nothing, t)), s)
    check("hint", mse_loss(s[0], t[0]), s)


def test_information_equals_the_authors_code() -> None:
    (s, t), case = given("vid"), CASES["vid"]
    stage = Gaussian(3, 5).double()
    start = doubles(case["weights"]["log_scale"])
    torch.testing.assert_close(stage.log_scale.detach(), start, rtol=1e-6, atol=0)
    stage.load_state_dict(
        {key.replace("regressor", "mean"): doubles(value) for key, value in case["weights"].items()}
    )
    check("vid", stage(s[0], t[0]), s)


def test_decoupled_terms_equal_the_authors_code() -> None:
    (s, t), case = given("dkd"), CASES["dkd"]
    alpha, beta, T = (case["params"][key] for key in ("alpha", "beta", "T"))
    target, others = decoupled(s[0], torch.tensor(case["classes"]), t[0], T)
    check("dkd", T**2 * (alpha * target + beta * others), s)


def contrastive() -> Contrastive:
    case = CASES["crd"]
    params = case["params"]
    crd = Contrastive(
        setting(images=params["n_data"]),
        beta=1.0,
        dim=params["feat_dim"],
        negatives=params["nce_k"],
        T=params["nce_t"],
        momentum=params["nce_m"],
    ).double()
    weights = {
        f"{name}.{part}": doubles(case["weights"][f"embed_{name[0]}.linear.{part}"])
        for name in ("student", "teacher")
        for part in ("weight", "bias")
    }
    state = {"memory": doubles(case["memory_before"]), "Z": doubles(case["normalizers"]), **weights}
    crd.load_state_dict(state)
    return crd


def test_first_contrast_equals_the_authors_code() -> None:
    """The memory that the golden file gives for after the call is the one from before: it is not compared."""
    (s, t), case, crd = given("crd"), CASES["crd"], contrastive()
    check("crd", crd.contrast(s[0], t[0], torch.tensor(case["contrast_index"])), s)


def test_memory_moves_halfway_to_the_embeddings_of_the_batch_alone() -> None:
    (s, t), case, crd = given("crd"), CASES["crd"], contrastive()
    before = crd.memory.clone()
    crd.contrast(s[0], t[0], torch.tensor(case["contrast_index"]))
    assert crd.memory.equal(before), "until the gradient is there"
    crd.write()
    index = torch.tensor(case["index"])
    for place, embedded in enumerate((crd.student(s[0]), crd.teacher(t[0]))):
        wanted = before[place].clone()
        wanted[index] = normalize(0.5 * wanted[index] + 0.5 * normalize(embedded.detach()))
        torch.testing.assert_close(crd.memory[place], wanted, atol=1e-12, rtol=0)


def test_normalizers_are_set_by_the_first_batch_alone() -> None:
    (s, t), case, crd = given("crd"), CASES["crd"], contrastive()
    columns = torch.tensor(case["contrast_index"])
    v = normalize(crd.student(s[0]))
    scores = (v[:, None] * crd.memory[1][columns]).sum(dim=2)
    mean = 9 * (scores / case["params"]["nce_t"]).exp().mean()
    crd.contrast(s[0], t[0], columns)
    torch.testing.assert_close(crd.Z[0], mean.detach(), atol=1e-9, rtol=1e-12)
    Z = crd.Z.clone()
    crd.contrast(s[0] + 1, t[0], columns)
    assert crd.Z.equal(Z)
