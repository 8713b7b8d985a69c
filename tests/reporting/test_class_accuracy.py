import numpy as np
import pytest

from tests.thoroughness import thorough
from tfeff.reporting.class_accuracy import class_accuracy_figure


@pytest.mark.parametrize(("classes", "models"), [(2, 1), (10, 3), thorough(105, 2)])
def test_texts_do_not_overlap(classes, models, assert_legible):
    names = [f"class {i} with a rather long name" for i in range(classes)]
    runs = [f"run {i} with a long name" for i in range(models)]
    assert_legible(class_accuracy_figure(names, runs, np.random.default_rng(0).random((models, classes))))


def test_the_most_difficult_class_is_on_top_and_empty_classes_are_omitted():
    figure = class_accuracy_figure("abc", ["x", "y"], [[1.0, np.nan, 0.5], [0.8, np.nan, 0.3]])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["c", "a"]
    assert [text.get_text() for text in axes.texts] == ["50.0", "30.0", "100.0", "80.0"]
