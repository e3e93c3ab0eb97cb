"""Networks of a finished run, applied to windows of real strain.

A network was trained on strain with the noise of the design curves. Real strain is made to look
like that: where the config whitens first, its `Whiten` gets the matrices of the strain itself;
where it does not, the strain is whitened by its own PSD and coloured with the design curve, and
the config's own transforms follow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configuration.json_types import to_plain
from configuration.parts import Part, thaw
from configuration.rules import ConfigMeta
from experiments.building import build_model
from physics import noise
from physics.constants import DETECTORS, NUM_SAMPLES, STRAIN_UNIT
from runtime.errors import UserError
from runtime.files import read_json
from search.conditioning import colouring
from training.checkpoints import load_model
from training_extras import Preparation, find_views
from transforms import Compose, DropChannel, Normalize, Scale, Whiten


def decisive(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a config, in JSON's own types, decides how a network answers to strain."""
    return {
        "model": plain["model"],
        "model_params": plain["model_params"],
        "dataset_params.norm_factor": plain["dataset_params"].get("norm_factor"),
        "transforms.test": plain["transforms"]["test"],
        "transforms2.test": (plain["transforms2"] or {}).get("test"),
    }


def find_weights(folder: Path, config: ConfigMeta) -> list[Path]:
    """Return the weights of every fold of a run that has some.

    Raises:
        UserError: there are none, or the run was trained with other settings.
    """
    found = [path for path in folder.glob("fold*.pt") if re.fullmatch(r"fold\d+\.pt", path.name)]
    if not found:
        raise UserError(
            f"{folder} has no weights (fold0.pt and on): train {config.__name__} first, or name "
            f"the folder that holds it with --results"
        )
    settings = folder / "config.json"
    if settings.exists():
        now = decisive(to_plain(config))
        try:
            before = decisive(read_json(settings))
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{settings} is not what a run writes of its settings ({error!r}): restore it, or "
                f"remove it to go without this check"
            ) from error
        changed = [key for key in now if now[key] != before[key]]
        if changed:
            raise UserError(
                f"the networks in {folder} were trained with another {', '.join(changed)}: give "
                f"--config and --set as they were trained"
            )
    return sorted(found, key=lambda path: int(path.stem[4:]))


def sees_zeros(config: ConfigMeta) -> bool:
    """Whether a config's training silences whole detectors, so that silence is nothing new."""
    return any(
        part.cls is DropChannel
        and (part.params.get("always_apply", True) or part.params.get("p", 0.5) > 0)
        for part in config.transforms["train"] or ()
    )


def adapt(
    parts: Sequence[Part] | None,
    whitening: Mapping[str, np.ndarray],
    norm_factor: Sequence[float] | None = None,
) -> Compose:
    """Return a config's transforms for strain whose noise is not that of the design curves.

    Args:
        parts: the config's chain.
        whitening: C^(-1/2) of the strain of each detector that is there, (4096, 4096) in 1 /
            1e-21. The others' channels hold noise of the design curve, or nothing.
        norm_factor: what the config's data set divides the channels by.

    Returns:
        A module that takes strain (batch, detector, 4096).
    """
    parts = list(parts or ())
    if parts and parts[0].cls is Whiten and norm_factor is None:
        own = {k: v for k, v in thaw(parts[0].params).items() if k not in ("psds", "matrices")}
        matrices = [
            whitening[name] if name in whitening else noise.whitening_matrix(name)
            for name in DETECTORS
        ]
        unit = own.setdefault("unit", STRAIN_UNIT)
        matrices = [matrix * (unit / STRAIN_UNIT) for matrix in matrices]
        return Compose([Whiten(matrices=matrices, **own), *(part.build() for part in parts[1:])])
    matrices = [
        colouring(name) @ whitening[name] if name in whitening else np.eye(NUM_SAMPLES)
        for name in DETECTORS
    ]
    scale = [Normalize(factors=norm_factor)] if norm_factor is not None else []
    recolour = [Whiten(matrices=matrices, unit=STRAIN_UNIT), Scale(STRAIN_UNIT)]
    return Compose([*recolour, *scale, *(part.build() for part in parts)])


class WindowScorer:
    """The mean logit of the networks of all folds, over the views, for windows of strain.

    Args:
        config: of the run.
        weights: of its folds.
        device: where to compute.
        views: names of test-time views.
    """

    def __init__(
        self,
        config: ConfigMeta,
        weights: Sequence[Path],
        device: torch.device,
        views: Sequence[str] = ("identity",),
    ) -> None:
        self.config, self.device = config, device
        self.views = find_views(tuple(views))
        self.hook = config.hook.build()
        self.networks = []
        for path in weights:
            network = build_model(config)
            load_model(network, path)
            self.networks.append(network.to(device).eval())
        self.preparation: Preparation | None = None

    def adapt(self, whitening: Mapping[str, np.ndarray]) -> None:
        """Prepare for windows of a stretch, whose strain these matrices whiten."""
        config = self.config
        factor = config.dataset_params.get("norm_factor")
        second = None
        if config.transforms2 is not None:
            second = adapt(config.transforms2["test"], whitening, factor).to(self.device)
        first = adapt(config.transforms["test"], whitening, factor).to(self.device)
        self.preparation = Preparation(first, second)

    def release(self) -> None:
        """Forget the matrices of the last stretch."""
        self.preparation = None

    @torch.inference_mode()
    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """Return the logits (batch,) float64 of windows (batch, detector, 4096) in 1e-21."""
        strain = torch.from_numpy(np.asarray(windows, np.float32)).to(self.device) * STRAIN_UNIT
        batch = self.preparation({"waveform": strain})
        total = np.zeros(len(windows))
        for network in self.networks:
            for view in self.views:
                logits = self.hook.forward_test(network, view(batch))  # (batch, 1)
                total += logits[:, 0].double().cpu().numpy()
        return total / (len(self.networks) * len(self.views))
