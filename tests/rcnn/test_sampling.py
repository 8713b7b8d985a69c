"""Batches of regions: their composition, and that every positive is drawn."""

import numpy as np

from tfeff.boxes.assignment import Regions
from tfeff.rcnn.sampling import RegionSampler


def regions(rng: np.random.Generator, count: int) -> Regions:
    return Regions(
        overlap=rng.random(count).astype(np.float32),
        label=rng.integers(0, 3, count).astype(np.int32),
        code=np.zeros((count, 4), np.float32),
        is_object=np.zeros(count, bool),
        covered=rng.random(count) < 0.2,
        image=np.zeros(count, np.int32),
    )


def sampler(targets: Regions, seed: int = 0, positives: int = 30) -> RegionSampler:
    return RegionSampler.by_overlap(
        targets, positives=positives, batch_size=positives + 8, positive_overlap=0.5, negative_overlap=0.3, seed=seed
    )


def test_batches_have_the_configured_composition() -> None:
    targets = regions(np.random.default_rng(0), 1000)
    drawn_by = sampler(targets)
    batches = list(drawn_by.epoch(1))
    assert len(batches) == drawn_by.batches
    for rows in batches:
        assert len(rows) == 38
        assert (targets.overlap[rows[:30]] > 0.5).all()
        assert (targets.overlap[rows[30:]] < 0.3).all()
        assert not targets.covered[rows[30:]].any()
    drawn = np.concatenate([rows[:30] for rows in batches])
    expected = np.flatnonzero(targets.overlap > 0.5)
    assert set(drawn) == set(expected)
    assert np.unique(drawn, return_counts=True)[1].max() <= 2


def test_batches_depend_only_on_seed_and_epoch() -> None:
    targets = regions(np.random.default_rng(0), 300)
    one, same, later, other = (
        np.concatenate(list(sampler(targets, seed).epoch(epoch))).tolist()
        for seed, epoch in ((0, 1), (0, 1), (0, 2), (1, 1))
    )
    assert one == same
    assert one != later
    assert one != other


def test_fewer_positives_than_a_batch_needs() -> None:
    targets = regions(np.random.default_rng(0), 20)
    (rows,) = sampler(targets, positives=100).epoch(0)
    counts = np.unique(rows[:100], return_counts=True)[1]
    assert counts.max() - counts.min() <= 1


def test_without_background_the_whole_batch_is_positive() -> None:
    targets = regions(np.random.default_rng(0), 20)
    targets.overlap[:] = 0.9
    drawn_by = sampler(targets)
    assert (drawn_by.positives, drawn_by.negatives) == (38, 0)
    assert [len(rows) for rows in drawn_by.epoch(0)] == [38]
