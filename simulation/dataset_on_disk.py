"""The competition's data, simulated: binary-black-hole mergers in the noise of H1, L1 and V1.

`SignalGenerator` and `NoiseGenerator` draw batches on any device, without end. `simulate_dataset`
writes such batches in the competition's layout, with the truth beside them.

The competition never said how its data were made. The numbers here were measured on its samples.
"""

from __future__ import annotations

import csv
import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configuration.json_types import to_plain
from physics.constants import DETECTORS, GPS_START, NUM_SAMPLES
from physics.noise import NoiseGenerator
from physics.signals import Population, SignalGenerator
from physics.waveforms import FORMAT as BANK_FORMAT
from physics.waveforms import PARAMETERS, BankSettings, WaveformBank
from runtime.console import LOGGER, format_seconds, progress
from runtime.errors import UserError
from runtime.files import atomic_path, read_json, write_json
from runtime.machine import num_cores
from runtime.seeds import counted_seed

__all__ = [
    "BankSettings",
    "NoiseGenerator",
    "Population",
    "SignalGenerator",
    "WaveformBank",
    "simulate_dataset",
]

FORMAT = 1  # raise it when the same settings would give other samples
BATCH = 64  # samples drawn with one seed

STARTED, MARKER = "simulation.started.json", "simulation.json"

COLUMNS = (
    "id",
    "split",
    "waveform",
    *PARAMETERS,
    "phase",
    "ra",
    "dec",
    "psi",
    "geocent_time",
    "merger_time",
    "luminosity_distance",
    *(f"snr_{name}" for name in DETECTORS),
    "network_snr",
)


@dataclass(frozen=True)
class Batch:
    """Some samples of one split, drawn with one seed."""

    split: str  # "train" or "test"
    number: int
    ids: list[str]
    targets: np.ndarray  # (samples,) of 0 and 1


def draw_ids(count: int, seed: int) -> list[str]:
    """Return `count` different names of ten hexadecimal digits, in random order."""
    rng = np.random.default_rng(counted_seed(seed, "ids"))
    found: dict[str, None] = {}  # a set that keeps its order
    while len(found) < count:
        numbers = rng.integers(0, 16**10, count - len(found))
        found |= dict.fromkeys(f"{number:010x}" for number in numbers)
    return list(found)


def plan_batches(n_train: int, n_test: int, seed: int) -> list[Batch]:
    """Share out ids and targets: half of each split (rounded down) holds a signal."""
    ids = draw_ids(n_train + n_test, seed)
    batches = []
    for split, names in (("train", sorted(ids[:n_train])), ("test", sorted(ids[n_train:]))):
        targets = (np.arange(len(names)) < len(names) // 2).astype(np.int64)
        np.random.default_rng(counted_seed(seed, "targets", split)).shuffle(targets)
        for number, start in enumerate(range(0, len(names), BATCH)):
            part = slice(start, start + BATCH)
            batches.append(Batch(split, number, names[part], targets[part]))
    return batches


# --- files --------------------------------------------------------------------------------------


def sample_path(root: Path, split: str, name: str) -> Path:
    """Return where the competition keeps a sample: train/0/0/0/000a218fdd.npy."""
    return root / split / name[0] / name[1] / name[2] / f"{name}.npy"


def npy_header() -> bytes:
    """Return what precedes the numbers in the .npy file of a sample."""
    buffer = io.BytesIO()
    np.save(buffer, np.empty((len(DETECTORS), NUM_SAMPLES)), allow_pickle=False)
    return buffer.getvalue()[: -len(DETECTORS) * NUM_SAMPLES * 8]


def write_samples(root: Path, batch: Batch, strain: np.ndarray, header: bytes) -> None:
    """Write the samples of a batch, (samples, detector, time) float64, each whole or not at all.

    The temporary name is the same in every run, so that a run started again leaves none behind.
    """
    for name, sample in zip(batch.ids, strain, strict=True):
        path = sample_path(root, batch.split, name)
        temporary = path.with_suffix(".tmp")
        with open(temporary, "wb", buffering=0) as file:
            file.write(header)
            file.write(sample.data)
            os.fsync(file.fileno())
        os.replace(temporary, path)


def write_table(path: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Write a CSV file, whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_tables(root: Path, batches: list[Batch], rows: dict[str, list[tuple[Any, ...]]]) -> None:
    """Write labels, the sample submission, the truth of the test set, and `parameters.csv`."""
    labels = {
        split: [
            (name, int(target))
            for batch in batches
            if batch.split == split
            for name, target in zip(batch.ids, batch.targets, strict=True)
        ]
        for split in ("train", "test")
    }
    write_table(root / "training_labels.csv", ("id", "target"), labels["train"])
    write_table(root / "test_labels.csv", ("id", "target"), labels["test"])
    submission = [(name, 0.5) for name, _ in labels["test"]]
    write_table(root / "sample_submission.csv", ("id", "target"), submission)
    write_table(root / "parameters.csv", COLUMNS, rows["train"] + rows["test"])


# --- the data set -------------------------------------------------------------------------------


def parameter_rows(batch: Batch, parameters: dict[str, torch.Tensor]) -> list[tuple[Any, ...]]:
    """Return the rows of `parameters.csv` for the signals of a batch."""
    columns = {name: values.cpu().numpy() for name, values in parameters.items()}
    names = [name for name, target in zip(batch.ids, batch.targets, strict=True) if target]
    rows = []
    for row, name in enumerate(names):
        values = {key: f"{column[row]:.9g}" for key, column in columns.items()}
        # A GPS time to a microsecond has more digits than float32 holds.
        values["geocent_time"] = f"{GPS_START + float(columns['merger_time'][row]):.7f}"
        values |= {"id": name, "split": batch.split}
        rows.append(tuple(values[column] for column in COLUMNS))
    return rows


class BatchWriter:
    """Draws the batches of a data set and writes their files; several threads may call it.

    Args:
        root: the folder of the data set.
        seed: of the data set.
        signals: for each split, where its signals come from.
        noise: where the noise comes from.
        resumed: leave files alone that an interrupted run has written.
    """

    def __init__(
        self,
        root: Path,
        seed: int,
        signals: dict[str, SignalGenerator],
        noise: NoiseGenerator,
        resumed: bool,
    ) -> None:
        self.root, self.seed, self.signals, self.noise = root, seed, signals, noise
        self.resumed, self.header = resumed, npy_header()

    def __call__(self, batch: Batch) -> list[tuple[Any, ...]]:
        """Write a batch; return its rows of `parameters.csv`."""
        generator = torch.Generator(self.noise.device)
        generator.manual_seed(counted_seed(self.seed, "samples", batch.split, batch.number))
        count = int(batch.targets.sum())
        rows: list[tuple[Any, ...]] = []
        if count:
            strain, parameters = self.signals[batch.split].sample(count, generator)
            rows = parameter_rows(batch, parameters)
        if self.resumed and all(
            sample_path(self.root, batch.split, name).exists() for name in batch.ids
        ):
            return rows
        data = self.noise.sample(len(batch.ids), generator)  # (samples, detector, time)
        if count:
            data[torch.from_numpy(batch.targets.astype(bool)).to(data.device)] += strain
        write_samples(self.root, batch, data.cpu().double().numpy(), self.header)
        return rows


def share_bank(size: int, n_train: int, n_test: int) -> dict[str, tuple[int, int]]:
    """Return which waveforms serve which split, in proportion: no waveform is in both.

    Raises:
        UserError: there are not enough for both.
    """
    if n_train and n_test:
        if size < 2:
            raise UserError("bank_size must be at least 2: train and test share no waveform")
        cut = min(max(round(size * n_train / (n_train + n_test)), 1), size - 1)
        return {"train": (0, cut), "test": (cut, size)}
    return {"train" if n_train else "test": (0, size)}


def find_marker(out: Path, settings: dict[str, Any]) -> str:
    """Return how far a data set of these settings is: "new", "started" or "done".

    Raises:
        UserError: the folder holds something else.
    """
    for state, marker in (("done", MARKER), ("started", STARTED)):
        path = out / marker
        if not path.exists():
            continue
        known = read_json(path)["settings"]
        differing = [key for key in settings if known.get(key) != settings[key]]
        if differing:
            key = differing[0]
            raise UserError(
                f"{out} holds a simulation with {key} = {known.get(key)!r} and "
                f"{settings[key]!r} is asked for: choose another folder or remove this one"
            )
        return state
    if out.is_dir() and any(out.iterdir()):
        raise UserError(
            f"{out} is not empty and holds no simulation ({MARKER} is missing): "
            "choose another folder or empty this one"
        )
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: name a folder for the simulated data")
    return "new"


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
) -> dict[str, Any]:
    """Write a simulated data set in the competition's layout.

    Below `out`: {train,test}/a/b/c/abc0123456.npy, float64 (3, 4096) strain;
    training_labels.csv and sample_submission.csv as in the competition; test_labels.csv and
    parameters.csv, which the competition does not give. simulation.json, written last, says that
    everything is there.

    The same arguments give the same bytes, whatever the number of workers. A run that was
    interrupted goes on when it is started again.

    Args:
        out: a folder that is empty, missing, or holds this very simulation.
        n_train: how many samples to train on; half of them hold a signal.
        n_test: how many to test on.
        seed: of everything but the waveform bank, which all data sets of one size share.
        device: where to compute. CPU and GPU draw different numbers.
        bank_size: how many waveforms to use. Each is used again with another sky position,
            polarisation, phase, arrival time and SNR. Train and test share none.
        show_progress: whether to draw bars; default where a person watches.
        cache_dir: where the waveform bank is kept; default `cached_files.cache_folder()`.
        workers: how many cores to use; default all.

    Returns:
        "out", "train", "test", "signals", "bank_size", "seconds", and "done_before": whether
        all was there already.

    Raises:
        UserError: a number out of range, or a folder that holds something else.
    """
    began = time.perf_counter()
    out = Path(out)
    numbers = {"n_train": n_train, "n_test": n_test, "seed": seed, "bank_size": bank_size}
    for name, value in numbers.items():
        least = 1 if name == "bank_size" else 0
        if value < least:
            raise UserError(f"{name} must be at least {least} and is {value}")
    if n_train + n_test == 0:
        raise UserError("n_train and n_test are both 0: ask for at least one sample")
    bank_settings, population = BankSettings(size=bank_size), Population()
    members = share_bank(bank_size, n_train, n_test)
    settings = to_plain(
        {
            "n_train": n_train,
            "n_test": n_test,
            "seed": seed,
            "device": torch.device(device).type,
            "bank": asdict(bank_settings),
            "population": asdict(population),
            "format": [FORMAT, BANK_FORMAT],
            "batch": BATCH,
        }
    )
    batches = plan_batches(n_train, n_test, seed)
    summary = {
        "out": str(out),
        "train": n_train,
        "test": n_test,
        "bank_size": bank_size,
        "signals": sum(int(batch.targets.sum()) for batch in batches),
        "done_before": False,
    }
    state = find_marker(out, settings)
    if state == "done":
        LOGGER.info("%s already holds this simulation: nothing to do", out)
        return summary | {"done_before": True, "seconds": 0.0}
    write_json(out / STARTED, {"settings": settings})
    bank = WaveformBank.build(bank_settings, cache_dir, workers, show_progress)
    signals = {
        split: SignalGenerator(bank, device, population, part) for split, part in members.items()
    }
    for batch in batches:
        for name in batch.ids:
            sample_path(out, batch.split, name).parent.mkdir(parents=True, exist_ok=True)
    writer = BatchWriter(out, seed, signals, NoiseGenerator(device), state == "started")
    rows = write_batches(writer, batches, workers or num_cores(), show_progress)
    write_tables(out, batches, rows)
    os.replace(out / STARTED, out / MARKER)  # last: now everything is there
    seconds = time.perf_counter() - began
    LOGGER.info(
        "%d samples simulated into %s in %s", n_train + n_test, out, format_seconds(seconds)
    )
    return summary | {"seconds": seconds}


def write_batches(
    writer: BatchWriter, batches: list[Batch], workers: int, show_progress: bool | None
) -> dict[str, list[tuple[Any, ...]]]:
    """Write all batches in parallel threads; return the rows of `parameters.csv` by split."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a batch a core is faster than a batch on all cores
    # Twice as many threads as cores: while one waits for the disk, another computes.
    pool = ThreadPoolExecutor(2 * workers)
    rows: dict[str, list[tuple[Any, ...]]] = {"train": [], "test": []}
    total = sum(len(batch.ids) for batch in batches)
    try:
        with progress(total=total, desc="samples", unit="sample", show=show_progress) as bar:
            for batch, part in zip(batches, pool.map(writer, batches), strict=True):
                rows[batch.split] += part
                bar.update(len(batch.ids))
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, do not finish the other batches
        torch.set_num_threads(threads)
    return rows
