"""Files of an exported run: ONNX, a program of torch, or weights; with a model card."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.exported_graph import ExportedGraph
from experiments.objectives import output_names
from experiments.observation_record import plain_config
from experiments.predictor import Predictor
from experiments.targets import Outputs
from experiments.weight_files import read_weight_file, write_weight_file
from physics.noise import NoiseGenerator
from runtime.errors import UserError
from runtime.files import atomic_path, read_json_object
from runtime.optional_packages import require
from runtime.versions import versions

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors"}
LARGEST_BATCH = 2**31 - 1

# strain (B, detector, time) -> logits (B, folds), or (B, folds, outputs) where there are several
Scorer = Callable[[np.ndarray], np.ndarray]


def write_export(predictor: Predictor, kind: str, path: Path) -> None:
    """Write a run in one of the formats of `SUFFIXES`, whole or not at all.

    Raises:
        UserError: a package is missing, or the graph cannot be written in this format.
    """
    with atomic_path(path) as temporary:
        if kind == "safetensors":
            write_weights(predictor, temporary)
            return
        # Slow to import, and private: torch raises it to those who save a program.
        from torch._export.serde.serialize import SerializeError

        graph = ExportedGraph(predictor).eval()
        # Two samples: torch takes sizes of 0 and 1 for fixed ones.
        example = random_strain(predictor, 2)
        with torch.no_grad():
            graph(example)  # operators that are made at the first batch are constants from now on
        # A largest size, as torch 2.6 takes no dimension that might be the largest integer.
        batch = ({0: torch.export.Dim("batch", max=LARGEST_BATCH)},)
        try:
            if kind == "torch":
                with torch.no_grad():
                    # Not strict, as is the default since torch 2.7: Python is run, not compiled.
                    program = torch.export.export(
                        graph, (example,), dynamic_shapes=batch, strict=False
                    )
                torch.export.save(program, temporary)
                return
            require("onnx", "export")
            require("onnxscript", "export")
            with torch.no_grad():
                program = torch.onnx.export(
                    graph,
                    (example,),
                    dynamo=True,
                    dynamic_shapes=batch,
                    input_names=["strain"],
                    output_names=list(graph.output_names),
                    verbose=False,
                )
            # Which column is which, for whoever has nothing but the file.
            names = json.dumps(output_names(predictor.outputs))
            program.model.metadata_props["outputs"] = names
            program.save(temporary)
        # The last two: torch 2.6 cannot save what runs under autocast for batches of any size.
        except (
            torch.onnx.errors.OnnxExporterError,
            torch._dynamo.exc.Unsupported,
            torch._dynamo.exc.UserError,
            SerializeError,
        ) as error:
            line = str(error).strip().splitlines()[0]
            raise UserError(
                f"{predictor.config.__name__} cannot be written as {kind} ({line}): use another "
                f"--format or a later torch; safetensors holds the weights of every network"
            ) from error


def write_weights(predictor: Predictor, path: Path) -> None:
    """Write the weights of all folds, 'fold0.<key>' and on, with the config in the metadata."""
    folds = {
        fold: network.state_dict()
        for fold, network in zip(predictor.folds, predictor.networks, strict=True)
    }
    records = dict(zip(map(str, predictor.folds), predictor.records, strict=True))
    described = {
        "weights": {fold: record.digest for fold, record in records.items()},
        # Weights that nothing is known of are taken as they are, as everywhere.
        "finished": {
            fold: record.finished or not record.is_known for fold, record in records.items()
        },
    }
    write_weight_file(path, folds, plain_config(predictor.config), described)


def open_export(kind: str, path: Path, predictor: Predictor) -> Scorer:
    """Return what scores strain with an exported file.

    Raises:
        UserError: a package is missing.
    """
    if kind == "onnx":
        onnxruntime = require("onnxruntime", "export")
        options = onnxruntime.SessionOptions()
        # As many as torch has: `measure_speed` compares the two.
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        return lambda strain: session.run(["logits"], {"strain": strain})[0]
    if kind == "torch":
        module = torch.export.load(path).module()

        def score(strain: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return module(torch.from_numpy(strain))[0].numpy()

        return score
    load_weights(path, predictor)
    return lambda strain: np.moveaxis(predictor.score(strain).logits, 0, 1)


def load_weights(path: Path, predictor: Predictor) -> None:
    """Put the weights of a safetensors file into the networks of a predictor."""
    content = read_weight_file(path)
    for fold, network in zip(predictor.folds, predictor.networks, strict=True):
        network.load_state_dict(content.folds[fold])


def random_strain(predictor: Predictor, count: int) -> torch.Tensor:
    """Return Gaussian noise (count, detector, time) float32 of what the run observes, in strain.

    White noise would not do: whitened by the detectors' curves it is thousands of standard
    deviations loud, and the logits of a matched filter, and their rounding errors, grow with it.
    """
    generator = torch.Generator().manual_seed(2021)
    return NoiseGenerator("cpu", predictor.observation).sample(count, generator)


def measure_speed(predictor: Predictor, score: Scorer, seconds: float = 2.0) -> dict[str, float]:
    """Return samples a second of the run in torch and of the export, side by side."""
    strain = random_strain(predictor, 16).numpy()
    both = {"torch": lambda: predictor.score(strain), "export": lambda: score(strain)}
    rounds = dict.fromkeys(both, 0)
    spent = dict.fromkeys(both, 0.0)
    for run in both.values():
        run()  # operators that are made at the first batch
    # In turns, so that whatever else the machine does slows both.
    while min(spent.values()) < seconds:
        for name, run in both.items():
            started = time.perf_counter()
            run()
            spent[name] += time.perf_counter() - started
            rounds[name] += 1
    return {name: rounds[name] * len(strain) / spent[name] for name in both}


def describe_outputs(outputs: Outputs) -> str:
    """Return in words what the graph of a run returns."""
    if outputs.is_plain:
        return "`logits` (batch, folds) and `probability` (batch,), their mean"
    names, width = ", ".join(f"`{name}`" for name in output_names(outputs)), outputs.width
    words = (
        f"`logits` (batch, folds, {width}), as the networks put them out, and `values` (batch, "
        f"{width}), the mean over the folds of probabilities or of numbers in the units of the "
        f"table, in the order {names}"
    )
    if outputs.target.signal is not None:
        words += "; `probability` (batch,) of a signal"
    return words


def make_card(
    predictor: Predictor,
    folder: Path,
    kind: str,
    path: Path,
    comparison: str,
    speed: Mapping[str, float],
) -> str:
    """Return the model card of an export, Markdown.

    Args:
        predictor: of the run.
        folder: of the run.
        kind: of the file.
        path: of the file.
        comparison: with the run, in words.
        speed: as `measure_speed` returns it.
    """
    config, observation = predictor.config, predictor.observation
    summary = folder / "summary.json"
    scores = read_json_object(summary) if summary.is_file() else {}
    description = " ".join((config.__doc__ or "").split())
    lines = [
        f"# {config.__name__} ({config.name})",
        "",
        *([description, ""] if description else []),
        f"- file: `{path.name}`, {path.stat().st_size / 1e6:.1f} MB, format {kind}",
        f"- input: float32 strain (batch, {observation.num_detectors}, {observation.num_samples}), "
        f"channels {', '.join(observation.detectors)}, {observation.sample_rate} Hz, "
        f"{observation.window:g} s, as recorded (a strain of 1e-21 is 1e-21)",
    ]
    if kind != "safetensors":
        lines.append(f"- output: {describe_outputs(predictor.outputs)}")
    lines += [
        f"- compared with the run: {comparison}",
        f"- samples a second on this machine's CPU: {speed['export']:.0f}, and "
        f"{speed['torch']:.0f} by the run itself; front-ends of Fourier transforms are "
        f"convolutions in the exported graph",
        "- weights: "
        + ", ".join(
            f"{name} `{record.digest}`"
            for name, record in zip(predictor.names, predictor.records, strict=True)
        ),
    ]
    for key, value in scores.items():
        if isinstance(value, int | float) and ("auc" in key):
            lines.append(f"- {key}: {value:.5f}")
    lines += [f"- {name} {version}" for name, version in versions().items()]
    plain: dict[str, Any] = plain_config(config)
    lines += ["", "```json", json.dumps(plain, indent=1), "```", ""]
    return "\n".join(lines)
