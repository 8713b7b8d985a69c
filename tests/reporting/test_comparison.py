import numpy as np
import pytest

from tests.thoroughness import thorough
from tfeff.reporting.comparison import (
    accuracy_cost_figure,
    class_accuracy_figure,
    class_distribution_figure,
    embedding_map_figure,
    paired_differences_figure,
    pareto_front,
    predictions_matrix_figure,
)


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


def test_classes_without_a_color_share_a_legend_entry_and_their_mistakes_have_an_edge():
    """With two images of each class but the last two, these are gray: their images 48 and 49, the second one wrong."""
    labels = np.repeat(np.arange(26), [2] * 24 + [1, 1])
    figure = embedding_map_figure(
        np.stack([np.arange(50), np.arange(50)], axis=1),
        labels,
        np.arange(50) != 49,
        "abcdefghijklmnopqrstuvwxyz",
        explained=(1, 0),
    )
    lines = figure.axes[0].lines
    edged = [line for line in lines if line.get_markeredgewidth() and len(line.get_xdata())]
    assert [line.get_xydata().tolist() for line in edged] == [[[49, 49]]]
    gray = {line.get_color() for line in lines if 48 in line.get_xdata()}
    assert gray == {edged[0].get_color()}
    entries = {
        text.get_text(): line.get_color()
        for text, line in zip(figure.legends[0].get_texts(), figure.legends[0].get_lines(), strict=True)
    }
    assert list(entries) == [*"abcdefghijklmnopqrstuvwx", "other classes", "misclassified"]
    assert {entries["other classes"]} == gray


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


@pytest.mark.parametrize("classes", [2, 30, thorough(120)])
def test_texts_do_not_overlap_class_distribution(classes, assert_legible):
    rng = np.random.default_rng(0)
    names = [f"class {i} with a rather long name ${i}" for i in range(classes)]
    counts = {"test": rng.integers(0, 2000, classes), "training": rng.integers(0, 90_000, classes)}
    assert_legible(class_distribution_figure(names, counts))


def test_bars_are_shares_in_the_order_of_the_first_set():
    (axes, *_) = class_distribution_figure("abc", {"test": [1, 6, 3], "training": [0, 0, 0]}).axes
    first, second = ([bar.get_width() for bar in bars] for bars in axes.containers)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "c", "a"]
    assert first == pytest.approx([0.6, 0.3, 0.1])
    assert second == [0, 0, 0]


def test_every_set_is_drawn_in_a_color_of_its_own():
    counts = {name: [1, 2] for name in ("train", "validation", "test", "field")}
    bars = class_distribution_figure("ab", counts).axes[0].containers
    assert [each.get_label().partition(" ")[0] for each in bars] == list(counts)
    assert len({each[0].get_facecolor() for each in bars}) == 4


@pytest.mark.parametrize(
    ("classes", "step", "title"), [(100, 1, ""), (101, 2, "Every 2nd of 101"), (1000, 10, "Every 10th of 1,000")]
)
def test_of_many_classes_every_nth_is_shown_as_the_title_says(classes, step, title):
    figure = class_distribution_figure([str(i) for i in range(classes)], {"test": np.arange(classes)[::-1]})
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [str(i) for i in range(0, classes, step)]
    assert axes.get_title() == (f"{title} classes" if title else "")


@pytest.mark.parametrize("count", [1, 10])
def test_texts_do_not_overlap_paired_differences(count, assert_legible):
    row = {"first": "a run with a very long name indeed", "second": "US$", "difference": 0.02, "low": -0.1, "high": 0.3}
    assert_legible(paired_differences_figure([row] * count))


def test_bars_reach_from_low_to_high():
    rows = [
        {"first": "a", "second": "b", "difference": 0.1, "low": -0.1, "high": 0.2},
        {"first": "a", "second": "c", "difference": 0.3, "low": 0.25, "high": 0.4},
    ]
    (axes,) = paired_differences_figure(rows).axes
    (bars,) = [each for each in axes.collections if each.get_segments()]
    ends = [(segment[:, 0].min(), segment[:, 0].max(), segment[0, 1]) for segment in bars.get_segments()]
    assert ends == [pytest.approx((-0.1, 0.2, 0)), pytest.approx((0.25, 0.4, 1))]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a − b", "a − c"]


@pytest.mark.parametrize(("models", "examples"), [(1, 0), (2, 5), (6, 400), (2, 4000)])
def test_texts_do_not_overlap_predictions_matrix(models, examples, assert_legible):
    correct = np.random.default_rng(0).random((models, examples)) < 0.5
    names = [f"run {i} with a long name, longer than others" for i in range(models)]
    assert_legible(predictions_matrix_figure(names, correct, examples=9000))


def test_cells_are_correct_wrong_or_wrong_for_all():
    correct = [[False, True, False], [False, False, True]]
    image = predictions_matrix_figure("ab", correct, examples=10).axes[0].images[0]
    assert image.get_array().tolist() == [[2, 0, 1], [2, 1, 0]]


LONG = ["the first of the runs with a very long name", "US$ 5 & more", "c", "d", "e"]


def points(costs, accuracies):
    return [
        {"name": name, "cost": cost, "accuracy": value, "low": value - 0.03, "high": min(1.0, value + 0.02)}
        for name, cost, value in zip(LONG, costs, accuracies, strict=False)
    ]


@pytest.mark.parametrize(
    ("costs", "accuracies"),
    [
        ([2e6], [0.9]),
        ([1e6, 1.2e6, 1.3e6], [0.9, 0.91, 0.8]),
        ([1e6, 8e7, 3e9, 2e10, 2.1e10], [0.7, 0.9, 0.8, 0.95, 1]),
    ],
)
def test_texts_next_to_points_do_not_overlap(costs, accuracies, assert_legible):
    assert_legible(accuracy_cost_figure(points(costs, accuracies), cost="multiply-adds"))


def test_only_the_pareto_front_is_filled():
    figure = accuracy_cost_figure(points([1, 2, 3, 4], [0.5, 0.4, 0.6, 0.6]), cost="latency (ms)")
    filled = [line for line in figure.axes[0].lines if line.get_marker() == "o" and line.get_color() != "white"]
    (front,) = [line for line in filled if line.get_markersize() == 7]
    assert np.array(front.get_xydata()).tolist() == [[1, 0.5], [3, 0.6]]


@pytest.mark.parametrize("seed", range(10))
def test_no_point_surpasses_the_pareto_front(seed):
    rng = np.random.default_rng(seed)
    cost, value = rng.integers(0, 5, 12), rng.integers(0, 5, 12)
    front = pareto_front(cost, value)
    surpassed = [
        any(
            (cost[j] <= cost[i] and value[j] > value[i]) or (cost[j] < cost[i] and value[j] >= value[i])
            for j in range(12)
        )
        for i in range(12)
    ]
    best = {(cost[i], value[i]) for i in range(12) if not surpassed[i]}
    assert {(cost[i], value[i]) for i in front} == best
    assert len(front) == len(best)
