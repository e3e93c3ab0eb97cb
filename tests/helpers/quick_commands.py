"""Simulations and searches that take a second, for tests of what these commands leave on disk."""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_search import Excess

from configs import Demo
from configuration.class_with_arguments import Part
from configuration.config_class import ConfigMeta
from transforms import Compose, Scale


@contextlib.contextmanager
def quick_commands(cache: Path) -> Iterator[None]:
    """Let simulations use a bank of 12 waveforms, and searches a network without training.

    Whitening a segment takes many seconds: searches go without.

    Args:
        cache: folder of the bank.
    """
    dataset = importlib.import_module("simulation.dataset_on_disk")
    windows = importlib.import_module("search.stretch_windows")
    scorer = importlib.import_module("search.window_scorer")
    scaled = dict.fromkeys(("train", "test"), (Part(Scale, scale=1e20),))
    changed = {"model": Excess, "published": {}, "transforms": scaled}
    config = ConfigMeta("Demo", (Demo,), changed, register=False)
    chain = (Compose([]), Compose([Scale(scale=1e20)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("G2NET_CACHE", str(cache))
        small = functools.partial(dataset.simulate_dataset, bank_size=12)
        patch.setattr(dataset, "simulate_dataset", small)
        patch.setitem(ConfigMeta.registry, "Demo", config)
        patch.setattr(
            windows.RecolouredWindows,
            "whitening_matrix",
            lambda self, channel, psds: np.eye(self.observation.num_samples),
        )
        patch.setattr(scorer, "build_adapted_transforms", lambda *_, **__: chain)
        yield
