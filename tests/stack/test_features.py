"""Features of the stacking methods against scipy, and what a rank may not depend on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from stack_runs import make_stack

from stack.features import Features
from stack.inputs import StackData


@pytest.fixture(scope="module")
def data() -> StackData:
    return make_stack()[0]


def test_ranks_are_those_of_a_network_among_its_own_rows(data: StackData) -> None:
    """Against scipy: of the validation rows by rankdata, of the test rows by percentileofscore."""
    features = Features(data)
    for fold in range(data.num_folds):
        own = data.out_of_fold[data.rows(fold)]
        ranks = (scipy.stats.rankdata(own, axis=0) - 0.5) / len(own)
        np.testing.assert_allclose(features.train("rank")[data.rows(fold)], ranks, atol=1e-12)
        expected = scipy.stats.percentileofscore(own[:, 1], data.test[fold, :, 1], kind="mean")
        np.testing.assert_allclose(  # float32 is kept
            features.test("rank", fold)[:, 1], expected / 100, atol=1e-7
        )


def test_ranks_with_ties() -> None:
    data = make_stack(n=240, m=60)[0]
    data = replace(data, out_of_fold=np.round(data.out_of_fold), test=np.round(data.test))
    own = data.out_of_fold[data.rows(0)]
    ranks = (scipy.stats.rankdata(own, axis=0) - 0.5) / len(own)
    np.testing.assert_allclose(Features(data).train("rank")[data.rows(0)], ranks, atol=1e-12)


def test_ranks_do_not_know_a_networks_scale(data: StackData) -> None:
    out_of_fold, test = data.out_of_fold.copy(), data.test.copy()
    out_of_fold[data.rows(1)] = 4 * out_of_fold[data.rows(1)] - 2  # exact in binary
    test[1] = 4 * test[1] - 2
    other = replace(data, out_of_fold=out_of_fold, test=test)
    # 4 x - 2 may round two neighbours to one: a rank or two of 500
    np.testing.assert_allclose(
        Features(other).train("rank"), Features(data).train("rank"), atol=2.5 / 500
    )
    np.testing.assert_allclose(
        Features(other).test("rank", 1), Features(data).test("rank", 1), atol=2.5 / 500
    )


def test_a_test_samples_rank_does_not_depend_on_the_others(data: StackData) -> None:
    alone = replace(data, test=data.test[:, :1], test_ids=data.test_ids[:1])
    for space in ("probability", "logit", "rank"):
        np.testing.assert_array_equal(
            Features(alone).test(space, 0), Features(data).test(space, 0)[:1]
        )


@pytest.mark.parametrize("space", ["probability", "logit", "rank"])
def test_features_without_a_model(data: StackData, space: str) -> None:
    features = Features(data)
    features.train(space), features.test(space, 2)  # so that something is kept
    fewer, anew = features.without("pseudo_16"), Features(data.without("pseudo_16"))
    assert fewer.data.names == ("pseudo_14", "pseudo_07")
    np.testing.assert_array_equal(fewer.train(space), anew.train(space))
    np.testing.assert_array_equal(fewer.test(space, 2), anew.test(space, 2))
