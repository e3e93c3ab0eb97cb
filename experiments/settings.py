"""The settings of every experiment with their defaults, and what many experiments share."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from architectures import SpectroCNN
from configuration.class_with_arguments import Part
from configuration.config_class import ConfigMeta
from datasets import G2NetDataset
from experiments.classes_by_name import find_class_choices
from experiments.pseudo_labels import PseudoLabels
from experiments.targets import BinaryTarget
from loss_functions import BCEWithLogitsLoss
from metrics import AUC
from physics.observation import Observation
from physics.population import Population
from training_extras import EarlyStopping, TrainHook
from transforms import BandPass, FlipWave, GaussianNoiseSNR, Normalize

# The largest amplitudes of the competition's raw training data: H1, L1, V1.
PEAKS = (4.61e-20, 4.23e-20, 1.11e-20)
NOISE = Part(GaussianNoiseSNR, min_snr=15, max_snr=30, p=0.5)
FLIP = Part(FlipWave, p=0.5)


class Config(metaclass=ConfigMeta, find_choices=find_class_choices):
    """The settings of every experiment. Annotations are checked when a child is defined.

    docs/reference/settings.md is written from this class by `python -m documentation`: the comment
    above a setting or after it is its meaning, and a line of dashes begins a part of the table.
    """

    # --- identity ---
    name: str = "config"  # the folder of the run in results/
    seed: int = 2021  # random numbers are counted from (seed, fold, epoch, step, rank)
    # a run for each of these seeds, and the mean of their predictions; `seed` is then not used
    seeds: tuple = ()
    deterministic: bool = False  # bit-identical on a GPU too, but slower
    debug: bool = False  # the first 10,000 training and 1,000 test rows only; not train.py --debug

    # --- observation and population ---
    # detectors, sampling rate, window, lowest frequency and noise curves
    observation: Part = Part(Observation)
    # what merges, where and when, in simulated samples and in templates
    population: Part = Part(Population)

    # --- data ---
    train_path: str = "input/train.csv"  # table (id, target, path), written by prep_data.py
    test_path: str = "input/test.csv"  # the same of the test samples
    data_root: str | None = None  # paths in the tables may lead anywhere below this folder
    train_cache: str | None = None  # cache written by prep_data.py --cache
    test_cache: str | None = None  # the same of the test samples
    dataset: type = G2NetDataset  # class of the data set
    dataset_params: Mapping = {}  # its arguments
    # number of folds; 1 trains on all samples without validation, or holds some out by `splitter`
    cv: int = 5
    # a class of sklearn.model_selection that makes the folds; also GroupKFold and
    # StratifiedGroupKFold by the column `group` of the table, PredefinedSplit by its column `fold`,
    # TimeSplit by its column `time`, and HoldOut
    splitter: str = "StratifiedKFold"
    # its arguments; `column` names another column for the groups, folds or times
    splitter_params: Mapping = {"shuffle": True, "random_state": 2021}
    limit_samples: int | None = None  # train on so many samples, of each class in its share
    weight_column: str | None = None  # column of the table: factors on the samples' losses
    covariates: tuple = ()  # columns by which the summary and the report break the score down

    # --- on the device, before the network ---
    transforms: Mapping = {"train": None, "test": None}  # each a Part, a tuple of them, or None
    transforms2: Mapping | None = None  # the same for the second input of two-input networks
    views: tuple = ("identity", "flip")  # test-time views of the strain, averaged by --tta

    # --- network ---
    model: type = SpectroCNN  # class of the network
    model_params: Mapping = {}  # its arguments
    # warm start from this file, from fold<k>.pt in this folder, or from the run of that name
    weight_path: str | None = None

    # --- targets ---
    # what is predicted, from columns of the training table: a signal or none, several classes,
    # several labels, or numbers
    targets: Part = Part(BinaryTarget)
    # what is predicted beside it, of samples whose injection is known: names such as merger_time,
    # or parts of SideTarget
    side_targets: tuple = ()

    # --- labels of the test samples from another experiment's predictions ---
    pseudo_labels: Part | None = None  # labels_of(Experiment)

    # --- training ---
    num_epochs: int = 5  # passes over the training samples
    batch_size: int = 64  # samples of a batch, in each process
    accumulate: int = 1  # batches per optimiser step
    # blocks of the network are computed again in the backward pass: less memory, the same weights
    gradient_checkpointing: bool = False
    sync_batch_norm: bool = True  # batch statistics over the rows of all processes
    optimizer: type = torch.optim.Adam  # class of the optimiser
    optimizer_params: Mapping = {"lr": 2e-4, "weight_decay": 1e-6}  # its arguments
    # ParameterGroups: rates by part and depth of the network, no weight decay of norms and biases
    parameter_groups: Part | None = None
    lookahead: Part | None = None  # Lookahead: slow weights around any optimiser
    freeze: Part | None = None  # Freeze: parts of the network that the first epochs do not train
    # class of a schedule of torch or timm, or WarmupCosine
    scheduler: type | None = CosineAnnealingWarmRestarts
    # its arguments; a length that is left out follows num_epochs
    scheduler_params: Mapping = {"T_0": 5, "T_mult": 1, "eta_min": 1e-6}
    scheduler_target: str | None = None  # a score that the schedule takes, e.g. valid_loss
    batch_scheduler: bool = False  # step the schedule each optimiser step, not each epoch
    warmup_epochs: float = 0.0  # in which the learning rate rises to that of any schedule
    criterion: Part = Part(BCEWithLogitsLoss)  # the loss
    eval_metric: Part = Part(AUC)  # the score that decides which epoch is the best
    monitor_metrics: tuple = ()  # further scores that are logged
    # mixed precision: bf16 or fp16 on a GPU, float32 on a CPU; False; or 'bf16', 'fp16'
    amp: bool | str = True
    # clipping of unscaled gradients: 'value', 'norm' or None
    clip_grad: str | None = "value"
    # the limit of that clipping; the published 10,000 was applied to gradients scaled by 65,536,
    # so that elements were clipped at 0.153
    max_grad_norm: float = 0.15
    max_bad_losses: int = 10  # NaN or infinite losses in a row that end a run
    ema_decay: float | None = None  # decay of an average of the weights, which is used instead
    # CheckpointAverage: the mean of the weights of several epochs, instead of the best one
    checkpoint_average: Part | None = None
    hook: Part = Part(TrainHook)  # what happens around the loss of a batch, e.g. mixup
    # what happens after each epoch, e.g. early stopping
    callbacks: tuple = (Part(EarlyStopping, patience=5, target="valid_metric", maximize=True),)

    # --- where the learning curves go ---
    tracker: str | tuple = "tensorboard"  # also csv, mlflow, wandb, or a tuple of several

    # --- published scores ---
    # those of this very class, which children do not inherit; see `published_scores`
    published: Mapping = {}


# --- what many experiments share -------------------------------------------------------------


def adam(lr: float) -> dict[str, float]:
    """Return arguments of Adam with the reference's weight decay."""
    return {"lr": lr, "weight_decay": 1e-6}


def cosine(epochs: int | None = None) -> dict[str, float]:
    """Return arguments of one cosine from the learning rate to nearly zero over all epochs.

    Args:
        epochs: its length; None follows `num_epochs`, and the steps with `batch_scheduler`.
    """
    length = {} if epochs is None else {"T_0": epochs}
    return {**length, "T_mult": 1, "eta_min": 1e-6}


def band_passed(
    lower: float, upper: float, *augmentations: Part, order: int = 8, normalize: bool = True
) -> dict[str, tuple[Part, ...]]:
    """Return transforms: divide by `PEAKS`, band-pass, and in training augment."""
    prepare = (Part(BandPass, lower=lower, upper=upper, order=order),)
    if normalize:
        prepare = (Part(Normalize, factors=PEAKS), *prepare)
    return {"train": (*prepare, *augmentations), "test": prepare}


def model_with(config: ConfigMeta, spec_params: Mapping[str, Any] | None = None, **changes: Any):
    """Return the model arguments of a config with some changed, `spec_params` one by one."""
    params = {**config.model_params, **changes}
    if spec_params is not None:
        params["spec_params"] = {**params["spec_params"], **spec_params}
    return params


def labels_of(config: ConfigMeta, **options: Any) -> Part:
    """Return pseudo-labels from an experiment's predictions; options as in `PseudoLabels`."""
    return Part(PseudoLabels, source=config.name, **options)


def published_scores(
    cv: float, public: float, private: float, column: int, tta: bool = False
) -> dict[str, float]:
    """Return the published scores of an experiment in the final stack.

    Args:
        cv: cross-validated AUC.
        public, private: AUC on the leaderboards.
        column: its place in the stack.
        tta: whether the stack used its predictions with test-time views.
    """
    return {"cv": cv, "public": public, "private": private, "column": column, "tta": tta}
