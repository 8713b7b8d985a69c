"""The classic head classifies and localizes regions; the scaling of the features is folded into its weights."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tests.rcnn.random_regions import CLASSES, examples
from tfeff import config
from tfeff.errors import UserError
from tfeff.rcnn import classic
from tfeff.rcnn.classic import ClassicTraining


def test_classes_are_predicted_and_box_regression_matches_scikit_learn() -> None:
    train, _, _ = examples(1)
    settings = config.Classic(penalty=0.1, ridge=10.0)
    svms, boxes = ClassicTraining(train, seed=0).run(settings)
    test, _, _ = examples(3)
    x = test.features.astype(np.float32)
    scores, codes = x @ svms.weights + svms.biases, np.einsum("nd,dct->nct", x, boxes.weights) + boxes.biases
    own = test.targets.overlap > 0.9
    assert (scores[own].argmax(axis=1) == test.targets.label[own]).mean() > 0.99
    background = test.targets.overlap < 0.3
    assert (scores[background].max(axis=1) < np.quantile(scores[own].max(axis=1), 0.01)).mean() > 0.99
    everything = np.asarray(train.features, np.float64)
    mean, std = everything.mean(axis=0), everything.std(axis=0)
    scaled = (np.asarray(train.features, np.float64) - mean) / std * classic.FEATURE_NORM / np.sqrt(len(mean))
    for label in range(CLASSES):
        rows = (train.targets.label == label) & (train.targets.overlap > 0.6)
        reference = Ridge(alpha=10.0).fit(scaled[rows], train.targets.code[rows])
        expected = reference.predict((x - mean) / std * classic.FEATURE_NORM / np.sqrt(len(mean)))
        np.testing.assert_allclose(codes[:, label], expected, atol=2e-3)


def test_ignored_regions_do_not_change_an_svm() -> None:
    train, _, _ = examples(1)
    settings = config.Classic(penalty=0.1, mining_rounds=2)
    values, features = train.class_overlaps, train.features
    # Half of the negatives of the first class are ignored; changing their features must not change its SVM.
    ignored = (train.targets.overlap < 0.3) & (np.arange(len(values)) % 2 == 0)
    values[ignored, 0] = np.nan
    mean_and_std, svms = train.moments(0), []
    train.__dict__["moments"] = lambda seed: mean_and_std
    for _ in range(2):
        weights = ClassicTraining(train, seed=0).run(settings)[0]
        svms.append(np.append(weights.weights[:, 0], weights.biases[0]))
        features[ignored] += 100
    np.testing.assert_allclose(*svms, rtol=1e-5)


def test_a_class_without_objects_is_named() -> None:
    train, _, _ = examples(1, names=("a", "b", "c", "d"))
    with pytest.raises(UserError, match='"d" has no object'):
        ClassicTraining(train, seed=0).run(config.Classic())


def test_a_class_without_negatives_is_named() -> None:
    """An overlap equal to the limit is not negative."""
    train, _, _ = examples(1)
    train.class_overlaps[:] = 0.25
    with pytest.raises(UserError, match='"a" has no negative region'):
        ClassicTraining(train, seed=0).run(config.Classic(negative_overlap=0.25))


def test_regions_of_no_class_leave_boxes_unchanged() -> None:
    train, _, _ = examples(1)
    boxes = ClassicTraining(train, seed=0).box_regressions(1.0, 1.0)
    assert not boxes.weights.any()
    assert not boxes.biases.any()
