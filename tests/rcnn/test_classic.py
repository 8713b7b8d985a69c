"""The classic head finds its classes and boxes, and its weights hold the scaling of the features."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tests.rcnn.test_joint import CLASSES, examples
from tfeff import config
from tfeff.errors import UserError
from tfeff.rcnn import classic
from tfeff.rcnn.joint import Examples


def overlaps(of: Examples) -> np.ndarray:
    """Each region overlaps an object of its own class alone."""
    found = np.zeros((len(of.regions), CLASSES), np.float32)
    found[np.arange(len(found)), of.regions.label] = of.regions.overlap
    return found


def moments(of: Examples) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(of.features, np.float64)
    return x.mean(axis=0), x.std(axis=0)


NAMES = ("a", "b", "c")


def test_classes_are_found_and_boxes_are_scikit_learns() -> None:
    train, _, _ = examples(1)
    settings = config.Classic(penalty=0.1, ridge=10.0)
    head = classic.fit(settings, NAMES, train, overlaps(train), moments(train), seed=0)
    test, _, _ = examples(3)
    x = test.features.astype(np.float32)
    scores, codes = (np.asarray(of) for of in head(x))
    own = test.regions.overlap > 0.9
    assert (scores[own].argmax(axis=1) == test.regions.label[own]).mean() > 0.99
    background = test.regions.overlap < 0.3
    assert (scores[background].max(axis=1) < np.quantile(scores[own].max(axis=1), 0.01)).mean() > 0.99
    mean, std = moments(train)
    scaled = (np.asarray(train.features, np.float64) - mean) / std * classic.NORM / np.sqrt(len(mean))
    for label in range(CLASSES):
        rows = (train.regions.label == label) & (train.regions.overlap > 0.6)
        theirs = Ridge(alpha=10.0).fit(scaled[rows], train.regions.code[rows])
        expected = theirs.predict((x - mean) / std * classic.NORM / np.sqrt(len(mean)))
        np.testing.assert_allclose(codes[:, label], expected, atol=2e-3)


def test_what_lies_on_difficult_objects_teaches_nothing() -> None:
    train, _, _ = examples(1)
    settings = config.Classic(penalty=0.1, mining_rounds=2)
    given = overlaps(train)
    # Background that would be negatives of the first class is set aside; moving it must not change its machine.
    aside = (train.regions.overlap < 0.3) & (np.arange(len(given)) % 2 == 0)
    given[aside, 0] = np.nan
    features = train.features.copy()
    heads = []
    for _ in range(2):
        moved = Examples(features.copy(), train.regions)
        heads.append(classic.fit(settings, NAMES, moved, given, moments(train), seed=0))
        features[aside] += 100
    machines = [head.get_layer("machines").get_weights()[0][:, 0] for head in heads]
    np.testing.assert_allclose(*machines, rtol=1e-5)


def test_a_class_without_objects_is_named() -> None:
    train, _, _ = examples(1)
    with pytest.raises(UserError, match='"d" has no object'):
        classic.fit(config.Classic(), (*NAMES, "d"), train, np.zeros((len(train.regions), 4)), moments(train), seed=0)
