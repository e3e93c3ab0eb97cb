"""Outputs of a bank's filters on a stretch beside numpy's correlation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_bank import chirp_network

from search.bank_statistics import bank_of_channel
from search.filter_outputs import DetectorOutputs, Summary, fastest_type, usable_ticks
from search.spectral_whitening import WhitenedStrain


@pytest.fixture(scope="module")
def outputs() -> DetectorOutputs:
    rng = np.random.default_rng(0)
    white = WhitenedStrain(rng.standard_normal(3001).astype(np.float32), np.ones(3001, bool))
    bank = bank_of_channel(chirp_network(), 0)
    return DetectorOutputs(white, bank, 6, 512.0, torch.device("cpu"))


def expected_at(outputs: DetectorOutputs, sample: int) -> np.ndarray:
    """Return z of all templates whose merger lies at a sample, (template, 2)."""
    bank = outputs.bank
    filters = (bank.templates @ bank.filters).numpy()  # (template, 2, length)
    white = np.pad(outputs.strain.numpy(), 5000)
    # `strain` has silence of its own before the first sample
    begin = int(outputs.sample_of(0)) + 5000 + sample
    return filters @ white[begin : begin + bank.length]


def test_outputs_at_ticks_and_at_samples(outputs: DetectorOutputs) -> None:
    first = torch.tensor([-3, 100, 1490])
    at_ticks = outputs.quadratures(first, 37).numpy()
    at_samples = outputs.quadratures_at_samples(first, 37).numpy()
    assert at_ticks.shape == at_samples.shape == (3, 4, 2, 37)
    for row, tick in enumerate(first.tolist()):
        for place in (0, 20, 36):
            for found, sample in ((at_ticks, (tick + place) * 2), (at_samples, tick * 2 + place)):
                expected = expected_at(outputs, sample)
                np.testing.assert_allclose(found[row, ..., place], expected, atol=1e-5)


def test_windows_begin_at_ticks(outputs: DetectorOutputs) -> None:
    windows = outputs.windows(torch.tensor([10]), 50)
    begin = int(outputs.sample_of(0)) + outputs.bank.before
    assert torch.equal(windows[0], outputs.strain[begin + 20 : begin + 70])


def test_summaries_see_the_powers_of_all_blocks(outputs: DetectorOutputs) -> None:
    """Whatever type powers are computed in, with the ticks before and after a block."""
    block, reach = outputs.block, outputs.reach
    assert block == 8  # 1/32 s
    largest, middle = outputs.summarise(
        [Summary(lambda p: p.float().amax(1)), Summary(lambda p: p[:, reach + 5].float())]
    )
    blocks = -(-outputs.ticks // block)
    first = torch.arange(blocks) * block
    powers = outputs.quadratures(first - reach, block + 2 * reach).square().sum(2) / 2
    torch.testing.assert_close(largest.T.float(), powers.amax(-1), rtol=0.03, atol=0.05)
    torch.testing.assert_close(middle.T.float(), powers[..., reach + 5], rtol=0.03, atol=0.1)


def test_ticks_are_usable_where_the_whole_filter_is(outputs: DetectorOutputs) -> None:
    usable = np.ones(3001, bool)
    usable[1000:1010] = False
    found = usable_ticks(usable, outputs.bank, outputs.ticks)
    before, after = outputs.bank.before, outputs.bank.length - outputs.bank.before
    for tick in range(outputs.ticks):
        begin, end = tick * 2 - before, tick * 2 + after
        whole = begin >= 0 and end <= 3001 and usable[begin:end].all()
        assert found[tick] == whole


def test_the_fastest_type_is_a_type_of_floats() -> None:
    assert fastest_type(torch.device("cpu")) in (torch.float32, torch.bfloat16)
