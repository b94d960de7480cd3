"""What a machine computes, in a few steps: for `kdbench fingerprint`."""

import os
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace
from safetensors.torch import save
from torch import nn

from kdbench.machine import Machine
from kdbench.spec.events import Job
from kdbench.spec.runs import Run
from kdbench.training.images import training_views
from kdbench.training.member import Member
from kdbench.training.teaching import Teaching
from kdbench.training.world import World, environment, open_world


@dataclass
class Beginning(World):
    """A world of a few steps: a teacher has had as many as its students, so no stored weights are needed."""

    steps: int = 20
    whole: Machine | None = None
    """The machine with the scratch where imported teachers lie; ours is empty."""

    def teacher(self, run: Run) -> nn.Module | None:
        """The network that teaches a run, after its first steps; an imported one as it is."""
        if run.teacher is None:
            return World(self.whole or self.machine, self.device, self.datasets).teacher(run)
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
        opened = open_world(replace(machine, local=local, folders=folders))
        world = Beginning(opened.machine, opened.device, steps=steps, whole=machine)
        state = after_steps(run, world).state_dict()
        content = save({name: value.cpu().contiguous() for name, value in state.items()}, {})
        return sha256(content).hexdigest(), environment(world)


def after_steps(run: Run, world: Beginning) -> nn.Module:
    """A run's network after its first steps."""
    member = Member(Job(run), world)
    teaching = Teaching([run], training_views(run, member.data, world), world)
    left = world.steps
    for epoch in count(1):
        member.begin(epoch)
        for number, lesson in enumerate(teaching.epoch(epoch)):
            member.step(number, len(teaching), lesson)
            left -= 1
            if left == 0:
                return member.student
    raise AssertionError("epochs do not end")
