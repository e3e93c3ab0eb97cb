"""CNN1d: published parameter count, shape, gradients, mixing."""

from __future__ import annotations

import torch
from network_checks import check_classifier, check_gradients, check_mixing, count

from models1d import CNN1d


def test_cnn1d_published_count() -> None:
    model = CNN1d()
    assert count(model) == 8_561
    x = torch.randn(2, 3, 4096)
    assert model.forward_features(x).shape == (2, 64, 4096)
    check_gradients(model, x)
    check_mixing(model, x)
    check_classifier(model, x, 64)
