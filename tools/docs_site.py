"""What mkdocs does beside turning docs/ into pages (mkdocs.yml, `hooks`).

README.md is the first page, the reports in results/ and the notebook are pages; a link to a file of the
repository that is no page leads to the repository, where its address is known; the first use of a word of the
glossary on a page leads to its explanation.
"""

import json
import posixpath
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = "committed-results"
"""The pages of results/*.md; `results` is where `kdbench site` goes."""
GENERATED = {
    "index.md": "README.md",
    "reading-results.md": "docs/reading-results.ipynb",
    **{f"{RESULTS}/{path.name}": f"results/{path.name}" for path in sorted((ROOT / "results").glob("*.md"))},
}
"""By page: the file of the repository that it is made of."""
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\]\([^)]*\))*)\]\(([^)#\s]+)(#[^)]*)?\)")
BAR = r"\|"
PIPE = re.compile(r"`([^`\n]*\\\|[^`\n]*)`")
"""Code in a table with a bar, which GitHub shows as such and Python's Markdown with its backslash."""
LEFT_AS_IT_IS = re.compile(
    r"^```.*?^```|^~~~.*?^~~~|`+[^`]*`+|!?\[[^\]]*\]\([^)]*\)|<[^>]+>|^#.*?$|^:::.*?$|^    .*?$",
    re.DOTALL | re.MULTILINE,
)
WORDS = (
    *(
        "suite",
        "recipe",
        "distiller",
        "baseline",
        "gain",
        "delta",
        "reported epoch",
        "tolerance",
        "claim",
        "verdict",
    ),
    *("author run", "released weights", "bundle", "cohort", "audit", "scratch folder", "plugin", "seed"),
)
"""Of the glossary: those that are not clear by themselves."""


def on_files(files: Any, config: Any) -> Any:  # noqa: ANN401 - mkdocs'
    """Add the pages that are made of files outside docs/, and of the notebook."""
    from mkdocs.structure.files import File

    for page, source in GENERATED.items():
        path = ROOT / source
        text = notebook(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:  # noqa: ANN401 - mkdocs'
    """Turn links to files of the repository into links of the site, and lead words to the glossary."""
    place = page.file.src_uri
    source = GENERATED.get(place, f"docs/{place}")
    known = {GENERATED.get(uri, f"docs/{uri}"): uri for uri in files.src_uris}

    def lead(found: re.Match[str]) -> str:
        mark, text, target, fragment = found.groups()
        if "://" in target or target.startswith("mailto:"):
            return found[0]
        text = LINK.sub(lead, text)
        there = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if there in known:
            url = posixpath.relpath(known[there], posixpath.dirname(place) or ".")
            return f"{mark}[{text}]({url}{fragment or ''})"
        return f"[{text}]({config.repo_url}/blob/main/{there})" if config.repo_url else text

    markdown = PIPE.sub(lambda found: f"<code>{escape(found[1]).replace(BAR, '&#124;')}</code>", markdown)
    markdown = LINK.sub(lead, markdown)
    if place == "glossary.md":
        return re.sub(r"^- \*\*([^*]+)\*\*", with_anchors, markdown, flags=re.MULTILINE)
    if place.startswith(RESULTS):
        return markdown
    return with_words(markdown, posixpath.relpath("glossary.md", posixpath.dirname(place) or "."))


def with_words(markdown: str, glossary: str) -> str:
    """A page whose first use of each of `WORDS` is a link: not in code, links, headings or tags."""
    left = list(WORDS)
    made, start = [], 0
    for kept in LEFT_AS_IT_IS.finditer(markdown):
        made += [_led(markdown[start : kept.start()], left, glossary), kept[0]]
        start = kept.end()
    return "".join([*made, _led(markdown[start:], left, glossary)])


# ("a suite", ["suite"], "glossary.md") -> "a [suite](glossary.md#word-suite){ .word }", and nothing left
def _led(text: str, left: list[str], glossary: str) -> str:
    for word in list(left):
        changed = re.sub(
            rf"(?<![\w-])({word}s?)(?![\w-])", rf"[\1]({glossary}#{anchor(word)}){{ .word }}", text, count=1
        )
        if changed != text:
            left.remove(word)
            text = changed
    return text


def anchor(word: str) -> str:
    """The place of a word in the glossary."""
    return f"word-{word.lower().replace(' ', '-')}"


def with_anchors(found: re.Match[str]) -> str:
    """`- **Student, teacher**` with the places of both words."""
    places = "".join(f'<a id="{anchor(word)}"></a>' for word in found[1].split(", "))
    return f"- {places}**{found[1]}**"


def notebook(path: Path) -> str:
    """A notebook as Markdown: its text, its code, and what the code printed and drew."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(part for cell in cells for part in _parts(cell)) + "\n"


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            yield f"```text\n{''.join(output['text']).rstrip()}\n```"
        elif picture := output.get("data", {}).get("image/png"):
            drawn = "".join(picture).strip()
            yield f'<img alt="What the cell above draws" src="data:image/png;base64,{drawn}">'
