"""What an experiment may add to the loop: hooks, callbacks, weight averages, schedules, views."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from datasets import Batch
from layers.mixing import mix_rows
from runtime.errors import UserError, nearest

Criterion = Callable[[Tensor, Tensor], Tensor]

WAVEFORMS = ("waveform", "waveform2")


class OnWaveforms:
    """Applies one transform to every waveform of a batch: a batch -> batch of a tensor -> tensor.

    It must draw nothing at random, or two views of one strain would be changed differently.
    """

    def __init__(self, transform: Callable[[Tensor], Tensor]) -> None:
        self.transform = transform

    def __call__(self, batch: Batch) -> Batch:
        changed = {key: self.transform(batch[key]) for key in WAVEFORMS if key in batch}
        return {**batch, **changed}


class Preparation:
    """Turns the strain of a batch into the input of the network: one tensor, or two.

    Args:
        transform: strain (B, 3, T) to the field `waveform`.
        second: the same strain to the field `waveform2`, for networks of two inputs; None for
            none.
    """

    def __init__(
        self,
        transform: Callable[[Tensor], Tensor],
        second: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.transform, self.second = transform, second

    def __call__(self, batch: Batch) -> Batch:
        strain = batch["waveform"]
        batch = {**batch, "waveform": self.transform(strain)}
        if self.second is not None:
            batch["waveform2"] = self.second(strain)
        return batch


# --- hooks: how a batch becomes logits and a loss ---------------------------------------------


class TrainHook:
    """The usual hook: logits of the waveform, the criterion against the target."""

    def forward_train(
        self, model: nn.Module, batch: Batch, criterion: Criterion
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return loss, logits (B, 1), and the target to score them by (None: do not score)."""
        logits = model(*self.inputs(batch))
        if not torch.is_tensor(logits):
            raise UserError(
                "the network returned more than logits: return_spec is for looking at images, not "
                "for training"
            )
        return criterion(logits.float(), batch["target"]), logits, batch["target"]

    def forward_test(self, model: nn.Module, batch: Batch) -> Tensor:
        return model(*self.inputs(batch))

    @staticmethod
    def inputs(batch: Batch) -> tuple[Tensor, ...]:
        """The waveform, and the second view of it where the experiment makes one."""
        if "waveform2" in batch:
            return batch["waveform"], batch["waveform2"]
        return (batch["waveform"],)


class MixupTrain(TrainHook):
    """Mixes each row with another of its batch (Zhang et al. 2018, arXiv:1710.09412).

    The mixing ratio λ ~ Beta(alpha, alpha) is drawn for each row. Where the mixing happens
    (image, or features with manifold mixup) is the model's own setting; with
    `level='waveform'` it is done here, before the model.

    Args:
        hard_label: False, or the threshold above which a mixed target counts as 1.
        lor_label: the target is t + t' - t t', the logical or of the two, instead of the mixture.
        level: 'model' or 'waveform'.
        evaluate_in_batch: also score the training logits, against the mixed targets, rounded.

    The partner comes from the same batch of the same process, also under torchrun and with
    `accumulate`: the smaller the batches, the fewer partners a row can have.
    """

    mixes_rows = True  # the trainer says so where a step has several batches

    def __init__(
        self,
        alpha: float = 0.4,
        hard_label: bool | float = False,
        lor_label: bool = False,
        level: str = "model",
        evaluate_in_batch: bool = False,
    ) -> None:
        if alpha <= 0:
            raise UserError(f"MixupTrain: alpha = {alpha}: expected a positive number")
        if hard_label is True:
            raise UserError("MixupTrain: hard_label = True: expected False or a threshold, say 0.5")
        if level not in ("model", "waveform"):
            raise UserError(f"MixupTrain: level = {level!r}: expected 'model' or 'waveform'")
        self.alpha, self.hard_label, self.lor_label = alpha, hard_label, lor_label
        self.level, self.evaluate_in_batch = level, evaluate_in_batch

    def partners(self, target: Tensor) -> Tensor:
        """Return the row (B,) that each row is mixed with."""
        return torch.randperm(len(target), device=target.device)

    def mix_targets(self, target: Tensor, partner: Tensor, lam: Tensor) -> Tensor:
        """Return the mixed targets (B, 1); `lam` is the share of the row itself."""
        other = target[partner]
        if self.lor_label:
            return target + other - target * other
        lam = lam.view(-1, *[1] * (target.ndim - 1)).to(target.dtype)  # (B,) -> (B, 1)
        mixed = lam * target + (1 - lam) * other
        return mixed if self.hard_label is False else (mixed > self.hard_label).to(target.dtype)

    def forward_train(
        self, model: nn.Module, batch: Batch, criterion: Criterion
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        target = batch["target"]
        partner = self.partners(target)
        lam = draw_beta(self.alpha, len(target), target.device)
        if self.level == "waveform":
            batch = OnWaveforms(lambda x: mix_rows(x, lam, partner))(batch)
            logits = model(*self.inputs(batch))
        else:
            # A model may change λ (cutmix: the share of the area), so it returns the one it used.
            logits, lam = model(*self.inputs(batch), lam=lam, idx=partner)
        mixed = self.mix_targets(target, partner, lam)
        scored = mixed if self.evaluate_in_batch else None
        return criterion(logits.float(), mixed), logits, scored


class MixupTrain2(MixupTrain):
    """Mixes positives with positives and negatives with negatives: targets stay as they are.

    Rows with a soft target, and classes switched off, are left unmixed.
    """

    def __init__(
        self,
        alpha: float = 0.4,
        pos_pos: bool = True,
        neg_neg: bool = True,
        level: str = "model",
        evaluate_in_batch: bool = False,
    ) -> None:
        super().__init__(alpha, level=level, evaluate_in_batch=evaluate_in_batch)
        self.pos_pos, self.neg_neg = pos_pos, neg_neg

    def partners(self, target: Tensor) -> Tensor:
        flat = target.flatten()  # (B, 1) -> (B,)
        partner = torch.arange(len(flat), device=flat.device)
        for value, wanted in ((1, self.pos_pos), (0, self.neg_neg)):
            rows = (flat == value).nonzero().flatten()  # (n, 1) -> (n,)
            if wanted:
                partner[rows] = rows[torch.randperm(len(rows), device=rows.device)]
        return partner

    def mix_targets(self, target: Tensor, partner: Tensor, lam: Tensor) -> Tensor:
        return target


def draw_beta(alpha: float, n: int, device: torch.device) -> Tensor:
    """Return n draws (n,) from Beta(alpha, alpha), from torch's own generator of the device."""
    gamma = torch._standard_gamma(torch.full((2, n), float(alpha), device=device))
    # Both draws of a small alpha can underflow; the tiny addition makes that an even mixture.
    gamma = gamma + torch.finfo(gamma.dtype).tiny
    return gamma[0] / gamma.sum(0)


# --- callbacks -------------------------------------------------------------------------------


@dataclass(frozen=True)
class EpochVerdict:
    """What a callback says after an epoch.

    Attributes:
        is_best: save the weights of this epoch for the predictions.
        stop_reason: why the fit should stop; None to continue.
    """

    is_best: bool = False
    stop_reason: str | None = None


class EarlyStopping:
    """Remembers the best epoch and stops after `patience` epochs without a better one.

    Args:
        patience: epochs without improvement after which the fit stops.
        target: the score that counts, a key of the history.
        maximize: whether larger is better.
        skip_epoch: epochs at the start that do not count against the patience.
    """

    def __init__(
        self,
        patience: int = 5,
        target: str = "valid_metric",
        maximize: bool = False,
        skip_epoch: int = 0,
    ) -> None:
        self.patience, self.target, self.maximize = patience, target, maximize
        self.skip_epoch, self.counter = skip_epoch, 0

    def on_epoch_end(self, state: Any) -> EpochVerdict:
        """Judge the newest epoch of a `TrainerState`; note in it which epoch is the best."""
        score = state.history[-1][self.target]
        # A NaN compares as False either way; it is never an improvement.
        if not math.isnan(score) and (
            state.best_score is None
            or (score > state.best_score if self.maximize else score < state.best_score)
        ):
            state.best_score, state.best_epoch, self.counter = score, state.epoch, 0
            return EpochVerdict(is_best=True)
        if state.epoch > self.skip_epoch:
            self.counter += 1
        if self.counter < self.patience:
            return EpochVerdict()
        return EpochVerdict(
            stop_reason=f"stopped: {self.target} has not improved for {self.counter} epochs"
        )

    @property
    def has_stopped(self) -> bool:
        """Whether the patience is at its end; a resumed fit may have been given more of it."""
        return self.counter >= self.patience

    def state_dict(self) -> dict[str, int]:
        return {"counter": self.counter}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.counter = state["counter"]


class KeepLast:
    """Keeps the weights of the last epoch.

    For training that sees no sample twice and whose learning rate falls to nearly zero: nothing is
    overfitted, and the best of several validation scores would only be the luckiest.

    Args:
        target: the score that is reported with these weights, a key of the history.
    """

    def __init__(self, target: str = "valid_metric") -> None:
        self.target = target

    def on_epoch_end(self, state: Any) -> EpochVerdict:
        """Make the newest epoch of a `TrainerState` the best."""
        state.best_score, state.best_epoch = state.history[-1][self.target], state.epoch
        return EpochVerdict(is_best=True)

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        pass  # there is nothing to remember


class WeightAverage:
    """An exponential moving average of a network's weights and buffers, scored in its place.

    The decay warms up as min(decay, (1 + n) / (10 + n)) after n updates, so that short fits are not
    dominated by their initial weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise UserError(f"ema_decay = {decay}: expected a number between 0 and 1, say 0.999")
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        current = model.state_dict()
        floats, targets = [], []
        for name, average in self.model.state_dict().items():
            if average.is_floating_point():
                targets.append(average)
                floats.append(current[name].to(average.dtype))
            else:
                average.copy_(current[name])
        torch._foreach_lerp_(targets, floats, weight)

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]


# --- schedules -------------------------------------------------------------------------------


class WarmupCosine(LRScheduler):
    """A linear warm-up of the learning rate, then half a cosine down to `eta_min`.

    With n of N steps done, W = warmup N of them the warm-up, and λ the optimiser's learning rate,

        λ (n + 1) / (W + 1)                                            for n < W,
        eta_min + (λ - eta_min) (1 + cos(π (n - W) / (N - W))) / 2     after that.

    Made for `batch_scheduler = True`, where a step is an optimiser step; otherwise it is an epoch.

    Args:
        total_steps: N; in a config it is filled in from `num_epochs` and the batch size.
        warmup: share of the steps that the warm-up takes.
        eta_min: learning rate at the end.

    Raises:
        UserError: a share outside [0, 1).
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        total_steps: int,
        warmup: float = 0.05,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if not 0 <= warmup < 1:
            raise UserError(f"WarmupCosine: warmup = {warmup}: expected a share from 0 to below 1")
        self.total_steps, self.warmup_steps = total_steps, round(warmup * total_steps)
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the learning rate of each group of parameters; torch calls it."""
        done = self.last_epoch
        if done < self.warmup_steps:
            return [rate * (done + 1) / (self.warmup_steps + 1) for rate in self.base_lrs]
        length = max(self.total_steps - self.warmup_steps, 1)
        phase = math.pi * min((done - self.warmup_steps) / length, 1)
        return [
            self.eta_min + (rate - self.eta_min) * (1 + math.cos(phase)) / 2
            for rate in self.base_lrs
        ]


# --- test-time views -------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """A sample as it could have been as well: networks answer to each, and logits are averaged.

    The sign of a signal and, with equal noise curves, the exchange of H1 and L1 are symmetries of
    the strain. After transforms they need not be: the channels of `GetDiff` are no detectors, and
    `Normalize` divides each by a number of its own. So these act before the transforms.

    A shift in time acts after them. The gap it leaves is filled with zeros, which in whitened noise
    are silence; in strain, whose slow noise is far louder than the rest, they are a step, of which
    exact whitening makes samples of 70 standard deviations.

    Attributes:
        name: as configs name it.
        on_strain: strain (B, 3, T) -> strain; None leaves it as it is.
        on_waveform: the same for what the transforms make of it, (B, C, T').
    """

    name: str
    on_strain: Callable[[Tensor], Tensor] | None = None
    on_waveform: Callable[[Tensor], Tensor] | None = None


def prepare_views(
    views: Sequence[View], batch: Batch, preparation: Callable[[Batch], Batch]
) -> Iterator[Batch]:
    """Yield what the network takes for each view of a batch.

    Views that leave the strain as it is share the transforms.

    Args:
        batch: with the strain (B, 3, T), on its device.
        preparation: the transforms, a batch -> batch.
    """
    untouched = None
    for view in views:
        if view.on_strain is not None:
            prepared = preparation(OnWaveforms(view.on_strain)(batch))
        else:
            if untouched is None:
                untouched = preparation(batch)
            prepared = untouched
        yield prepared if view.on_waveform is None else OnWaveforms(view.on_waveform)(prepared)


def make_swap(norm_factor: Sequence[float] | None = None) -> Callable[[Tensor], Tensor]:
    """Return the exchange of H1 and L1, whose noise curves are taken to be the same.

    Args:
        norm_factor: what a data set has divided the channels by. Exchanged is the strain, so that
            each channel is multiplied by its own factor and divided by that of its new place.
    """
    factors = norm_factor or (1.0, 1.0, 1.0)
    h1_to_l1, l1_to_h1 = factors[0] / factors[1], factors[1] / factors[0]

    def swapped(x: Tensor) -> Tensor:
        # Slices, since a list as an index of a CUDA tensor makes the host wait for the device.
        h1, l1, others = x[:, :1], x[:, 1:2], x[:, 2:]
        if norm_factor is not None:
            h1, l1 = h1 * h1_to_l1, l1 * l1_to_h1
        return torch.cat([l1, h1, others], dim=1)

    return swapped


def make_shift(samples: int) -> Callable[[Tensor], Tensor]:
    """Return a shift by `samples` (later if positive); the gap is filled with zeros."""

    def shifted(x: Tensor) -> Tensor:
        if abs(samples) >= x.shape[-1]:
            raise UserError(
                f"views: shift{samples:+d} moves a waveform of {x.shape[-1]} samples out of sight"
            )
        out = torch.zeros_like(x)
        if samples >= 0:
            out[..., samples:] = x[..., : x.shape[-1] - samples]
        else:
            out[..., :samples] = x[..., -samples:]
        return out

    return shifted


IDENTITY = View("identity")
VIEWS = ("identity", "flip", "swap_ligo")  # and shifts, of any number of samples


def find_views(names: Sequence[str], norm_factor: Sequence[float] | None = None) -> list[View]:
    """Return the views of these names: those of `VIEWS`, or 'shift+8', 'shift-8' and the like.

    Args:
        norm_factor: what the data set divides the channels of the strain by, if it does.

    Raises:
        UserError: an unknown name, or none at all.
    """
    if not names:
        raise UserError("views is empty: name at least 'identity'")
    on_strain = {"flip": torch.neg, "swap_ligo": make_swap(norm_factor)}
    views = []
    for name in names:
        if not isinstance(name, str):
            raise UserError(f"views: {name!r} is no name; there are {', '.join(VIEWS)}")
        if name in VIEWS:
            views.append(View(name, on_strain.get(name)))
        elif name.startswith("shift") and name[5:6] in ("+", "-") and name[6:].isdecimal():
            views.append(View(name, on_waveform=make_shift(int(name[5:]))))
        else:
            known = [*VIEWS, "shift+8"]
            raise UserError(
                f"there is no view {name!r}{nearest(name, known)}; there are {', '.join(VIEWS)} "
                f"and shift+N or shift-N samples"
            )
    return views
