"""The head of our own: pooling, features, manifold mixup and patches."""

from __future__ import annotations

import pytest
import torch
from image_models import IDX, LAM, SMALL, TOKENS, check_gradients
from torch import Tensor, nn

from architectures import MultiInstanceSCNN, SpectroCNN
from models2d.image_network import cut_patches


@pytest.fixture
def strain() -> Tensor:
    return torch.randn(2, 3, 4096)


def test_pooling_is_what_it_says(strain: Tensor) -> None:
    model = SpectroCNN(**SMALL, custom_classifier="concat").eval()
    features = model.network.backbone(model.image(strain)[0])
    assert features.shape == (2, 256, 2, 3)
    expected = torch.cat([features.amax((2, 3)), features.mean((2, 3))], 1)
    torch.testing.assert_close(model.network.pool(features), expected)
    hidden = nn.functional.relu(model.network.hidden(expected))
    torch.testing.assert_close(model(strain), model.network.classifier(hidden))


@pytest.mark.parametrize("classifier", ["none", "gem"])
def test_feature_mode_and_classifier(classifier: str, strain: Tensor) -> None:
    width = 256 if classifier == "none" else 512
    model = SpectroCNN(**SMALL, custom_classifier=classifier, feature_mode=True)
    assert model(strain).shape == (2, width)
    model.reset_classifier(5)
    assert model.get_classifier().out_features == 5
    assert model(strain).shape == (2, 5)
    model.reset_classifier(0)
    assert model(strain).shape == (2, width)


def test_feature_mode_ends_before_the_activation(strain: Tensor) -> None:
    features = SpectroCNN(**SMALL, custom_classifier="gem", feature_mode=True)(strain)
    assert features.min() < 0


@pytest.mark.parametrize("where", ["custom_attention", "custom_classifier"])
@pytest.mark.parametrize("backbone", [SMALL, TOKENS])
@pytest.mark.parametrize("training", [True, False])
def test_manifold_mixup(where: str, backbone: dict, training: bool, strain: Tensor) -> None:
    """Mixes features and not the image; without lam it does nothing, in training too."""
    model = SpectroCNN(**backbone, **{where: "mixup"}, return_spec=True).eval()
    model.network.train(training).backbone.eval()
    logits, image, lam = model(strain, lam=LAM, idx=IDX)
    plain, plain_image = model(strain)
    assert torch.equal(image, plain_image)
    torch.testing.assert_close(lam, LAM)
    features = model.network.backbone(image)
    by_rank = LAM.reshape(2, *[1] * (features.ndim - 1))
    if where == "custom_attention":
        pooled = model.network.pool(by_rank * features + (1 - by_rank) * features[IDX])
    else:
        pooled = model.network.pool(features)
        pooled = LAM[:, None] * pooled + (1 - LAM[:, None]) * pooled[IDX]
    torch.testing.assert_close(logits, model.network.classify(model.network.hidden(pooled)))
    assert not torch.allclose(logits, plain)
    check_gradients(model, strain)


@pytest.mark.parametrize(("width", "n", "starts"), [(96, 2, [0, 32]), (101, 3, [0, 18, 36])])
def test_patches(width: int, n: int, starts: list[int]) -> None:
    image = torch.randn(2, 3, 64, width)
    patches = cut_patches(image, n)
    assert patches.shape == (2 * n, 3, 64, 64)
    for row in range(2):
        for i, start in enumerate(starts):
            assert torch.equal(patches[row * n + i], image[row, :, :, start : start + 64])


def test_multi_instance_joins_features_in_order(strain: Tensor) -> None:
    model = MultiInstanceSCNN(**SMALL).eval()  # 'none' pools by the average
    image = model.image(strain)[0]
    parts = [model.network.backbone(image[..., i : i + 64]).mean((2, 3)) for i in (0, 32)]
    hidden = nn.functional.relu(model.network.hidden(torch.cat(parts, 1)))
    torch.testing.assert_close(model(strain), model.network.classifier(hidden))


@pytest.mark.parametrize("where", ["custom_attention", "custom_classifier"])
def test_multi_instance_manifold_mixup_by_patch(where: str, strain: Tensor) -> None:
    model = MultiInstanceSCNN(**SMALL, **{where: "mixup"}, feature_mode=True).eval()
    lam, idx = torch.tensor([0.0, 1.0]), torch.tensor([1, 0])
    logits, _ = model(strain, lam=lam, idx=idx)
    plain = model(strain)
    torch.testing.assert_close(logits, plain[[1, 1]])  # row 0 is all of row 1
