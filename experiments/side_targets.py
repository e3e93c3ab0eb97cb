"""Side targets: what a network also predicts of samples whose injection is known.

A network that must say when a signal merges, how heavy and how loud it is, sees more of a sample
than one that only says whether there is a signal. Samples without a signal, or of which nothing is
known, do not count in these parts of the loss.

Values come from columns of the training table or of the `parameters.csv` beside it, as
`prep_data.py --simulate` writes it; `SimulatedDataset` knows those of the signals that it draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configuration.class_with_arguments import Part
from configuration.config_class import ConfigMeta
from configuration.types import accepted_arguments
from data.sample_files import read_table
from experiments.quantities import Quantity
from physics.population import chirp_mass
from runtime.errors import UserError
from simulation.dataset_on_the_fly import DRAWN

if TYPE_CHECKING:
    import pandas as pd

# What is drawn with a signal, and how it is learnt if a config does not say: (log, center, scale).
# Masses in solar masses, in the detector frame; half of the logarithm's spread in simulated data.
LEARNT_AS = {"chirp_mass": (True, 3.4, 0.5), "network_snr": (True, 2.1, 0.5)}
MERGER_TIME = "merger_time"  # at the geocentre, s after the window begins


@dataclass(frozen=True)
class SideTarget:
    """A quantity that is predicted beside the target.

    The loss gains weight · smooth L1 of (output - (value - center) / scale), the sum over the rows
    of which it is known divided by all rows of the batch, so that parts of a batch may be averaged.

    Args:
        name: 'merger_time' (s after the window begins, at the geocentre), 'chirp_mass' (solar
            masses, detector frame), 'network_snr', or another column of the table or of
            parameters.csv.
        weight: in the loss; 0 predicts it without learning it, as an ablation.
        log: learn its logarithm. None, as for center and scale, takes what suits one of the three
            named quantities, and of others the value itself.
        center, scale: of the value, or of its natural logarithm.

    Raises:
        UserError: a weight below 0, or as in `Quantity`.
    """

    name: str
    weight: float = 0.1
    log: bool | None = None
    center: float | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise UserError(
                f"side_targets: {self.name}: weight = {self.weight}: expected 0 or more"
            )
        _ = self.quantity  # checks the numbers

    @property
    def quantity(self) -> Quantity:
        """How it becomes an output of the network."""
        log, center, scale = LEARNT_AS.get(self.name, (False, 0.0, 1.0))
        return Quantity(
            self.name,
            log if self.log is None else self.log,
            center if self.center is None else self.center,
            scale if self.scale is None else self.scale,
        )


def build_side_targets(config: ConfigMeta) -> tuple[SideTarget, ...]:
    """Return the side targets of a config; a merger time is counted from the population's middle.

    Raises:
        UserError: something else is among them, or one makes no sense.
    """
    sides = []
    for item in config.side_targets:
        if isinstance(item, str):
            side = SideTarget(item)
        elif isinstance(item, Part) and item.cls is SideTarget:
            side = item.build()
        else:
            raise UserError(
                f"side_targets holds {item!r}: expected names such as merger_time, or "
                f"Part(SideTarget, name=...)"
            )
        is_plain = (side.log, side.center, side.scale) == (None, None, None)
        if side.name == MERGER_TIME and is_plain:
            window = config.observation.build().window
            low, high = config.population.build().merger_range(window)
            # A quarter of the range is near its standard deviation, 1 / sqrt(12) of it. A range of
            # a single time still has a scale.
            side = replace(side, center=(low + high) / 2, scale=(high - low) / 4 or window / 4)
        sides.append(side)
    return tuple(sides)


def read_side_values(
    config: ConfigMeta, sides: Sequence[SideTarget], table: pd.DataFrame, path: str
) -> np.ndarray:
    """Return what the network learns of the side targets of a table, (n, S); NaN where unknown.

    Args:
        table: id, and perhaps the columns.
        path: of the table; parameters.csv is looked for beside it.

    Raises:
        UserError: a quantity is nowhere to be found, or of no sample known, and the data set does
            not draw it either.
    """
    found = np.full((len(table), len(sides)), np.nan)
    # A data set that draws its signals knows them; the table is only validated then.
    is_drawn = "side_targets" in (accepted_arguments(config.dataset) or ())
    parameters = Path(path).parent / "parameters.csv"
    injected = read_table(parameters, ("id",)) if sides and parameters.is_file() else None
    if injected is not None:
        injected = injected.set_index("id").reindex(table["id"])
    for number, side in enumerate(sides):
        values = find_values(side.name, table)
        if values is None and injected is not None:
            values = find_values(side.name, injected)
        if values is None or not np.isfinite(values).any():
            if is_drawn and side.name in DRAWN:
                continue
            what = "have no column" if values is None else "hold no number in the column"
            raise UserError(
                f"side_targets: {path} and {parameters} {what} {side.name!r}: add it, or leave "
                f"this side target out"
            )
        with np.errstate(invalid="ignore", divide="ignore"):
            encoded = side.quantity.encode(values)
        found[:, number] = np.where(np.isfinite(encoded), encoded, np.nan)
    return found


def find_values(name: str, table: pd.DataFrame) -> np.ndarray | None:
    """Return a quantity (n,) of a table of text, NaN where a field is empty; None without it."""
    import pandas as pd

    if name in table.columns:
        return pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
    if name == "chirp_mass" and {"mass_1", "mass_2"} <= set(table.columns):
        masses = (find_values(f"mass_{body}", table) for body in (1, 2))
        return chirp_mass(*masses)
    return None
