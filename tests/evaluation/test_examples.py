import numpy as np

from tfeff.evaluation import confident_errors, hardest, least_certain

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
