"""Side targets: where their values come from, and how they are learnt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import configs  # noqa: F401 - registers the experiments
from configuration.config_references import load_config
from configuration.overrides import override
from experiments.side_targets import build_side_targets, read_side_values
from physics.population import chirp_mass
from runtime.errors import UserError

NAMES = ("merger_time", "chirp_mass", "network_snr")


def demo(*settings: str):
    return override(load_config("Demo"), [f"side_targets=[{','.join(NAMES)}]", *settings])


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame({"id": ["a", "b", "c"]})


def write_parameters(folder: Path) -> None:
    """Of b and c, in another order, and of a sample that the table lacks."""
    (folder / "parameters.csv").write_text(
        "id,merger_time,mass_1,mass_2,network_snr\n"
        "c,1.65,30,20,8.1662\nz,1.6,9,9,9\nb,1.725,36,29,24\n"
    )


def test_values_of_parameters_are_found_by_id(tmp_path: Path, table: pd.DataFrame) -> None:
    write_parameters(tmp_path)
    config = demo()
    sides = build_side_targets(config)
    found = read_side_values(config, sides, table, str(tmp_path / "train.csv"))
    assert np.isnan(found[0]).all()  # nothing is known of a
    # the competition's mergers arrive from 1.5 to 1.8 s: 1.65 s is their middle
    np.testing.assert_allclose(found[1:, 0], [1.0, 0.0], atol=1e-12)
    decoded = [side.quantity.decode(found[1:, k]) for k, side in enumerate(sides)]
    np.testing.assert_allclose(decoded[0], [1.725, 1.65])
    np.testing.assert_allclose(decoded[1], [chirp_mass(36, 29), chirp_mass(30, 20)])
    np.testing.assert_allclose(decoded[2], [24, 8.1662])
    assert np.abs(found[1:]).max() < 3  # of the size that networks learn


def test_a_column_of_the_table_comes_first(tmp_path: Path, table: pd.DataFrame) -> None:
    write_parameters(tmp_path)
    config = demo()
    own = table.assign(merger_time=["", "1.5", "-"])
    found = read_side_values(config, build_side_targets(config), own, str(tmp_path / "train.csv"))
    np.testing.assert_allclose(found[:, 0], [np.nan, -2.0, np.nan], atol=1e-12)


def test_what_is_nowhere_is_refused(tmp_path: Path, table: pd.DataFrame) -> None:
    config = demo()
    sides, path = build_side_targets(config), str(tmp_path / "train.csv")
    with pytest.raises(UserError, match=r"have no column 'merger_time': add it, or leave"):
        read_side_values(config, sides, table, path)
    empty = table.assign(**dict.fromkeys(NAMES, ""))
    with pytest.raises(UserError, match="hold no number in the column 'merger_time'"):
        read_side_values(config, sides, empty, path)
    # A data set that draws its signals knows them; validation then goes without.
    drawn = override(config, ["dataset=SimulatedDataset"])
    assert np.isnan(read_side_values(drawn, sides, table, path)).all()


def test_own_numbers_replace_those_of_a_name() -> None:
    config = override(
        load_config("Demo"),
        [
            "side_targets+=SideTarget",
            "side_targets.0.name=chirp_mass",
            "side_targets.0.log=false",
            "side_targets.0.center=20",
            "side_targets.0.scale=5",
        ],
    )
    (side,) = build_side_targets(config)
    quantity = side.quantity
    assert (quantity.log, quantity.center, quantity.scale) == (False, 20, 5)
