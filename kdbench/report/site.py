"""`kdbench site`: all suites as pages that link to each other: an index, a page a suite, a page a row.

Reports in, the files of a folder out; only the records that pages link to are read. Links are relative and
nothing says when the site was made: the same suites and results give the same bytes, wherever they lie.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from kdbench import catalog
from kdbench.errors import UserError
from kdbench.formatting import EMPTY, plural, signed
from kdbench.plan.selection import Selection
from kdbench.report import badge, feed, sentences, words
from kdbench.report.content import Report
from kdbench.report.forest import scale_of
from kdbench.report.gather import commands, environment
from kdbench.report.html import Line, as_script, curves, line_of, page_files, source, template
from kdbench.report.overview import Counts, counts_by_kind, days, machine, printed_numbers
from kdbench.spec.recipes import shown
from kdbench.spec.suites import Row
from kdbench.spec.verdicts import Check, Verdict, Word
from kdbench.verdict.check import BAD
from kdbench.verdict.published import is_reference

Files = dict[str, bytes]
"""What a site consists of, by the path below its folder."""


class Entry(Struct, frozen=True):
    """A suite in the index."""

    report: Report
    folder: str
    printed: int
    """How many accuracies of it are printed, or references of kdbench's own."""
    counts: Mapping[str, Counts]
    """Of the kinds of evidence that it has."""
    runs: int
    machine: str
    days: Sequence[str]


class Figures(Struct, frozen=True):
    """One quantity of a row by one kind of evidence, as a card of its page."""

    title: str
    word: str
    facts: Sequence[tuple[str, str]]


def site(reports: Sequence[Report], results: Path) -> Files:
    """Every file of the site, by its path.

    Args:
        reports: of all suites, with addresses of records that start at the folder of results.
        results: that folder.

    Raises:
        UserError: a record cannot be read.
    """
    folders = unique_names(report.suite.name for report in reports)
    entries = [_entry(report, folder) for report, folder in zip(reports, folders, strict=True)]
    every = [check for report in reports for check in report.checks]
    changes = feed.entries(reports, folders)
    index = template("index.html").render(
        shown=[entry for entry in entries if entry.counts],
        bare=[entry for entry in entries if not entry.counts],
        total=_counts_there(every),
        printed=sum(entry.printed for entry in entries if entry.report.against == "printed"),
        changes=changes[:5],
    )
    files = {
        "index.html": index.encode(),
        "feed.xml": feed.atom(changes).encode(),
        "badge.svg": badge.draw(*badge_of(counts_by_kind(every))).encode(),
        "style.css": (source("page.css") + source("site.css")).encode(),
        "curves.js": (source("curves.js") + source("row.js")).encode(),
        "ages.js": source("ages.js").encode(),
    }
    for entry in entries:
        files |= _suite(entry)
    for address in dict.fromkeys(of for report in reports for of in report.records.values()):
        files[f"records/{address}"] = _record(results / address)
    return files


def unique_names(names: Iterable[str]) -> list[str]:
    """For each name one that any web server and file system takes, no two of them alike.

    For example: `1.kd/cnn:mlp@2` becomes `1.kd-cnn-mlp-2`; a second one that would be so, `1.kd-cnn-mlp-2-2`.
    """
    taken: set[str] = set()
    found = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip(".-")[:120] or "row"
        tried, number = plain, 1
        while tried.lower() in taken:
            number += 1
            tried = f"{plain}-{number}"
        taken.add(tried.lower())
        found.append(tried)
    return found


def badge_of(found: Mapping[str, Counts]) -> tuple[str, str]:
    """What a badge says of the evidence, our runs first, and its colour: orange where a number is off."""
    for kind, each in found.items():
        if each.words:
            counted = str(Counts(each.words))
            message = counted if kind == "our runs" else f"{kind}: {counted}"
            colour = "brightgreen" if set(each.words) == {Word.REPRODUCED} else "green"
            return message, "orange" if each.words.keys() & BAD else colour
    return "no verdict yet", "lightgrey"


def _counts_there(checks: Sequence[Check]) -> dict[str, Counts]:
    return {kind: each for kind, each in counts_by_kind(checks).items() if str(each)}


def _entry(report: Report, folder: str) -> Entry:
    ids = {of for check in report.checks for of in check.ids if of in report.results}
    return Entry(
        report=report,
        folder=folder,
        printed=printed_numbers(report),
        counts=_counts_there(report.checks),
        runs=len(ids),
        machine=machine(report),
        days=days(report),
    )


def _record(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _suite(entry: Entry) -> Iterator[tuple[str, bytes]]:
    """A suite's page and badge, and the pages of its rows."""
    report, folder = entry.report, entry.folder
    names = [check.row.name for check in report.checks]
    pages = dict(zip(names, (f"{name}.html" for name in unique_names(names)), strict=True))
    # Addresses are relative: a suite's page is one folder deep, the pages of its rows are two.
    shown = replace(report, records={of: f"../records/{at}" for of, at in report.records.items()})
    deeper = replace(report, records={of: f"../../records/{at}" for of, at in report.records.items()})
    places = {name: f"rows/{page}" for name, page in pages.items()}
    for name, content in page_files([shown], "index.html", home="../index.html", row_pages=places).items():
        yield f"{folder}/{name}", content
    yield f"{folder}/badge.svg", badge.draw(*badge_of(entry.counts)).encode()
    baselines, printed = report.baselines, {row.name: row for row in report.suite.rows}
    steps = ["", *pages.values(), ""]  # of the row at `place`: the page before it, its own, the next
    for place, check in enumerate(report.checks):
        name = check.row.name
        over = baselines.get(name)
        others = (*check.same_as, *([over.row.name] if over else []))
        text = _row_page(
            deeper,
            check,
            over,
            printed[name],
            links={other: pages[other] for other in others if other != name},
            before=steps[place],
            after=steps[place + 2],
        )
        yield f"{folder}/rows/{pages[name]}", text.encode()


def _row_page(
    report: Report,
    check: Check,
    over: Check | None,
    printed: Row,
    *,
    links: Mapping[str, str],
    before: str,
    after: str,
) -> str:
    """All that is known of a row: its reference, figures, curves, runs, records and author runs.

    Args:
        report: of its suite.
        check: the row.
        over: the row over which it gains, if there is one.
        printed: the row as the suite has it, before any delta.
        links: where the pages of rows are that it names.
        before: where the page of the row before it is; "" of the first.
        after: of the next; "" of the last.
    """
    line = line_of(report, check, scale_of([check]), over.ids if over else ())
    deltas = [of for of in report.suite.deltas if report.variant == "released" and of.concerns(printed)]
    drawn = [check, *([over] if over else [])]
    chosen = Selection(suites=(report.suite.path,), rows=check.row.name, variant=report.variant)
    return template("row.html").render(
        report=report,
        line=line,
        row=check.row,
        figures=list(_figures(line, report.against)),
        facts=list(_facts(report, check.row)),
        deltas=[(of.at, sentences.delta(of)) for of in deltas],
        environment=environment([check], report.results),
        command=commands(chosen, report.suite),
        curves=as_script(curves([replace(report, checks=drawn)])),
        links=links,
        before=before,
        after=after,
    )


def _figures(line: Line, against: str) -> Iterator[Figures]:
    """The cards of a row: its accuracy and its gain, and what the authors published of it."""
    check, margins = line.check, line.check.row.tolerance
    printed, printed_gain = (against, line.top1.printed), (against, line.gain.printed)
    yield _card("accuracy, %", check.top1, printed, margins.top1)
    if line.gain.word != EMPTY:
        yield _card("gain, points", check.gain, printed_gain, margins.gain, sign=True)
    if check.published is not None:
        theirs = check.published
        card = _card(f"{theirs.kind}, %", theirs.top1, printed, margins.top1)
        if is_reference(check):
            card = replace(card, facts=[*card.facts, ("not counted", "the printed number is their mean")])
        yield card


def _card(
    title: str, verdict: Verdict, printed: tuple[str, str], margin: float, *, sign: bool = False
) -> Figures:
    facts = [printed, ("measured", words.measured(verdict, sign=sign))]
    if verdict.difference is not None:
        facts += [("difference", signed(verdict.difference)), ("tolerance", f"± {margin:g}")]
    if verdict.interval is not None:
        low, high = map(signed, verdict.interval)
        facts += [(f"{100 - 200 * verdict.level:.3g} % interval", f"{low} to {high}")]
    if verdict.p is not None:
        facts += [("p within, outside", f"{verdict.p:.2g}, {verdict.p_outside or 0:.2g}")]
    return Figures(title, verdict.word, facts)


def _facts(report: Report, row: Row) -> Iterator[tuple[str, str]]:
    """What the row is, as far as it says."""
    reference = row.reference
    known = catalog.entries("losses").get(row.loss.name)
    std = "" if reference.gain_std is None else f", std of the gain {reference.gain_std:.2f}"
    facts = {
        "row": row.name,
        "data set": row.dataset or report.suite.dataset,
        "teacher sees": row.teacher_dataset,
        "student": row.shown,
        "teacher": str(row.teacher or ""),
        "loss": words.setting(row.loss),
        "objective": known.formula if known else "",
        "recipe": shown(row.recipe, msgspec.to_builtins(row.recipe)),
        "reported epoch": words.report_epoch(row),
        "asked": plural(row.seeds, "seed"),
        "mean over": ", ".join(row.mean),
        "reference": f"{reference.kind}{std}",
        "source": reference.source,
        "tolerance because": row.tolerance.why,
        "not trained": row.untrained,
    }
    return ((name, text) for name, text in facts.items() if text)
