# ruff: noqa: E501 - a case is a line
"""Every mistake of a suite: one sentence with file, place, what came, what is valid; all at once."""

from pathlib import Path

import pytest

from kdbench import catalog
from kdbench.spec.runs import Loss
from kdbench.suite.load import load_suite
from kdbench.suite.validate import loss_mistakes
from kdbench.toml import LARGEST_FILE
from tests.support.command import Command
from tests.support.project import change, write_suite
from tests.support.refused import problems_of

KD = 'id = "1.kd"'
OTHER = f"timm/resnet50.x@{64 * '0'}"
LARGE = "recipe = { size = 32 }"
ROW = "top1 = 92.0, gain = 2.0"
BASE = '[[table]]\nid = "1.base"'
PLAIN = (
    '[[table]]\nid = "2"\nrecipe = { %s }\nloss = { name = "%s", %s }\nrows = [{ student = "digits_mlp" }]\n'
)
KD_ROW = "1.kd/digits_mlp:digits_cnn"


def mistakes(folder: Path, *edits: tuple[str, str]) -> list[str]:
    """What is wrong with the small suite after some edits, without the file's name."""
    path = write_suite(folder, change(*edits))
    found = problems_of(load_suite, path)
    assert all(problem.startswith(f"{path}: ") for problem in found)
    return [problem.removeprefix(f"{path}: ") for problem in found]


LATER = '[[delta]]\nat = "x"\nwhy = "x"\nepoch = { 2 = 4 }'
TABLE = 'loss = { name = "ce" }\nrows = [{ student = "digits_cnn"'

# fmt: off
CASES = [
    # sections and keys
    ("[tolerance]", "[tolerence]", "unknown section 'tolerence'. Did you mean 'tolerance'? Valid: suite, recipe, table, tolerance,"),
    ("[suite]", "[author]\nx = 1\n[suite]", "unknown section 'author'. Valid: suite, recipe, table, tolerance, delta"),
    ("seeds = 2", "seed = 2", "[suite]: unknown key 'seed'. Did you mean 'seeds'? Valid: paper, dataset,"),
    ("epochs = 3", "epoch = 3", "[recipe]: unknown key 'epoch'. Did you mean 'epochs'?"),
    ("gain = 0.5", "gian = 0.5", "[tolerance]: unknown key 'gian'. Did you mean 'gain'? Valid: top1, gain"),
    (KD, f'{KD}\nnotes = ""', "table 2 (1.kd): unknown key 'notes'."),
    (ROW, "top_1 = 92.0", "table 2 (1.kd), row 1 (digits_mlp): unknown key 'top_1'. Did you mean 'top1'?"),
    ("teacher =", "techer =", "table 2 (1.kd), row 1 (digits_mlp): unknown key 'techer'. Did you mean 'teacher'?"),
    (ROW, f"{ROW}, recipe = {{ lrs = 1 }}", "row 1 (digits_mlp), recipe: unknown key 'lrs'. Did you mean 'lr'?"),
    ("why =", "wy =", "delta 1 (code.py:1): unknown key 'wy'. Did you mean 'why'?"),
    # missing
    ('paper = "A paper"\n', "", "[suite]: paper is missing; write paper ="),
    ('dataset = "digits"\n', "", '[suite]: dataset is missing; write dataset = "digits", or another of `kdbench list datasets`'),
    ("lr = 0.1\n", "", "[recipe]: lr is missing; write lr = 0.1"),
    ("gain = 0.5\n", "", "[tolerance]: gain is missing; write gain = 0.5: points"),
    ("[recipe]\nepochs = 3\nbatch_size = 32\nlr = 0.1\n", "", "[recipe] is missing; write [recipe] with epochs = 100, batch_size = 32 and lr = 0.1"),
    ("[tolerance]\ntop1 = 0.5\ngain = 0.5\n", "", "[tolerance] is missing; write [tolerance] with top1 = 0.5 and gain = 0.5: points"),
    (f"{KD}\n", "", "table 2: id is missing; write id ="),
    ('loss = { name = "ce" }\n', "", 'table 1 (1.base): loss is missing; write loss = { name = "ce" }'),
    ('name = "ce"', "", 'table 1 (1.base): the loss has no name; write for example loss = { name = "ce" }'),
    ('student = "digits_cnn", ', "", "table 1 (1.base), row 2: student is missing; write student ="),
    ('why = "another loss"\n', "", "delta 1 (code.py:1): why is missing; write why ="),
    # wrong types and values
    ("epochs = 3", "epochs = 0", "[recipe]: epochs = 0: expected a whole number >= 1"),
    ("epochs = 3", 'epochs = "3"', "[recipe]: epochs = '3': expected a whole number, got text"),
    ("epochs = 3", "epochs = 2.5", "[recipe]: epochs = 2.5: expected a whole number, got a number"),
    ("lr = 0.1", "lr = nan", "[recipe]: lr = nan: expected "),
    ("lr = 0.1", "lr = inf", "[recipe]: lr = inf: expected a finite number"),
    ("top1 = 0.5", "top1 = 0", "[tolerance]: top1 = 0: expected a number > 0.0"),
    ("top1 = 92.0", "top1 = 920", "row 1 (digits_mlp): top1 = 920: expected a number <= 100.0"),
    ("gain = 2.0", "gain = nan", "row 1 (digits_mlp): gain = nan: expected a finite number"),
    ("gain = 2.0", "gain = 2.5, sic = 1", "sic = 1: expected true or false"),
    ("top1 = 95.0", "errors = 74", "errors and of belong together: a count of errors, and of how many test images. Add of = 10000: the "),
    ("top1 = 95.0", "of = 100", "row 2 (digits_cnn): errors and of belong together: "),
    ("top1 = 95.0", "errors = 101, of = 100", "row 2 (digits_cnn): errors = 101 of = 100: more errors than test images; is it a percentage?"),
    ("top1 = 95.0", "errors = -1, of = 100", "errors = -1: expected a whole number >= 0"),
    # a row as the teacher
    ('teacher = "digits_cnn"', 'teacher = "digits_mlp", teacher_row = "1.kd/digits_mlp:digits_mlp"', "teacher_row: 1.kd/digits_mlp:digits_mlp is itself taught, in the end, by this row"),
    ("seeds = 2", "seeds = 1000000000", "[suite]: seeds = 1000000000: expected a whole number <= 10000"),
    ("alpha = 0.9", 'alpha = "0.9"', "table 2 (1.kd): loss.alpha is '0.9'; a parameter of a loss is a finite number"),
    ("alpha = 0.9", "alpha = true", "table 2 (1.kd): loss.alpha is true; a parameter of a loss is a finite number"),
    ("alpha = 0.9", "alpha = inf", "table 2 (1.kd): loss.alpha is inf; a parameter of a loss is a finite number"),
    ('name = "kd"', "name = 3", "table 2 (1.kd): loss.name is 3; its name is text"),
    ('loss = { name = "ce" }', 'loss = "ce"', "table 1 (1.base): loss = 'ce': expected a table of keys, got text"),
    ("[recipe]", "[[recipe]]", "[recipe]: expected one table, got a list of tables; its head goes in single brackets"),
    ('teacher = "digits_cnn"', 'teacher = ["digits_cnn"]', "teacher = ['digits_cnn']: expected text, got a list"),
    ('[suite]\npaper = "A paper"\ndataset = "digits"\nseeds = 2\n', "suite = 3\n", "[suite]: 3 is no table of keys"),
    ('[[delta]]\nat = "code.py:1"\nwhy = "another loss"\nloss = { kd = "kd_released" }\n', "[delta]\n", "delta is a list ([[delta]]), not {}"),
    # control characters
    ('paper = "A paper"', r'paper = "A\u001b[31mpaper"', "expected text without control characters"),
    (KD, r'id = "1.kd\n"', r"id = '1.kd\n': expected a name of at most 64 letters, digits, _, . and -"),
    ('teacher = "digits_cnn"', r'teacher = "digits_cnn\n"', r"teacher = 'digits_cnn\n': expected a name"),
    ('student = "digits_cnn"', 'student = "digits cnn"', "student = 'digits cnn': expected a name"),
    ('at = "code.py:1"', 'at = ""', "delta 1: at = '': expected"),
    # names of the catalog
    ('dataset = "digits"', 'dataset = "digit"', "[suite]: unknown data set 'digit'. Did you mean 'digits'? Valid: digits,"),
    ('"digits_mlp", teacher', '"digits_mpl", teacher', "unknown model 'digits_mpl'. Did you mean 'digits_mlp'? Valid: resnet18,"),
    ('name = "kd"', 'name = "kdd"', f"{KD_ROW}: unknown loss 'kdd'. Did you mean 'kd'? Valid: ce, lsr,"),
    ('kd = "kd_released"', 'kd = "kd_relased"', "loss: unknown loss 'kd_relased'. Did you mean 'kd_released'?"),
    # losses
    ("tau = 4", "tau = 4, beta = 1", f"{KD_ROW}: loss 'kd': unknown parameter 'beta'. Did you mean 'tau'? Valid: alpha, tau"),
    (", tau = 4", "", f"{KD_ROW}: loss 'kd' needs the parameter 'tau'; it takes alpha, tau"),
    ('teacher = "digits_cnn", ', "", "1.kd/digits_mlp: loss 'kd' needs a teacher; add teacher = ... to the row"),
    ('"digits_cnn", top1', '"digits_cnn", teacher = "self", top1', "loss 'ce' takes no teacher, but the row names 'self'"),
    # teachers
    ('teacher = "digits_cnn"', 'teacher = "resnet18"', "no row trains the teacher 'resnet18': it needs a row of loss ce without a teacher. unknown teacher 'resnet18'. Valid: self, digits_mlp, digits_cnn"),
    ('teacher = "digits_cnn"', 'teacher = "digits_cnm"', "Did you mean 'digits_cnn'?"),
    ('teacher = "digits_cnn"', 'teacher = "digits_cnn@4"', f"{KD_ROW}@4: teacher digits_cnn@4: digits_cnn trains only 3 epochs"),
    ('teacher = "digits_cnn"', 'teacher = "digits_cnn@0"', "teacher 'digits_cnn@0': after @ comes an epoch from 1, `best` or `last`"),
    ('teacher = "digits_cnn"', 'teacher = "digits_cnn@"', "after @ comes an epoch from 1"),
    # rows and recipes
    (BASE, PLAIN % ("label_smoothing = 0.1", "lsr", "epsilon = 0.1") + BASE, "label_smoothing: loss 'lsr' smooths its targets itself; remove one of the two"),
    (BASE, PLAIN % ("label_smoothing = 0.1", "tfkd_reg", "alpha = 0.9, tau = 4, a = 0.9") + BASE, "label_smoothing: loss 'tfkd_reg' looks up the class of each image, so that targets can be neither"),
    (BASE, PLAIN % ("mixup = 0.2", "lsr_released", "epsilon = 0.1") + BASE, "mixup: loss 'lsr_released' looks up the class of each image, so that targets can be neither"),
    ('dataset = "digits"', 'dataset = "cub200"', "its images have many sizes; add size = 224, or what the"),
    ('dataset = "digits"\nseeds = 2\n\n[tolerance]\ntop1 = 0.5\ngain = 0.5\n\n[recipe]', 'dataset = "cars"\n[tolerance]\ntop1 = 0.5\ngain = 0.5\n[recipe]\nsize = 224\nresize = 288', "and 2 more rows: resize = 288; images are stored with a shorter side of 256"),
    (f"{ROW}", f'{ROW}, weights = "timm/resnet50.a1_in1k"', "weights = 'timm/resnet50.a1_in1k': expected timm/NAME@SHA256, the digest of their file, which"),
    (ROW, f'{ROW}, weights = "timm/resnet50.a1_in1k@{64 * "0"}"', "weights timm/resnet50.a1_in1k are not for digits_mlp: no published weights fit it"),
    ('{ student = "digits_cnn"', f'{{ student = "resnet18_224", weights = "{OTHER}", {LARGE} }},\n{{ student = "digits_cnn"', "weights timm/resnet50.x are not for resnet18_224: it takes those of timm/resnet18"),
    ('{ student = "digits_cnn"', '{ student = "resnet18" },\n{ student = "digits_cnn"', "1.base/resnet18: resnet18 needs images of 32 pixels; it is given images of 8"),
    ('{ student = "digits_cnn"', '{ student = "digits_mlp", top1 = 90.0 },\n{ student = "digits_cnn"', "row 1.base/digits_mlp stands 2 times; a printed cell is one row"),
    (KD, f"{KD}\nrows = []\n[[table]]\nloss = {{}}\nrows = []\n", "not valid TOML"),
    # arithmetic
    ("gain = 2.0", "gain = 2.5", f"{KD_ROW}: gain = 2.5, but 92.0 - 90.0 is 2.00; if the paper prints it so, add sic = true"),
    # deltas
    ('teacher = "digits_cnn", top1 = 92.0, gain = 2.0 },\n]', f'teacher = "digits_cnn@2", top1 = 92.0, gain = 2.0 }},\n]\n{LATER}', "1.kd/digits_mlp:digits_cnn@2: teacher digits_cnn@4: digits_cnn trains only 3 epochs"),
    ("gain = 2.0", f'gain = 2.0, report_epoch = 2 }},\n]\n{LATER}\n[[table]]\nid = "2"\n{TABLE}', "report_epoch = 4, but it trains 3 epochs"),
]
# fmt: on


def added(old: str, between: str, *cases: tuple[str, str]) -> list[tuple[str, str, str]]:
    """Edits that add something to a piece of the small suite: what is added, and the sentence on it."""
    return [(old, f"{old}{between}{new}", sentence) for new, sentence in cases]


def alone(loss: str, parameters: str) -> tuple[str, str]:
    """An edit that adds a table of one row, which no other row depends on."""
    there = '[[table]]\nid = "1.kd"'
    loss = f'loss = {{ name = "{loss}", {parameters} }}'
    return there, f'[[table]]\nid = "2"\n{loss}\nrows = [ {{ student = "digits_mlp" }} ]\n\n{there}'


# fmt: off
OUT_OF_RANGE = [
    # parameters of losses
    ("tau = 4", "tau = 0", "loss 'kd': tau = 0.0: must be in [0.001, 10000]; logits are divided by it"),
    ("tau = 4", "tau = -4", "tau = -4.0: must be in [0.001, 10000]"),
    ("alpha = 0.9", "alpha = 95", "alpha = 95.0: must be in [0, 1]; it is a share, not a percentage"),
    ("alpha = 0.9", "alpha = -0.1", "alpha = -0.1: must be in [0, 1]"),
    (*alone("lsr", "epsilon = 1.5"), "loss 'lsr': epsilon = 1.5: must be in [0, 1]"),
    (*alone("lsr", "epsilon = -0.2"), "epsilon = -0.2: must be in [0, 1]"),
    (*alone("tfkd_reg", "alpha = 0.1, tau = 20, a = 1.0"), "a = 1.0: must be in (0, 1); the loss takes log"),
    (*alone("lsd", "epsilon1 = 95"), "loss 'lsd': epsilon1 = 95.0: must be in [0, 1]"),
    (*alone("he", "scale = -16"), "scale = -16.0: must be in [0, 1e6]"),
    # recipes
    ("lr = 0.1", "lr = 1e9", "[recipe]: lr = 1000000000.0: must be in (0, 1000]"),
    ("epochs = 3", "epochs = 1e20", "[recipe]: epochs = 1e+20: "),
    ("epochs = 3", f"epochs = {10**18}", f"epochs = {10**18}: must be in [1, 1e6]"),
    (ROW, f"{ROW}, recipe = {{ momentum = 2 }}", "row 1 (digits_mlp), recipe: momentum = 2.0: must be in"),
    # tolerances
    ("top1 = 0.5", "top1 = 0.005", "[tolerance]: top1 = 0.005: must be in [0.05, 100]; it is in percentage"),
    ("gain = 0.5", "gain = 0.01", "[tolerance]: gain = 0.01: must be in [0.05, 100]"),
    # printed numbers
    ("top1 = 95.0", "top1 = 0.95", "top1 = 0.95: below chance, 10 % for 10 classes; is it 95 as a fraction?"),
    ("top1 = 95.0", "top1 = 5.0", "top1 = 5.0: below chance, 10 % for 10 classes; is it 95 as an error rate?"),
    ("gain = 2.0", "gain = -2.0", "92.0 - 90.0 is 2.00; are these error rates? The accuracy of 92.0 is 8; else"),
]
# fmt: on


# fmt: off
ADDED = [
    *added(
        "lr = 0.1",
        "\n",
        ("epoch = 2", "[recipe]: unknown key 'epoch'. Did you mean 'epochs'? Valid: epochs,"),
        ("flip = 1", "[recipe]: flip = 1: expected true or false, got a whole number"),
        ('optimizer = "sgdm"', "optimizer = 'sgdm': unknown value 'sgdm'. Did you mean 'sgd'?"),
        ("transfer_classes = [3, 10]", "transfer_classes: class 10; the classes are 0 to 9"),
        ("bias = [[10, 1.0]]", "bias: class 10; the classes are 0 to 9"),
        ("bias = [[3, 1.0], [3, 2.0]]", "bias: a class stands there twice"),
        ("subset = 9\ntransfer_classes = [1]", "transfer_classes with subset: a draw of all classes and a choice of classes; leave one out"),
        ('normalize = "cifar"', "1.base/digits_mlp and 2 more rows: normalize: unknown data set 'cifar'. Did you mean 'cifar10'?"),
        ("normalize_std = [51]", "normalize_std = [51.0]: it is of values from 0 to 1"),
        ("normalize_std = [0.2, 0.2]", "normalize_std has 2 values; an image has channels: 1"),
        ('normalize = "none"\nnormalize_std = [0.2]', 'normalize_std = [0.2]: leave out normalize = "none"'),
        ("classes = 9", "1.base/digits_mlp and 2 more rows: classes = 9; digits has 10 classes"),
        ("milestones = [2]", "and 2 more rows: milestones without gamma: the lr would never change"),
        ("gamma = 0.1\nmilestones = [2, 1]", "milestones = [2, 1]; they must rise"),
        ('schedule = "cosine"\ngamma = 0.1\nmilestones = [2]', "milestones and gamma are settings of schedule 'milestones'; schedule is 'cosine': remove them"),
        ("label_smoothing = 1.0", "label_smoothing = 1.0: must be in [0, 1); it is a share"),
        ("ema = 1", "ema = 1.0: must be in [0, 1); the mean would never move"),
        ("clip_norm = -1", "clip_norm = -1: expected a number >= 0.0"),
        ("randaugment_magnitude = 5", "randaugment_magnitude without randaugment: add randaugment = 2"),
        ("random_erasing = 25", "random_erasing = 25.0: must be in [0, 1]; it is a probab"),
        ("randaugment_magnitude = 31\nrandaugment = 2", "= 31: must be in [0, 30]; RandAug"),
        ("validation_size = 201", "validation_size = 201: more than half of the 400 training images; at most 200 can"),
        ("subset = 401", "1.base/digits_mlp and 2 more rows: subset = 401: the data set has 400 training images; give at most so many, or 0 for all"),
        ("train_size = 401", "train_size = 401: the data set has 400 training images; give at most"),
        ("test_size = 1398", "test_size = 1398: the data set has 1,397 test images; give at most"),
        ("train_size = 300\nvalidation_size = 50\nsubset = 251", "subset = 251: more than the 250 training images that train_size and validation_size leave; at most 250"),
        ("validation_seed = 1", "validation_seed without validation_size: add"),
        ("lr_end = 0.01", "lr_end is a setting of schedules cosine and linear"),
        ('schedule = "linear"\nlr_end = 0.2', "lr_end = 0.2: the lr would rise from"),
        ('schedule = "cos"', "unknown value 'cos'. Did you mean 'cosine'?"),
        ("resize = 9", "and 2 more rows: resize without size: add size = ..., the side"),
        ("resized_crop = true", "and 2 more rows: resized_crop without size: add size"),
        ("size = 8\ncrop = 1", "crop = 1 with size: that is for images as they are"),
        ("size = 8\nrotation = 5", "rotation = 5.0 with size: that is for images as they"),
        ("size = 9\nresize = 8", "resize = 8; the centre of size = 9 would not fit in"),
        ("rho = 0.9", "1.base/digits_mlp and 2 more rows: rho is a setting of rmsprop; optimizer is 'sgd'"),
        ('optimizer = "adam"\neps_inside = true', "1.base/digits_mlp and 2 more rows: eps_inside is a setting of rmsprop; optimizer is 'adam'"),
        ("eps = 1e-6", "1.base/digits_mlp and 2 more rows: eps is a setting of adam, adamw and rmsprop"),
        ('optimizer = "rmsprop"\nrho = 1.0', "[recipe]: rho = 1.0: must be in [0, 1); it is of a mean of squares"),
        ('optimizer = "rmsprop"\neps_inside = true\nmomentum = 0.9', "and 2 more rows: eps_inside = true is Keras' rmsprop, which has neither momentum"),
        ("momentum = 9", "[recipe]: momentum = 9.0: must be in [0, 1)"),
        ("momentum = 1", "momentum = 1.0: must be in [0, 1)"),
        ("milestones = [1]\ngamma = 5", "gamma = 5.0: must be in (0, 1]; the lr would rise"),
        ("weight_decay = 5", "weight_decay = 5.0: must be in [0, 1]"),
        ("rotation = 360", "rotation = 360.0: must be in [0, 180]; it is in degrees"),
        ("warmup_epochs = 5", "warmup_epochs = 5: more than epochs = 3"),
        ("milestones = [60, 120]\ngamma = 0.1", "milestones = [60, 120]: 60 is beyond the last epoch, 3"),
    ),
    *added(
        'why = "another loss"',
        "\n",
        ("params = { multiplier = 2 }", f"{KD_ROW}: as released: loss 'kd_released': unknown parameter 'multiplier'. Valid: alpha, tau"),
        ("params = { alpha = nan }", "params = {'alpha': nan}: expected a finite number"),
        ("recipe = { epochs = 0 }", "delta 1 (code.py:1), recipe: epochs = 0: expected a whole number >= 1"),
        ("recipe = { epoch = 2 }", "recipe: unknown key 'epoch'. Did you mean 'epochs'?"),
        ("recipe = { milestones = [1] }", "recipe: milestones without gamma"),
        ("recipe = { momentum = 2 }", "delta 1 (code.py:1), recipe: momentum"),
        ("params = { tau = -1 }", "as released: loss 'kd_released': tau ="),
    ),
    *added(
        'at = "code.py:1"',
        "\n",
        ('where = { student = "digits_mpl" }', "delta 1 (code.py:1), where: unknown student 'digits_mpl'. Did you mean 'digits_mlp'?"),
        ('where = { loss = ["kd", "dk"] }', "where: unknown loss 'dk'. Did you mean 'kd'? Valid: ce, kd"),
        ('where = { tables = "1.kd" }', "unknown value 'tables'. Did you mean 'table'? Valid: table, student, teacher, loss"),
        ("epoch = { 2 = 3 }", "delta 1 (code.py:1), epoch: unknown epoch of a row '2'. Valid: none"),
        ('where = { student = "digits_cnn" }', "delta 1 (code.py:1): concerns no row: where = {'student': ('digits_cnn',)}, loss = {'kd': 'kd_released'}"),
    ),
    *added(
        "gain = 2.0",
        ", ",
        ('report_epoch = "lst"', "unknown value 'lst'. Did you mean 'last'? Valid: last, best"),
        ("report_epoch = 0", "report_epoch = 0: expected a whole number >= 1"),
        ('teacher_row = "1.base/digits_cn"', "teacher_row: unknown row '1.base/digits_cn'. Did you mean '1.base/digits_cnn'?"),
        ('teacher_row = "1.base/digits_mlp"', "teacher_row: 1.base/digits_mlp trains digits_mlp, not digits_cnn"),
        ('seeds = 3, teacher_row = "1.base/digits_cnn"', "teacher_row: 1.base/digits_cnn has 2 seeds, this row 3"),
        ("report_epoch = 4", "report_epoch = 4, but it trains 3 epochs"),
        ("sic = true", f"{KD_ROW}: sic = true, but the printed gain adds up; remove it"),
    ),
    *added(
        "top1 = 95.0",
        ", ",
        ("std = 0.1, errors = 5, of = 100", "errors with top1 and std: the accuracy and its error are made of the count; choose"),
        ("std = 95", "std = 95.0: must be in [0, 50]; it is in percentage points"),
        ("gain = 1e300", "gain = 1e+300: must be in [-100, 100]"),
    ),
    *added(
        "seeds = 2",
        "\n",
        ("teacher = 4", f"{KD_ROW}: teacher digits_cnn@4: digits_cnn trains only 3 epochs"),
        ('report_epoch = "best"\nbest_on = "validation"', "the best epoch on held-out images is reported, and none are held out: add validation_size"),
    ),
]
# fmt: on

EVERY = [*CASES, *OUT_OF_RANGE, *ADDED]


@pytest.mark.parametrize(("old", "new", "sentence"), EVERY, ids=[case[2][:60] for case in EVERY])
def test_mistake_is_told_once_with_its_place_and_cure(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    (found,) = mistakes(tmp_path, (old, new))
    assert sentence in found


def test_command_prints_a_line_for_each_mistake(kdbench: Command, project: Path) -> None:
    write_suite(project, change(("epochs = 3", "epochs = 0"), ("seeds = 2", "seed = 2")))
    done = kdbench("lint", "suites/small")
    lines = done.err.splitlines()
    assert (done.code, done.out, len(lines)) == (2, "", 2)
    assert all(line.startswith("error: suites/small.toml: ") for line in lines)


def test_mistakes_of_a_file_are_told_all_at_once(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        ("seeds = 2", "seed = 2"),
        ("top1 = 0.5", "top1 = -1"),
        ("epochs = 3", "epochs = 0"),
        ("alpha = 0.9", "beta = 0.9"),
        ('kd = "kd_released"', 'kd = "kd_relased"'),
        ('teacher = "digits_cnn"', 'teacher = "resnet18"'),
        ("gain = 2.0", "gain = 2.5"),
        (
            '{ student = "digits_cnn", top1 = 95.0 },',
            '{ student = "digits_cnn", top1 = "95" },\n{ student = "resnet", top1 = 91 },',
        ),
    )
    words = [
        "'seed'",
        "top1 = -1",
        "epochs = 0",
        "top1 = '95'",
        "'resnet'",
        "'beta'",
        "'alpha'",
        "'resnet18'",
        "gain = 2.5",
        "kd_relased",
    ]
    assert sorted(word for word in words if any(word in sentence for sentence in found)) == sorted(words)
    assert len(found) == len(words)


def test_mistake_of_a_table_is_told_once_for_all_its_rows(tmp_path: Path) -> None:
    found = mistakes(tmp_path, ('name = "ce"', 'name = "ce", alpha = 1'))
    assert found == ["1.base/digits_mlp and 1 more row: loss 'ce': unknown parameter 'alpha'. Valid: none"]


def test_mistakes_stand_in_the_same_order_in_every_process(tmp_path: Path) -> None:
    found = mistakes(tmp_path, ("seeds = 2", "seeds = 2\nb = 1\na = 1\nd = 1\nc = 1"))
    assert [sentence.split("'")[1] for sentence in found] == ["b", "a", "d", "c"]


def test_row_that_cannot_be_read_hides_only_what_follows_from_it(tmp_path: Path) -> None:
    baseline = ('student = "digits_cnn", top1 = 95.0', 'student = "digits_cnn", top1 = "95"')
    assert len(mistakes(tmp_path, baseline)) == 1
    assert len(mistakes(tmp_path, baseline, ("gain = 2.0", "gain = 2.5"))) == 2


def test_syntax_error_has_its_line(tmp_path: Path) -> None:
    assert "not valid TOML" in mistakes(tmp_path, ("epochs = 3", "epochs = "))[0]
    assert "line 11" in mistakes(tmp_path, ("epochs = 3", "epochs = "))[0]


def test_number_of_thousands_of_digits_is_no_toml(tmp_path: Path) -> None:
    assert "not valid TOML" in mistakes(tmp_path, ("epochs = 3", f"epochs = {'1' * 5000}"))[0]


def test_deep_nesting_is_no_toml(tmp_path: Path) -> None:
    assert mistakes(tmp_path, ("epochs = 3", f"epochs = {'[' * 5000}")) == ["not valid TOML: nested too deep"]


def broken(file: Path) -> str:
    return "\n".join(problems_of(load_suite, file))


def test_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b'x = "\xff"')
    assert broken(tmp_path / "a.toml").startswith(f"{tmp_path / 'a.toml'}: not UTF-8 text: ")


def test_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.toml").open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    assert broken(tmp_path / "a.toml").endswith("a.toml: larger than 10,000,000 bytes; split it")


def test_empty_file_lacks_every_section(tmp_path: Path) -> None:
    file = write_suite(tmp_path, "")
    said = broken(file).splitlines()
    assert [line.partition("; write")[0] for line in said] == [
        f"{file}: [{name}] is missing" for name in ("suite", "recipe", "table")
    ]


def test_suite_that_is_not_there_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_suite(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert broken(Path("suites/smal")) == (
        "no such suite: suites/smal. Did you mean suites/small? There are: suites/small"
    )


def test_suite_in_another_folder_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert load_suite(Path("small")).path == "suites/small.toml"


@pytest.mark.parametrize("name", ["", ".", "/", "a" * 300, "no/such/folder"])
def test_suite_of_an_impossible_name_is_not_there(name: str) -> None:
    assert broken(Path(name)).startswith("no such suite: ")


def test_number_below_chance_may_be_printed_so(tmp_path: Path) -> None:
    suite = load_suite(write_suite(tmp_path, change(("top1 = 95.0", "top1 = 9.1, sic = true"))))
    assert suite.rows[1].reference.top1 == 9.1


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (
            'name = "at", beta = 1000',
            "at reads the maps of both networks; digits_mlp gives none. With maps: resnet18,",
        ),
        (
            'name = "cc", beta = 0.02, dim = 0',
            "loss 'cc': dim = 0.0: must be in [1, 65536]; it is a number of features",
        ),
        (
            'name = "crd", beta = 1, dim = 8, negatives = 9, T = 0.1, momentum = 0.5',
            "crd keeps something of each image, of whole batches: remove ghost_batches",
        ),
    ],
)
def test_distiller_that_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str, sentence: str
) -> None:
    """The last one is another package's: kdbench's own memories are written by all parts of a batch."""
    monkeypatch.setattr(catalog, "package_of", lambda _, name: "theirs 1.0" if name == "crd" else "")
    rows = 'recipe = { ghost_batches = 2 }\nrows = [{ student = "digits_mlp", teacher = "digits_cnn" }]\n'
    table = f'{ROW} }},\n]\n\n[[table]]\nid = "2"\nloss = {{ {loss} }}\n{rows}'
    (found,) = mistakes(tmp_path, (f"{ROW} }},\n]", table))
    assert found.startswith(f"2/digits_mlp:digits_cnn: {sentence}")


def test_shares_of_one_whole_are_at_most_one() -> None:
    loss = Loss("alsd", {"epsilon1": 0.6, "epsilon2": 0.6})
    assert list(loss_mistakes(loss)) == ["loss 'alsd': epsilon1 + epsilon2 must be at most 1"]


READINGS = """
[[formula]]
name = "a"
of = "Eq. 1"
where = { loss = "kd" }
why = "word for word"
assumed = "nothing else is printed"

[[formula]]
name = "b"
of = "Eq. 1"
loss = { kd = "hinton_kd" }
why = "with tau squared"

[[table]]
id = "1.base\""""


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (('assumed = "nothing else is printed"\n', ""), "0 of its readings are assumed; exactly one is"),
        (('why = "with tau squared"', 'why = "x"\nassumed = "y"'), "2 of its readings are assumed"),
        (
            ('why = "word for word"', 'why = "x"\nparams = { tau = 1 }'),
            "the assumed reading is what the rows say",
        ),
        (('{ kd = "hinton_kd" }', '{ kd = "hinton" }'), "hinton"),
        (('{ kd = "hinton_kd" }', '{ kd = "lsr" }'), "epsilon"),
        (('name = "b"', 'name = "a"'), "2 readings are named a"),
        (('where = { loss = "kd" }', 'where = { loss = "ce2" }'), "ce2"),
    ],
)
def test_readings_of_a_formula_are_checked(tmp_path: Path, edit: tuple[str, str], sentence: str) -> None:
    text = READINGS.replace(*edit)
    found = mistakes(tmp_path, ('[[table]]\nid = "1.base"', text.removeprefix("\n")))
    assert any(sentence in each for each in found), found


def test_readings_of_a_formula_reach_the_suite(tmp_path: Path) -> None:
    text = change(('[[table]]\nid = "1.base"', READINGS.removeprefix("\n")))
    suite = load_suite(write_suite(tmp_path, text))
    assert [formula.name for formula in suite.formulas] == ["a", "b"]
