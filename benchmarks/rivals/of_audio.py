"""Beside torchaudio and nnAudio: band-passes and the constant-Q transform.

Both are libraries of sound. torchaudio filters recursively, sample after sample, and its `filtfilt`
takes the coefficients of one polynomial; of order 16, as here, these need float64. It begins and
ends at rest, where ours extends the strain: the ends are left out of the comparison.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from benchmarks.harness.command import BenchmarkSettings
from benchmarks.harness.timing import check_agreement
from benchmarks.rivals.comparison import Comparison, in_words
from benchmarks.spectrograms.cqt import NNAudioCQT
from benchmarks.spectrograms.cwt import TOLERANCE, use_full_float32, waveforms
from configuration.class_with_arguments import thaw
from physics.observation import COMPETITION
from signal_transforms.filtering import BandPass, BandPassTorch
from spectrograms.constant_q import CQT

LOWER, UPPER, ORDER = 12, 512, 8  # of Nspec16's band-pass
AT_THE_ENDS = 1024  # samples that a band-pass of 12 Hz takes to forget how the strain begins
RATE = COMPETITION.sample_rate


def compare_torchaudio(settings: BenchmarkSettings) -> Iterator[Comparison]:
    from scipy import signal
    from torchaudio.functional import bandpass_biquad, filtfilt

    batch = settings.choose(cpu=64, cuda=1024, quick=2)
    x = 0.1 * waveforms(settings, batch)
    quiet = x.double()
    b, a = signal.butter(ORDER, (LOWER, UPPER), "bandpass", fs=RATE)
    b, a = (torch.tensor(each, device=settings.device) for each in (b, a))
    band_pass = BandPass(LOWER, UPPER, order=ORDER).to(settings.device)
    inner = slice(AT_THE_ENDS, -AT_THE_ENDS)

    def theirs() -> torch.Tensor:
        return filtfilt(quiet, a, b, clamp=False)

    found = band_pass(x)[..., inner], theirs()[..., inner]
    difference = check_agreement("band-pass", *found, 1e-2)
    yield Comparison(
        "torchaudio.filtfilt",
        "zero-phase band-pass of order 8, a sample",
        "torchaudio's filtfilt in float64",
        lambda: band_pass(x),
        theirs,
        (batch, batch),
        f"differ by {difference:.0e} of the peak away from the ends",
        difference,
        {"batch": batch},
    )
    lower, upper = 16, 512
    causal = BandPassTorch(lower, upper).to(settings.device)
    centre = math.sqrt(lower * upper)

    def biquad() -> torch.Tensor:
        return bandpass_biquad(x, RATE, centre, centre / (upper - lower))

    difference = check_agreement("biquad", causal(x), biquad(), 1e-4)
    yield Comparison(
        "torchaudio.biquad",
        "causal band-pass of one section, a sample",
        "torchaudio's bandpass_biquad",
        lambda: causal(x),
        biquad,
        (batch, batch),
        in_words(difference),
        difference,
        {"batch": batch},
    )


def compare_nnaudio(settings: BenchmarkSettings) -> Iterator[Comparison]:
    from configs import Baseline, Resized08aug4

    use_full_float32()
    batch = settings.choose(cpu=64, cuda=64, quick=2)
    for config in (Baseline, Resized08aug4):
        params = thaw(config.model_params["spec_params"])
        ours = CQT(**params).to(settings.device)
        theirs = NNAudioCQT(**params).to(settings.device)
        x = waveforms(settings, batch)
        with torch.no_grad():
            difference = check_agreement("constant-Q transform", ours(x), theirs(x), TOLERANCE)
        yield Comparison(
            f"nnaudio.{config.name}",
            f"constant-Q image, every {params['hop_length']} samples, a sample",
            "nnAudio's CQT1992v2",
            lambda ours=ours, x=x: ours(x),
            lambda theirs=theirs, x=x: theirs(x),
            (batch, batch),
            in_words(difference),
            difference,
            {"batch": batch},
            around=torch.no_grad,
        )
