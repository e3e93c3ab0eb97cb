"""Lines of orientation: only where their values are known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from experiments.orientation import ON_RULER, RULER, lines_of
from physics.bank_settings import BankSettings
from physics.observation import COMPETITION
from physics.population import COMPETITION_POPULATION

CONFIG = {
    "eval_metric": {"class": "AUC"},
    "criterion": {"class": "BCEWithLogitsLoss", "smoothing": 0.0, "pos_weight": None},
}


def write_simulation(folder: Path, **changed: object) -> None:
    """Write the record of simulated samples as `simulation/dataset_on_disk.py` does."""
    population = COMPETITION_POPULATION
    settings = {
        "n_train": 3000,
        "n_test": 600,
        "seed": 1,
        "device": "cpu",
        "bank": BankSettings.of(population, COMPETITION, 200, 5).to_plain(),
        "population": population.placement(COMPETITION.window, COMPETITION.detectors),
        "format": [1, 1],
        "batch": 64,
    }
    (folder / "simulation.json").write_text(json.dumps({"settings": settings | changed}))


def test_guessing_has_the_entropy_of_the_classes_and_one_half(tmp_path: Path) -> None:
    lines = lines_of(CONFIG, 0.5, tmp_path)
    assert lines["metric"] == [{"name": "guessing", "value": 0.5}]
    assert lines["loss"][0]["value"] == pytest.approx(math.log(2), abs=1e-5)
    torch = pytest.importorskip("torch")
    from loss_functions import BCEWithLogitsLoss

    for share, smoothing in ((0.25, 0.0), (0.1, 0.2)):
        criterion = CONFIG["criterion"] | {"smoothing": smoothing}
        (line,) = lines_of(CONFIG | {"criterion": criterion}, share, tmp_path)["loss"]
        targets = (torch.arange(200) < 200 * share).float()[:, None]
        loss = BCEWithLogitsLoss(smoothing=smoothing)
        guesses = torch.linspace(-4, 4, 4001)
        best = min(float(loss(torch.full_like(targets, float(g)), targets)) for g in guesses[::8])
        assert line["value"] == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize(
    ("config", "share"),
    [
        ({**CONFIG, "criterion": {"class": "FocalLoss"}}, 0.5),
        ({**CONFIG, "criterion": {**CONFIG["criterion"], "pos_weight": 3.0}}, 0.5),
        ({**CONFIG, "side_targets": [{"class": "MergerTime"}]}, 0.5),
        (CONFIG, None),
        (CONFIG, 1.0),
        ({}, 0.5),
    ],
)
def test_no_line_where_the_loss_of_guessing_is_not_known(
    config: dict, share: float | None, tmp_path: Path
) -> None:
    assert lines_of(config, share, tmp_path)["loss"] == []


def test_matched_filters_stand_beside_samples_of_the_same_laws_alone(tmp_path: Path) -> None:
    recorded = json.loads(RULER.read_text())["detectors"][ON_RULER]["auc"]
    write_simulation(tmp_path)
    line = {"name": "matched filters", "value": round(recorded, 4)}
    assert lines_of(CONFIG, 0.5, tmp_path)["metric"][1:] == [line]
    louder = {"snr": [8.0, 27.0], "merger": [1.5, 1.8], "weights": [1.0, 1.0, 0.33]}
    for changed in ({"population": louder}, {"observation": {}}, {"bank": {"size": 3}}):
        write_simulation(tmp_path, **changed)
        assert len(lines_of(CONFIG, 0.5, tmp_path)["metric"]) == 1
    (tmp_path / "simulation.json").write_text("[")
    assert len(lines_of(CONFIG, 0.5, tmp_path)["metric"]) == 1
    assert lines_of({"eval_metric": {"class": "LogLoss"}}, 0.5, tmp_path)["metric"] == []
