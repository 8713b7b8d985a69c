import numpy as np

from tfeff.evaluation import confident_errors

PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.55, 0.45], [0.1, 0.9], [0.3, 0.7], [0.8, 0.2]])
LABELS = np.array([0, 0, 1, 0, 1, 1])


def test_errors_come_in_order_of_confidence():
    assert confident_errors(LABELS, PROBABILITIES, 10).tolist() == [3, 1, 5, 2]  # 1 and 5 tie
    assert confident_errors(LABELS, PROBABILITIES, 1).tolist() == [3]


def test_perfect_predictions_have_no_errors():
    assert confident_errors([0, 1], np.eye(2), 5).shape == (0,)
