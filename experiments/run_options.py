"""What the command line of train.py decides, beside the config."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from experiments.seed_folders import seed_folder


@dataclass(frozen=True)
class RunOptions:
    """Options of a run, named as on the command line.

    Attributes:
        results: the folder of all results.
        resume: continue folds and keep predictions that are there.
        overwrite: move what is there aside and start anew.
        skip_existing: keep folds that have weights as they are, and resume the others.
        allow_unfinished: use weights of folds whose training has not ended, or was not begun.
        allow_changed_code: continue a run although the code of its own file has changed.
        inference: predict only.
        tta: average over the config's test-time views.
        dry_run: two batches, one epoch, two folds.
        pretrained: start from the pretrained weights that the config asks for.
        weights: a file to start the backbone from instead.
        num_workers: reader processes; None chooses by the device.
        cache_device: hold the caches on the device.
        compile: compile the network.
        show_progress: draw bars; None draws them where a person watches.
        checkpoint_every: minutes between saves within an epoch.
        log_steps: log the loss and the gradient every 50 steps.
        limit_fold: train this fold only.
        limit_seed: train this seed only, of a run of several.
        seed: which of a run's seeds this is; None for a run without seeds. `SeedRuns` sets it.
    """

    results: Path = Path("results")
    resume: bool = False
    overwrite: bool = False
    skip_existing: bool = False
    allow_unfinished: bool = False
    allow_changed_code: bool = False
    inference: bool = False
    tta: bool = False
    dry_run: bool = False
    pretrained: bool = True
    weights: str | None = None
    num_workers: int | None = None
    cache_device: bool = False
    compile: bool = False
    show_progress: bool | None = None
    checkpoint_every: float = 10.0
    log_steps: bool = False
    limit_fold: int | None = None
    limit_seed: int | None = None
    seed: int | None = None

    @property
    def continues(self) -> bool:
        """Whether folds that are there already are kept."""
        return self.resume or self.skip_existing

    def run_folder(self, name: str) -> Path:
        """Return the run directory: results/<name>, or that of a seed in it."""
        folder = Path(self.results) / name
        return folder if self.seed is None else seed_folder(folder, self.seed)
