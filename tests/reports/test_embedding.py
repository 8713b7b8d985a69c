import json
from types import SimpleNamespace

import numpy as np
import pytest

from tfeff.evaluation import embedding_report, gallery_accuracy
from tfeff.evaluation.retrieval import retrieval
from tfeff.reporting import tables
from tfeff.reports.embedding import (
    EmbeddingEvaluator,
    class_rows,
    embedding_figures,
    galleries,
    nearest_rows,
    summary_rows,
)


def report_of(labels, threshold=0.4, gallery=True):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(max(labels) + 1, 6))[labels] + rng.normal(size=(len(labels), 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    known = gallery_accuracy(vectors, labels, vectors[::3], labels[::3]) if gallery else None
    names = [f"class {label}" for label in range(max(labels) + 1)]
    found = embedding_report(vectors, labels, names, threshold=threshold, gallery=known).to_json()
    return json.loads(json.dumps(found))


@pytest.fixture(scope="module")
def report():
    return report_of(np.repeat(np.arange(4), 12))


def test_tables_contain_every_metric_and_class(report):
    rows = {row["metric"]: row for row in summary_rows(report)}
    assert rows["recall at 1"]["value"] == report["recall_at_1"]
    assert rows["accuracy"]["value"] == report["gallery"]["accuracy"]
    assert rows["equal error rate"]["value"] == report["pairs"]["equal_error_rate"]
    assert rows["false accepts"]["value"] == report["false_accept_rate"]
    assert "264 pairs of one class, 864 of different ones" in rows["area under ROC"]["note"]
    classes = class_rows(report)
    assert sorted(row["class"] for row in classes) == [f"class {label}" for label in range(4)]
    recalls = [row["recall at 1"] for row in classes]
    assert recalls == sorted(recalls)


def test_bootstrap_intervals_that_may_be_too_narrow_say_so(report):
    def notes(of):
        return {row["metric"]: row["note"] for row in summary_rows(of)}

    bootstrapped = ("MAP@R", "area under ROC", "equal error rate")
    assert not any("too narrow" in note for note in notes(report).values())
    few = notes(report_of(np.repeat(np.arange(4), 4)))
    assert {name for name, note in few.items() if "too narrow for so few images" in note} == {*bootstrapped}
    labels = np.repeat(np.arange(4), 12)
    right = notes(embedding_report(np.eye(4)[labels], labels, "abcd").to_json())
    assert {name for name, note in right.items() if "too narrow because no resample differs" in note} == {*bootstrapped}


def test_without_threshold_and_trained_classes():
    report = report_of(np.repeat(np.arange(4), 12), threshold=None, gallery=False)
    assert {"accuracy", "false accepts", "false rejects"}.isdisjoint(row["metric"] for row in summary_rows(report))
    assert "accuracy" not in EmbeddingEvaluator().result(report)
    assert EmbeddingEvaluator().result(report)["similarity_threshold"] is None
    assert set(EmbeddingEvaluator().scalars(report)) == {"recall_at_1", "map_at_r", "auc", "equal_error_rate"}


def test_a_single_class_has_no_pairs_of_different_classes(report):
    single = report_of(np.zeros(5, np.int64), threshold=None)
    assert single["pairs"]["auc"] is None
    assert embedding_figures(single) == {}
    assert tables.UNDEFINED in tables.text(summary_rows(single))
    assert set(embedding_figures(report)) == {"roc", "similarities"}


def test_single_images_of_classes_have_no_neighbors_but_an_accuracy():
    vectors = np.eye(4)
    known = gallery_accuracy(vectors, np.arange(4), vectors, np.arange(4))
    report = embedding_report(vectors, np.arange(4), "abcd", gallery=known).to_json()
    assert (report["queries"], report["recall_at_1"], report["map_at_r_interval"]) == (0, None, [None, None])
    assert EmbeddingEvaluator().result(report)["accuracy"] == 1
    assert tables.text(summary_rows(report)).count(tables.UNDEFINED) >= 4


def test_the_accuracy_is_that_of_images_of_trained_classes():
    """Of ten images of two classes, the four of the first one have this class in the gallery, of three images."""
    vectors = np.eye(2)[[0] * 4 + [1] * 6]
    known = gallery_accuracy(vectors, [0] * 4 + [1] * 6, np.eye(2)[[0, 0, 0]], [0, 0, 0])
    report = embedding_report(vectors, [0] * 4 + [1] * 6, "ab", gallery=known).to_json()
    notes = {row["metric"]: row["note"] for row in summary_rows(report)}
    assert notes["accuracy"].endswith("; of 4 images of trained classes; nearest of 3 training images")


def test_a_single_image_has_neither_neighbors_nor_mistakes():
    found = retrieval(np.ones((1, 1)), [0])
    images = SimpleNamespace(dataset=SimpleNamespace(labels=np.array([0]), class_names=["cat"], ids=["1.jpg"]))
    assert (nearest_rows(found, images), galleries(found, images)) == ([], {})
