"""The report as one page that needs nothing else: no network, no server, no second file.

A page of thousands of rows would take a browser long to open. It has the figures of its rows, and what opens
(plots, curves, runs) lies in files beside it, `ROWS_PER_FILE` rows each, which it loads as rows come into
sight. They are scripts, as a page that is opened as a file may load these and nothing else.
"""

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from struct import pack
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from kdbench.formatting import EMPTY, clean, number, signed
from kdbench.report import audit, claims, controls, published, sentences, words
from kdbench.report.ages import trained
from kdbench.report.content import Report, against
from kdbench.report.forest import HEIGHT, WIDTH, Scale, Strip, scale_of, strip_of
from kdbench.report.methods import HEADS, NOTE, MethodsReport, page_parts, side_by_side
from kdbench.spec.author_runs import AuthorRun
from kdbench.spec.results import Result
from kdbench.spec.verdicts import Check, Verdict, Word
from kdbench.verdict.check import remarks, to_train
from kdbench.verdict.published import published_headline

if TYPE_CHECKING:
    from jinja2 import Template


_TEMPLATES = Path(__file__).parent / "page"
NO_PAGES: Mapping[str, str] = MappingProxyType({})
ONE_FILE = 4_500_000
"""Characters of rows and curves up to which a page is one file."""
ROWS_PER_FILE = 100

GLYPHS = {
    Word.REPRODUCED: "✓",
    Word.CONSISTENT: "≈",
    Word.INCONCLUSIVE: "?",
    Word.SINGLE_SEED: "1",
    Word.BELOW: "↓",
    Word.ABOVE: "↑",
    Word.FAILED: "✕",
    Word.BLOCKED: "⊘",
    Word.UNREADABLE: "!",
    Word.PENDING: "…",
    Word.NO_REFERENCE: "–",
}
"""A verdict is shown by its word and its sign; the colour only repeats them."""


class Trained(msgspec.Struct, frozen=True):
    """One run of a row: what it gave, as far as it has, and where its record is."""

    id: str
    record: str
    result: Result | None
    value: float | None
    """At the row's reported epoch."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a table."""

    check: Check
    who: str
    """Its student, and what it has of the loss and recipe in which the rows of its table differ."""
    top1: words.Quantity
    gain: words.Quantity
    strip: Strip
    loss: str
    notes: Sequence[str]
    runs: Sequence[Trained]
    baselines: Sequence[str]
    """The ids of the runs over which it gains, whose curve is drawn beside its own."""
    authors: Sequence[AuthorRun] = ()

    @property
    def against(self) -> str:
        """What its curve's dashed line is called."""
        return against([self.check])


class Table(msgspec.Struct, frozen=True):
    """A table of the paper."""

    id: str
    settings: str
    exactness: str
    scale: Scale
    gains: bool
    """Whether any of its rows gains, be it printed or measured."""
    lines: Sequence[Line]
    rows: Sequence[str]
    """Their markup."""


def page(reports: Sequence[Report], *, home: str = "", row_pages: Mapping[str, str] = NO_PAGES) -> str:
    """The reports of suites on one page: tables to sort and filter, forest plots, learning curves.

    Args:
        reports: of the suites.
        home: where the page of all suites is, in a site.
        row_pages: where the pages of rows are, by the row's name, in a site.
    """
    parts = [_part(report, row_pages) for report in reports]
    return _rendered(reports, parts, home, as_script(curves(reports)))


def page_files(
    reports: Sequence[Report], name: str, *, home: str = "", row_pages: Mapping[str, str] = NO_PAGES
) -> dict[str, bytes]:
    """The page, and the files beside it that a large one needs, by their paths from the page's folder.

    Args:
        reports: of the suites.
        name: of the page's file: `report.html`. What it loads lies in `report.files/`.
        home: as of `page`.
        row_pages: as of `page`.
    """
    parts = [_part(report, row_pages) for report in reports]
    packed = curves(reports)
    tables: list[Table] = [table for part in parts for table in part["tables"]]
    # What a page is made of beside this is the same for any number of rows.
    size = sum(map(len, packed.values())) + sum(len(row) for table in tables for row in table.rows)
    if size <= ONE_FILE:
        return {name: _rendered(reports, parts, home, as_script(packed)).encode()}
    folder = f"{Path(name).stem}.files"
    figures = [{**part, "tables": list(map(_lean, part["tables"]))} for part in parts]
    files = {name: _rendered(reports, figures, home, "{}", folder).encode()}
    rows = [row for table in tables for row in zip(table.lines, table.rows, strict=True)]
    # A curve that rows of several files draw stands in each of these files: any of them may be loaded first.
    for place, start in enumerate(range(0, len(rows), ROWS_PER_FILE)):
        some = rows[start : start + ROWS_PER_FILE]
        needed = dict.fromkeys(of for line, _ in some for of in _curves_of(line))
        drawn = {of: packed[of] for of in needed if of in packed}
        content = {"rows": [str(row) for _, row in some], "curves": drawn}
        files[f"{folder}/{place}.js"] = b"loaded(%d, %b)\n" % (place, msgspec.json.encode(content))
    return files


def _lean(table: Table) -> Table:
    """A table with the figures of its rows alone."""
    lean = template("table.html").module.lean  # type: ignore[attr-defined]  # a macro
    return replace(table, rows=[lean(line, table.gains) for line in table.lines])


def _curves_of(line: Line) -> Iterator[str]:
    """The names of the curves that a row's picture draws."""
    yield from (run.id for run in line.runs)
    yield from line.baselines
    yield from map(author_curve, line.authors)


def _rendered(
    reports: Sequence[Report], parts: Sequence[Mapping[str, Any]], home: str, curves: str, files: str = ""
) -> str:
    called = {report.against for report in reports}
    sections = {"claims": claims, "controls": controls, "authors": published, "audit": audit}
    legends = {f"{name}_legend": each.LEGEND.replace("`", "") for name, each in sections.items()}
    heads = {f"{name}_heads": each.HEADS for name, each in sections.items()}
    return template("page.html").render(
        parts=parts,
        words=_words(reports),
        curves=curves,
        files=files,
        each=ROWS_PER_FILE,
        home=home,
        legend=sentences.legend("printed" if "printed" in called else "reference").replace("`", ""),
        bare_legend=sentences.BARE_LEGEND,
        **(legends | heads),
        **_METHODS,
    )


_METHODS = {"heads": HEADS, "note": NOTE, "number": number, "signed": signed}
"""What the tables of methods are drawn with."""


def methods_page(reports: Iterable[MethodsReport]) -> str:
    """Methods side by side as a page that needs nothing else, with the plots of critical differences."""
    parts = [part for report in reports for part in page_parts(report)]
    return template("methods.html").render(parts=parts, headed=True, **_METHODS)


@cache
def template(name: str) -> "Template":
    """A template of a page, in which every text is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    surroundings = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )
    surroundings.filters["trained"] = trained
    surroundings.filters["author_curve"] = author_curve
    surroundings.filters["breakable"] = breakable
    surroundings.globals.update(glyphs=GLYPHS, height=HEIGHT, width=WIDTH)
    return surroundings.get_template(name)


def source(name: str) -> str:
    """A style sheet or a script of the pages, as it is."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def breakable(name: str) -> str:
    """A name that may be broken after `_`, `:` and `/`, and not in the midst of a number."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([_:/])(?=\S)", r"\1<wbr>", str(escape(clean(name)))))  # noqa: S704 - escaped


def _shown(value: object) -> object:
    """Every text without what cannot be seen; numbers and what is markup already as they are."""
    return clean(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _words(reports: Sequence[Report]) -> list[Word]:
    """The verdicts that rows have, be it of the accuracy or of the gain, in the order of the words."""
    rows = [check for report in reports for check in report.checks]
    found = {check.top1.word for check in rows} | {words.gain_word(check) for check in rows}
    if all(report.is_bare for report in reports):
        found.discard(Word.NO_REFERENCE)
    return [word for word in Word if word in found]


def _part(report: Report, row_pages: Mapping[str, str]) -> dict[str, Any]:
    """A suite's report as page.html reads it: `trial` stands on top, each other name is a section's."""
    # Where nothing is printed each row would give "no reference accuracy" as its reason.
    if report.is_bare:
        report = replace(report, checks=sentences.without_reference(report.checks))
    trained, suite = to_train(report.checks), report.suite
    deltas = suite.deltas if report.variant == "released" else ()
    last_or_best = published.last_or_best_sentence(report.checks)
    return {
        "report": report,
        "trial": sentences.altered(report.altered),
        "remarks": remarks(report.checks).replace("`", ""),
        # How many of the printed accuracies, and gains, have which verdict.
        "counts": [
            ("accuracies", _counts(check.top1 for check in trained)),
            ("gains", _counts(check.gain for check in trained)),
        ],
        "tables": list(_tables(report, row_pages)),
        "on_the_numbers": sentences.on_the_numbers(suite, report.checks),
        "deltas": [(of.at, sentences.delta(of)) for of in deltas],
        "controls": list(map(controls.line, report.controls)),
        "controls_damage": list(controls.damage(report.controls)),
        "audit": audit.body(report.audit),
        "same": audit.remarks(report.audit) if report.audit else (),
        "authors": list(published.body(report.checks)),
        "authors_title": published.title(report.checks),
        "authors_headline": published_headline(report.checks),
        "authors_sentences": [
            *filter(None, [last_or_best]),
            *published.notes(report.checks),
            *published.claims(suite, report.checks),
        ],
        "methods": list(page_parts(side_by_side(report))) if report.is_bare else (),
    }


def _counts(verdicts: Iterable[Verdict]) -> dict[Word, int]:
    counted = Counter(verdict.word for verdict in verdicts if verdict.printed is not None)
    return {word: counted[word] for word in Word if word in counted}


def _tables(report: Report, row_pages: Mapping[str, str]) -> Iterator[Table]:
    """The tables of a suite, each row with its markup."""
    baselines = {name: over.ids for name, over in report.baselines.items()}
    body = template("table.html").module.body  # type: ignore[attr-defined]  # a macro
    for table, checks in report.tables.items():
        scale = scale_of(checks)
        gains = any(words.gain_word(check) != EMPTY for check in checks)
        names = sentences.who_by_setting([check.row for check in checks])
        lines = []
        for check in checks:
            name = check.row.name
            lines.append(line_of(report, check, scale, baselines.get(name, ()), names[name]))
        settings = sentences.settings([check.row for check in checks], report.recipe_fields)
        rows = [body(line, gains, row_pages.get(line.check.row.name, "")) for line in lines]
        yield Table(table, settings, sentences.exactness(checks), scale, gains, lines, rows)


def line_of(report: Report, check: Check, scale: Scale, baselines: tuple[str, ...], who: str = "") -> Line:
    """A row as pages show it; `who`: its student and own loss and recipe, where it stands in a table."""
    return Line(
        check=check,
        who=who,
        top1=words.accuracy(check),
        gain=words.gain(check),
        strip=strip_of(check, scale),
        loss=words.setting(check.row.loss),
        notes=list(sentences.notes(check)),
        runs=[_trained(report, check, of) for of in check.ids],
        baselines=baselines,
        authors=report.authors.get(check.row.name, ()) if check.published else (),
    )


def _trained(report: Report, check: Check, of: str) -> Trained:
    result = report.results.get(of)
    value = check.values.get(result.run.seed) if result else None
    return Trained(of, report.records.get(of, ""), result, value)


def author_curve(run: AuthorRun) -> str:
    """The name of an author run's curve on the page, which no run of kdbench has; "" without a curve."""
    return f"author/{run.row}/{run.run}" if run.top1 and not run.epochs else ""


def curves(reports: Iterable[Report]) -> dict[str, str]:
    """The accuracies after each epoch of every run of the rows, once each, by its id or `author_curve`."""
    packed = {}
    for report in reports:
        for of in dict.fromkeys(of for check in report.checks for of in check.ids):
            if of in report.results and of not in packed:
                packed[of] = _packed(report.results[of].curve.top1)
    for report in reports:
        for check in report.checks:
            runs = report.authors.get(check.row.name, ())
            packed |= {author_curve(run): _packed(run.top1) for run in runs if author_curve(run)}
    return packed


def as_script(packed: Mapping[str, str]) -> str:
    """JSON for a script element."""
    return msgspec.json.encode(packed).decode().replace("<", "\\u003c")


def _packed(top1s: Iterable[float]) -> str:
    """Hundredths of a percent, two bytes each: a CIFAR test set of 10,000 images has no finer ones."""
    hundredths = [round(100 * top1) for top1 in top1s]
    return b64encode(pack(f"<{len(hundredths)}H", *hundredths)).decode()
