"""The experiments: every one is a class, and a child states only what differs from its parent.

`python train.py --list` prints them. To add one, write a subclass with a `name` of its own:

    class MyTry(Nspec16):
        name = "my_try"
        model_params = Nspec16.model_params | {"custom_classifier": "avg"}

A setting that does not exist, or an argument its class does not take, is an error at once.
"""

from collections.abc import Mapping

import torch
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from architectures import SpectroCNN
from config_base import ConfigMeta, Part
from datasets import G2NetDataset
from loss_functions import BCEWithLogitsLoss
from metrics import AUC
from models1d import BranchedResNet1d
from spectrograms import CQT, ComplexMorletCWT
from training_extras import EarlyStopping, TrainHook
from transforms import (
    BandPass,
    FlipWave,
    GaussianNoiseSNR,
    Normalize,
    SwapChannel,
    TimeShift,
    Whiten,
)

# The largest amplitudes of the competition's raw training data: H1, L1, V1.
PEAKS = (4.61e-20, 4.23e-20, 1.11e-20)
WHITEN = Part(Whiten, band=(20, 500), decimate=2)


class Config(metaclass=ConfigMeta):
    """What every experiment settles. The annotations are checked when a child is defined."""

    # --- identity ---
    name: str = "config"  # its folder in results/
    seed: int = 2021  # all randomness is counted from (seed, fold, epoch, step, rank)
    deterministic: bool = False  # bit-identical on a GPU too, at a price
    debug: bool = False  # the first 10,000 train and 1,000 test rows only; not train.py --debug

    # --- data: tables (id, target, path) and, where they are made, caches, by prep_data.py ---
    train_path: str = "input/train.csv"
    test_path: str = "input/test.csv"
    train_cache: str | None = None
    test_cache: str | None = None
    dataset: type = G2NetDataset
    dataset_params: Mapping = {}
    cv: int = 5
    splitter: str = "StratifiedKFold"  # of sklearn.model_selection
    splitter_params: Mapping = {"shuffle": True, "random_state": 2021}

    # --- on the device, before the network; views are averaged by --tta ---
    transforms: Mapping = {"train": None, "test": None}
    views: tuple = ("identity", "flip")

    # --- network ---
    model: type = SpectroCNN
    model_params: Mapping = {}
    weight_path: str | None = None  # start from this file, or from the fold<k>.pt of this folder

    # --- training ---
    num_epochs: int = 5
    batch_size: int = 64  # of each process
    accumulate: int = 1  # batches per optimiser step
    optimizer: type = torch.optim.Adam
    optimizer_params: Mapping = {"lr": 2e-4, "weight_decay": 1e-6}
    scheduler: type | None = CosineAnnealingWarmRestarts
    scheduler_params: Mapping = {"T_0": 5, "T_mult": 1, "eta_min": 1e-6}
    scheduler_target: str | None = None  # a score that the schedule is given, e.g. valid_loss
    batch_scheduler: bool = False  # step the schedule each optimiser step, not each epoch
    criterion: Part = Part(BCEWithLogitsLoss)
    eval_metric: Part = Part(AUC)
    monitor_metrics: tuple = ()
    amp: bool | str = True  # bf16 or fp16 on a GPU, float32 on a CPU; or 'bf16', 'fp16'
    # On unscaled gradients. The published 10,000 acted on gradients scaled by 65,536, and so
    # clipped elements at 0.153.
    clip_grad: str | None = "value"
    max_grad_norm: float = 0.15
    ema_decay: float | None = None  # average the weights and use the average
    hook: Part = Part(TrainHook)
    callbacks: tuple = (Part(EarlyStopping, patience=5, target="valid_metric", maximize=True),)

    # --- what was published of it: CV, public and private leaderboard AUC ---
    published: Mapping = {}


class Baseline(Config):
    name = "baseline"
    model_params = {
        "model_name": "tf_efficientnet_b7.ra_in1k",  # the bare name now means other weights
        "pretrained": True,
        "num_classes": 1,
        "spectrogram": CQT,
        "spec_params": {"sr": 2048, "fmin": 20, "fmax": 1024, "hop_length": 64},
    }


class Resized08aug4(Baseline):
    name = "resized_08_aug_4"
    num_epochs = 8
    optimizer_params = {"lr": 1e-3, "weight_decay": 1e-6}
    scheduler_params = {"T_0": 8, "T_mult": 1, "eta_min": 1e-6}
    dataset_params = {"norm_factor": PEAKS}
    model_params = {
        "model_name": "tf_efficientnet_b2.aa_in1k",  # the bare name now means other weights
        "pretrained": True,
        "num_classes": 1,
        "spectrogram": CQT,
        "spec_params": {"sr": 2048, "fmin": 16, "fmax": 1024, "hop_length": 8},
        "resize_img": (256, 512),
        "upsample": "bicubic",
    }


class Nspec16(Resized08aug4):
    name = "nspec_16"
    dataset_params = {}
    transforms = {
        "train": (
            Part(Normalize, factors=PEAKS),
            Part(BandPass, lower=12, upper=512),
            Part(GaussianNoiseSNR, min_snr=15, max_snr=30, p=0.5),
        ),
        "test": (Part(Normalize, factors=PEAKS), Part(BandPass, lower=12, upper=512)),
    }
    model_params = Resized08aug4.model_params | {
        "spectrogram": ComplexMorletCWT,
        "spec_params": {
            "fs": 2048,
            "lower_freq": 16,
            "upper_freq": 1024,
            "wavelet_width": 8,
            "trainable_width": True,
            "stride": 4,
            "n_scales": 128,
        },
        "resize_img": (128, 1024),
        "custom_classifier": "gem",
    }


class Demo(Config):
    """A small network on whitened strain: five folds in minutes on two cores.

    `make demo` simulates its data into input/demo.
    """

    name = "demo"
    train_path = "input/demo/train.csv"
    test_path = "input/demo/test.csv"
    train_cache = "input/demo/train_cache.f32"
    test_cache = "input/demo/test_cache.f32"
    # Above 500 Hz there is little of a merger; without it the network has half the samples to do.
    transforms = {
        "train": (WHITEN, Part(SwapChannel), Part(FlipWave), Part(TimeShift, max_shift=32)),
        "test": (WHITEN,),
    }
    model = BranchedResNet1d
    num_epochs = 5
    optimizer = torch.optim.AdamW
    optimizer_params = {"lr": 2e-3, "weight_decay": 1e-2}
    clip_grad = None
