"""The classic head classifies and localizes regions; the scaling of the features is folded into its weights."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tests.rcnn.test_joint import CLASSES, examples
from tfeff import config
from tfeff.errors import UserError
from tfeff.rcnn import classic
from tfeff.rcnn.classic import ClassicTraining
from tfeff.rcnn.examples import Examples


def overlaps(train: Examples) -> np.ndarray:
    """Each region overlaps an object of its own class only."""
    values = np.zeros((len(train.targets), CLASSES), np.float32)
    values[np.arange(len(values)), train.targets.label] = train.targets.overlap
    return values


def moments(train: Examples) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(train.features, np.float64)
    return x.mean(axis=0), x.std(axis=0)


NAMES = ("a", "b", "c")


def test_classes_are_predicted_and_box_regression_matches_scikit_learn() -> None:
    train, _, _ = examples(1)
    settings = config.Classic(penalty=0.1, ridge=10.0)
    head = ClassicTraining(NAMES, train, overlaps(train), moments(train), seed=0).run(settings)
    test, _, _ = examples(3)
    x = test.features.astype(np.float32)
    scores, codes = (np.asarray(output) for output in head(x))
    own = test.targets.overlap > 0.9
    assert (scores[own].argmax(axis=1) == test.targets.label[own]).mean() > 0.99
    background = test.targets.overlap < 0.3
    assert (scores[background].max(axis=1) < np.quantile(scores[own].max(axis=1), 0.01)).mean() > 0.99
    mean, std = moments(train)
    scaled = (np.asarray(train.features, np.float64) - mean) / std * classic.FEATURE_NORM / np.sqrt(len(mean))
    for label in range(CLASSES):
        rows = (train.targets.label == label) & (train.targets.overlap > 0.6)
        reference = Ridge(alpha=10.0).fit(scaled[rows], train.targets.code[rows])
        expected = reference.predict((x - mean) / std * classic.FEATURE_NORM / np.sqrt(len(mean)))
        np.testing.assert_allclose(codes[:, label], expected, atol=2e-3)


def test_ignored_regions_do_not_change_an_svm() -> None:
    train, _, _ = examples(1)
    settings = config.Classic(penalty=0.1, mining_rounds=2)
    values = overlaps(train)
    # Half of the negatives of the first class are ignored; changing their features must not change its SVM.
    ignored = (train.targets.overlap < 0.3) & (np.arange(len(values)) % 2 == 0)
    values[ignored, 0] = np.nan
    features = train.features.copy()
    heads = []
    for _ in range(2):
        changed = Examples(features.copy(), train.targets)
        heads.append(ClassicTraining(NAMES, changed, values, moments(train), seed=0).run(settings))
        features[ignored] += 100
    svms = [
        kernel[:, 0]
        for head in heads
        for kernel in head.get_weights()
        if kernel.ndim == 2 and kernel.shape[1] == CLASSES
    ]
    np.testing.assert_allclose(*svms, rtol=1e-5)


def test_a_class_without_objects_is_named() -> None:
    train, _, _ = examples(1)
    training = ClassicTraining((*NAMES, "d"), train, np.zeros((len(train.targets), 4)), moments(train), seed=0)
    with pytest.raises(UserError, match='"d" has no object'):
        training.run(config.Classic())


def test_a_class_without_negatives_is_named() -> None:
    """An overlap equal to the limit is not negative."""
    train, _, _ = examples(1)
    settings = config.Classic(negative_overlap=0.25)
    values = np.full((len(train.targets), CLASSES), 0.25)
    with pytest.raises(UserError, match='"a" has no negative region'):
        ClassicTraining(NAMES, train, values, moments(train), seed=0).run(settings)
