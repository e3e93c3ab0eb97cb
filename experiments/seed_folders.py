"""Where the runs of several seeds lie: results/<name>/seed<k>/, each a whole run directory.

A config with `seeds = (0, 1, 2)` is trained once for each of them. results/<name>/ itself holds the
mean of their predictions, as if it were one run; see seed_runs.py.
"""

from __future__ import annotations

import re
from pathlib import Path

from configuration.config_class import ConfigMeta
from runtime.errors import UserError

SEED_FOLDER = re.compile(r"seed(\d+)")


def seed_folder(folder: Path, seed: int) -> Path:
    """Return the run directory of one seed of a run."""
    return folder / f"seed{seed}"


def seeds_in(folder: Path) -> list[int]:
    """Return the seeds that have a run directory in that of a run, ascending; [] without any."""
    if not folder.is_dir():
        return []
    matches = [SEED_FOLDER.fullmatch(path.name) for path in folder.iterdir() if path.is_dir()]
    return sorted(int(match[1]) for match in matches if match)


def check_seeds(config: ConfigMeta) -> None:
    """Check the seeds of a config.

    Raises:
        UserError: one is no number of 0 or more, or is there twice.
    """
    for seed in config.seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UserError(f"seeds holds {seed!r}: expected numbers of 0 or more, as in [0,1,2]")
        if config.seeds.count(seed) > 1:
            raise UserError(
                f"seeds = {list(config.seeds)}: {seed} is there twice, and would count twice in "
                f"the mean: name each seed once"
            )


def config_of_seed(config: ConfigMeta, seed: int) -> ConfigMeta:
    """Return the config of one seed of a run: as that of a run of this seed alone."""
    changed = {"seed": seed, "seeds": (), "published": config.published}
    return ConfigMeta(config.__name__, (config,), changed, register=False)
