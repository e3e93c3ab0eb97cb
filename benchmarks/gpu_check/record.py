"""What the steps of a check found, as one JSON and one Markdown file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runtime.files import atomic_path, write_json

FORMAT = 1
OUTCOMES = ("passed", "failed", "cut short", "skipped")


@dataclass
class StepRecord:
    """One step of a check.

    Attributes:
        name: of the step.
        question: what it answers.
        outcome: one of `OUTCOMES`; None of a step that has not begun.
        seconds: that it took.
        reason: why it was skipped, or what failed.
        figures: what it found, by name.
        lines: Markdown below its row, such as a table of its own.
    """

    name: str
    question: str
    outcome: str | None = None
    seconds: float = 0.0
    reason: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


class CheckRecord:
    """A check of one device, written whole after every step.

    Args:
        folder: where gpu_check.json and gpu_check.md go.
        device: what `describe_device` says of it.
        conditions: date, revision, versions.
        budget: s that all steps together may take.
        rehearsed: whether everything was small, to see that it works.
    """

    def __init__(
        self,
        folder: Path,
        device: Mapping[str, Any],
        conditions: Mapping[str, Any],
        budget: float,
        rehearsed: bool,
    ) -> None:
        self.folder, self.device, self.conditions = folder, dict(device), dict(conditions)
        self.budget, self.rehearsed = budget, rehearsed
        self.began = time.monotonic()
        self.steps: list[StepRecord] = []

    @property
    def json_path(self) -> Path:
        return self.folder / "gpu_check.json"

    @property
    def markdown_path(self) -> Path:
        return self.folder / "gpu_check.md"

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def seconds_left(self) -> float:
        return self.budget - self.seconds

    @property
    def has_failed(self) -> bool:
        return any(step.outcome == "failed" for step in self.steps)

    def write(self) -> None:
        """Write both files; a check that is cut short leaves what it has found."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "format": FORMAT,
            "device": self.device,
            "conditions": self.conditions,
            "budget_seconds": self.budget,
            "seconds": round(self.seconds, 1),
            "rehearsed": self.rehearsed,
            "steps": [asdict(step) for step in self.steps],
        }
        write_json(self.json_path, content)
        with atomic_path(self.markdown_path) as temporary:
            temporary.write_text("\n".join(self.to_markdown()) + "\n", encoding="utf-8")

    def to_markdown(self) -> list[str]:
        """Return the lines of gpu_check.md."""
        versions = self.conditions.get("versions", {})
        packages = ", ".join(f"{name} {version}" for name, version in versions.items())
        lines = [
            f"# Check of {self.device['name']}",
            "",
            f"{self.conditions.get('date', '')}, revision {self.conditions.get('git_revision')}, "
            f"{packages}.",
        ]
        if self.rehearsed:
            lines += ["", "A rehearsal: everything is small, and the figures say nothing."]
        lines += ["", "| step | question | outcome | seconds |", "| --- | --- | --- | --- |"]
        for step in self.steps:
            outcome = step.outcome or "not begun"
            outcome += f": {as_cell(step.reason)}" if step.reason else ""
            lines.append(f"| {step.name} | {step.question} | {outcome} | {step.seconds:.0f} |")
        for step in self.steps:
            if step.lines:
                lines += ["", f"## {step.name}", "", *step.lines]
        return lines


def as_cell(text: str) -> str:
    """Return text as one cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
