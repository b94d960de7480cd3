"""The nouns of kdbench: frozen values that every other module passes on.

Units everywhere: accuracy in percent, gains in percentage points, time in seconds, memory in bytes,
epochs counted from 1. A field whose default means "off" is left out of a run's identity while it is
off, so a new optional field never orphans a stored result; every other field has no default.
"""

from functools import cached_property
from hashlib import sha256
from typing import Annotated, Literal

from msgspec import Struct, json
from msgspec.structs import replace

from kdbench import catalog
from kdbench.plugins import Plugin
from kdbench.quantities import Count, Positive, Range, Rate, Weight
from kdbench.spec.identity import identity
from kdbench.spec.weights import Digest, Imported, Weights

PROTOCOL = 2
"""The version of the arithmetic of training. Raised whenever a change of code can change a number.
2: teachers are folded (models/folding.py); float32 on a GPU is never rounded to tf32.
"""

Precision = Literal["float32", "tf32", "bf16", "float32-compiled", "tf32-compiled", "bf16-compiled"]
"""The arithmetic of training. tf32: on a GPU, matrix products and convolutions of rounded numbers. bf16:
bfloat16 where that is safe, logits in float32. compiled: by torch.compile, which fuses, and rounds otherwise.
Weights are float32 in any case, and so is evaluation, which is never compiled."""
TeacherEpoch = Literal["last", "best"] | Positive
"""Whose weights teach: the last epoch, the best on test, or an epoch."""
ReportEpoch = TeacherEpoch | Literal["best_validation"]
"""Which point of an accuracy curve is compared: one of these, or the best on held-out training images."""
Ties = Literal["latest", "earliest"]
"""Which of several epochs with the same best accuracy is called the best: as the authors' code keeps it."""


class Recipe(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, dict=True):
    """How a student is trained, whatever it is taught. The fields with defaults are off by default."""

    epochs: Annotated[Positive, Range("[1, 1e6]", usual="[1, 3000]")]
    batch_size: Annotated[Positive, Range("[1, 1e7]", usual="[1, 65536]")]
    lr: Annotated[Rate, Range("(0, 1000]", usual="[1e-6, 10]")]
    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] = "sgd"
    lr_batch: Count = 0
    """The lr is multiplied by batch_size / lr_batch (0: it is not)."""
    warmup_epochs: Annotated[Count, Range("[0, 1e6]", usual="[0, 100]")] = 0
    """Epochs over which the lr rises linearly, step by step, from 0."""
    schedule: Literal["milestones", "cosine", "linear", "constant"] = "milestones"
    """How the lr changes from epoch to epoch once the warm-up is over. constant: as without milestones."""
    lr_end: Annotated[Weight, Range("[0, 1000]", usual="[0, 1]")] = 0.0
    """Where cosine and linear would be after the last epoch."""
    milestones: tuple[Positive, ...] = ()
    """The lr is multiplied by gamma after each of these epochs."""
    gamma: Annotated[Rate, Range("(0, 1]", why="the lr would rise")] = 1.0
    momentum: Annotated[Weight, Range("[0, 1)", why="the weights would run away")] = 0.0
    nesterov: bool = False
    weight_decay: Annotated[Weight, Range("[0, 1]", usual="[0, 0.1]")] = 0.0
    rho: Annotated[Weight, Range("[0, 1)", why="it is of a mean of squares")] = 0.0
    """Of rmsprop's mean of squares (0: 0.99)."""
    eps: Annotated[Weight, Range("[0, 1]", usual="[0, 0.1]")] = 0.0
    """What adam, adamw and rmsprop add to a root of squares (0: 1e-8)."""
    eps_inside: bool = False
    """rmsprop adds eps under the root, as Keras did until version 1."""
    clip_norm: Annotated[Weight, Range("[0, 1e6]", usual="[0, 100]")] = 0.0
    """The largest norm of the gradient of all that is trained, by which a longer one is scaled (0: any)."""
    label_smoothing: Annotated[Weight, Range("[0, 1)", usual="[0, 0.5]", why="it is a share")] = 0.0
    """What the hard term's targets give to all classes alike."""
    ema: Annotated[Weight, Range("[0, 1)", why="the mean would never move")] = 0.0
    """Decay of the weights' mean over the steps, which is evaluated and teaches in their place (0: none)."""
    crop: Annotated[Count, Range("[0, 10000]", usual="[0, 64]")] = 0
    """Zero padding, in pixels, before a random crop to the image's size."""
    flip: bool = False
    """Horizontal flip, half of the time."""
    rotation: Annotated[Weight, Range("[0, 180]", why="it is in degrees")] = 0.0
    """The largest angle, in degrees, of a random rotation (nearest neighbour, zero fill)."""
    randaugment: Annotated[Count, Range("[0, 20]", usual="[0, 4]")] = 0
    """So many operations of RandAugment on each image."""
    randaugment_magnitude: Annotated[Count, Range("[0, 30]", why="RandAugment has 31")] = 0
    """Of these operations (0: 9)."""
    random_erasing: Annotated[Weight, Range("[0, 1]", why="it is a probability")] = 0.0
    """The probability that a box of a normalised image is set to 0."""
    mixup: Annotated[Weight, Range("[0, 100]", usual="[0, 2]")] = 0.0
    """α of mixup: batches are mixed by λ ~ Beta(α, α)."""
    cutmix: Annotated[Weight, Range("[0, 100]", usual="[0, 2]")] = 0.0
    """α of CutMix; with mixup, a batch gets one of the two."""
    size: Count = 0
    """Side of the images that the network sees, in pixels (0: the data set's own)."""
    resized_crop: bool = False
    """With size: a random crop of 8 to 100 % of the area, aspect 3/4 to 4/3, resized bilinearly to size."""
    resize: Count = 0
    """With size: the shorter side that an image is resized to before its centre crop (0: size)."""
    normalize: str = ""
    """The data set whose mean and std normalise the images ("": this one's; "none": they stay 0 to 1)."""
    normalize_std: tuple[Rate, ...] = ()
    """The std of each channel, of values from 0 to 1, in the place of that data set's (none: its own)."""
    train_size: Count = 0
    """The first so many training images (0: all)."""
    test_size: Count = 0
    """The first so many test images (0: all)."""
    subset: Count = 0
    """So many of the training images, drawn at random for each seed (0: all)."""
    validation_size: Annotated[Count, Range("[0, 1e9]")] = 0
    """So many of the training images are held out: not trained on, and evaluated after each epoch."""
    validation_seed: Count = 0
    """Which draw of these images, the same for every seed of a run."""
    passes: Count = 0
    """Passes over the training images in an epoch, each in an order of its own (0: one)."""
    draw: Count = 0
    """Which draw of the initial weights: runs of one seed and model that differ in it start from others."""
    ghost_batches: Count = 0
    """Parts of a batch with batch-norm statistics of their own, as on so many GPUs (0: it is whole)."""
    classes: Count = 0
    """Outputs of the classifier (0: as many as the data set has classes)."""
    max_norm: Annotated[Weight, Range("[0, 1000]", usual="[0, 10]")] = 0.0
    """After each step, weights into a unit of a larger norm are scaled down to it (0: they are not)."""
    transfer_classes: tuple[Count, ...] = ()
    """Only training images of these classes are trained on (none: of all classes)."""
    bias: tuple[tuple[Count, float], ...] = ()
    """A class and what evaluation adds to its logit: `[[3, 3.5]]`; neither training nor weights have it."""

    @cached_property
    def identity(self) -> dict[str, object]:
        """As it is hashed; rows share recipes, so this is made once."""
        hashed = identity(self)
        if self.schedule == "constant":  # the same training as without milestones
            del hashed["schedule"]
        return hashed

    def images(self, there: int) -> int:
        """How many of the data set's training images, of which there are so many, are trained on.

        At most: how many are of the `transfer_classes` is known where the data are.
        """
        images = (self.train_size or there) - self.held_out(there)
        return min(self.subset, images) if self.subset else images

    def held_out(self, there: int) -> int:
        """How many of them are held out: never more than half, so that a small try holds out some, too."""
        return min(self.validation_size, (self.train_size or there) // 2)

    def seen(self, there: int) -> int:
        """Training images of an epoch, each counted every time; `there` as of `images`."""
        return self.images(there) * (self.passes or 1)

    @property
    def moments(self) -> int:
        """Tensors of a parameter's size that are kept for each: the optimizer's, and the mean of steps."""
        both = self.optimizer in ("adam", "adamw") or (self.optimizer == "rmsprop" and self.momentum > 0)
        return (2 if both else 1) + (self.ema > 0)

    @property
    def views(self) -> tuple[object, ...]:
        """All that decides, with the seed, what is seen of the training images."""
        found: list[object] = [self.crop, self.flip, self.rotation]
        found += [self.size, self.resized_crop, self.resize]
        found += [self.normalize, self.train_size, self.subset, self.passes]
        # Later fields stand in it where they are used only: kept logits of before are found by it.
        if self.transfer_classes:
            found.append(self.transfer_classes)
        if self.normalize_std:
            found.append(self.normalize_std)
        after = [self.randaugment, self.randaugment_magnitude, self.random_erasing, self.mixup, self.cutmix]
        if any(after):
            found += after
        if self.validation_size:
            found += [self.validation_size, self.validation_seed]
        return tuple(found)

    @property
    def mixes(self) -> bool:
        """Whether its batches are mixed."""
        return self.mixup > 0 or self.cutmix > 0


class Loss(Struct, frozen=True):
    """A name in the catalog and all its parameters."""

    name: str
    params: dict[str, float] = {}


class Teacher(Struct, frozen=True):
    """A checkpoint on the way of another run: after an epoch, or the best one on test."""

    run: "Run"
    epoch: Count | Literal["best"]  # 0: before its training, which is then not needed

    @property
    def trained(self) -> bool:
        """Whether the run must have a result before it can teach."""
        return self.epoch != 0


class Run(Struct, frozen=True, omit_defaults=True, dict=True):
    """One training. Equal runs *are* the same run, whichever rows or suites ask for it."""

    protocol: int
    dataset: str
    data: Digest
    """What the data set is made of: `catalog.DatasetEntry.digest`."""
    student: str
    recipe: Recipe
    loss: Loss
    seed: Count
    teacher: Teacher | None = None
    precision: Precision = "float32"
    imported: Imported | None = None
    """The teacher, where it is no run of kdbench's own."""
    weights: Weights | None = None
    """None: the network starts from random weights."""
    plugins: tuple[Plugin, ...] = ()
    """Packages other than kdbench whose loss, networks or data set it uses; its teacher has its own."""

    @cached_property
    def id(self) -> str:
        """The first 12 hexadecimal digits of the sha256 of everything that can change a number."""
        return sha256(json.encode(identity(self), order="sorted")).hexdigest()[:12]

    @cached_property
    def seedless(self) -> "Run":
        """It with seed 0, and its teachers too: equal for runs that differ in their seeds alone."""
        teacher = self.teacher and replace(self.teacher, run=self.teacher.run.seedless)
        return replace(self, seed=0, teacher=teacher)

    @property
    def lineage(self) -> tuple["Run", ...]:
        """It, its teacher, that one's teacher and so on."""
        return (self, *self.teacher.run.lineage) if self.teacher else (self,)

    @property
    def all_plugins(self) -> frozenset[Plugin]:
        """The packages whose code stands behind it and its teachers."""
        return frozenset(plugin for each in self.lineage for plugin in each.plugins)

    @property
    def taught_by(self) -> str:
        """The id of the run that must have a result before it can teach this one; "" where none must."""
        return self.teacher.run.id if self.teacher and self.teacher.trained else ""

    @property
    def outputs(self) -> int:
        """Of its network: as many as the data set has classes, unless the recipe says otherwise."""
        return self.recipe.classes or catalog.find("datasets", self.dataset).classes

    @property
    def taught(self) -> bool:
        """Whether it has a teacher."""
        return self.teacher is not None or self.imported is not None

    @property
    def teacher_model(self) -> str:
        """The model that teaches it, trained here or imported; "" without a teacher."""
        if self.imported is not None:
            return self.imported.model
        return self.teacher.run.student if self.teacher else ""

    @property
    def slug(self) -> str:
        """What a person calls it: `mobilenetv2-kd-resnet18`. Not unique; the id is."""
        taught = f"-{self.teacher.run.student}" if self.teacher else ""
        taught += f"-{self.imported.model}" if self.imported else ""
        early = self.teacher and self.teacher.epoch not in ("best", self.teacher.run.recipe.epochs)
        at = f"@{self.teacher.epoch}" if self.teacher and early else ""
        return f"{self.student}-{self.loss.name}{taught}{at}"
