"""Which scorer serves a config: filter banks take whole stretches, all other networks windows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from configuration.class_with_arguments import thaw
from configuration.config_class import ConfigMeta
from experiments.building import build_model, observation_of, population_of
from experiments.targets import BinaryTarget
from models1d.matched_filter1d import MatchedFilter1d
from runtime.console import LOGGER
from runtime.errors import UserError
from search.bank_statistics import LikelihoodRatio
from search.filter_bank_scorer import FilterBankScorer
from search.peaks import StretchScorer
from search.plain_matched_filter import PlainMatchedFilterScorer
from search.window_scorer import WindowScorer, trains_with_zeroed_detectors
from search.windowed_scorer import WindowedScorer
from training.checkpoints import load_model
from training.hooks import TrainHook
from training.prediction_views import View
from training_extras import find_views
from transforms import Whiten


def find_bank_decimation(config: ConfigMeta) -> int | None:
    """Return the decimation of the whitening, if the config's network is a plain filter bank.

    That is a `MatchedFilter1d` of whitened strain and of nothing else: `Whiten` of all frequencies
    is the only transform.
    """
    parts = config.transforms["test"] or ()
    plain = (
        isinstance(config.model, type)
        and issubclass(config.model, MatchedFilter1d)
        and config.transforms2 is None
        and config.dataset_params.get("norm_factor") is None
        and config.targets.cls is BinaryTarget
        and config.hook.cls.forward_test is TrainHook.forward_test
        and len(parts) == 1
        and parts[0].cls is Whiten
        and set(parts[0].params) <= {"decimate"}
    )
    return int(thaw(parts[0].params).get("decimate", 1)) if plain else None


def channels_of_view(view: View, detectors: int) -> tuple[int, ...] | None:
    """Return the channel that each channel of a network is shown, if a view only exchanges them.

    The sign of a channel makes no difference to a power.
    """
    if view.on_waveform is not None:
        return None
    marks = torch.arange(1.0, detectors + 1)[None, :, None]  # (1, D, 1)
    seen = marks if view.on_strain is None else view.on_strain(marks)
    channels = tuple(int(mark) - 1 for mark in seen.abs().flatten().tolist())
    return channels if sorted(channels) == list(range(detectors)) else None


def load_networks(config: ConfigMeta, weights: Sequence[Path]) -> list[torch.nn.Module]:
    """Return the networks of some weight files; without any, the untrained one of the config."""
    if not weights:
        return [build_model(config, pretrained=True)]
    networks = []
    for path in weights:
        network = build_model(config)
        load_model(network, path)
        networks.append(network)
    return networks


def make_scorer(
    config: ConfigMeta,
    weights: Sequence[Path] = (),
    device: torch.device | str = "cpu",
    views: Sequence[str] = ("identity",),
    *,
    step: float = 0.1,
    batch_size: int = 256,
    seed: int = 2021,
) -> StretchScorer:
    """Return what scores stretches of strain with the networks of a config.

    Args:
        config: of a run.
        weights: files of its folds, whose mean logit is the score. Without any, a filter bank is
            used as it is computed, untrained.
        device: to compute on.
        views: names of test-time views.
        step: seconds between windows, of networks that score windows.
        batch_size: windows scored at once.
        seed: of the noise that stands for a missing detector.

    Raises:
        UserError: a network that is no filter bank has no weights.
    """
    device, observation = torch.device(device), observation_of(config)
    decimate = find_bank_decimation(config)
    exchanges = [
        channels_of_view(view, observation.num_detectors)
        for view in find_views(tuple(views), observation=observation)
    ]
    if decimate is not None and None not in exchanges:
        # Views that differ by signs alone are one statistic, counted as often.
        statistics = [
            LikelihoodRatio(network, channels)
            for network in load_networks(config, weights)
            for channels in exchanges
        ]
        return FilterBankScorer(statistics, observation, decimate, device)
    if not weights:
        raise UserError(
            f"{config.__name__} has no weights to search with: train it first, or name the folder "
            f"of its run; only the filter bank of a MatchedFilter1d can be used untrained"
        )
    scorer = WindowedScorer(
        WindowScorer(config, weights, device, views),
        population_of(config).middle_arrival(observation.window),
        step=step,
        zeros=trains_with_zeroed_detectors(config),
        batch_size=batch_size,
        seed=seed,
    )
    if abs(scorer.step - step) > 0.005 * step:
        LOGGER.info(
            "windows begin %.4g s apart, not %g: a whole number of columns of the network's first "
            "part, which runs over the whole stretch",
            scorer.step,
            step,
        )
    return scorer


def make_plain_scorer(
    config: ConfigMeta, device: torch.device | str = "cpu"
) -> PlainMatchedFilterScorer:
    """Return the plain matched filter with the templates of a config.

    Raises:
        UserError: the network of the config is no filter bank.
    """
    decimate = find_bank_decimation(config)
    if decimate is None:
        raise UserError(
            f"{config.__name__} has no filter bank of whitened strain, which a plain matched "
            f"filter needs: name a config of MatchedFilter1d such as Wave07"
        )
    network = build_model(config, pretrained=True)
    return PlainMatchedFilterScorer(network, observation_of(config), decimate, device)
