import json

import numpy as np
import pytest
from sklearn import metrics

from tfeff.errors import UserError
from tfeff.evaluation import classification_report

NAMES = [f"class {i}" for i in range(7)]


def predictions(examples=400, classes=7, seed=0, absent=()):
    """Labels and probabilities with an accuracy of about 50 %."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([c for c in range(classes) if c not in absent], examples)
    logits = rng.normal(size=(examples, classes))
    logits[np.arange(examples), labels] += 1.5
    exponentials = np.exp(logits)
    return labels, exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_equal_scikit_learn(weighted):
    labels, probabilities = predictions()
    weights = np.random.default_rng(1).uniform(0, 3, len(labels)) if weighted else None
    report = classification_report(labels, probabilities, NAMES, weights=weights)

    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(labels, predicted, sample_weight=weights)
    np.testing.assert_allclose(report.per_class.precision, precision, rtol=1e-12)
    np.testing.assert_allclose(report.per_class.recall, recall, rtol=1e-12)
    np.testing.assert_allclose(report.per_class.f1, f1, rtol=1e-12)
    np.testing.assert_allclose(report.per_class.support, support, rtol=1e-12)
    np.testing.assert_allclose(report.confusion, metrics.confusion_matrix(labels, predicted, sample_weight=weights))
    assert report.top1 == pytest.approx(metrics.accuracy_score(labels, predicted, sample_weight=weights))
    assert report.top5 == pytest.approx(
        metrics.top_k_accuracy_score(labels, probabilities, k=5, sample_weight=weights, labels=range(7))
    )
    assert report.balanced_accuracy == pytest.approx(
        metrics.balanced_accuracy_score(labels, predicted, sample_weight=weights)
    )
    assert report.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro", sample_weight=weights))
    assert report.log_loss == pytest.approx(metrics.log_loss(labels, probabilities, sample_weight=weights), rel=1e-9)


def test_integer_weights_equal_repeated_examples():
    labels, probabilities = predictions(examples=60)
    repeats = np.random.default_rng(2).integers(0, 4, len(labels))
    weighted = classification_report(labels, probabilities, NAMES, weights=repeats).to_json()
    repeated = classification_report(labels.repeat(repeats), probabilities.repeat(repeats, axis=0), NAMES).to_json()
    for key in ("top1", "top5", "balanced_accuracy", "macro_precision", "macro_f1", "log_loss"):
        assert weighted[key] == pytest.approx(repeated[key]), key
    assert weighted["calibration"]["expected_error"] == pytest.approx(repeated["calibration"]["expected_error"])
    np.testing.assert_allclose(weighted["confusion"], repeated["confusion"])


def test_equal_weights_do_not_change_confidence_intervals():
    labels, probabilities = predictions()
    plain = classification_report(labels, probabilities, NAMES)
    weighted = classification_report(labels, probabilities, NAMES, weights=np.full(len(labels), 0.25))
    assert weighted.top1_interval == pytest.approx(plain.top1_interval)
    assert weighted.top1_standard_error == pytest.approx(plain.top1_standard_error)


def test_top_k_accuracy_equals_a_stable_sort_under_ties():
    rng = np.random.default_rng(3)
    scores = rng.integers(1, 4, (300, 9)) / 4.0  # few distinct values: every row has ties
    labels = rng.integers(0, 9, 300)
    report = classification_report(labels, scores / scores.sum(axis=1, keepdims=True), [f"{c}" for c in range(9)])
    ranks = [np.argsort(-row, kind="stable").tolist().index(label) for label, row in zip(labels, scores, strict=True)]
    assert report.top1 == np.mean(np.equal(ranks, 0))
    assert report.top5 == np.mean(np.less(ranks, 5))


def test_accuracy_and_confusion_matrix_agree_under_ties():
    report = classification_report([0, 1, 2], np.full((3, 3), 1 / 3), ["a", "b", "c"])
    assert report.top1 == pytest.approx(1 / 3)
    assert np.trace(report.confusion) == 1


def test_classes_without_examples_are_left_out_and_null_in_json():
    labels, probabilities = predictions(absent=(2, 4))
    probabilities[:, 2] = 0.0
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    report = classification_report(labels, probabilities, NAMES)
    predicted = probabilities.argmax(axis=1)
    present = np.unique(labels)
    assert report.balanced_accuracy == pytest.approx(
        metrics.recall_score(labels, predicted, labels=present, average="macro")
    )
    assert report.macro_f1 == pytest.approx(
        metrics.f1_score(labels, predicted, labels=[0, 1, 3, 4, 5, 6], average="macro")
    )

    scores = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert scores["per_class"]["recall"][2] is None
    assert scores["per_class"]["precision"][2] is None
    assert scores["per_class"]["f1"][2] is None
    assert scores["per_class"]["recall"][4] is None
    assert scores["per_class"]["f1"][4] == 0.0
    assert scores["per_class"]["support"][4] == 0


def test_json_round_trip_keeps_every_number():
    labels, probabilities = predictions()
    report = classification_report(labels, probabilities.astype(np.float32), NAMES)
    loaded = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert loaded["class_names"] == NAMES
    assert loaded["examples"] == 400
    assert loaded["top1"] == report.top1
    assert tuple(loaded["top1_interval"]) == report.top1_interval
    np.testing.assert_array_equal(loaded["confusion"], report.confusion)
    np.testing.assert_array_equal(loaded["calibration"]["edges"], report.calibration.edges)


def test_log_loss_is_finite_for_a_probability_of_zero():
    probabilities = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    report = classification_report([0, 1], probabilities, ["a", "b"])
    assert report.log_loss == pytest.approx(metrics.log_loss([0, 1], probabilities), rel=1e-5)


def test_a_single_class():
    report = classification_report([0, 0], [[1.0], [1.0]], ["only"])
    assert report.top1 == report.top5 == report.balanced_accuracy == 1.0
    assert report.log_loss == 0.0


def test_integer_probabilities_are_accepted():
    assert classification_report([0, 1], [[1, 0], [1, 0]], ["a", "b"]).top1 == 0.5


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([], np.zeros((0, 2)), "no examples"),
        ([0, 2], [[0.5, 0.5]] * 2, r"1 of 2 examples have labels outside \[0, 2\) \(first: example 1, 2\)"),
        ([0, -1], [[0.5, 0.5]] * 2, "outside"),
        ([0.0, 1.0], [[0.5, 0.5]] * 2, "integers"),
        ([0], [[0.5, 0.5]] * 2, "with 2 class names they must be"),
        ([0, 1], [[0.2, 0.3, 0.5]] * 2, "with 2 class names they must be"),
        ([0, 1], [[0.5, 0.5], [np.nan, 0.5]], "diverged"),
        ([0, 1], [[0.5, 0.5], [2.0, -1.0]], "not probabilities"),
        ([0, 1], [[0.5, 0.5], [2.0, 3.0]], "not probabilities"),
    ],
)
def test_invalid_input_is_rejected(labels, probabilities, message):
    with pytest.raises(UserError, match=message):
        classification_report(labels, probabilities, ["a", "b"])


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, np.nan], [1.0, np.inf], [0.0, 0.0]])
def test_invalid_weights_are_rejected(weights):
    with pytest.raises(UserError, match="weight"):
        classification_report([0, 1], [[0.5, 0.5]] * 2, ["a", "b"], weights=weights)
