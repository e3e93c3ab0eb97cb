"""`train.py --new mine.py --from Demo`: a first file of experiments outside of the checkout."""

from __future__ import annotations

import re
from pathlib import Path

from configuration.config_class import ConfigMeta
from runtime.errors import UserError
from runtime.files import atomic_path

# What is changed first, and shown with the value that the parent has.
OFTEN_CHANGED = (
    "train_path",
    "test_path",
    "train_cache",
    "test_cache",
    "num_epochs",
    "batch_size",
    "cv",
    "seed",
)

TEMPLATE = '''"""Experiments of my own.

    python train.py --config {path}:{name} --show       the settings that it comes to
    python train.py --config {path}:{name} --dry_run    two batches, to see that it runs
    python train.py --config {path}:{name}              results/{run}
"""

import torch

from configs import {parent}
from configuration.class_with_arguments import Part
from physics.observation import COMPETITION
from signal_transforms.per_sample_operations import roll_rows
from transforms import WaveTransform


class {transform}(WaveTransform):
    """Shift each row in time by up to `most` seconds; what leaves at one end enters at the other.

    Each row has a shift of its own, all detectors together.

    `transform_rows` gets float strain (batch, detector, time) on the device of the training, in
    the units in which the transforms before it leave it: 1 at the first place of the chain is a
    strain of 1, after `Whiten` it is one standard deviation of the noise. It returns the changed
    batch and does not write to its input. `p`, the probability with which a row is changed, is an
    argument of every transform, and so may be `observation`, which the experiment then gives.
    """

    def __init__(
        self,
        most: float = 0.01,
        always_apply: bool = False,
        p: float = 0.5,
        observation=COMPETITION,
    ) -> None:
        super().__init__(always_apply, p)
        self.most, self.window = most, observation.window  # seconds

    def transform_rows(self, x: torch.Tensor) -> torch.Tensor:
        # From what arrives: a transform before this one may have left every second sample out.
        samples_per_second = x.shape[-1] / self.window
        limit = round(self.most * samples_per_second)
        shift = torch.randint(-limit, limit + 1, (len(x), 1, 1), device=x.device)
        return roll_rows(x, shift)


class {name}({parent}):
    """What it tries, in one sentence."""

    # The folder in results/. Everything that is not stated here is as in {parent}.
    name = "{run}"
{settings}
    # An entry of its own after the transforms that {parent} trains with.
    transforms = {{
        **{parent}.transforms,
        "train": (*({parent}.transforms["train"] or ()), Part({transform}, most=0.01, p=0.3)),
    }}
'''


def write_new_experiment(path: Path, parent: ConfigMeta) -> str:
    """Write a commented file with one experiment that inherits from another.

    Returns:
        What to type next.

    Raises:
        UserError: the file is there already, or its name is no name of a Python module.
    """
    if path.exists():
        raise UserError(f"--new {path}: the file is there already: name another one")
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise UserError(
            f"--new {path}: expected a file like mine.py, whose name is one of a Python module"
        )
    if not path.parent.is_dir():
        raise UserError(f"--new {path}: there is no folder {path.parent}: make it first")
    if parent.reference != parent.__name__:
        raise UserError(f"--from {parent.reference}: name an experiment of configs.py")
    # mine.py -> Mine, or another name where that is taken
    name = "".join(part.capitalize() for part in path.stem.split("_"))
    while name in ConfigMeta.registry or any(
        config.name == run_name(name) for config in ConfigMeta.registry.values()
    ):
        name = f"My{name}"
    lines = "".join(f"    # {key} = {getattr(parent, key)!r}\n" for key in OFTEN_CHANGED)
    text = TEMPLATE.format(
        path=path,
        name=name,
        run=run_name(name),
        parent=parent.__name__,
        transform=f"{name}Shift",
        settings=lines.rstrip("\n"),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text)
    return (
        f"{path} holds {name}, a child of {parent.__name__}: change it, and try it with\n"
        f"python train.py --config {path}:{name} --dry_run"
    )


def run_name(name: str) -> str:
    """Return 'my_try' for 'MyTry'."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
