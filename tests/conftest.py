"""What all tests share: property tests do not race the clock, and CI tries the same examples each time."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.server import Server

settings.register_profile("kdbench", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("kdbench")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A file server; no proxy and no mirror of this machine's comes between."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("KDBENCH_MIRRORS", raising=False)
    with Server() as running:
        yield running
