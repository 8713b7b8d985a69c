import itertools

import numpy as np

from tfeff.evaluation import predictions_matrix

LABELS = [0, 1, 2, 1, 0]
PREDICTED = [[0, 1, 1, 1, 1], [0, 2, 0, 1, 0], [0, 1, 0, 1, 2]]


def matrix():
    return predictions_matrix(LABELS, np.eye(3)[np.array(PREDICTED)])


def test_who_errs_where():
    result = matrix()
    assert result.predicted.tolist() == PREDICTED
    assert result.misses.tolist() == [0, 1, 3, 0, 2]
    assert result.missed_by_all.tolist() == [2]
    assert result.missed_by_any.tolist() == [2, 4, 1]
    assert [result.missed_only_by(i).tolist() for i in range(3)] == [[], [1], []]
    assert result.best_possible == 0.8


def test_examples_that_the_same_models_miss_are_adjacent():
    rng = np.random.default_rng(0)
    result = predictions_matrix(np.zeros(200, int), rng.random((3, 200, 2)))
    patterns = ["".join(map(str, column)) for column in result.correct[:, result.missed_by_any].T.astype(int)]
    assert len(result.missed_by_any) == (result.misses > 0).sum()
    changes = 1 + sum(a != b for a, b in itertools.pairwise(patterns))
    assert changes == len(set(patterns))
    misses = result.misses[result.missed_by_any]
    assert (np.diff(misses) <= 0).all()


def test_agreement_is_the_share_of_equal_predictions():
    assert np.allclose(matrix().agreement(), [[1, 0.4, 0.6], [0.4, 1, 0.6], [0.6, 0.6, 1]])
