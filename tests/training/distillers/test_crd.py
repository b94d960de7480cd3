"""CRD's negatives, and the size of its memory."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from kdbench.training.distillers.crd import Contrastive, OtherClasses, contrastive
from kdbench.training.distillers.distiller import Setting
from kdbench.training.recorded import Recorder
from tests.support.distillers import output

LABELS = torch.tensor([2, 0, 1, 1, 0, 2, 2, 1, 0, 2])


def draw(n: int, seed: int = 0) -> torch.Tensor:
    y = torch.tensor([0, 1, 2])
    return OtherClasses(LABELS, 3).draw(y, n, torch.Generator().manual_seed(seed))


def test_negatives_are_all_images_of_other_classes_each_once() -> None:
    for label, row in enumerate(OtherClasses(LABELS, 3).draw(torch.tensor([0]), 7, torch.Generator())):
        assert sorted(row.tolist()) == [i for i, other in enumerate(LABELS.tolist()) if other != label]
    for label, row in enumerate(draw(6)):
        assert len(set(row.tolist())) == 6
        assert not (LABELS[row] == label).any()


def test_more_negatives_than_images_come_twice() -> None:
    rows = draw(50)
    assert rows.shape == (3, 50)
    assert all(not (LABELS[row] == label).any() for label, row in enumerate(rows))


def test_every_image_of_other_classes_is_drawn_as_often() -> None:
    """1,000 draws of 2 of 7: each 286 times on average, with a std of 14; five of these are allowed."""
    counts = torch.zeros(10)
    for seed in range(1000):
        counts[draw(2, seed)[0]] += 1
    assert counts[LABELS == 0].sum() == 0
    assert (counts[LABELS != 0] - 2000 / 7).abs().max() < 5 * 14.3


def test_negatives_depend_on_the_generator_alone() -> None:
    assert draw(4, 1).equal(draw(4, 1))
    assert not draw(4, 1).equal(draw(4, 2))


def contrastive_with_a_second_bank(crd: Contrastive, f: Tensor, f_t: Tensor, columns: Tensor) -> Tensor:
    """`Contrastive.contrast` as autograd does it by itself: of a copy of the bank."""
    v, v_t = normalize(crd.student(f)), normalize(crd.teacher(f_t))
    bank, bank_t = crd.memory.clone()
    scores = torch.stack([(v @ bank_t.T).gather(1, columns), (v_t @ bank.T).gather(1, columns)])
    h, N = (scores / crd.T).exp(), crd.memory.shape[1]
    with torch.no_grad():
        crd.Z.copy_(torch.where(crd.Z < 0, N * h.mean(dim=(1, 2)), crd.Z))
        moved = crd.momentum * crd.memory[:, columns[:, 0]] + (1 - crd.momentum) * torch.stack([v, v_t])
        crd.memory.index_copy_(1, columns[:, 0], normalize(moved, dim=2))
    return torch.stack([contrastive(each, N) for each in h / crd.Z[:, None, None]]).sum()


def made(images: int) -> Contrastive:
    torch.manual_seed(0)
    setting = Setting(output(0, 4, 1), output(1, 4, 1), torch.arange(images) % 10, 10)
    return Contrastive(setting, beta=0.8, dim=128, negatives=50, T=0.07, momentum=0.5)


def features(seed: int) -> Tensor:
    """Of eight images."""
    return output(seed, 4, 8).features.float()


def test_one_bank_gives_the_bits_of_two() -> None:
    """Three steps on images of which some come again, with parameters that move."""
    ours, other = made(500), made(500)
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        images = torch.randperm(500, generator=generator)[:8] if step < 2 else torch.arange(8)
        columns = torch.cat([images[:, None], ours.others.draw(images % 10, 50, generator)], dim=1)
        found: list[list[Tensor]] = []
        for crd, contrast in (ours, Contrastive.contrast), (other, contrastive_with_a_second_bank):
            f, f_t = features(step), features(9 + step)
            f.requires_grad_()
            value = contrast(crd, f, f_t, columns)
            gradients = torch.autograd.grad(value, [f, *crd.parameters()])
            crd.write()
            for parameter, gradient in zip(crd.parameters(), gradients[1:], strict=True):
                parameter.data.sub_(gradient)
            found.append([value, *gradients, *crd.state_dict().values()])
        assert all(map(torch.equal, *found))


def test_no_step_takes_room_for_a_second_bank() -> None:
    """Beside the bank of 2 x 5,000 x 128 numbers nothing is as large as half of one network's."""
    crd, columns = made(5000), torch.arange(8 * 51).view(8, 51)
    with Recorder() as recorder:
        crd.contrast(features(0), features(1), columns).backward()  # type: ignore[no-untyped-call]
        crd.write()
    bank = crd.memory.untyped_storage().data_ptr()
    made_of = [each for call in recorder.calls for each in call.results]
    others = [each.numel() for each in made_of if each.untyped_storage().data_ptr() != bank]
    assert 8 * 5000 <= max(others) < 5000 * 128 / 2


def test_memory_is_two_embeddings_of_each_image_and_no_more() -> None:
    shape = output(0, 4, 1)
    setting = Setting(shape, shape, torch.arange(500) % 10, 10)
    crd = Contrastive(setting, beta=0.8, dim=128, negatives=100, T=0.07, momentum=0.5)
    assert sum(each.numel() for each in crd.buffers()) == 2 * 500 * 128 + 2
    norms = crd.memory.norm(dim=2)
    assert 0.8 < norms.mean() < 1.2  # uniform in ±sqrt(3 / 128): of norm 1 on average, as released
