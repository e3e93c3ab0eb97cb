"""Averages of likelihood ratios over the delays between detectors, with gradients of their own.

There is a term for each delay at each arrival time, many more than there are results. The graph
that torch records keeps several numbers for each of them. Here the terms are formed for some rows
at a time, which stay in a CPU's caches, and once more in the backward pass, where only those sums
are formed that someone asks for.

Either of template and time may be the innermost dimension in memory. Where it is the template, what
belongs to a delay is one block of memory, and all of this is fastest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Terms, over all delays, that are formed at a time: on a CPU, by each core, they fit its cache.
TERMS_AT_A_TIME = {"cpu": 2**18}
SMALLEST_SUM = 1e-30  # of ratios divided by their row's largest; float32 holds no less than 1e-38
BLOCK = 32  # times whose averages are one product of matrices


# --- two detectors with correlated amplitudes --------------------------------------------------


def log_sum_of_products(own: Tensor, first: Tensor, second: Tensor, log_weights: Tensor) -> Tensor:
    """Return log sum_u k(u) exp(own(t + u) + sum_q first_q(t) second_q(t + u)).

    Args:
        own: (B, template, time + 2 reach).
        first: (B, template, row, time), of q = 1 .. row.
        second: (B, template, row, time + 2 reach).
        log_weights: log k up to a constant, (2 reach + 1,). A weight of less than 1e-30 counts as
            1e-30.

    Returns:
        (B, template, time).
    """
    k = F.softmax(log_weights, 0).clamp_min(SMALLEST_SUM)
    # (B, template, row, time) -> (row, B, template, time)
    first, second = first.movedim(2, 0), second.movedim(2, 0)
    if torch.compiler.is_compiling():
        # A recorded graph takes all rows at once: parts would fix the size of its batch.
        exponents = form_exponents(own, first, second, first.shape[-1])
        return (exponents + k.log()[:, None, None, None]).logsumexp(0)
    if own.stride(1) > own.stride(2):
        return LogSumOfProducts.apply(own, first, second, k, -1)
    # Dimensions in the order that they have in memory, time before template.
    own, first, second = (x.transpose(-2, -1) for x in (own, first, second))
    return LogSumOfProducts.apply(own, first, second, k, -2).transpose(-2, -1)


def form_exponents(
    own: Tensor,
    first: Tensor,
    second: Tensor,
    times: int,
    time_dim: int = -1,
    out: Tensor | None = None,
) -> Tensor:
    """Return own(t + u) + sum_q first_q(t) second_q(t + u), (delay, B, template, time).

    Template and time may change places in all of the arguments and the result.

    Args:
        own, first, second: as in `log_sum_of_products`, but for the rows q, which come first.
        times: how many.
        time_dim: the dimension of time in each, -1 or -2.
        out: where to put them.
    """
    exponents = over_delays(own, times, time_dim)
    for one, other in zip(first, second, strict=True):
        delayed = over_delays(other, times, time_dim)
        exponents = torch.addcmul(exponents, one, delayed, out=out)
    return exponents


def over_delays(x: Tensor, times: int, time_dim: int) -> Tensor:
    """View x(t) as x(t + u): (..., time + 2 reach, ...) -> (delay, ..., time, ...)."""
    # The windows that `unfold` counts in the dimension of time are the delays; their times are put
    # last.
    windows = x.unfold(time_dim, times, 1)
    return windows.movedim(time_dim - 1, 0) if time_dim == -1 else windows.movedim(-3, 0).mT


class LogSumOfProducts(torch.autograd.Function):
    """`log_sum_of_products`, which keeps its inputs and its result for the backward pass.

    With w_u(t) = exp(exponent - result(t)), and g(t) the gradient of the result,

        d k(u) = sum_t g(t) w_u(t),
        d own(j) = sum_u k(u) (w_u g)(j - u),
        d first_q(t) = g(t) sum_u k(u) w_u(t) second_q(t + u),
        d second_q(j) = sum_u k(u) (w_u g first_q)(j - u).
    """

    @staticmethod
    def forward(
        ctx, own: Tensor, first: Tensor, second: Tensor, k: Tensor, time_dim: int
    ) -> Tensor:
        """Take what `form_exponents` takes and the weights; return (B, template, time)."""
        result = own.new_empty(first.shape[1:])
        for part in parts_of(result, len(k), time_dim):
            exponents = part.exponents(own, first, second)
            largest = exponents.amax(0)
            ratios = exponents.sub_(largest).exp_()
            # (delay, B, template, time) -> (delay, B x template x time)
            sums = torch.mv(ratios.flatten(1).T, k).view_as(largest)
            torch.add(sums.log_(), largest, out=result[part.at])
        ctx.save_for_backward(own, first, second, k, result)
        ctx.time_dim = time_dim
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        own, first, second, k, result = ctx.saved_tensors
        of_own, of_first, of_second, of_k = (
            torch.zeros_like(x, memory_format=torch.contiguous_format) if needed else None
            for x, needed in zip((own, first, second, k), ctx.needs_input_grad, strict=False)
        )
        for part in parts_of(result, len(k), ctx.time_dim):
            g = gradient[part.at]
            exponents = part.exponents(own, first, second)
            shares = exponents.sub_(result[part.at]).exp_()  # w, (delay, B, template, time)
            if of_k is not None:
                of_k += torch.mv(shares.flatten(1), g.flatten())
            shares.mul_(k[:, None, None, None])
            if of_first is not None:
                sums = of_first[:, *part.at]
                for w, delayed in zip(shares, part.delayed(second), strict=True):
                    sums.addcmul_(w, delayed)
                sums.mul_(g)
            if of_own is not None:
                for w, delayed in zip(shares, part.delayed(of_own), strict=True):
                    delayed.addcmul_(w, g)
            if of_second is not None:
                weighted = first[:, *part.at] * g
                for w, delayed in zip(shares, part.delayed(of_second), strict=True):
                    delayed.addcmul_(w, weighted)
        return of_own, of_first, of_second, of_k, None


@dataclass(frozen=True)
class Part:
    """Results whose terms are formed together: some rows, or some times or templates of one row.

    Attributes:
        at: where they are in the result.
        longer: where in what reaches further in time by all delays.
        times: how many.
        time_dim: the dimension of time, -1 or -2.
        memory: for the terms.
    """

    at: tuple[slice, slice]
    longer: tuple[slice, slice]
    times: int
    time_dim: int
    memory: Tensor

    def exponents(self, own: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return the exponents of these results, in the part's own memory."""
        one, other = first[:, *self.at], second[:, *self.longer]
        return form_exponents(
            own[self.longer], one, other, self.times, self.time_dim, out=self.memory
        )

    def delayed(self, x: Tensor) -> Tensor:
        """View what reaches further, (..., B, template, time + 2 reach), as (delay, ...)."""
        return over_delays(x[..., *self.longer, :], self.times, self.time_dim)


def parts_of(result: Tensor, delays: int, time_dim: int) -> Iterator[Part]:
    """Yield the parts of a result of (B, template, time) or (B, time, template)."""
    batch, lines, columns = result.shape
    budget = TERMS_AT_A_TIME.get(result.device.type, 2**30)
    if result.device.type == "cpu":
        budget *= torch.get_num_threads()  # each core has a cache of its own
    # The second dimension is cut where one row is too much, the one that is not innermost.
    lines_at_a_time = min(max(budget // (delays * columns), 1), lines)
    rows_at_a_time = min(max(budget // (delays * columns * lines), 1), max(batch, 1))
    memory = result.new_empty(delays * rows_at_a_time * lines_at_a_time * columns)
    for row in range(0, batch, rows_at_a_time):
        rows = slice(row, min(row + rows_at_a_time, batch))
        for line in range(0, lines, lines_at_a_time):
            at = slice(line, min(line + lines_at_a_time, lines))
            times, longer = columns, at
            if time_dim == -2:
                times, longer = at.stop - at.start, slice(at.start, at.stop + delays - 1)
            shape = (delays, rows.stop - rows.start, at.stop - at.start, columns)
            yield Part(
                (rows, at),
                (rows, longer),
                times,
                time_dim,
                memory[: math.prod(shape)].view(shape),  # one block of memory whatever the shape
            )


# --- one detector ------------------------------------------------------------------------------


def log_average(log_ratio: Tensor, log_weights: Tensor) -> Tensor:
    """Return log sum_u k(u) Lambda(t + u).

    Where all ratios of a sum are too small beside the row's largest for float32, as beside a loud
    event, the largest of them stands for the sum, as if delays were equally likely.

    Args:
        log_ratio: log Lambda of one detector, at times from -reach to time + reach:
            (B, template, time + 2 reach).
        log_weights: log k(u) up to a constant, (2 reach + 1,).

    Returns:
        (B, template, time).
    """
    k = F.log_softmax(log_weights, 0).exp()  # weights that sum to one
    # A recorded graph may not depend on what the ratios are, and for a GPU the host would have to
    # wait to know it.
    if torch.compiler.is_compiling() or log_ratio.device.type != "cpu":
        return log_average_of_any(log_ratio, k)
    average, smallest = LogAverage.apply(log_ratio, k)
    faint = (smallest <= SMALLEST_SUM).nonzero().flatten()  # rows
    if len(faint):
        average = average.index_copy(0, faint, log_average_of_any(log_ratio[faint], k))
    return average


def log_average_of_any(log_ratio: Tensor, k: Tensor) -> Tensor:
    """Return what `log_average` does, from weights k that sum to one, as torch records it."""
    extended, num_delays = log_ratio.shape[-1], len(k)
    num_times = extended - num_delays + 1
    # sum_u k(u) Lambda(t + u) = sum_j Lambda(j) K(j, t) with K(j, t) = k(j - t)
    banded = banded_matrix(k, num_times).T  # (extended, num_times)
    # log sum exp with the row's largest ratio taken out before, so that nothing overflows.
    largest = log_ratio.detach().amax((1, 2), keepdim=True)  # (B, 1, 1)
    sums = (log_ratio - largest).exp() @ banded  # (B, template, num_times)
    loudest = F.max_pool1d(log_ratio, num_delays, 1) - math.log(num_delays)
    exact = sums.clamp_min(SMALLEST_SUM).log() + largest  # the clamp keeps gradients finite
    return torch.where(sums > SMALLEST_SUM, exact, loudest)


def banded_matrix(k: Tensor, num_times: int) -> Tensor:
    """Return the matrix of k(j - t), (num_times, num_times + 2 reach), from k, (2 reach + 1,)."""
    extended = num_times + len(k) - 1
    # Row t holds k in its columns t to t + 2 reach. Written out row after row, k repeats every
    # `extended` + 1 numbers, with zeros between.
    rows = F.pad(k, (0, num_times)).repeat(num_times)
    # (num_times x (extended + 1),) -> (num_times, extended)
    return rows[: extended * num_times].reshape(-1, extended)


class LogAverage(torch.autograd.Function):
    """`log_average` where no sum is too small, and the smallest sum of each row.

    With E(j) = exp(log Lambda(j) - largest), the sums S(t) = sum_u k(u) E(t + u), the gradient g of
    the result and G = g / S,

        d log Lambda(j) = E(j) sum_u k(u) G(j - u),    d k(u) = sum_t G(t) E(t + u).

    Both sums over u are products of matrices, a block of times each: of a banded matrix of all
    times most would be zeros.
    """

    @staticmethod
    def forward(ctx, log_ratio: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Take (B, template, time + 2 reach) and weights; return (B, template, time) and (B,)."""
        largest = log_ratio.amax((1, 2), keepdim=True)  # (B, 1, 1)
        # (B, template, time + 2 reach) -> (B, time + 2 reach, template)
        ratios = (log_ratio - largest).transpose(1, 2).contiguous().exp_()
        sums = average_blocks(ratios, k)  # (B, time, template)
        ctx.save_for_backward(ratios, k, sums)
        smallest = sums.amin((1, 2))
        ctx.mark_non_differentiable(smallest)
        result = sums.log().add_(largest)
        return result.transpose(1, 2), smallest  # (B, time, template) -> (B, template, time)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None]:
        ratios, k, sums = ctx.saved_tensors
        reach_twice = len(k) - 1
        # Where a sum is too small it stands for nothing, and its gradient is zero.
        of_sums = gradient.transpose(1, 2) / sums.clamp_min(SMALLEST_SUM)  # G, (B, time, template)
        of_ratio = of_weights = None
        if ctx.needs_input_grad[0]:
            padded = F.pad(of_sums, (0, 0, reach_twice, reach_twice))
            of_ratio = average_blocks(padded, k.flip(0)).mul_(ratios).transpose(1, 2)
        if ctx.needs_input_grad[1]:
            of_weights = torch.zeros_like(k)
            for start in range(0, of_sums.shape[1], BLOCK):
                block = of_sums[:, start : start + BLOCK]  # (B, n, template)
                seen = ratios[:, start : start + block.shape[1] + reach_twice]
                products = torch.bmm(block, seen.transpose(1, 2)).sum(0)  # (n, n + 2 reach)
                # Entry (t, t + u) belongs to delay u: (n, n + 2 reach) -> (n, 2 reach + 1)
                diagonals = products.as_strided((len(products), len(k)), (len(products[0]) + 1, 1))
                of_weights += diagonals.sum(0)
        return of_ratio, of_weights


def average_blocks(ratios: Tensor, k: Tensor) -> Tensor:
    """Return sum_u k(u) ratios(t + u): (B, time + 2 reach, template) -> (B, time, template)."""
    batch, extended, templates = ratios.shape
    num_times = extended - len(k) + 1
    sums = ratios.new_empty(batch, num_times, templates)
    banded = banded_matrix(k, min(BLOCK, num_times))
    for start in range(0, num_times, BLOCK):
        number = min(BLOCK, num_times - start)
        matrix = banded[:number, : number + len(k) - 1].expand(batch, -1, -1)
        block = ratios[:, start : start + number + len(k) - 1]
        torch.bmm(matrix, block, out=sums[:, start : start + number])
    return sums
