"""What guessing scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from loss_functions import BCEWithLogitsLoss
from metrics import AUC
from training.guessing import score_guessing

HALF = torch.arange(200).float()[:, None] % 2


def test_guessing_is_the_entropy_of_the_classes_and_half_an_area() -> None:
    guessing = score_guessing(HALF, BCEWithLogitsLoss(), AUC())
    assert guessing.loss == pytest.approx(math.log(2), rel=1e-6)
    assert guessing.score == 0.5
    one_in_four = (torch.arange(200) % 4 == 0).float()[:, None]
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert score_guessing(one_in_four, BCEWithLogitsLoss(), AUC()).loss == pytest.approx(entropy)


def test_the_spread_is_that_of_random_scores() -> None:
    spread = score_guessing(HALF, BCEWithLogitsLoss(), AUC()).spread
    generator = torch.Generator().manual_seed(0)
    metric = AUC()
    areas = [metric(HALF, torch.randn(200, 1, generator=generator)) for _ in range(400)]
    # The deviation of 400 draws has an error of 1 / sqrt(800) = 3.5 %; three of these.
    assert np.std(areas) == pytest.approx(spread, rel=0.11)


@pytest.mark.parametrize("targets", [torch.ones(4, 1), torch.tensor([[0.0], [1.0], [0.5]])])
def test_other_targets_than_two_classes_have_no_guess(targets: torch.Tensor) -> None:
    assert score_guessing(targets, BCEWithLogitsLoss(), AUC()) is None
