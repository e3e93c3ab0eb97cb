"""Faults of strain around an event: what is added, and the table of what a search makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from paths import ROOT
from real_strain import START, coloured_noise
from small_bank import PAIR, chirp, chirp_network

from benchmarks.search.faulty_strain import (
    BLIP_SNR,
    Faults,
    hold,
    main,
    measure_faults,
    scale_beginning,
    scale_blip,
    whitened,
)
from runtime.errors import UserError
from search.bank_statistics import LikelihoodRatio
from search.filter_bank_scorer import FilterBankScorer

RATE, SECONDS, EVENT = 1024, 32, 16.0


@pytest.fixture(scope="module")
def strain() -> dict[str, np.ndarray]:
    """Noise of design curves with one chirp of a small bank, loud in both detectors."""
    signal = 8e-22 * chirp(np.arange(SECONDS * RATE) / RATE - EVENT, 120.0)
    return {
        name: coloured_noise(name, SECONDS, RATE, seed) + (-1) ** seed * signal
        for seed, name in enumerate(("H1", "L1"))
    }


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_event_is_in_every_row(strain) -> None:
    scorer = FilterBankScorer([LikelihoodRatio(chirp_network(), (0, 1))], PAIR, 2)
    head, _, *rows = measure_faults(
        hold(strain, RATE, START), START + EVENT, {"small": (scorer, PAIR)}
    )
    assert len(rows) == 6
    columns = cells(head)
    first = dict(zip(columns, cells(rows[0]), strict=True))
    assert first["strain"] == "as recorded"
    assert first["place"] == "1"
    for row in rows:
        found = dict(zip(columns, cells(row), strict=True))
        assert float(found["score"]) == pytest.approx(float(first["score"]), rel=0.3)
        assert float(found["L1"]) == pytest.approx(float(first["L1"]), rel=0.3)
        # This bank knows no glitches. Nor does it rank the event above the step of a level where
        # noise is as loud below 10 Hz as it is here, which rings.
        if found["strain"].endswith("zeros in H1"):
            assert found["place"] == "1", row
        assert (found["χ² H1"], found["χ² L1"]) == ("-", "-")  # too short for sixteen bands


def test_time_slides_give_a_rate_of_false_alarms(strain, monkeypatch) -> None:
    monkeypatch.setattr(Faults, "cases", lambda self: {"as recorded": ()})
    scorer = FilterBankScorer([LikelihoodRatio(chirp_network(), (0, 1))], PAIR, 2)
    head, _, row = measure_faults(
        hold(strain, RATE, START), START + EVENT, {"small": (scorer, PAIR)}, slides=4
    )
    found = dict(zip(cells(head), cells(row), strict=True))
    # The event is louder than all noise in at most 4 slides of 30 s, two minutes.
    assert found["false alarms an hour"].startswith("< ")
    assert float(found["false alarms an hour"][2:]) > 30


def test_a_blip_has_its_snr_in_the_noise_of_its_detector(strain) -> None:
    blip = scale_blip(strain, RATE, START, EVENT, "H1", PAIR)
    faulty = {name: values.copy() for name, values in strain.items()}
    Faults("H1", blip).add_blip(faulty, RATE, EVENT)
    assert np.array_equal(faulty["L1"], strain["L1"])
    change = whitened(hold(faulty, RATE, START), "H1", PAIR) - whitened(
        hold(strain, RATE, START), "H1", PAIR
    )
    assert np.linalg.norm(change) == pytest.approx(BLIP_SNR, rel=0.03)
    loudest = np.abs(blip).argmax() / RATE
    assert loudest == pytest.approx(EVENT + 6, abs=0.01)


def test_levels_and_drop_outs() -> None:
    strain = {"H1": np.ones(SECONDS * RATE), "L1": np.ones(SECONDS * RATE)}
    scale_beginning(strain, RATE, EVENT, 3.0)
    for values in strain.values():
        assert (values[: round(7.7 * RATE)] == 3).all()
        assert (values[round(8.3 * RATE) :] == 1).all()
        assert (np.diff(values) <= 0).all()
    Faults("H1", np.zeros(1)).drop_out(strain, RATE, EVENT)
    assert (strain["H1"] == 0).sum() == RATE // 2
    assert (strain["L1"] > 0).all()


def test_strain_that_is_too_short_is_refused(strain) -> None:
    recordings = hold(strain, RATE, START)
    with pytest.raises(UserError, match=r"lacks 8\.5 s before it or 6\.5 s after it"):
        measure_faults(recordings, START + 5.0, {})
    other = recordings | hold({"L1": strain["L1"][: 20 * RATE]}, RATE, START)
    with pytest.raises(UserError, match="different rates or times"):
        measure_faults(other, START + EVENT, {})


@pytest.mark.slow  # computes the templates of a bank
def test_gw150914_is_first_beside_every_fault(capsys) -> None:
    """With the network that knows glitches."""
    folder = ROOT / "examples" / "gw150914"
    words = [f"{name}={next(folder.glob(f'*{name}*.hdf5'))}" for name in ("H1", "L1")]
    assert main(["--strain", *words, "--event", "1126259462.42", "--config", "Wave09"]) == 0
    lines = capsys.readouterr().out.splitlines()  # among lines of progress
    head, _, *rows = [line for line in lines if line.startswith("|")]
    assert {cells(row)[cells(head).index("place")] for row in rows} == {"1"}
    assert len(rows) == 6
