"""The samples that a run was wrong about: noise that it scored high, signals that it missed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configuration.config_class import ConfigMeta
from data.sample_files import read_table
from experiments.building import read_data, read_targets
from experiments.predictions import sigmoid
from experiments.targets import outputs_of
from look.network_input import NetworkInput, prepare
from look.pictures import draw_sample, title_of
from look.samples import read_samples
from runtime.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def find_errors(config: ConfigMeta, folder: Path, count: int = 3) -> pd.DataFrame:
    """Return the noise that a run scored highest, and the signals that it scored lowest.

    Args:
        config: of the run.
        folder: the run directory.
        count: of each.

    Returns:
        A row for each, the worst first: id, target, probability (out of fold), and network_snr
        where the simulation has written it.

    Raises:
        UserError: the run tells no signals from noise, or has no out-of-fold scores.
    """
    import pandas as pd

    if not outputs_of(config).is_plain:
        raise UserError(
            f"{config.__name__} does not only tell signals from noise: errors are found of runs "
            f"with targets = Part(BinaryTarget) and no side_targets"
        )
    path = Path(folder) / "outoffolds.npy"
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: predict first, with `python train.py --config "
            f"{config.reference} --inference`"
        )
    logits = np.load(path, allow_pickle=False)[:, 0]  # (n, 1) -> (n,)
    ids = np.load(Path(folder) / "ids_train.npy", allow_pickle=False)
    train, _ = read_data(config)
    # (n, 1) -> (n,), in the order of the run's ids
    truth = pd.Series(read_targets(config, train).true[:, 0], index=train["id"].to_numpy(str))
    table = pd.DataFrame({"id": ids, "target": truth.reindex(ids).to_numpy()})
    table["probability"] = sigmoid(logits)
    beside = Path(config.train_path).with_name("parameters.csv")
    if beside.is_file():
        known = read_table(beside, ("id",), "restore it").set_index("id")
        if "network_snr" in known:
            snr = pd.to_numeric(known["network_snr"], errors="coerce")
            table["network_snr"] = snr.reindex(ids).to_numpy(float)
    table = table[np.isfinite(logits)]
    noise = table[table["target"] == 0].sort_values("probability", ascending=False)
    signals = table[table["target"] == 1].sort_values("probability")
    return pd.concat([noise.head(count), signals.head(count)], ignore_index=True)


def read_errors(config: ConfigMeta, errors: pd.DataFrame) -> NetworkInput:
    """Return the samples of a table of `find_errors`, prepared for the network."""
    return prepare(config, read_samples(config, ids=list(errors["id"])))


def draw_error(looked: NetworkInput, errors: pd.DataFrame, row: int) -> Figure:
    """Draw one row of a table of errors, with its score in the title.

    Args:
        looked: of `read_errors`.
        errors: of `find_errors`.
        row: of both.
    """
    figure = draw_sample(looked, row)
    entry = errors.iloc[row]
    words = title_of(looked, row)
    words += f", scored {entry['probability']:.3f}"
    if np.isfinite(entry.get("network_snr", np.nan)):
        words += f", SNR {entry['network_snr']:.1f}"
    figure.suptitle(words, fontsize=13, parse_math=False)
    return figure
