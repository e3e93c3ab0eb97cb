"""A small training with live curves, which the tests of its errors look at as well."""

from __future__ import annotations

import numpy as np
import pytest
from small_run import SMALL

import configs
from configuration.config_class import ConfigMeta
from configuration.overrides import override
from look.errors import draw_error, find_errors, read_errors
from look.learning import draw_history, train_live
from runtime.errors import UserError


@pytest.fixture(scope="module")
def config(tables) -> ConfigMeta:
    return override(configs.Demo, [*SMALL, "cv=1", "splitter=HoldOut", *tables])


@pytest.fixture(scope="module")
def trained(config, tmp_path_factory) -> tuple:
    """The run directory, and what was shown while it was trained."""
    shown: list = []
    folder = train_live(config, tmp_path_factory.mktemp("live"), shown.append)
    return folder, shown


def test_the_curves_grow_with_every_epoch(trained, config) -> None:
    folder, shown = trained
    assert len(shown) == config.num_epochs == 2
    for epochs, figure in enumerate(shown, 1):
        loss, score = figure.axes
        train, valid, guessing = loss.get_lines()
        assert list(train.get_xdata()) == list(valid.get_xdata()) == list(range(1, epochs + 1))
        assert guessing.get_ydata()[0] == pytest.approx(np.log(2))
        assert score.get_lines()[2].get_ydata()[0] == 0.5
    assert (folder / "outoffolds.npy").is_file()


def test_a_finished_run_is_kept_and_its_curves_shown(trained, config) -> None:
    folder, _ = trained
    before = (folder / "fold0.pt").read_bytes()
    again: list = []
    assert train_live(config, folder.parent, again.append) == folder
    assert (folder / "fold0.pt").read_bytes() == before
    assert len(again[-1].axes[0].get_lines()[0].get_xdata()) == 2


def test_a_fold_without_validation_has_gaps() -> None:
    figure = draw_history([{"epoch": 1, "train_loss": 0.7, "train_metric": 0.5}], "x")
    assert np.isnan(figure.axes[0].get_lines()[1].get_ydata()).all()


def test_errors_are_the_worst_of_each_kind(trained, config, look_data) -> None:
    folder, _ = trained
    logits = np.load(folder / "outoffolds.npy")[:, 0]
    ids = np.load(folder / "ids_train.npy")
    table = find_errors(config, folder, count=1)
    assert set(table.columns) == {"id", "target", "probability"}
    probability = dict(zip(ids, 1 / (1 + np.exp(-logits.astype(float))), strict=True))
    every = find_errors(config, folder, count=99)
    assert len(every) == np.isfinite(logits).sum()
    for entry in every.itertuples():
        assert entry.probability == pytest.approx(probability[entry.id])
    noise, signals = (every[every["target"] == target] for target in (0, 1))
    assert table["id"].tolist() == [
        *noise.nlargest(1, "probability")["id"],
        *signals.nsmallest(1, "probability")["id"],
    ]


def test_an_error_is_drawn_with_its_score(trained, config) -> None:
    table = find_errors(config, trained[0], count=1)
    looked = read_errors(config, table)
    assert list(looked.samples.ids) == table["id"].tolist()
    title = draw_error(looked, table, 0).get_suptitle()
    assert table["id"][0] in title
    assert f"scored {table['probability'][0]:.3f}" in title
    loud = table.assign(network_snr=12.34)
    assert draw_error(looked, loud, 0).get_suptitle().endswith("SNR 12.3")


def test_errors_of_a_run_without_predictions_say_how_to_get_some(config, tmp_path) -> None:
    with pytest.raises(UserError, match="predict first, with `python train"):
        find_errors(config, tmp_path)
