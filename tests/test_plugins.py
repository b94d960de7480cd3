"""A user's own loss, distiller and model, from an installed package: no fork, and no number of other code."""

import re
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from kdbench import catalog, plugins
from kdbench.errors import PluginWarning, UserError
from kdbench.machine import Machine
from kdbench.plan.expand import expand, make_plan
from kdbench.plan.plugin_runs import bare
from kdbench.run.preflight import fetch_missing
from kdbench.spec.runs import Run
from kdbench.store.run_log import keep_failure
from kdbench.suite.load import load_suite
from kdbench.training.context import open_context
from kdbench.training.run import train
from tests.support.command import Command
from tests.support.plugins import install, plugin, uninstall
from tests.support.project import store

POINTS = """
[kdbench.losses]
focal = mine:FOCAL
wrong = mine:WRONG

[kdbench.distillers]
closer = mine:CLOSER
lost = mine:LOST

[kdbench.models]
linear = mine:LINEAR
bare = mine:BARE
"""

MODULE = """
from kdbench.catalog import DistillerEntry, LossEntry, ModelEntry

CLOSER = DistillerEntry(code="mine:closer", params=("beta",), teacher=True, formula="H(q, p) + β mean²")
LOST = DistillerEntry(code="mine:lost", teacher=True, formula="?")
FOCAL = LossEntry(code="mine:focal", params=("gamma",), formula="(1 - p)^γ H(q, p)")
WRONG = LossEntry(code="mine:wrong", teacher=True, formula="?")
LINEAR = ModelEntry(code="mine:linear", least_size=8)
BARE = ModelEntry(code="mine:bare", least_size=8)


def focal(s, y, *, gamma):
    from torch.nn.functional import cross_entropy

    each = cross_entropy(s.logits, y, reduction="none")
    return ((1 - (-each).exp()) ** gamma * each).mean()


def closer(setting, *, beta):
    from torch import nn

    from kdbench.training.distillers.distiller import Weighted

    class Closer(Weighted):
        def __init__(self):
            super().__init__(setting, beta=beta)
            self.embed = nn.Linear(setting.student.features.shape[1], setting.teacher.features.shape[1])

        def term(self, s, t):
            return (self.embed(s.features) - t.features).square().mean()

    return Closer()


def lost(setting):
    from torch import nn

    class Lost(nn.Module):
        def forward(self, s, y, t, at):
            return s.maps[0].mean()

    return Lost()


def wrong(s, y, t):
    return s.attention.sum()


def linear(classes, channels):
    from torch import nn

    from kdbench.models.output import Network

    return Network(nn.Sequential(nn.Flatten()), nn.Linear(channels * 64, classes))


def bare(classes, channels):
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(channels * 64, classes))
"""

SUITE = """
[suite]
paper = "A paper"
dataset = "digits"
seeds = 2
[tolerance]
top1 = 1
gain = 1
[recipe]
epochs = 3
batch_size = 32
lr = 0.1
[[table]]
id = "1"
loss = { name = "focal", gamma = 2 }
rows = [{ student = "linear" }]
"""
BASELINE = '[[table]]\nid = "0"\nloss = { name = "ce" }\nrows = [{ student = "digits_mlp" }]\n'
WRONG_LOSS = """
[[table]]
id = "2"
loss = { name = "wrong" }
rows = [{ student = "linear", teacher = "digits_mlp" }]
"""
WRONG_MODEL = '[[table]]\nid = "3"\nloss = { name = "ce" }\nrows = [{ student = "bare" }]\n'

LOST_DISTILLER = WRONG_LOSS.replace('"2"', '"4"').replace("wrong", "lost")
Install = Callable[..., None]

DISTILLED = (
    SUITE.replace('{ name = "focal", gamma = 2 }', '{ name = "ce" }')
    + """
[[table]]
id = "2"
loss = { name = "closer", beta = 0.1 }
rows = [{ student = "linear", teacher = "linear" }]
"""
)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """A package beside kdbench that offers losses and models; called again, it is another version of it."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def again(module: str = MODULE, points: str = POINTS, version: str = "1.0", name: str = "mine") -> None:
        install(folder, name, module, points, version)

    again()
    yield again
    uninstall("mine", "other")


def planned(folder: Path, suite: str = SUITE) -> tuple[Run, ...]:
    (folder / "mine_digits.toml").write_text(suite, encoding="utf-8")
    return make_plan(expand(load_suite(folder / "mine_digits")))


@pytest.mark.usefixtures("installed")
def test_installed_loss_and_model_are_listed_after_the_built_in_ones() -> None:
    assert catalog.names("losses")[-4:] == ["closer", "focal", "lost", "wrong"]
    assert catalog.names("models")[-1] == "linear"


def test_row_of_an_installed_loss_and_model_trains_and_records_its_package(
    installed: Install, tmp_path: Path
) -> None:
    del installed
    run = planned(tmp_path)[0]
    result = train(run, open_context(Machine(root=str(tmp_path))))
    assert result.last > 70
    assert result.run.loss.params == {"gamma": 2.0}
    assert result.run.plugins == (plugin("mine", MODULE),)
    assert result.environment["plugins"] == f"mine 1.0 (source {result.run.plugins[0].source[:8]})"


@pytest.mark.usefixtures("installed")
def test_row_of_an_installed_distiller_trains(tmp_path: Path) -> None:
    teacher, run = (each for each in planned(tmp_path, DISTILLED) if each.seed == 0)
    context = open_context(Machine(root=str(tmp_path)))
    train(teacher, context)
    assert train(run, context).last > 70


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("losses", "unknown loss 'focal'. Valid: ce, lsr,"),
        ("models", "unknown model 'focal'. Valid: resnet18,"),
        ("datasets", "unknown data set 'focal'. Valid: digits,"),
    ],
)
def test_name_of_a_package_that_is_not_installed_is_unknown(kind: catalog.Kind, told: str) -> None:
    with pytest.raises(LookupError) as error:
        catalog.find(kind, "focal")
    text = str(error.value)
    assert text.startswith(told)
    assert text.endswith(". No installed package offers it either; if one should: pip install THAT_PACKAGE")


@pytest.mark.parametrize("changed", [{"version": "1.1"}, {"module": MODULE + "# another source\n"}])
def test_run_of_another_version_or_source_is_another_run(
    installed: Install, tmp_path: Path, changed: dict[str, str]
) -> None:
    before = planned(tmp_path, SUITE + BASELINE)
    installed(**changed)
    after = planned(tmp_path, SUITE + BASELINE)
    assert [old.id == new.id for old, new in zip(before, after, strict=True)] == [False, False, True, True]


def test_run_taught_by_a_plugins_model_is_another_run_too(installed: Install, tmp_path: Path) -> None:
    taught = SUITE + (
        '[[table]]\nid = "2"\nloss = { name = "kd", alpha = 0.5, tau = 4 }\n'
        'rows = [{ student = "digits_mlp", teacher = "linear" }]\n'
        '[[table]]\nid = "0"\nloss = { name = "ce" }\nrows = [{ student = "linear" }]\n'
    )
    before = planned(tmp_path, taught)[-1]
    installed(version="1.1")
    after = planned(tmp_path, taught)[-1]
    assert before.student == "digits_mlp"
    assert before.plugins == after.plugins == ()
    assert before.id != after.id


def test_worker_with_another_version_than_the_plans_refuses(installed: Install, tmp_path: Path) -> None:
    run = planned(tmp_path)[0]
    installed(version="1.1")
    with pytest.raises(UserError, match=r"is of mine 1\.0 \(source \w{8}\); installed here is mine 1\.1"):
        train(run, open_context(Machine(root=str(tmp_path))))


@pytest.mark.filterwarnings("always::kdbench.plugins.PluginWarning")
def test_commands_say_that_stored_runs_are_of_another_version(
    installed: Install, project: Path, kdbench: Command
) -> None:
    planned(project / "suites")
    store(project, project / "suites" / "mine_digits.toml", {"1/linear": 80.0})
    assert "2 runs stored, 0 to train" in kdbench("plan", "suites/mine_digits").out
    installed(version="1.1")
    out = kdbench("plan", "suites/mine_digits").out
    assert "0 runs stored, 2 to train" in out
    assert "2 runs were made with mine 1.0, installed is 1.1" in out
    assert "not counted: 2 runs of networks that kdbench does not know" in out
    assert not re.search("arithmetic|memory", out), "nothing was counted, which is not zero"
    for command in ("check", "report", "methods"):
        assert "note: 2 runs were made with mine 1.0, installed is 1.1" in (
            kdbench(command, "suites/mine_digits").err
        ), command
    installed(module=MODULE + "# changed\n")
    assert "2 runs were made with mine 1.0 of another source" in kdbench("plan", "suites/mine_digits").out


def test_bundle_of_a_package_that_is_not_here_says_which_to_install(
    installed: Install, project: Path, kdbench: Command
) -> None:
    planned(project / "suites")
    store(project, project / "suites" / "mine_digits.toml", {"1/linear": 80.0})
    assert kdbench("bundle", "suites/mine_digits", "-o", "mine.zip").code == 0
    assert kdbench("verify", "mine.zip").code == 0
    installed(version="1.1")
    other = kdbench("verify", "mine.zip")
    assert other.code == 2
    assert "mine.zip: made with mine 1.0 (source" in other.err
    assert "installed here is mine 1.1 (source" in other.err
    installed(points="")
    assert "installed here is none of it; install mine 1.0 (pip install mine==1.0)" in (
        kdbench("verify", "mine.zip").err
    )


def test_package_is_found_beside_the_folder_of_its_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `pip install -e wide` was called, the folder `wide` of the project holds the package `wide`."""
    site, here = tmp_path / "site", tmp_path / "here"
    package = here / "wide" / "wide"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text(MODULE.replace("mine:", "wide.part:"))
    (here / "wide" / "test_wide.py").write_text("")
    site.mkdir()
    install(site, "wide", "", "[kdbench.losses]\nfocal = wide.part:FOCAL\n")
    (site / "wide.py").unlink()

    class Editable:
        """As the finder that pip installs: it is asked after Python's own."""

        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> object:  # noqa: ARG004
            found = name == "wide" and path is None
            return PathFinder.find_spec(name, [str(here / "wide")]) if found else None

    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Editable])
    uninstall()
    elsewhere = (plugins.installed("wide"), catalog.find("losses", "focal").formula)
    monkeypatch.syspath_prepend(str(here))
    uninstall("wide", "wide.part")
    assert (plugins.installed("wide"), catalog.find("losses", "focal").formula) == elsewhere
    assert len(elsewhere[0]) == 1
    uninstall("wide", "wide.part")


def test_package_that_cannot_be_imported_is_named_and_stops_nothing_else(
    installed: Install, project: Path, kdbench: Command
) -> None:
    planned(project / "suites")
    installed(module="import nothing_of_this_name\n")
    listed = kdbench("list", "models")
    assert listed.code == 0
    assert "digits_mlp" in listed.out
    assert "note: mine 1.0: the entry point 'linear' of kdbench.models (mine:LINEAR) cannot be imported" in (
        listed.err
    )
    assert "ModuleNotFoundError: No module named 'nothing_of_this_name'" in listed.err
    assert kdbench("plan", "suites/small").code == 0
    refused = kdbench("plan", "suites/mine_digits")
    assert refused.code == 2
    assert (
        "mine 1.0: the entry point 'focal' of kdbench.losses (mine:FOCAL) cannot be imported" in refused.err
    )


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('dataset = "digits"', 'dataset = "points"', "[suite]: "),
        ('id = "1"', 'id = "1"\ndataset = "points"', "1/linear: "),
        ("lr = 0.1", 'lr = 0.1\nnormalize = "points"', "1/linear: normalize: "),
    ],
)
def test_data_set_of_a_package_that_cannot_be_imported_is_not_called_unknown(
    installed: Install, tmp_path: Path, old: str, new: str, place: str
) -> None:
    installed(
        name="other", module="import nothing_of_this_name\n", points="[kdbench.datasets]\npoints = other:P\n"
    )
    with pytest.raises(UserError) as error:
        planned(tmp_path, SUITE.replace(old, new))
    broken = "other 1.0: the entry point 'points' of kdbench.datasets (other:P) cannot be imported: Module"
    assert [f"mine_digits.toml: {place}{broken}" in problem for problem in error.value.problems] == [True]


def test_name_of_a_built_in_stays_kdbenchs_and_this_is_said(installed: Install, kdbench: Command) -> None:
    installed(points="[kdbench.models]\ndigits_mlp = mine:LINEAR\n")
    listed = kdbench("list", "models")
    assert "note: mine 1.0: the model 'digits_mlp' has the name of one of kdbench's own, which is used" in (
        listed.err
    )
    assert catalog.find("models", "digits_mlp").code == "kdbench.models.digits:digits_mlp"


BROKEN_DATASET = """
from kdbench.catalog import DatasetEntry
P = DatasetEntry(
    code="other:points", pack="points", labels="labels", classes=2, channels=1, size=8, train=10, test=10,
    mean=(0.0,), std=(1.0,), digest="0"
)
def files(pack): return FILES[pack]
"""


@pytest.mark.filterwarnings("always::kdbench.plugins.PluginWarning")
def test_data_set_of_a_package_that_fails_is_named_and_concerns_no_other_suite(
    installed: Install, project: Path, kdbench: Command
) -> None:
    installed(name="other", module=BROKEN_DATASET, points="[kdbench.datasets]\npoints = other:P\n")
    place = f"({project / 'site' / 'other.py'}, line 7)"
    named = f"other 1.0: the data set 'points' fails with NameError: name 'FILES' is not defined {place}\n"
    listed = kdbench("data", "list")
    assert (listed.code, listed.err) == (0, f"note: {named}")
    assert "digits" in listed.out
    refused = kdbench("data", "fetch", "points")
    assert (refused.code, refused.err) == (2, f"error: {named}")
    fetch_missing(planned(project / "suites"), Machine(root="."))
    assert kdbench("data", "verify", "digits").code == 0


@pytest.mark.filterwarnings("always::kdbench.plugins.PluginWarning")
@pytest.mark.usefixtures("stored")
def test_rows_with_a_name_that_a_package_offers_in_vain_say_so(installed: Install, kdbench: Command) -> None:
    installed(points=POINTS.replace("focal =", "kd_released =").replace("linear =", "digits_mlp ="))
    for command in ("plan", "run", "check", "report", "methods"):
        done = kdbench(command, "suites/small")
        assert done.code == 0
        for name in ("loss 'kd_released'", "model 'digits_mlp'"):
            note = f"note: mine 1.0: the {name} has the name of one of kdbench's own, which is used; give it"
            assert done.err.count(note) == 1, command
    assert kdbench("plan", "suites/small", "--rows", "1.base/digits_cnn").err == ""


def test_entry_point_of_something_else_than_an_entry_says_what_it_must_be(installed: Install) -> None:
    installed(points="[kdbench.losses]\nfocal = mine:focal\n")
    with pytest.raises(UserError, match=r"is a function; it must be a kdbench\.catalog\.LossEntry"):
        catalog.find("losses", "focal")


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ('params=("gamma",)', "params={'gamma': 3}", "params = {'gamma': 3}: expected `Range`, got `int`"),
        ('params=("gamma",)', "params='gamma'", "params = 'gamma': expected `Mapping | tuple`, got `str`"),
        ('params=("gamma",)', "teacher=1", "teacher = 1: expected `bool`, got `int`"),
        ('"mine:focal"', "None", "code = None: expected `str`, got `None`"),
        ("least_size=8", "least_size='8'", "least_size = '8': expected `int`, got `str`"),
        ("least_size=8", "least_size=-8", "least_size = -8: expected `int` >= 1"),
    ],
)
def test_field_of_an_entry_that_is_of_another_type_is_named(
    installed: Install, project: Path, kdbench: Command, old: str, new: str, mistake: str
) -> None:
    planned(project / "suites")
    installed(module=MODULE.replace(old, new))
    refused = kdbench("plan", "suites/mine_digits")
    assert refused.code == 2
    assert re.search(
        rf"mine 1\.0: the entry point '\w+' of .* \(mine:[A-Z]+\): {re.escape(mistake)}\n", refused.err
    )


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("undefined", "NameError: name 'undefined' is not defined"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        (
            "from kdbench.quantities import Range; Range('0..1')",
            "ValueError: '0..1' is no interval such as [0, 1)",
        ),
    ],
)
def test_module_of_entries_that_fails_is_named_with_the_line(
    installed: Install, tmp_path: Path, line: str, error: str
) -> None:
    installed(module=f"\n{line}\n{MODULE}")
    with pytest.raises(UserError) as raised:
        catalog.find("losses", "focal")
    file = tmp_path / "site" / "mine.py"
    assert str(raised.value).endswith(f"(mine:FOCAL) cannot be imported: {error} ({file}, line 2)")


def test_name_that_two_packages_offer_is_neither_ones(installed: Install) -> None:
    installed(name="other", points="[kdbench.losses]\nfocal = other:FOCAL\n")
    with pytest.raises(UserError, match=r"both offer 'focal' as kdbench\.losses; uninstall one of them"):
        catalog.find("losses", "focal")


@pytest.mark.filterwarnings("always::kdbench.plugins.PluginWarning")
@pytest.mark.usefixtures("installed", "in_process")
def test_wrong_loss_and_wrong_model_are_named_and_stop_neither_audit_nor_run(
    project: Path, kdbench: Command
) -> None:
    planned(project / "suites", SUITE + BASELINE + WRONG_LOSS + WRONG_MODEL + LOST_DISTILLER)
    audit = kdbench("audit", "suites/mine_digits")
    assert audit.code == 0
    attribute = "AttributeError: 'Output' object has no attribute 'attention'"
    fails = f"mine 1.0: the loss 'wrong' fails with {attribute}"
    assert f"2/linear:digits_mlp: not found out: {fails}" in audit.out
    index = "mine 1.0: the distiller 'lost' fails with IndexError: tuple index out of range"
    assert f"4/linear:digits_mlp: not found out: {index}; it is called with the student's Output" in audit.out
    run = kdbench("run", "suites/mine_digits", "--seeds", "0", "--controls")
    text = run.out + run.err
    assert run.code == 1
    assert "Traceback" not in text
    assert f"note: 2/linear:digits_mlp has no controls: {fails}" in run.err
    assert f"4/linear:digits_mlp: {index}" in text or index in text
    returns = "must return a kdbench.models.output.Output(logits, features)"
    assert f"mine 1.0: the model 'bare' returns a Tensor; it {returns}" in text
    assert "2 runs stored, 3 to train" in kdbench("plan", "suites/mine_digits", "--seeds", "0").out


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("each)", r"returns a tensor of shape \(32,\); it must return its mean"),
        (
            "each).detach().mean()",
            "returns a value without a gradient; it must be computed from the student's",
        ),
        ("each).mean() * exit(7)", "fails with SystemExit: 7; it is called with"),
    ],
)
def test_loss_that_is_wrong_is_named_with_its_package(
    installed: Install, tmp_path: Path, new: str, message: str
) -> None:
    installed(module=MODULE.replace("each).mean()", new))
    with pytest.raises(UserError, match=f"mine 1.0: the loss 'focal' {message}"):
        train(planned(tmp_path)[0], open_context(Machine(root=str(tmp_path))))


@pytest.mark.usefixtures("in_process")
def test_code_that_is_not_there_is_found_before_a_teacher_is_trained(
    installed: Install, project: Path, kdbench: Command
) -> None:
    installed(module=MODULE.replace('code="mine:closer"', 'code="mine:nope"'))
    planned(project / "suites", DISTILLED)
    done = kdbench("run", "suites/mine_digits")
    assert done.code == 2
    entry = "mine 1.0: the entry point 'closer' of kdbench.distillers (mine:CLOSER)"
    problem = "AttributeError: module 'mine' has no attribute 'nope'"
    assert done.err.endswith(f"error: {entry}: its code 'mine:nope': {problem}\n")
    assert not list(project.glob("results/*/*.json"))


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("channels * 64", "channels * 63", "RuntimeError: .* cannot be multiplied .*"),
        ("nn.Sequential(nn.Flatten())", "Leaving()", "SystemExit: 3"),
    ],
)
def test_network_that_fails_is_no_error_of_kdbench(
    installed: Install, project: Path, kdbench: Command, old: str, new: str, error: str
) -> None:
    leaving = "class Leaving(nn.Module):\n        def forward(self, x):\n            exit(3)\n"
    module = MODULE.replace(old, new).replace(
        "from torch import nn\n", f"from torch import nn\n    {leaving}"
    )
    installed(module=module)
    planned(project / "suites")
    done = kdbench("fingerprint", "suites/mine_digits/1/linear", "--steps", "1")
    assert done.code == 2
    assert re.fullmatch(rf"error: linear-focal: {error} \(with code of mine 1\.0\)\n", done.err)


@pytest.mark.usefixtures("installed")
def test_failure_of_a_run_names_the_packages_whose_code_it_trains(tmp_path: Path) -> None:
    run, *_ = planned(tmp_path)
    machine = Machine(root=str(tmp_path))

    def kept(run: Run, cause: str) -> str:
        return keep_failure(run, machine, cause, "", trial=False).cause

    assert kept(run, "RuntimeError: shapes") == "RuntimeError: shapes (with code of mine 1.0)"
    named = "mine 1.0: the loss 'focal' fails"
    assert kept(run, named) == named
    assert kept(bare(run), "RuntimeError: shapes") == "RuntimeError: shapes"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("return Closer()", "return setting.student.maps[0]", "cannot be built: IndexError: tuple index out"),
        ("return Closer()", "return beta", "'closer' is a float, not an nn.Module"),
        ("t.features).square().mean()", "t.features)", r"returns a tensor of shape \(32, 64\)"),
    ],
)
def test_distiller_that_is_wrong_is_named_with_its_package(
    installed: Install, tmp_path: Path, old: str, new: str, message: str
) -> None:
    installed(module=MODULE.replace(old, new))
    teacher, run = (each for each in planned(tmp_path, DISTILLED) if each.seed == 0)
    context = open_context(Machine(root=str(tmp_path)))
    train(teacher, context)
    with pytest.raises(UserError, match=f"mine 1.0: the distiller .*{message}"):
        train(run, context)


def test_package_that_imports_torch_at_its_top_is_told_that_plan_is_slow(
    installed: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(module="import sys\nsys.modules['torch'] = sys\n" + MODULE)
    monkeypatch.delitem(sys.modules, "torch")
    with pytest.warns(PluginWarning, match=r"mine 1\.0: mine imports torch, so that commands which"):
        catalog.find("losses", "focal")
