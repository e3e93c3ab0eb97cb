"""The rule by which an exported file is taken or refused: what is wrong is refused, whatever it is
compared with, and what float32 cannot say better is taken."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_run import SMALL

from benchmarks.experiments.export import make_predictor
from configs import Demo
from configuration.overrides import override
from experiments.export_check import (
    Comparison,
    check_export,
    compare_with_run,
    score_in_batches,
    score_in_float64,
)
from experiments.export_files import Scorer, random_strain
from experiments.exported_graph import ExportedGraph
from experiments.predictor import Predictor
from runtime.errors import UserError

LOUD = 1e6  # of the last layer: logits of tens of thousands, of which float32 resolves some 1e-3


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return make_predictor(override(Demo, SMALL), tmp_path_factory.mktemp("check"))


@pytest.fixture
def loud(predictor: Predictor) -> Predictor:
    """The same network with logits as large as those of one that was never trained may be."""
    (network,) = predictor.networks
    with torch.no_grad():
        network.get_classifier().weight.mul_(LOUD)
    yield predictor
    with torch.no_grad():
        network.get_classifier().weight.div_(LOUD)


def score_with(graph: torch.nn.Module) -> Scorer:
    def score(strain: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return graph(torch.from_numpy(strain))[0].numpy()

    return score


def test_a_graph_of_the_run_is_near_it(predictor: Predictor) -> None:
    samples = random_strain(predictor, 2).numpy()[::-1].copy()
    comparison = check_export(predictor, score_with(ExportedGraph(predictor).eval()), samples)
    assert comparison.is_near
    assert comparison.differences.keys() == {"noise", "samples"}
    assert math.isnan(comparison.run_error)  # there was nothing to judge
    assert "float64" not in comparison.in_words()


@pytest.mark.parametrize("of", ["predictor", "loud"])
@pytest.mark.parametrize("wrong", ["weight", "transform", "not a number"])
def test_a_wrong_graph_is_refused(of: str, wrong: str, request: pytest.FixtureRequest) -> None:
    predictor = request.getfixturevalue(of)
    graph = ExportedGraph(predictor).eval()
    if wrong == "weight":
        weight = next(p for p in graph.networks.parameters() if p.ndim == 3)
        with torch.no_grad():
            weight[0, 0, 0] += 0.05
    elif wrong == "transform":
        graph.transform = torch.nn.Identity()
    score = score_with(graph)
    if wrong == "not a number":
        samples = random_strain(predictor, 1).numpy()
        finite, calls = score, []

        def score(strain: np.ndarray) -> np.ndarray:  # of the last batch, that of the samples
            calls.append(strain)
            return finite(strain) * (np.nan if len(calls) == 4 else 1)

    else:
        samples = None
    with pytest.raises(UserError, match=r"differs from the run by .* Nothing was kept"):
        check_export(predictor, score, samples)


def test_what_float32_cannot_say_is_judged_by_float64(loud: Predictor) -> None:
    """A file that is exact differs from the run by more than 1e-4, as the run is not exact."""

    def exact(strain: np.ndarray) -> np.ndarray:
        return score_in_float64(loud, strain).astype(np.float32)

    comparison = check_export(loud, exact, None)
    assert comparison.spread > 1e3
    assert comparison.largest > 1e-4
    assert comparison.export_error < comparison.run_error < 1e-4
    assert "judged by the same network in float64" in comparison.in_words()
    # By another way than `double_precision`: each part in float64 by itself.
    strain = random_strain(loud, 3)
    white = loud.preparation({"waveform": strain})["waveform"]  # float32: the transform's own error
    with torch.no_grad():
        network = loud.networks[0].double()
        found = network(white.double())[:, 0].numpy()
        network.float()
    np.testing.assert_allclose(
        score_in_float64(loud, strain.numpy())[:, 0], found, atol=1e-4 * comparison.spread
    )


@pytest.mark.parametrize(
    ("difference", "export_error", "run_error", "accepted"),
    [
        (9e-5, math.nan, math.nan, True),  # of the run itself
        (2e-4, 9e-5, 1e-7, True),  # of float64, by the spread
        (2e-4, 2e-4, 1e-7, False),
        (2e-4, 3.9e-4, 2e-4, True),  # no more than twice what the run is off
        (2e-4, 4.1e-4, 2e-4, False),
        (2e-2, 2e-3, 2e-3, False),  # the run itself says nothing
        (math.nan, math.nan, 1e-7, False),
    ],
)
def test_the_rule(difference: float, export_error: float, run_error: float, accepted: bool) -> None:
    for spread in (0.5, 300.0):
        comparison = Comparison({"noise": 0.0, "x": difference}, spread, export_error, run_error)
        assert comparison.is_accepted is accepted


def test_several_outputs_have_a_spread_each(predictor: Predictor, monkeypatch) -> None:
    """Errors are in units of the spread of their own output."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1, 12, 2)) * [1e4, 1.0]  # (folds, n, outputs)
    exact = np.moveaxis(logits, 0, 1)
    monkeypatch.setattr(predictor, "score", lambda strain: type("Found", (), {"logits": logits}))
    monkeypatch.setattr("experiments.export_check.score_in_float64", lambda *_: exact)
    for output, accepted in ((0, True), (1, False)):
        wrong = exact.copy()
        wrong[:, :, output] += 0.01
        parts = np.split(wrong, [1, 4])[::-1]
        assert compare_with_run(predictor, lambda _, p=parts: p.pop(), None).is_accepted is accepted


def test_batches_of_several_sizes() -> None:
    sizes = []
    found = score_in_batches(lambda strain: sizes.append(len(strain)) or strain, np.arange(20))
    assert sizes == [1, 3, 8, 8]
    assert found.tolist() == list(range(20))
