"""Which runs a pipeline needs and in which order, straight from configs.py; for the Snakefile.

experiments x folds -> their predictions -> pseudo-label experiments x folds -> their
predictions -> stack, report
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from configuration.config_class import ConfigMeta, config_named, published_stack
from configuration.config_references import load_config
from configuration.overrides import override
from experiments.partial_splits import ARGUMENTS
from experiments.seed_folders import check_seeds
from runtime.errors import UserError, nearest
from runtime.machine import num_cores


@dataclass(frozen=True)
class Plan:
    """The runs of a pipeline.

    Attributes:
        runs: every experiment by the name of its run, sources before those that need them.
        members: the names of those that are stacked.
        results: the folder of all results.
        settings: `--set` of every run.
        options: further arguments of every training.
        python: the interpreter that runs them.
    """

    runs: dict[str, ConfigMeta]
    members: tuple[str, ...]
    results: str
    settings: tuple[str, ...] = ()
    options: str = ""
    python: str = "python"

    def folds(self, run: str) -> list[int]:
        return list(range(self.runs[run].cv))

    def networks(self, run: str) -> list[str]:
        """Return the networks of a run: fold0, or seed0/fold0 where it has several seeds."""
        seeds = [f"seed{seed}/" for seed in self.runs[run].seeds] or [""]
        return [f"{seed}fold{fold}" for seed in seeds for fold in self.folds(run)]

    def network_to_start_from(self, run: str, network: str) -> str | None:
        """Return the network of `weight_source` that one of a run starts from, as in `networks`."""
        source = self.weight_source(run)
        if source is None:
            return None
        # A run with seeds may start from one without any, and each of its seeds from the same.
        return network if network in self.networks(source) else network.rpartition("/")[2]

    def label_source(self, run: str) -> str | None:
        """Return the run whose predictions label the test samples of this one."""
        labels = self.runs[run].pseudo_labels
        return None if labels is None else labels.params["source"]

    def weight_source(self, run: str) -> str | None:
        """Return the run whose weights this one starts from."""
        config = weight_source(self.runs[run])
        return None if config is None else config.name

    def wants_views(self, run: str) -> bool:
        """Whether the stack takes its predictions with test-time views: as published, or yes."""
        return run in self.members and self.runs[run].published.get("tta", True)

    def command(self, run: str, *arguments: str) -> str:
        """Return a command line for one run."""
        script = "train.py" if self.label_source(run) is None else "train_pseudo.py"
        config = self.runs[run].reference
        words = [self.python, script, "--config", config, "--results", self.results]
        words += arguments
        if self.settings:
            words += ["--set", *self.settings]
        return shlex.join(words)

    def train_network(self, run: str, network: str) -> str:
        """Return the command that trains a network, named as in `networks`."""
        seed, _, fold = network.rpartition("/")
        return self.train(
            run, int(fold.removeprefix("fold")), int(seed.removeprefix("seed")) if seed else None
        )

    def train(self, run: str, fold: int, seed: int | None = None) -> str:
        """Return the command that trains a fold; pipeline_jobs.py runs these command lines."""
        options = shlex.split(self.options)
        part = [] if seed is None else ["--limit_seed", str(seed)]
        # --resume, because Snakemake runs the same command again after a failure. --gpu free,
        # because several jobs share the GPUs of a machine.
        part += ["--limit_fold", str(fold), "--resume", "--gpu", "free"]
        return self.command(run, *part, *options)

    def predict(self, run: str, views: bool = False) -> str:
        """Return the command that predicts."""
        extra = ["--tta"] if views else []
        return self.command(run, "--inference", "--resume", "--gpu", "free", *extra)

    def job(self) -> str:
        """Return the beginning of a job's command line, before the mark and the command."""
        return shlex.join([self.python, "-m", "experiments.pipeline_jobs", "configs"])

    def stack(self) -> str:
        words = [self.python, "stacking.py", "--results", self.results, "--experiments"]
        return shlex.join([*words, *self.members])

    def report(self) -> str:
        return shlex.join([self.python, "report.py", "--results", self.results])


KEYS = ("experiments", "results", "settings", "options", "threads", "python", "marks")


def read_config(config: Mapping[str, Any]) -> tuple[Plan, int, str | None]:
    """Return the plan, the cores of a job and the folder of marks that `--config` asks for.

    Raises:
        UserError: an unknown key, threads that are no number, or as in `make_plan`.
    """
    # Snakemake accepts any key, so that a misspelt one would silently be ignored.
    for key in config:
        if key not in KEYS:
            raise UserError(
                f"--config {key}=…: there is no such key{nearest(key, KEYS)}; there are "
                f"{', '.join(KEYS)}"
            )
    experiments = config.get("experiments", "")
    if "experiments" in config and not experiments:
        raise UserError("--config experiments=: name one, or leave the key out for all")
    threads = config.get("threads", share_of_cores())
    if isinstance(threads, bool) or not str(threads).isdecimal() or int(threads) < 1:
        raise UserError(f"--config threads={threads}: expected a number of cores")
    names = experiments if isinstance(experiments, list | tuple) else str(experiments)
    plan = make_plan(
        names,
        str(config.get("results", "results")),
        str(config.get("settings", "")),
        str(config.get("options", "")),
        str(config.get("python", sys.executable)),
    )
    marks = config.get("marks")
    return plan, int(threads), None if marks is None else str(marks)


def split_words(name: str, text: str) -> list[str]:
    """Split as a shell does.

    Raises:
        UserError: a quote is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserError(f"{name} = {text!r}: {str(error).lower()}") from error


def make_plan(
    experiments: str | Sequence[str] = (),
    results: str = "results",
    settings: str = "",
    options: str = "",
    python: str = "python",
) -> Plan:
    """Return the runs that lead to a stack of some experiments.

    Args:
        experiments: class names, or files of experiments (`mine.py:MyTry`), separated by commas in
            a string; none for the published stack.
            Experiments whose predictions or weights they need are added, and are not stacked.
        results: the folder of all results.
        settings: `key=value` words for `--set` of every run.
        options: further arguments of every training, e.g. '--no_pretrained'.
        python: the interpreter that runs them.

    Raises:
        UserError: an unknown experiment or setting; settings that rename the runs; a source that
            is no experiment.
    """
    names = experiments.split(",") if isinstance(experiments, str) else list(experiments)
    names = [name.strip() for name in names if name.strip()]
    if not names:
        names = [config.__name__ for config in published_stack()]
    words = tuple(split_words("settings", settings))
    split_words("options", options)  # refuses unbalanced quotes now and not in the first job
    if any(word.partition("=")[0].strip() == "name" for word in words):
        raise UserError(
            f"settings = {settings!r}: a pipeline finds its runs by their names; write a class "
            f"instead of renaming one"
        )
    chosen = [load_config(name) for name in names]
    # Twice the same run in a stack would count it with double weight.
    if len(set(chosen)) < len(chosen):
        raise UserError(f"experiments = {', '.join(names)}: one is named twice")
    runs: dict[str, ConfigMeta] = {}
    for config in chosen:
        for needed in with_sources(config):
            # A dict keeps the order: sources come before the runs that need them.
            runs[needed.name] = override(needed, words)
    members = tuple(config.name for config in chosen)
    for config in runs.values():
        check_seeds(config)
    for name in members:
        check_can_be_stacked(runs[name])
    return Plan(runs, members, results, words, options, python)


def check_can_be_stacked(config: ConfigMeta) -> None:
    """Refuse an experiment whose stack would be refused when all its networks are trained.

    Raises:
        UserError: its split leaves samples without validation.
    """
    if config.cv == 1 or config.splitter in ARGUMENTS:
        raise UserError(
            f"{config.__name__}: splitter = {config.splitter!r} with cv = {config.cv} leaves "
            f"samples without validation, and a stack is fitted on out-of-fold logits of all: "
            f"leave it out of the pipeline and train it with train.py"
        )


def share_of_cores() -> int:
    """Return the cores that a job may use when every GPU of this machine has one."""
    import torch

    return max(num_cores() // max(torch.cuda.device_count(), 1), 1)


def weight_source(config: ConfigMeta) -> ConfigMeta | None:
    """Return the experiment whose weights one starts from, where `weight_path` is its name."""
    return None if config.weight_path is None else config_named(config.weight_path)


def with_sources(config: ConfigMeta, needed_by: tuple[ConfigMeta, ...] = ()) -> list[ConfigMeta]:
    """Return an experiment, last, and all whose predictions or weights it needs before it.

    Args:
        needed_by: the experiments that need this one.

    Raises:
        UserError: a source is not an experiment, or an experiment needs itself.
    """
    if config in needed_by:
        raise UserError(
            f"config {config.__name__}: its pseudo-labels or its first weights come from itself"
        )
    sources = [weight_source(config)]
    if config.pseudo_labels is not None:
        name = config.pseudo_labels.params["source"]
        sources.append(config_named(name))
        if sources[-1] is None:
            raise UserError(
                f"config {config.__name__}: its pseudo-labels come from {name!r}, and no "
                f"experiment has that name"
            )
    # A source may have sources of its own, e.g. a pseudo-label run that starts from weights.
    needed_by = (*needed_by, config)
    needed = [part for source in sources if source for part in with_sources(source, needed_by)]
    return [*dict.fromkeys(needed), config]  # without doubles, in order
