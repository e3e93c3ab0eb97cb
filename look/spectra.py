"""Amplitude spectral densities of strain and of what the network is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from look.network_input import NetworkInput
from look.pictures import channel_names, colour_of, new_figure, title_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEGMENT = 0.5  # s, of which a spectrum is the mean; shorter ones smear the lowest frequencies


def amplitude_density(series: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies in Hz and the amplitude spectral density in units / sqrt(Hz).

    Welch's estimate: the mean over Hann windows of half a second that overlap by half.

    Args:
        series: (time,) of any scale.
        rate: Hz.
    """
    from scipy.signal import welch

    # Squares of strain are below the smallest float32.
    values = series.astype(np.float64)
    frequencies, power = welch(values, rate, nperseg=min(int(SEGMENT * rate), len(values)))
    return frequencies[1:], np.sqrt(power[1:])


def draw_spectra(looked: NetworkInput, row: int) -> Figure:
    """Draw the spectra of a sample's strain and of its input without augmentation."""
    figure = new_figure(11, 4, title_of(looked, row))
    strain, prepared = looked.samples.strain[row], looked.plain.waveforms[0][row]
    panels = (("strain", strain, "strain"), (looked.plain.transforms[0], prepared, "input"))
    for axis, (title, values, unit) in zip(figure.subplots(1, 2), panels, strict=True):
        rate = values.shape[-1] / looked.observation.window
        for place, name in enumerate(channel_names(looked, len(values))):
            frequencies, density = amplitude_density(values[place].numpy(), rate)
            axis.loglog(frequencies, density, color=colour_of(name, place), label=name, lw=1)
        axis.set(xlabel="frequency (Hz)", ylabel=f"{unit} / √Hz", title=title)
        axis.grid(alpha=0.3, which="both")
        axis.legend(fontsize=8)
    return figure
