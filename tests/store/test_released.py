"""kdbench/store/released.py: evaluations of released weights, found by the digest of the file."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.spec.weights import Imported
from kdbench.store.released import evaluation_of, load_evaluations, save_evaluation
from tests.support.authors import evaluation


def test_an_evaluation_is_found_by_digest_model_and_data_set(tmp_path: Path) -> None:
    kept = evaluation(digits=92.5)
    path = save_evaluation(tmp_path, kept)
    stored = load_evaluations(tmp_path)
    weights = Imported(kept.model, kept.source.sha256)
    assert evaluation_of(weights, "digits", stored) == (path, kept)
    assert evaluation_of(weights, "cifar10", stored) is None
    assert evaluation_of(replace(weights, sha256="b" * 64), "digits", stored) is None
    assert evaluation_of(replace(weights, model="digits_mlp"), "digits", stored) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema": 1', '"schema": 2', "of schema 2, this is 1"),
        ('"top1"', '"top2"', "no valid evaluation of weights"),
        ("}", "", "no valid evaluation of weights"),
    ],
)
def test_an_evaluation_that_was_changed_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = save_evaluation(tmp_path, evaluation(digits=92.5))
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(UserError, match=message) as error:
        load_evaluations(tmp_path)
    assert str(path) in str(error.value)
