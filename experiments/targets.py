"""What a network predicts: one description that training, predictions, scores and reports take.

`Config.targets` is one of

    BinaryTarget      a signal or none: the competition's, and the default; also soft labels
    ClassTarget       one of several classes
    LabelTarget       several labels, each present or not
    RegressionTarget  one or more numbers

and `Config.side_targets` are quantities that a network predicts beside it, known of some samples
alone, as the merger time of an injection (`experiments/side_targets.py`).

All become columns of numbers. A sample has as many columns as the network has outputs: those of the
target first, then one of each side target, NaN where it is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from configuration.config_class import ConfigMeta
from configuration.json_types import to_plain
from experiments.quantities import Quantity
from experiments.side_targets import SideTarget, build_side_targets
from runtime.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

REGRESSION_STRATA = 10  # parts of equal size by which numbers are stratified over the folds


class LogitOutputs:
    """Outputs that are logits, each of a probability of its own."""

    def to_log_odds(self, outputs: np.ndarray) -> np.ndarray:
        """Return what metrics take of outputs (..., outputs)."""
        return outputs

    def to_values(self, outputs: np.ndarray) -> np.ndarray:
        """Return the probabilities (..., outputs)."""
        return expit(outputs)


@dataclass(frozen=True)
class BinaryTarget(LogitOutputs):
    """A signal (1) or none (0), a logit; the competition's rules are the default.

    Args:
        column: of the training table.
        soft: also take numbers between 0 and 1. Metrics that need classes round them.
        learn_from: another column, of numbers from 0 to 1 such as another network's probabilities,
            which is learnt in the place of `column`. Validation and scores keep to `column`.
    """

    kind: ClassVar[str] = "binary"
    signal: ClassVar[int] = 0  # the output that says how much a sample looks like a signal

    column: str = "target"
    soft: bool = False
    learn_from: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the training table."""
        return (self.column,) if self.learn_from is None else (self.column, self.learn_from)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return ("probability",)

    def read(self, table: pd.DataFrame, path: str) -> np.ndarray:
        """Return the true targets (n, 1) of a table; errors name its `path`."""
        return read_shares(table, path, (self.column,), soft=self.soft)

    def read_learnt(self, table: pd.DataFrame, path: str) -> np.ndarray:
        """Return the targets (n, 1) that are learnt."""
        if self.learn_from is None:
            return self.read(table, path)
        return read_shares(table, path, (self.learn_from,), soft=True)

    def strata(self, values: np.ndarray, cv: int) -> np.ndarray:
        """Return the number of the part (n,) that each of the true targets (n, 1) belongs to."""
        return np.round(values[:, 0])


@dataclass(frozen=True)
class ClassTarget:
    """One of several classes, a softmax over as many outputs.

    Args:
        names: of the classes, as the column holds them.
        column: of the training table.
        soft: the table has a column of each class's name instead, with probabilities that sum to 1.
        signal_class: the one that is a signal, by which runs are stacked and strain is searched;
            None for none.

    Raises:
        UserError: fewer than two names, one is there twice, or `signal_class` is none of them.
    """

    kind: ClassVar[str] = "classes"

    names: Sequence[str] = ()
    column: str = "target"
    soft: bool = False
    signal_class: str | None = None

    def __post_init__(self) -> None:
        check_names("ClassTarget: names", self.names, least=2)
        check_signal("ClassTarget: signal_class", self.signal_class, self.names)

    @property
    def signal(self) -> int | None:
        return find_signal(self.signal_class, self.names)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.names) if self.soft else (self.column,)

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(self.names)

    def read(self, table: pd.DataFrame, path: str) -> np.ndarray:
        """Return the probabilities (n, classes) of a table."""
        if self.soft:
            shares = read_shares(table, path, self.columns, soft=True)
            wrong = np.abs(shares.sum(1) - 1) > 1e-3
            if wrong.any():
                row = int(wrong.argmax())
                raise UserError(
                    f"{path}, row {row + 2}: the probabilities of {', '.join(self.names)} sum to "
                    f"{shares[row].sum():g}, expected 1"
                )
            return shares
        words = table[self.column].astype(str).str.strip().to_numpy()
        known = {name: number for number, name in enumerate(self.names)}
        numbers = np.array([known.get(word, -1) for word in words])
        if (numbers < 0).any():
            row = int((numbers < 0).argmax())
            raise UserError(
                f"{path}, row {row + 2}: the {self.column} of {table['id'].iloc[row]!r} is "
                f"{words[row]!r}{nearest(words[row], self.names)}: expected one of "
                f"{', '.join(self.names)}; name all classes with --set targets.names=[...]"
            )
        return np.eye(len(self.names))[numbers]  # (n,) -> (n, classes)

    def read_learnt(self, table: pd.DataFrame, path: str) -> np.ndarray:
        return self.read(table, path)

    def strata(self, values: np.ndarray, cv: int) -> np.ndarray:
        return values.argmax(1)

    def to_log_odds(self, outputs: np.ndarray) -> np.ndarray:
        """Return the log-odds (..., classes) of each class against all others.

        With p_c = e^(x_c) / sum_k e^(x_k), log p_c / (1 - p_c) = x_c - log sum_(k != c) e^(x_k).
        """
        outputs = np.asarray(outputs, np.float64)
        found = np.empty_like(outputs)
        for number in range(outputs.shape[-1]):
            others = np.delete(outputs, number, axis=-1)
            found[..., number] = outputs[..., number] - np.logaddexp.reduce(others, axis=-1)
        return found

    def to_values(self, outputs: np.ndarray) -> np.ndarray:
        """Return the probabilities (..., classes)."""
        return expit(self.to_log_odds(outputs))


@dataclass(frozen=True)
class LabelTarget(LogitOutputs):
    """Several labels, each present or not, whatever the others are: one logit each.

    Args:
        names: of the columns of the training table, which hold 0 or 1.
        soft: also take numbers between 0 and 1.
        signal_label: the label that is a signal; see `ClassTarget`.

    Raises:
        UserError: no name, one is there twice, or `signal_label` is none of them.
    """

    kind: ClassVar[str] = "labels"

    names: Sequence[str] = ()
    soft: bool = False
    signal_label: str | None = None

    def __post_init__(self) -> None:
        check_names("LabelTarget: names", self.names, least=1)
        check_signal("LabelTarget: signal_label", self.signal_label, self.names)

    @property
    def signal(self) -> int | None:
        return find_signal(self.signal_label, self.names)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.names)

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(self.names)

    def read(self, table: pd.DataFrame, path: str) -> np.ndarray:
        """Return the labels (n, names) of a table."""
        return read_shares(table, path, self.columns, soft=self.soft)

    def read_learnt(self, table: pd.DataFrame, path: str) -> np.ndarray:
        return self.read(table, path)

    def strata(self, values: np.ndarray, cv: int) -> np.ndarray:
        """Return the number of each sample's pattern of labels; those rarer than `cv` are one."""
        _, pattern, counts = np.unique(
            np.round(values), axis=0, return_inverse=True, return_counts=True
        )
        pattern = pattern.reshape(-1)  # numpy 2.0 returns (n, 1)
        return np.where(counts[pattern] < cv, -1, pattern)


@dataclass(frozen=True)
class RegressionTarget:
    """One or more numbers. The network learns (value - center) / scale.

    Args:
        names: of the columns of the training table.
        log: learn the logarithm of the value; center and scale are then those of the logarithm.
        center, scale: one number for all columns, or one for each.

    Raises:
        UserError: no name, one is there twice, or a number of center or scale that is of no use.
    """

    kind: ClassVar[str] = "numbers"
    signal: ClassVar[int | None] = None

    names: Sequence[str] = ()
    log: bool = False
    center: float | Sequence[float] = 0.0
    scale: float | Sequence[float] = 1.0

    def __post_init__(self) -> None:
        check_names("RegressionTarget: names", self.names, least=1)
        for key in ("center", "scale"):
            value = getattr(self, key)
            if isinstance(value, list | tuple) and len(value) != len(self.names):
                raise UserError(
                    f"RegressionTarget: {key} = {value}: expected one number, or one for each of "
                    f"{', '.join(self.names)}"
                )
        _ = self.quantities  # checks the numbers

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """How each column becomes an output."""
        pairs = (
            value if isinstance(value, list | tuple) else [value] * len(self.names)
            for value in (self.center, self.scale)
        )
        return tuple(
            Quantity(name, self.log, center, scale)
            for name, center, scale in zip(self.names, *pairs, strict=True)
        )

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.names)

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(self.names)

    def read(self, table: pd.DataFrame, path: str) -> np.ndarray:
        """Return what the network learns of a table, (n, names)."""
        columns = []
        for quantity in self.quantities:
            values = read_numbers(table, path, quantity.name)
            if self.log and not (values > 0).all():
                row = int((values <= 0).argmax())
                raise UserError(
                    f"{path}, row {row + 2}: the {quantity.name} is {values[row]:g}, which has no "
                    f"logarithm: --set targets.log=false"
                )
            columns.append(quantity.encode(values))
        return np.stack(columns, axis=1)

    def read_learnt(self, table: pd.DataFrame, path: str) -> np.ndarray:
        return self.read(table, path)

    def strata(self, values: np.ndarray, cv: int) -> np.ndarray:
        """Return which tenth each sample is in, by the first number; fewer parts of few samples."""
        parts = max(min(REGRESSION_STRATA, len(values) // cv), 1)
        rank = np.argsort(np.argsort(values[:, 0], kind="stable"), kind="stable")
        return rank * parts // len(values)

    def to_log_odds(self, outputs: np.ndarray) -> np.ndarray:
        return self.to_values(outputs)  # metrics of numbers are in the units of the table

    def to_values(self, outputs: np.ndarray) -> np.ndarray:
        """Return the values (..., names) in the units of the table."""
        columns = [
            quantity.decode(np.asarray(outputs[..., i], np.float64))
            for i, quantity in enumerate(self.quantities)
        ]
        return np.stack(columns, axis=-1)


Target = BinaryTarget | ClassTarget | LabelTarget | RegressionTarget
TARGETS = {cls.__name__: cls for cls in (BinaryTarget, ClassTarget, LabelTarget, RegressionTarget)}


# --- target and side targets together ---------------------------------------------------------


@dataclass(frozen=True)
class Outputs:
    """All that the network of a config puts out.

    Attributes:
        target: what is learnt and scored.
        sides: what is predicted beside it.
    """

    target: Target
    sides: tuple[SideTarget, ...] = ()

    @property
    def count(self) -> int:
        """Outputs of the target, K; those of side targets follow."""
        return len(self.target.outputs)

    @property
    def width(self) -> int:
        """Outputs of the network, K + S."""
        return self.count + len(self.sides)

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing but the logit of a signal."""
        return self.target.kind == "binary" and not self.sides

    def main(self, columns: np.ndarray) -> np.ndarray:
        """Return the columns (..., K) of the target, of (..., K + S)."""
        return columns[..., : self.count]

    def side(self, columns: np.ndarray, number: int) -> np.ndarray:
        """Return the column (...,) of a side target."""
        return columns[..., self.count + number]

    def signal_logits(self, outputs: np.ndarray, where: str) -> np.ndarray:
        """Return the log-odds (...,) of a signal, of outputs (..., K + S).

        Raises:
            UserError: no output is one of a signal.
        """
        if self.target.signal is None:
            advice = {
                "classes": "name its class with --set targets.signal_class=NAME",
                "labels": "name its label with --set targets.signal_label=NAME",
            }.get(self.target.kind, "only runs that tell signals from noise can be used here")
            raise UserError(
                f"{where} predicts {', '.join(self.target.outputs)}, and none of them is said to "
                f"be a signal: {advice}"
            )
        main = self.main(outputs)
        if self.target.kind == "classes":
            main = self.target.to_log_odds(main)
        return main[..., self.target.signal]


def outputs_of(config: ConfigMeta) -> Outputs:
    """Return what the network of a config puts out.

    Raises:
        UserError: the target or a side target makes no sense.
    """
    outputs = Outputs(config.targets.build(), build_side_targets(config))
    names = [*outputs.target.outputs, *(side.name for side in outputs.sides)]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise UserError(
            f"{doubled!r} is predicted twice by targets and side_targets: leave one of them out"
        )
    return outputs


def columns_of_tables(config: ConfigMeta) -> tuple[str, ...]:
    """Return the columns that the tables of training and of test samples both have.

    The competition's table of test samples has a number in the place of each target. Those of other
    targets need no such column.
    """
    target = config.targets.build()
    has_target = target.kind == "binary" and target.column == "target"
    return ("id", "target") if has_target else ("id",)


def outputs_from_record(plain: Mapping[str, Any], where: str) -> Outputs:
    """Return what the network of a run puts out, from its config.json.

    Args:
        plain: the content; runs that are older than these settings have one logit.
        where: the file, for messages.

    Raises:
        UserError: the record is damaged.
    """
    recorded = plain.get("targets")
    if recorded is None:
        return Outputs(BinaryTarget())
    try:
        target = TARGETS[recorded["class"]](**without_class(recorded))
        sides = [
            {"name": side} if isinstance(side, str) else without_class(side)
            for side in plain.get("side_targets") or ()
        ]
        return Outputs(target, tuple(SideTarget(**side) for side in sides))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where} describes no target ({error!r}): restore it") from error


def without_class(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "class"}


def without_default_targets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without target and side targets where they are the competition's.

    They are as in records that are older than these settings, whose digests must still match.
    """
    defaults = {"targets": {"class": BinaryTarget.__name__}, "side_targets": []}
    return {
        key: value
        for key, value in settings.items()
        if key not in defaults or to_plain(value) not in (defaults[key], None)
    }


# --- reading and checking ---------------------------------------------------------------------


@dataclass(frozen=True)
class TrainingTargets:
    """The targets of the rows of a training table, with those of side targets, (n, K + S) each.

    Attributes:
        true: what rows are validated and scored by.
        learnt: what is learnt; the same but for soft labels of another column.
    """

    true: np.ndarray
    learnt: np.ndarray


def read_numbers(table: pd.DataFrame, path: str, column: str) -> np.ndarray:
    """Return a column (n,) as float64.

    Raises:
        UserError: there is no such column, or a field is no finite number.
    """
    import pandas as pd

    check_columns_of_table(table, path, (column,))
    numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(
            f"{path}, row {row + 2}: the {column} {table[column].iloc[row]!r} is not a number"
        )
    return numbers


def read_shares(
    table: pd.DataFrame, path: str, columns: Sequence[str], *, soft: bool
) -> np.ndarray:
    """Return columns (n, K) of 0 and 1, or with `soft` of numbers from 0 to 1.

    Raises:
        UserError: a column is missing, or a field is something else.
    """
    found = np.stack([read_numbers(table, path, column) for column in columns], axis=1)
    wrong = ~((found >= 0) & (found <= 1)) if soft else ~np.isin(found, (0.0, 1.0))
    if wrong.any():
        row, number = np.argwhere(wrong)[0]
        name = table["id"].iloc[row]
        expected = "0 to 1" if soft else "0 or 1"
        raise UserError(
            f"{path}, row {row + 2}: the {columns[number]} of {name!r} is {found[row, number]:g}, "
            f"expected {expected}: restore the table, or correct the row"
            + ("" if soft else "; --set targets.soft=true takes soft labels")
        )
    return found


def check_columns_of_table(table: pd.DataFrame, path: str, columns: Sequence[str]) -> None:
    """Refuse a table that lacks a column.

    Raises:
        UserError: it does.
    """
    for column in columns:
        if column not in table.columns:
            raise UserError(
                f"{path} has no column {column!r}, only {', '.join(table.columns)}: add it, or "
                f"change the target of the experiment"
            )


def check_names(where: str, names: Sequence[str], least: int) -> None:
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise UserError(f"{where} = {names!r}: expected a list of names, e.g. [noise,signal]")
    if len(names) < least or len(set(names)) < len(names):
        raise UserError(f"{where} = {list(names)}: expected {least} or more, each only once")


def check_signal(where: str, signal: str | None, names: Sequence[str]) -> None:
    if signal is not None and signal not in names:
        raise UserError(
            f"{where} = {signal!r}{nearest(signal, names)}: expected one of {', '.join(names)}"
        )


def find_signal(signal: str | None, names: Sequence[str]) -> int | None:
    return None if signal is None else list(names).index(signal)


def expit(logits: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), without overflow."""
    from scipy.special import expit

    return expit(logits)
