"""A bank of waveforms of binaries: drawn, computed in parallel, kept on disk, reused.

The bank holds the pair (h+, hx) of each binary, seen from one direction. Everything else can be
drawn anew, exactly, each time a waveform is used: sky position, polarisation angle, arrival time,
distance and the orbital phase. The phase is a factor because IMRPhenomPv2 twists up a (2, +-2)
waveform: with the spins held in the frame of the total angular momentum, a phase multiplies the
spectra of h+ and hx by exp(2 i phase). Where there are other modes, the phase is drawn with the
binary.

Importing this file imports neither torch nor LALSuite. So worker processes start fast, and a bank
on disk can be read where LALSuite is not installed.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from physics.bank_settings import FORMAT, BankSettings, draw_parameters
from physics.cache_folder import cache_folder, kept_path, remove_abandoned
from physics.polarisations import check_approximant
from physics.waveforms import compute_waveforms
from runtime.console import LOGGER, progress
from runtime.errors import UserError
from runtime.files import read_json
from runtime.machine import num_cores
from runtime.optional_packages import require
from runtime.worker_pool import run_parallel


def fill_rows(path: str, start: int, parameters: np.ndarray, settings: BankSettings) -> int:
    """Compute waveforms into rows of the array file `path`, from row `start`; return how many."""
    rows = np.load(path, mmap_mode="r+", allow_pickle=False)
    rows[start : start + len(parameters)] = compute_waveforms(parameters, settings)
    return len(parameters)


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Let processes that are started inside use one thread each: there is one process a core."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


class WaveformBank:
    """Waveforms and the parameters they were computed from.

    Attributes:
        waveforms: (size, 2, stretch) float32, h+ and hx in units of 1e-21 at 1,000 Mpc, as
            `settings.series` says.
        parameters: (size, columns) float64 in the order of `Population.columns`.
        settings: what they were drawn from.
    """

    def __init__(
        self, waveforms: np.ndarray, parameters: np.ndarray, settings: BankSettings
    ) -> None:
        self.waveforms, self.parameters, self.settings = waveforms, parameters, settings

    def __len__(self) -> int:
        return len(self.waveforms)

    @classmethod
    def build(
        cls,
        settings: BankSettings,
        cache_dir: Path | None = None,
        processes: int | None = None,
        show_progress: bool | None = None,
    ) -> WaveformBank:
        """Return the bank of these settings: read from disk, or else computed and kept there.

        Args:
            settings: what to draw.
            cache_dir: where banks are kept; default that of `physics.cache_folder`.
            processes: number of worker processes; default one a core. It changes no result.
            show_progress: whether to draw a bar; default only on a terminal.

        Raises:
            UserError: there is no such bank on disk, and LALSuite or what computes the approximant
                is not installed.
        """
        folder = Path(cache_dir or cache_folder())
        remove_abandoned(folder)
        header = folder / f"waveforms-{settings.key()}.json"
        if header.exists():
            try:
                return cls.load(header)
            except UserError as error:
                LOGGER.warning("%s; it is computed again", error)
        version = require("lalsimulation", "sim").__version__
        # Before anything is drawn, and here rather than in worker processes.
        check_approximant(settings.population.approximant)
        parameters = draw_parameters(settings)
        with kept_path(header.with_suffix(".npy")) as temporary:
            shape = (settings.size, 2, settings.series.stretch)
            np.lib.format.open_memmap(temporary, "w+", np.float32, shape).flush()
            compute_rows(temporary, parameters, settings, processes, show_progress)
        # The header is written last: where it is, the waveforms are complete.
        fields = {
            "format": FORMAT,
            "settings": settings.to_plain(),
            "lalsimulation": version,
            "shape": shape,
            "unit": "1e-21 strain at 1000 Mpc",
            "sample_rate": settings.series.sample_rate,
            "merger_at": settings.series.before,
            "parameters": settings.population.columns,
            "rows": parameters.tolist(),
        }
        with kept_path(header) as temporary:
            temporary.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n")
        return cls.load(header)

    @classmethod
    def load(cls, header: Path) -> WaveformBank:
        """Read the bank that a header names.

        Raises:
            UserError: the files are damaged or of another format.
        """
        fields = read_json(header)
        array = header.with_suffix(".npy")
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise UserError(f"{header} is not a waveform bank of format {FORMAT}: remove it")
        try:
            waveforms = np.load(array, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"the waveforms {array} cannot be read ({error}): remove it") from error
        try:
            shape, parameters = tuple(fields["shape"]), np.array(fields["rows"], np.float64)
            settings = BankSettings.from_plain(fields["settings"])
        except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
            raise UserError(f"{header} is damaged ({error!r}): remove it") from error
        if waveforms.shape != shape or waveforms.dtype != np.float32:
            raise UserError(
                f"{array} holds {waveforms.dtype} {waveforms.shape} and its header says float32 "
                f"{shape}: remove it"
            )
        return cls(waveforms, parameters, settings)


def compute_rows(
    path: Path,
    parameters: np.ndarray,
    settings: BankSettings,
    processes: int | None = None,
    show_progress: bool | None = None,
    chunk: int = 100,
) -> None:
    """Fill the array file `path` with the waveforms of `parameters`, in parallel where it pays."""
    starts = range(0, len(parameters), chunk)
    processes = min(processes or num_cores(), len(starts))
    if len(parameters) <= 5 * chunk:  # less work than starting processes
        processes = 1
    tasks = ((str(path), start, parameters[start : start + chunk], settings) for start in starts)
    with (
        progress(
            total=len(parameters), desc="waveforms", unit="waveform", show=show_progress
        ) as bar,
        one_thread_each(),
    ):
        for count in run_parallel(fill_rows, tasks, processes):
            bar.update(count)
