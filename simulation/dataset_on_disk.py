"""A data set on disk in the competition's layout: mergers in the noise of H1, L1 and V1.

`simulate_dataset` draws samples from `SignalGenerator` and `NoiseGenerator` and writes them, with
the truth beside them. Files that exist are kept, so that a killed run resumes where it stopped.

The competition never said how its data were made. The numbers here were measured on its samples.
"""

from __future__ import annotations

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configuration.json_types import to_plain
from physics.bank_settings import FORMAT as BANK_FORMAT
from physics.bank_settings import BankSettings
from physics.noise import NoiseGenerator
from physics.observation import COMPETITION, Observation
from physics.population import COMPETITION_POPULATION, Population
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank
from runtime.console import LOGGER, format_seconds, progress
from runtime.errors import UserError
from runtime.files import move_aside, remove_temporaries, write_json
from runtime.machine import num_cores
from runtime.seeds import counted_seed
from simulation.dataset_files import (
    FINISHED,
    LOCK,
    STARTED,
    TABLES,
    ParameterTable,
    SampleBlock,
    check_settings,
    find_dataset,
    first_difference,
    is_complete,
    is_whole,
    locked_folder,
    npy_header,
    sample_path,
    sample_size,
    write_samples,
    write_tables,
)

FORMAT = 1  # raise it when the same settings would give other samples
SAMPLES_PER_BLOCK = 64  # drawn with one seed


# --- the plan -----------------------------------------------------------------------------------


def draw_ids(count: int, seed: int) -> list[str]:
    """Return `count` different names of ten hexadecimal digits, in random order."""
    rng = np.random.default_rng(counted_seed(seed, "ids"))
    found: dict[str, None] = {}  # a set that keeps its order
    while len(found) < count:
        numbers = rng.integers(0, 16**10, count - len(found))
        found |= dict.fromkeys(f"{number:010x}" for number in numbers)
    return list(found)


def plan_blocks(n_train: int, n_test: int, seed: int) -> list[SampleBlock]:
    """Return all samples of a data set in blocks, without their strain.

    Half of each split, rounded down, holds a signal.
    """
    ids = draw_ids(n_train + n_test, seed)
    blocks = []
    for split, names in (("train", sorted(ids[:n_train])), ("test", sorted(ids[n_train:]))):
        targets = (np.arange(len(names)) < len(names) // 2).astype(np.int64)
        np.random.default_rng(counted_seed(seed, "targets", split)).shuffle(targets)
        for number, start in enumerate(range(0, len(names), SAMPLES_PER_BLOCK)):
            part = slice(start, start + SAMPLES_PER_BLOCK)
            blocks.append(SampleBlock(split, number, names[part], targets[part]))
    return blocks


def split_bank(size: int, n_train: int, n_test: int) -> dict[str, tuple[int, int]]:
    """Return the first and last + 1 waveform of each split, in proportion; they share none.

    Raises:
        UserError: there are too few waveforms for both.
    """
    if n_train and n_test:
        if size < 2:
            raise UserError("bank_size must be at least 2: train and test share no waveform")
        cut = min(max(round(size * n_train / (n_train + n_test)), 1), size - 1)
        return {"train": (0, cut), "test": (cut, size)}
    return {"train" if n_train else "test": (0, size)}


# --- writing ------------------------------------------------------------------------------------


class BlockWriter:
    """Draws the blocks of a data set and writes their files; several threads may call it.

    Args:
        root: the folder of the data set.
        seed: of the data set.
        signals: for each split, where its signals come from.
        noise: where the noise comes from.
        table: of the parameters.
        resumed: keep sample files that exist already in their full size.
    """

    def __init__(
        self,
        root: Path,
        seed: int,
        signals: dict[str, SignalGenerator],
        noise: NoiseGenerator,
        table: ParameterTable,
        resumed: bool,
    ) -> None:
        self.root, self.seed, self.signals, self.noise = root, seed, signals, noise
        self.table, self.resumed, shape = table, resumed, table.observation.shape
        self.header, self.size = npy_header(shape), sample_size(shape)

    def __call__(self, block: SampleBlock) -> list[tuple[Any, ...]]:
        """Write the samples of a block; return its rows of `parameters.csv`."""
        generator = torch.Generator(self.noise.device)
        generator.manual_seed(counted_seed(self.seed, "samples", block.split, block.number))
        count = int(block.targets.sum())
        rows: list[tuple[Any, ...]] = []
        # Signals are drawn even where the samples exist: their parameters go into a table.
        if count:
            strain, parameters = self.signals[block.split].sample(count, generator)
            rows = self.table.rows(block, parameters)
        if self.resumed and all(
            is_whole(sample_path(self.root, block.split, name), self.size) for name in block.ids
        ):
            return rows
        data = self.noise.sample(len(block.ids), generator)  # (samples, detector, time)
        if count:
            with_signal = torch.from_numpy(block.targets.astype(bool)).to(data.device)
            data[with_signal] += strain  # (count, detector, time)
        write_samples(self.root, block, data.cpu().double().numpy(), self.header)
        return rows


def write_blocks(
    writer: BlockWriter, blocks: list[SampleBlock], workers: int, show_progress: bool | None
) -> dict[str, list[tuple[Any, ...]]]:
    """Write all blocks in parallel threads; return the rows of `parameters.csv` by split."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a block on each core is faster than one block on all cores
    # Twice as many threads as cores: while one waits for the disk, another computes.
    executor = ThreadPoolExecutor(2 * workers)
    rows: dict[str, list[tuple[Any, ...]]] = {"train": [], "test": []}
    total = sum(len(block.ids) for block in blocks)
    try:
        with progress(total=total, desc="samples", unit="sample", show=show_progress) as bar:
            for block, block_rows in zip(blocks, executor.map(writer, blocks), strict=True):
                rows[block.split] += block_rows
                bar.update(len(block.ids))
    finally:
        executor.shutdown(cancel_futures=True)  # after an error, do not finish the other blocks
        torch.set_num_threads(threads)
    return rows


def state_of(
    out: Path,
    settings: dict[str, Any],
    blocks: list[SampleBlock],
    shape: tuple[int, int],
    overwrite: bool,
) -> str:
    """Return how far the data set in a folder is.

    Returns:
        "absent"; "started"; "finished", of which files are missing; "complete", of which none are;
        or "other": of other settings, to be overwritten.

    Raises:
        UserError: the folder holds something else than a data set, or one of other settings and
            `overwrite` is False.
    """
    state, known = find_dataset(out)
    if state == "absent":
        return state
    if overwrite and first_difference(known, settings):
        return "other"
    check_settings(out, known, settings)
    if state == "finished" and is_complete(out, blocks, shape):
        LOGGER.info("%s already holds this simulation: nothing to do", out)
        return "complete"
    return state


def check_request(n_train: int, n_test: int, seed: int, bank_size: int) -> None:
    """Check the numbers of a data set.

    Raises:
        UserError: one is out of range.
    """
    numbers = {"n_train": n_train, "n_test": n_test, "seed": seed, "bank_size": bank_size}
    for name, value in numbers.items():
        least = 1 if name == "bank_size" else 0
        if value < least:
            raise UserError(f"{name} must be at least {least} and is {value}")
    if n_train + n_test == 0:
        raise UserError("n_train and n_test are both 0: ask for at least one sample")


def simulate_dataset(
    out: str | os.PathLike[str],
    n_train: int,
    n_test: int,
    seed: int = 0,
    device: str = "cpu",
    bank_size: int = 8000,
    show_progress: bool | None = None,
    cache_dir: Path | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    *,
    observation: Observation = COMPETITION,
    population: Population = COMPETITION_POPULATION,
) -> dict[str, Any]:
    """Write a simulated data set in the competition's layout.

    Below `out`: {train,test}/a/b/c/abc0123456.npy, float64 (detector, time) strain;
    training_labels.csv and sample_submission.csv as in the competition; test_labels.csv and
    parameters.csv, which the competition does not give. simulation.json, written last, says that
    everything is there.

    The same arguments give the same bytes, whatever the number of workers. A run that was
    interrupted resumes when it is started again, and files that were removed or cut short are
    written again.

    Args:
        out: a folder that is empty, missing, or holds this very simulation.
        n_train: training samples; half of them hold a signal.
        n_test: test samples; half of them hold a signal.
        seed: of everything but the waveform bank, which all data sets of one size share.
        device: where to compute. CPU and GPU draw different numbers.
        bank_size: how many waveforms to use. Each is used again with another sky position,
            polarisation, phase, arrival time and SNR. Train and test share none.
        show_progress: whether to draw bars; default only on a terminal.
        cache_dir: where the waveform bank is kept; default that of `physics.cache_folder`.
        workers: how many cores to use; default all.
        overwrite: move a data set of other settings that lies in `out` aside, to `<out>.<time>`.
        observation: detectors, sampling, window and noise.
        population: the laws of the signals.

    Returns:
        "out", "train", "test", "signals", "bank_size", "seconds", and "done_before": whether
        everything was there already.

    Raises:
        UserError: a number is out of range, the folder holds something else, another process
            simulates into it, or the window does not hold the population.
    """
    began = time.perf_counter()
    out = Path(out)
    check_request(n_train, n_test, seed, bank_size)
    bank_settings = BankSettings.of(population, observation, bank_size)
    members = split_bank(bank_size, n_train, n_test)
    settings = to_plain(
        {
            "n_train": n_train,
            "n_test": n_test,
            "seed": seed,
            "device": torch.device(device).type,
            "bank": bank_settings,
            "population": population.placement(observation.window, observation.detectors),
            "format": [FORMAT, BANK_FORMAT],
            "batch": SAMPLES_PER_BLOCK,
        }
    )
    if observation != COMPETITION:  # older records have none
        settings["observation"] = observation.to_plain()
    blocks = plan_blocks(n_train, n_test, seed)
    summary = {
        "out": str(out),
        "train": n_train,
        "test": n_test,
        "bank_size": bank_size,
        "signals": sum(int(block.targets.sum()) for block in blocks),
        "done_before": False,
    }
    done = summary | {"done_before": True, "seconds": 0.0}
    # Before the lock, because a finished data set may lie where nothing can be written.
    if state_of(out, settings, blocks, observation.shape, overwrite) == "complete":
        return done
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked_folder(out))
        # Once more: another process may have begun or finished in the meantime.
        state = state_of(out, settings, blocks, observation.shape, overwrite)
        if state == "complete":
            return done
        if state == "other":
            aside = move_aside(out)
            LOGGER.warning("%s: moved aside to %s", out, aside.name)
            # The lock went aside with its folder; the new folder needs one of its own.
            (aside / LOCK).unlink(missing_ok=True)
            stack.enter_context(locked_folder(out))
            state = "absent"
        remove_temporaries(out, (*TABLES, STARTED, FINISHED))  # of a killed run
        if state == "finished":  # but files are missing
            os.replace(out / FINISHED, out / STARTED)
        write_json(out / STARTED, {"settings": settings})
        bank = WaveformBank.build(bank_settings, cache_dir, workers, show_progress)
        signals = {
            split: SignalGenerator(bank, device, population, part, observation)
            for split, part in members.items()
        }
        for block in blocks:
            for name in block.ids:
                sample_path(out, block.split, name).parent.mkdir(parents=True, exist_ok=True)
        noise, table = (
            NoiseGenerator(device, observation),
            ParameterTable(observation, bank_settings),
        )
        writer = BlockWriter(out, seed, signals, noise, table, state != "absent")
        rows = write_blocks(writer, blocks, workers or num_cores(), show_progress)
        write_tables(out, blocks, table.columns, rows)
        os.replace(out / STARTED, out / FINISHED)  # last: now everything is there
    seconds = time.perf_counter() - began
    LOGGER.info(
        "%d samples simulated into %s in %s", n_train + n_test, out, format_seconds(seconds)
    )
    return summary | {"seconds": seconds}
