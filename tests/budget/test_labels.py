"""Wrong labels are found, and their cost, among features of handwritten digits."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tfeff.budget.labels import compared
from tfeff.budget.probing import Features
from tfeff.errors import UserError

IMAGES = 600


def digits(share: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns features and labels, of which some of the first half are drawn at random, and which these are."""
    data, rng = load_digits(), np.random.default_rng(seed)
    chosen = rng.permutation(len(data.target))[: 2 * IMAGES]
    labels = data.target[chosen].copy()
    wrong = (rng.random(2 * IMAGES) < share) & (np.arange(2 * IMAGES) < IMAGES)
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, wrong.sum())) % 10
    return data.data[chosen], labels, wrong


def test_correct_labels_cost_nothing() -> None:
    features, labels, _ = digits(0.0, 0)
    found = compared(Features(features, labels, IMAGES))
    assert found.images == IMAGES
    assert found.suspects < 0.03 * IMAGES
    assert found.low < 0 < found.high


@pytest.mark.parametrize("seed", range(3))
def test_wrong_labels_are_counted_and_cost_accuracy(seed: int) -> None:
    features, labels, wrong = digits(0.4, seed)
    found = compared(Features(features, labels, IMAGES))
    assert 0.7 * wrong.sum() < found.suspects < 1.4 * wrong.sum()
    assert found.low < found.gain < found.high
    assert found.gain > 0.005


def test_suspects_are_listed_by_image() -> None:
    features, labels, wrong = digits(0.4, 0)
    ids, names = [f"{index:04}.png" for index in range(2 * IMAGES)], [f"digit {each}" for each in range(10)]
    found = compared(Features(features, labels, IMAGES, ids=ids, class_names=names))
    assert len(found.listed) == found.suspects
    first = [ids.index(each["image"]) for each in found.listed[:20]]
    assert wrong[first].mean() > 0.9
    assert [each["annotated"] for each in found.listed[:20]] == [f"digit {labels[each]}" for each in first]
    assert all(each["likely"] != each["annotated"] for each in found.listed)


def test_other_classes_do_not_matter() -> None:
    features, labels, _ = digits(0.2, 0)
    assert compared(Features(features, 7 * labels + 3, IMAGES)) == compared(Features(features, labels, IMAGES))


def test_held_out_images_of_another_class_are_wrong_with_and_without_the_suspects() -> None:
    features, labels, _ = digits(0.0, 0)
    kept = (np.arange(2 * IMAGES) >= IMAGES) | (labels != 9)
    found = compared(Features(features[kept], labels[kept], int(kept[:IMAGES].sum())))
    assert (found.images, found.held_out) == (int(kept[:IMAGES].sum()), IMAGES)
    assert abs(found.gain) < 0.02


def test_images_of_a_group_do_not_confirm_each_other() -> None:
    features, labels, wrong = digits(0.3, 0)
    copies = 5
    some = np.concatenate([np.arange(120), IMAGES + np.arange(120)])
    rng = np.random.default_rng(0)
    near = np.repeat(features[some], copies, axis=0) + rng.normal(0, 0.3, (len(some) * copies, features.shape[1]))
    given, count, groups = np.repeat(labels[some], copies), 120 * copies, np.repeat(some, copies)
    alone, together = (compared(Features(near, given, count, each)) for each in (None, groups))
    assert alone.suspects < 0.5 * copies * wrong[some].sum() < together.suspects  # copies share their wrong label
    assert together.high - together.low > alone.high - alone.low


def test_too_few_images() -> None:
    features, labels, _ = digits(0.0, 0)
    with pytest.raises(UserError, match="3 training images are too few"):
        compared(Features(features[: IMAGES + 3], labels[: IMAGES + 3], 3))
