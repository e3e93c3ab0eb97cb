"""The scores of predict.py: written part by part, resumed, and put together into one file.

While samples are scored, the logits of each part lie in `.<name>.unfinished` beside the file that
is to be written, with the identity of the scoring: digests of the weights, of the samples and of
the settings. The file itself appears whole at the end; `<file>.json` beside it says what it is of.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.npy_files import load_array, save_array
from experiments.objectives import output_names
from experiments.predictor import OutputScores, Scores, make_scores
from experiments.targets import Outputs
from runtime.console import LOGGER
from runtime.errors import UserError
from runtime.files import atomic_path, move_aside, read_json_object, write_json
from runtime.locks import hold
from runtime.optional_packages import require

if TYPE_CHECKING:
    import pandas as pd

FORMATS = (".csv", ".parquet", ".npy")
PART = 5000  # samples in a part; their logits are 200 kB for five folds


class ScoreFile:
    """A file of scores and the parts that it is made from.

    Args:
        path: `.csv` and `.parquet` have a row a sample; `.npy` the probabilities of the folds,
            (folds, n) float64, or of several outputs their values (folds, n, outputs).
        identity: all that decides the scores, in JSON types.
        outputs: what the networks put out.

    Raises:
        UserError: the file has another ending.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], outputs: Outputs) -> None:
        if path.suffix not in FORMATS:
            raise UserError(f"--out {path}: expected a file that ends in {', '.join(FORMATS)}")
        if path.suffix == ".parquet":
            require("pyarrow", "parquet")
        if path.is_dir():
            raise UserError(f"--out {path} is a folder: name a file in it")
        self.path, self.identity, self.outputs = path, dict(identity), outputs
        self.parts = path.with_name(f".{path.name}.unfinished")
        self.record = path.with_name(f"{path.name}.json")

    def is_finished(self, overwrite: bool) -> bool:
        """Return whether these very scores are there.

        Raises:
            UserError: others are, and `overwrite` is not set.
        """
        if not self.path.exists():
            return False
        before = read_json_object(self.record) if self.record.is_file() else {}
        if before.get("identity") == self.identity:
            return True
        if not overwrite:
            what = "has no record of what it is of"
            if before:
                differs = [
                    key
                    for key in self.identity
                    if before.get("identity", {}).get(key) != self.identity[key]
                ]
                what = f"holds other scores (other {' and '.join(differs)})"
            raise UserError(
                f"{self.path} {what}, and nothing was changed: name another file with --out, or "
                f"give --overwrite, which moves it aside"
            )
        return False

    @contextlib.contextmanager
    def begun(self) -> Iterator[int]:
        """Hold the parts for this process, and yield how many are there already.

        Raises:
            UserError: another process is writing them.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        busy = f"{self.path} is being written by {{owner}}: wait for it, or give another --out"
        lock = self.path.with_name(f".{self.path.name}.lock")
        with hold(lock, busy=busy, temporary=True):
            identity = self.parts / "identity.json"
            if identity.is_file() and read_json_object(identity) != self.identity:
                LOGGER.info(f"{self.parts} is of other scores and is begun anew")
                shutil.rmtree(self.parts)
            write_json(identity, self.identity)
            count = 0
            while self.part(count).is_file():
                count += 1
            try:
                yield count
            finally:
                # What is scored stays to be continued; a folder in which nothing is would only be
                # in the way.
                if self.parts.is_dir() and not self.part(0).is_file():
                    shutil.rmtree(self.parts)

    def part(self, number: int) -> Path:
        return self.parts / f"part{number:06d}.npy"

    def save_part(self, number: int, logits: np.ndarray) -> None:
        """Keep the logits (folds, samples) or (folds, samples, outputs) of a part."""
        save_array(self.part(number), logits)

    def finish(
        self, ids: np.ndarray, networks: Sequence[str], seen: np.ndarray | None, count: int
    ) -> None:
        """Write the file from its parts, then its record, and remove the parts.

        Args:
            ids: (n,) of the samples.
            networks: their names, in the order of the logits.
            seen: (n,) bool, whether a network has learnt from the sample; None where that is not
                known.
            count: parts.
        """
        if self.path.exists():
            LOGGER.info(f"{self.path} is moved to {move_aside(self.path)}")
        with atomic_path(self.path) as temporary:
            if self.path.suffix == ".npy":
                whole = np.concatenate([self.scores(k).of_folds for k in range(count)], axis=1)
                with open(temporary, "wb") as file:
                    np.save(file, whole)
            elif self.path.suffix == ".parquet":
                self.write_parquet(temporary, ids, networks, seen, count)
            else:
                for number, table in enumerate(self.tables(ids, networks, seen, count)):
                    # Part by part: the table of all samples need not fit into memory.
                    table.to_csv(temporary, mode="a", index=False, header=number == 0)
        write_json(self.record, {"identity": self.identity, "samples": len(ids)})
        shutil.rmtree(self.parts)

    def scores(self, number: int) -> Scores | OutputScores:
        return make_scores(load_array(self.part(number)), self.outputs)

    def tables(
        self, ids: np.ndarray, networks: Sequence[str], seen: np.ndarray | None, count: int
    ) -> Iterator[pd.DataFrame]:
        """Yield the rows of each part: id, probability, spread, fold0, ..., learnt_from.

        Of several outputs: id, a column of each and its spread, fold0_<output>, ..., learnt_from;
        of several classes also the most probable one, as `class`.
        """
        import pandas as pd

        first = 0
        for number in range(count):
            scores = self.scores(number)
            rows = slice(first, first + scores.logits.shape[1])
            columns = {"id": ids[rows]}
            if isinstance(scores, OutputScores):
                columns |= columns_of_outputs(scores, networks)
            else:
                columns |= {"probability": scores.probability, "spread": scores.spread}
                columns |= dict(zip(networks, scores.of_folds, strict=True))
            if seen is not None:
                columns["learnt_from"] = seen[rows]
            first = rows.stop
            yield pd.DataFrame(columns)

    def write_parquet(
        self,
        path: Path,
        ids: np.ndarray,
        networks: Sequence[str],
        seen: np.ndarray | None,
        count: int,
    ) -> None:
        import pyarrow
        import pyarrow.parquet

        writer = None
        for table in self.tables(ids, networks, seen, count):
            part = pyarrow.Table.from_pandas(table, preserve_index=False)
            if writer is None:
                writer = pyarrow.parquet.ParquetWriter(path, part.schema)
            writer.write_table(part)
        if writer is not None:
            writer.close()


def columns_of_outputs(scores: OutputScores, networks: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the columns of several outputs: values, spreads, and the values of each fold."""
    columns: dict[str, np.ndarray] = {}
    values, spread = scores.values, scores.spread
    target = scores.outputs.target
    if target.kind == "classes":
        likeliest = np.stack([values[name] for name in target.outputs]).argmax(0)
        columns["class"] = np.array(target.outputs)[likeliest]
    for name in values:
        columns |= {name: values[name], f"{name}_spread": spread[name]}
    names = output_names(scores.outputs)
    for network, given in zip(networks, scores.of_folds, strict=True):
        columns |= {f"{network}_{name}": given[:, i] for i, name in enumerate(names)}
    return columns
