import numpy as np
import pytest

from tfeff.reporting.embedding_map import embedding_map_figure


@pytest.mark.parametrize("classes", [2, 10, 40])
def test_texts_do_not_overlap_and_every_example_is_drawn(classes, assert_legible):
    rng = np.random.default_rng(0)
    labels, correct = rng.integers(0, classes, 300), rng.random(300) < 0.8
    names = [f"class {i} with a rather long name" for i in range(classes)]
    figure = embedding_map_figure(
        rng.normal(size=(300, 2)), labels, correct, names, explained=(0.5, 0.2), title="A run with a long name"
    )
    assert_legible(figure)
    assert sum(len(line.get_xdata()) for line in figure.axes[0].lines) == 300


def test_misclassified_examples_have_an_edge():
    figure = embedding_map_figure([[0, 0], [1, 1], [2, 2]], [0, 1, 1], [True, False, True], "ab", explained=(1, 0))
    edged = [line for line in figure.axes[0].lines if line.get_markeredgewidth() and len(line.get_xdata())]
    assert [line.get_xydata().tolist() for line in edged] == [[[1, 1]]]
