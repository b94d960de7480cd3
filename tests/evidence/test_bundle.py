"""Evidence bundles of a trained project: sound as made, and every kind of change is found."""

import json
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path
from shutil import copytree

import pytest

from kdbench.evidence.bundle import manifest_of
from kdbench.machine import load_machine
from kdbench.plan.expand import expand, make_plan
from kdbench.plan.selection import Selection
from kdbench.store.predictions import accuracy, decode, encode
from kdbench.store.records import save_result
from kdbench.suite.load import load_suite
from kdbench.verdict.sequential import InterimPlan, record
from tests.support.command import Command
from tests.support.project import change as change_suite
from tests.support.project import make_project

SMALL = "suites/small"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose runs were trained, seconds in all."""
    from kdbench.training.context import open_context
    from kdbench.training.run import train

    folder = tmp_path_factory.mktemp("trained")
    suite = make_project(folder, change_suite(("lr = 0.1", "lr = 0.1\ntrain_size = 64")))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KDBENCH_DATA", str(folder / "data"))
        context = open_context(load_machine())
        for run in make_plan(expand(load_suite(suite), seeds=[0])):
            save_result(context.machine.results, train(run, context))
    return folder


@pytest.fixture
def project(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The trained project instead of an empty one."""
    monkeypatch.chdir(trained)
    return trained


@pytest.fixture
def bundle(kdbench: Command, tmp_path: Path) -> Path:
    """The evidence of the whole suite."""
    path = tmp_path / "evidence.zip"
    assert kdbench("bundle", SMALL, "--seeds", "0", "-o", str(path)).code == 0
    return path


def members_of(bundle: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def change(bundle: Path, name: str, content: bytes, *, listed: bool = False) -> None:
    """Replace the first member whose name begins so; `listed`: the manifest says the new digest."""
    members = members_of(bundle)
    found = next(member for member in members if member.startswith(name))
    members[found] = content
    if listed:
        manifest = json.loads(members["manifest.json"])
        manifest["files"][found] = sha256(content).hexdigest()
        members["manifest.json"] = json.dumps(manifest).encode()
    rewrite(bundle, members)


def rewrite(bundle: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(bundle, "w") as archive:
        for member, each in members.items():
            archive.writestr(member, each)


def member(bundle: Path, name: str) -> bytes:
    members = members_of(bundle)
    return next(content for each, content in members.items() if each.startswith(name))


def test_bundle_as_made_is_sound(kdbench: Command, bundle: Path) -> None:
    done = kdbench("verify", str(bundle))
    assert done.code == 0
    assert done.out.endswith("3 records, 3 computed again from predictions, 3 rows judged again: all match\n")


@pytest.mark.usefixtures("bundle")
def test_bundle_keeps_the_mode_and_the_link_of_the_file_that_it_replaces(
    kdbench: Command, tmp_path: Path
) -> None:
    """A file renamed onto a link, or a device, would remove it."""
    (tmp_path / "file").touch(mode=0o600)
    (tmp_path / "link").symlink_to("file")
    assert kdbench("bundle", SMALL, "--seeds", "0", "-o", str(tmp_path / "link")).code == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "file").read_bytes().startswith(b"PK")


def test_every_record_is_proven_at_last_and_best(kdbench: Command, bundle: Path) -> None:
    records = kdbench("verify", str(bundle), "--json").json["records"]
    assert all({"3", "best"} <= set(record["proven"]) for record in records)


def test_same_state_makes_the_same_bytes(kdbench: Command, bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    kdbench("bundle", SMALL, "--seeds", "0", "-o", str(other))
    assert other.read_bytes() == bundle.read_bytes()


def test_verifying_imports_neither_torch_nor_numpy(bundle: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from kdbench.evidence.verify import verify\n"
        f"assert verify(Path({str(bundle)!r})).sound\n"
        "print(*({'torch', 'numpy', 'torchvision'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"


def test_plan_of_interim_analyses_is_part_of_the_evidence(
    kdbench: Command, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = copytree(project, tmp_path / "planned")
    monkeypatch.chdir(planned)
    record(planned / "results", expand(load_suite(f"{SMALL}.toml"), seeds=range(5)), InterimPlan(most=5))
    path = tmp_path / "planned.zip"
    kdbench("bundle", SMALL, "--seeds", "0", "-o", str(path))
    assert member(path, "verdicts.json").count(b"analysed after each of at most 5 seeds") == 4
    assert kdbench("verify", str(path)).code == 0
    members = members_of(path)
    rewrite(path, {name: members[name] for name in members if "interim_analyses" not in name})
    assert kdbench("verify", str(path)).code == 1


def test_bundle_of_auto_seeds_is_refused(kdbench: Command, project: Path, tmp_path: Path) -> None:
    assert project.is_dir()
    done = kdbench("bundle", SMALL, "--seeds", "auto", "-o", str(tmp_path / "a.zip"))
    assert (done.code, "give the seeds" in done.err) == (2, True)


def test_changed_file_is_named(kdbench: Command, bundle: Path) -> None:
    change(bundle, "suites/", member(bundle, "suites/") + b"# more\n")
    done = kdbench("verify", str(bundle))
    assert (done.code, "suites/small.toml: not the file that the manifest names" in done.out) == (1, True)


def test_record_with_a_better_curve_is_named(kdbench: Command, bundle: Path) -> None:
    record = json.loads(member(bundle, "results/digits/digits_mlp-kd"))
    record["curve"]["top1"][-1] = record["last"] = record["best"] = 99.9
    record["best_epoch"] = 3
    change(bundle, "results/digits/digits_mlp-kd", json.dumps(record).encode(), listed=True)
    done = kdbench("verify", str(bundle))
    assert (done.code, "the record says 99.90 %" in done.out) == (1, True)
    assert "verdicts.json: not the verdicts that its records give" in done.out


def test_record_of_another_experiment_is_named(kdbench: Command, bundle: Path) -> None:
    record = json.loads(member(bundle, "results/digits/digits_mlp-kd"))
    record["run"]["recipe"]["lr"] = 0.2
    change(bundle, "results/digits/digits_mlp-kd", json.dumps(record).encode(), listed=True)
    done = kdbench("verify", str(bundle))
    assert (done.code, "its run hashes to" in done.out) == (1, True)


def test_predictions_and_labels_that_agree_but_are_not_the_data_sets(kdbench: Command, bundle: Path) -> None:
    """Whoever forges predictions must forge the labels, which are known."""
    record = json.loads(member(bundle, "results/digits/digits_mlp-kd"))
    sha = sha256(content := bytes(len(member(bundle, f"predictions/{record['id']}/3")))).hexdigest()
    members = members_of(bundle)
    for name in record["predictions"]:
        old = f"predictions/{record['id']}/{name}.{record['predictions'][name]}.classes"
        del members[old]
        members[f"predictions/{record['id']}/{name}.{sha}.classes"] = content
    record["predictions"] = dict.fromkeys(record["predictions"], sha)
    record["curve"]["top1"] = [100.0] * 3
    record |= {"last": 100.0, "best": 100.0, "best_epoch": 3}
    path = next(each for each in members if each.startswith("results/digits/digits_mlp-kd"))
    members[path] = json.dumps(record).encode()
    rewrite(bundle, members)
    done = kdbench("verify", str(bundle))
    assert (done.code, "its labels are not those of the test images of digits" in done.out) == (1, True)


def test_bundle_without_predictions_says_so(kdbench: Command, bundle: Path) -> None:
    whole = members_of(bundle)
    members = {name: whole[name] for name in whole if "predictions/" not in name}
    manifest = json.loads(members["manifest.json"])
    manifest["files"] = {name: sha for name, sha in manifest["files"].items() if name in members}
    rewrite(bundle, members | {"manifest.json": json.dumps(manifest).encode()})
    done = kdbench("verify", str(bundle))
    assert (done.code, "3 records without predictions" in done.out) == (0, True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("../evil.toml", b"", "is nothing that a bundle has"),
        ("/etc/passwd", b"", "is nothing that a bundle has"),
        ("suites/\x1b[31m.toml", b"", "is nothing that a bundle has"),
        ("manifest.json", b"{", "its manifest is wrong"),
        ("manifest.json", b"[" * 100_000, "its manifest is wrong"),
    ],
)
def test_dangerous_bundle_is_refused(
    kdbench: Command, bundle: Path, name: str, content: bytes, message: str
) -> None:
    members = members_of(bundle)
    rewrite(bundle, members | {name: content})
    done = kdbench("verify", str(bundle))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert message in done.err


def test_bundle_of_another_protocol_names_its_version(kdbench: Command, bundle: Path) -> None:
    manifest = json.loads(member(bundle, "manifest.json")) | {"protocol": 99, "kdbench": "9.9"}
    change(bundle, "manifest.json", json.dumps(manifest).encode())
    done = kdbench("verify", str(bundle))
    assert (done.code, "made by kdbench 9.9" in done.err) == (2, True)


def test_zip_bomb_is_refused_before_it_is_read(
    kdbench: Command, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdbench.evidence.verify.LARGEST", 1000)
    done = kdbench("verify", str(bundle))
    assert (done.code, "refused" in done.err) == (2, True)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip at all"])
def test_file_that_is_no_bundle_is_one_error(kdbench: Command, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.zip"
    path.write_bytes(content)
    done = kdbench("verify", str(path))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)


def test_bundle_of_nothing_is_an_error(kdbench: Command, tmp_path: Path) -> None:
    done = kdbench("bundle", SMALL, "--seeds", "7", "-o", str(tmp_path / "a.zip"))
    assert (done.code, "none of the chosen rows has a result" in done.err) == (2, True)


def test_manifest_keeps_all_that_chooses_rows() -> None:
    chosen = Selection(
        suites=(), rows="a*", seeds=(1,), variant="printed", part=(2, 3), settings={"epochs": 2}, smoke=True,
        precision="bf16",
    )  # fmt: skip
    assert manifest_of(chosen, [], {}).selection(Path()) == chosen


def test_classes_beyond_a_byte_take_two() -> None:
    classes = [0, 255, 256, 999]
    assert encode(classes, 1000) == bytes([0, 0, 255, 0, 0, 1, 231, 3])
    assert decode(encode(classes, 1000), 1000) == classes
    assert decode(encode([0, 99], 100), 100) == [0, 99]


def test_accuracy_is_the_share_of_equals() -> None:
    assert accuracy([1, 2, 3, 4], [1, 2, 3, 0]) == 75.0
    with pytest.raises(ValueError, match="3 predictions for 2 labels"):
        accuracy([1, 2, 3], [1, 2])
