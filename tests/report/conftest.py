"""Chromium, and one page in it, for all tests that look at a page."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import Told, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="package")
def browser() -> Iterator["Browser"]:
    """Chromium, started for the first page."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="package")
def tab(browser: "Browser") -> Told:
    """A page that tests open one after the other: one for each of them would be a process for each."""
    return Told(browser.new_page())
