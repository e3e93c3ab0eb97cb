"""The places of the detectors: names, and distances between them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from paths import ROOT

from physics.sites import find_site, longest_delay
from runtime.errors import UserError


def test_unknown_detector_is_refused() -> None:
    with pytest.raises(UserError, match=r"no detector 'H2'.*choose from A1, CE, ET1"):
        find_site("H2")


def test_longest_delay_is_the_way_between_the_sites() -> None:
    assert longest_delay("H1", "L1") == pytest.approx(0.010013, abs=1e-6)  # s, LIGO-T980044
    assert longest_delay("H1", "V1") == longest_delay("V1", "H1") == pytest.approx(0.0273, abs=1e-4)


def test_waveforms_are_computed_without_torch() -> None:
    """Worker processes import the waveforms, and torch takes seconds to import."""
    code = "import sys, physics.waveforms; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120).returncode == 0
