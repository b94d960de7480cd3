"""What `kdbench audit` found, as a table: of a terminal, or of the report."""

from collections.abc import Iterable, Iterator, Sequence
from math import isnan

from kdbench.formatting import EMPTY, and_more, escape, table
from kdbench.grouping import grouped
from kdbench.plan.objectives import Audit, classes, divided_by_classes, faint
from kdbench.report.sections import table_section
from kdbench.report.words import setting

HEADS = (
    *("objective", "hard", "soft", "x printed", "scale", "gradient", "nats", "epsilon"),
    *("soft term", "rows"),
)
_SIDES = "lrrrrrrrll"

LEGEND = """\
Found by the gradients of each loss on fixed random logits. hard, soft: the weights of H(q, p) and of the
soft term at its definition; x printed: the soft weight over that of the printed formula for the same
parameters; scale: c, where the loss is c times a cross-entropy H(q', p) with a fixed target; gradient: its
size over plain cross-entropy's; nats: how far the soft term's target is from uniform (a teacher is the
probe's: logits of std 4); epsilon: the label smoothing that it equals, q' = (1 - epsilon) q + epsilon u."""


def audit_lines(audits: Sequence[Audit]) -> list[str]:
    """For a terminal: the legend, a line for each objective, the rows that have the same."""
    lines = table("simple", HEADS, body(audits), _SIDES).splitlines()
    return [*LEGEND.splitlines(), "", *lines, "", *remarks(audits)]


def audit_section(audits: Sequence[Audit]) -> Iterator[str]:
    """The report's section, nothing without audits."""
    notes = remarks(audits) if audits else ()
    return table_section("Audit", escape(LEGEND), HEADS, body(audits), _SIDES, notes)


def body(audits: Iterable[Audit]) -> list[list[str]]:
    """One line for each objective as written, with the rows that have it."""
    # The same objective may stand for another printed one: its share of that belongs to the line, too.
    groups = grouped(((_objective(audit), audit.times_printed), audit) for audit in audits)
    return list(map(_line, groups.values()))


def same(audits: Sequence[Audit]) -> list[str]:
    """A sentence on each group of rows that have the same objective under different names.

    Before them: why nothing is known of a row's.
    """
    problems = [f"{audit.row}: not found out: {audit.problem}" for audit in audits if audit.problem]
    alike = [
        f"The same objective, their gradients differ by {100 * apart:.2f} % of their size at most: "
        f"{', '.join(rows)}."
        for rows, apart in classes(audits)
    ]
    none = "No two rows of one student and teacher have the same objective under different names."
    return problems + (alike or [none])


def remarks(audits: Sequence[Audit]) -> list[str]:
    """What to know beside the table: equal objectives, faint soft terms, parts of a loss, open formulas."""
    findings = (same, _faint, _parts, _mixed, _mean_of_classes, _readings)
    return [line for finding in findings for line in finding(audits)]


def _objective(audit: Audit) -> str:
    """The loss with its parameters, and what the recipe makes of the labels."""
    return setting(audit.loss) + (f", labels smoothed by {audit.smoothing:g}" if audit.smoothing else "")


def _mixed(audits: Iterable[Audit]) -> Iterator[str]:
    """That mixed targets change none of this, once for each way of mixing."""
    rows = grouped((audit.mixing, audit.row) for audit in audits if audit.mixing)
    for mixing, names in rows.items():
        yield (
            f"{mixing}: images and targets of a batch are mixed before the loss, whose findings hold with q "
            f"mixed: {', '.join(names)}."
        )


def _faint(audits: Iterable[Audit]) -> Iterator[str]:
    """A warning for each objective whose soft term is below 1 % of the gradient."""
    for loss, group in grouped((_objective(audit), audit) for audit in faint(audits)).items():
        names = ", ".join(audit.row for audit in group)
        share = _number(100 * (group[0].share or 0.0))
        yield f"warning: the soft term of {loss} is {share} % of the gradient, next to nothing: {names}."


def _parts(audits: Iterable[Audit]) -> Iterator[str]:
    """The weights of soft terms that have several parts: `dkd (...): 1 H(q, p) + 16 TCKD + 128 NCKD`."""
    lines = {}
    for audit in audits:
        if audit.parts:
            terms = [f"{_number(audit.hard)} H(q, p)", *(f"{_number(b)} {name}" for name, b in audit.parts)]
            lines[_objective(audit)] = " + ".join(terms)
    yield from (f"{loss}: {terms}" for loss, terms in lines.items())


def _mean_of_classes(audits: Iterable[Audit]) -> Iterator[str]:
    """What becomes of code that divides by K, which nothing in that code says."""
    names = divided_by_classes(audits)
    if names:
        yield (
            f"{', '.join(names)}: the authors' kl_div takes the mean over the K classes too. PyTorch has "
            'announced that reduction="mean" will be "batchmean": their code will then weigh the soft term K '
            "times as much. kdbench divides by K itself: its numbers stay the same."
        )


def _readings(audits: Iterable[Audit]) -> Iterator[str]:
    """Each reading of a formula that leaves something open, once for the same loss."""
    lines: dict[tuple[str, str, str], str] = {}
    for audit in audits:
        for each in audit.readings:
            share = "" if each.share is None else f", {_number(100 * each.share)} % of the gradient"
            nats = "" if each.nats is None else f", its target {_number(each.nats)} nats from uniform"
            found = f"soft {_number(each.soft)}{share}{nats}"
            standing = f"assumed: {each.assumed}" if each.assumed else each.why
            key = (each.of, each.name, setting(each.loss))
            line = (
                f"open formula, {each.of}, read as `{each.name}`, {setting(each.loss)}: {found}; {standing}"
            )
            lines.setdefault(key, line)
    yield from lines.values()


def _line(group: Sequence[Audit]) -> list[str]:
    audit, rows = group[0], and_more([each.row for each in group])
    weights = (audit.hard, audit.soft, audit.times_printed, audit.scale)
    numbers = map(_number, (*weights, audit.gradient, audit.nats, audit.epsilon))
    return [_objective(audit), *numbers, audit.term or EMPTY, rows]


def _number(value: float | None) -> str:
    """Three significant digits, and no power of ten but for the very small."""
    if value is None or isnan(value):
        return EMPTY
    return f"{value:.3g}" if abs(value) < 0.001 and value else f"{value:.4g}"
