"""One example of every waveform transform, image augmentation and front-end.

Tests that hold for all of them go through these tables; that none is missing is a test as well.
"""

from __future__ import annotations

import numpy as np

import transforms as T
from signal_transforms import image_augmentations as I
from spectrograms import (
    CQT,
    CNNSpectrogram,
    ComplexMorletCWT,
    MultiSpectrogram,
    ResNetSpectrogram,
    RickerCWT,
    WaveNetSpectrogram,
)

# Each takes `always_apply` and `p`. Whiten's matrices fit 512 samples only, and DWTDenoise halves
# its waveforms until they are as short as its filter.
WAVEFORM_TRANSFORMS = {
    "Normalize": lambda **k: T.Normalize((2.0, 3.0, 4.0), **k),
    "Normalize2": T.Normalize2,
    "MinMaxScaler": T.MinMaxScaler,
    "Scale": T.Scale,
    "VolumeControl": T.VolumeControl,
    "FlipWave": T.FlipWave,
    "FlipWavePerChannel": T.FlipWavePerChannel,
    "GaussianNoiseSNR": T.GaussianNoiseSNR,
    "PinkNoiseSNR": T.PinkNoiseSNR,
    "AddNoiseSNR2": T.AddNoiseSNR2,
    # batches of these tests hold numbers near 1, so that is the unit of strain
    "AddGlitches": lambda **k: T.AddGlitches(unit=1.0, **k),
    "BandPass": lambda **k: T.BandPass(30, 300, order=4, **k),
    "BandPass2": lambda **k: T.BandPass2([(30, 300), (20, 300), (20, 200)], order=2, **k),
    "BandPassTorch": T.BandPassTorch,
    "Whiten": lambda **k: T.Whiten(matrices=[np.eye(512) * 2] * 3, unit=1.0, **k),
    "WhitenTorch": lambda **k: T.WhitenTorch(None, **k),
    "DWTDenoise": T.DWTDenoise,
    "PitchShift": lambda **k: T.PitchShift(2, **k),
    "SpectralDropout": T.SpectralDropout,
    "DropChannel": lambda **k: T.DropChannel((0, 2), random=1, **k),
    "SwapChannel": T.SwapChannel,
    "GetDiff": T.GetDiff,
    "GlobalTimeShift": T.GlobalTimeShift,
    "TimeShift": T.TimeShift,
    "IndependentTimeShift": T.IndependentTimeShift,
    "AlignPhase": T.AlignPhase,
}
ONLY_512_SAMPLES = {"Whiten", "DWTDenoise"}

# Of images (batch, 3, 24 or more, 16 or more); the crop changes their size.
IMAGE_AUGMENTATIONS = {
    "frequency mask": lambda **k: I.BatchFrequencyMask(5, (2, 20), **k),
    "time mask": lambda **k: I.BatchTimeMask(9, **k),
    "time shift": I.BatchTimeShift,
    "crop": lambda **k: I.RandomResizedCrop((24, 40), (0.5, 0.8), **k),
    "time resize": lambda **k: I.TimeResize((0.6, 0.9), **k),
    "horizontal": I.HorizontalFlip,
    "vertical": I.VerticalFlip,
    "trim": lambda **k: I.TimeTrim((0.2, 0.9), "mask", **k),
    "normalise": I.NormalizeImage,
}
CROPPED_SIZE = {"crop": (24, 40)}

BAND = {"fs": 2048, "lower_freq": 60, "upper_freq": 900, "n_scales": 8, "stride": 4}
FRONT_ENDS = {
    "CWT": lambda: ComplexMorletCWT(8, **BAND),
    "CWT of one width": lambda: ComplexMorletCWT(8, **BAND, trainable_width=True),
    "CWT of free filters": lambda: ComplexMorletCWT(8, **BAND, trainable_filter=True),
    "Ricker": lambda: RickerCWT(**BAND),
    "Ricker of free filters": lambda: RickerCWT(**BAND, trainable_filter=True),
    "CQT by frequency": lambda: CQT(2048, hop_length=8, fmin=120, fmax=900),
    "CQT by time": lambda: CQT(2048, hop_length=64, fmin=120, fmax=900),
    "WaveNet": lambda: WaveNetSpectrogram(base_filters=8, wave_layers=(3, 2)),
    "WaveNet chain": lambda: WaveNetSpectrogram(base_filters=(4, 8), wave_layers=(3, 2)),
    "WaveNet of detectors": lambda: WaveNetSpectrogram(
        1, 8, (2, 2, 2), wave_block="none", separate_channel=True
    ),
    "WaveNet gated": lambda: WaveNetSpectrogram(
        base_filters=8, wave_layers=(3, 2), wave_block="gated", sigmoid=True, output_size=20
    ),
    "CNN": lambda: CNNSpectrogram(base_filters=8, kernel_sizes=(9, 4)),
    "ResNet": lambda: ResNetSpectrogram(base_filters=8, groups=4, n_block=3),
    "several": lambda: MultiSpectrogram(
        [(ComplexMorletCWT, {"wavelet_width": 8, **BAND}), (RickerCWT, BAND)]
    ),
}
