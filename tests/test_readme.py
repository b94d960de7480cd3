"""What the README and docs/commands.md say: verdicts of committed results, links, commands."""

import re
from itertools import chain
from pathlib import Path

import pytest

from kdbench.cli import COMMANDS
from kdbench.plan.selection import Selection
from kdbench.verdict.judge import judge
from tests.support.places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
ORDER = ["reproduced", "consistent", "inconclusive", "below", "above"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize(
    "suite",
    [pytest.param("lopezpaz_mnist", marks=pytest.mark.slow), "lopezpaz_synthetic", "hinton_mnist"],
)
def test_verdicts_are_those_of_the_committed_results(suite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    ((_, checks),) = judge(Selection(suites=(f"suites/{suite}",))).suites
    words = [check.top1.word.value for check in checks]
    counts = [f"{words.count(word)} {word}" for word in dict.fromkeys(sorted(words, key=ORDER.index))]
    (line,) = (line for line in README.splitlines() if f"results/{suite}.md" in line and line.startswith("|"))
    assert line.split("|")[2:4] == [f" {len(words)} ", f" {', '.join(counts)} "]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)", text)
    local = [target for target in targets if not target.startswith("http")]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_every_command_is_in_docs() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    written = set(re.findall(r"`([a-z]+)", text))
    assert set(chain.from_iterable(COMMANDS.values())) <= written


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 120
