"""Where the checkout, the helpers of the tests and the real data beside the checkout lie."""

from __future__ import annotations

from pathlib import Path

HELPERS = Path(__file__).resolve().parent
ROOT = HELPERS.parent.parent
SHARED = ROOT.parent / "shared"
