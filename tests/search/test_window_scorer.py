"""Networks on real strain: the adapted chains, and whose weights are taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from competition import design_matrix
from small_run import SMALL

from configs import Demo, Nspec12, Nspec16
from configuration.class_with_arguments import Part
from configuration.config_class import ConfigMeta, find_config
from configuration.json_types import to_plain
from configuration.overrides import override
from experiments.building import build_model, build_transforms, observation_of
from experiments.predictor import Predictor, find_run
from models1d import BranchedResNet1d
from physics.noise import NoiseGenerator
from physics.observation import COMPETITION
from runtime.errors import UserError
from runtime.files import write_json
from search.spectral_whitening import Band
from search.stretch_windows import WholeWhitening
from search.window_scorer import (
    WindowScorer,
    build_adapted_transforms,
    find_weights,
    find_whole_whitenings,
    trains_with_zeroed_detectors,
)
from training.checkpoints import save_checkpoint
from training.hooks import TrainHook
from transforms import Compose, DropChannel, GetDiff, Normalize, Scale, Whiten


@pytest.fixture(scope="module")
def design() -> dict[str, np.ndarray]:
    return {name: design_matrix(name).astype(np.float64) for name in COMPETITION.detectors}


@pytest.fixture(scope="module")
def strain() -> torch.Tensor:
    return NoiseGenerator().sample(4, torch.Generator().manual_seed(0))


def adapt(*arguments) -> Compose:
    conditioning, others = build_adapted_transforms(*arguments)
    return Compose([*conditioning, *others])


@pytest.mark.parametrize("config", [Demo, Nspec16])
def test_other_noise_comes_out_like_that_of_the_design(config, design, strain):
    """Louder noise, whitened by its own PSD, is to the network what the design's would be."""
    expected = build_transforms(config.transforms["test"], observation_of(config))(strain)
    whitening = {"H1": design["H1"] / 3, "L1": design["L1"] * 2}  # and V1 is missing
    other = strain * torch.tensor([3, 0.5, 1])[:, None]
    change = adapt(config.transforms["test"], whitening)(other) - expected
    # float32 through a matrix and its inverse, whose values span 1e4
    assert change.abs().max() < 3e-3 * expected.abs().max()


def test_views_are_those_of_the_configs_observation() -> None:
    config = override(Demo, ["observation.detectors=[H1,V1]"])
    with pytest.raises(UserError, match="swap_ligo"):
        WindowScorer(config, [], torch.device("cpu"), ("swap_ligo",))


def test_the_factor_of_the_data_set_is_applied(strain):
    factor = Nspec12.dataset_params["norm_factor"]
    scaled = adapt(None, {}, factor)(strain)  # no detector is there: nothing to whiten
    assert (scaled * torch.tensor(factor)[:, None] - strain).abs().max() < 1e-6 * strain.max()


def whitened(**changes) -> ConfigMeta:
    """Return a child of Demo with other transforms or settings."""
    return ConfigMeta("Child", (Demo,), changes, register=False)


def test_recoloured_noise_is_whitened_by_its_own_curve(design, strain):
    """Whichever PSDs the training whitened by: the noise that comes out is white."""
    psd = np.ones(COMPETITION.num_samples + 1) * 1e-46
    parts = [Part(Whiten, psds=[psd] * 3, sr=COMPETITION.sample_rate, decimate=2)]
    white = adapt(parts, design)(strain)
    assert float(white.std()) == pytest.approx(0.988, abs=0.02)


def test_which_configs_have_stretches_whitened_as_a_whole() -> None:
    found = find_whole_whitenings(Demo, COMPETITION)
    assert found == {"waveform": WholeWhitening(2, Band(20.0, 500.0, 8))}
    first = Demo.transforms["test"][0]
    two = whitened(transforms2={"train": (first,), "test": (first, Part(Scale, scale=2.0))})
    assert list(find_whole_whitenings(two, COMPETITION)) == ["waveform", "waveform2"]
    assert find_whole_whitenings(Nspec16, COMPETITION) is None
    other = whitened(transforms2={"train": None, "test": None})
    assert find_whole_whitenings(other, COMPETITION) is None
    assert find_whole_whitenings(Nspec12, COMPETITION) is None
    scaled = whitened(dataset_params={**Demo.dataset_params, "norm_factor": (1.0, 1.0, 1.0)})
    assert find_whole_whitenings(scaled, COMPETITION) is None
    scorer = WindowScorer(two, [], torch.device("cpu"))
    assert scorer.decimation == 2
    assert [len(chain) for chain in scorer.transforms.values()] == [0, 1]
    assert WindowScorer(Nspec16, [], torch.device("cpu")).decimation == 1


def test_which_training_zeroes_detectors():
    assert not trains_with_zeroed_detectors(Demo)

    def child(**options):
        chain = {"train": (Part(DropChannel, **options),), "test": None}
        return ConfigMeta("Child", (Demo,), {"transforms": chain}, register=False)

    assert trains_with_zeroed_detectors(child(always_apply=False, p=0.1))
    assert not trains_with_zeroed_detectors(child(always_apply=False, p=0.0))


@pytest.fixture
def config():
    return override(find_config("Demo"), SMALL)


def save(config, folder, fold: int) -> None:
    torch.manual_seed(fold)
    folder.mkdir(exist_ok=True)
    save_checkpoint(folder / f"fold{fold}.pt", {"model": build_model(config).state_dict()})


def test_logits_are_the_mean_over_folds_and_views(tmp_path, config):
    for fold in (0, 1):
        save(config, tmp_path, fold)
    save_checkpoint(tmp_path / "fold0_last.pt", {"model": {}})
    weights = find_weights(tmp_path, config)
    assert [path.name for path in weights] == ["fold0.pt", "fold1.pt"]
    torch.manual_seed(0)
    whitened = torch.randn(3, 3, COMPETITION.num_samples // 2)

    def logits(paths, views=("identity",)):
        scorer = WindowScorer(config, paths, torch.device("cpu"), views)
        return scorer.score_conditioned({"waveform": whitened})[0]

    each = [logits([path]) for path in weights]
    assert np.allclose(logits(weights), np.mean(each, axis=0), atol=1e-5)
    flipped = logits(weights, ("flip",))
    assert not np.allclose(flipped, logits(weights), atol=1e-3)
    assert np.allclose(
        logits(weights, ("identity", "flip")), (logits(weights) + flipped) / 2, atol=1e-5
    )


def test_fronts_give_the_same_scores(tmp_path, config):
    config = override(config, ["side_targets=[chirp_mass]", "transforms.train.3.p=0.0"])
    for fold in (0, 1):
        save(config, tmp_path, fold)
    scorer = WindowScorer(config, find_weights(tmp_path, config), torch.device("cpu"))
    fronts = scorer.choose_fronts(step=0.1)
    assert len(fronts) == 2
    torch.manual_seed(0)
    strain = torch.randn(5, 3, COMPETITION.num_samples // 2)
    with torch.inference_mode():
        features = [each.front(strain) for each in fronts]
    for found, expected in zip(
        scorer.score_features(fronts, features),
        scorer.score_conditioned({"waveform": strain}),
        strict=True,
    ):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


class Halved(TrainHook):
    """A hook with inputs of its own."""

    @staticmethod
    def inputs(batch):
        return (batch["waveform"] / 2,)


@pytest.mark.parametrize(
    ("name", "changes", "views"),
    [
        ("Demo", {}, ("flip",)),
        ("Nspec16", {}, ("identity",)),
        (
            "Demo",
            {"transforms": {"test": (*Demo.transforms["test"], Part(Scale, scale=2.0))}},
            ("identity",),
        ),
        ("Demo", {"hook": Part(Halved)}, ("identity",)),
    ],
    ids=["views", "another network", "further transforms", "hook"],
)
def test_what_is_shown_windows_alone(name, changes, views):
    base = find_config(name)
    if "transforms" in changes:
        changes = {"transforms": {**base.transforms, **changes["transforms"]}}
    config = ConfigMeta("Child", (base,), changes, register=False)
    scorer = WindowScorer(config, [], torch.device("cpu"), views)
    scorer.networks = [BranchedResNet1d().eval()]
    assert scorer.choose_fronts(0.1) == []


def test_side_targets_are_those_of_predictions(tmp_path, config):
    """Noise of the design, which both see alike: the values of predict.py are the reference."""
    sides = ["side_targets=[merger_time,chirp_mass]", "transforms.train.3.p=0.0"]
    config = override(config, sides)
    for fold in (0, 1):
        save(config, tmp_path, fold)
    scorer = WindowScorer(config, find_weights(tmp_path, config), torch.device("cpu"))
    assert scorer.side_names == ("merger_time", "chirp_mass")
    strain = NoiseGenerator().sample(3, torch.Generator().manual_seed(3))
    whiten = build_transforms(config.transforms["test"], COMPETITION)
    logits, values = scorer.score_conditioned({"waveform": whiten(strain)})
    records = find_run(config, tmp_path, allow_unfinished=True)
    expected = Predictor(config, records, torch.device("cpu")).score(strain)
    np.testing.assert_allclose(logits, expected.logits[..., 0].mean(0), atol=0.01)
    assert values.shape == (3, 2)
    for column, name in zip(values.T, scorer.side_names, strict=True):
        np.testing.assert_allclose(column, expected.values[name], rtol=0.01)


def with_differences(config: ConfigMeta, first: Part) -> ConfigMeta:
    """Return a child that is shown a first transform's output and the detectors' differences."""
    chain = {**config.transforms, "test": (first, Part(GetDiff))}
    return ConfigMeta("Child", (config,), {"transforms": chain}, register=False)


def test_recoloured_detectors_are_exchanged_where_their_noise_is_alike(tmp_path, config, design):
    """H1 is three times as loud as the design here: exchanged is what recolouring makes of it."""
    config = with_differences(config, Part(Normalize, factors=(1e-20, 1e-20, 1e-20)))
    save(config, tmp_path, 0)
    strain = NoiseGenerator().sample(2, torch.Generator().manual_seed(1))
    loud = torch.tensor([3.0, 0.5, 1.0])[:, None]

    def logits(whitening, views, strain):
        weights = find_weights(tmp_path, config)
        scorer = WindowScorer(config, weights, torch.device("cpu"), views)
        scorer.adapt(whitening)
        return scorer.score_conditioned(scorer.conditioning({"waveform": strain}))[0]

    whitening = {"H1": design["H1"] / 3, "L1": design["L1"] * 2, "V1": design["V1"]}
    found = logits(whitening, ("swap_ligo",), strain * loud)
    expected = logits(design, ("identity",), strain[:, [1, 0, 2]])
    plain = logits(design, ("identity",), strain)
    assert (np.abs(found - expected) < 0.02 * np.abs(plain - expected)).all()


def test_views_are_of_whitened_strain(tmp_path, config):
    """And come before the transforms that follow the whitening."""
    config = with_differences(config, Part(Whiten, decimate=2))
    save(config, tmp_path, 0)
    torch.manual_seed(0)
    whitened = torch.randn(2, 3, COMPETITION.num_samples // 2)

    def logits(view, batch):
        weights = find_weights(tmp_path, config)
        scorer = WindowScorer(config, weights, torch.device("cpu"), (view,))
        return scorer.score_conditioned({"waveform": batch})[0]

    found, expected = logits("swap_ligo", whitened), logits("identity", whitened[:, [1, 0, 2]])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (np.abs(found - logits("identity", whitened)) > 1e-3).any()


def test_weights_that_are_not_there_or_of_other_settings(tmp_path, config):
    with pytest.raises(UserError, match="has no weights"):
        find_weights(tmp_path / "nowhere", config)
    save(config, tmp_path, 0)
    write_json(tmp_path / "config.json", to_plain(config))
    same = ["cv=3", "train_path=elsewhere.csv", "transforms.train.2.p=0.1"]
    find_weights(tmp_path, override(config, same))
    with pytest.raises(UserError, match=r"another transforms\.test"):
        find_weights(tmp_path, override(config, ["transforms.test.0.order=4"]))
    with pytest.raises(UserError, match="another model_params"):
        find_weights(tmp_path, override(config, ["model_params.widths=(4,16)"]))
    write_json(tmp_path / "config.json", {"model": "BranchedResNet1d"})
    with pytest.raises(UserError, match="not what a run writes"):
        find_weights(tmp_path, config)
