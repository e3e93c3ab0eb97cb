"""What does ONNX give and cost: differences in logits, size, and samples a second beside torch?

    python -m benchmarks.experiments.export --out benchmarks/results --samples FOLDER
    python -m benchmarks.experiments.export --configs Baseline --set KEY=VALUE    # prints alone

Each experiment of `CONFIGS` is written by export.py's own functions, one network with weights that
were drawn, and run by onnxruntime. The network's batch norms are first given the statistics of
noise, so that logits are of the size of trained ones. Differences are the largest in a logit, on
noise and, with `--samples`, on the first samples (`*.npy`) of a folder; where they exceed what
export.py takes without a question, both sides are compared with the network in float64. Both then
score the same noise in turn. Needs the extra `export`, and for Wave07 the extra `sim`.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement, markdown_table
from benchmarks.harness.timing import Spread, interleave, paired_ratios
from configuration.config_class import ConfigMeta
from configuration.config_references import load_config
from configuration.overrides import override
from experiments.building import build_model
from experiments.export_check import FACTOR, LARGEST_ERROR, TOLERANCE, Comparison, compare_with_run
from experiments.export_files import SUFFIXES, open_export, random_strain, write_export
from experiments.fold_record import FoldRecord
from experiments.predictor import Predictor
from runtime.command_line import CommandLine, run_command
from runtime.errors import UserError
from training.checkpoints import content_digest, save_checkpoint

CONFIGS = ("Demo", "Wave07", "Spec01", "Nspec16", "Baseline", "Nspec22")
SAMPLES = 8  # of a folder, compared beside noise
BATCH = 4  # noise samples that are timed; images of several of these networks are large


@dataclass(frozen=True)
class Exported:
    """What was found of one experiment.

    Attributes:
        config: its class name.
        row: the speeds, side by side.
        comparison: of the file with the run.
        megabytes: of the file; parameters: of the network.
    """

    config: str
    row: Measurement
    comparison: Comparison
    megabytes: float
    parameters: int


def make_predictor(config: ConfigMeta, folder: Path, seed: int = 0) -> Predictor:
    """Return a predictor with one network of drawn weights, as if it had been trained."""
    torch.manual_seed(seed)
    network = build_model(config)
    path = folder / "fold0.pt"
    save_checkpoint(path, {"model": network.state_dict()})
    record = FoldRecord(path, content_digest(network.state_dict()), None)
    predictor = Predictor(config, [record], torch.device("cpu"))
    settle_statistics(predictor)
    return predictor


@torch.no_grad()
def settle_statistics(predictor: Predictor, count: int = 8) -> None:
    """Give batch norms the mean and variance of noise: those of a new network are 0 and 1.

    Without, a deep network multiplies its input by some factor at every layer, and logits leave
    the range in which differences mean anything.
    """
    (network,) = predictor.networks
    norms = [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    network.train()
    strain = random_strain(predictor, count)
    if predictor.norm_factor is not None:  # as in `Predictor.forward`
        strain = strain / torch.tensor(predictor.norm_factor)[:, None]  # (detector,) -> (.., 1)
    predictor.hook.forward_test(network, predictor.preparation({"waveform": strain}))
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def read_samples(folder: Path | None, predictor: Predictor) -> np.ndarray | None:
    """Return the first samples of a folder, (n, detector, time) float32; None without a folder.

    Raises:
        UserError: it holds none of the experiment's shape.
    """
    if folder is None:
        return None
    paths = sorted(folder.rglob("*.npy"))[:SAMPLES]
    found = [np.load(path).astype(np.float32) for path in paths]
    shape = predictor.observation.sampling.shape
    if not found or any(sample.shape != shape for sample in found):
        raise UserError(f"--samples {folder}: expected .npy files of the shape {shape}")
    return np.stack(found)


def measure_config(
    config: ConfigMeta,
    folder: Path,
    rounds: int,
    samples: Path | None = None,
    kind: str = "onnx",
    least_seconds: float = 0.0,
) -> Exported:
    """Export one experiment, compare it with torch and time both.

    Raises:
        UserError: it cannot be exported, or a package is missing.
    """
    predictor = make_predictor(config, folder)
    path = folder / f"network{SUFFIXES[kind]}"
    write_export(predictor, kind, path)
    score = open_export(kind, path, predictor)
    comparison = compare_with_run(predictor, score, read_samples(samples, predictor))
    strain = random_strain(predictor, BATCH).numpy()
    times = interleave(
        {"ours": lambda: score(strain), "theirs": lambda: predictor.score(strain)},
        torch.device("cpu"),
        rounds,
        least_seconds,
        warm_up=1,
    )
    rates = {name: [len(strain) / seconds for seconds in times[name]] for name in times}
    megabytes = path.stat().st_size / 1e6
    parameters = sum(p.numel() for network in predictor.networks for p in network.parameters())
    row = Measurement(
        f"export.{config.name}",
        f"samples a second of {config.__name__} in {kind}",
        "the run in torch",
        paired_ratios(rates["ours"], rates["theirs"]),
        "×",
        True,
        {},
        Spread.of(rates["ours"]),
        Spread.of(rates["theirs"]),
        "samples/s",
        settings={"batch": len(strain), "threads": torch.get_num_threads()},
        extra={
            "rounds": rounds,
            "differences": comparison.differences,
            "standard_deviation_of_logits": comparison.spread,
            # of the file and of the run from float64; only where they differ from one another
            "from_float64": None
            if comparison.is_near
            else [comparison.export_error, comparison.run_error],
            "accepted": comparison.is_accepted,
            "megabytes": megabytes,
            "parameters": parameters,
        },
    )
    return Exported(config.__name__, row, comparison, megabytes, parameters)


def format_exported(found: Sequence[Exported], failed: dict[str, str]) -> list[str]:
    """Return a table of what was found, Markdown."""
    rows = []
    for each in found:
        judged, differences = each.comparison, each.comparison.differences
        rows.append(
            [
                each.config,
                f"{differences['noise']:.1e}",
                f"{differences['samples']:.1e}" if "samples" in differences else "-",
                f"{judged.spread:.3g}",
                "-" if judged.is_near else f"{judged.export_error:.1e}, {judged.run_error:.1e}",
                "taken" if judged.is_accepted else "refused",
                f"{each.megabytes:.1f} MB",
                f"{each.parameters / 1e6:.2f} M",
                f"{each.row.ours.median:.3g}",
                f"{each.row.theirs.median:.3g}",
                f"{each.row.figure.median:.2f} ×",
            ]
        )
    head = (
        "experiment",
        "largest difference of a logit, noise",
        "on samples",
        "spread of the logits",
        "from float64: file, run",
        "by export.py",
        "file",
        "parameters",
        "samples/s in onnxruntime",
        "samples/s in torch",
        "ratio",
    )
    lines = list(markdown_table(head, rows)) if rows else []
    rule = (
        f"A file that differs by more than {TOLERANCE:g} is judged by the network in float64, in "
        f"units of the spread of the logits, or of 1 if that is less: it may be {TOLERANCE:g} off, "
        f"or {FACTOR} times what the run itself is off if that is at most {LARGEST_ERROR:g}."
    )
    lines += ["", rule]
    return lines + [f"{name} could not be exported: {why}." for name, why in failed.items()]


def measure(
    settings: BenchmarkSettings,
    samples: Path | None = None,
    chosen: Sequence[str] = (),
    changes: Sequence[str] = (),
) -> Findings:
    """Return what was found of the experiments.

    Args:
        settings: of the benchmark.
        samples: folder of samples, or None.
        chosen: experiments in place of `CONFIGS`.
        changes: settings of all of them.
    """
    import configs  # noqa: F401 - importing it registers the experiments

    rounds = settings.rounds(5)
    found, failed = [], {}
    for name in chosen or settings.choose(cpu=CONFIGS, cuda=CONFIGS, quick=CONFIGS[:1]):
        with tempfile.TemporaryDirectory(prefix="export_", dir=settings.folder) as folder:
            try:
                each = measure_config(
                    override(load_config(name), changes),
                    Path(folder),
                    rounds,
                    samples,
                    least_seconds=settings.least_seconds,
                )
            except UserError as error:  # one that cannot be exported is a finding as well
                failed[name] = str(error)
                print(f"{name}: {error}", flush=True)
                continue
        found.append(each)
        print("\n".join(format_exported([each], {})[:-2]), flush=True)
    return Findings(
        [each.row for each in found],
        {"ONNX, one network of each experiment": format_exported(found, failed)},
        {"failed": failed},
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandLine(add_help=False)
    parser.add_argument("--samples", type=Path)
    parser.add_argument("--configs", nargs="+", default=[])
    parser.add_argument("--set", nargs="+", default=[])
    args, rest = parser.parse_known_args(argv)
    if args.samples is not None and not args.samples.is_dir():
        raise UserError(f"--samples {args.samples} is not a folder: name one with .npy files")
    if (args.configs or args.set) and any(word.startswith("--out") for word in rest):
        raise UserError(
            "--configs and --set print figures, and --out records those of all experiments as they "
            "are: leave one of them out"
        )
    what = functools.partial(measure, samples=args.samples, chosen=args.configs, changes=args.set)
    return run_benchmark("export", __doc__, what, rest)


if __name__ == "__main__":
    run_command(main)
