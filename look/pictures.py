"""Pictures of samples: strain, the network's input, and images, one page a sample or for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from look.network_input import NetworkInput, Stage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colours in which the collaborations draw their detectors; others get the next ones.
COLOURS = {"H1": "#d62728", "L1": "#3b8fd9", "V1": "#8e44ad", "K1": "#c99a00", "G1": "#222222"}
OTHERS = ("#2a9d55", "#e07b39", "#7a5c3e")
BAND = 8.0  # in the overview, detectors stand apart by so many spreads of their input
ROW_HEIGHT, COLUMN_WIDTH = 2.0, 4.4  # inches
OVERVIEW_LINE = 38  # characters of 9 points in a column of the overview, 3.4 inches


def colour_of(name: str, place: int) -> str:
    """Return the colour of a detector, or of a channel that is none, by its place."""
    return COLOURS.get(name, OTHERS[place % len(OTHERS)])


def channel_names(looked: NetworkInput, channels: int) -> list[str]:
    """Return what channels are called: detectors, or numbers where there are more or fewer."""
    detectors = looked.observation.detectors
    if channels == len(detectors):
        return list(detectors)
    return [f"channel {number}" for number in range(channels)]


def new_figure(width: float, height: float, title: str) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    # An id may hold a dollar sign, which would begin a formula.
    figure.suptitle(title, fontsize=13, parse_math=False)
    return figure


def draw_sample(looked: NetworkInput, row: int) -> Figure:
    """Draw one sample: its strain, its input without and with augmentation, and their images.

    Args:
        looked: of `look.network_input`.
        row: of the sample.
    """
    columns = waveform_columns(looked, row)
    detectors = max(len(values) for _, values, _ in columns)
    image = looked.plain.image
    channels = 0 if image is None else image.shape[1]
    width = COLUMN_WIDTH * max(len(columns), 2 * bool(channels))
    figure = new_figure(
        width, ROW_HEIGHT * (detectors + 1.2 * channels) + 1.2, title_of(looked, row)
    )
    parts = [figure]
    if channels:
        ratios = [detectors, 1.2 * channels]
        parts = list(figure.subfigures(2, 1, height_ratios=ratios))
    axes = parts[0].subplots(detectors, len(columns), squeeze=False, sharex=True)
    for column, (heading, values, unit) in enumerate(columns):
        draw_waveforms(axes[:, column], looked, heading, values, unit)
    if channels:
        draw_images(parts[1].subplots(channels, 2, squeeze=False, sharex=True), looked, row)
    return figure


def title_of(looked: NetworkInput, row: int) -> str:
    samples, config = looked.samples, looked.config
    return f"{samples.ids[row]}: {samples.labels[row]} ({config.__name__}; {samples.source})"


def waveform_columns(
    looked: NetworkInput, row: int, width: int = 52
) -> list[tuple[str, np.ndarray, str]]:
    """Return heading, values (channel, time) and unit of each column of waveforms.

    Args:
        looked: of `look.network_input`.
        row: of the sample.
        width: characters of a line of the heading.
    """
    columns = [("strain", looked.samples.strain[row].numpy(), "strain")]
    stages = (("without augmentation", looked.plain), ("with augmentation", looked.augmented))
    for number in range(len(looked.plain.waveforms)):
        second = "second input, " if number else ""
        for words, stage in stages:
            heading = f"{second}{words}\n{wrap(stage.transforms[number], width)}"
            columns.append((heading, stage.waveforms[number][row].numpy(), unit_of(stage, number)))
    return columns


def wrap(text: str, width: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))


def unit_of(stage: Stage, number: int) -> str:
    """Return what the numbers of a prepared waveform are; they have no unit."""
    return "whitened" if "whiten" in stage.transforms[number].lower() else "input"


def draw_waveforms(
    axes: Sequence[Axes], looked: NetworkInput, heading: str, values: np.ndarray, unit: str
) -> None:
    """Draw each channel of (channel, time) in an axis of its own; further axes are left empty."""
    names = channel_names(looked, len(values))
    times = sample_times(looked, values.shape[-1])
    axes[0].set_title(heading, fontsize=9)
    for place, axis in enumerate(axes):
        if place >= len(values):
            axis.axis("off")
            continue
        axis.plot(times, values[place], color=colour_of(names[place], place), lw=0.6)
        axis.set_ylabel(f"{names[place]}, {unit}", fontsize=8)
        axis.margins(x=0)
        axis.grid(alpha=0.25)
        axis.tick_params(labelsize=8)
    axes[len(values) - 1].set_xlabel("time in the window (s)", fontsize=8)


def sample_times(looked: NetworkInput, count: int) -> np.ndarray:
    """Return the time (count,) of each sample in s, whatever the transforms have decimated."""
    return np.arange(count) * looked.observation.window / count


def draw_images(axes: np.ndarray, looked: NetworkInput, row: int) -> None:
    """Draw the image of a sample without and with augmentation, a channel in each row of axes."""
    plain, augmented = (
        stage.image[row].float().numpy() for stage in (looked.plain, looked.augmented)
    )
    names = channel_names(looked, len(plain))
    for channel, (name, pair) in enumerate(zip(names, axes, strict=True)):
        low, high = colour_range(plain[channel])
        for axis, image, words in zip(
            pair, (plain, augmented), ("without augmentation", "with augmentation"), strict=True
        ):
            shown = draw_image(axis, looked, image[channel], low, high)
            axis.set_ylabel(f"{name}, {row_label(looked)}", fontsize=8)
            if channel == 0:
                axis.set_title(f"{looked.front_end}, {words}", fontsize=9)
            if channel == len(names) - 1:
                axis.set_xlabel("time in the window (s)", fontsize=8)
        axis.figure.colorbar(shown, ax=list(pair), label="pixel value", pad=0.01)


def colour_range(image: np.ndarray) -> tuple[float, float]:
    """Return the values of the darkest and the brightest colour: all but a few of the pixels."""
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, (1, 99.7)) if len(finite) else (0.0, 1.0)
    return float(low), float(high) if high > low else float(low) + 1.0


def draw_image(axis: Axes, looked: NetworkInput, image: np.ndarray, low: float, high: float):
    """Draw an image (row, column), low frequencies below, and return it."""
    rows, frequencies = len(image), looked.frequencies
    upside_down = frequencies is None or frequencies[0] > frequencies[-1]
    shown = axis.imshow(
        image,
        aspect="auto",
        origin="upper" if upside_down else "lower",
        extent=(0, looked.observation.window, *((rows, 0) if upside_down else (0, rows))),
        vmin=low,
        vmax=high,
        cmap="viridis",
        interpolation="nearest",
    )
    axis.tick_params(labelsize=8)
    if frequencies is not None:
        places, words = frequency_ticks(frequencies)
        axis.set_yticks(places, words)
    return shown


def row_label(looked: NetworkInput) -> str:
    return "row" if looked.frequencies is None else "frequency (Hz)"


def frequency_ticks(frequencies: np.ndarray) -> tuple[list[float], list[str]]:
    """Return places, in rows from the edge of row 0, and words of the octaves among frequencies."""
    rising = np.sort(frequencies)
    order = np.argsort(frequencies)
    powers = 10.0 * 2.0 ** np.arange(-4, 14)
    ticks = [value for value in powers if rising[0] <= value <= rising[-1]]
    places = np.interp(np.log(ticks), np.log(rising), order + 0.5) if ticks else []
    return [float(place) for place in places], [f"{value:g}" for value in ticks]


def draw_overview(looked: NetworkInput) -> Figure:
    """Draw all samples on one page, a row each: strain, input, and the image of each channel.

    The detectors of a waveform stand one above the other, apart by a multiple of their spread.
    """
    samples, image = looked.samples, looked.plain.image
    channels = 0 if image is None else image.shape[1]
    headings = [heading for heading, _, _ in waveform_columns(looked, 0, OVERVIEW_LINE)]
    columns = len(headings)
    figure = new_figure(
        3.4 * columns + 2.4 * channels,
        1.7 * len(samples) + 1.0,
        f"{looked.config.__name__} ({looked.config.name}): {len(samples)} samples as the network "
        f"sees them",
    )
    ratios = [3.4] * columns + [2.4] * channels
    axes = figure.subplots(
        len(samples),
        columns + channels,
        squeeze=False,
        sharex="col",
        gridspec_kw={"width_ratios": ratios},
    )
    for row, of_row in enumerate(axes):
        draw_overview_row(of_row, looked, row, columns)
    for axis, heading in zip(axes[0], headings, strict=False):
        axis.set_title(heading, fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("time in the window (s)", fontsize=8)
    return figure


def draw_overview_row(axes: Sequence[Axes], looked: NetworkInput, row: int, columns: int) -> None:
    """Draw one sample into a row of axes, of which the first `columns` are for waveforms."""
    for axis, (_, values, _) in zip(axes, waveform_columns(looked, row), strict=False):
        stack_waveforms(axis, looked, values)
    axes[0].set_ylabel(
        f"{looked.samples.ids[row]}\n{wrap(looked.samples.labels[row], 24)}",
        fontsize=8,
        parse_math=False,
    )
    for channel, axis in enumerate(axes[columns:]):
        image = looked.augmented.image[row, channel].float().numpy()
        draw_image(axis, looked, image, *colour_range(image))
        if channel == 0:
            axis.set_ylabel(row_label(looked), fontsize=8)
        if row == 0:
            name = channel_names(looked, len(axes) - columns)[channel]
            axis.set_title(f"{looked.front_end}, {name},\nwith augmentation", fontsize=9)


def stack_waveforms(axis: Axes, looked: NetworkInput, values: np.ndarray) -> None:
    """Draw the channels of (channel, time) one above the other in an axis."""
    names = channel_names(looked, len(values))
    times = sample_times(looked, values.shape[-1])
    for place, (name, series) in enumerate(zip(names, values, strict=True)):
        spread = float(np.std(series)) or 1.0
        axis.plot(
            times,
            (series - np.mean(series)) / spread - BAND * place,
            color=colour_of(name, place),
            lw=0.5,
        )
    axis.set_yticks([-BAND * place for place in range(len(names))], names)
    axis.set_ylim(-BAND * (len(names) - 0.4), BAND * 0.6)
    axis.margins(x=0)
    axis.tick_params(labelsize=8)
