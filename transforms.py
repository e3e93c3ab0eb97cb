"""Waveform transforms: batched, pure, random per row, on the device of their input.

Every transform takes strain (batch, detector, time) and returns a new tensor of the same shape
(except `Whiten(decimate=...)`). `p` is the probability with which a row is changed; each row draws
on its own, and each row and detector where a class says "per channel". `always_apply` changes every
row without a draw. Draws come from torch's default generator of the input's device. A transform
acts in the same way in training and evaluation: which ones run is the caller's choice.

This file names them all; configs import them from here. They are written in signal_transforms/,
one file for each kind. Augmentations of spectrogram images lie in
signal_transforms/image_augmentations.py.
"""

from __future__ import annotations

from signal_transforms.amplitude import (
    AddNoiseSNR2,
    FlipWave,
    FlipWavePerChannel,
    GaussianNoiseSNR,
    GaussianNoiseSNRTorch,
    MinMaxScaler,
    Normalize,
    Normalize2,
    PinkNoiseSNR,
    Scale,
    ToTensor,
    VolumeControl,
)
from signal_transforms.base import Compose, OneOf, WaveTransform
from signal_transforms.channels import DropChannel, GetDiff, SwapChannel
from signal_transforms.checks import check_waveforms
from signal_transforms.denoising import DWTDenoise, PitchShift
from signal_transforms.filtering import BandPass, BandPass2, BandPassTorch, SpectralDropout
from signal_transforms.glitches import AddGlitches
from signal_transforms.time_shifts import (
    AlignPhase,
    GlobalTimeShift,
    IndependentTimeShift,
    TimeShift,
)
from signal_transforms.whitening import Whiten, WhitenTorch

__all__ = [
    "AddGlitches",
    "AddNoiseSNR2",
    "AlignPhase",
    "BandPass",
    "BandPass2",
    "BandPassTorch",
    "Compose",
    "DWTDenoise",
    "DropChannel",
    "FlipWave",
    "FlipWavePerChannel",
    "GaussianNoiseSNR",
    "GaussianNoiseSNRTorch",
    "GetDiff",
    "GlobalTimeShift",
    "IndependentTimeShift",
    "MinMaxScaler",
    "Normalize",
    "Normalize2",
    "OneOf",
    "PinkNoiseSNR",
    "PitchShift",
    "Scale",
    "SpectralDropout",
    "SwapChannel",
    "TimeShift",
    "ToTensor",
    "VolumeControl",
    "WaveTransform",
    "Whiten",
    "WhitenTorch",
    "check_waveforms",
]
