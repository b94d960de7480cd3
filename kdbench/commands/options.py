"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kdbench.plan.selection import Selection
    from kdbench.spec.runs import Precision
    from kdbench.spec.suites import Variant


Function = Callable[..., Any]
PRECISIONS = ("float32", "tf32", "bf16", "float32-compiled", "tf32-compiled", "bf16-compiled")
"""Those of `spec.Precision`, which takes longer to import than a command's help may take."""

OLD_NAMES = {
    "--again": "--rerun",
    "--ages": "--with-ages",
    "--into": "--update",
    "--most": "--max-seeds",
    "--off": "--difference",
    "--part": "--shard",
    "--reading": "--report-epoch",
    "--rest": "--full-report-url",
}
"""Options as they were called, which still work, and what they are called today."""


def with_new_name(word: str) -> str:
    """A word of a command line, an option's old name replaced: `--reading=best` is `--report-epoch=best`."""
    name, equals, value = word.partition("=")
    return OLD_NAMES.get(name, name) + equals + value


class Command(click.Command):
    """A command that refuses an option which is given twice: click would take the last, without a sign."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, which parses the same words once more."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        seen: set[click.Parameter] = set()
        for given in order:
            one_value = isinstance(given, click.Option) and not given.multiple and not given.is_flag
            if one_value and given in seen and not ctx.resilient_parsing:  # which a shell's completion is
                raise click.UsageError(f"{given.opts[0]} is given twice; it takes one value.", ctx)
            seen.add(given)
        return super().parse_args(ctx, args)


class CommandGroup(click.Group):
    """A command of several, `list` of `list rows`: one that it does not have is refused with those it has."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            valid = ", ".join(self.list_commands(ctx))
            raise click.UsageError(f"{error.format_message()} Valid: {valid}.", ctx) from error


STDOUT = Path("-")


class OutputPath(click.Path):
    """A file or a folder to write; `-`, as STDOUT, is standard output where `allow_dash`, else an error."""

    def __init__(self, *, allow_dash: bool = False, folder: bool = False) -> None:
        super().__init__(file_okay=not folder, dir_okay=folder, allow_dash=allow_dash, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as click's
        """A path as click's; `./-` is the file of this name, by its absolute path."""
        if value == "-" and not self.allow_dash:
            what = "a folder" if self.dir_okay else "an archive"
            self.fail(
                f"- is standard output, and {what} is written; name one (./- for one called -)", param, ctx
            )
        if value == "":
            self.fail("it is empty: name what is to be written", param, ctx)
        path = super().convert(value, param, ctx)
        return path.absolute() if path == STDOUT and value != "-" else path


output_file = click.option(
    "-o", "--output", type=OutputPath(allow_dash=True), help="A file to write; - is standard output."
)
"""Of a command that writes one file, or standard output without it."""


def complete_suite(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """The suites of this folder, and kdbench's own by their names, for the shell's completion."""
    from kdbench.suite.load import installed

    names = [str(path.with_suffix("")) for path in sorted(Path("suites").glob("*.toml"))]
    names += sorted(path.stem for path in installed().glob("*.toml"))
    return [name for name in names if name.startswith(begun)]


def once(_context: click.Context, _parameter: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """Suites without those that are named again, by whichever name: `small suites/small.toml`."""
    from kdbench.suite.load import locate

    found: dict[Path | str, str] = {}
    for name in names:
        file = locate(Path(name))
        found.setdefault(file.resolve() if file else name, name)
    return tuple(found.values())


as_variant = click.option(
    "--as",
    "variant",
    type=click.Choice(["released", "printed"]),
    default="released",
    show_default=True,
    help="What the authors' code does, or what the paper prints.",
)
PARALLEL = click.IntRange(1, 512)
"""How many runs or processes may work at the same time: those of `quantities.PARALLEL`."""
SELECTION = (
    click.option(
        "--rows",
        default="*",
        metavar="GLOBS",
        help="Only rows whose name matches, as 1.* or 1.base/*,1.kd/*.",
    ),
    click.option(
        "--seeds",
        metavar="SEEDS",
        help="For example 0-2 or 0,3, instead of the suite's; auto: as many as a verdict takes.",
    ),
    click.option(
        "--max-seeds",
        "most",
        type=click.IntRange(2, 50),
        default=10,
        show_default=True,
        help="Seeds, at most, of auto.",
    ),
    as_variant,
    click.option(
        "--formula", default="", metavar="NAME", help="As printed, by this reading of open formulas."
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="A recipe field or loss parameter, for every row; never compared with a reference.",
    ),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default="float32",
        show_default=True,
        help="The arithmetic of training; other runs with other ids.",
    ),
    click.option(
        "--shard", "part", metavar="K/N", help="The K-th of N parts of the rows: a night's, or a machine's."
    ),
    click.option("--smoke", is_flag=True, help="2 epochs on 256 images: does it train at all?"),
)


def with_options(command: Function, options: Iterable[Callable[[Function], Function]]) -> Function:
    """A command with options, which its help lists in this order."""
    for option in reversed(list(options)):
        command = option(command)
    return command


def selection(command: Function, *, required: bool = True) -> Function:
    """The arguments that choose suites, rows, seeds and the variant; the command gets one Selection.

    Where no suite is required, it may be one without suites.
    """

    @wraps(command)
    def with_selection(  # noqa: PLR0913 - one per option
        *,
        suite: tuple[str, ...],
        rows: str,
        seeds: str | None,
        most: int,
        variant: Variant,
        formula: str,
        settings: tuple[str, ...],
        precision: Precision,
        part: str | None,
        smoke: bool,
        **rest: Any,  # noqa: ANN401 - the command's own options
    ) -> Any:  # noqa: ANN401 - what the command returns
        from kdbench.plan.selection import Selection, parse_part, parse_seeds, parse_settings

        numbers = parse_seeds(seeds) if seeds is not None and seeds != "auto" else None
        if seeds is not None and seeds.isdecimal() and 1 < int(seeds) < 100:
            first = f"the first {seeds} seeds are --seeds 0-{int(seeds) - 1}"
            click.echo(f"note: --seeds {seeds} is the seed number {seeds} alone; {first}", err=True)
        chosen = Selection(
            suites=suite,
            rows=rows,
            seeds=numbers,
            auto=seeds == "auto",
            most=most,
            variant="printed" if formula else variant,
            formula=formula,
            settings=parse_settings(settings),
            precision=precision,
            part=parse_part(part) if part is not None else (1, 1),
            smoke=smoke,
        )
        note_other_project(suite)
        return command(chosen, **rest)

    suites = click.argument(
        "suite", nargs=-1, required=required, shell_complete=complete_suite, callback=once
    )
    return with_options(with_selection, (suites, *SELECTION))


def note_other_project(suites: tuple[str, ...]) -> None:
    """Say which settings and results are used where a suite is kdbench's own, or of another project."""
    from kdbench.machine import load_machine, nearest
    from kdbench.suite.load import installed, locate

    here = nearest(Path.cwd())
    files = [locate(Path(suite)) or Path(suite) for suite in suites]
    own = [file.stem for file in files if file.parent == installed()]
    there = {_project_of(file.resolve()) for file in files if file.parent != installed()} - {None, here}
    if not there and not own:
        return
    results = load_machine().results.resolve()
    others = sorted(map(str, there - {results}))
    places = [f"the suite lies beside {', '.join(others)}"] if others else []
    places += [f"{', '.join(own)} comes with kdbench"] if own else []
    if places:
        settings = here or "default settings (no benchmark.toml)"
        used = f"used are {settings} and the results of {results}"
        click.echo(f"note: {', '.join(places)}; {used}", err=True)


def _project_of(suite: Path) -> Path | None:
    """The benchmark.toml of a suite's project; else the results beside its folder, if there are any."""
    from kdbench.machine import nearest

    results = suite.parent.parent / "results"
    return nearest(suite.parent) or (results if results.is_dir() else None)


JUDGEMENT = (
    click.option("--report-epoch", metavar="EPOCH", help="last, best or a number, instead of the suite's."),
    click.option(
        "--controls",
        is_flag=True,
        help="Rows with a teacher against controls: smoothing, uniform, untrained, plain. Imports torch.",
    ),
    click.option("--holm", is_flag=True, help="Verdicts adjusted for how many there are (Holm)."),
    click.option("--single-seed", is_flag=True, help="One seed outside its tolerance is below or above."),
)


def judgement(command: Function) -> Function:
    """The options that say how what is stored is judged; below `selection`, into its Selection."""

    @wraps(command)
    def with_judgement(
        chosen: Selection,
        *,
        report_epoch: str | None,
        controls: bool,
        holm: bool,
        single_seed: bool,
        **rest: Any,  # noqa: ANN401 - the command's own options
    ) -> Any:  # noqa: ANN401 - what the command returns
        from msgspec.structs import replace

        from kdbench.plan.selection import parse_report_epoch

        read = parse_report_epoch(report_epoch) if report_epoch is not None else None
        judged = replace(chosen, report_epoch=read, controls=controls, holm=holm, single_seed=single_seed)
        return command(judged, **rest)

    return with_options(with_judgement, JUDGEMENT)


as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")
on_where = click.option(
    "--on", default="local", show_default=True, metavar="WHERE", help="local, slurm or slurm:PROFILE."
)
wait_for = click.option("--wait", is_flag=True, help="On a cluster: follow the jobs, then report.")
offline = click.option("--offline", is_flag=True, help="Never touch the network.")


def seeds_of(whose: str) -> Callable[[Function], Function]:
    """`--seeds` of a command of one row: whole numbers, or None for those that somebody says otherwise."""

    def parse(_context: click.Context, _parameter: click.Parameter, text: str | None) -> object:
        from kdbench.plan.selection import parse_seeds

        return None if text is None else parse_seeds(text)

    text = f"For example 0-2 or 0,3; instead of the {whose}'s."
    return click.option("--seeds", metavar="SEEDS", callback=parse, help=text)


def say(value: object) -> None:
    """Print a value as JSON, which is UTF-8 whatever the terminal is."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def answer(value: object, text: Callable[[], str | Iterable[str]], *, as_json: bool) -> None:
    """Print a value as JSON, or else as the text, or the lines, that it is for people."""
    if as_json:
        say(value)
        return
    made = text()
    click.echo(made if isinstance(made, str) else "\n".join(made))
