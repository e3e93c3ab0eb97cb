"""Every part that configs can name, on a GPU beside the CPU, in float32 and without a wait.

Random numbers are drawn on the CPU for both. Both sides round differently, in other orders of sums:
each tolerance is a multiple of what float32 resolves, 6e-8, of the largest value.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from every_network import HOOKS, LOSSES, NETWORKS, make_batch
from every_transform import FRONT_ENDS, IMAGE_AUGMENTATIONS, WAVEFORM_TRANSFORMS
from host_copies import no_waits
from same_draws import SameDraws
from torch import Tensor, nn

from layers.mixing import mix_rows
from runtime.float32_precision import full_precision

pytestmark = pytest.mark.gpu

# Of the largest value: some thousand roundings, as an FFT of 1,000 samples or a sum of as many
# products has at worst.
CLOSE = 1e-5
# Phases of hundreds of turns are summed, and where a bin holds next to nothing its phase is that of
# rounding errors; a threshold or the largest of nearly equal numbers can fall otherwise.
CLOSE_TRANSFORMS = {"PitchShift": 5e-3, "AddGlitches": 1e-4, "WhitenTorch": 1e-4}
CLOSE_NETWORK, CLOSE_GRADIENT = 1e-4, 2e-3  # some tens of layers, forward, and back through norms


CPU = torch.device("cpu")


def both_sides(device: torch.device) -> tuple[tuple[str, torch.device], ...]:
    """Return the two sides of a comparison, by name.

    A name tells them apart in a rehearsal too, where both are the CPU: what is done on one side
    alone is done there as on a GPU, and a value that it changes afterwards is seen.
    """
    return ("device", device), ("reference", CPU)


def gradients_of(module: nn.Module) -> dict[str, Tensor]:
    """Return copies: a further backward pass adds to the gradients in place."""
    return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def assert_near(found: Tensor, expected: Tensor, share: float) -> None:
    """Check that two devices differ by no more than a share of the largest value."""
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    assert found.shape == expected.shape
    scale = expected.abs().max().clamp_min(1e-30)
    error = ((found - expected).abs().max() / scale).item()
    assert error <= share, f"{error:.2g} of the largest value, expected {share:.2g}"


def on_both(make: Callable[[], nn.Module], x: Tensor, device: torch.device) -> tuple[Tensor, ...]:
    """Return what a module gives on the device and on the CPU; the second call must not wait."""
    found = []
    for side, place in both_sides(device):
        torch.manual_seed(0)
        module, there = make().to(place), x.to(place, copy=True)
        with full_precision(place.type), SameDraws():
            torch.manual_seed(1)
            found.append(module(there))
        if side == "device":
            with no_waits(place):
                module(there)
    return tuple(found)


@pytest.mark.parametrize("name", WAVEFORM_TRANSFORMS)
def test_transforms(name: str, device: torch.device) -> None:
    x = torch.randn(4, 3, 512)
    make = WAVEFORM_TRANSFORMS[name]
    found, expected = on_both(lambda: make(always_apply=True), x, device)
    assert found.device.type == device.type
    assert_near(found, expected, CLOSE_TRANSFORMS.get(name, CLOSE))


@pytest.mark.parametrize("name", IMAGE_AUGMENTATIONS)
def test_augmentations(name: str, device: torch.device) -> None:
    x = torch.rand(4, 3, 24, 40) + 0.1
    make = IMAGE_AUGMENTATIONS[name]
    # places of boxes are rounded to whole pixels, and weights of neighbours follow them
    assert_near(*on_both(lambda: make(always_apply=True), x, device), 1e-4)


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_front_ends(name: str, device: torch.device) -> None:
    """The image, and the gradients of what is learnt."""
    x, images, gradients = torch.randn(2, 3, 512), [], []
    for side, place in both_sides(device):
        torch.manual_seed(0)
        front_end = FRONT_ENDS[name]().to(place).eval()
        with full_precision(place.type):
            images.append(front_end(x.to(place)))
            if images[-1].requires_grad:
                images[-1].square().mean().backward()
        gradients.append(gradients_of(front_end))
        if side == "device":
            with no_waits(place):
                again = front_end(x.to(place, non_blocking=True))
                if again.requires_grad:
                    again.square().mean().backward()
    assert_near(*images, CLOSE_NETWORK)
    assert gradients[0].keys() == gradients[1].keys()
    for key, expected in gradients[1].items():
        assert_near(gradients[0][key], expected, CLOSE_GRADIENT)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, device: torch.device) -> None:
    """Logits and all gradients in evaluation; then a step of training that does not wait."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    x, logits, gradients = make_batch(4)["waveform"], [], []
    for side, place in both_sides(device):
        there = copy.deepcopy(network).to(place)
        with full_precision(place.type), SameDraws():
            torch.manual_seed(1)
            logits.append(there(x.to(place)))
            nn.functional.softplus(logits[-1]).sum().backward()
        gradients.append(gradients_of(there))
        if side == "device":
            there.train()(x.to(place)).sum().backward()  # chooses kernels
            inputs = x.to(place)
            with no_waits(place):
                there(inputs).sum().backward()
                with torch.inference_mode():
                    there.eval()(inputs)
    assert_near(*logits, CLOSE_NETWORK)
    assert gradients[0].keys() == gradients[1].keys()
    largest = max(gradient.abs().max() for gradient in gradients[1].values())
    for key, expected in gradients[1].items():
        # A gradient that is nothing beside the others is a difference of large numbers.
        if expected.abs().max() > 1e-3 * largest:
            assert_near(gradients[0][key], expected, CLOSE_GRADIENT)


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str, device: torch.device) -> None:
    loss, outputs, targets_of = LOSSES[name]
    logits, values, gradients = 2 * torch.randn(16, outputs), [], []
    for _, place in both_sides(device):
        there = copy.deepcopy(loss).to(place)
        given = logits.to(place, copy=True).requires_grad_()
        targets = targets_of(given.detach())
        there(given, targets)
        with no_waits(place):
            values.append(there(given, targets))
            values[-1].backward()
        gradients.append(given.grad)
    assert_near(*values, CLOSE)
    assert_near(*gradients, CLOSE)


class Mixing(nn.Linear):
    """Logits of a waveform, mixed where that is asked for."""

    def forward(self, x, lam=None, idx=None):
        x = x if lam is None else mix_rows(x, lam, idx)
        logits = super().forward(x.mean(1))
        return logits if lam is None else (logits, lam)


@pytest.mark.parametrize("name", HOOKS)
def test_hooks(name: str, device: torch.device) -> None:
    batch, found = make_batch(8), []
    network, hook = Mixing(batch["waveform"].shape[-1], 1), HOOKS[name]()
    for side, place in both_sides(device):
        there = {key: value.to(place, copy=True) for key, value in batch.items()}
        model = copy.deepcopy(network).to(place)
        criterion = nn.BCEWithLogitsLoss()
        with full_precision(place.type), SameDraws():
            torch.manual_seed(1)
            found.append(hook.forward_train(model, there, criterion)[0].detach().clone())
        if side == "device":
            with no_waits(place):
                hook.forward_train(model, there, criterion)[0].backward()
    assert_near(*found, CLOSE)
