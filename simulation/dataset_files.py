"""The files of a simulated data set: the competition's layout, and the marks of how far it got."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from physics.bank_settings import BankSettings, start_frequency
from physics.constants import GPS_START
from physics.observation import COMPETITION, Observation
from physics.population import COMPETITION_POPULATION, PARAMETERS
from runtime.errors import UserError
from runtime.files import atomic_path, is_temporary, read_json
from runtime.locks import hold

# The first lies there while samples are written; at the end it is renamed to the second.
STARTED, FINISHED = "simulation.started.json", "simulation.json"
LOCK = ".lock"

LABELS, TEST_LABELS = "training_labels.csv", "test_labels.csv"
SUBMISSION, TRUTH = "sample_submission.csv", "parameters.csv"
TABLES = (LABELS, TEST_LABELS, SUBMISSION, TRUTH)


@dataclass(frozen=True)
class SampleBlock:
    """Consecutive samples of one split that are drawn with one seed."""

    split: str  # "train" or "test"
    number: int  # of the block within its split; part of the seed
    ids: list[str]
    targets: np.ndarray  # (samples,) of 0 and 1


# --- samples ------------------------------------------------------------------------------------


def sample_path(root: Path, split: str, name: str) -> Path:
    """Return where the competition keeps a sample: train/0/0/0/000a218fdd.npy."""
    return root / split / name[0] / name[1] / name[2] / f"{name}.npy"


def npy_header(shape: tuple[int, int]) -> bytes:
    """Return what precedes the numbers in the .npy file of a sample of shape (detector, time).

    It is the same for every sample, and writing it is cheaper than calling `np.save` each time.
    """
    buffer = io.BytesIO()
    empty = np.empty(shape)
    np.save(buffer, empty, allow_pickle=False)
    return buffer.getvalue()[: -empty.nbytes]


def write_samples(root: Path, block: SampleBlock, strain: np.ndarray, header: bytes) -> None:
    """Write the samples of a block, (samples, detector, time) float64, each whole or not at all.

    The temporary name is the same in every run, so that a run that is started again replaces what
    a killed one left.
    """
    for name, sample in zip(block.ids, strain, strict=True):
        path = sample_path(root, block.split, name)
        temporary = path.with_suffix(".tmp")
        with open(temporary, "wb", buffering=0) as file:
            file.write(header)
            file.write(sample.data)
            os.fsync(file.fileno())
        os.replace(temporary, path)


# --- tables -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ParameterTable:
    """The columns and rows of `parameters.csv`: what bilby needs to make each signal again.

    Attributes:
        observation: whose detectors have an SNR each.
        bank: which waveforms they are.
    """

    observation: Observation
    bank: BankSettings

    @property
    def waveform_columns(self) -> tuple[str, ...]:
        """Arguments of bilby's source model; the competition's are in simulation.json alone."""
        is_competition = self.bank.population == COMPETITION_POPULATION.of_binaries()
        if is_competition and self.observation == COMPETITION:
            return ()
        return ("waveform_approximant", "mode_array", "reference_frequency", "minimum_frequency")

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns, in their order."""
        place = ("phase", "ra", "dec", "psi", "geocent_time", "merger_time", "luminosity_distance")
        snr = (*(f"snr_{name}" for name in self.observation.detectors), "network_snr")
        return ("id", "split", "waveform", *PARAMETERS, *place, *snr, *self.waveform_columns)

    def rows(
        self, block: SampleBlock, parameters: dict[str, torch.Tensor]
    ) -> list[tuple[Any, ...]]:
        """Return the rows for the signals of a block."""
        columns = {name: values.cpu().numpy() for name, values in parameters.items()}
        names = [name for name, target in zip(block.ids, block.targets, strict=True) if target]
        law, rows = self.bank.population, []
        for row, name in enumerate(names):
            values = {key: f"{column[row]:.9g}" for key, column in columns.items()}
            # A GPS time to a microsecond has more digits than float32 holds.
            values["geocent_time"] = f"{GPS_START + float(columns['merger_time'][row]):.7f}"
            masses = (float(columns[f"mass_{body}"][row]) for body in (1, 2))
            values |= {
                "id": name,
                "split": block.split,
                "waveform_approximant": law.approximant,
                "mode_array": " ".join(map(str, law.modes)),
                "reference_frequency": f"{law.reference_frequency:g}",
                "minimum_frequency": f"{start_frequency(*masses, self.bank):.9g}",
            }
            rows.append(tuple(values[column] for column in self.columns))
        return rows


def write_table(path: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Write a CSV file, whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_tables(
    root: Path,
    blocks: list[SampleBlock],
    columns: tuple[str, ...],
    rows: dict[str, list[tuple[Any, ...]]],
) -> None:
    """Write the labels of both splits, the sample submission, and the parameters of all signals.

    Args:
        root: the folder of the data set.
        blocks: all of its samples.
        columns: of `parameters.csv`.
        rows: those of `parameters.csv` by split.
    """
    labels = {
        split: [
            (name, int(target))
            for block in blocks
            if block.split == split
            for name, target in zip(block.ids, block.targets, strict=True)
        ]
        for split in ("train", "test")
    }
    write_table(root / LABELS, ("id", "target"), labels["train"])
    write_table(root / TEST_LABELS, ("id", "target"), labels["test"])
    submission = [(name, 0.5) for name, _ in labels["test"]]
    write_table(root / SUBMISSION, ("id", "target"), submission)
    write_table(root / TRUTH, columns, rows["train"] + rows["test"])


# --- what lies in a folder ----------------------------------------------------------------------


def find_dataset(out: Path) -> tuple[Literal["absent", "started", "finished"], dict[str, Any]]:
    """Return how far the data set of a folder got, and the settings it was begun with.

    Raises:
        UserError: the folder is a file, holds something else, or its mark is damaged.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: name a folder for the simulated data")
    # Finished is asked for again: a process may rename the one mark to the other in between.
    for state, name in (("finished", FINISHED), ("started", STARTED), ("finished", FINISHED)):
        mark = out / name
        try:
            fields = read_json(mark)
        except UserError:
            if not mark.exists():
                continue
            raise
        settings = fields.get("settings") if isinstance(fields, dict) else None
        if not isinstance(settings, dict):
            raise UserError(
                f"{mark} is damaged: it holds no settings of a simulation; choose another folder "
                "with --out, or move this one away"
            )
        return state, settings
    if out.is_dir() and not all(belongs_to_a_start(path) for path in out.iterdir()):
        raise UserError(
            f"{out} is not empty and holds no simulation ({FINISHED} is missing): choose another "
            "folder with --out, or empty this one"
        )
    return "absent", {}


def belongs_to_a_start(path: Path) -> bool:
    """Return whether a file is there before the mark: the lock, or the mark, half written."""
    return path.name == LOCK or is_temporary(path, STARTED)


def first_difference(known: dict[str, Any], settings: dict[str, Any]) -> str | None:
    """Return the first setting in which a data set differs from the one that is asked for.

    The observation comes first, and is the competition's where it is not stated.
    """
    keys = dict.fromkeys(("observation", *settings, *known))
    return next((key for key in keys if known.get(key) != settings.get(key)), None)


def check_settings(out: Path, known: dict[str, Any], settings: dict[str, Any]) -> None:
    """Check that a folder's data set is the one that is asked for.

    Raises:
        UserError: a setting differs.
    """
    key = first_difference(known, settings)
    if key is None:
        return
    there, wanted = known.get(key), settings.get(key)
    if key == "observation":
        there, wanted = (
            str(Observation.from_plain(plain or COMPETITION.to_plain()))
            for plain in (there, wanted)
        )
    raise UserError(
        f"{out} holds a simulation with {key} = {there!r} and {wanted!r} is asked for: choose "
        "another folder with --out, or add --overwrite to move this one aside"
    )


def sample_size(shape: tuple[int, int]) -> int:
    """Return the bytes of the .npy file of a sample of shape (detector, time)."""
    return len(npy_header(shape)) + np.empty(shape).nbytes


def is_whole(path: Path, size: int) -> bool:
    """Return whether a file is there with its full size; copying may have cut it short."""
    try:
        return os.stat(path).st_size == size
    except FileNotFoundError:
        return False


def is_whole_table(path: Path, rows: int) -> bool:
    """Return whether a table is there with its header and this many rows, the last one ended."""
    if not path.exists():
        return False
    content = path.read_bytes()
    return content.endswith(b"\n") and content.count(b"\n") >= rows + 1


def is_complete(out: Path, blocks: list[SampleBlock], shape: tuple[int, int]) -> bool:
    """Return whether every file of a data set is there, and none was cut short.

    Args:
        out: the folder of the data set.
        blocks: all of its samples.
        shape: of a sample, (detector, time).
    """
    counts = {
        LABELS: sum(len(block.ids) for block in blocks if block.split == "train"),
        TEST_LABELS: sum(len(block.ids) for block in blocks if block.split == "test"),
        TRUTH: sum(int(block.targets.sum()) for block in blocks),
    }
    counts[SUBMISSION] = counts[TEST_LABELS]
    size = sample_size(shape)
    samples = (sample_path(out, block.split, name) for block in blocks for name in block.ids)
    return all(is_whole_table(out / name, rows) for name, rows in counts.items()) and all(
        is_whole(path, size) for path in samples
    )


@contextlib.contextmanager
def locked_folder(out: Path) -> Iterator[None]:
    """Hold the folder of simulated data against other processes; make it if it is missing.

    Raises:
        UserError: another process holds it.
    """
    busy = (
        f"{out} is in use by another run ({{owner}}): wait for it, or choose another folder with "
        "--out"
    )
    with hold(out / LOCK, busy=busy, temporary=True):
        yield
