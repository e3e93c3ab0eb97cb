"""Weights in one file: what was stored comes back as a run, and shipped files fit their configs."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small_run
import torch
from code_blocks import read_blocks
from paths import ROOT

import configs  # noqa: F401 - importing it registers the experiments
import detect
import export
import predict
from benchmarks.detection import ship_weights
from benchmarks.detection.networks import file_digest
from configuration.config_references import load_config
from configuration.overrides import override
from experiments import weight_files
from experiments.building import observation_of
from experiments.run_identity import deciding_settings, settings_digest
from experiments.weight_files import (
    SHIPPED,
    SUFFIX,
    find_weight_file,
    read_weight_file,
    unpack_weights,
    write_weight_file,
)
from runtime.console import configure_logging
from runtime.errors import UserError
from training.checkpoints import load_checkpoint

RULER = {
    "holdout": {},
    "detectors": {
        "demo": {
            "samples": 4000,
            "auc": 0.789,
            "auc_error": 0.007,
            "efficiencies": {"0.1": {"efficiency": 0.532, "error": 0.013}},
            "settings": {"weights": {}},
        }
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run.make_data(tmp_path_factory.mktemp("weights") / "input")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("weights_results")
    small_run.run_here(data, results, "--num_workers", "0")
    return results / "demo"


@pytest.fixture(scope="module")
def settings(data: Path) -> list[str]:
    return [*small_run.SMALL, f"train_path={data / 'train.csv'}", f"test_path={data / 'test.csv'}"]


def scores_of(out: Path, *words: str) -> pd.DataFrame:
    assert predict.main(["--out", str(out), *words]) == 0
    return pd.read_csv(out)


def test_an_exported_file_scores_as_its_run_does(run: Path, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    assert export.main(["--run", str(run), "--format", "safetensors", "--out", str(file)]) == 0
    table = ["--data", str(data / "test.csv")]
    expected = scores_of(tmp_path / "run.csv", "--run", str(run), *table)
    found = scores_of(tmp_path / "file.csv", "--weights", str(file), *table)
    np.testing.assert_array_equal(found["probability"], expected["probability"])
    assert [c for c in found if c.startswith("fold")] == [
        c for c in expected if c.startswith("fold")
    ]
    # Once more, of a folder that is unpacked already.
    again = scores_of(tmp_path / "again.csv", "--weights", str(file), *table)
    pd.testing.assert_frame_equal(again, found)


def test_float16_changes_a_weight_by_its_rounding_and_small_tensors_not_at_all(
    tmp_path: Path,
) -> None:
    generator = torch.Generator().manual_seed(0)
    state = {
        "large": torch.randn(64, 128, generator=generator),
        "small": torch.randn(5, generator=generator),
        "count": torch.tensor(7),
    }
    path = tmp_path / "x.safetensors"
    write_weight_file(path, {2: state}, {"name": "x"}, {"licence": "MIT"}, half=True)
    content = read_weight_file(path)
    assert content.record == {"licence": "MIT"}
    assert list(content.folds) == [2]
    # Half of the last of 11 bits of the significand.
    torch.testing.assert_close(content.folds[2]["large"], state["large"], rtol=2**-11, atol=1e-7)
    assert content.folds[2]["large"].dtype == torch.float32
    assert torch.equal(content.folds[2]["small"], state["small"])
    assert torch.equal(content.folds[2]["count"], state["count"])


def test_a_model_card_says_how_the_weights_came_to_be(
    run: Path, data: Path, settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    ruler, out = tmp_path / "detection.json", tmp_path / "small.safetensors"
    of_these = {path.name: file_digest(path) for path in sorted(run.glob("fold?.pt"))}
    scores = copy.deepcopy(RULER)
    scores["detectors"]["demo"]["settings"]["weights"] = of_these
    ruler.write_text(json.dumps(scores))
    words = ["--config", "Demo", "--results", str(run.parent), "--ruler", str(ruler)]
    words += ["--out", str(out), "--set", *settings]
    assert ship_weights.main(words) == 0
    card = out.with_suffix(".md").read_text()
    assert "0.789 ± 0.007" in card
    assert "MIT" in card
    assert content_of_recipe(out) == today_s_digest(out)
    # What is there is kept, unless told.
    with pytest.raises(UserError, match="--overwrite"):
        ship_weights.main(words)
    assert ship_weights.main([*words, "--overwrite"]) == 0
    # Trained otherwise than it is said: refused before anything is written.
    with pytest.raises(UserError, match="trained with another"):
        ship_weights.main([*words, "model_params.widths=(4,16)", "--overwrite"])
    scores["detectors"]["demo"]["settings"]["weights"] = of_these | {"fold0.pt": "another"}
    ruler.write_text(json.dumps(scores))
    with pytest.raises(UserError, match="scores of other weights"):
        ship_weights.main([*words, "--overwrite"])
    capsys.readouterr()


def content_of_recipe(path: Path) -> str:
    """Return the digest that a file records of its recipe."""
    return read_weight_file(path).record["recipe"]["digest"]


def today_s_digest(path: Path) -> str:
    """Return the digest of what the recipe of a file means today."""
    content = read_weight_file(path)
    recipe = content.record["recipe"]
    config = override(load_config(recipe["config"]), recipe["set"])
    # What the file says itself is what the recipe said when it was written.
    recorded = settings_digest(deciding_settings(content.config))
    assert recorded == recipe["digest"]
    return ship_weights.recipe_digest(config)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob(f"*{SUFFIX}")), ids=lambda path: path.stem)
def test_shipped_weights_are_those_of_today_s_recipe(path: Path) -> None:
    assert path.stat().st_size <= ship_weights.LARGEST_FILE
    assert content_of_recipe(path) == today_s_digest(path), (
        f"the config has changed since {path.name} was trained: run `make weights`"
    )
    card = path.with_suffix(".md").read_text()
    assert content_of_recipe(path) in card
    for digest in read_weight_file(path).record["weights"].values():
        assert digest in card


@pytest.mark.parametrize("path", sorted(SHIPPED.glob(f"*{SUFFIX}")), ids=lambda path: path.stem)
def test_shipped_weights_score_strain_without_a_bank_of_waveforms(path: Path) -> None:
    predictor = predict.load_run(unpack_weights(path), device="cpu")
    sampling = predictor.observation.sampling
    noise = np.random.default_rng(0).normal(size=(2, *sampling.shape)) * 1e-20
    logits = predictor.score(noise).logits
    assert logits.shape == (1, 2)
    assert np.isfinite(logits).all()


def test_the_readme_s_search_finds_gw150914(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(ROOT)
    words = re.search(r"^python detect.py (--weights .*)$", Path("README.md").read_text(), re.M)[1]
    words = [*words.split(), "--out", str(tmp_path / "detect"), "--slides", "1"]
    assert detect.main(words) == 0
    found = pd.read_csv(tmp_path / "detect" / "candidates.csv")
    # Abbott et al., Physical Review Letters 116, 061102, 2016: 1126259462.42 at Hanford
    assert found["gps"][0] == pytest.approx(1126259462.42, abs=0.02)
    assert found["score"][0] > 200
    assert found["score"][1:].max() < 10
    assert detect.main(words) == 0  # once more: nothing to do
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("harm", ["other bytes", "cut short", "removed", "no digests"])
def test_an_unpacked_folder_that_was_damaged_is_unpacked_again(
    harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(weight_files, "cache_folder", lambda: tmp_path / "cache")
    file = tmp_path / "x.safetensors"
    write_weight_file(file, {0: {"a": torch.arange(4096.0)}}, {"name": "x"}, {})
    folder = unpack_weights(file)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    inode = (folder / "fold0.pt").stat().st_ino
    assert unpack_weights(file) == folder
    assert (folder / "fold0.pt").stat().st_ino == inode  # as it was
    weights = whole["fold0.pt"]
    if harm == "other bytes":  # a checkpoint that can be read, with other weights
        place = weights.index(np.arange(4096, dtype="<f4").tobytes())
        changed = bytearray(weights)
        changed[place + 4] ^= 1
        (folder / "fold0.pt").write_bytes(changed)
    elif harm == "cut short":
        (folder / "fold0.pt").write_bytes(weights[:100])
    else:
        (folder / ("fold0.pt" if harm == "removed" else "unpacked.json")).unlink()
    configure_logging()
    assert unpack_weights(file) == folder
    assert f"{folder} is damaged and is unpacked again" in capsys.readouterr().out
    assert load_checkpoint(folder / "fold0.pt")["model"]["a"].tolist() == list(range(4096))
    assert {path.name for path in folder.iterdir()} == set(whole)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_bad_references_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        find_weight_file(str(tmp_path / "none.safetensors"))
    with pytest.raises(UserError, match="expected one of the weights that are shipped"):
        find_weight_file("wave_7")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\x08\0\0\0\0\0\0\0{nothing")
    with pytest.raises(UserError, match="damaged"):
        unpack_weights(damaged)
    write_weight_file(damaged, {0: {"a": torch.zeros(2)}}, [], {})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="holds no config"):
        unpack_weights(damaged)
    with pytest.raises(UserError, match="give one of"):
        predict.main(["--data", "x", "--out", "y.csv", "--run", "a", "--weights", "b"])
    with pytest.raises(UserError, match="either --config NAME or --weights"):
        detect.main(["--strain", "H1=x"])
    with pytest.raises(UserError, match="brings its own settings"):
        detect.main(["--strain", "H1=x", "--weights", "wave07", "--set", "amp=bf16"])


def test_the_samples_of_the_page_are_what_shipped_weights_expect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Noise of the detectors, as the page makes it; and the table of shapes there is right."""
    page = ROOT / "docs" / "how-to" / "predict-new-samples.md"
    (block,) = (one for one in read_blocks(page) if "make_design_noise" in one.body)
    monkeypatch.chdir(tmp_path)
    exec(compile(block.body, page.name, "exec"), {})
    words = ["--weights", "wave07", "--data", "new_samples/", "--out", "scores.csv"]
    for _ in range(2):
        assert predict.main(words) == 0
    assert "the whitened strain" not in capsys.readouterr().out
    assert pd.read_csv("scores.csv")["probability"].between(0.01, 0.9).all()
    for name in ("wave07", "mdc1", "o4"):
        shape = observation_of(load_config(name.capitalize())).sampling.shape
        assert re.search(rf"^\| `{name}`.*\| {re.escape(str(shape))}: ", page.read_text(), re.M)
