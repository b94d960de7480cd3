"""The HTML report in a real Chromium: sorting, filtering, opening a row; no error, no request, no delay."""

from collections.abc import Iterator
from contextlib import chdir
from itertools import product
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from kdbench.commands.report import write_page
from kdbench.plan.selection import Selection
from kdbench.report import gather, html
from kdbench.report.content import Report
from kdbench.spec.suites import Reference
from kdbench.verdict import judge
from kdbench.verdict.check import check_suite
from tests.support.browser import NEEDS_CHROMIUM, Told, contrast
from tests.support.build import CE, RECIPE, make_cell, make_result, make_row, make_suite
from tests.support.golden_report import FOLDER, SUITE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

    from kdbench.spec.results import Result

MOST_BYTES, MOST_SECONDS = 5_000_000, 2.0
"""Of a page of 500 rows, or 10,000, with their curves."""

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the golden project, written beside nothing else."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(path, golden(path.parent))
    return path.as_uri()


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same as a large page: four rows in each file beside it."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "ONE_FILE", 0)
        patch.setattr(html, "ROWS_PER_FILE", 4)
        write_page(path, golden(path.parent))
    beside = sorted(file.name for file in (path.parent / "report.files").glob("*.js"))
    assert beside == ["0.js", "1.js", "2.js"]
    return path.as_uri()


def golden(beside: Path) -> list[Report]:
    with chdir(FOLDER):
        return gather.gather(judge.judge(Selection(suites=(SUITE,))), beside=beside)


@pytest.fixture
def page(tab: Told, address: str) -> Iterator["Page"]:
    """The page, opened; it must have asked for nothing and complained of nothing when the test is over."""
    tab.opens(address, 1400)
    yield tab.page
    assert (tab.errors, tab.requests) == ([], [address])


def students(page: "Page", table: int) -> list[str]:
    """The names of a table's visible rows, in their order, with their teachers."""
    rows = page.locator("section.table").nth(table).locator("tbody[id]:visible > tr:first-child")
    return [" ".join(text.split()) for text in rows.locator("th").all_inner_texts()]


def figures(page: "Page", table: int, column: int) -> list[str]:
    rows = page.locator("section.table").nth(table).locator("tbody[id]:visible > tr:first-child")
    return [text.split()[0] for text in rows.locator(f"> :nth-child({column})").all_inner_texts()]


def head(page: "Page", table: int, column: int) -> "Locator":
    return page.locator("section.table").nth(table).locator(f"thead th[aria-sort]:nth-child({column})")


MEASURED = 4


def test_column_sorts_up_and_down_and_back_to_the_papers_order(page: "Page") -> None:
    paper = figures(page, 1, MEASURED)
    seen = {}
    for _ in range(3):
        head(page, 1, MEASURED).locator("button").click()
        seen[head(page, 1, MEASURED).get_attribute("aria-sort")] = figures(page, 1, MEASURED)
    assert seen == {
        "ascending": ["91.67", "92.00", "93.45", "95.50", "–", "–", "–"],
        "descending": ["95.50", "93.45", "92.00", "91.67", "–", "–", "–"],
        "none": paper,
    }


def test_sorting_one_column_forgets_the_other(page: "Page") -> None:
    for column in (MEASURED, 1):
        head(page, 1, column).locator("button").click()
    assert [head(page, 1, column).get_attribute("aria-sort") for column in (MEASURED, 1)] == [
        "none",
        "ascending",
    ]
    assert students(page, 1) == ["›digits_cnn"] * 2 + ["›digits_mlp"] * 5


def test_sorting_takes_the_opened_line_along(page: "Page") -> None:
    page.locator("section.table").nth(1).locator("button.open").first.click()
    head(page, 1, MEASURED).locator("button").click()
    opened = page.locator("section.table").nth(1).locator("tbody[id]").nth(2)
    assert opened.locator("tr.more").is_visible()
    assert "1.kd/digits_mlp:digits_cnn" in opened.locator("tr.more").inner_text()


def test_search_keeps_the_rows_that_have_every_word(page: "Page") -> None:
    page.get_by_label("Find").fill("1.kd DIGITS_MLP@")
    assert [len(students(page, table)) for table in range(3)] == [0, 2, 0]
    assert page.locator("#shown").inner_text() == "2 of 11 rows"
    assert page.locator("section.table:visible").count() == 1


def test_verdicts_keep_the_rows_that_have_any_of_them(page: "Page") -> None:
    for word in ("failed", "pending"):
        page.get_by_role("button", name=word).click()
    assert page.locator(".chip[aria-pressed=true]").count() == 2
    assert [len(students(page, table)) for table in range(3)] == [0, 1, 1]
    page.get_by_role("button", name="failed").click()
    assert page.locator("#shown").inner_text() == "1 of 11 rows"


def test_row_opens_with_its_curves_and_the_way_to_its_records(page: "Page", address: str) -> None:
    row = page.locator("[id='golden/1.kd/digits_mlp:digits_mlp@2']")
    assert not row.locator("tr.more").is_visible()
    row.locator("button.open").click()
    assert row.locator("button.open").get_attribute("aria-expanded") == "true"
    assert row.locator("figure .seed:not(.base)").count() == 3
    assert row.locator("figure .mean.base").count() == row.locator("figure .printed").count() == 1
    links = [str(link.get_attribute("href")) for link in row.locator("tr.more a").all()]
    here = Path(address.removeprefix("file://")).parent
    assert [(here / link.replace("%40", "@")).is_file() for link in links] == [True] * 3


def test_row_of_an_address_is_open(page: "Page", address: str) -> None:
    page.goto(f"{address}#golden/2/digits_cnn")
    row = page.locator("[id='golden/2/digits_cnn']")
    assert row.locator("tr.more").is_visible()
    title = row.locator("xpath=ancestor::section").locator("h2").bounding_box()
    assert title is not None
    assert title["y"] > 0, "the table's name is in sight"


def test_row_without_a_result_says_so_instead_of_a_curve(page: "Page") -> None:
    row = page.locator("[id='golden/2/digits_mlp']")
    row.locator("button.open").click()
    assert row.locator("figure").inner_text() == "No run of this row has a result yet: there is no curve."


def test_curve_tells_the_accuracy_under_the_pointer(page: "Page") -> None:
    row = page.locator("[id='golden/1.base/digits_mlp']")
    row.locator("button.open").click()
    row.locator("figure svg").hover(position={"x": 1, "y": 20})
    assert row.locator("figcaption output").inner_text().startswith("epoch 1: ")


def test_everything_is_reached_by_the_keyboard(page: "Page") -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("[id='golden/1.base/digits_mlp'] button.open").focus()
    page.keyboard.press("Enter")
    assert page.locator("[id='golden/1.base/digits_mlp'] tr.more").is_visible()
    head(page, 0, 1).locator("button").focus()
    page.keyboard.press("Space")
    assert head(page, 0, 1).get_attribute("aria-sort") == "ascending"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"


def test_page_is_never_wider_than_its_window(page: "Page") -> None:
    for button in page.locator("button.open").all()[:4]:
        button.click()
    for width in (1400, 1100, 768, 390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_no_cell_runs_into_its_neighbour(page: "Page") -> None:
    script = "all('.rows > * > tr > *').filter(cell => cell.scrollWidth > cell.clientWidth + 1).length"
    for width in (1600, 1400, 1250, 1200, 1100, 1000):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.locator("table.rows thead").first.is_visible(), "a table, not cards"
        assert page.evaluate(script) == 0, width


def test_count_of_errors_on_a_phone_stays_in_its_place(tab: Told, tmp_path: Path) -> None:
    row = make_row(reference=Reference(top1=99.33, errors=67, of=10_000))
    report = Report(suite=make_suite(row), checks=check_suite([make_cell(row)], {}))
    write_page(tmp_path / "a.html", [report])
    tab.opens((tmp_path / "a.html").as_uri(), 700)
    printed = tab.page.locator(".rows td.n").first
    assert " ".join(printed.inner_text().split()) == "99.33 (67 errors of 10,000)"
    for width in (700, 390, 320):
        tab.page.set_viewport_size({"width": width, "height": 800})
        assert printed.evaluate("cell => cell.scrollWidth <= cell.clientWidth"), width


def test_phone_shows_the_whole_id_of_a_record(page: "Page") -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.locator("button.open").first.click()
    script = "table => table.scrollWidth <= table.parentNode.clientWidth"
    assert page.locator(".runs:visible").first.evaluate(script)


def test_keys_to_sort_by_stand_over_tables_of_several_rows(page: "Page") -> None:
    rows = [len(students(page, table)) for table in range(3)]
    keys = [page.locator("section.table").nth(table).locator("button.sort").count() for table in range(3)]
    assert [count > 1 for count in rows] == [count > 0 for count in keys]
    assert keys[0] == 6, "no row of the first table gains: it has no columns for that"


def test_legend_comes_first_and_counts_stand_in_one_place(page: "Page") -> None:
    legend = page.locator(".legend").bounding_box()
    first = page.locator("section.table h2").first.bounding_box()
    assert legend is not None
    assert first is not None
    assert legend["y"] < first["y"]
    assert not any(
        character.isdigit() for text in page.locator(".chip").all_inner_texts() for character in text[1:]
    )
    headline = page.locator(".headline").first.inner_text()
    assert headline.startswith("2 of 10 accuracies within the tolerance; 0 of 8 gains")


def test_text_is_readable_in_both_schemes(page: "Page") -> None:
    cells = (".rows .verdict", ".rows .verdict i", ".rows small", ".rows .none")
    for scheme, selector in product(("light", "dark"), ("h1", ".settings", ".subject", *cells)):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        assert contrast(page, selector) >= 4.5, f"{selector}, {scheme}"


def test_print_has_the_tables_and_no_buttons(page: "Page") -> None:
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator(".tools").is_visible()
    assert page.locator("section.table:visible").count() == 3
    assert page.locator("table.rows").first.evaluate("table => getComputedStyle(table).display") == "table"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_claims_tell_their_outcome_and_open_their_comparisons(page: "Page") -> None:
    claims = page.locator("article.claim")
    outcomes = claims.locator(".verdict b").all_inner_texts()
    assert sorted(outcomes) == ["does not hold", "holds", "undecided"]
    claims.locator("summary").first.click()
    cells = claims.first.locator("tbody td").all_inner_texts()
    assert cells == ["1.kd/digits_mlp:digits_cnn", "baseline", "+2.00", "+3.45", "+3.13 to +3.77", "2"]


def test_names_are_shown_and_not_obeyed(page: "Page") -> None:
    assert page.locator("h1").inner_text() == "A made-up paper with <b>every</b> verdict | of kdbench"
    row = page.locator("[id='golden/1.kd/digits_cnn:self']")
    row.locator("button.open").click()
    assert "text with `code`, a | and <script>" in row.locator(".notes").inner_text()
    assert "loss is NaN at step `3` | <b>lr</b> 0.1" in row.locator(".notes").inner_text()


def test_large_page_into_a_device_leaves_no_folder_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "ONE_FILE", 0)
    device = Path("/dev/null")
    write_page(device, golden(device.parent))
    assert not device.with_name("null.files").exists()


LOADED = "rows.every(row => row.getAttribute('role'))"
"""Of a large page: every row was in sight."""


def wait_for(page: "Page", expression: str) -> None:
    """Ask the page from outside until it holds: to poll by itself, it would need `eval`, which it forbids."""
    while not page.evaluate(expression):
        page.wait_for_timeout(20)


def test_rows_of_a_large_page_are_those_of_a_whole_one(browser: "Browser", page: "Page", split: str) -> None:
    large = browser.new_page(viewport={"width": 1400, "height": 900})
    told = Told(large)
    large.goto(split)
    wait_for(large, LOADED)
    lines = "rows.map(row => row.innerHTML.trim())"
    assert large.evaluate(lines) == page.evaluate(lines)
    large.locator("[id='golden/1.kd/digits_mlp:digits_mlp@2'] button.open").click()
    assert large.locator("figure .seed").count() == 6, "its own curves and those of its baseline"
    folder = split.replace(".html", ".files")
    assert sorted(told.requests) == [f"{folder}/{number}.js" for number in range(3)] + [split]
    assert told.errors == []
    large.close()


def test_large_page_opens_the_row_of_an_address(tab: Told, split: str) -> None:
    tab.opens(f"{split}#golden/2/digits_cnn", 1400, 300)
    row = tab.page.locator("[id='golden/2/digits_cnn']")
    row.locator("figure svg").wait_for()
    place = tab.page.locator("section.table").last.bounding_box()
    assert place is not None
    assert place["y"] < 300


def test_large_page_without_its_files_says_so_and_still_sorts_and_finds(
    tab: Told, split: str, tmp_path: Path
) -> None:
    (tmp_path / "report.html").write_bytes(Path(split.removeprefix("file://")).read_bytes())
    tab.opens((tmp_path / "report.html").as_uri(), 1400)
    page = tab.page
    page.get_by_text("The folder report.files is not beside this page").wait_for()
    head(page, 1, MEASURED).locator("button").click()
    assert figures(page, 1, MEASURED) == ["91.67", "92.00", "93.45", "95.50", "–", "–", "–"]
    head(page, 1, 6).locator("button").click()
    assert figures(page, 1, 6)[:3] == ["inconclusive", "single", "below"], "in the order of the verdicts"
    page.locator("#find").fill("1.kd DIGITS_MLP@")
    assert page.locator("#shown").inner_text() == "2 of 11 rows"
    page.get_by_role("button", name="inconclusive").click()
    assert page.locator("#shown").inner_text() == "1 of 11 rows"


@pytest.mark.slow
def test_large_page_is_read_without_scripts(browser: "Browser", split: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(split)
    row = page.locator("[id='golden/1.kd/digits_mlp:digits_mlp@2']")
    accuracy, gain = "91.00 91.67 ± 1.95 (3) +0.67", "+1.00 +1.67 ± 2.09 (3) +0.67"
    text = f"digits_mlp digits_mlp@2 {accuracy} inconclusive {gain} inconclusive"
    assert " ".join(row.inner_text().split()) == text
    for width in (1400, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.emulate_media(media="print")
    assert page.locator("section.table:visible").count() == 3
    context.close()


@pytest.mark.parametrize("files", [True, False])
def test_row_says_what_its_recipe_has_of_its_own(monkeypatch: pytest.MonkeyPatch, *, files: bool) -> None:
    monkeypatch.setattr(html, "ONE_FILE", 0 if files else html.ONE_FILE)
    rows = [make_row(reference=Reference(top1=71.0), recipe=replace(RECIPE, lr=lr)) for lr in (0.1, 0.05)]
    rows[1] = replace(rows[1], name=f"{rows[1].name}-b")
    suite, cells = make_suite(*rows), [make_cell(row) for row in rows]
    made = html.page_files([Report(suite=suite, checks=check_suite(cells, {}))], "a.html")
    text = made["a.html"].decode().replace("<wbr>", "")
    assert [f"mobilenetv2<small>, lr {lr}</small>" in text for lr in (0.1, 0.05)] == [True, True]


def test_large_page_has_few_bytes_for_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "ONE_FILE", 0)

    def size(rows: int) -> int:
        names = [make_row(f"student{at:05}", "teacher", Reference(top1=71.0, gain=1.0)) for at in range(rows)]
        cells = [make_cell(row, taught_by="teacher") for row in names]
        checks = check_suite(cells, {})
        return len(html.page_files([Report(suite=make_suite(*names), checks=checks)], "a.html")["a.html"])

    assert (size(150) - size(50)) / 100 < 430


def large(rows: int, epochs: int) -> dict[str, bytes]:
    """The page of so many rows of three seeds, each trained for so many epochs, and the files beside it."""
    named = [
        make_row(f"student{at}", None, Reference(top1=71.0), table=f"{at // 25}.ce", loss=CE)
        for at in range(rows)
    ]
    cells = [make_cell(row) for row in named]
    climb = [round(70 - 60 * exp(-epoch / 20) + 0.37 * (epoch % 7), 2) for epoch in range(epochs)]
    results: dict[str, Result] = {
        of: make_result(run, *climb, of=of)
        for cell in cells
        for run, of in zip(cell.runs, cell.ids, strict=True)
    }
    made = Report(suite=make_suite(*named), checks=check_suite(cells, results), results=results)
    return html.page_files([made], "large.html")


def seconds_to_open(page: "Page", address: str) -> float:
    """What the page's own process works until it is drawn; others may share the cores."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    page.goto(address)
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(each["value"] for each in metrics if each["name"] == "ProcessTime"))


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "epochs", "files"), [(500, 200, 1), (10_000, 40, 101)])
def test_page_of_many_rows_with_curves_is_small_and_opens_at_once(
    browser: "Browser", tmp_path: Path, rows: int, epochs: int, files: int
) -> None:
    path = tmp_path / "large.html"
    made = large(rows, epochs)
    for name, content in made.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert (path.stat().st_size < MOST_BYTES, len(made)) == (True, files)
    page = browser.new_page()
    assert seconds_to_open(page, path.as_uri()) < MOST_SECONDS
    assert page.locator("#shown").inner_text() == f"{rows} rows"
    page.goto(f"{path.as_uri()}#tfkd_cifar100/{(rows - 1) // 25}.ce/student{rows - 1}")
    page.locator("figure .mean").wait_for()
    assert page.locator("figure .mean").count() == 1
    page.close()
