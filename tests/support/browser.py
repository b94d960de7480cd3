"""A real Chromium, and what a page does in it besides showing itself."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

NEEDS_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.slow,  # Chromium itself costs seconds
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]
"""The marks of tests that open pages."""


@contextmanager
def chromium() -> Iterator["Browser"]:
    """Chromium, started; it is closed afterwards."""
    playwright = pytest.importorskip("playwright.sync_api")
    rights = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox refuses to run as root
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=rights)
        yield started
        started.close()


class Told:
    """What a page does besides showing itself: its errors and its requests."""

    def __init__(self, page: "Page") -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page = page
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _request(self, request: "Request") -> None:
        if not request.url.startswith("data:"):
            self.requests.append(request.url)

    def opens(self, address: str, width: int, height: int = 900) -> None:
        """Open an address as a new page would be: nothing is told of an earlier one, nothing emulated."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.emulate_media(media="null", color_scheme="null")
        self.errors.clear()
        self.requests.clear()
        if self.page.url == address:  # a fifth of the work: going there again would take a new process
            self.page.reload()
        else:
            self.page.goto(address)


def contrast(page: "Page", selector: str) -> float:
    """The contrast of an element's text with the page behind it, as WCAG 2 defines it."""
    script = """selector => {
      const light = text => {
        const [r, g, b] = text.match(/[\\d.]+/g).map(part => part / 255)
          .map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const text = light(getComputedStyle(document.querySelector(selector)).color);
      const paper = light(getComputedStyle(document.body).backgroundColor);
      return (Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05);
    }"""
    return float(page.evaluate(script, selector))
