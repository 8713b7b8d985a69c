"""Tables and figure of a localization report."""

import numpy as np

from tfeff.evaluation import localization_report
from tfeff.reporting.localization import iou_figure, per_class_rows, summary_rows


def report():
    rng = np.random.default_rng(0)
    objects = np.sort(rng.uniform(0, 1, (50, 2, 2)), axis=1).reshape(50, 4)
    boxes = objects + rng.normal(0, 0.05, (50, 4))
    return localization_report(rng.integers(0, 2, 50), rng.dirichlet([1, 1, 1], 50), objects, boxes, "abc").to_json()


def test_rows_contain_the_metrics_and_none_for_undefined_values():
    data = report()
    scores = {row["metric"]: row["value"] for row in summary_rows(data)}
    assert scores["mean IoU"] == data["mean_iou"]
    assert scores["localization error"] == 1 - scores["localization accuracy"]
    assert scores["top-1 accuracy"] == data["top1"]
    rows = per_class_rows(data)
    assert [row["class"] for row in rows] == ["a", "b", "c"]
    assert rows[2]["mean IoU"] is None
    assert rows[0]["mean IoU"] == data["class_iou"][0]


def test_bars_are_counts_and_change_color_at_the_threshold():
    counts = list(range(20))
    figure = iou_figure(counts, 0.61, 0.5)
    (axes,) = figure.axes
    heights = {round(bar.get_x() + bar.get_width() / 2, 3): bar.get_height() for bar in axes.patches}
    assert [heights[round(0.025 + 0.05 * index, 3)] for index in range(20)] == counts
    colors = [bar.get_facecolor() for bar in sorted(axes.patches, key=lambda bar: bar.get_x())]
    assert len(set(colors[:10])) == len(set(colors[10:])) == 1
    assert colors[9] != colors[10]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert f"0.5 and above: {100 * sum(counts[10:]) / sum(counts):.1f} %" in labels


def test_a_figure_without_images_is_empty():
    assert iou_figure([0] * 20, 0.0, 0.5).axes
