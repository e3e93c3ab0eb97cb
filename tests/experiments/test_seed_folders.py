"""Seeds of a config, and the folders of their runs."""

from __future__ import annotations

from pathlib import Path

import pytest

import configs
from configuration.json_types import to_plain
from configuration.overrides import override
from experiments.building import weights_of_fold
from experiments.run_identity import deciding_settings
from experiments.run_options import RunOptions
from experiments.seed_folders import check_seeds, config_of_seed, seed_folder, seeds_in
from runtime.errors import UserError


def test_the_config_of_a_seed_is_that_of_a_run_of_it_alone() -> None:
    several = override(configs.Demo, ["seeds=[0,7]"])
    alone = override(configs.Demo, ["seed=7"])
    assert deciding_settings(to_plain(config_of_seed(several, 7))) == deciding_settings(
        to_plain(alone)
    )
    assert config_of_seed(several, 7).reference == "Demo"
    assert config_of_seed(override(configs.Pseudo07, ["seeds=[1]"]), 1).published
    # without seeds, digests of settings are those of earlier versions
    assert "seeds" not in deciding_settings(to_plain(alone))
    assert deciding_settings(to_plain(several))["seeds"] == [0, 7]


@pytest.mark.parametrize(
    ("seeds", "message"),
    [("[0,1,0]", "0 is there twice"), ("[-1]", "holds -1"), ("[1.5]", "1.5"), ("[a]", "'a'")],
)
def test_seeds_that_make_no_sense(seeds: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_seeds(override(configs.Demo, [f"seeds={seeds}"]))


def test_folders_of_seeds(tmp_path: Path) -> None:
    for name in ("seed10", "seed2", "seeds", "seed2.20260101-000000"):
        (tmp_path / name).mkdir()
    (tmp_path / "seed3").write_text("no folder")
    assert seeds_in(tmp_path) == [2, 10]
    assert seeds_in(tmp_path / "nowhere") == []
    assert seed_folder(tmp_path, 2) == tmp_path / "seed2"
    assert RunOptions(results=tmp_path, seed=4).run_folder("demo") == tmp_path / "demo" / "seed4"
    assert RunOptions(results=tmp_path).run_folder("demo") == tmp_path / "demo"


def test_each_seed_starts_from_its_own_weights(tmp_path: Path) -> None:
    (tmp_path / "demo" / "seed0").mkdir(parents=True)
    start = f"weight_path={tmp_path / 'demo'}"
    same, other = (override(configs.Demo, [start, f"seed={seed}"]) for seed in (0, 5))
    expected = tmp_path / "demo" / "seed0" / "fold1.pt"
    assert weights_of_fold(same, tmp_path, 1) == expected
    with pytest.raises(UserError, match=f"--set weight_path={tmp_path / 'demo' / 'seed0'}"):
        weights_of_fold(other, tmp_path, 1)
    named = override(configs.Demo, ["weight_path=demo", "seed=0"])
    assert weights_of_fold(named, tmp_path, 1) == expected
    (tmp_path / "plain").mkdir()
    plain = override(configs.Demo, [f"weight_path={tmp_path / 'plain'}"])
    assert weights_of_fold(plain, tmp_path, 1) == tmp_path / "plain" / "fold1.pt"
