import numpy as np
import pytest

from tfeff.reporting.predictions_matrix import predictions_matrix_figure


@pytest.mark.parametrize(("models", "examples"), [(1, 0), (2, 5), (6, 400), (2, 4000)])
def test_texts_do_not_overlap(models, examples, assert_legible):
    correct = np.random.default_rng(0).random((models, examples)) < 0.5
    names = [f"run {i} with a long name, longer than others" for i in range(models)]
    assert_legible(predictions_matrix_figure(names, correct, examples=9000))


def test_cells_are_correct_wrong_or_wrong_for_all():
    correct = [[False, True, False], [False, False, True]]
    image = predictions_matrix_figure("ab", correct, examples=10).axes[0].images[0]
    assert image.get_array().tolist() == [[2, 0, 1], [2, 1, 0]]
