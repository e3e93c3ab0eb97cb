"""Time the toolkit beside other packages: `python -m benchmarks.rivals`.

Ours and theirs run in turn in one process, on the same inputs. Names on the command line take only
these packages; without any, all that are installed. The figures are printed, and recorded with
--out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.harness.command import BenchmarkSettings, Findings, parse_names, run_entry
from benchmarks.rivals.comparison import Comparisons, measure_comparison, version_of, why_not_usable
from benchmarks.rivals.of_audio import compare_nnaudio, compare_torchaudio
from benchmarks.rivals.of_bilby import compare_bilby
from benchmarks.rivals.of_ml4gw import compare_ml4gw
from benchmarks.rivals.of_pycbc import compare_pycbc
from benchmarks.rivals.of_training import compare_sklearn, compare_timm, compare_torch
from runtime.command_line import run_command

# Of each package: what must be importable, and its comparisons.
RIVALS: dict[str, tuple[tuple[str, ...], Comparisons]] = {
    "ml4gw": (("ml4gw", "lalsimulation"), compare_ml4gw),
    "pycbc": (("pycbc", "lalsimulation"), compare_pycbc),
    "bilby": (("bilby", "lalsimulation"), compare_bilby),
    "torchaudio": (("torchaudio",), compare_torchaudio),
    "nnAudio": (("nnAudio",), compare_nnaudio),
    "timm": (("timm",), compare_timm),
    "sklearn": (("sklearn",), compare_sklearn),
    "torch": ((), compare_torch),
}
DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # by name, where it is another


def measure_rivals(settings: BenchmarkSettings, names: Sequence[str]) -> Findings:
    """Return the rows of some packages, and why others have none."""
    rows, left_out, versions = [], [], {}
    for name in names:
        packages, comparisons = RIVALS[name]
        reason = why_not_usable(packages)
        if reason is not None:
            print(f"{name} is left out: {reason}", file=sys.stderr)
            left_out.append(f"- {name}: {reason}")
            continue
        versions[name] = version_of(DISTRIBUTIONS.get(name, name))
        rows += [measure_comparison(settings, each) for each in comparisons(settings)]
    known = ", ".join(f"{name} {number}" for name, number in versions.items())
    details = {"Versions of the other packages": [known]} if known else {}
    if left_out:
        details["Other packages that were left out"] = left_out
    return Findings(rows, details, {"rivals": versions})


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_names(argv, "-m benchmarks.rivals", __doc__, RIVALS, "PACKAGE", "comparison with")
    return run_entry(
        "rivals", args, lambda settings: measure_rivals(settings, args.names or list(RIVALS))
    )


if __name__ == "__main__":
    run_command(main)
