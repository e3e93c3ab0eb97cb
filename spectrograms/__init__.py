"""Front-ends: strain (batch, detector, time) to images (batch, channel, frequency, frame).

All of them work in float32 whatever the autocast state, except that the learned ones follow
autocast as any network does. Imports models1d, layers, signal_transforms and what lies below them;
imported by architectures.py and the experiments. Open wavelets.py first.
"""

from spectrograms.constant_q import CQT
from spectrograms.learned_front_ends import (
    CNNSpectrogram,
    MultiSpectrogram,
    ResNetSpectrogram,
    WaveNetSpectrogram,
)
from spectrograms.wavelets import ComplexMorletCWT, RickerCWT

__all__ = [
    "CQT",
    "CNNSpectrogram",
    "ComplexMorletCWT",
    "MultiSpectrogram",
    "ResNetSpectrogram",
    "RickerCWT",
    "WaveNetSpectrogram",
]
