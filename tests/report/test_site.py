"""`kdbench site`: links that lead somewhere, valid pages, a folder replaced as a whole; in Chromium."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import chdir
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from posixpath import normpath
from shutil import copytree
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit
from xml.dom.minidom import parseString

import pytest
from msgspec.structs import replace

from kdbench.plan.expand import expand
from kdbench.plan.selection import Selection, suites_in
from kdbench.report import feed
from kdbench.report.gather import gather
from kdbench.report.overview import Counts
from kdbench.report.site import Files, badge_of, site, unique_names
from kdbench.spec.verdicts import Word
from kdbench.store.outputs import MARKER
from kdbench.store.records import save_result
from kdbench.store.released import save_evaluation
from kdbench.suite.load import load_suite
from kdbench.verdict.judge import judge
from tests.support.authors import RELEASED, evaluation, store_curves
from tests.support.browser import NEEDS_CHROMIUM, Told, contrast
from tests.support.build import make_result
from tests.support.command import Command
from tests.support.golden_report import FOLDER
from tests.support.places import ROOT
from tests.support.project import AS_PRINTED, change, make_project, write_suite

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr", "path", "rect", "circle"}
MOST_BYTES = {"site": 25_000_000, "page of a suite": 2_000_000, "page of a row": 250_000}
Test = TypeVar("Test", bound=Callable[..., None])
MLP, _, KD = AS_PRINTED
SPITE = '<script>alert("x")</script> & Co'


class Markup(HTMLParser):
    """A page's links and ids; every element must be closed where it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.elements: Counter[str] = Counter()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: D102
        given = {name: value or "" for name, value in attrs}
        assert len(given) == len(attrs), f"an attribute of {tag} stands twice"
        self.links += [given[name] for name in ("href", "src") if name in given]
        self.ids += [given["id"]] if "id" in given else []
        self.elements[tag] += 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002, D102
        self.elements[tag] += 1

    def handle_endtag(self, tag: str) -> None:  # noqa: D102
        assert self.open.pop() == tag


def made(folder: Path) -> Files:
    """The site of the project in a folder."""
    with chdir(folder):
        results = Path("results")
        return site(gather(judge(Selection(suites=suites_in(Path("suites")))), beside=results), results)


@pytest.fixture(scope="module")
def repository() -> Files:
    """The site of this repository's suites and results."""
    return made(ROOT)


@pytest.fixture(scope="module")
def golden() -> Files:
    """The site of made-up results with every verdict."""
    return made(FOLDER)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The site of a suite with each kind of evidence, and of one with none and references of our own."""
    folder = tmp_path_factory.mktemp("small")
    reference = ("top1 = 92.0, gain", "std = 0.1, n = 3, top1 = 92.0, gain")
    path = make_project(folder, change(reference) + RELEASED)
    own = 'kind = "measured", source = "here", std = 0.1, n = 2, top1'
    write_suite(folder, change(("epochs = 3", "epochs = 4")).replace("top1 = 9", f"{own} = 9"), name="own")
    days = {MLP: "2026-11-28", KD: "2026-11-29"}
    for cell in expand(load_suite(path)):
        for run in cell.runs if cell.row.name in days else ():
            finished = {"cpu": "AMD EPYC", "finished": f"{days[cell.row.name]}T07:00:00+00:00"}
            result = make_result(run, 1.0, 2.0, 80.0 if cell.row.name == KD else 90.0)
            save_result(folder / "results", replace(result, environment=finished))
    store_curves(folder, {MLP: [(80.0, 90.0, 91.5)], KD: [(80.0, 90.0, last) for last in (91.9, 92.0, 92.1)]})
    save_evaluation(folder / "results", evaluation(digits=92.5))
    return made(folder)


@pytest.mark.parametrize("name", [pytest.param("repository", marks=pytest.mark.slow), "golden", "small"])
def test_pages_are_valid_and_every_link_leads_somewhere(name: str, request: pytest.FixtureRequest) -> None:
    files: Files = request.getfixturevalue(name)
    pages = {path: Markup(text.decode()) for path, text in files.items() if path.endswith(".html")}
    wrong = []
    for path, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), path
        assert page.elements["h1"] == 1, path
        for link in page.links:
            target = urlsplit(link)
            if target.scheme:
                assert link == "data:," or link.startswith("https://arxiv.org/abs/"), link
                continue
            place = normpath(PurePosixPath(path).parent / unquote(target.path)) if target.path else path
            fragment = unquote(target.fragment)
            if place not in files or (fragment and fragment not in pages[place].ids):
                wrong.append(f"{path}: {link}")
    assert wrong == []


@pytest.mark.slow
def test_sizes_are_bounded(repository: Files) -> None:
    sizes = {path: len(content) for path, content in repository.items()}
    assert sum(sizes.values()) < MOST_BYTES["site"]
    rows = [size for path, size in sizes.items() if "/rows/" in path]
    assert max(rows) < MOST_BYTES["page of a row"]
    assert max(size for path, size in sizes.items() if path.endswith("/index.html")) < 2_000_000
    assert len(rows) == sum(len(load_suite(path).rows) for path in sorted((ROOT / "suites").glob("*.toml")))


@pytest.mark.parametrize(
    ("kinds", "message", "colour"),
    [
        ({"our runs": {Word.REPRODUCED: 2}}, "2 reproduced", "brightgreen"),
        ({"our runs": {Word.REPRODUCED: 2, Word.CONSISTENT: 1}}, "2 reproduced, 1 consistent", "green"),
        ({"our runs": {Word.REPRODUCED: 2, Word.BELOW: 1}}, "2 reproduced, 1 below", "orange"),
        ({"our runs": {}, "author run": {Word.CONSISTENT: 4}}, "author run: 4 consistent", "green"),
        ({"our runs": {}}, "no verdict yet", "lightgrey"),
    ],
)
def test_badge_says_the_counts_of_verdicts(
    kinds: dict[str, dict[Word, int]], message: str, colour: str
) -> None:
    assert badge_of({kind: Counts(words) for kind, words in kinds.items()}) == (message, colour)


def test_each_suite_has_a_badge_and_so_has_the_site(small: Files) -> None:
    titles = {}
    for path in ("small/badge.svg", "own/badge.svg", "badge.svg"):
        parseString(small[path])  # noqa: S318 - our own
        titles[path] = small[path].decode().partition("<title>")[2].partition("</title>")[0]
    said = "kdbench: 1 reproduced, 1 below"
    assert titles == {
        "small/badge.svg": said,
        "own/badge.svg": "kdbench: no verdict yet",
        "badge.svg": said,
    }


def test_index_has_papers_numbers_verdicts_evidence_and_age(small: Files) -> None:
    text = small["index.html"].decode()
    articles = [part.partition("</article>")[0] for part in text.split("<article")[1:]]
    (line,) = (part for part in articles if 'href="small/index.html"' in part)
    shown = Text(f"<article {line}").shown
    for part in (
        "A paper small: 4 printed on digits",
        "our runs ✓ reproduced 1 ↓ below 1",
        "author runs 1 single seed, outside 1 1 rows are not counted: their printed numbers are the means",
        "released weights ✓ reproduced 1",
        "4 runs AMD EPYC 2026-11-28 to 2026-11-29",
    ):
        assert part in shown
    assert text.index("Suites that are ready to run") < text.index('href="own/index.html"')


def test_references_that_nobody_printed_are_not_counted_as_printed(small: Files) -> None:
    shown = Text(small["index.html"].decode()).shown
    assert "2 suites, 4 printed accuracies." in shown
    assert "own: 3 references on digits" in shown


class Text(HTMLParser):
    """The text of a page, without its markup."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.feed(text)
        self.shown = " ".join(" ".join(self.parts).split()).replace(" \0 ", "")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002, D102
        self.parts += ["\0"] if tag == "wbr" else []

    def handle_data(self, data: str) -> None:  # noqa: D102
        self.parts.append(data)


def test_page_of_a_row_has_all_about_it(small: Files) -> None:
    page = small["small/rows/1.kd-digits_mlp-digits_cnn.html"].decode()
    shown = Text(page).shown
    for part in (
        "92.00 ± 0.10 (3)",
        "code.py:1",
        "github.com/a/b@c0ffee000000:",
        "author run",
        "not counted the printed number is their mean",
        "cpu AMD EPYC",
        "kdbench run suites/small --rows 1.kd/digits_mlp:digits_cnn",
    ):
        assert part in shown
    assert page.count("records/digits/digits_mlp-kd_released") == 2


def test_titles_are_shown_and_not_obeyed(project: Path) -> None:
    quoted = SPITE.replace('"', '\\"')
    note = ("top1 = 90.0", f'top1 = 90.0, note = "{quoted}"')
    text = change(('paper = "A paper"', f'paper = "{quoted}"'), note)
    path = write_suite(project, text)
    run = expand(load_suite(path))[0].runs[0]
    finished = {"finished": "2026-11-28T07:00:00+00:00"}
    save_result(project / "results", replace(make_result(run, 1.0, 2.0, 90.0), environment=finished))
    files = made(project)
    for name, content in files.items():
        assert b"<script>alert" not in content, name
    shown = {name for name, content in files.items() if b"&lt;script&gt;alert(" in content}
    rows = {"small/rows/1.base-digits_mlp.html", "small/rows/1.kd-digits_mlp-digits_cnn.html"}
    assert rows | {"index.html", "feed.xml", "small/index.html"} <= shown


def test_same_inputs_give_the_same_bytes_wherever_they_lie(golden: Files, tmp_path: Path) -> None:
    copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    assert made(tmp_path) == golden


def test_names_of_pages_are_told_apart() -> None:
    found = unique_names(["1.kd/a:b", "1.kd:a/b", "1.KD/a-b", "..", "a" * 300])
    assert found == ["1.kd-a-b", "1.kd-a-b-2", "1.KD-a-b-3", "row", "a" * 120]


def test_entry_of_a_day_stays_as_it_is_when_others_come(project: Path) -> None:
    cells = expand(load_suite(project / "suites" / "small.toml"))

    def entries() -> list[str]:
        text = made(project)["feed.xml"].decode()
        parseString(text)  # noqa: S318 - our own
        return re.findall("<entry>.*?</entry>", text, re.DOTALL)

    assert entries() == []
    found = []
    for day, cell in enumerate(cells, 10):
        for number, run in enumerate(cell.runs):
            finished = {"finished": f"2026-11-{day}T0{number}:00:00+00:00"}
            save_result(project / "results", replace(make_result(run, 1.0, 2.0, 90.0), environment=finished))
        found.append(entries())
    newest = "small: 2 runs of 1 row, 2026-11-12"
    assert newest in found[2][0]
    assert "<updated>2026-11-12T01:00:00+00:00</updated>" in found[2][0]
    assert "1.base/digits_mlp: 90.00 (2 runs)" in found[0][0]
    assert found[2][1:] == found[1]
    assert found[1][1:] == found[0]
    assert feed.EPOCH not in found[0][0]


def test_command_replaces_a_former_site_and_nothing_else(stored: Path, kdbench: Command) -> None:
    folder = stored / "out"
    assert kdbench("site", "-o", "out").code == 0
    first = {path: path.read_bytes() for path in folder.rglob("*.html")}
    (stored / "suites" / "small.toml").rename(stored / "suites" / "other.toml")
    done = kdbench("site", "-o", "out")
    assert done.code == 0
    assert done.out.startswith("out/index.html: 1 suite, ")
    assert not (folder / "small").exists(), "the former site is gone"
    assert (folder / "other" / "index.html").is_file()
    assert len(first) == len(list(folder.rglob("*.html")))
    assert [path.name for path in stored.iterdir() if path.name.startswith(".out")] == []


@pytest.mark.parametrize("strange", ["notes.txt", "rows/notes.txt"])
def test_folder_of_somebody_else_is_left(stored: Path, kdbench: Command, strange: str) -> None:
    folder = stored / "out"
    path = folder / strange
    path.parent.mkdir(parents=True)
    path.write_text("mine", encoding="utf-8")
    done = kdbench("site", "-o", "out")
    assert done.code == 2
    assert f"(it has no {MARKER}); give another folder, or remove it yourself" in done.err
    path.unlink()
    path.parent.rmdir()
    assert kdbench("site", "-o", "out").code == 0
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine", encoding="utf-8")
    before = sorted(folder.rglob("*"))
    done = kdbench("site", "-o", "out")
    assert done.code == 2
    assert f"holds {strange}, which kdbench did not write and would delete" in done.err
    assert sorted(folder.rglob("*")) == before
    assert path.read_text(encoding="utf-8") == "mine"


def test_file_in_the_place_of_the_folder_is_left(stored: Path, kdbench: Command) -> None:
    (stored / "out").write_text("mine", encoding="utf-8")
    assert kdbench("site", "-o", "out").code == 2
    assert (stored / "out").read_text(encoding="utf-8") == "mine"


@pytest.fixture(scope="module")
def address(golden: Files, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The golden site, written to a folder."""
    folder = tmp_path_factory.mktemp("site")
    for name, content in golden.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder.as_uri()


@pytest.fixture
def page(tab: Told, address: str, request: pytest.FixtureRequest) -> Iterator["Page"]:
    """The index or another page, opened; the site asks for its own files only and complains of nothing."""
    tab.opens(f"{address}/{getattr(request, 'param', 'index.html')}", 1280)
    yield tab.page
    assert tab.errors == []
    assert [url for url in tab.requests if not url.startswith(address)] == []


def in_chromium(test: Test) -> Test:
    """A test that opens pages: marked, and skipped where there is no Chromium."""
    for mark in NEEDS_CHROMIUM:
        test = mark(test)
    return test


PAGES = ["index.html", "golden/index.html", "golden/rows/1.kd-digits_mlp-digits_mlp-2.html"]


@in_chromium
def test_one_goes_from_the_index_to_a_row_and_back(page: "Page", address: str) -> None:
    page.get_by_role("link", name="A made-up paper").first.click()
    page.wait_for_url(f"{address}/golden/index.html")
    row = page.locator("[id='golden/1.kd/digits_mlp:digits_mlp@2']")
    row.locator("button.open").click()
    row.get_by_role("link", name="all about it").click()
    page.wait_for_url(f"{address}/golden/rows/*.html")
    assert page.locator("h1").inner_text() == "digits_mlp from digits_mlp@2"
    assert page.locator("figure .seed:not(.base)").count() == 3
    assert page.locator("figure .mean.base").count() == page.locator("figure .printed").count() == 1
    page.get_by_role("link", name="in its table").click()
    page.wait_for_url(f"{address}/golden/index.html#**")
    assert row.locator("tr.more").is_visible()
    page.get_by_role("link", name="kdbench").click()
    page.wait_for_url(f"{address}/index.html")


@pytest.mark.slow
@in_chromium
@pytest.mark.parametrize("page", PAGES, indirect=True)
def test_no_page_is_wider_than_its_window_and_text_is_readable_in_both_schemes(page: "Page") -> None:
    for width in (1280, 768, 390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        page.reload()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        for selector in ("h1", ".subject", ".verdict", ".verdict i", "a"):
            assert contrast(page, selector) >= 4.5, f"{selector}, {scheme}"


@in_chromium
def test_index_says_how_long_ago_runs_were_trained(browser: "Browser", address: str) -> None:
    page = browser.new_page()
    told = Told(page)
    page.clock.set_fixed_time("2026-11-30T12:00:00Z")
    page.goto(f"{address}/index.html")
    ages = page.locator("time").all_inner_texts()
    assert all(text.endswith("days ago") for text in ages)
    assert told.errors == []
    page.close()
