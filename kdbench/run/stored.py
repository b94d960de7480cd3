"""A result in Python, with what was kept beside it: `result.load_weights()`, `result.predictions()`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from kdbench import catalog
from kdbench.errors import UserError, require
from kdbench.machine import load_machine
from kdbench.spec.results import Result
from kdbench.spec.runs import ReportEpoch
from kdbench.store import records
from kdbench.store.files import digest
from kdbench.store.predictions import LABELS, decode, predictions_file

if TYPE_CHECKING:
    from torch import Tensor


class StoredResult(Result, frozen=True, kw_only=True):
    """What one run gave, as `kdbench.train`, `train_all` and `load_result` return it."""

    def load_weights(self, epoch: ReportEpoch = "last", scratch: Path | None = None) -> "dict[str, Tensor]":
        """The student's weights by name, float32, on the CPU.

        `build_network(student, classes, channels).load_state_dict(...)` takes them
        (`kdbench.models.build`).

        Args:
            epoch: `last`, `best` (on the test images) or the number of one whose weights were kept.
            scratch: the scratch folder; left out, that of benchmark.toml.

        Raises:
            UserError: the weights of the epoch were not kept, or are not on this machine, or damaged.
        """
        from safetensors.torch import load_file

        name = self._kept(epoch, self.weights)
        folder = (scratch or load_machine().scratch) / "weights" / self.id
        path = folder / f"{name}.{self.weights[name]}.safetensors"
        if not path.is_file() or digest(path) != self.weights[name]:
            raise self._missing(path)
        return load_file(path)

    def predictions(self, epoch: ReportEpoch = "last", scratch: Path | None = None) -> list[int]:
        """The class that was predicted for each test image, in the order of the data set.

        Args:
            epoch: as of `load_weights`.
            scratch: as of `load_weights`.

        Raises:
            UserError: as `load_weights`.
        """
        return self._classes(self._kept(epoch, self.predicted), scratch)

    def labels(self, scratch: Path | None = None) -> list[int]:
        """The true class of each test image, in the order of the data set.

        Raises:
            UserError: as `load_weights`.
        """
        return self._classes(self._kept(LABELS, self.predicted), scratch)

    def _classes(self, name: str, scratch: Path | None) -> list[int]:
        folder, sha = scratch or load_machine().scratch, self.predicted[name]
        path = predictions_file(folder, self.id, name, sha)
        if path is None:
            raise self._missing(folder / "predictions" / self.id / f"{name}.{sha}.classes")
        return decode(path.read_bytes(), catalog.find("datasets", self.run.dataset).classes)

    def _kept(self, epoch: int | str, there: Mapping[str, str]) -> str:
        """The name under which an epoch was kept: its number, or `best`."""
        name = str(self.run.recipe.epochs if epoch == "last" else epoch)
        if name not in there:
            kept = ", ".join(sorted(each for each in there if each != LABELS)) or "none"
            raise UserError(f"{self.run.slug} seed {self.run.seed}: epoch {epoch} was not kept; kept: {kept}")
        return name

    def _missing(self, path: Path) -> UserError:
        return UserError(
            f"{path}: not here or damaged; weights and predictions stay on the machine that trained the run: "
            f"kdbench.train(result.run, rerun=True) makes them anew"
        )


def stored(result: Result) -> StoredResult:
    """The same result, with the methods of `StoredResult`."""
    return StoredResult(**asdict(result))


def load_result(path: Path | str) -> StoredResult:
    """Read one result and hold it against its own id and curve.

    Raises:
        UserError: broken, of a newer schema, or its content is not that of its id.
    """
    require("path", path, (str, Path), "the file of a result")
    return stored(records.load_result(Path(path)))
