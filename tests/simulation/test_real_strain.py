"""Recorded strain as noise: which windows, how they are whitened, and what is added to them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from real_strain import START, coloured_noise, write_strain

from configuration.class_with_arguments import Part
from data.batch_order import CountedBatchSampler
from data.quality_bits import SIMPLE_BITS
from data.strain_conditioning import measure_psd
from physics.bank_settings import BankSettings
from physics.observation import COMPETITION, Observation
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank
from runtime.errors import UserError
from signal_transforms.whitening_operators import covariance_root
from simulation import conditioned_strain
from simulation import dataset_on_the_fly as simulated_dataset
from simulation.dataset_on_the_fly import SimulatedDataset
from simulation.glitch_noise import Glitches
from simulation.real_strain import RealStrain, recorded_strain_digests
from simulation.spectral_whitening import SpectralWhitening
from simulation.strain_stretches import whiten_context
from transforms import Whiten

WHITEN = Part(Whiten, decimate=2)
SECONDS = 80
RATE = COMPETITION.sample_rate
N = COMPETITION.num_samples
LIGO = Observation(detectors=("H1", "L1"))
# Times at which H1 has a short loud sine-Gaussian.
GLITCHES = (20.0, 41.3, 60.5)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    """A folder for what is kept, and a bank of a few waveforms."""
    folder = tmp_path_factory.mktemp("cache")
    signals = SignalGenerator(
        WaveformBank.build(BankSettings(size=24, seed=3), folder, processes=1)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conditioned_strain, "cache_folder", lambda: folder)
        patch.setattr(simulated_dataset, "shared_signals", lambda *_: signals)
        yield folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A file for each detector; V1 is in two that follow each other."""
    folder = tmp_path_factory.mktemp("strain")
    found: dict = {}
    time = np.arange(SECONDS * 4096) / 4096
    for seed, detector in enumerate(COMPETITION.detectors):
        strain = coloured_noise(detector, SECONDS, seed=seed)
        if detector == "H1":
            for glitch in GLITCHES:
                x = time - glitch
                strain += 6e-22 * np.exp(-((x / 0.01) ** 2)) * np.sin(2 * np.pi * 200 * x)
        halves = [strain] if detector != "V1" else np.split(strain, 2)
        names = []
        for number, part in enumerate(halves):
            path = folder / f"{detector}-{number}.hdf5"
            names.append(str(write_strain(path, detector, part, start=START + number * 40)))
        found[detector] = names[0] if len(names) == 1 else names
    return found


def times_of(noise: RealStrain, starts: np.ndarray) -> np.ndarray:
    """Return the seconds after START at which windows begin, (count, detector)."""
    return np.stack(
        [
            windows.offsets[0] + starts[:, d] / RATE - START
            for d, windows in enumerate(noise.windows)
        ],
        axis=1,
    )


def drawn_times(noise: RealStrain, count: int = 2000) -> np.ndarray:
    generator = torch.Generator().manual_seed(5)
    numbers = noise.draw_psd_numbers(count, generator)
    return times_of(noise, noise.draw_starts(numbers, generator))


def test_each_detector_has_a_time_of_its_own(files: dict[str, str]) -> None:
    times = drawn_times(RealStrain(files))
    assert times.shape == (2000, 3)
    # 1 s at either end is spoilt by the filters, and the whitening looks at 2 s more.
    assert times.min() >= 3
    assert times.max() <= SECONDS - 5
    for d in range(3):
        counts, _ = np.histogram(times[:, d], bins=6, range=(3.1, SECONDS - 5.1))
        # Windows of another detector are avoided, which hardly shows: s.d. 17.
        assert np.abs(counts - counts.mean()).max() < 110
        for other in range(d):
            assert np.abs(times[:, d] - times[:, other]).min() >= 2 + 0.1


def test_what_is_left_out(files: dict[str, str], tmp_path: Path) -> None:
    flags = tmp_path / "L1.txt"
    flags.write_text(f"# number start end duration\n0 {START + 50} {START + 55} 5\n")
    noise = RealStrain(
        files,
        segments=[(START + 3.5, START + 70)],
        flags={"L1": str(flags), "V1": [(START + 10, START + 12)]},
        events=[START + 30],
        event_seconds=3,
    )
    times = drawn_times(noise)
    assert times.min() >= 3.5
    assert times.max() <= 68
    assert not ((times > 25) & (times < 33)).any()  # 27 to 33 is barred
    assert not ((times[:, 1] > 48) & (times[:, 1] < 55)).any()
    assert ((times[:, 0] > 48) & (times[:, 0] < 55)).any()
    assert not ((times[:, 2] > 8) & (times[:, 2] < 12)).any()


def test_strain_is_what_the_file_holds(files: dict[str, str]) -> None:
    noise = RealStrain(files)
    generator = torch.Generator().manual_seed(5)
    numbers = noise.draw_psd_numbers(3, generator)
    state = generator.get_state()
    strain = noise.sample(3, generator, numbers)
    generator.set_state(state)
    starts = noise.draw_starts(numbers, generator)
    assert strain.shape == (3, 3, N)
    for row in range(3):
        for d, windows in enumerate(noise.windows):
            values = windows.strain.values[starts[row, d] : starts[row, d] + N]
            assert np.array_equal(strain[row, d].numpy(), values * np.float32(1e-21))
    # The files of V1 follow each other without a gap.
    assert len(noise.windows[2].strain.runs) == 1
    assert len(noise.windows[2].stretches[0].clean.first) == 1


def test_windows_are_whitened_as_the_search_does_it(files: dict[str, str]) -> None:
    """By the same PSD: nearly the same within the window, and white at its edges too."""
    noise = RealStrain({"L1": files["L1"]}, observation=Observation(detectors=("L1",)))
    (windows,) = noise.windows
    x = np.array(windows.strain.values)
    matrix = covariance_root(measure_psd(x, noise.observation), N, noise.observation.sample_rate)
    rows = x[: len(x) // N * N].reshape(-1, N)
    white = rows[np.isfinite(rows).all(axis=1)] @ matrix
    # The scatter of the PSD makes whitened strain too loud; the median forgets the glitches.
    matrix /= np.median(np.abs(white)) / 0.67449
    generator = torch.Generator().manual_seed(1)
    numbers = noise.draw_psd_numbers(60, generator)
    starts = noise.draw_starts(numbers, generator)
    context = noise.cut(starts)
    full, half = (SpectralWhitening(noise.psds, noise.observation, d) for d in (1, 2))
    exact = context[..., N : 2 * N].double() @ torch.from_numpy(matrix)
    white = whiten_context(context, numbers, full)
    difference = (white - exact).square()
    tenth = N // 20  # 0.1 s
    assert difference[..., tenth:-tenth].mean().sqrt() < 0.06
    assert difference.mean().sqrt() < 0.1  # at the edges the matrix knows nothing of what follows
    assert white[..., :tenth].var().item() == pytest.approx(1, abs=0.1)
    decimated = whiten_context(context, numbers, half)
    whiten = Whiten(matrices=[matrix], decimate=2, observation=noise.observation)
    expected = whiten(context[..., N : 2 * N] * 1e-21)
    difference = (decimated - expected).square()[..., tenth // 2 : -tenth // 2]
    assert difference.mean().sqrt() < 0.06


def make(files: dict[str, str], options: dict, **noise) -> SimulatedDataset:
    params = {"pool": 16, "samples_per_epoch": 96, "noise": Part(RealStrain, files=files, **noise)}
    return SimulatedDataset(["none.npy"] * 2, [0, 1], **{**params, **options})


def batches(data: SimulatedDataset, start: int = 0) -> list[torch.Tensor]:
    order = CountedBatchSampler(len(data), 16, shuffle=True, counters=(7, 0), start_step=start)
    return [data.__getitems__(indices)["waveform"] for indices in order]


@pytest.mark.parametrize("options", [{}, {"whiten": WHITEN}, {"whiten": WHITEN, "reuse": 3}])
def test_what_is_added_is_the_signal_and_nothing_else(
    files: dict[str, str], options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make(files, options)
    samples = batches(data)
    order = list(CountedBatchSampler(len(data), 16, shuffle=True, counters=(7, 0)))
    signals, snr = [], []
    for indices in order:
        pool, chosen = data.pools.of_step(indices)
        signals.append(pool.signals[chosen].clone())
    draw_snr = data.signals.draw_snr

    def silent(count: int, *arguments) -> torch.Tensor:
        snr.append(draw_snr(count, *arguments))
        return torch.zeros(count)

    monkeypatch.setattr(data.signals, "draw_snr", silent)
    noise = batches(make(files, options))
    for step in range(len(order)):
        assert torch.equal(samples[step][8:], noise[step][8:])
        added = samples[step][:8] - noise[step][:8]
        expected = signals[step] * snr[step][:, None, None]
        # float32 sums of noise and signal
        assert (added - expected).abs().max() < 1e-6 * samples[step].abs().max()
        if options:  # of the drawn network SNR, as whitened by the PSDs around the windows
            norms = added.square().sum((1, 2)).sqrt()
            torch.testing.assert_close(norms, snr[step], rtol=1e-3, atol=0)
    if options:
        variance = torch.cat(noise).var().item()
        assert variance == pytest.approx(1 - 48 / 2048, abs=0.06)  # H1 has glitches


@pytest.mark.parametrize("options", [{}, {"whiten": WHITEN, "reuse": 3}])
def test_a_resumed_run_sees_the_same(files: dict[str, str], options: dict) -> None:
    first, resumed = batches(make(files, options)), batches(make(files, options), start=2)
    for one, other in zip(first[2:], resumed, strict=True):
        assert torch.equal(one, other)


def test_windows_around_glitches_come_more_often(files: dict[str, str]) -> None:
    noise = RealStrain(
        {"H1": files["H1"]}, glitch_share=0.4, observation=Observation(detectors=("H1",))
    )
    (windows,) = noise.windows
    (stretch,) = windows.stretches
    # Those that were put in, to 10 ms, and no other.
    centres = stretch.offset + (stretch.glitches.first + 3 * N // 4) / RATE - START
    assert np.abs(centres - np.array(GLITCHES)).max() < 0.01
    times = drawn_times(noise)[:, 0]
    middle = [((times >= g - 1.5) & (times < g - 0.5)).mean() for g in GLITCHES]
    by_chance = 0.6 * 1 / (SECONDS - 8)
    assert middle == pytest.approx([0.4 / 3 + by_chance] * 3, abs=0.04)  # s.d. 0.008


def test_conditioned_strain_is_kept(
    files: dict[str, str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = np.array(RealStrain(files).windows[0].strain.values)
    monkeypatch.setattr(
        conditioned_strain, "write_conditioned", lambda *_: pytest.fail("conditioned twice")
    )
    again = RealStrain(files).windows[0].strain.values
    assert np.array_equal(first, again, equal_nan=True)
    monkeypatch.undo()
    monkeypatch.setattr(conditioned_strain, "cache_folder", lambda: cache)
    kept = next(cache.glob("strain-H1-*.npy"))
    content = kept.read_bytes()
    kept.unlink()  # others may have mapped it
    kept.write_bytes(content[:1000])  # a damaged file is replaced
    again = RealStrain(files).windows[0].strain.values
    assert np.array_equal(first, again, equal_nan=True)


def test_a_gap_between_files_is_in_no_window(files: dict[str, str], tmp_path: Path) -> None:
    late = write_strain(
        tmp_path / "late.hdf5", "H1", coloured_noise("H1", 60, seed=9), start=START + 1000
    )
    noise = RealStrain({"H1": [files["H1"], str(late)]}, observation=Observation(detectors=("H1",)))
    (windows,) = noise.windows
    assert len(windows.strain.runs) == len(windows.stretches) == 2
    assert len(windows.strain.values) == (SECONDS + 60) * RATE
    assert windows.stretches[1].offset + SECONDS == START + 1000
    generator = torch.Generator().manual_seed(2)
    strain = noise.sample(200, generator)
    assert torch.isfinite(strain).all()
    numbers = noise.draw_psd_numbers(400, generator).numpy()[:, 0]
    # In proportion to 72 s and 52 s, s.d. 0.025.
    assert (numbers == 0).mean() == pytest.approx(72 / (72 + 52), abs=0.1)


def write(folder: Path, seconds: float, detector: str = "H1", rate: int = 4096) -> str:
    values = np.random.default_rng(0).standard_normal(int(seconds * rate)) * 1e-21
    return str(write_strain(folder / f"{detector}.hdf5", detector, values, rate))


@pytest.mark.parametrize(
    ("seconds", "rate", "options", "message"),
    [
        (1.5, 4096, {}, "H1 in .* lasts 1.5 s, shorter than a window of 2 s"),
        (12, 4096, {}, "no clean time is left of H1"),
        (40, 1024, {}, "sampled at 1024 Hz"),
        (40, 4096, {"segments": [(START, START + 3)]}, "no clean time is left of H1"),
        (40, 4096, {"flags": [(START, START + 40)]}, "no clean time is left of H1"),
        (40, 4096, {"flags": [(START + 2, START)]}, "ends too early"),
        (40, 4096, {"flags": [3, 4]}, "expected pairs of GPS times"),
        (40, 4096, {"events": "no.txt"}, "no.txt cannot be read"),
        (40, 4096, {"glitch_share": 2}, "a share from 0 to 1"),
        (40, 4096, {"glitch_share": 0.5, "glitch_threshold": 100}, "no glitch was found"),
        (40, 4096, {"stretch": 0}, "positive"),
        (
            40,
            4096,
            {"files": {"H1": "absent.hdf5"}},
            "files of H1 in .*there is no file absent.hdf5",
        ),
        (40, 4096, {"files": {"L1": "x"}}, "files of L1.*observed are H1"),
        (40, 4096, {"files": {}}, "no strain of H1"),
        (40, 4096, {"files": "x.hdf5"}, "expected files by detector"),
    ],
)
def test_refusals(tmp_path: Path, seconds, rate, options, message) -> None:
    params = {"files": {"H1": write(tmp_path, seconds, rate=rate)}} | options
    with pytest.raises(UserError, match=message):
        RealStrain(**params, observation=Observation(detectors=("H1",)))


def test_strain_of_another_detector_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, 40, "L1")
    with pytest.raises(UserError, match=r"holds strain of L1 .* under L1 in files"):
        RealStrain({"H1": path, "L1": path}, observation=LIGO)


def test_seconds_that_the_files_own_bits_exclude_are_in_no_window(tmp_path: Path, caplog) -> None:
    path = Path(write(tmp_path, 40, "H1"))
    alone = Observation(detectors=("H1",))
    bits = np.full(40, 0b1111111, np.uint32)
    bits[15:18] = 0b1  # strain is there and passes no test
    with h5py.File(path, "a") as file:
        file["quality/simple/DQmask"] = bits
        file["quality/simple/DQShortnames"] = np.array([name.encode() for name in SIMPLE_BITS])
    with caplog.at_level("INFO"):
        times = drawn_times(RealStrain({"H1": str(path)}, observation=alone))
    assert "H1: 3 s of the strain are left out by the data-quality bits CBC_CAT1, CBC_CAT2" in (
        caplog.text
    )
    assert not ((times > 13) & (times < 18)).any()
    every = drawn_times(RealStrain({"H1": str(path)}, data_quality="none", observation=alone))
    assert ((every > 13) & (every < 18)).any()
    with pytest.raises(UserError, match="has no data-quality bit 'CAT9'"):
        RealStrain({"H1": str(path)}, data_quality=["CAT9"], observation=alone)


def test_digests_of_the_files_that_a_setting_names(files: dict[str, str], tmp_path: Path) -> None:
    plain = Part(RealStrain, files=files)
    found = recorded_strain_digests({"noise": plain, "pool": 3}, COMPETITION)
    assert [*found][:2] == ["H1", "H1, file 1 of 1"]
    assert [name for name in found if name.startswith("V1")] == [
        "V1",
        "V1, file 1 of 2",
        "V1, file 2 of 2",
    ]
    # Within another part, in another order, under another name: the content decides.
    moved = tmp_path / "moved.hdf5"
    moved.write_bytes(Path(files["H1"]).read_bytes())
    other = files | {"H1": str(moved), "V1": list(files["V1"])[::-1]}
    glitchy = Part(Glitches, noise=Part(RealStrain, files=other))
    assert recorded_strain_digests([glitchy], COMPETITION) == found
    changed = recorded_strain_digests(
        Part(RealStrain, files=files | {"V1": files["V1"][:1]}), COMPETITION
    )
    assert changed["H1"] == found["H1"]
    assert changed["V1"] != found["V1"]
    assert recorded_strain_digests({"noise": "gaussian"}, COMPETITION) == {}


def test_another_observation(tmp_path: Path) -> None:
    observation = Observation(detectors=("H1", "L1"), sample_rate=1024, window=1.0)
    found = {
        name: str(write_strain(tmp_path / f"{name}.hdf5", name, coloured_noise(name, 40)))
        for name in ("H1", "L1")
    }
    noise = RealStrain(found, observation=observation)
    whitening = SpectralWhitening(noise.psds, observation, 2)
    numbers = noise.draw_psd_numbers(60, torch.Generator().manual_seed(3))
    white = noise.sample_whitened(numbers, whitening, torch.Generator().manual_seed(4))
    assert white.shape == (60, 2, 512)
    assert white.var().item() == pytest.approx(1 - 12 / 256, abs=0.1)


def test_the_first_event_is_in_no_sample(shared: Path) -> None:
    """GW150914, 32 s of H1 and L1 of GWOSC."""
    folder = shared / "data" / "gwosc"
    found = {name: str(next(folder.glob(f"{name[0]}-*.hdf5"))) for name in ("H1", "L1")}
    event = 1126259462.4
    options = {"events": [event], "event_seconds": 2.0, "observation": LIGO}
    noise = RealStrain(found, **options)
    times = drawn_times(noise) + START
    assert times.min() > 1126259446
    assert not ((times + 2 > event - 2) & (times < event + 2)).any()
    assert np.abs(times[:, 0] - times[:, 1]).min() >= 2.1
    whitening = SpectralWhitening(noise.psds, LIGO, 2)
    numbers = noise.draw_psd_numbers(100, torch.Generator().manual_seed(3))
    white = noise.sample_whitened(numbers, whitening, torch.Generator().manual_seed(4))
    # 28 s of strain, whose PSD is measured on itself.
    assert white.var().item() == pytest.approx(1 - 48 / 2048, abs=0.06)
    assert (white[..., 1:] * white[..., :-1]).mean().abs() < 0.1


def test_the_observation_that_is_replaced_is_that_of_the_files(files: dict[str, str]) -> None:
    narrow = dataclasses.replace(COMPETITION, detectors=("H1",), curves=None)
    with pytest.raises(UserError, match="observed are H1"):
        RealStrain(files, observation=narrow)
