import numpy as np

from tfeff.evaluation import confident_errors, confident_hits, uncertain

PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.55, 0.45], [0.1, 0.9], [0.3, 0.7]])
LABELS = np.array([0, 0, 1, 0, 1])


def test_errors_and_hits_part_the_examples_by_confidence():
    assert confident_errors(LABELS, PROBABILITIES, 10).tolist() == [3, 1, 2]
    assert confident_hits(LABELS, PROBABILITIES, 10).tolist() == [0, 4]
    assert confident_errors(LABELS, PROBABILITIES, 1).tolist() == [3]


def test_a_perfect_network_has_no_errors_to_show():
    assert confident_errors([0, 1], np.eye(2), 5).shape == (0,)


def test_the_smallest_margin_comes_first():
    scores = np.random.default_rng(0).dirichlet(np.ones(6), 50)
    margins = [row[-1] - row[-2] for row in np.sort(scores, axis=1)]
    assert uncertain(scores, 50).tolist() == sorted(range(50), key=lambda i: margins[i])
