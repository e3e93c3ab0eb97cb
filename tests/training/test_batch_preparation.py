"""Transforms of a batch: one tensor or two from the strain, everything else untouched."""

from __future__ import annotations

import torch
from toy import noise_batch

from training.batch_preparation import OnWaveforms, Preparation
from transforms import Compose, FlipWave, Normalize, Scale


def test_one_input_replaces_the_strain_and_leaves_the_other_fields() -> None:
    batch = noise_batch(4)
    strain = batch["waveform"].clone()
    prepared = Preparation(lambda x: 2 * x)(batch)
    assert torch.equal(prepared["waveform"], 2 * strain)
    assert torch.equal(batch["waveform"], strain)  # views prepare the same batch again
    assert "waveform2" not in prepared
    for key in ("target", "index"):
        assert prepared[key] is batch[key]


def test_the_second_input_is_made_of_the_strain_and_not_of_the_first_input() -> None:
    batch = noise_batch(4)
    prepared = Preparation(lambda x: 0 * x, lambda x: x[..., ::2])(batch)
    assert torch.equal(prepared["waveform2"], batch["waveform"][..., ::2])
    assert (prepared["waveform"] == 0).all()


def test_a_transform_acts_on_every_waveform_alike() -> None:
    batch = noise_batch(4)
    double = OnWaveforms(lambda x: 2 * x)
    assert set(double(batch)) == set(batch)
    both = double({**batch, "waveform2": batch["waveform"][:, :1]})
    assert torch.equal(both["waveform"][:, :1], both["waveform2"])
    assert torch.equal(both["waveform"], 2 * batch["waveform"])
    assert both["target"] is batch["target"]


def test_a_preparation_is_odd_where_both_chains_are() -> None:
    odd, other = Compose([Scale(2.0), Normalize()]), Compose([Scale(2.0), FlipWave(p=0.5)])
    assert Preparation(odd).is_odd
    assert Preparation(odd, odd).is_odd
    assert not Preparation(other).is_odd
    assert not Preparation(odd, other).is_odd
    assert not Preparation(torch.abs).is_odd
