"""Pseudo-labels: which samples, which labels, from which fold, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import configs
from experiments.npy_files import load_array, save_array
from experiments.pseudo_labels import PseudoLabels, label_figures
from experiments.settings import labels_of
from runtime.errors import UserError
from runtime.files import write_json

N, M, FOLDS = 20, 12, 2
TRAIN = np.array([f"train{i}" for i in range(N)])
TEST = np.array([f"test{i}" for i in range(M)])


@pytest.fixture
def results(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A source named nspec_16 with logits of its own for every fold."""
    folder = tmp_path / "nspec_16"
    save_array(folder / "ids_train.npy", TRAIN)
    save_array(folder / "ids_test.npy", TEST)
    save_array(folder / "folds.npy", np.arange(N) % FOLDS)
    save_array(folder / "outoffolds.npy", rng.normal(size=(N, 1)).astype(np.float32))
    logits = rng.normal(size=(FOLDS, M, 1)).astype(np.float32) * 3
    save_array(folder / "predictions.npy", logits)
    return tmp_path


def read(results: Path, **options):
    return PseudoLabels("nspec_16", **options).read(results, TRAIN, np.arange(N) % FOLDS, TEST)


def probability(results: Path) -> np.ndarray:
    logits = load_array(results / "nspec_16" / "predictions.npy")[..., 0].astype(float)
    return 1 / (1 + np.exp(-logits))


def test_soft_labels_of_all_samples_each_fold_its_own(results: Path) -> None:
    labels = read(results)
    assert labels.rows.tolist() == list(range(M))
    np.testing.assert_allclose(labels.values, probability(results), rtol=1e-12)
    assert not np.allclose(labels.values[0], labels.values[1])
    # As in the reference, soft labels are taken of all samples, whatever the confidence.
    same = read(results, confident_samples=(0.25, 0.75))
    np.testing.assert_array_equal(same.values, labels.values)
    assert same.digest == labels.digest


def test_hard_labels_of_the_confident(results: Path) -> None:
    p = probability(results)
    order = p.mean(0).argsort()
    confident = sorted([*order[:3], *order[-2:]])  # the first quarter, the last sixth of 12
    labels = read(results, confident_samples=(0.25, 1 - 1 / 6), hard_label=True)
    assert labels.rows.tolist() == confident
    np.testing.assert_array_equal(labels.values, p[:, confident] > 0.5)
    everything = read(results, hard_label=True)
    np.testing.assert_array_equal(everything.values, p > 0.5)


def test_mixed_labels(results: Path) -> None:
    p = probability(results)
    order = p.mean(0).argsort()
    labels = read(results, confident_samples=(0.25, 0.75), hard_label="mix")
    expected = p.copy()
    for column in (*order[:3], *order[-3:]):
        expected[:, column] = p[:, column] > 0.5
    np.testing.assert_allclose(labels.values, expected, rtol=1e-12)
    assert ((labels.values > 0) & (labels.values < 1)).any(0).sum() == 6
    everything = read(results, hard_label="mix")  # all count as confident
    np.testing.assert_array_equal(everything.values, p > 0.5)


def test_samples_are_found_by_id(results: Path) -> None:
    some = TEST[[7, 2, 9]]
    labels = PseudoLabels("nspec_16").read(results, TRAIN[::-1], np.arange(N)[::-1] % FOLDS, some)
    np.testing.assert_allclose(labels.values, probability(results)[:, [7, 2, 9]], rtol=1e-12)


def test_the_digest_follows_the_labels(results: Path) -> None:
    before = read(results).digest
    path = results / "nspec_16" / "predictions.npy"
    logits = load_array(path)
    logits[1, 5] += 1e-3
    save_array(path, logits)
    assert read(results).digest != before


COMMAND = "`python train.py --config Nspec16 --resume`"


def test_a_source_that_is_missing_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no predictions to take pseudo-labels from") as error:
        read(tmp_path)
    assert COMMAND in str(error.value)
    with pytest.raises(UserError, match=r"python train_pseudo\.py --config Pseudo07 --resume"):
        PseudoLabels("pseudo_07").read(tmp_path, TRAIN, np.arange(N) % FOLDS, TEST)


def test_a_missing_fold(results: Path) -> None:
    path = results / "nspec_16" / "predictions.npy"
    logits = load_array(path)
    logits[1] = np.nan
    save_array(path, logits)
    with pytest.raises(UserError, match="no finite logits of fold 1") as error:
        read(results)
    assert COMMAND in str(error.value)


@pytest.mark.parametrize(
    ("train", "folds", "test", "message"),
    [
        (TRAIN, (np.arange(N) + 1) % 2, TEST, "would leak"),
        (TRAIN, np.where(np.arange(N) == 4, 1, np.arange(N) % 2), TEST, "'train4'"),
        (TRAIN, np.arange(N) % 4, TEST, "has 2 folds and this experiment 4"),
        (np.append(TRAIN[1:], "other"), np.arange(N) % 2, TEST, "lacks 1 of 20 samples"),
        (TRAIN, np.arange(N) % 2, np.append(TEST, "new"), "the first 'new'"),
    ],
)
def test_other_samples_or_folds(results: Path, train, folds, test, message: str) -> None:
    with pytest.raises(UserError) as error:
        PseudoLabels("nspec_16").read(results, train, folds, test)
    assert message in str(error.value)
    assert "Nspec16" in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hard_label": "soft"}, "expected False, True or 'mix'"),
        ({"hard_label": 0}, "expected False, True or 'mix'"),
        ({"hard_label": 1}, "expected False, True or 'mix'"),
        ({"confident_samples": 0.2}, "two fractions in order"),
        ({"confident_samples": "ab"}, "two fractions in order"),
        ({"confident_samples": (0.9, 0.1)}, "two fractions in order"),
        ({"confident_samples": (0.1,)}, "two fractions in order"),
        ({"confident_samples": (0.1, 1.2)}, "two fractions in order"),
    ],
)
def test_options_that_make_no_sense(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        PseudoLabels("nspec_16", **options)


def test_no_confident_sample(results: Path) -> None:
    with pytest.raises(UserError, match="leaves none of 12 test samples"):
        read(results, confident_samples=(0.0, 1.0), hard_label=True)


def test_a_config_names_its_source_by_class() -> None:
    assert labels_of(configs.Nspec16).build().source == "nspec_16"
    assert configs.Pseudo07.pseudo_labels.build().command() == COMMAND
    with pytest.raises(UserError, match="did you mean 'hard_label'"):
        labels_of(configs.Nspec16, hard_labels=True)


def test_labels_of_an_unfinished_fold_need_the_flag_and_are_marked(results: Path) -> None:
    """Its logits are finite, which says nothing about the training."""
    state = {"finished": False, "epoch": 1, "weights": "w"}
    write_json(results / "nspec_16" / "fold1.json", state)
    # As written by versions without digests
    stamp = {"views": ["identity"], "weights": {}}
    write_json(results / "nspec_16" / "predictions.json", stamp)
    with pytest.raises(UserError, match=r"nspec_16: the logits of fold 1 .*--allow_unfinished"):
        read(results)
    source, folds = PseudoLabels("nspec_16"), np.arange(N) % FOLDS
    labels = source.read(results, TRAIN, folds, TEST, allow_unfinished=True)
    assert list(label_figures(labels, "nspec_16", M)["unfinished_folds"]) == ["1"]
    write_json(results / "nspec_16" / "fold1.json", state | {"finished": True})
    assert "unfinished_folds" not in label_figures(read(results), "nspec_16", M)
