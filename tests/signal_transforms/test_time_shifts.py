"""Time shifts found again in their output, and the alignment against numpy's correlation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from strain_batches import ALWAYS

import transforms as T
from runtime.errors import UserError


def found_shifts(x: torch.Tensor, y: torch.Tensor, limit: int) -> list[int]:
    """By how much each row (time,) was moved, its edges zeroed; asserts that it was."""
    shifts = []
    for before, after in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True):
        for shift in range(-limit, limit + 1):
            moved = torch.zeros_like(before)
            source = before[max(0, -shift) : len(before) - max(0, shift)]
            moved[max(0, shift) : max(0, shift) + len(source)] = source
            if torch.equal(moved, after):
                shifts.append(shift)
                break
        else:
            pytest.fail("the row is not a shifted one")
    return shifts


def test_time_shifts():
    x = torch.randn(60, 3, 50)
    shifts = found_shifts(x, T.TimeShift(4, **ALWAYS)(x), 6)
    assert shifts[::3] == shifts[1::3] == shifts[2::3]
    assert set(shifts) == set(range(-4, 5))
    shifts = found_shifts(x, T.IndependentTimeShift((-2, 5), **ALWAYS)(x), 6)
    assert shifts[::3] != shifts[1::3]
    assert set(shifts) == set(range(-2, 6))
    y = T.GlobalTimeShift(**ALWAYS)(x)
    rolls = [
        next(s for s in range(50) if torch.equal(a.roll(s, dims=-1), b))
        for a, b in zip(x, y, strict=True)
    ]
    assert len(set(rolls)) > 25
    for make in (lambda: T.TimeShift(-1), lambda: T.IndependentTimeShift((3, 1))):
        with pytest.raises(UserError):
            make()


@pytest.mark.parametrize("amplitude", [1.0, 1e-23])
def test_align_phase(amplitude):
    pulse = torch.exp(-(((torch.arange(300.0) - 150) / 4) ** 2)) * amplitude
    x = torch.stack([pulse, pulse.roll(17), pulse.roll(-30)]).repeat(2, 1, 1)
    x[1] = x[1, 0]  # identical channels stay where they are
    y = T.AlignPhase(40)(x)
    torch.testing.assert_close(y, x[:, :1].expand_as(x), rtol=0, atol=0)
    near = T.AlignPhase(10)(x)  # as far as it is allowed to
    torch.testing.assert_close(near[0, 1], pulse.roll(7), rtol=0, atol=0)
    with pytest.raises(UserError, match="exceeds"):
        T.AlignPhase(400)(x)


def test_align_phase_is_the_maximum_of_numpys_correlation():
    x = torch.randn(5, 3, 200).cumsum(-1)
    y = T.AlignPhase(30)(x)
    for row, found in zip(x.double().numpy(), y, strict=True):
        for i in (1, 2):
            full = np.correlate(row[0], row[i], "full")  # zero lag at 199
            shift = int(full[199 - 30 : 199 + 31].argmax()) - 30
            np.testing.assert_array_equal(found[i], np.roll(row[i], shift).astype(np.float32))
