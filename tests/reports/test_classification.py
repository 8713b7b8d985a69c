import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from tfeff.data.input.cache import ImageCache
from tfeff.data.sources import catalog
from tfeff.evaluation import classification_report, localization_report
from tfeff.reporting import tables
from tfeff.reports.classification import (
    CAPTIONS,
    ClassificationEvaluator,
    classification_figures,
    localization_class_rows,
    localization_rows,
    per_class_rows,
    summary_rows,
)


@pytest.fixture(scope="module")
def report():
    """Report on four classes, one of them without examples, after a JSON round trip."""
    labels = np.repeat([0, 1, 2], 20)
    probabilities = np.random.default_rng(0).dirichlet([0.3] * 4, 60)
    return json.loads(json.dumps(classification_report(labels, probabilities, ["a", "b", "c", "none"]).to_json()))


def test_rows_contain_every_class_and_metric(report):
    rows = per_class_rows(report)
    assert [row["class"] for row in rows] == ["a", "b", "c", "none"]
    assert [row["examples"] for row in rows] == [20, 20, 20, 0]
    assert rows[3]["recall"] is None
    np.testing.assert_allclose(np.mean([row["recall"] for row in rows[:3]]), report["balanced_accuracy"])
    scores = {row["metric"]: row["value"] for row in summary_rows(report)}
    assert scores["accuracy"] == report["top1"]
    notes = {row["metric"]: row["note"] for row in summary_rows(report)}
    assert notes["balanced accuracy"] == "mean recall over the 3 classes with examples"
    assert tables.UNDEFINED in tables.text(rows).splitlines()[-1]


def test_means_say_over_which_classes_they_are():
    """Of four classes, the last one has no examples and is not predicted; the third one is never predicted."""
    labels, predicted = [0, 1, 2, 2], [0, 1, 1, 0]
    report = classification_report(labels, np.eye(4)[predicted], "abcd").to_json()
    rows = {row["metric"]: (row["value"], row["note"]) for row in summary_rows(report)}
    assert rows["balanced accuracy"] == (pytest.approx(2 / 3), "mean recall over the 3 classes with examples")
    assert rows["macro precision"] == (0.5, "mean over the 2 classes predicted")
    assert rows["macro F1"] == (pytest.approx(4 / 9), "mean over the 3 classes with examples or predicted")
    report = classification_report([0, 1], np.eye(2), "ab").to_json()
    notes = {row["metric"]: row["note"] for row in summary_rows(report)}
    assert notes["macro precision"] == notes["macro F1"] == "mean over classes"


def test_figures_of_a_report_from_json_are_legible(report, assert_legible):
    figures = classification_figures(report, np.repeat([0, 1, 2], 20), np.full((60, 4), 0.25))
    assert set(figures) == {"confusion", "per_class", "reliability"}
    for figure in figures.values():
        assert_legible(figure)
    (legend,) = figures["per_class"].legends
    bars = " and ".join(text.get_text() for text in legend.get_texts())
    assert CAPTIONS["per_class"].startswith(f"{bars.capitalize()} of each class")


@pytest.mark.parametrize("sure", [False, True])
def test_two_classes_have_curves(sure, assert_legible):
    labels = np.repeat([0, 1], [30, 10])
    second = np.clip(labels * 0.3 + np.random.default_rng(0).uniform(0, 0.6, 40), 0, 1)
    probabilities = np.eye(2)[labels] if sure else np.stack([1 - second, second], axis=1)
    names = ["a very long name of a class that is shortened", "b"]
    report = classification_report(labels, probabilities, names).to_json()
    figure = classification_figures(report, labels, probabilities)["precision_recall"]
    assert_legible(figure)
    left, _ = figure.axes
    assert f"b, average precision {report['class_average_precision'][1]:.3f}" in left.get_legend_handles_labels()[1]
    dots = [tuple(np.ravel(line.get_data())) for line in left.lines if line.get_marker() == "o"]
    scores = report["per_class"]
    assert dots == list(zip(scores["recall"], scores["precision"], strict=True))
    alone = classification_report([0, 0], [[1.0, 0.0]] * 2, names).to_json()
    assert "precision_recall" not in classification_figures(alone, np.zeros(2, int), np.eye(2)[[0, 0]])


@pytest.mark.parametrize("right", [True, False], ids=["all right", "all wrong"])
def test_there_may_be_no_mistakes_or_nothing_but_mistakes(image_folder, right):
    dataset = catalog.open_labels(f"folder:{image_folder({'test/a': 3, 'test/b': 3}, size=(8, 8))}").load("test")
    labels = dataset.labels
    pipeline = SimpleNamespace(images=ImageCache.open(dataset, image_size=(8, 8)))
    probabilities = np.full((6, 2), 0.1, np.float32)
    probabilities[np.arange(6), labels if right else 1 - labels] = 0.9
    found = ClassificationEvaluator().evaluate({"probabilities": probabilities}, pipeline, {})
    assert found.report["top1"] == float(right)
    assert ("mistakes" in found.figures) != right
    assert ("The most confident mistakes" in found.galleries) != right
    assert found.galleries
    assert all(found.galleries.values())


def localization(count=50, noise=0.05):
    rng = np.random.default_rng(0)
    objects = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1).reshape(count, 4)
    boxes = objects + rng.normal(0, noise, (count, 4))
    labels, probabilities = rng.integers(0, 2, count), rng.dirichlet([1, 1, 1], count)
    return localization_report(labels, probabilities, objects, boxes, "abc").to_json()


def test_rows_of_localization_contain_the_metrics_and_none_for_undefined_values():
    data = localization()
    scores = {row["metric"]: row["value"] for row in localization_rows(data)}
    assert scores["mean IoU"] == data["mean_iou"]
    assert scores["localization error"] == 1 - scores["localization accuracy"]
    assert scores["accuracy"] == data["top1"]
    rows = localization_class_rows(data)
    assert [row["class"] for row in rows] == ["a", "b", "c"]
    assert rows[2]["mean IoU"] is None
    assert rows[0]["mean IoU"] == data["class_iou"][0]


@pytest.mark.parametrize(
    ("count", "noise", "said"),
    [
        (50, 0.05, ""),
        (20, 0.05, ", too narrow for so few images"),
        (50, 0.0, ", too narrow because no resample differs"),
    ],
)
def test_an_interval_of_the_mean_iou_that_may_be_too_narrow_says_so(count, noise, said):
    row, *others = localization_rows(localization(count, noise))
    assert re.search(r"95 % interval \S+ to [\d.]+(.*); median", row["note"])[1] == said
    assert not any("too narrow" in each["note"] for each in others)
