"""`--space KEY=VALUES`: the settings that a study draws, each from a range or from a list.

    lr=1e-4..1e-2:log                      a range, drawn uniformly in the logarithm
    model_params.dropout=0.0..0.5          a range
    model_params.dropout=0.0..0.5:step=0.1 some values of it, both ends included
    num_epochs=3..8                        whole numbers, where the setting takes no others
    criterion=[RankLoss,BCEWithLogitsLoss] one of a list, of anything that `--set` takes
    model_params.widths=[(4,8),(8,16)]     the same, of tuples

Keys are those of `--set`; `lr` is short for `optimizer_params.lr`. Every value goes to the
experiment as the word that `--set` would take, so that a trial can be repeated by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from configuration.config_class import ConfigMeta
from configuration.overrides import override, read_literal
from runtime.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

EXAMPLE = "e.g. --space lr=1e-4..1e-2:log 'model_params.widths=[(4,8),(8,16)]'"
NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"({NUMBER})\.\.({NUMBER})((?::.*)?)")
SHORT = {"lr": "optimizer_params.lr"}
# With another value of these, the scores of two trials cannot be compared; `name` is the trial's.
NOT_TUNED = {
    "name": "each trial has a name of its own",
    **dict.fromkeys(
        ("eval_metric", "cv", "splitter", "splitter_params", "debug"),
        "trials with different values have scores that cannot be compared",
    ),
    **dict.fromkeys(
        ("train_path", "test_path", "train_cache", "test_cache", "data_root", "observation"),
        "all trials learn from the same samples",
    ),
}


@dataclass(frozen=True)
class Dimension:
    """One setting that a study draws.

    Attributes:
        text: as it was typed, for messages.
        key: the path of the setting.
        low, high: the ends of a range, both included; None of a list.
        whole: whether a range is of whole numbers.
        log: whether a range is drawn uniformly in the logarithm.
        step: between the values of a range; None of one without steps.
        choices: the values of a list, as `--set` takes them; () of a range.
    """

    text: str
    key: str
    low: float | None = None
    high: float | None = None
    whole: bool = False
    log: bool = False
    step: float | None = None
    choices: tuple[str, ...] = ()

    def distribution(self) -> BaseDistribution:
        """Return what Optuna draws from."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        if self.whole:
            step = 1 if self.step is None else int(self.step)
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=step)
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def setting(self, value: Any) -> str:
        """Return the word of `--set` that gives the setting a value that was drawn."""
        return f"{self.key}={value}" if isinstance(value, str) else f"{self.key}={value!r}"

    def examples(self) -> list[Any]:
        """Return the values that are tried before the first trial: both ends, or every choice."""
        if self.choices:
            return list(self.choices)
        return [int(end) if self.whole else float(end) for end in (self.low, self.high)]


def read_space(config: ConfigMeta, words: Sequence[str]) -> tuple[Dimension, ...]:
    """Return the settings that the words of `--space` name, each checked against the experiment.

    Raises:
        UserError: there is none, one is not understood or named twice, or the experiment does not
            take one of its values.
    """
    if not words:
        raise UserError(f"--space names no setting: name one or more, {EXAMPLE}")
    space: list[Dimension] = []
    for word in words:
        dimension = read_dimension(config, word)
        if any(dimension.key == other.key for other in space):
            raise UserError(f"--space {word!r}: {dimension.key} is there twice: name it once")
        space.append(dimension)
    return tuple(space)


def read_dimension(config: ConfigMeta, word: str) -> Dimension:
    """Return what one word of `--space` names.

    Raises:
        UserError: as in `read_space`.
    """
    key, equals, values = (part.strip() for part in word.partition("="))
    if not equals or not key:
        raise UserError(f"--space {word!r}: expected KEY=LOW..HIGH or KEY=[A,B], {EXAMPLE}")
    key = SHORT.get(key, key)
    first = key.split(".")[0]
    if first in NOT_TUNED:
        raise UserError(f"--space {word!r}: {first} is not tuned, as {NOT_TUNED[first]}")
    if values.startswith("["):
        dimension = Dimension(word, key, choices=read_choices(word, values))
    else:
        dimension = read_range(config, word, key, values)
    for value in dimension.examples():
        try:
            override(config, [dimension.setting(value)])
        except UserError as error:
            raise UserError(f"--space {word!r}: {error}") from error
    return dimension


def read_choices(word: str, values: str) -> tuple[str, ...]:
    """Return the entries of a list as `--set` takes them.

    Raises:
        UserError: it is no list, or has fewer than two different entries.
    """
    entries = read_literal(values)
    if not isinstance(entries, list):
        raise UserError(f"--space {word!r}: expected a list like [A,B], closed by ']'")
    # Words stay as they are: 'RankLoss' is the name of a class, and --set looks it up.
    choices = tuple(entry if isinstance(entry, str) else repr(entry) for entry in entries)
    if len(set(choices)) < len(choices):
        raise UserError(f"--space {word!r}: an entry is there twice: name each once")
    if len(choices) < 2:
        raise UserError(
            f"--space {word!r}: a list needs two entries or more; --set gives a setting one value"
        )
    return choices


def read_range(config: ConfigMeta, word: str, key: str, values: str) -> Dimension:
    """Return a range.

    Raises:
        UserError: it is not understood, empty, or not positive where its logarithm is taken.
    """
    match = RANGE.fullmatch(values)
    if match is None:
        raise UserError(f"--space {word!r}: expected LOW..HIGH or a list like [A,B], {EXAMPLE}")
    low, high = float(match[1]), float(match[2])
    if not low < high:
        raise UserError(f"--space {word!r}: the range is empty: name the smaller number first")
    options = read_options(word, match[3])
    log, step = "log" in options, options.get("step")
    if log and low <= 0:
        raise UserError(f"--space {word!r}: a logarithmic range begins above 0")
    if log and step is not None:
        raise UserError(f"--space {word!r}: a logarithmic range has no steps: leave one out")
    if step is not None and not 0 < step <= high - low:
        raise UserError(f"--space {word!r}: expected a step above 0 and within the range")
    whole = all(number.lstrip("+-").isdecimal() for number in (match[1], match[2]))
    if whole and takes_fractions(config, key, low):
        whole = False  # dropout=0..1 is not a choice between two numbers
    if whole and step is not None and not step.is_integer():
        raise UserError(f"--space {word!r}: {key} takes whole numbers, and so must be the step")
    return Dimension(word, key, low, high, whole, log, step)


def read_options(word: str, text: str) -> Mapping[str, float]:
    """Return what follows a range, ':log' or ':step=0.1', by name; 0 where it has no value.

    Raises:
        UserError: it is something else.
    """
    options: dict[str, float] = {}
    for option in text.split(":")[1:]:
        name, _, value = option.partition("=")
        if name == "log" and not value:
            options["log"] = 0.0
        elif name == "step" and re.fullmatch(NUMBER, value):
            options["step"] = float(value)
        else:
            raise UserError(
                f"--space {word!r}: expected ':log' or ':step=NUMBER' after the range, got "
                f"':{option}'"
            )
    return options


def takes_fractions(config: ConfigMeta, key: str, low: float) -> bool:
    """Whether a setting takes other numbers than whole ones."""
    try:
        override(config, [f"{key}={low + 0.5}"])
    except UserError:
        return False
    return True
