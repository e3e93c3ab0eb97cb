"""The data set: the fields of its batches, caches, pseudo-labels and mixup, computed by hand."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from data.batch_order import CountedBatchSampler, IndexBatch
from data.cache_writer import write_cache
from data.strain_cache import StrainCache
from datasets import G2NetDataset, collate
from runtime.errors import UserError

N, M = 20, 7  # training and test samples
TARGETS = np.arange(N) % 2
SOFT = np.linspace(0.05, 0.95, M)


class Samples:
    """Files and caches of a small training and test split."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        self.strain = (rng.standard_normal((N + M, 3, 4096)) * 1e-20).astype(np.float32)
        self.ids = [f"{i * 37 % 256:02x}{'train' if i < N else 'test'}" for i in range(N + M)]
        self.paths = [folder / f"{name}.npy" for name in self.ids]
        for path, sample in zip(self.paths, self.strain, strict=True):
            np.save(path, sample.astype(np.float64))
        self.train, self.test = folder / "train_cache.f32", folder / "test_cache.f32"
        write_cache(self.train, self.ids[:N], self.paths[:N], processes=1)
        write_cache(self.test, self.ids[N:], self.paths[N:], processes=1)

    def train_cache(self) -> StrainCache:
        return StrainCache(self.train)

    def test_cache(self) -> StrainCache:
        return StrainCache(self.test)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return Samples(tmp_path_factory.mktemp("samples"))


# --- reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cached", [False, True])
def test_a_batch_has_named_fields(samples: Samples, cached: bool) -> None:
    data = G2NetDataset(samples.paths[:N], TARGETS, cache=samples.train_cache() if cached else None)
    assert len(data) == N
    batch = data.__getitems__([4, 19, 4])
    assert set(batch) == {"waveform", "target", "index"}
    assert batch["waveform"].dtype == batch["target"].dtype == torch.float32
    assert batch["index"].dtype == torch.int64
    np.testing.assert_array_equal(batch["waveform"], samples.strain[[4, 19, 4]])
    assert batch["target"].tolist() == [[0], [1], [0]]
    assert batch["index"].tolist() == [4, 19, 4]
    one = data[19]
    assert one["waveform"].shape == (3, 4096)
    assert one["target"].tolist() == [1]
    torch.testing.assert_close(one["waveform"], batch["waveform"][1], rtol=0, atol=0)
    with pytest.raises(IndexError):
        data[N]


def test_what_is_read_may_be_changed_without_harm(samples: Samples) -> None:
    data = G2NetDataset(samples.paths[:N], cache=samples.train_cache())
    data[3]["waveform"].zero_()
    np.testing.assert_array_equal(data[3]["waveform"], samples.strain[3])


def test_a_fold_is_found_in_the_cache_by_id(samples: Samples) -> None:
    """Rows of a fold in another order, without paths: only the ids tell which strain is whose."""
    rows = [17, 2, 9]
    ids = [samples.ids[row] for row in rows]
    data = G2NetDataset(None, TARGETS[rows], ids=ids, cache=samples.train_cache())
    assert data.ids.tolist() == ids
    np.testing.assert_array_equal(data.__getitems__([0, 1, 2])["waveform"], samples.strain[rows])


def test_norm_factor_divides_each_channel(samples: Samples) -> None:
    factors = (4.61e-20, 4.23e-20, 1.11e-20)
    data = G2NetDataset(samples.paths[:N], norm_factor=factors, cache=samples.train_cache())
    expected = samples.strain[5].astype(np.float64) / np.array(factors)[:, None]
    # float32 division: a relative error of at most 2^-23, twice (the factor is rounded too)
    np.testing.assert_allclose(data[5]["waveform"], expected, rtol=2.5e-7)
    for wrong in ((1, 2), (1, 2, 0), (1, -1, 1)):
        with pytest.raises(UserError, match="expected 3 numbers above 0, one for each of H1 L1 V1"):
            G2NetDataset(samples.paths[:N], norm_factor=wrong)


def test_without_targets_they_are_zero(samples: Samples) -> None:
    batch = G2NetDataset(samples.paths[:N], is_test=True).__getitems__([0, 1])
    assert batch["target"].tolist() == [[0], [0]]


def test_a_bad_file_is_named(samples: Samples, tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.full((3, 4096), np.nan))
    data = G2NetDataset([samples.paths[0], tmp_path / "bad.npy"])
    with pytest.raises(UserError, match=r"bad\.npy.*non-finite"):
        data.__getitems__([0, 1])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_every_sample_once(samples: Samples, workers: int) -> None:
    data = G2NetDataset(samples.paths[:N], TARGETS, cache=samples.train_cache())
    order = CountedBatchSampler(N, 6, shuffle=True)
    loader = DataLoader(data, batch_sampler=order, collate_fn=collate, num_workers=workers)
    batches = list(loader)
    assert [len(batch["index"]) for batch in batches] == [6, 6, 6, 2]
    index = torch.cat([batch["index"] for batch in batches])
    assert sorted(index.tolist()) == list(range(N))
    waveform = torch.cat([batch["waveform"] for batch in batches])
    np.testing.assert_array_equal(waveform, samples.strain[index])
    target = torch.cat([batch["target"] for batch in batches])
    np.testing.assert_array_equal(target[:, 0], TARGETS[index])


def test_spawned_workers_with_mixup_draw_what_the_main_process_draws(samples: Samples) -> None:
    data = G2NetDataset(samples.paths[:N], TARGETS, cache=samples.train_cache(), mixup=True)
    order = CountedBatchSampler(N, 10, shuffle=True)
    here = list(DataLoader(data, batch_sampler=order, collate_fn=collate))
    loader = DataLoader(
        data,
        batch_sampler=order,
        collate_fn=collate,
        num_workers=1,
        multiprocessing_context="spawn",
    )
    for one, other in zip(here, loader, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_pickled_data_set_stays_small(samples: Samples) -> None:
    data = G2NetDataset(samples.paths[:N], TARGETS, cache=samples.train_cache())
    text = pickle.dumps(data)
    assert len(text) < 10_000  # one sample alone has 49,152 bytes
    np.testing.assert_array_equal(pickle.loads(text)[3]["waveform"], samples.strain[3])


# --- caches that do not fit ------------------------------------------------------------------


def test_a_cache_of_other_data_is_refused(samples: Samples) -> None:
    with pytest.raises(UserError, match=r"20 of 20 samples are not in the cache.*prep_data\.py"):
        G2NetDataset(samples.paths[:N], cache=samples.test_cache())
    with pytest.raises(UserError, match="1 of 21 samples"):
        G2NetDataset(samples.paths[: N + 1], cache=samples.train_cache())
    with pytest.raises(UserError, match="not in the cache"):
        G2NetDataset(None, ids=["0000"])


def test_the_test_cache_counts_without_pseudo_labels(samples: Samples) -> None:
    """It is looked in after the training cache, and before the disk."""
    gone = [Path("/nowhere") / path.name for path in samples.paths]
    test = G2NetDataset(gone[N:], is_test=True, test_cache=samples.test_cache())
    np.testing.assert_array_equal(test[2]["waveform"], samples.strain[N + 2])
    both = G2NetDataset(gone, cache=samples.train_cache(), test_cache=samples.test_cache())
    index = [N + 1, 0, N, 5]
    np.testing.assert_array_equal(both.__getitems__(index)["waveform"], samples.strain[index])
    # Training data that are not cached are read from files, beside a test cache.
    files = G2NetDataset(samples.paths[:N], test_cache=samples.test_cache())
    np.testing.assert_array_equal(files[1]["waveform"], samples.strain[1])


def test_ids_that_both_splits_have_mean_the_samples_of_their_own_split(tmp_path: Path) -> None:
    """Both splits are numbered 000, 001, ...: every sample comes from its own split."""
    ids, rng = ["000", "001", "002"], np.random.default_rng(0)
    paths = {
        split: [tmp_path / f"{split}{name}.npy" for name in ids] for split in ("train", "test")
    }
    caches = {}
    for split, files in paths.items():
        for path in files:
            np.save(path, rng.normal(0, 1e-20, (3, 4096)))
        write_cache(tmp_path / f"{split}.f32", ids, files, processes=1)
        caches[split] = StrainCache(tmp_path / f"{split}.f32")
    expected = [np.load(path).astype(np.float32) for path in paths["train"] + paths["test"]]
    labels = {
        "ids": ids,
        "pseudo_label": True,
        "test_targets": [0.9, 0.1, 0.9],
        "test_paths": paths["test"],
        "test_ids": ids,
    }
    for own in ({}, {"cache": caches["train"]}):
        for other in ({}, {"test_cache": caches["test"]}):
            data = G2NetDataset(paths["train"], [0, 1, 0], **labels, **own, **other)
            batch = data.__getitems__([3, 0, 4, 5, 2])
            for strain, place in zip(batch["waveform"], [3, 0, 4, 5, 2], strict=True):
                np.testing.assert_array_equal(strain, expected[place])
    # Training samples beside a test cache alone are read from their files.
    plain = G2NetDataset(paths["train"], ids=ids, test_cache=caches["test"])
    np.testing.assert_array_equal(plain[1]["waveform"], expected[1])
    with pytest.raises(UserError, match=r"3 ids, the first '000', are in both .*train.f32 and"):
        G2NetDataset(None, ids=ids, cache=caches["train"], test_cache=caches["test"])


def test_a_cache_of_other_strain_under_the_same_ids_is_refused(samples, tmp_path: Path) -> None:
    """A cache of another data set, or of the other split, whose ids are numbered alike."""
    others = tmp_path / "others.f32"
    write_cache(others, samples.ids[:M], samples.paths[N:], processes=1)
    with pytest.raises(UserError, match=r"others\.f32 holds other strain for .* than"):
        G2NetDataset(samples.paths[:M], ids=samples.ids[:M], cache=StrainCache(others))
    # Where only the cache is there, the ids have to do.
    gone = [tmp_path / path.name for path in samples.paths[:M]]
    assert len(G2NetDataset(gone, ids=samples.ids[:M], cache=StrainCache(others))) == M


# --- pseudo-labels ---------------------------------------------------------------------------


@pytest.mark.parametrize("caches", ["none", "both", "train"])
def test_pseudo_labelled_samples_come_last(samples: Samples, caches: str) -> None:
    data = G2NetDataset(
        samples.paths[:N],
        TARGETS,
        pseudo_label=True,
        test_targets=SOFT,
        test_paths=samples.paths[N:],
        cache=samples.train_cache() if caches != "none" else None,
        test_cache=samples.test_cache() if caches == "both" else None,
    )
    assert len(data) == N + M
    index = [N + 3, 1, N, 0]
    batch = data.__getitems__(index)
    np.testing.assert_array_equal(batch["waveform"], samples.strain[index])
    assert batch["pseudo"].dtype == torch.bool
    assert batch["pseudo"].tolist() == [True, False, True, False]
    assert batch["index"].tolist() == index
    np.testing.assert_allclose(batch["target"][:, 0], [SOFT[3], 1, SOFT[0], 0], rtol=1e-7)
    assert data.ids.tolist() == samples.ids


def test_is_test_switches_pseudo_labels_and_mixup_off(samples: Samples) -> None:
    data = G2NetDataset(
        samples.paths[:N],
        TARGETS,
        is_test=True,
        mixup=True,
        pseudo_label=True,
        test_targets=SOFT,
        test_paths=samples.paths[N:],
    )
    batch = data.__getitems__([0, 1])  # a plain list
    assert len(data) == N
    assert "pseudo" not in batch
    np.testing.assert_array_equal(batch["waveform"], samples.strain[:2])


def test_lists_of_different_lengths_are_refused(samples: Samples) -> None:
    with pytest.raises(UserError, match="20 ids but 19 targets"):
        G2NetDataset(samples.paths[:N], TARGETS[1:])
    with pytest.raises(UserError, match="test_paths: 7 ids but 1000 targets"):
        G2NetDataset(
            samples.paths[:N],
            TARGETS,
            pseudo_label=True,
            test_paths=samples.paths[N:],
            test_targets=np.zeros(1000),
        )
    with pytest.raises(UserError, match="test_targets"):
        G2NetDataset(samples.paths[:N], TARGETS, pseudo_label=True, test_paths=samples.paths[N:])
    with pytest.raises(UserError, match="paths is missing"):
        G2NetDataset(None)
    with pytest.raises(UserError, match=rf"'{samples.ids[2]}' is 1\.5: expected 0 to 1"):
        G2NetDataset(samples.paths[:3], [0, 1, 1.5])
    with pytest.raises(UserError, match="is nan: expected 0 to 1"):
        G2NetDataset(samples.paths[:1], [np.nan])


# --- mixup -----------------------------------------------------------------------------------


def mixing(samples: Samples, **arguments: object) -> G2NetDataset:
    arguments = {"cache": samples.train_cache(), "mixup": True} | arguments
    return G2NetDataset(samples.paths[:N], TARGETS, **arguments)


def test_mixup_by_hand(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples 0 (target 0) and 1 (1) with partners 3 (1) and 5 (1) and weights 0.75 and 0.25."""
    draws = (np.array([3, 5]), np.array([0.75, 0.25]))
    monkeypatch.setattr(G2NetDataset, "draw_partners", lambda *_: draws)
    x = samples.strain.astype(np.float64)
    expected = np.stack([0.75 * x[0] + 0.25 * x[3], 0.25 * x[1] + 0.75 * x[5]])
    for arguments, targets in (
        ({}, [0.25, 1.0]),  # λt + (1-λ)t'
        ({"lor_label": True}, [1.0, 1.0]),  # t + t' - tt'
        ({"hard_label": 0.2}, [1.0, 1.0]),
        ({"hard_label": 0.25}, [0.0, 1.0]),  # above the threshold, not at it
        ({"hard_label": False}, [0.25, 1.0]),
    ):
        batch = mixing(samples, **arguments).__getitems__(IndexBatch([0, 1], seed=1))
        assert batch["target"].tolist() == [[targets[0]], [targets[1]]]
        assert batch["waveform"].dtype == torch.float32
        # float32 sum of two terms: a few 2^-24 of the larger term
        np.testing.assert_allclose(batch["waveform"], expected, rtol=0, atol=1e-26)


def test_weights_come_with_the_batch_and_are_mixed(samples: Samples, monkeypatch) -> None:
    weights = np.arange(N) / 2
    plain = G2NetDataset(samples.paths[:N], TARGETS, weights=weights)
    assert plain.__getitems__([4, 19])["weight"].tolist() == [[2.0], [9.5]]
    draws = (np.array([3, N]), np.array([0.75, 0.25]))  # the second partner is pseudo-labelled
    monkeypatch.setattr(G2NetDataset, "draw_partners", lambda *_: draws)
    pseudo = {"pseudo_label": True, "test_targets": SOFT, "test_paths": samples.paths[N:]}
    batch = mixing(samples, weights=weights, **pseudo).__getitems__(IndexBatch([0, 2], seed=1))
    np.testing.assert_allclose(batch["weight"], [[0.25 * 1.5], [0.25 * 1.0 + 0.75 * 1.0]])
    with pytest.raises(UserError, match="20 samples but 3 weights"):
        G2NetDataset(samples.paths[:N], TARGETS, weights=[1, 2, 3])


def test_soft_labels_are_mixed_as_well(samples: Samples, monkeypatch) -> None:
    monkeypatch.setattr(G2NetDataset, "draw_partners", lambda *_: (np.array([N]), np.array([0.6])))
    pseudo = {"pseudo_label": True, "test_targets": SOFT, "test_paths": samples.paths[N:]}
    soft = mixing(samples, **pseudo).__getitems__(IndexBatch([N + 6], 0))
    np.testing.assert_allclose(soft["target"], [[0.6 * 0.95 + 0.4 * 0.05]], rtol=1e-7)
    either = mixing(samples, lor_label=True, **pseudo).__getitems__(IndexBatch([N + 6], 0))
    np.testing.assert_allclose(either["target"], [[0.95 + 0.05 - 0.95 * 0.05]], rtol=1e-7)


def test_draws_follow_their_distributions(samples: Samples) -> None:
    from scipy import stats

    partner, lam = mixing(samples, mixup_alpha=0.4).draw_partners(20_000, 5, 0)
    # Seeds are fixed, so these either hold always or never; 1e-3 is far from usual chance.
    assert stats.kstest(lam, stats.beta(0.4, 0.4).cdf).pvalue > 1e-3
    assert stats.chisquare(np.bincount(partner, minlength=N)).pvalue > 1e-3
    negative = mixing(
        samples,
        mixup_option="negative",
        mixup_alpha=0.4,
        pseudo_label=True,
        test_targets=np.zeros(M),
        test_paths=samples.paths[N:],
    )
    partner, lam = negative.draw_partners(20_000, 5, 0)
    assert set(partner) == set(range(0, N, 2))  # real negatives, no pseudo-labelled ones
    assert lam.min() >= 0.5
    # The larger of λ and 1-λ, both Beta(0.4, 0.4): its distribution is 2 F(x) - 1 from 0.5 up.
    assert stats.kstest(lam, lambda x: 2 * stats.beta(0.4, 0.4).cdf(x) - 1).pvalue > 1e-3


def test_draws_are_counted(samples: Samples) -> None:
    data = mixing(samples)
    first = data.__getitems__(IndexBatch([0, 1, 2], seed=7))
    torch.rand(3)  # nothing that others draw matters
    np.random.rand(3)  # noqa: NPY002
    again = data.__getitems__(pickle.loads(pickle.dumps(IndexBatch([0, 1, 2], seed=7))))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    other = data.__getitems__(IndexBatch([0, 1, 2], seed=8))
    assert not torch.equal(first["waveform"], other["waveform"])


@pytest.mark.parametrize("option", ["random", "negative"])
def test_two_ranks_mix_what_one_process_mixes(samples: Samples, option: str) -> None:
    data = mixing(samples, mixup_option=option)
    ranks = [
        list(CountedBatchSampler(N, 4, shuffle=True, rank=rank, world_size=2)) for rank in (0, 1)
    ]
    for step, batch in enumerate(CountedBatchSampler(N, 8, shuffle=True)):
        whole = data.__getitems__(batch)
        parts = [data.__getitems__(rank[step]) for rank in ranks]
        for key in whole:
            torch.testing.assert_close(
                torch.cat([part[key] for part in parts]), whole[key], rtol=0, atol=0
            )


def test_mixup_without_a_seed_is_refused(samples: Samples) -> None:
    with pytest.raises(UserError, match="IndexBatch"):
        mixing(samples).__getitems__([0, 1])
    with pytest.raises(UserError, match="IndexBatch"):
        mixing(samples)[0]


def test_mixup_options_are_checked(samples: Samples) -> None:
    with pytest.raises(UserError, match="did you mean 'negative'"):
        mixing(samples, mixup_option="negatives")
    with pytest.raises(UserError, match="threshold"):
        mixing(samples, hard_label=True)
    with pytest.raises(UserError, match="contradict"):
        mixing(samples, hard_label=0.5, lor_label=True)
    with pytest.raises(UserError, match="mixup_alpha"):
        mixing(samples, mixup_alpha=0)
    with pytest.raises(UserError, match="needs targets"):
        G2NetDataset(samples.paths[:N], mixup=True)
    with pytest.raises(UserError, match="no sample has target 0"):
        G2NetDataset(samples.paths[:2], [1, 1], mixup=True, mixup_option="negative")
