"""Which binaries a bank of filters needs, and how long its filters are, for a stated loss of SNR.

The loss of a signal is 1 - sqrt(2 P) / rho: rho is its optimal SNR in the window, and P the
largest power of any template at any sample (see `MatchedFilter1d`). Three things lose:

* the length: filters hold 97 % of the SNR^2 of the population in the mean (or 1 - `max_loss`,
  where that is more), which is a loss of 1.5 % of the SNR;
* the basis, which loses another half percent of the SNR^2;
* the distance of a signal to the nearest template. Templates are added until the mean loss of
  signals that took no part in the choice, all three together, is at most `max_loss`.

The mean is over signals of the population as they are drawn, isotropic on the sky, each counting
once. Arrival times that lie `stride` samples apart lose something more.

Templates are binaries of the population's waveform bank. The first is the one that leaves the
smallest mean loss of a sample of signals, and so is each that follows, given those before it. The
mean that is lost is a submodular function of the set, so that no set of as many templates saves
more than 1 / (1 - 1/e) times as much (Nemhauser, Wolsey and Fisher, Mathematical Programming 14,
265, 1978). Unlike a placement by the smallest match it spends no templates on corners of the law
that are hardly ever drawn.
"""

from __future__ import annotations

import functools
import hashlib
import heapq
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models1d.template_components import TemplateComponents, find_components
from models1d.template_filters import LARGEST_SHIFT, FilterShape, binaries_to_fit
from models1d.whitened_bank import BankInWindow, quadratures_of, seen_by_a_detector
from physics.cache_folder import cache_folder, kept_path
from runtime.console import LOGGER
from runtime.errors import UserError
from runtime.files import read_json

FORMAT = 1  # raise it when the same request would give another choice
SHIPPED = Path(__file__).parent / "template_choices.json"  # of the experiments in configs.py
# Parts of the SNR^2 that may lie outside the filters, after their end, and outside the basis; they
# are as many times smaller as max_loss is smaller than the first.
OUTSIDE, AFTER, BEYOND_BASIS = 0.03, 0.003, 0.005
FITTED = 0.15  # part of a bank that is signals to choose by
# Binaries for each template of several components, which are estimated from the signals near it.
BINARIES_A_TEMPLATE = 8
TEMPLATE_STEP = 8  # templates of several components are counted in these steps
MULTIPLE = 32  # lengths are multiples of it, as filters are read in blocks; see POLYPHASE
BASIS_MULTIPLE = 8
SMALLEST_BANK = 100  # binaries
MATCHED_AT_A_TIME = 256  # templates


@dataclass(frozen=True)
class TemplateChoice:
    """The templates of a population.

    Attributes:
        members: binaries of the bank that are templates.
        weights: the part of the signals that each template is the nearest one of.
        basis: number of basis filters.
        before, after: samples of a filter before the merger and from it on, decimated.
        loss: mean loss of SNR of the signals that took no part in the choice.
        components: of each template.
    """

    members: tuple[int, ...]
    weights: tuple[float, ...]
    basis: int
    before: int
    after: int
    loss: float
    components: int = 1

    @property
    def shape(self) -> FilterShape:
        """What `template_filters` needs of it."""
        return FilterShape(self.members, self.basis, self.before, self.after, self.components)

    def to_plain(self) -> dict[str, Any]:
        """Return all fields in JSON's own types."""
        return {
            "members": list(self.members),
            "weights": list(self.weights),
            "basis": self.basis,
            "before": self.before,
            "after": self.after,
            "loss": self.loss,
            "components": self.components,
        }

    @classmethod
    def from_plain(cls, plain: Any) -> TemplateChoice:
        """Return the choice that `to_plain` described.

        Raises:
            UserError: it is damaged.
        """
        try:
            lists = {name: tuple(plain[name]) for name in ("members", "weights")}
            return cls(**{**plain, **lists})
        except (TypeError, KeyError) as error:
            raise UserError(f"{plain!r} is no choice of templates ({error!r})") from error


def choice_key(where: BankInWindow, max_loss: float, components: int = 1) -> str:
    """Return a digest of all that a choice follows from: of the law, and of a curve's numbers."""
    plain = {
        "format": FORMAT,
        "bank": where.bank.key(),
        "noises": [[n.curve.digest, n.sample_rate, n.min_frequency] for n in where.noises],
        "samples": where.samples,
        "merger": [where.merger, where.spread],
        "decimate": where.decimate,
        "max_loss": max_loss,
    }
    if components > 1:
        plain["components"] = components
    return hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=8).hexdigest()


@functools.lru_cache(maxsize=4)
def choose_templates(where: BankInWindow, max_loss: float, components: int = 1) -> TemplateChoice:
    """Return the templates of a population: shipped, kept from an earlier run, or chosen now.

    Args:
        where: the bank, in windows and noise.
        max_loss: largest mean loss of SNR.
        components: of each template.

    Raises:
        UserError: no choice of the bank's binaries loses as little as that, or the window is too
            short for the filters.
    """
    if not 0.001 <= max_loss <= 0.5:
        raise UserError(
            f"MatchedFilter1d: max_loss = {max_loss}: expected a fraction of the SNR between "
            f"0.001 and 0.5, or None for the numbers that are given"
        )
    key = choice_key(where, max_loss, components)
    shipped = read_json(SHIPPED)
    if key in shipped:
        return TemplateChoice.from_plain(shipped[key])
    kept = cache_folder() / f"templates-{key}.json"
    if kept.exists():
        try:
            return TemplateChoice.from_plain(read_json(kept))
        except UserError as error:
            LOGGER.warning("%s: chosen again (%s)", kept, error)
    choice = compute_choice(where, max_loss, components)
    with kept_path(kept) as temporary:
        temporary.write_text(json.dumps(choice.to_plain()) + "\n")
    LOGGER.info(
        "%d templates of %d components in a basis of %d, filters of %.2f s: a mean loss of %.1f %% "
        "of the SNR",
        len(choice.members),
        choice.components,
        choice.basis,
        (choice.before + choice.after) / where.rate,
        100 * choice.loss,
    )
    return choice


def compute_choice(where: BankInWindow, max_loss: float, components: int = 1) -> TemplateChoice:
    """Choose templates; see the top of this file for how.

    Raises:
        UserError: see `choose_templates`.
    """
    size = where.bank.size
    fitted = math.ceil(FITTED * size)
    candidates = binaries_to_fit(size) - fitted
    if size < SMALLEST_BANK:
        raise UserError(
            f"MatchedFilter1d: a bank of {size} binaries is too small to choose templates from: "
            f"set bank_size to {SMALLEST_BANK} or more, or max_loss to None"
        )
    scale = min(max_loss / OUTSIDE, 1.0)
    banks = [where.whitened(noise) for noise in where.noises]
    before, after = filter_lengths(banks, where, scale)
    cut = slice(where.merger - before, where.merger + after)
    bases = [leading_filters(white[:candidates, :, cut].flatten(0, 1)) for white in banks]
    basis = max(basis_size(energies, scale * BEYOND_BASIS) for _, energies in bases)
    reach = round(LARGEST_SHIFT * where.rate)
    filters = [own[:basis] for own, _ in bases]
    pairs = []  # of each detector, (candidate, 2, basis)
    matches = []  # of each detector, (candidate, signal)
    for white, own in zip(banks, filters, strict=True):
        quadratures = quadratures_of(white[:candidates, 0])[..., cut]
        coefficients = quadratures @ own.T  # (candidate, 2, basis)
        pairs.append(coefficients / coefficients.norm(dim=-1, keepdim=True))
        signals = seen_by_a_detector(white[candidates:])
        matches.append(found_snr(signals, own, pairs[-1], cut.start, reach))
    if components == 1:
        chosen, loss = add_templates(matches, fitted, max_loss)
        refused = f"all {candidates} candidates among the {size} binaries of the bank"
        # The nearest template of every signal.
        nearest = torch.stack([match[chosen] for match in matches]).mean(0).argmax(0)
        counts = torch.bincount(nearest, minlength=len(chosen))
    else:
        order = greedy_order([match[:, :fitted].numpy() for match in matches])
        order = list(itertools.islice(order, max(size // BINARIES_A_TEMPLATE, TEMPLATE_STEP)))
        tests = [seen_by_a_detector(white[candidates:])[fitted:] for white in banks]

        def with_components(number: int) -> tuple[TemplateComponents, float]:
            """Return the first templates of the order with components, and what they lose."""
            found = find_components(
                [white[: candidates + fitted] for white in banks],
                filters,
                [pair[order[:number]] for pair in pairs],
                components,
                cut.start,
                reach,
            )
            every = zip(tests, filters, found.vectors, strict=True)
            parts = [found_snr(t, own, v, cut.start, reach).max(0).values for t, own, v in every]
            return found, max(float(1 - part.mean(dtype=torch.float64)) for part in parts)

        number, found, loss = fewest_templates(with_components, len(order), max_loss)
        chosen, counts = order[:number], found.counts
        refused = f"{number} templates of {components} components among {size} binaries"
    if loss > max_loss:
        more = "" if components == 1 else ", more components"
        raise UserError(
            f"MatchedFilter1d: {refused} lose {loss:.1%} of the SNR of the population, more than "
            f"max_loss = {max_loss:g}: set a larger bank_size or max_loss{more}, or a narrower "
            f"population"
        )
    # Templates that are nearest to no signal share one.
    counts = counts.double() + 1 / len(chosen)
    return TemplateChoice(
        members=tuple(chosen),
        weights=tuple(round(weight, 6) for weight in (counts / counts.sum()).tolist()),
        basis=basis,
        before=before,
        after=after,
        loss=round(loss, 6),
        components=components,
    )


def fewest_templates(
    evaluate: Callable[[int], tuple[TemplateComponents, float]], most: int, max_loss: float
) -> tuple[int, TemplateComponents, float]:
    """Return how few templates lose no more than allowed, their components and their loss.

    Numbers are multiples of `TEMPLATE_STEP`, found by bisection: the loss falls with the number.

    Args:
        evaluate: returns the components of so many templates, and their loss.
        most: templates that there can be; these are returned where they lose more.
        max_loss: that is allowed.
    """
    best = (most, *evaluate(most))
    if best[2] > max_loss:
        return best
    too_few, enough = 0, -(-most // TEMPLATE_STEP)  # in steps
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        number = middle * TEMPLATE_STEP
        found, loss = evaluate(number)
        if loss <= max_loss:
            enough, best = middle, (number, found, loss)
        else:
            too_few = middle
    return best


def filter_lengths(banks: Sequence[Tensor], where: BankInWindow, scale: float) -> tuple[int, int]:
    """Return the samples of a filter before the merger and from it on.

    Args:
        banks: whitened waveforms of each detector, (binary, 2, time).
        where: in windows of what length.
        scale: of the parts of the SNR^2 that may lie outside.

    Raises:
        UserError: the window has less before the earliest merger or after the latest one.
    """
    merger, before, after = where.merger, 0, 0
    for white in banks:
        energy = white.square().double().mean((0, 1))  # (time,); all of it is one
        late = energy.flip(0).cumsum(0).flip(0)  # what lies at a sample and after it
        after = max(after, int((late > scale * AFTER).sum()) - merger)
        lost_after = late[min(merger + after, len(late) - 1)]
        early = energy.cumsum(0)  # what lies before a sample and at it
        kept_from = int((early <= scale * OUTSIDE - lost_after).sum())
        before = max(before, merger - kept_from)
    before, after = (max(-(-length // MULTIPLE), 1) * MULTIPLE for length in (before, after))
    # Of the earliest and of the latest arrival.
    room_before, room_after = merger - where.spread, where.room - where.spread
    if before > room_before or after > room_after:
        seconds = [length / where.rate for length in (before, after, room_before, room_after)]
        raise UserError(
            f"MatchedFilter1d: filters that hold {1 - scale * OUTSIDE:.1%} of the population's "
            f"SNR^2 reach from {seconds[0]:.2f} s before the merger to {seconds[1]:.2f} s after "
            f"it, and the window has {seconds[2]:.2f} s before the earliest merger and "
            f"{seconds[3]:.2f} s after the latest one: set a longer observation.window, another "
            f"population.merger or a larger max_loss"
        )
    return before, after


def leading_filters(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the right singular vectors of rows, and the mean energy of a row along each.

    Args:
        rows: (waveform, samples).

    Returns:
        (samples, samples) float32, the vectors as rows, and (samples,) float64.
    """
    # The eigenvectors of A^T A are the right singular vectors of A. The squares of the singular
    # values fall to 1e-4 of the largest where the basis ends, far above float64's rounding.
    gram = rows.T.double() @ rows.double()
    energies, vectors = torch.linalg.eigh(gram)  # rising
    return vectors.flip(1).T.float().contiguous(), energies.flip(0).clamp_min(0) / len(rows)


def basis_size(energies: Tensor, lost: float) -> int:
    """Return how many filters leave out no more than a part of the mean energy of the rows."""
    rest = energies.sum() - energies.cumsum(0)
    needed = int((rest > lost * energies.sum()).sum()) + 1
    return min(-(-needed // BASIS_MULTIPLE) * BASIS_MULTIPLE, len(energies))


def found_snr(
    signals: Tensor, filters: Tensor, coefficients: Tensor, first: int, reach: int
) -> Tensor:
    """Return the part of the SNR of each signal that each template finds.

    Args:
        signals: of norm one, (signal, time).
        filters: an orthonormal basis, (basis, samples).
        coefficients: of the templates in it, (template, 2, basis).
        first: sample at which the filters begin.
        reach: samples by which they are shifted before and after that.

    Returns:
        (template, signal) float32 between 0 and 1.
    """
    signals = F.pad(signals, (reach, reach))  # silence outside the window
    best = torch.zeros(len(coefficients), len(signals))
    for begin in range(first, first + 2 * reach + 1):
        on_basis = signals[:, begin : begin + filters.shape[1]] @ filters.T  # (signal, basis)
        for start in range(0, len(coefficients), MATCHED_AT_A_TIME):
            rows = slice(start, start + MATCHED_AT_A_TIME)
            z = coefficients[rows] @ on_basis.T  # (templates, 2, signal)
            # 2 P = p^2 + q^2 is the square of the SNR that is found.
            best[rows] = torch.maximum(best[rows], z.square().sum(1))
    return best.sqrt()


def add_templates(
    matches: Sequence[Tensor], fitted: int, max_loss: float
) -> tuple[list[int], float]:
    """Return candidates, best first, and the mean loss of the signals that test them.

    Args:
        matches: of each detector, (candidate, signal): the first `fitted` signals choose, the
            others test.
        fitted: how many signals choose.
        max_loss: add candidates until the mean loss of the test is no more, for every detector.
    """
    to_choose = [match[:, :fitted].numpy() for match in matches]
    to_test = [match[:, fitted:].numpy() for match in matches]
    loss_of_all = max(float(1 - match.max(0).mean(dtype=np.float64)) for match in to_test)
    if loss_of_all > max_loss:
        return list(range(len(matches[0]))), loss_of_all
    tested = [np.zeros(match.shape[1], np.float32) for match in to_test]
    chosen: list[int] = []
    for candidate in greedy_order(to_choose):
        chosen.append(candidate)
        for best, match in zip(tested, to_test, strict=True):
            np.maximum(best, match[candidate], out=best)
        loss = max(float(1 - best.mean(dtype=np.float64)) for best in tested)
        if loss <= max_loss:
            break
    return chosen, loss


def greedy_order(matches: Sequence[np.ndarray]) -> Iterator[int]:
    """Yield candidates, each the one that adds most to what those before it find.

    Args:
        matches: of each detector, (candidate, signal).
    """
    found = [np.zeros(match.shape[1], np.float32) for match in matches]

    def gain_of(candidate: int) -> float:
        """Return what a candidate would add to the sum of what is found."""
        pairs = zip(matches, found, strict=True)
        return float(sum(np.maximum(match[candidate] - best, 0).sum() for match, best in pairs))

    # A gain can only fall as templates are added, so that one that was computed earlier is an upper
    # bound: the candidate with the largest bound is the best if its own gain still is the largest
    # (Minoux, Lecture Notes in Control and Information Sciences 7, 234, 1978).
    bounds = [(-gain_of(candidate), candidate) for candidate in range(len(matches[0]))]
    heapq.heapify(bounds)
    while bounds:
        candidate = bounds[0][1]
        gain = gain_of(candidate)
        heapq.heapreplace(bounds, (-gain, candidate))
        if bounds[0][1] != candidate:
            continue
        heapq.heappop(bounds)
        for best, match in zip(found, matches, strict=True):
            np.maximum(best, match[candidate], out=best)
        yield candidate
