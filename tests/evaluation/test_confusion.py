import json
from dataclasses import asdict

import numpy as np

from tfeff.evaluation import ConfusionMatrix, confused_pairs, confusion_matrix, per_class


def test_counts_equal_a_loop_over_examples():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 5, 200), rng.integers(0, 5, 200)
    counts = np.zeros((5, 5), int)
    for i, j in zip(labels, predicted, strict=True):
        counts[i, j] += 1
    matrix = confusion_matrix(labels, predicted, 5)
    np.testing.assert_array_equal(matrix.dense(), counts)
    assert len(matrix.count) == np.count_nonzero(counts)
    np.testing.assert_array_equal(matrix.correct, np.diag(counts))
    np.testing.assert_array_equal(matrix.support, counts.sum(axis=1))
    np.testing.assert_array_equal(matrix.predictions, counts.sum(axis=0))


def test_classes_without_examples_have_a_row_and_a_column():
    assert confusion_matrix([0], [0], 3).dense().tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert confusion_matrix([], [], 2).dense().tolist() == [[0, 0], [0, 0]]


def test_transposing_the_matrix_swaps_precision_and_recall():
    labels, predicted = np.random.default_rng(1).integers(0, 6, (2, 160))
    labels[labels == 2] = 3
    original, transposed = (
        per_class(confusion_matrix(*sides, 6)) for sides in ((labels, predicted), (predicted, labels))
    )
    np.testing.assert_array_equal(original.precision, transposed.recall)
    np.testing.assert_array_equal(original.f1, transposed.f1)
    assert np.isnan(original.recall[2])
    np.testing.assert_allclose(
        original.f1[[0, 1, 3, 4, 5]],
        (2 * original.precision * original.recall / (original.precision + original.recall))[[0, 1, 3, 4, 5]],
    )


def test_confused_pairs_are_the_errors_in_order():
    rng = np.random.default_rng(2)
    labels, predicted = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    matrix = confusion_matrix(labels, predicted, 4)
    pairs = confused_pairs(matrix, 100)
    errors = labels != predicted
    assert sum(pair.count for pair in pairs) == errors.sum()
    assert {(pair.true, pair.predicted) for pair in pairs} == set(zip(labels[errors], predicted[errors], strict=True))
    assert [pair.count for pair in pairs] == sorted((pair.count for pair in pairs), reverse=True)
    assert confused_pairs(matrix, 2) == pairs[:2]
    for pair in pairs:
        chosen = labels == pair.true
        assert pair.share == np.mean(predicted[chosen] == pair.predicted)


def test_a_perfect_classifier_confuses_nothing():
    assert confused_pairs(confusion_matrix([0, 0, 2], [0, 0, 2], 3), 5) == []


def test_json_has_the_pairs_that_occur_however_many_classes_there_are():
    matrix = confusion_matrix([7, 99_999, 7], [7, 3, 7], 100_000)
    text = json.dumps({name: np.array(value).tolist() for name, value in asdict(matrix).items()})
    assert json.loads(text) == {"classes": 100_000, "true": [7, 99_999], "predicted": [7, 3], "count": [2, 1]}
    read = ConfusionMatrix.from_json(json.loads(text))
    assert confused_pairs(read, 9) == confused_pairs(matrix, 9)
    assert read.support[[7, 99_999]].tolist() == [2, 1]
