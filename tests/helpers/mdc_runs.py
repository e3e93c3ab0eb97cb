"""Runs of benchmarks.mdc over six minutes of strain, with one template."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from simple_scorer import OneTemplateScorer

from benchmarks.mdc.figures_of_merit import collect_findings
from benchmarks.mdc.run_folder import RunFolder
from benchmarks.mdc.search_run import EventSettings, Search, run_searches
from benchmarks.mdc.strain_sources import SimulatedStrain
from configuration.class_with_arguments import Part
from physics.distance_laws import UniformChirpVolume
from physics.mass_laws import UniformComponents
from physics.observation import Observation
from physics.population import Population
from physics.spin_laws import NoSpins
from search.conditioned_stretch import ConditioningSettings
from simulation.strain_settings import StrainSettings

OBSERVATION = Observation(("H1", "L1"), 512, 2.0, 15.0, "aLIGOZeroDetHighPower")
# Binaries that are found for certain near by and never far away.
POPULATION = Population(
    masses=UniformComponents(30.0, 40.0),
    spins=Part(NoSpins),
    distance=UniformChirpVolume(30.0, 220.0),
    approximant="IMRPhenomD",
)
SETTINGS = StrainSettings(384, OBSERVATION, POPULATION, seed=5, longest_segment=128, gap=16)
CONDITIONING = ConditioningSettings()


def make_search(least: float = 30.0, slides: int = 0) -> Search:
    return Search(
        "one template",
        "one_template",
        OBSERVATION,
        OneTemplateScorer(OBSERVATION),
        EventSettings(cluster=1.0, least=least, slides=slides, shift=3.0),
        {"masses": [35.0, 35.0]},
    )


def run(path: Path, settings: StrainSettings = SETTINGS, search: Search | None = None):
    """Run a search and return its findings."""
    source, search = SimulatedStrain(settings), search or make_search()
    folder = RunFolder(path, source.identity())
    with folder.locked():
        findings = run_searches(source, folder, [search], CONDITIONING, show_progress=False)
        return collect_findings(source, folder, findings[search.key])


def content_digests(folder: Path) -> dict[str, str]:
    """Return a digest of every file of a run but for the seconds that it took."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".npz":
            with np.load(path) as file:
                arrays = {key: file[key] for key in file if "seconds" not in key}
            content = b"".join(key.encode() + arrays[key].tobytes() for key in sorted(arrays))
        elif path.is_file():
            content = path.read_bytes()
        else:
            continue
        digests[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return digests
