"""Lookahead against its formula: slow weights go a share of the way of k steps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from runtime.errors import UserError
from training.lookahead import Lookahead


def test_slow_weights_go_a_share_of_the_way() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = Lookahead(k=2, alpha=0.25).around(torch.optim.SGD([weight], lr=1.0))
    seen = []
    for _ in range(6):
        weight.grad = torch.tensor([-1.0])  # every step of SGD adds 1
        optimizer.step()
        seen.append(weight.item())
    # The first two steps begin the slow weights at 2. Then two steps lead to 4, of whose way from 2
    # a quarter is gone: 2.5. Again: 4.5, and 2.5 + 0.25 x 2 = 3.
    assert seen == pytest.approx([1.0, 2.0, 3.0, 2.5, 3.5, 3.0])


@pytest.mark.parametrize("arguments", [{"k": 0}, {"alpha": 0.0}, {"alpha": 1.5}])
def test_numbers_that_make_no_sense_are_refused(arguments: dict) -> None:
    with pytest.raises(UserError, match="Lookahead: k = "):
        Lookahead(**arguments)
