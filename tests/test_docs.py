"""The documentation as a site: built without a warning, nothing fetched from others, words explained."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT
from tools.docs_site import WORDS, anchor, notebook, with_words

GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^- \*\*([^*]+)\*\*: (.*?)(?=^- |^#|\Z)", GLOSSARY, flags=re.MULTILINE | re.DOTALL)


def test_word_of_the_glossary_is_explained_by_words_before_it() -> None:
    words = [word.lower() for names, _ in ENTRIES for word in names.split(", ")]
    known: list[str] = []
    for names, text in ENTRIES:
        known += names.lower().split(", ")
        later = [word for word in words if word not in known]
        assert [word for word in later if re.search(rf"\b{word}s?\b", text, re.IGNORECASE)] == [], names
    assert set(WORDS) <= set(words)


def test_first_use_of_a_word_leads_to_the_glossary_but_not_in_code_links_and_headings() -> None:
    page = (
        "# A suite\n\n`suite` and [a suite](b.md)\n\n```sh\nsuite\n```\n\nTwo suites, one suite, subsuite.\n"
    )
    assert with_words(page, "../glossary.md") == page.replace(
        "Two suites", "Two [suites](../glossary.md#word-suite){ .word }"
    )


def test_notebook_becomes_text_code_and_what_it_gave(tmp_path: Path) -> None:
    outputs = [
        {"output_type": "stream", "text": ["1\n"]},
        {"output_type": "display_data", "data": {"image/png": "aGk=\n"}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# One\n", "two"]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": outputs},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert notebook(tmp_path / "a.ipynb").split("\n\n") == [
        "# One\ntwo",
        "```python\nprint(1)\n```",
        "```text\n1\n```",
        '<img alt="What the cell above draws" src="data:image/png;base64,aGk=">\n',
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "REPOSITORY_URL": "https://github.com/someone/kdbench"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.mark.slow
def test_site_fetches_nothing_from_others(site: Path) -> None:
    fetched = []
    for path in site.rglob("*.html"):
        tags = re.findall(r"<(?:link|script|img|iframe)\b[^>]*>", path.read_text(encoding="utf-8"))
        fetched += [
            tag for tag in tags if re.search(r'(?:src|href)="(?:https?:)?//', tag) and "canonical" not in tag
        ]
    assert fetched == []
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert not any("fonts.googleapis" in text or "@import" in text for text in styles)


@pytest.mark.slow
def test_site_has_every_page_in_its_search(site: Path) -> None:
    found = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    pages = {each["location"].partition("#")[0] for each in found}
    assert {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")} <= pages
    assert {"reading-results.html", "committed-results/lopezpaz_mnist.html"} <= pages
    assert any("load_weights" in each["text"] for each in found if each["location"].startswith("api.html"))


@pytest.mark.slow
def test_links_of_the_site_lead_to_words_pages_and_the_repository(site: Path) -> None:
    method = (site / "your-method.html").read_text(encoding="utf-8")
    assert f'href="glossary.html#{anchor("distiller")}"' in method
    assert f'<a id="{anchor("distiller")}"></a>' in (site / "glossary.html").read_text(encoding="utf-8")
    first = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="committed-results/lopezpaz_mnist.html"' in first
    assert "<code>bench ROW&#124;SUITE</code>" in (site / "commands.html").read_text(encoding="utf-8")
    cluster = (site / "cluster.html").read_text(encoding="utf-8")
    assert 'href="https://github.com/someone/kdbench/blob/main/slurm/several_nodes.toml"' in cluster
