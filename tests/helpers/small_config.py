"""A configuration of a few settings, for tests of the rules that all configurations obey."""

from collections.abc import Mapping

import torch

from configuration.class_with_arguments import Part
from configuration.config_class import ConfigMeta


class Noise:
    def __init__(self, low: float = 1.0, high: float = 2.0) -> None:
        self.low, self.high = low, high


class Root(metaclass=ConfigMeta):
    name: str = "root"
    epochs: int = 3
    amp: bool | str = True
    path: str | None = None
    optimizer: type = torch.optim.Adam
    optimizer_params: Mapping = {"lr": 1e-3}
    steps: tuple = (Part(Noise, low=0.5),)
    inner: Mapping = {"a": {"b": [1, 2]}}


def child(**settings: object) -> ConfigMeta:
    return ConfigMeta("Child", (Root,), {"name": "child", **settings}, register=False)
