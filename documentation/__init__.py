"""The reference that is written from the code, and the site that is built of docs/.

`python -m documentation` writes the parts of docs/reference/ that stand between marks: settings
from experiments/settings.py, command lines from their parsers, classes from their docstrings.
`make docs` builds the site with MkDocs. Imports anything; nothing imports it. Open __main__.py
first.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
