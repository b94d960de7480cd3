"""What an installation that is not editable holds."""

import tomllib

from tests.support.places import ROOT

HOME = ROOT / "kdbench"


def test_every_file_that_is_no_code_is_installed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    installed = {path for glob in settings["package-data"]["kdbench"] for path in HOME.glob(glob)}
    there = {path for path in HOME.rglob("*") if path.is_file()}
    assert {path for path in there if path.suffix not in (".py", ".pyc")} == installed


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in HOME.rglob("*.py")}
    assert not {folder for folder in folders if not (folder / "__init__.py").exists()}
