"""Packages of strangers: installed beside kdbench while the process runs, as pip never does."""

import sys
from hashlib import sha256
from pathlib import Path

from kdbench import plugins
from kdbench.plugins import Plugin


def plugin(name: str, module: str) -> Plugin:
    """What runs record of a package of one module, version 1.0."""
    content = module.encode()
    head = f"{name}/{name}.py\0{len(content)}\0".encode()
    return Plugin(name, "1.0", sha256(head + content).hexdigest())


def install(folder: Path, name: str, module: str, points: str, version: str = "1.0") -> None:
    """A package of one module, in place of an older version; `folder` is on the path."""
    for old in folder.glob(f"{name}-*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    (folder / f"{name}.py").write_text(module, encoding="utf-8")
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    uninstall(name)


def uninstall(*modules: str) -> None:
    """Forget what was imported; the files stay where they are."""
    for module in modules:
        sys.modules.pop(module, None)
    plugins.forget()
