import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from tfeff.evaluation import confident_errors, hardest, label_errors, least_certain


@pytest.fixture(scope="module")
def digits():
    """Digits of which 5 % have a wrong label: given labels, flipped, true labels, out-of-fold probabilities of both."""
    images, true = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    flipped = np.sort(rng.choice(len(true), len(true) // 20, replace=False))
    given = true.copy()
    given[flipped] = (true[flipped] + rng.integers(1, 10, len(flipped))) % 10
    models = LogisticRegression(C=0.01, max_iter=100), KNeighborsClassifier(10)
    noisy, clean = (
        np.mean([cross_val_predict(model, images / 16, y, cv=5, method="predict_proba") for model in models], axis=0)
        for y in (given, true)
    )
    return given, flipped, true, noisy, clean


def test_flipped_labels_of_digits_are_found(digits):
    given, flipped, true, probabilities, _ = digits
    found = label_errors(given, probabilities)
    hits = np.isin(found.suspects, flipped)
    assert hits.sum() >= 0.75 * len(flipped)
    assert hits.mean() >= 0.75
    assert hits[: len(flipped) // 2].mean() >= 0.95  # the most suspicious first
    assert (found.likely[hits] == true[found.suspects[hits]]).mean() >= 0.9
    assert found.estimated_share == pytest.approx(0.05, abs=0.02)


def test_correct_labels_are_rarely_suspected(digits):
    _, _, true, _, probabilities = digits
    assert len(label_errors(true, probabilities).suspects) < 0.02 * len(true)


def definition(labels, probabilities):
    """Returns the confident joint and the examples pruned by class, with their likely classes, example by example."""
    classes = probabilities.shape[1]
    thresholds = [
        np.mean([p[j] for p, y in zip(probabilities, labels, strict=True) if y == j]) if j in labels else np.inf
        for j in range(classes)
    ]
    joint = np.zeros((classes, classes), int)
    for p, y in zip(probabilities, labels, strict=True):
        confident = [j for j in range(classes) if p[j] >= thresholds[j]]
        if confident:
            joint[y, max(confident, key=lambda j: p[j])] += 1
    suspects = {}
    for i in range(classes):
        rows = [index for index, y in enumerate(labels) if y == i]
        count = round((1 - joint[i, i] / joint[i].sum()) * len(rows)) if joint[i].sum() else 0
        for index in sorted(rows, key=lambda index: probabilities[index][i])[:count]:
            likely = max(range(classes), key=lambda j: probabilities[index][j])
            if likely != i:
                suspects[index] = likely
    return joint, suspects


def test_suspects_are_those_of_the_definition():
    rng = np.random.default_rng(3)
    several = 0
    for classes in (2, 3, 6, 6, 6):
        probabilities = rng.dirichlet(np.full(classes, 0.5), 80)
        labels = rng.integers(0, classes - (classes > 3), 80)  # of six classes, one has no examples
        joint, suspects = definition(labels, probabilities)
        found = label_errors(labels, probabilities)
        np.testing.assert_array_equal(found.confident_joint.dense(), joint)
        assert dict(zip(found.suspects.tolist(), found.likely.tolist(), strict=True)) == suspects
        own = probabilities[found.suspects, labels[found.suspects]]
        assert list(own) == sorted(own)
        several += len(suspects)
    assert several > 50


def test_the_share_of_wrong_labels_is_that_of_the_confident_joint_of_each_label():
    rng = np.random.default_rng(4)
    labels, probabilities = rng.integers(0, 4, 200), rng.dirichlet(np.ones(5), 200)
    joint, _ = definition(labels, probabilities)
    found, counts = label_errors(labels, probabilities), np.bincount(labels, minlength=5)
    expected = [(1 - joint[i, i] / joint[i].sum()) * counts[i] if counts[i] else 0 for i in range(5)]
    np.testing.assert_allclose(found.wrong, expected)
    assert found.estimated_share == pytest.approx(sum(expected) / 200)


def test_perfect_predictions_leave_no_suspects():
    labels = np.arange(12) % 3
    found = label_errors(labels, np.eye(3)[labels])
    assert not len(found.suspects)
    assert found.estimated_share == 0


PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.55, 0.45], [0.1, 0.9], [0.3, 0.7], [0.8, 0.2]])
LABELS = np.array([0, 0, 1, 0, 1, 1])


def test_errors_come_in_order_of_confidence():
    assert confident_errors(LABELS, PROBABILITIES, 10).tolist() == [3, 1, 5, 2]  # 1 and 5 tie
    assert confident_errors(LABELS, PROBABILITIES, 1).tolist() == [3]


def test_perfect_predictions_have_no_errors():
    assert confident_errors([0, 1], np.eye(2), 5).shape == (0,)


def test_hardest_examples_have_the_highest_mean_loss():
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 4, 30), rng.dirichlet(np.ones(4), (3, 30))
    losses = [np.mean([-np.log(probabilities[m, i, labels[i]]) for m in range(3)]) for i in range(30)]
    assert hardest(labels, probabilities, 7).tolist() == sorted(range(30), key=lambda i: -losses[i])[:7]
    assert hardest([0], [[[0.0, 1.0]]], 5).tolist() == [0]  # a probability of 0 has a finite loss


def test_least_certain_examples_have_the_smallest_margin():
    probabilities = [[0.5, 0.3, 0.2], [0.34, 0.33, 0.33], [0.4, 0.2, 0.4], [0.9, 0.1, 0.0]]
    assert least_certain(probabilities, 3).tolist() == [2, 1, 0]
