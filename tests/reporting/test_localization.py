"""A localiser's report as tables and as a figure."""

import numpy as np

from tfeff.evaluation import localization_report
from tfeff.reporting.localization import iou_figure, per_class_rows, summary_rows


def report():
    rng = np.random.default_rng(0)
    objects = np.sort(rng.uniform(0, 1, (50, 2, 2)), axis=1).reshape(50, 4)
    boxes = objects + rng.normal(0, 0.05, (50, 4))
    return localization_report(rng.integers(0, 2, 50), rng.dirichlet([1, 1, 1], 50), objects, boxes, "abc").to_json()


def test_tables_hold_the_scores_and_what_is_unknown_stays_unknown():
    made = report()
    scores = {row["score"]: row["value"] for row in summary_rows(made)}
    assert scores["mean IoU"] == made["mean_iou"]
    assert scores["localisation error"] == 1 - scores["right class and IoU >= 0.5"]
    assert scores["top-1 accuracy"] == made["top1"]
    rows = per_class_rows(made)
    assert [row["class"] for row in rows] == ["a", "b", "c"]
    assert rows[2]["mean IoU"] is None
    assert rows[0]["mean IoU"] == made["class_iou"][0]


def test_bars_are_the_counts_and_change_colour_at_the_least_overlap():
    counts = list(range(20))
    figure = iou_figure(counts, 0.61, 0.5)
    (axes,) = figure.axes
    heights = {round(bar.get_x() + bar.get_width() / 2, 3): bar.get_height() for bar in axes.patches}
    assert [heights[round(0.025 + 0.05 * index, 3)] for index in range(20)] == counts
    colours = [bar.get_facecolor() for bar in sorted(axes.patches, key=lambda bar: bar.get_x())]
    assert len(set(colours[:10])) == len(set(colours[10:])) == 1
    assert colours[9] != colours[10]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert f"0.5 and above: {sum(counts[10:]) / sum(counts):.1%}" in labels


def test_no_images_make_an_empty_figure():
    assert iou_figure([0] * 20, 0.0, 0.5).axes
