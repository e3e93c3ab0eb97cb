"""The experiments: every one is a class, and a child states only what differs from its parent.

`python train.py --list` prints them. To add one, write a subclass with a `name` of its own:

    class MyTry(Nspec16):
        name = "my_try"
        model_params = model_with(Nspec16, custom_classifier="avg")

A setting that does not exist, or an argument that its class does not take, is an error at once.
What a class does not state stands in its parent, and in the end in experiments/settings.py.

One file holds them all, long as it is: it is a catalogue without logic, each entry is read alone,
and the parent of an experiment stands a few lines above. Those of the reference
come first, the project's own after the line `ours`.

From Baseline to PseudoSeq07 these are the experiments of the second place of G2Net 2021. Where one
is corrected, a comment says so. In all of them gradients are clipped after they are unscaled (see
`max_grad_norm`), and pretrained weights are named with their tag, as timm may change what a bare
name means.
"""

import torch

from architectures import MultiInstanceSCNN, SpectroCNN
from configuration.class_with_arguments import Part
from datasets import G2NetDataset
from experiments.settings import (
    FLIP,
    NOISE,
    PEAKS,
    Config,
    adam,
    band_passed,
    cosine,
    labels_of,
    model_with,
    published_scores,
)
from loss_functions import BCEWithLogitsLoss, RankLoss
from models1d import (
    BRANCHED_SIZES,
    BranchedResNet1d,
    DenseNet1d,
    MatchedFilter1d,
    ResNet1d,
    WaveNet1d,
)
from physics.distance_laws import UniformChirpVolume
from physics.mass_laws import PowerLawPeak, UniformComponents
from physics.observation import Observation
from physics.population import Population
from physics.spin_laws import IsotropicSpins, NoSpins
from simulation.dataset_on_the_fly import SimulatedDataset
from simulation.glitch_noise import Glitches
from spectrograms import CQT, CNNSpectrogram, ComplexMorletCWT, WaveNetSpectrogram
from training_extras import KeepLast
from transforms import AddGlitches, FlipWave, GaussianNoiseSNR, SwapChannel, TimeShift, Whiten

WHITEN = Part(Whiten, band=(20, 500), decimate=2)
EXACT = Part(Whiten, decimate=2)  # all frequencies up to 512 Hz; noise comes out white
FLIPPED = band_passed(16, 512, NOISE, FLIP)
GATED = {"wave_block": "gated"}
# Label smoothing t(1 - ε) + ε/2 of a target t. The published networks were trained on t(1 - ε).
SMOOTHED = Part(BCEWithLogitsLoss, smoothing=0.025)


class Baseline(Config):
    name = "baseline"
    model_params = {
        "model_name": "tf_efficientnet_b7.ra_in1k",  # today the bare name means ns_jft_in1k
        "pretrained": True,
        "num_classes": 1,
        "spectrogram": CQT,
        "spec_params": {"sr": 2048, "fmin": 20, "fmax": 1024, "hop_length": 64},
    }


class Resized08aug4(Baseline):
    name = "resized_08_aug_4"
    num_epochs = 8
    optimizer_params = adam(1e-3)
    scheduler_params = cosine(8)
    dataset_params = {"norm_factor": PEAKS}
    transforms = {"train": (Part(GaussianNoiseSNR, min_snr=15, max_snr=30, p=0.25),), "test": None}
    model_params = model_with(
        Baseline,
        {"fmin": 16, "hop_length": 8},
        model_name="tf_efficientnet_b2.aa_in1k",  # today the bare name means ns_jft_in1k
        resize_img=(256, 512),
        upsample="bicubic",
    )


# --- fixed wavelets --------------------------------------------------------------------------


class Nspec12(Resized08aug4):
    name = "nspec_12"
    transforms = band_passed(12, 512, NOISE, normalize=False)  # norm_factor does it
    model_params = Resized08aug4.model_params | {
        "spectrogram": ComplexMorletCWT,
        "spec_params": {
            "fs": 2048,
            "lower_freq": 16,
            "upper_freq": 1024,
            "wavelet_width": 3,
            "stride": 8,
            "n_scales": 256,
        },
    }


class Nspec12arch0(Nspec12):
    name = "nspec_12_arch_0"
    optimizer_params = adam(2e-4)
    model_params = model_with(Nspec12, {"wavelet_width": 8}, model_name="densenet201.tv_in1k")


class Nspec16(Resized08aug4):
    name = "nspec_16"
    dataset_params = {}
    transforms = band_passed(12, 512, NOISE)
    model_params = Resized08aug4.model_params | {
        "spectrogram": ComplexMorletCWT,
        # The reference built its bank once, so that its width was not trained. Here it is.
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


class Nspec16spec13(Nspec16):
    name = "nspec_16_spec_13"
    transforms = band_passed(12, 360, NOISE, order=4)
    model_params = model_with(Nspec16, {"upper_freq": 512}, resize_img=None)


class Nspec16arch17(Nspec16):
    name = "nspec_16_arch_17"
    batch_size = 32
    optimizer_params = adam(5e-4)
    model_params = model_with(Nspec16, model_name="tf_efficientnet_b7.ns_jft_in1k", resize_img=None)


class Nspec21(Resized08aug4):
    name = "nspec_21"
    dataset_params = {}
    transforms = band_passed(12, 512, NOISE)
    model_params = model_with(
        Nspec16,
        {"n_scales": 256},
        model_name="tf_efficientnet_b4.ns_jft_in1k",
        resize_img=(256, 1024),
    )


class MultiInstance04(Nspec16):
    name = "multi_instance_04"
    optimizer_params = adam(2e-4)
    model = MultiInstanceSCNN
    model_params = model_with(
        Nspec16,
        {"n_scales": 384, "trainable_width": False},
        model_name="xcit_tiny_12_p16_384.fb_dist_in1k",
        resize_img=(384, 768),
        n_patch=2,
    )


# --- learned front-ends ----------------------------------------------------------------------


class Nspec22(Resized08aug4):
    name = "nspec_22"
    dataset_params = {}
    transforms = band_passed(16, 512, NOISE)
    model_params = Resized08aug4.model_params | {
        "spectrogram": WaveNetSpectrogram,
        "spec_params": {"base_filters": 128, "wave_layers": (10, 6, 2), "kernel_size": 3},
        "resize_img": None,
        "custom_classifier": "gem",
    }


class Nspec22aug1(Nspec22):
    name = "nspec_22_aug_1"
    transforms = FLIPPED
    model_params = model_with(Nspec22, GATED)


class Nspec22arch2(Nspec22):
    name = "nspec_22_arch_2"
    transforms = FLIPPED
    model_params = model_with(Nspec22, GATED, model_name="tf_efficientnet_b6.ns_jft_in1k")


class Nspec22arch6(Nspec22):
    name = "nspec_22_arch_6"
    transforms = FLIPPED
    optimizer_params = adam(2e-4)
    model_params = model_with(Nspec22, GATED, model_name="densenet201.tv_in1k")


class Nspec22arch7(Nspec22):
    name = "nspec_22_arch_7"
    transforms = FLIPPED
    optimizer_params = adam(2e-4)
    # today the bare name means in21k_ft_in1k
    model_params = model_with(Nspec22, GATED, model_name="tf_efficientnetv2_m.in1k")


class Nspec22arch10(Nspec22):
    name = "nspec_22_arch_10"
    transforms = FLIPPED
    optimizer_params = adam(5e-4)
    model_params = model_with(Nspec22, GATED, model_name="resnet200d.ra2_in1k")


class Nspec22arch12(Nspec22):
    name = "nspec_22_arch_12"
    transforms = FLIPPED
    batch_size = 32
    optimizer_params = adam(2e-4)
    # today the bare name means in21k_ft_in1k
    model_params = model_with(Nspec22, GATED, model_name="tf_efficientnetv2_l.in1k")


class Nspec23(Nspec22):
    name = "nspec_23"
    model_params = Nspec22.model_params | {
        "spectrogram": CNNSpectrogram,
        "spec_params": {"base_filters": 128, "kernel_sizes": (32, 16, 4)},
    }


class Nspec23arch3(Nspec23):
    name = "nspec_23_arch_3"
    transforms = FLIPPED
    model_params = model_with(
        Nspec23, {"kernel_sizes": (64, 16, 4)}, model_name="tf_efficientnet_b6.ns_jft_in1k"
    )


class Nspec23arch5(Nspec23):
    name = "nspec_23_arch_5"
    transforms = FLIPPED
    optimizer_params = adam(5e-4)
    # today the bare name means in21k_ft_in1k
    model_params = model_with(
        Nspec23, {"kernel_sizes": (64, 16, 4)}, model_name="tf_efficientnetv2_m.in1k"
    )


class Nspec25(Nspec22):
    name = "nspec_25"
    transforms = FLIPPED
    # A b2 network. In the reference a child changed a dict it shared with this class, and so
    # this class's network as well.
    model_params = model_with(Nspec22, {**GATED, "base_filters": 256})


class Nspec25arch1(Nspec25):
    name = "nspec_25_arch_1"
    model_params = model_with(Nspec25, model_name="tf_efficientnet_b3.ns_jft_in1k")


class Nspec30(Nspec22):
    name = "nspec_30"
    transforms = FLIPPED
    model_params = model_with(
        Nspec22, {**GATED, "separate_channel": True, "in_channels": 1, "wave_layers": (10, 10, 10)}
    )


class Nspec30arch2(Nspec30):
    name = "nspec_30_arch_2"
    model_params = model_with(
        Nspec30, {"wave_layers": (8, 8, 8)}, model_name="tf_efficientnet_b6.ns_jft_in1k"
    )


# --- networks on the waveform ----------------------------------------------------------------


class Seq00(Resized08aug4):
    name = "seq_00"
    num_epochs = 5
    scheduler_params = cosine(5)
    dataset_params = {}
    transforms = band_passed(24, 350, order=4)
    model = ResNet1d
    model_params = {
        "in_channels": 3,
        "base_filters": 64,
        "kernel_size": 16,
        "stride": 2,
        "groups": 64,
        "n_block": 16,
        "n_classes": 1,
        "use_bn": True,
        "dropout": 0.2,
    }


class Seq02(Seq00):
    name = "seq_02"
    transforms = band_passed(24, 300, order=4)
    model_params = model_with(Seq00, base_filters=32, groups=32, dropout=0.0)


class Seq03(Seq02):
    name = "seq_03"
    num_epochs = 8
    scheduler_params = cosine(8)
    max_grad_norm = 0.015  # published as 1,000, on gradients scaled by 65,536
    transforms = band_passed(30, 300, NOISE, order=4)
    model_params = model_with(Seq02, base_filters=128)


class Seq03aug3(Seq03):
    name = "seq_03_aug_3"
    num_epochs = 5
    scheduler_params = cosine(5)
    transforms = band_passed(30, 300, FLIP, order=4)


class Seq09(Seq02):
    name = "seq_09"
    transforms = band_passed(30, 300, order=4)
    model = DenseNet1d  # its defaults are those of the 121
    model_params = {}


class Seq12(Seq02):
    name = "seq_12"
    max_grad_norm = 0.015  # published as 1,000, on gradients scaled by 65,536
    model = WaveNet1d
    model_params = {
        "in_channels": 3,
        "hidden_dims": (128, 256, 512, 1024),
        "wave_block": "simplified",
        "num_classes": 1,
        "reinit": True,
        "downsample": True,
    }


class Seq12arch4(Seq12):
    name = "seq_12_arch_4"
    model_params = model_with(
        Seq12,
        hidden_dims=(128, 128, 256, 256, 512, 512, 1024, 1024),
        kernel_size=16,
        wave_layers=(12, 10, 8, 8, 6, 6, 4, 2),
    )


class Debug(Seq12):
    name = "debug"
    debug = True
    num_epochs = 2


# --- with pseudo-labels: `python train_pseudo.py` --------------------------------------------


class Pseudo06(Nspec12):
    name = "pseudo_06"
    pseudo_labels = labels_of(Nspec12)
    published = published_scores(0.8779, 0.8797, 0.8782, column=19)


class Pseudo07(Nspec16):
    name = "pseudo_07"
    pseudo_labels = labels_of(Nspec16)
    published = published_scores(0.87841, 0.8801, 0.8787, column=15)


class Pseudo10(Nspec16spec13):
    name = "pseudo_10"
    pseudo_labels = labels_of(Nspec16spec13)
    num_epochs = 10
    scheduler_params = cosine(10)
    criterion = SMOOTHED
    published = published_scores(0.87875, 0.8802, 0.8789, column=12)


class Pseudo12(Nspec12arch0):
    name = "pseudo_12"
    pseudo_labels = labels_of(Nspec12arch0)
    num_epochs = 10
    scheduler_params = cosine(10)
    criterion = SMOOTHED
    published = published_scores(0.87762, 0.8796, 0.8782, column=0)


class Pseudo13(MultiInstance04):
    name = "pseudo_13"
    pseudo_labels = labels_of(MultiInstance04)
    num_epochs = 10
    scheduler_params = cosine(10)
    criterion = SMOOTHED
    published = published_scores(0.87794, 0.88, 0.8782, column=2)


class Pseudo14(Nspec16arch17):
    name = "pseudo_14"
    pseudo_labels = labels_of(Nspec16arch17)
    num_epochs = 10
    scheduler_params = cosine(10)
    criterion = SMOOTHED
    published = published_scores(0.87957, 0.8811, 0.88, column=3)


class Pseudo15(Nspec22aug1):
    name = "pseudo_15"
    pseudo_labels = labels_of(Nspec22aug1)
    num_epochs = 10
    scheduler_params = cosine(10)
    criterion = SMOOTHED
    published = published_scores(0.87846, 0.8809, 0.8794, column=17, tta=True)


class Pseudo16(Nspec22arch2):
    name = "pseudo_16"
    pseudo_labels = labels_of(Nspec22arch2)
    num_epochs = 10
    scheduler_params = cosine(10)
    criterion = SMOOTHED
    published = published_scores(0.87982, 0.8823, 0.8807, column=5, tta=True)


class Pseudo17(Nspec23arch3):
    name = "pseudo_17"
    pseudo_labels = labels_of(Nspec23arch3)
    num_epochs = 10
    scheduler_params = cosine(10)
    criterion = SMOOTHED
    published = published_scores(0.87982, 0.8823, 0.8808, column=6, tta=True)


class Pseudo18(Nspec21):
    name = "pseudo_18"
    pseudo_labels = labels_of(Nspec21)
    num_epochs = 10
    scheduler_params = cosine(10)
    criterion = SMOOTHED
    published = published_scores(0.87942, 0.8812, 0.8797, column=7)


class Pseudo19(Nspec22arch6):
    name = "pseudo_19"
    pseudo_labels = labels_of(Nspec22arch6)
    num_epochs = 10
    scheduler_params = cosine(10)
    criterion = SMOOTHED
    published = published_scores(0.87831, 0.8818, 0.8804, column=8, tta=True)


class Pseudo21(Nspec22arch7):
    name = "pseudo_21"
    pseudo_labels = labels_of(Nspec22arch7)
    num_epochs = 10
    scheduler_params = cosine(10)
    criterion = SMOOTHED
    published = published_scores(0.87861, 0.8831, 0.8815, column=9, tta=True)


class Pseudo22(Nspec23arch5):
    name = "pseudo_22"
    pseudo_labels = labels_of(Nspec23arch5)
    num_epochs = 10
    scheduler_params = cosine(10)
    criterion = SMOOTHED
    published = published_scores(0.87847, 0.8817, 0.8799, column=16, tta=True)


class Pseudo23(Nspec22arch12):
    name = "pseudo_23"
    pseudo_labels = labels_of(Nspec22arch12)
    num_epochs = 10
    scheduler_params = cosine(10)
    criterion = SMOOTHED
    published = published_scores(0.87901, 0.8829, 0.8811, column=10, tta=True)


class Pseudo24(Nspec30arch2):
    name = "pseudo_24"
    pseudo_labels = labels_of(Nspec30arch2)
    num_epochs = 10
    scheduler_params = cosine(10)
    criterion = SMOOTHED
    published = published_scores(0.8797, 0.8817, 0.8805, column=11, tta=True)


class Pseudo25(Nspec25arch1):
    name = "pseudo_25"
    pseudo_labels = labels_of(Nspec25arch1)
    num_epochs = 10
    scheduler_params = cosine(10)
    criterion = SMOOTHED
    published = published_scores(0.87948, 0.882, 0.8803, column=14, tta=True)


class Pseudo26(Nspec22arch10):
    name = "pseudo_26"
    pseudo_labels = labels_of(Nspec22arch10)
    num_epochs = 10
    scheduler_params = cosine(10)
    criterion = SMOOTHED
    published = published_scores(0.87791, 0.881, 0.8797, column=13, tta=True)


class PseudoSeq03(Seq09):
    name = "pseudo_seq_03"
    pseudo_labels = labels_of(Seq09)
    criterion = SMOOTHED
    published = published_scores(0.86826, 0.8723, 0.8703, column=18, tta=True)


class PseudoSeq04(Seq03aug3):
    name = "pseudo_seq_04"
    pseudo_labels = labels_of(Seq03aug3)
    criterion = SMOOTHED
    published = published_scores(0.87663, 0.8804, 0.8785, column=1, tta=True)


class PseudoSeq07(Seq12arch4):
    name = "pseudo_seq_07"
    pseudo_labels = labels_of(Seq12arch4)
    num_epochs = 6
    scheduler_params = cosine(6)
    criterion = SMOOTHED
    published = published_scores(0.87698, 0.8796, 0.8784, column=4, tta=True)


# --- ours ------------------------------------------------------------------------------------


class Demo(Config):
    """A small network on whitened strain: five folds train in minutes on two cores.

    `make demo` simulates its samples into input/demo, and trains QuickDemo.
    """

    name = "demo"
    train_path = "input/demo/train.csv"
    test_path = "input/demo/test.csv"
    train_cache = "input/demo/train_cache.f32"
    test_cache = "input/demo/test_cache.f32"
    # Mergers have little power above 500 Hz, so that every second sample is enough.
    transforms = {
        "train": (WHITEN, Part(SwapChannel), Part(FlipWave), Part(TimeShift, max_shift=32)),
        "test": (WHITEN,),
    }
    model = BranchedResNet1d
    optimizer = torch.optim.AdamW
    optimizer_params = {"lr": 2e-3, "weight_decay": 1e-2}
    scheduler_params = cosine()
    clip_grad = None


class DemoSpec(Demo):
    """Demo on a spectrogram: wavelets of the whitened strain and timm's smallest EfficientNet.

    `make pipeline-demo` trains both, trains both again with pseudo-labels, and stacks the four.
    """

    name = "demo_spec"
    model = SpectroCNN
    model_params = {
        "model_name": "test_efficientnet",
        "spectrogram": ComplexMorletCWT,
        "spec_params": {
            "fs": 1024,  # the whitened strain has every second sample
            "lower_freq": 20,
            "upper_freq": 480,
            "wavelet_width": 3,
            "n_scales": 32,
            "stride": 16,
        },
        "custom_classifier": "gem",
    }
    optimizer_params = {"lr": 4e-3, "weight_decay": 1e-2}


class PseudoDemo(Demo):
    name = "pseudo_demo"
    pseudo_labels = labels_of(Demo)


class PseudoDemoSpec(DemoSpec):
    name = "pseudo_demo_spec"
    pseudo_labels = labels_of(DemoSpec)


# Symmetries of the physics: the noise curves of the two LIGO detectors are the same, and a change
# of sign is half an orbit.
AUGMENTATIONS = (
    Part(SwapChannel, p=0.5),
    Part(FlipWave, p=0.5),
    Part(TimeShift, max_shift=24, p=0.5),
)


class Wave01(Config):
    """Trained on simulated injections that never repeat, validated on files; exact whitening."""

    name = "wave_01"
    dataset = SimulatedDataset
    dataset_params = {"whiten": EXACT, "samples_per_epoch": 2**17, "reuse": 8}
    transforms = {"train": AUGMENTATIONS, "test": (EXACT,)}
    views = ("identity", "flip", "swap_ligo")
    model = BranchedResNet1d
    model_params = BRANCHED_SIZES["small"]
    num_epochs = 10
    batch_size = 128
    optimizer = torch.optim.AdamW
    optimizer_params = {"lr": 3e-3, "weight_decay": 1e-2}
    scheduler_params = cosine()
    clip_grad = None
    ema_decay = 0.998
    callbacks = (Part(KeepLast),)


class Wave02(Wave01):
    """Wave01, trained further on the files."""

    name = "wave_02"
    dataset = G2NetDataset
    dataset_params = {}
    transforms = {"train": (EXACT, *AUGMENTATIONS), "test": (EXACT,)}
    weight_path = Wave01.name
    callbacks = Config.callbacks  # early stopping, as a network can overfit to files
    num_epochs = 3
    optimizer_params = {"lr": 3e-4, "weight_decay": 1e-2}


class Wave03(Wave02):
    """Wave02, trained further on ranks, which the AUC measures."""

    name = "wave_03"
    weight_path = Wave02.name
    num_epochs = 1
    optimizer_params = {"lr": 1e-4, "weight_decay": 1e-2}
    criterion = Part(RankLoss, rank=0.9)


class Wave04(Wave01):
    name = "wave_04"
    model_params = BRANCHED_SIZES["base"]


class Wave05(Wave01):
    name = "wave_05"
    model_params = BRANCHED_SIZES["large"]


class Wave06(Wave01):
    """A bank of matched filters as a network: only the weights of their powers are trained."""

    name = "wave_06"
    model = MatchedFilter1d
    dataset_params = {**Wave01.dataset_params, "samples_per_epoch": 2**15}
    model_params = {"pretrained": True, "stride": 2}
    views = ("identity", "swap_ligo")  # a power does not depend on the sign
    num_epochs = 2
    optimizer_params = {"lr": 1e-2, "weight_decay": 0.0}
    # Stepped each epoch, a cosine of two epochs would end at half the learning rate, and KeepLast
    # would keep weights that have not settled.
    batch_scheduler = True


class Wave07(Wave06):
    """The same bank for detectors that see a signal with nearly the same amplitude and phase."""

    name = "wave_07"
    model_params = {**Wave06.model_params, "correlation": -0.6}


class QuickDemo(Wave07):
    """Wave07 in little: three folds train and predict in three minutes on two cores.

    `make demo` trains it and searches real strain with it. It is validated on Demo's samples.
    """

    name = "quick_demo"
    train_path = Demo.train_path
    test_path = Demo.test_path
    train_cache = Demo.train_cache
    test_cache = Demo.test_cache
    dataset_params = {**Wave07.dataset_params, "samples_per_epoch": 2**11}
    model_params = {**Wave07.model_params, "templates": 192, "stride": 4}
    cv = 3
    num_epochs = 1


class Wave08(Wave01):
    """The same network, trained with glitches: one loud detector is no merger.

    Drop-outs are left out, since the strain is whitened when glitches are added.
    """

    name = "wave_08"
    transforms = {
        "train": (Part(AddGlitches, p=0.25, whiten=EXACT.params), *AUGMENTATIONS),
        "test": (EXACT,),
    }


class Wave09(Wave07):
    """Wave07 with a glitch in each detector as a third hypothesis, trained with glitches."""

    name = "wave_09"
    # 36 an hour and detector: one of 17 samples has one.
    dataset_params = {**Wave07.dataset_params, "noise": Part(Glitches, rate=0.01)}
    model_params = {**Wave07.model_params, "glitches": True}


# The two LIGO detectors as the MLGWSC-1 challenge simulates them (Schäfer et al., Physical Review D
# 107, 023021, 2023): noise from 15 Hz, signals from 20 Hz.
LIGO_DESIGN = Part(
    Observation, detectors=("H1", "L1"), min_frequency=15.0, curves="aLIGOZeroDetHighPower"
)
CHIRP_DISTANCE = Part(UniformChirpVolume, low=130.0, high=350.0)  # Mpc


class Mdc1(Wave07):
    """Data set 1 of the MLGWSC-1 challenge: black holes without spins in design noise.

    Its samples: `python prep_data.py --simulate 20000 --config Mdc1 --out input/mdc1`.
    """

    name = "mdc_1"
    train_path = "input/mdc1/train.csv"
    test_path = "input/mdc1/test.csv"
    observation = LIGO_DESIGN
    population = Part(
        Population,
        masses=Part(UniformComponents, low=10.0, high=50.0),
        spins=Part(NoSpins),
        distance=CHIRP_DISTANCE,
        approximant="IMRPhenomD",
    )
    model_params = {**Wave07.model_params, "max_loss": 0.03, "bank_size": 4000}


class Mdc1Glitches(Mdc1):
    """Mdc1 with a glitch in each detector as a third hypothesis, trained with glitches."""

    name = "mdc_1_glitches"
    dataset_params = Wave09.dataset_params
    model_params = {**Mdc1.model_params, "glitches": True}


class Mdc1ResNet(Wave01):
    """The samples of Mdc1 for a residual network."""

    name = "mdc_1_resnet"
    train_path = Mdc1.train_path
    test_path = Mdc1.test_path
    observation = Mdc1.observation
    population = Mdc1.population


class Mdc3(Mdc1):
    """Data set 3 of the challenge: precession, higher modes, and a PSD drawn for each sample.

    The 20 PSDs of each detector are those of the challenge (gwastro/ml-mock-data-challenge-1): put
    its files into input/mdc_psds/H1 and input/mdc_psds/L1, or name another folder with
    `--set observation.curves=FOLDER`. Orientations and precession make waveforms of many kinds: no
    bank of some thousand binaries loses as little as that of Mdc1, all 1,400 candidates 5.9 % with
    the PSDs of L1. Templates of five components do: 40 of them lose 3 %.
    """

    name = "mdc_3"
    train_path = "input/mdc3/train.csv"
    test_path = "input/mdc3/test.csv"
    observation = Part(Observation, **{**LIGO_DESIGN.params, "curves": "input/mdc_psds"})
    population = Part(
        Population,
        masses=Part(UniformComponents, low=7.0, high=50.0),
        spins=Part(IsotropicSpins, most=0.99),
        distance=CHIRP_DISTANCE,
        approximant="IMRPhenomXPHM",
        modes=(22, 21, 33, 32, 44),
    )
    # A core computes some ten of these waveforms a second: a smaller bank, for signals as well.
    dataset_params = {**Mdc1.dataset_params, "bank_size": 2000}
    model_params = {**Mdc1.model_params, "components": 5, "bank_size": 2000}


class Mdc3ResNet(Mdc1ResNet):
    """The samples of Mdc3 for a residual network, with four times as many binaries."""

    name = "mdc_3_resnet"
    train_path = Mdc3.train_path
    test_path = Mdc3.test_path
    observation = Mdc3.observation
    population = Mdc3.population
    # The detectors' PSDs differ, but once whitened their signals are alike.
    model_params = {**Mdc1ResNet.model_params, "share_branches": (("H1", "L1"),)}


class O4(Wave07):
    """LIGO and Virgo in their fourth observing run, and black holes as they are observed.

    The masses are those of GWTC-3 (see `PowerLawPeak`) as detected: a binary is seen to a distance
    that grows with its mass, by which the power law loses 2.2 of its slope, and all masses are
    redshifted by a quarter. Observed spins are small. SNRs fall as those of a uniform volume would
    but for a power, as in the competition, so that most samples are near the threshold.

    Precession makes waveforms of many kinds, so that its templates have three components: 64 of
    them lose 3 % of the SNR, in the mean over the population, where 272 without further components
    lost 5 %. See docs/explanation/templates.md.
    """

    name = "o4"
    train_path = "input/o4/train.csv"
    test_path = "input/o4/test.csv"
    # The lightest binaries have 12 % of their SNR^2 more than 2.7 s before the merger.
    observation = Part(Observation, window=3.0)
    population = Part(
        Population,
        masses=Part(
            PowerLawPeak,
            slope=1.2,
            low=6.4,
            high=108.0,
            taper=6.0,
            peak_fraction=0.2,
            peak=42.0,
            peak_width=6.0,
        ),
        spins=Part(IsotropicSpins, most=0.4),
    )
    model_params = {**Wave07.model_params, "max_loss": 0.03, "components": 3, "bank_size": 4000}


class O4ResNet(Wave01):
    """The samples of O4 for a residual network."""

    name = "o4_resnet"
    train_path = O4.train_path
    test_path = O4.test_path
    observation = O4.observation
    population = O4.population


class Spec01(Wave01):
    """Wavelets of the exactly whitened strain."""

    name = "spec_01"
    model = SpectroCNN
    model_params = {
        "model_name": "resnet10t.c3_in1k",
        "spectrogram": ComplexMorletCWT,
        "spec_params": {
            "fs": 1024,
            "lower_freq": 20,
            "upper_freq": 480,
            "wavelet_width": 3,
            "n_scales": 48,
            "stride": 16,
        },
        "custom_classifier": "gem",
    }


class Spec02(Spec01):
    """Spec01 with a learned front-end instead of the wavelets."""

    name = "spec_02"
    model_params = {
        **Spec01.model_params,
        "spectrogram": CNNSpectrogram,
        "spec_params": {"base_filters": 48, "kernel_sizes": (127, 63, 31), "stride": 16},
    }
