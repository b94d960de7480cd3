"""A stranger's evidence bundle, judged again: accuracies from predictions, verdicts from records.

Needs no torch, data or GPU. What comes from a stranger is bounded before it is read, and nothing leaves its
folder.
"""

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from msgspec import Struct

from kdbench import catalog, plugins
from kdbench.errors import UserError
from kdbench.evidence.bundle import FORMAT, Manifest, judge_again, verdicts
from kdbench.formatting import plural
from kdbench.spec.results import Result
from kdbench.spec.runs import PROTOCOL
from kdbench.store.predictions import LABELS, accuracy, decode
from kdbench.store.records import index, load_result
from kdbench.version import __version__

LARGEST = 4_000_000_000
"""Bytes that a bundle may unpack to."""
LARGEST_MANIFEST = 50_000_000
MOST_FILES = 200_000
_MEMBER = re.compile(
    r"manifest\.json|verdicts\.json|suites/[\w.@+-]{1,200}\.toml|results/[\w-]{1,80}/[\w.@+-]{1,240}\.json"
    r"|predictions/[0-9a-f]{12}/(?:labels|best|\d{1,6})\.[0-9a-f]{64}\.classes",
    re.ASCII,
)


class VerifiedRecord(Struct, frozen=True):
    """A record of a bundle, held against its predictions."""

    record: str
    wrong: str
    """What does not match; "" where all does."""
    proven: tuple[str, ...] = ()
    """The epochs whose accuracy was computed again from predictions."""


class Verified(Struct, frozen=True):
    """What came of a bundle."""

    records: list[VerifiedRecord]
    verdicts: int
    """How many were made again."""
    wrong: list[str]
    """What else does not match: files, labels, verdicts."""

    @property
    def sound(self) -> bool:
        """Whether everything matches."""
        return not self.wrong and not any(record.wrong for record in self.records)


def verify(path: Path) -> Verified:
    """Judge a bundle again.

    Raises:
        UserError: it cannot be read, is dangerous, or of another version.
    """
    with TemporaryDirectory(prefix="kdbench-") as temporary:
        folder = Path(temporary)
        try:
            return _verify(path, folder)
        except UserError as error:
            problems = [problem.replace(f"{folder}/", f"{path}:") for problem in error.problems]
            raise UserError(*problems) from error


def _verify(path: Path, folder: Path) -> Verified:
    """Hold a bundle against its manifest, its records against themselves, its verdicts against new ones."""
    manifest, wrong = _unpack(path, folder)
    there = index(folder / "results")
    records = []
    for run in sorted(there.results):
        files = (there.results[run], *there.repeats.get(run, ()))
        records += [_record(file, folder) for file in files]
    # A broken record stops the judge; one whose predictions contradict it is only named, and judged as it is.
    if any(record.wrong and not record.proven for record in records):
        return Verified(records, 0, [*wrong, "verdicts.json: not judged again, as records are broken"])
    _check_plugins(path, manifest)
    chosen = manifest.selection(folder)
    made = judge_again(chosen, chosen.load(), there, folder / "results")
    if verdicts(made) != (folder / "verdicts.json").read_bytes():
        wrong.append("verdicts.json: not the verdicts that its records give")
    return Verified(records, sum(map(len, made)), wrong)


def _check_plugins(path: Path, manifest: Manifest) -> None:
    """A plan with other code would be of other runs than the bundle has.

    Raises:
        UserError: a package is not installed, or in another version or of another source.
    """
    for plugin in manifest.plugins:
        here = plugins.installed(plugin.package)
        if plugin not in here:
            found = " and ".join(f"{each} (source {each.source[:8]})" for each in here) or "none of it"
            raise UserError(
                f"{path}: made with {plugin} (source {plugin.source[:8]}); installed here is {found}; "
                f"install {plugin} (pip install {plugin.package}=={plugin.version}), and verify it again"
            )


def _unpack(path: Path, folder: Path) -> tuple[Manifest, list[str]]:
    """Write the members below a folder; the manifest, and which of them are not those it names."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive)
            manifest = _manifest(path, archive)
            for info in archive.infolist():
                to = folder / info.filename
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_bytes(archive.read(info))
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}: no readable bundle ({error})") from error
    return manifest, list(_altered(manifest, folder))


def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse an archive before it is unpacked, if anything in it is not what a bundle has."""
    infos = archive.infolist()
    names = [info.filename for info in infos]
    for name in names:
        if not _MEMBER.fullmatch(name):
            raise UserError(f"{path}: refused, its member {name!r:.120} is nothing that a bundle has")
    size = sum(info.file_size for info in infos)
    if len(infos) > MOST_FILES or size > LARGEST or len(set(names)) < len(names):
        raise UserError(
            f"{path}: refused, {len(infos):,} members of {size:,} bytes; a bundle has at most {MOST_FILES:,} "
            f"of {LARGEST:,}, each once"
        )
    for needed in ("manifest.json", "verdicts.json"):
        if needed not in names:
            raise UserError(f"{path}: no bundle: it has no {needed}")


def _manifest(path: Path, archive: zipfile.ZipFile) -> Manifest:
    if archive.getinfo("manifest.json").file_size > LARGEST_MANIFEST:
        raise UserError(f"{path}: refused, its manifest is larger than {LARGEST_MANIFEST:,} bytes")
    try:
        manifest = msgspec.json.decode(archive.read("manifest.json"), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: its manifest is wrong: {error}") from error
    if (manifest.format, manifest.protocol) != (FORMAT, PROTOCOL):
        raise UserError(
            f"{path}: made by kdbench {manifest.kdbench} (format {manifest.format}, protocol "
            f"{manifest.protocol}), this is {__version__} ({FORMAT}, {PROTOCOL}); verify it with that version"
        )
    return manifest


def _altered(manifest: Manifest, folder: Path) -> Iterator[str]:
    """What differs between the files of a bundle and those that its manifest names."""
    there = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    del there["manifest.json"]
    for name in sorted(there.keys() | manifest.files.keys()):
        if name not in there:
            yield f"{name}: the manifest names it, the bundle has it not"
        elif name not in manifest.files:
            yield f"{name}: the manifest does not name it"
        elif sha256(there[name].read_bytes()).hexdigest() != manifest.files[name]:
            yield f"{name}: not the file that the manifest names"


def _record(path: Path, folder: Path) -> VerifiedRecord:
    """A record, held against its own content and its predictions."""
    name = f"{path.parent.name}/{path.name}"
    try:
        result = load_result(path)
        predicted = read_predictions(result, folder)
    except UserError as error:
        return VerifiedRecord(name, error.problems[0].replace(f"{folder}/", ""))
    if LABELS not in predicted:
        return VerifiedRecord(name, "its predictions are here, the labels are not" if predicted else "")
    proven = tuple(epoch for epoch in predicted if epoch != LABELS)
    return VerifiedRecord(name, contradictions(result, predicted), proven)


def contradictions(result: Result, predicted: Mapping[str, list[int]]) -> str:
    """How predictions, the labels among them, contradict their record; "" where they do not."""
    wrong = list(_foreign_labels(result))
    for epoch, classes in predicted.items():
        if epoch != LABELS:
            wrong.append(_differs(result, epoch, classes, predicted[LABELS]))
    return "; ".join(filter(None, wrong))


def _foreign_labels(result: Result) -> Iterator[str]:
    """Whether the true classes are those of the data set, where kdbench knows them."""
    known = catalog.find("datasets", result.run.dataset).test_labels_digest
    if known and not result.run.recipe.test_size and result.predicted[LABELS] != known:
        yield f"its labels are not those of the test images of {result.run.dataset}"


def _differs(result: Result, epoch: str, predicted: list[int], labels: list[int]) -> str:
    """How an epoch's predictions contradict the record; "" where they do not."""
    try:
        recorded = result.curve.at("best" if epoch == "best" else int(epoch))
        found = accuracy(predicted, labels)
    except (ValueError, IndexError) as error:
        return f"epoch {epoch}: {error}"
    if found == recorded:
        return ""
    return f"epoch {epoch}: its predictions give {found:.2f} %, the record says {recorded:.2f} %"


def read_predictions(result: Result, folder: Path) -> dict[str, list[int]]:
    """The classes of a run's epochs and its labels, as far as they are the files that its record names.

    Raises:
        UserError: its data set is of a package that is not installed.
    """
    classes = catalog.find("datasets", result.run.dataset).classes
    found: dict[str, list[int]] = {}
    for name, sha in result.predicted.items():
        path = folder / "predictions" / result.id / f"{name}.{sha}.classes"
        if path.is_file() and sha256(content := path.read_bytes()).hexdigest() == sha:
            found[name] = decode(content, classes)
    return found


def describe(path: Path, verified: Verified) -> Iterator[str]:
    """What came of it, in lines: what does not match first."""
    yield from verified.wrong
    yield from (f"{record.record}: {record.wrong}" for record in verified.records if record.wrong)
    proven = sum(bool(record.proven) for record in verified.records)
    if bare := len(verified.records) - proven:
        yield f"{bare} records without predictions: their curves stand for themselves"
    words = "all match" if verified.sound else "NOT all match"
    yield (
        f"{path}: {plural(len(verified.records), 'record')}, {proven} computed again from predictions, "
        f"{plural(verified.verdicts, 'row')} judged again: {words}"
    )
