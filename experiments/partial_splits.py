"""Splits that validate some of the samples, or none.

    HoldOut     one network: a share of the samples is validated, the others are trained on
    TimeSplit   the latest samples are validated by a network that was trained on earlier ones
    cv = 1      with any splitter that makes folds: one network, trained on all samples

Samples that no network validates have no out-of-fold logit, and `NOT_VALIDATED` in folds.npy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from configuration.class_with_arguments import thaw
from configuration.config_class import ConfigMeta
from experiments.run_records import NOT_VALIDATED
from runtime.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

Folds = list[tuple[np.ndarray, np.ndarray]]  # (training rows, validation rows) of each

HELD_OUT = 0.2  # the share that is validated by one network, unless the config says another

# The arguments of each, in `splitter_params`. Those of the default splitter are passed over.
ARGUMENTS = {
    "HoldOut": ("fraction", "random_state", "column"),
    "TimeSplit": ("fraction", "gap", "column"),
}
OF_THE_DEFAULT = ("shuffle", "random_state")


def check_arguments(config: ConfigMeta) -> dict[str, Any]:
    """Return the arguments of a splitter of this file.

    Raises:
        UserError: one is unknown, or a number makes no sense.
    """
    known = ARGUMENTS[config.splitter]
    params = thaw(config.splitter_params)
    for key in params:
        if key not in (*known, *OF_THE_DEFAULT):
            raise UserError(
                f"splitter_params of {config.splitter}: there is no {key!r}{nearest(key, known)}; "
                f"there are {', '.join(known)}"
            )
    fraction, gap = params.get("fraction", HELD_OUT), params.get("gap", 0)
    if not is_number(fraction) or not 0 < fraction < 1:
        raise UserError(
            f"splitter_params.fraction = {fraction!r}: expected a share between 0 and 1"
        )
    if not is_number(gap) or not 0 <= gap < np.inf:
        raise UserError(f"splitter_params.gap = {gap!r}: expected a number of 0 or more")
    if config.splitter == "HoldOut" and config.cv != 1:
        raise UserError(
            f"splitter = 'HoldOut' makes one split, and cv = {config.cv}: add --set cv=1"
        )
    if config.splitter == "TimeSplit" and params.get("fraction", 0) * config.cv >= 1:
        raise UserError(
            f"splitter_params.fraction = {params['fraction']} of the samples in each of "
            f"{config.cv} folds leaves none to begin with: lower it, or cv"
        )
    return params


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def train_on_all(count: int) -> Folds:
    """Return the only split of `count` samples: all are trained on, none is validated."""
    return [(np.arange(count), np.arange(0))]


def hold_out(config: ConfigMeta, targets: np.ndarray, groups: np.ndarray | None) -> Folds:
    """Return one split that validates a share of each class, or of the groups.

    Args:
        targets: (n,) 0 or 1.
        groups: (n,) text, samples of one group stay together; None where the config names none.

    Raises:
        UserError: there are too few samples or groups to hold some out.
    """
    from sklearn.model_selection import GroupShuffleSplit, StratifiedShuffleSplit

    params = check_arguments(config)
    cls = StratifiedShuffleSplit if groups is None else GroupShuffleSplit
    splitter = cls(
        1,
        test_size=params.get("fraction", HELD_OUT),
        # None would hold out other samples at each start
        random_state=params.get("random_state") or 0,
    )
    try:
        ((trained, validated),) = splitter.split(np.zeros(len(targets)), targets, groups)
    except ValueError as error:
        raise UserError(f"splitter = 'HoldOut' on {config.train_path}: {error}") from error
    return [(np.sort(trained), np.sort(validated))]


def split_by_time(config: ConfigMeta, times: np.ndarray) -> Folds:
    """Return splits that validate later samples than those that are trained on.

    In the order of their times, the last cv blocks are validated one by one, each by a network that
    is trained on all samples before it, as by scikit-learn's TimeSeriesSplit. Samples of one time
    are never on both sides. `gap` leaves out of the training what is not more than so much earlier
    than the block.

    Args:
        times: (n,) numbers.

    Raises:
        UserError: a block, or what is before it, is empty.
    """
    params = check_arguments(config)
    count, cv = len(times), config.cv
    share = params.get("fraction", HELD_OUT if cv == 1 else 1 / (cv + 1))
    # Rounded down to whole samples, but a share of 0.2 of 60 that is 11.999... is 12.
    size = int(share * count + 1e-9)
    ordered = np.sort(times)
    # A block begins with a time and not with a row, so that equal times stay together.
    starts = [ordered[count - size * left] for left in range(cv, 0, -1)] if size else []
    folds = []
    for start, end in zip(starts, [*starts[1:], np.inf], strict=True):
        validated = np.flatnonzero((times >= start) & (times < end))
        folds.append((np.flatnonzero(times < start - params.get("gap", 0)), validated))
    for fold, parts in enumerate(folds):
        for name, rows in zip(("before", "in"), parts, strict=True):
            if not len(rows):
                raise UserError(
                    f"splitter = 'TimeSplit': no sample of {config.train_path} is {name} the block "
                    f"that fold {fold} validates: lower splitter_params.gap or cv"
                )
    if not folds:
        raise UserError(
            f"splitter = 'TimeSplit': {config.train_path} has {count} samples, too few for "
            f"cv = {cv}: lower cv, or set splitter_params.fraction"
        )
    return folds


def read_times(config: ConfigMeta, column: str, words: pd.Series) -> np.ndarray:
    """Return the times (n,) float64 of a column of the training table.

    Raises:
        UserError: one is no finite number.
    """
    import pandas as pd

    times = pd.to_numeric(words, errors="coerce").to_numpy(np.float64)
    if not np.isfinite(times).all():
        row = int((~np.isfinite(times)).argmax())
        raise UserError(
            f"{config.train_path}, row {row + 2}: the {column} is {words.iloc[row]!r}, expected a "
            f"number such as a GPS time: correct it"
        )
    return times


def explain_validation(config: ConfigMeta, folds: np.ndarray) -> str | None:
    """Return in one sentence which samples are not validated; None where all are.

    Args:
        folds: (n,) of each training row, as `folds.fold_of_rows` returns them.
    """
    validated = int((folds != NOT_VALIDATED).sum())
    if validated == len(folds):
        return None
    if not validated:
        return (
            f"cv = {config.cv} trains on all {len(folds)} samples and validates none: the weights "
            f"of the last epoch are kept, and there is no out-of-fold score"
        )
    return (
        f"{config.splitter} validates {validated} of {len(folds)} samples: scores are of these, "
        f"and the others have no out-of-fold logits"
    )
