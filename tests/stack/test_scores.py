"""Scores of stacks against scikit-learn, DeLong's formula and counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from metrics import bootstrap_error, delong_error
from runtime.errors import UserError
from stack import scores as stack_scores
from stack.scores import (
    AUCSummary,
    ExactResampling,
    LinearizedResampling,
    MeanFoldAUC,
    ScoredColumn,
    SortedColumn,
    bootstrap_areas,
    choose_method,
    draw_counts,
    fold_aucs,
    score_columns,
)


def split(rng: np.random.Generator, n: int = 400, folds: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and folds (n,), both classes in every fold, in no order."""
    order = rng.permutation(n)
    return (np.arange(n) // folds % 2)[order].astype(np.int8), (np.arange(n) % folds)[order]


def test_fold_scores(rng: np.random.Generator) -> None:
    targets, folds = split(rng)
    scores = rng.normal(size=400) + targets
    expected = [roc_auc_score(targets[folds == k], scores[folds == k]) for k in range(2)]
    np.testing.assert_allclose(fold_aucs(targets, scores, folds), expected, atol=1e-12)


@pytest.mark.parametrize("levels", [3, 50, None], ids=["many ties", "some ties", "no ties"])
def test_the_area_of_a_resample(rng: np.random.Generator, levels: int | None) -> None:
    """Against scikit-learn's, with the counts as weights."""
    noise, signals = rng.normal(size=80), rng.normal(0.7, 1, size=60)
    if levels:
        noise, signals = (np.round(x * levels / 6) for x in (noise, signals))
    column = SortedColumn(noise, signals)
    targets = np.repeat([0, 1], [80, 60])
    for _ in range(5):
        counts = draw_counts(rng, 1, 80)[0], draw_counts(rng, 1, 60)[0]
        expected = roc_auc_score(
            targets, np.concatenate([noise, signals]), sample_weight=np.concatenate(counts)
        )
        assert column.area(*counts) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("levels", [3, None], ids=["ties", "no ties"])
def test_placements(rng: np.random.Generator, levels: int | None) -> None:
    """Against every pair, counted."""
    noise, signals = rng.normal(size=30), rng.normal(0.7, 1, size=20)
    if levels:
        noise, signals = (np.round(x * levels / 6) for x in (noise, signals))
    won = (signals[:, None] > noise) + 0.5 * (signals[:, None] == noise)  # (signals, noise)
    of_noise, of_signals = SortedColumn(noise, signals).placements()
    np.testing.assert_allclose(of_noise, won.mean(0), atol=1e-12)
    np.testing.assert_allclose(of_signals, won.mean(1), atol=1e-12)


def test_linearized_resamples_are_those_counted_out(rng: np.random.Generator) -> None:
    """At 10,000 rows of a class, from which on they are used.

    The remainder is of the order of 1 / sqrt(rows), 1 % of the change, and adds to it in
    quadrature: 1e-4 of a standard error. The difference of two columns that share most of their
    noise is as small as those of real stacks.
    """
    common = rng.normal(size=20_000) + np.repeat([0, 1.3], 10_000)
    columns = []
    for spread in (0.15, 0.17):
        heard = common + spread * rng.normal(size=20_000)
        columns.append(SortedColumn(heard[:10_000], heard[10_000:]))
    counts = draw_counts(rng, 40, 10_000), draw_counts(rng, 40, 10_000)
    exact, linear = ExactResampling(columns)(*counts), LinearizedResampling(columns)(*counts)
    assert exact.shape == linear.shape == (2, 40)
    assert ((linear - exact).std(1) < 0.02 * exact.std(1)).all()
    difference, approximated = exact[0] - exact[1], linear[0] - linear[1]
    assert difference.std() < 0.3 * exact.std(1).min()  # they are paired
    assert (approximated - difference).std() < 0.05 * difference.std()


def test_many_rows_and_few_are_resampled_alike(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two ways to an area get the same rows; that of the other folds is not mixed in."""
    targets, folds = split(rng, n=6000, folds=3)
    columns = {"a": rng.normal(size=6000) + targets, "b": rng.normal(size=6000)}
    counted = bootstrap_areas(columns, targets, folds, resamples=120)
    monkeypatch.setattr(stack_scores, "LINEAR_FROM", 1000)
    linear = bootstrap_areas(columns, targets, folds, resamples=120)
    for name in columns:
        spread = counted[name].std(0)
        assert not np.array_equal(linear[name], counted[name])
        assert ((linear[name] - counted[name]).std(0) < 0.06 * spread).all()  # 1 / sqrt(1000)


def test_the_bootstrap_error_is_the_known_one(rng: np.random.Generator) -> None:
    targets, folds = split(rng, n=1000)
    scores = rng.normal(size=1000) + targets
    areas = bootstrap_areas({"a": scores}, targets, folds, resamples=1000)["a"]
    assert areas.shape == (1000, 2)
    for fold in range(2):
        rows = folds == fold
        # The standard deviation of 1,000 draws is known to 2.2 %; that of 400 to 3.5 %.
        assert areas[:, fold].std() == pytest.approx(
            delong_error(targets[rows], scores[rows]), rel=0.08
        )
        other = bootstrap_error(targets[rows], scores[rows], n=400)
        assert areas[:, fold].std() == pytest.approx(other, rel=0.15)


def test_two_calls_draw_the_same_rows(rng: np.random.Generator) -> None:
    targets, folds = split(rng)
    scores = rng.normal(size=400) + targets
    one = bootstrap_areas({"a": scores, "b": -scores}, targets, folds, resamples=30)
    other = bootstrap_areas({"c": 2 * scores + 1}, targets, folds, resamples=30)
    np.testing.assert_array_equal(one["a"], other["c"])
    np.testing.assert_allclose(one["a"], 1 - one["b"], atol=1e-12)
    another = bootstrap_areas({"c": scores}, targets, folds, resamples=30, seed=1)
    assert not np.array_equal(one["a"], another["c"])
    with pytest.raises(UserError, match="at least 2"):
        bootstrap_areas({"a": scores}, targets, folds, resamples=1)


def test_an_interval_covers_what_it_should(rng: np.random.Generator) -> None:
    """Two equally good columns: about 95 % of the intervals of their difference hold zero."""
    held = 0
    for _ in range(100):
        targets, folds = split(rng, n=300)
        common = rng.normal(size=300) + targets
        columns = {name: common + 0.5 * rng.normal(size=300) for name in "ab"}
        scored = score_columns(columns, targets, folds, resamples=200)
        against = scored["a"].difference_to(scored["b"])
        held += against.low <= 0 <= against.high
        assert against.low < against.difference < against.high
    # 95 ± 3 standard deviations of a binomial of 100; the percentile interval is a little narrow
    assert 87 <= held <= 100


def test_scores_add_up(rng: np.random.Generator) -> None:
    targets, folds = split(rng)
    scores = rng.normal(size=400) + targets + 3.0 * folds  # an offset between the folds
    candidate = score_columns({"a": scores}, targets, folds, resamples=50)["a"]
    of_fold = fold_aucs(targets, scores, folds)
    assert candidate.score.folds == tuple(of_fold)
    assert candidate.score.mean == pytest.approx(of_fold.mean())
    assert candidate.score.std == pytest.approx(of_fold.std(ddof=1))
    assert candidate.score.pooled == pytest.approx(roc_auc_score(targets, scores))
    assert candidate.score.pooled < candidate.score.mean  # which the offset does not touch
    assert candidate.score.error == pytest.approx(candidate.areas.mean(1).std(ddof=1))


# --- the objective of an optimiser -----------------------------------------------------------


def test_mean_fold_auc(rng: np.random.Generator) -> None:
    """Against scikit-learn's; what 16,384 bins lose is 3e-6 in folds of so few rows."""
    targets, folds = split(rng, n=20_000, folds=3)
    features = rng.normal(size=(20_000, 4)) + 0.5 * targets[:, None]
    weights = rng.normal(size=(5, 4))
    areas = MeanFoldAUC(features, targets, folds)(weights)
    for area, w in zip(areas, weights, strict=True):
        expected = [roc_auc_score(targets[folds == k], features[folds == k] @ w) for k in range(3)]
        assert area == pytest.approx(np.mean(expected), abs=1e-5)


def test_nothing_is_won_by_ties(rng: np.random.Generator) -> None:
    targets, folds = split(rng)
    area = MeanFoldAUC(np.abs(rng.normal(size=(400, 3))) + 1, targets, folds)
    np.testing.assert_array_equal(area(np.zeros((2, 3))), 0.5)


# --- the choice ------------------------------------------------------------------------------


def candidate(name: str, means: list[float], noise: np.ndarray) -> ScoredColumn:
    """Return a candidate with these fold scores, whose resamples vary about them by `noise`."""
    score = AUCSummary(tuple(means), float(np.mean(means)), 0.0, 0.0, 0.0)
    return ScoredColumn(name, score, np.array(means) + noise)


def test_a_tie_goes_to_the_simpler(rng: np.random.Generator) -> None:
    noise = {name: 1e-3 * rng.normal(size=(500, 3)) for name in "abc"}
    near = {
        "a": candidate("a", [0.8, 0.8, 0.8], noise["a"]),
        "b": candidate("b", [0.8005, 0.8005, 0.8005], noise["b"]),
    }
    # The difference has an error of 1e-3 sqrt(2 / 3) = 8e-4, more than the 5e-4 between them.
    assert (choose_method(near).method, choose_method(near).best) == ("a", "b")
    paired = near | {"b": candidate("b", [0.8005] * 3, noise["a"] + 0.1 * noise["b"])}
    assert choose_method(paired).method == "b"  # drawn on the same rows they differ for certain
    far = near | {"c": candidate("c", [0.81] * 3, noise["c"])}
    assert (choose_method(far).method, choose_method(far).best) == ("c", "c")


def test_the_nested_score_chooses_without_its_fold() -> None:
    noise = np.zeros((10, 3))  # no error: the best is chosen
    methods = {
        "a": candidate("a", [0.9, 0.5, 0.5], noise),  # is best for its fold 0 alone
        "b": candidate("b", [0.6, 0.6, 0.6], noise),
    }
    choice = choose_method(methods)
    assert choice.method == "a"
    # Without fold 0 it is b that is chosen, and scores 0.6 there.
    assert choice.nested == (0.6, 0.5, 0.5)


def test_the_optimism_is_that_of_the_luckiest(rng: np.random.Generator) -> None:
    """Eight equally good methods: the mean of the largest of eight normals is 1.4236 sigma."""
    methods = {
        str(i): candidate(str(i), [0.8, 0.8], 1e-3 * rng.normal(size=(4000, 2))) for i in range(8)
    }
    # The chosen one is the first; against it the largest of eight has the same mean.
    expected = 1.4236 * 1e-3 / np.sqrt(2)
    assert choose_method(methods).optimism == pytest.approx(expected, rel=0.05)
    assert choose_method({"0": methods["0"]}).optimism == 0.0
