"""timm networks: built with weights from the hub or from a file, and used as backbones.

timm holds hundreds of networks whose features are maps or vectors, channels first or last. Which
kind a network is, `Backbone` finds by trying it on a small image, not from a list of names.
"""

from __future__ import annotations

import copy
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import Tensor, nn

from runtime.archives import read_torch_file
from runtime.console import LOGGER
from runtime.errors import UserError, nearest

PROBE_SIZE = (128, 128)  # four times the coarsest stride of any network, and quick
WAYS_OUT = (
    "train from scratch with --no_pretrained, or give the weights as a local file with "
    "--weights FILE (a state dict, .pt or .safetensors)"
)


@dataclass(frozen=True)
class BackboneOptions:
    """A timm network; the fields are the arguments of `SpectroCNN` of these names."""

    model_name: str
    pretrained: bool
    weights: str | None
    timm_params: Mapping[str, Any]


# --- weights ---------------------------------------------------------------------------------


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict from .safetensors, or from torch's format without unpickling objects.

    A checkpoint that keeps it below 'state_dict_ema', 'state_dict' or 'model' is unwrapped.

    Raises:
        UserError: the file is missing, unpacks to more than its own size, or holds no plain state
            dict.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        there = "is no file" if os.path.exists(path) else "does not exist"
        raise UserError(f"weights file {path!r} {there}")
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = read_torch_file(path)
    except UserError:
        raise
    except Exception as error:  # pickle, zip and safetensors each raise their own kinds
        raise UserError(
            f"weights file {path!r} cannot be read as tensors alone "
            f"({first_line(error)}): expected a state dict saved by torch.save or safetensors"
        ) from error
    for key in ("state_dict_ema", "state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
            break
    if not isinstance(state, Mapping) or not all(torch.is_tensor(v) for v in state.values()):
        raise UserError(f"weights file {path!r} holds no state dict: expected names with tensors")
    return {name.removeprefix("module."): value for name, value in state.items()}


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def pretrained_config(name: str) -> Any:
    """Return timm's record of a model's weights.

    Raises:
        UserError: timm knows no such model, or no such weights of it.
    """
    import timm

    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        hint = nearest(architecture, timm.list_models())
        raise UserError(f"model_name = {name!r}: timm knows no such model{hint}")
    try:
        return timm.models.get_pretrained_cfg(name)
    except (RuntimeError, ValueError) as error:
        tags = timm.list_models(f"{architecture}.*", pretrained=True)
        raise UserError(
            f"model_name = {name!r}: timm knows no such weights; it has {', '.join(tags) or 'none'}"
        ) from error


def find_cached(config: Any) -> str | None:
    """Return the path of weights that an earlier run brought from the hub, if there are any."""
    if not config.hf_hub_id or config.custom_load:
        return None
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = config.hf_hub_id.partition("@")
    names = [config.hf_hub_filename] if config.hf_hub_filename else []
    for filename in (*names, "model.safetensors", "pytorch_model.bin"):
        path = try_to_load_from_cache(repository, filename, revision=revision or None)
        if isinstance(path, str):
            return path
    return None


def check_reachable(config: Any, name: str) -> None:
    """Raise at once where the host of the weights cannot be reached.

    The hub's client retries for most of a minute before it says so. Behind a proxy nothing can
    be told beforehand, and the client's own answer is awaited.
    """
    url = config.url
    if config.hf_hub_id:
        url = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if not url:
        raise UserError(f"model_name = {name!r}: timm has no pretrained weights of it: {WAYS_OUT}")
    if getproxies():
        return
    parts = urlsplit(url)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname, port), timeout=5).close()
    except OSError as error:
        raise UserError(
            f"the pretrained weights of {name!r} cannot be had: {parts.hostname} cannot be reached "
            f"({first_line(error)}): {WAYS_OUT}"
        ) from error


# --- models ----------------------------------------------------------------------------------


def create_timm(
    name: str,
    num_classes: int,
    pretrained: bool = False,
    weights: str | None = None,
    **timm_params: Any,
) -> nn.Module:
    """Return a timm model, with its pretrained weights or those of a local file where asked for.

    Args:
        name: timm's name, with the tag of the weights, e.g. 'tf_efficientnet_b2.aa_in1k'.
        num_classes: logits of its linear head; 0 for none.
        pretrained: load the weights that the name stands for.
        weights: load this file instead, whatever `pretrained` says; the head is new unless it
            has `num_classes` logits in the file.
        timm_params: further arguments of the model, e.g. `in_chans`, `drop_path_rate`.

    Raises:
        UserError: an unknown model or argument, or weights that cannot be had or do not fit.
    """
    if name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):  # timm reads their config there
        return create_or_explain(name, num_classes, timm_params, pretrained=pretrained)
    config = pretrained_config(name)
    if weights is not None:
        state = read_state_dict(weights)
        return build_from_state_dict(name, config, state, weights, num_classes, timm_params)
    if not pretrained:
        return create_or_explain(name, num_classes, timm_params, pretrained=False)
    if config is not None:  # None for a deprecated name, which timm itself resolves
        # Weights of an earlier run are loaded from the cache, so that no network is needed.
        cached = find_cached(config)
        if cached is not None:
            overlay = {"state_dict": read_state_dict(cached)}
            return forget_state_dict(
                create_or_explain(
                    name, num_classes, timm_params, pretrained=True, pretrained_cfg_overlay=overlay
                )
            )
        check_reachable(config, name)
    try:
        return create_or_explain(name, num_classes, timm_params, pretrained=True)
    except OSError as error:  # every failed download: the hub's errors are OSErrors too
        raise UserError(
            f"the pretrained weights of {name!r} cannot be had ({first_line(error)}): {WAYS_OUT}"
        ) from error


def create_or_explain(
    name: str, num_classes: int, timm_params: Mapping[str, Any], **loading: Any
) -> nn.Module:
    """Return timm.create_model(...); raises UserError if the network takes no such argument."""
    import timm

    try:
        return timm.create_model(name, num_classes=num_classes, **timm_params, **loading)
    except TypeError as error:
        raise UserError(
            f"model_name = {name!r} with timm_params = {dict(timm_params)}: {first_line(error)}"
        ) from error


def build_from_state_dict(
    name: str,
    config: Any,
    state: dict[str, Tensor],
    path: str,
    num_classes: int,
    timm_params: Mapping[str, Any],
) -> nn.Module:
    """Build a model from a state dict, every tensor of which must find its place."""
    # timm loads strictly only when the model's head has the size of the file's head. So the model
    # is built with that head first, and the head is exchanged afterwards.
    heads = config.classifier if config is not None else None
    heads = (heads,) if isinstance(heads, str) else tuple(heads or ())
    found = [state[f"{head}.weight"].shape[0] for head in heads if f"{head}.weight" in state]
    candidates = found[:1] or [0, *([config.num_classes] if config is not None else [])]
    reason: Exception | None = None
    for classes in candidates:
        overlay = {"state_dict": dict(state), "num_classes": classes, "label_offset": 0}
        try:
            model = create_or_explain(
                name, classes, timm_params, pretrained=True, pretrained_cfg_overlay=overlay
            )
        except (RuntimeError, KeyError) as error:
            reason = reason or error
            continue
        if classes != num_classes:
            model.reset_classifier(num_classes)
        return forget_state_dict(model)
    text = " ".join(str(reason).split())
    raise UserError(
        f"weights file {path!r} does not hold the weights of {name!r} "
        f"({explain_prefix(state) or text[:300]}): give a file of the same model"
    ) from reason


def explain_prefix(state: Mapping[str, Tensor]) -> str | None:
    """Return a clause about the prefix that all keys share; None where they share none.

    A state dict of a network that holds the backbone as an attribute, such as a module of
    Lightning, has 'model.conv1.weight' where timm's has 'conv1.weight'.
    """
    prefixes = {key.partition(".")[0] for key in state}
    if len(prefixes) != 1:
        return None
    (prefix,) = prefixes
    key = next(iter(state))
    inner = key.removeprefix(f"{prefix}.")
    return (
        f"every key begins with '{prefix}.': save the file again without that, so that {key!r} is "
        f"{inner!r}"
    )


def forget_state_dict(model: nn.Module) -> nn.Module:
    """Drop the copy of the weights that timm keeps in the model's config."""
    for config in (model.pretrained_cfg, getattr(model, "default_cfg", None)):
        if isinstance(config, dict):
            config.pop("state_dict", None)
    return model


class Backbone(nn.Module):
    """A timm network without head: images in, a map or a vector of features out.

    What kind it is, is found by looking at what it returns. A network whose features are a map
    gives the map, (B, C, H', W'), its own pooling taken off. A transformer gives its own pooled
    vector, (B, D): the class token wherever it has been trained with one.

    Args:
        model_name, pretrained, weights, timm_params: as in `create_timm`.
        img_size: (H, W) of its input where known; networks of fixed input size need it.

    Attributes:
        is_map: whether the output is a map.
        num_features: C or D.

    Raises:
        UserError: as in `create_timm`; or no size where one is needed, or a size that the
            network does not take.
    """

    def __init__(
        self,
        model_name: str,
        pretrained: bool = False,
        weights: str | None = None,
        img_size: tuple[int, int] | None = None,
        timm_params: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        timm_params = size_params(model_name, img_size, timm_params or {})
        self.net = create_timm(model_name, 0, pretrained, weights, **timm_params)
        # A small image tells as much as a large one, except where the size is fixed.
        fixed = self.net.pretrained_cfg.get("fixed_input_size", False)
        size = timm_params.get("img_size") or (img_size if fixed and img_size else PROBE_SIZE)
        size = (size, size) if isinstance(size, int) else tuple(size)
        image = torch.zeros(1, timm_params.get("in_chans", 3), *size)

        features = try_image(self.net, "forward_features", image, model_name)
        self.is_map = torch.is_tensor(features) and features.ndim == 4
        if self.is_map:
            try:
                self.net.reset_classifier(0, global_pool="")
            except TypeError as error:
                raise UserError(
                    f"model_name = {model_name!r}: its pooling cannot be taken off, so it goes "
                    "only with custom_classifier = 'none' and custom_attention = 'none'"
                ) from error
        self.channels_last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"
        self.num_features = try_image(self, "forward", image, model_name).shape[1]

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H', W') or (B, D)."""
        features = self.net(image)
        if self.is_map and self.channels_last:
            features = features.permute(0, 3, 1, 2)  # (B, H', W', D) -> (B, D, H', W')
        return features


def size_params(
    name: str, img_size: tuple[int, int] | None, timm_params: Mapping[str, Any]
) -> dict[str, Any]:
    """Return timm's arguments, with `img_size` for a network whose input size is fixed."""
    config = None if ":" in name else pretrained_config(name)
    if config is None or not config.fixed_input_size or "img_size" in timm_params:
        return dict(timm_params)
    if img_size is None:
        raise UserError(
            f"model_name = {name!r} takes images of one size only: set resize_img, e.g. "
            f"resize_img = {tuple(config.input_size[-2:])}"
        )
    return {**timm_params, "img_size": img_size}


@torch.no_grad()
def try_image(net: nn.Module, method: str, image: Tensor, name: str) -> Tensor:
    """Return what a network makes of one image, leaving the network as it was.

    Only the shape of the result counts. A copy of the network without numbers tells it in a tenth
    of the time, and where that does not work, the network itself does, or says what is wrong.

    Args:
        net: the network.
        method: of it that takes the image.
        image: (1, C, H, W).
        name: of the network in timm, for the error.

    Raises:
        UserError: the network does not take images of this size.
    """
    try:
        return getattr(without_numbers(net), method)(image.to("meta"))
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        # Some networks make tensors of their own on the CPU. The network itself is asked next.
        LOGGER.debug("%s is tried with numbers, as without them: %s", name, first_line(error))
    training = net.training
    net.eval()  # batch-norm statistics stay untouched
    try:
        return getattr(net, method)(image)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(
            f"model_name = {name!r} does not take images of {tuple(image.shape[-2:])} "
            f"({first_line(error)}): choose another resize_img"
        ) from error
    finally:
        net.train(training)


def without_numbers(net: nn.Module) -> nn.Module:
    """Return a copy of a network for predictions on torch's device 'meta', which has shapes alone.

    The tensors themselves are not copied.
    """
    tensors = [*net.parameters(), *net.buffers()]
    # What deepcopy is told to have copied already, by the identity of the original
    known = {id(x): x.detach().to("meta") for x in tensors}
    for parameter in net.parameters():
        known[id(parameter)] = nn.Parameter(known[id(parameter)], requires_grad=False)
    return copy.deepcopy(net, known).eval()
