"""What a machine computes, in a few steps: for `kdbench fingerprint`."""

import os
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace
from safetensors.torch import save
from torch import nn

from kdbench.machine import Machine
from kdbench.plan.plugin_runs import naming_packages
from kdbench.spec.events import Task
from kdbench.spec.runs import Run
from kdbench.training.context import TrainingContext, open_context
from kdbench.training.environment import environment
from kdbench.training.images import training_views
from kdbench.training.student_run import StudentRun
from kdbench.training.teacher_batches import TeacherBatches


@dataclass
class WarmupContext(TrainingContext):
    """Of a few steps: a teacher has had as many as its students, so that no stored weights are needed."""

    steps: int = 20
    whole: Machine | None = None
    """The machine with the scratch where imported teachers lie; this one's is empty."""

    def teacher(self, run: Run) -> nn.Module | None:
        """The network that teaches a run, after its first steps; an imported one as it is."""
        if run.teacher is None:
            return TrainingContext(self.whole or self.machine, self.device).teacher(run)
        return after_steps(run.teacher.run, self).eval().requires_grad_(requires_grad=False)


def compute(
    run: Run, machine: Machine, steps: int, *, deterministic: bool
) -> tuple[str, dict[str, str | int | float | bool | None]]:
    """The sha256 of a run's weights after its first steps, and what it may depend on.

    Raises:
        UserError: the data cannot be had, or the device is not there.
    """
    local = replace(machine.local, deterministic=machine.local.deterministic or deterministic, logits_gib=0.0)
    if local.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    with TemporaryDirectory() as empty:
        folders = replace(machine.folders, scratch=str(Path(empty)))
        opened = open_context(replace(machine, local=local, folders=folders))
        context = WarmupContext(opened.machine, opened.device, steps=steps, whole=machine)
        with naming_packages(run):
            state = after_steps(run, context).state_dict()
        content = save({name: value.cpu().contiguous() for name, value in state.items()}, {})
        return sha256(content).hexdigest(), environment(context.device)


def after_steps(run: Run, context: WarmupContext) -> nn.Module:
    """A run's network after its first steps, as it would be evaluated."""
    student_run = StudentRun(Task(run), context)
    teacher_batches = TeacherBatches([run], training_views(run, student_run.data, context), context)
    epoch, left = 0, context.steps
    while left:
        epoch += 1
        student_run.begin(epoch)
        for number, batch in enumerate(islice(teacher_batches.epoch(epoch), left)):
            student_run.step(number, len(teacher_batches), batch)
            left -= 1
    return student_run.evaluated
