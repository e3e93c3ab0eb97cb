"""Networks of a finished run, applied to windows of real strain.

How strain becomes windows that a network knows: search/stretch_windows.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from configuration.class_with_arguments import Part, thaw
from configuration.config_class import ConfigMeta
from experiments.building import build_model, build_transforms, observation_of
from experiments.observation_record import (
    KEY,
    explain_other_observation,
    plain_config,
    recorded_digest,
)
from experiments.targets import outputs_of, without_default_targets
from physics.constants import STRAIN_UNIT
from physics.observation import COMPETITION, Observation
from physics.population import COMPETITION_POPULATION
from runtime.errors import UserError
from runtime.files import read_json
from search.conditioning import colouring_matrix
from search.front_choice import LocalFront, choose_fronts
from search.stretch_windows import WholeWhitening
from training.checkpoints import content_digest, load_model
from training.hooks import TrainHook
from training_extras import WAVEFORMS, Preparation, find_views, prepare_views
from transforms import Compose, DropChannel, Normalize, Scale, Whiten

# Raise it when the same networks would give the same strain other scores: a search does not go on
# with the scores of an earlier version, nor take its background.
# 2: whitened noise has unit power where there is any, and windows are cut from whitened stretches.
SCORING = 2
WHITENED_BY = ("psds", "matrices")  # parameters of `Whiten`


def scoring_settings(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a config, in JSON types, that decide a network's output for strain."""
    return {
        "model": plain["model"],
        "model_params": plain["model_params"],
        "dataset_params.norm_factor": plain["dataset_params"].get("norm_factor"),
        "transforms.test": plain["transforms"]["test"],
        "transforms2.test": (plain["transforms2"] or {}).get("test"),
    }


def select_targets(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a config in JSON types says of its outputs; older ones say nothing."""
    return {key: plain[key] for key in ("targets", "side_targets") if key in plain}


def differences_from_competition(observation: Observation, arrival: float) -> dict[str, Any]:
    """Return what else decides the results of a search, where it is not as in the competition.

    Folders of searches that are older than other observations say nothing of them.

    Args:
        observation: of the networks.
        arrival: of the merger that a window shows best, s after the window begins.
    """
    found: dict[str, Any] = {}
    if observation.digest != COMPETITION.digest:
        found["observation"] = {**observation.to_plain(), "digest": observation.digest}
    if arrival != COMPETITION_POPULATION.middle_arrival(COMPETITION.window):
        found["arrival"] = arrival
    return found


def digest_weights(config: ConfigMeta, weights: Sequence[Path]) -> list[str]:
    """Return a digest of the content of each weight file, which tells networks apart."""
    digests = []
    for path in weights:
        network = build_model(config)
        load_model(network, path)
        digests.append(content_digest(network.state_dict()))
    return digests


def find_weights(folder: Path, config: ConfigMeta) -> list[Path]:
    """Return the weight files of a run, one for each fold that has one.

    Raises:
        UserError: there are none, or the run was trained with another observation, or with other
            settings of the network or of the transforms.
    """
    # A run of several seeds has them in seed<k>/.
    paths = [*folder.glob("fold*.pt"), *folder.glob("seed*/fold*.pt")]
    found = [path for path in paths if re.fullmatch(r"fold\d+\.pt", path.name)]
    if not found:
        raise UserError(
            f"{folder} has no weights (fold0.pt and on): train {config.__name__} first, or name "
            f"the folder that holds it with --results"
        )
    settings = folder / "config.json"
    if settings.exists():
        plain = plain_config(config)
        now = scoring_settings(plain)
        try:
            recorded = read_json(settings)
            before = scoring_settings(recorded)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{settings} is not what a run writes of its settings ({error!r}): restore it, or "
                f"remove it to go without this check"
            ) from error
        if recorded_digest(recorded.get(KEY)) != plain[KEY]["digest"]:
            one, other = explain_other_observation(recorded.get(KEY), plain[KEY])
            raise UserError(
                f"the networks in {folder} were trained on {one} and {config.__name__} observes "
                f"{other}: give --config and --set as they were trained"
            )
        changed = [key for key in now if now[key] != before[key]]
        kinds = [without_default_targets(select_targets(one)) for one in (plain, recorded)]
        if kinds[0] != kinds[1]:
            changed.append("targets or side_targets")
        if changed:
            raise UserError(
                f"the networks in {folder} were trained with another {', '.join(changed)}: give "
                f"--config and --set as they were trained"
            )
    return sorted(found, key=lambda path: (str(path.parent), int(path.stem[4:])))


def trains_with_zeroed_detectors(config: ConfigMeta) -> bool:
    """Whether a config's training zeroes whole detectors, so that a missing one may be zeros."""
    return any(
        part.cls is DropChannel
        and (part.params.get("always_apply", True) or part.params.get("p", 0.5) > 0)
        for part in config.transforms["train"] or ()
    )


def build_adapted_transforms(
    parts: Sequence[Part] | None,
    whitening: Mapping[str, np.ndarray],
    norm_factor: Sequence[float] | None = None,
    *,
    observation: Observation = COMPETITION,
) -> tuple[Compose, Compose]:
    """Return what recolours strain like that of the training, and the config's transforms.

    In between, and nowhere before, the noise of detectors with one curve, as H1 and L1 have it, is
    alike and they can be exchanged.

    Args:
        parts: the config's chain.
        whitening: C^(-1/2) of each detector with strain, (time, time) in 1 / 1e-21. The channels
            of the others hold noise of the design curve or zeros.
        norm_factor: a number for each detector, by which the config's data set divides it.
        observation: of the config.

    Returns:
        Two modules. The first takes strain (batch, detector, time), the second what the first
        returns.
    """
    matrices = [
        colouring_matrix(name, observation) @ whitening[name]
        if name in whitening
        else np.eye(observation.num_samples)
        for name in observation.detectors
    ]
    # Recoloured noise has the design's curves, whichever PSDs the training whitened by.
    own = [
        Part(Whiten, **{k: v for k, v in thaw(part.params).items() if k not in WHITENED_BY})
        if part.cls is Whiten
        else part
        for part in parts or ()
    ]
    # A data set's norm_factor comes before its transforms; here it follows the recolouring.
    scale = [Normalize(factors=norm_factor)] if norm_factor is not None else []
    recolour = [
        Whiten(matrices=matrices, unit=STRAIN_UNIT, observation=observation),
        Scale(STRAIN_UNIT),
    ]
    return Compose(recolour), Compose([*scale, *build_transforms(own, observation)])


def find_whole_whitenings(
    config: ConfigMeta, observation: Observation
) -> dict[str, WholeWhitening] | None:
    """Return how a stretch is whitened as a whole for a config's networks, by field of the batch.

    None if a chain of the config's transforms does not begin with a `Whiten` of the strain.
    """
    if config.dataset_params.get("norm_factor") is not None:
        return None
    found = {}
    for field, stages in zip(WAVEFORMS, (config.transforms, config.transforms2), strict=True):
        if stages is None:
            continue  # a network of one input
        parts = stages["test"] or ()
        whitening = WholeWhitening.of_part(parts[0], observation) if parts else None
        if whitening is None:
            return None
        found[field] = whitening
    return found


class WindowScorer:
    """The mean logit of the networks of all folds, over the views, for windows of strain.

    Side targets that the networks predict are averaged as `predict.py` averages them.

    Args:
        config: of the run.
        weights: files of its folds.
        device: to compute on.
        views: names of test-time views.

    Attributes:
        side_names: of the side targets.
        whitenings: how stretches are whitened as a whole, by field of the batch; None where windows
            are recoloured, which `adapt` prepares.
    """

    def __init__(
        self,
        config: ConfigMeta,
        weights: Sequence[Path],
        device: torch.device,
        views: Sequence[str] = ("identity",),
    ) -> None:
        self.config, self.device = config, device
        self.observation = observation_of(config)
        self.views = find_views(tuple(views), observation=self.observation)
        self.hook, self.outputs = config.hook.build(), outputs_of(config)
        self.side_names = tuple(side.name for side in self.outputs.sides)
        self.networks = []
        for path in weights:
            network = build_model(config)
            load_model(network, path)
            self.networks.append(network.to(device).eval())
        self.conditioning: Preparation | None = None
        self.transforms: dict[str, Compose] = {}  # by field of the batch
        self.whitenings = find_whole_whitenings(config, self.observation)
        stages = dict(zip(WAVEFORMS, (config.transforms, config.transforms2), strict=True))
        for field in self.whitenings or ():
            others = build_transforms(stages[field]["test"][1:], self.observation)
            self.transforms[field] = others.to(device)

    def adapt(self, whitening: Mapping[str, np.ndarray]) -> None:
        """Prepare to recolour the windows of a segment, whose strain these matrices whiten."""
        config = self.config
        factor = config.dataset_params.get("norm_factor")
        conditioning = []
        for field, stages in zip(WAVEFORMS, (config.transforms, config.transforms2), strict=True):
            if stages is None:
                continue  # a network of one input
            first, others = build_adapted_transforms(
                stages["test"], whitening, factor, observation=self.observation
            )
            conditioning.append(first.to(self.device))
            self.transforms[field] = others.to(self.device)
        self.conditioning = Preparation(*conditioning)

    def transform(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a batch of conditioned strain as the networks take it."""
        return {key: self.transforms[key](value) for key, value in batch.items()}

    @property
    def decimation(self) -> int:
        """Samples of strain that windows begin at multiples of."""
        return math.lcm(*(each.decimate for each in (self.whitenings or {}).values()))

    def choose_fronts(self, step: float) -> list[LocalFront]:
        """Return the parts of the networks that are best run over whole stretches; [] for none.

        Only networks that take strain as it is whitened have such parts: further transforms and
        views are of windows.

        Args:
            step: seconds from one window to the next.
        """
        observation = self.observation
        takes_whitened_strain = (
            self.whitenings is not None
            and type(self.hook).forward_test is TrainHook.forward_test
            and type(self.hook).inputs is TrainHook.inputs
            and all(view.on_strain is None and view.on_waveform is None for view in self.views)
            and [(field, len(others)) for field, others in self.transforms.items()]
            == [(WAVEFORMS[0], 0)]
        )
        if not takes_whitened_strain:
            return []
        samples = observation.num_samples // self.decimation
        hop = step * observation.sample_rate / self.decimation
        return choose_fronts(self.networks, observation.num_detectors, samples, hop, self.device)

    def release(self) -> None:
        """Forget the matrices of the last segment."""
        self.conditioning, self.transforms = None, {}

    @torch.inference_mode()
    def score_conditioned(self, batch: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
        """Score windows that were whitened, or recoloured, by field of the batch.

        Returns:
            Logits (batch,) float64, and the values (batch, S) float64 of the side targets in their
            own units.
        """
        return self.average(
            [self.hook.forward_test(network, prepared) for network in self.networks]
            for prepared in prepare_views(self.views, batch, self.transform)
        )

    @torch.inference_mode()
    def score_features(
        self, fronts: Sequence[LocalFront], features: Sequence[Tensor]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Score windows of which the fronts of all networks made features (batch, ..., T').

        Returns:
            As `score_conditioned`.
        """
        pairs = zip(fronts, features, strict=True)
        return self.average([[front.rest(each) for front, each in pairs]])

    def average(self, logits: Iterable[Sequence[Tensor]]) -> tuple[np.ndarray, np.ndarray]:
        """Return what `score_conditioned` returns.

        Args:
            logits: of each view those of each network, (batch, outputs).
        """
        sides, totals, encoded = self.outputs.sides, [], []
        for of_view in logits:
            arrays = [each.double().cpu().numpy() for each in of_view]
            totals += [self.outputs.signal_logits(each, self.config.__name__) for each in arrays]
            encoded.append([each[:, self.outputs.count : self.outputs.width] for each in arrays])
        # (view, network, batch, S) -> (network, batch, S)
        means = np.sum(encoded, axis=0) / len(encoded)
        values = [
            side.quantity.decode(means[..., number]).mean(0)  # (batch,)
            for number, side in enumerate(sides)
        ]
        scores = np.sum(totals, axis=0) / len(totals)
        return scores, np.stack(values, axis=1) if sides else means[0]
