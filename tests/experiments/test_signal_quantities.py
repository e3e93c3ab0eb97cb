"""Scores by loudness and masses, counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from report_runs import write_csv

from experiments.signal_quantities import SignalParameters, measure_by_quantity
from physics.population import chirp_mass


def test_shares_and_quartiles_are_those_of_each_bin() -> None:
    generator = np.random.default_rng(4)
    targets = np.arange(2000) % 2
    snr = np.where(targets == 1, generator.uniform(4, 20, 2000), np.nan)
    scores = np.where(targets == 1, np.nan_to_num(snr) - 10, 0) + generator.normal(size=2000)
    found = measure_by_quantity(targets, scores, {"network SNR": snr})["network SNR"]
    threshold = np.quantile(scores[targets == 0], 0.99)
    edges = np.quantile(snr[targets == 1], np.linspace(0, 1, 9))
    assert found["n"] == [125] * 8
    for k in range(8):
        inside = (snr >= edges[k]) & (snr <= edges[k + 1])
        assert found["x"][k] == pytest.approx(np.median(snr[inside]), rel=1e-3)
        share, low, high = found["found"][k]
        assert share == pytest.approx((scores[inside] > threshold).mean(), abs=1e-4)
        assert low <= share <= high
        assert found["score"][k] == pytest.approx(
            np.percentile(scores[inside], [25, 50, 75]), abs=0.01
        )


def test_too_little_noise_has_no_threshold_and_few_signals_no_bins() -> None:
    targets = np.arange(200) % 2
    values = np.where(targets == 1, np.arange(200.0), np.nan)
    scores = values.copy()
    scores[targets == 0] = 0.0
    assert measure_by_quantity(targets, scores, {"x": values})["x"]["found"] is None
    assert measure_by_quantity(targets[:60], scores[:60], {"x": values[:60]}) == {}
    assert measure_by_quantity(targets, scores, {"x": np.where(targets == 1, 3.0, np.nan)}) == {}


def test_parameters_come_from_the_file_beside_the_table_or_from_its_columns(tmp_path: Path) -> None:
    ids = np.array(["a", "b", "c"])
    rows = [("c", 30, 20, 8.5), ("a", 40, 10, 9.5), ("z", 1, 1, 1)]
    write_csv(tmp_path / "parameters.csv", "id,mass_1,mass_2,network_snr", rows)
    write_csv(tmp_path / "train.csv", "id,target,luminosity_distance", [("b", 1, 700), ("a", 0, 0)])
    known = SignalParameters().quantities(tmp_path / "train.csv", ids)
    np.testing.assert_array_equal(known["network SNR"], [9.5, np.nan, 8.5])
    np.testing.assert_allclose(
        known["chirp mass, solar masses"], [chirp_mass(40.0, 10.0), np.nan, chirp_mass(30.0, 20.0)]
    )
    np.testing.assert_allclose(known["mass ratio"], [0.25, np.nan, 2 / 3])
    np.testing.assert_array_equal(known["distance, Mpc"], [0, 700, np.nan])
    other = SignalParameters().quantities(tmp_path / "train.csv", np.array(["q"]))
    assert other == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no,table\n1",
        "name,value\nlr,0.1\n",
        "id,value\na b,1\n",
        "id,network_snr\na,1\na,2\n",
        "id,network_snr\nother,8\n",
        "id,network_snr\nother\n1,2,3\n",
    ],
)
def test_a_foreign_file_of_that_name_is_left_alone(text: str, tmp_path: Path) -> None:
    """Files of this name are common; one of another kind costs the SNRs and nothing else."""
    (tmp_path / "parameters.csv").write_text(text)
    assert SignalParameters().quantities(tmp_path / "train.csv", np.array(["a"])) == {}
