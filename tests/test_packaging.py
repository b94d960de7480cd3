"""What an installation that is not editable holds."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from tests.support.places import ROOT, SUITES

HOME = ROOT / "kdbench"


def test_every_file_that_is_no_code_is_installed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    installed = {path for glob in settings["package-data"]["kdbench"] for path in HOME.glob(glob)}
    there = {path for path in HOME.rglob("*") if path.is_file()}
    assert {path for path in there if path.suffix not in (".py", ".pyc")} == installed


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in HOME.rglob("*.py")}
    assert not {folder for folder in folders if not (folder / "__init__.py").exists()}


@pytest.mark.slow
def test_wheel_has_the_suites_and_runs_them_by_name_in_an_empty_folder(tmp_path: Path) -> None:
    """As who says `pip install kdbench && kdbench run quickstart`, with the dependencies that are here."""
    source, site, here = (tmp_path / name for name in ("source", "site", "here"))
    copytree(ROOT, source, ignore=ignore_patterns(".*", "results", "build", "__pycache__"))
    install = ("pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(site))
    subprocess.run([sys.executable, "-m", *install, str(source)], check=True)
    here.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200", "KDBENCH_DATA": str(tmp_path)}

    def kdbench(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kdbench", *words]
        return subprocess.run(command, cwd=here, env=environment, check=True, capture_output=True, text=True)

    listed = [line.split()[0] for line in kdbench("list", "suites").stdout.splitlines()[1:]]
    assert listed == sorted(path.stem for path in SUITES.glob("*.toml"))
    done = kdbench("run", "quickstart", "--smoke", "--rows", "lsr/*")
    note = "note: quickstart comes with kdbench; used are default settings (no benchmark.toml)"
    assert f"{note} and the results of {here / 'results'}" in done.stderr
    assert "    kdbench run quickstart --rows 'lsr/*' --smoke\n" in done.stdout
    assert [path.parent.name for path in here.rglob("digits_mlp-lsr.s0.*.json")] == ["digits"]
