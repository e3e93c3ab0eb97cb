"""The constant-Q transform against nnAudio's own layer."""

from __future__ import annotations

import pytest
import torch

from runtime.errors import UserError
from spectrograms import CQT

FS = 2048


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"sr": 2048, "fmin": 20, "fmax": 1024, "hop_length": 64}, (69, 65)),  # Baseline
        ({"sr": 2048, "fmin": 16, "fmax": 1024, "hop_length": 8}, (72, 513)),  # Resized08aug4
        ({"sr": 2048, "fmin": 32, "n_bins": 40, "hop_length": 33}, (40, 125)),
    ],
)
@pytest.mark.filterwarnings("ignore:If fmax is given")
def test_cqt_is_that_of_nnaudio(arguments, shape):
    from nnAudio.features.cqt import CQT1992v2

    x = torch.randn(2, 3, 4096)
    image = CQT(**arguments)(x)
    expected = CQT1992v2(**arguments, verbose=False)(x.reshape(6, 4096)).reshape(2, 3, *shape)
    assert image.shape == (2, 3, *shape)
    # two float32 sums of 4,096 products
    torch.testing.assert_close(image, expected, rtol=1e-4, atol=1e-5 * expected.max().item())


@pytest.mark.parametrize("hop", [8, 64], ids=["by frequency", "by time"])
def test_cqt_has_the_gradient_of_nnaudio_and_of_silence(hop):
    from nnAudio.features.cqt import CQT1992v2

    arguments = {"sr": FS, "fmin": 64, "n_bins": 12, "hop_length": hop}
    reference = CQT1992v2(**arguments, trainable=False, verbose=False).double()
    x = torch.randn(2, 3, 1024, dtype=torch.float64, requires_grad=True)
    image = CQT(**arguments)(x)
    direction = torch.randn_like(image)
    (gradient,) = torch.autograd.grad((image * direction).sum(), x)
    expected = reference(x.reshape(6, 1024)).reshape(image.shape)  # (batch * detector, ...)
    (by_reference,) = torch.autograd.grad((expected * direction).sum(), x)
    # nnAudio's own kernels are of float32
    torch.testing.assert_close(gradient, by_reference, rtol=1e-5, atol=1e-5)
    silence = torch.zeros(1, 3, 1024, requires_grad=True)
    CQT(**arguments)(silence).sum().backward()
    assert torch.equal(silence.grad, torch.zeros_like(silence))


@pytest.mark.parametrize("amplitude", [1e-20, 1e-24])
@pytest.mark.parametrize("hop", [8, 64])
def test_cqt_of_raw_strain_does_not_underflow(amplitude, hop):
    x = torch.randn(1, 3, 2048)
    front_end = CQT(FS, hop, 32, 1024)
    torch.testing.assert_close(
        front_end(x * amplitude) / amplitude, front_end(x), rtol=1e-4, atol=1e-5
    )


def test_cqt_says_nothing_and_carries_nothing(capsys, recwarn):
    front_end = CQT(FS, 64, 20, 1024)
    assert not front_end.state_dict()
    assert capsys.readouterr().out == ""
    assert not recwarn.list


def test_cqt_refuses_what_it_cannot_do():
    with pytest.raises(UserError, match="half the sampling rate"):
        CQT(FS, 64, 20, 1100)
    with pytest.raises(UserError, match="reflected"):
        CQT(FS, 64, 16, 1024)(torch.randn(1, 3, 2048))
    with pytest.raises(UserError, match="batch, detector, time"):
        CQT(FS, 64, 20, 1024)(torch.randn(3, 4096))
