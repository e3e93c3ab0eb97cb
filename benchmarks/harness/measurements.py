"""A measured figure with its target, and its row of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.harness.timing import Spread

KINDS = ("cpu", "cuda")
HEAD = (
    "what",
    "against",
    "measured",
    "target CPU",
    "target CUDA",
    "verdict",
    "ours",
    "theirs",
    "measured with",
)


@dataclass(frozen=True)
class Measurement:
    """A figure that compares two sides, e.g. a ratio of times, with its target.

    Args:
        key: its name within the results, e.g. `cwt.nspec16`.
        what: our side; `against`: the other.
        figure: the number that has a target: a ratio of times, or a difference.
        unit: of the figure, '×', 's', 'MB' or none.
        more_is_better: whether the target is a least value.
        targets: by kind of device, 'cpu' and 'cuda'; a kind that is not there has no target.
        ours, theirs: the two sides' own figures, in `side_unit`.
        side_unit: 's', 'MB' or 'samples/s'.
        settings: what decides the figure: batch size, threads, repeats, ...
        reason: why the target is missed, found by measuring.
        extra: further figures, e.g. the time spent waiting for data.
    """

    key: str
    what: str
    against: str
    figure: Spread
    unit: str
    more_is_better: bool
    targets: Mapping[str, float] = field(default_factory=dict)
    ours: Spread | None = None
    theirs: Spread | None = None
    side_unit: str = "s"
    settings: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Measurement:
        """Return the measurement that `to_plain` wrote; unknown keys are ignored."""
        # Files of later versions may have more keys.
        known = {key: value for key, value in plain.items() if key in cls.__dataclass_fields__}
        for key in ("figure", "ours", "theirs"):
            if known.get(key) is not None:
                known[key] = Spread(**known[key])
        return cls(**known)

    def verdict(self, kind: str) -> str | None:
        """Return 'reached' or 'missed' by the median, None where the device has no target."""
        if kind not in self.targets:
            return None
        target, figure = self.targets[kind], self.figure.median
        return (
            "reached"
            if (figure >= target if self.more_is_better else figure <= target)
            else ("missed")
        )

    def is_close(self, kind: str) -> bool:
        """Whether the target lies within the quartiles: another run may give another verdict."""
        return kind in self.targets and (self.figure.lower < self.targets[kind] < self.figure.upper)

    def target_text(self, kind: str) -> str:
        if kind not in self.targets:
            return "-"
        sign = "≥" if self.more_is_better else "≤"
        return f"{sign} {self.targets[kind]:g} {self.unit}".rstrip()

    def cells(self, kind: str) -> tuple[str, ...]:
        """Return the cells of the Markdown table, in the order of `HEAD`."""
        verdict = self.verdict(kind)
        if verdict is not None:
            verdict = "**missed**" if verdict == "missed" else verdict
            # Such a verdict may turn round with the next measurement.
            verdict += " (within the quartiles)" if self.is_close(kind) else ""
        settings = ", ".join(f"{key} {value}" for key, value in self.settings.items())
        return (
            self.what,
            self.against,
            format_spread(self.figure, self.unit),
            *(self.target_text(each) for each in KINDS),
            verdict or "-",
            format_side(self.ours, self.side_unit),
            format_side(self.theirs, self.side_unit),
            settings,
        )


# --- numbers as text -------------------------------------------------------------------------


def format_significant(value: float) -> str:
    """Format a number with three digits, never as a power of ten."""
    magnitude = abs(value)
    decimals = 0 if magnitude >= 100 else 1 if magnitude >= 10 else 2 if magnitude >= 1 else 3
    return f"{value:.{decimals}f}"


def format_duration(seconds: float) -> str:
    for scale, unit in ((1, "s"), (1e-3, "ms")):  # the first unit that gives 1 or more
        if abs(seconds) >= scale:
            return f"{format_significant(seconds / scale)} {unit}"
    return f"{format_significant(seconds / 1e-6)} µs"


def format_spread(spread: Spread, unit: str) -> str:
    """Return e.g. '11.2 (10.9 to 11.6) ×'."""
    text = format_significant(spread.median)
    if spread.count > 1:
        text += f" ({format_significant(spread.lower)} to {format_significant(spread.upper)})"
    return f"{text} {unit}".rstrip()


def format_side(spread: Spread | None, unit: str) -> str:
    if spread is None:
        return "-"
    if unit == "s":
        return format_duration(spread.median)
    return f"{format_significant(spread.median)} {unit}"


# --- tables ----------------------------------------------------------------------------------


def markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def format_missed_targets(rows: Sequence[Measurement], kind: str) -> list[str]:
    """Return a line of Markdown for each missed target: the figure and the reason."""
    return [
        f"- {row.what}: {format_spread(row.figure, row.unit)}, target {row.target_text(kind)}: "
        f"{row.reason or 'no reason has been measured yet.'}"
        for row in rows
        if row.verdict(kind) == "missed"
    ]
