import json

import numpy as np
import pytest
from scipy import special
from sklearn import metrics
from sklearn.calibration import calibration_curve

from tfeff.errors import UserError
from tfeff.evaluation import ConfusionMatrix, calibration, classification_report, one_versus_rest, temperature

NAMES = [f"class {i}" for i in range(7)]


def predictions(examples=400, classes=7, seed=0, absent=()):
    """Returns labels and probabilities with an accuracy of about 50 %."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([c for c in range(classes) if c not in absent], examples)
    logits = rng.normal(size=(examples, classes))
    logits[np.arange(examples), labels] += 1.5
    exponentials = np.exp(logits)
    return labels, exponentials / exponentials.sum(axis=1, keepdims=True)


def test_metrics_equal_scikit_learn():
    labels, probabilities = predictions()
    report = classification_report(labels, probabilities, NAMES)

    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(labels, predicted)
    np.testing.assert_allclose(report.per_class.precision, precision, rtol=1e-12)
    np.testing.assert_allclose(report.per_class.recall, recall, rtol=1e-12)
    np.testing.assert_allclose(report.per_class.f1, f1, rtol=1e-12)
    np.testing.assert_allclose(report.per_class.support, support, rtol=1e-12)
    np.testing.assert_allclose(report.confusion.dense(), metrics.confusion_matrix(labels, predicted))
    assert report.top1 == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert report.top5 == pytest.approx(metrics.top_k_accuracy_score(labels, probabilities, k=5, labels=range(7)))
    assert report.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert report.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert report.log_loss == pytest.approx(metrics.log_loss(labels, probabilities), rel=1e-9)


@pytest.mark.parametrize("levels", [None, 5])  # with 5, most probabilities are equal
@pytest.mark.parametrize("absent", [(), (2, 4)])
def test_the_separation_of_each_class_equals_scikit_learn(absent, levels):
    labels, probabilities = predictions(absent=absent)
    if levels is not None:
        probabilities = np.ceil(levels * probabilities)
        probabilities /= 1.01 * probabilities.sum(axis=1).max()
        probabilities[:, 6] += 1 - probabilities.sum(axis=1)
    report = classification_report(labels, probabilities, NAMES)
    present = [label for label in range(7) if label not in absent]
    areas = [metrics.roc_auc_score(labels == label, probabilities[:, label]) for label in present]
    precisions = [metrics.average_precision_score(labels == label, probabilities[:, label]) for label in present]
    np.testing.assert_allclose(report.class_roc_auc[present], areas, rtol=1e-12)
    np.testing.assert_allclose(report.class_average_precision[present], precisions, rtol=1e-12)
    assert report.macro_roc_auc == pytest.approx(np.mean(areas))
    assert report.macro_average_precision == pytest.approx(np.mean(precisions))
    assert np.isnan(report.class_roc_auc[list(absent)]).all()
    assert np.isnan(report.class_average_precision[list(absent)]).all()


def test_curves_equal_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 20, 300) / 20, rng.random(300) < 0.2
    found = one_versus_rest(scores, np.flatnonzero(positive))
    precision, recall, thresholds = metrics.precision_recall_curve(positive, scores)
    own = np.isin(thresholds, scores[positive])
    np.testing.assert_array_equal(found.thresholds, thresholds[own])
    np.testing.assert_allclose(found.precision, precision[:-1][own])
    np.testing.assert_allclose(found.recall, recall[:-1][own])


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
    assert report.confusion.correct.sum() == 1


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
    np.testing.assert_array_equal(ConfusionMatrix.from_json(loaded["confusion"]).dense(), report.confusion.dense())
    np.testing.assert_array_equal(loaded["calibration"]["edges"], report.calibration.edges)


def test_the_json_of_many_classes_has_only_the_pairs_that_occur():
    labels, probabilities = np.arange(0, 3000, 150), np.full((20, 3000), 0.5 / 3000)
    probabilities[np.arange(20), np.maximum(labels, 300)] += 0.5  # two are wrong
    report = classification_report(labels, probabilities, [f"class {i}" for i in range(3000)]).to_json()
    confusion = report["confusion"]
    assert set(zip(confusion["true"], confusion["predicted"], confusion["count"], strict=True)) == {
        (0, 300, 1),
        (150, 300, 1),
        *((label, label, 1) for label in range(300, 3000, 150)),
    }
    assert len(json.dumps(confusion)) < 500
    assert ConfusionMatrix.from_json(confusion).support.sum() == 20


def test_log_loss_is_finite_for_a_probability_of_zero():
    probabilities = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    report = classification_report([0, 1], probabilities, ["a", "b"])
    assert report.log_loss == pytest.approx(metrics.log_loss([0, 1], probabilities), rel=1e-5)


def test_a_single_class():
    report = classification_report([0, 0], [[1.0], [1.0]], ["only"])
    assert report.top1 == report.top5 == report.balanced_accuracy == 1.0
    assert report.log_loss == 0.0
    assert report.macro_average_precision == 1.0
    assert report.to_json()["macro_roc_auc"] is None  # there is nothing to separate it from


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


def brute_force(confidences, correct, bins):
    """Guo et al. 2017, equations 2 to 5, one example at a time."""
    expected, largest = 0.0, 0.0
    for m in range(1, bins + 1):
        inside = [i for i, p in enumerate(confidences) if (m - 1) / bins < p <= m / bins]
        total = len(inside)
        if total:
            accuracy = sum(correct[i] for i in inside) / total
            confidence = sum(confidences[i] for i in inside) / total
            expected += total / len(confidences) * abs(accuracy - confidence)
            largest = max(largest, abs(accuracy - confidence))
    return expected, largest


@pytest.mark.parametrize("bins", [1, 8, 15])
def test_errors_equal_the_equations_of_the_paper(bins):
    rng = np.random.default_rng(0)
    confidences, correct = rng.uniform(0.3, 1.0, 300), rng.random(300) < 0.7
    result = calibration(confidences, correct, bins)
    expected, largest = brute_force(confidences, correct, bins)
    assert result.expected_error == pytest.approx(expected)
    assert result.maximum_error == pytest.approx(largest)
    assert result.weight.sum() == 300


def test_bins_equal_scikit_learn():
    rng = np.random.default_rng(1)
    confidences, correct = rng.random(500), rng.random(500) < 0.5
    result = calibration(confidences, correct, bins=10)
    accuracy, confidence = calibration_curve(correct, confidences, n_bins=10)
    filled = result.weight > 0
    np.testing.assert_allclose(result.accuracy[filled], accuracy)
    np.testing.assert_allclose(result.confidence[filled], confidence)


def test_a_confidence_on_an_edge_falls_into_the_bin_below():
    result = calibration([0.0, 0.25, 0.5, 1.0, 1.0 + 1e-7], [False, False, True, True, True], bins=4)
    assert result.weight.tolist() == [2, 1, 0, 2]
    assert np.isnan(result.accuracy[2])


def test_perfectly_calibrated_predictions_have_no_error():
    confidences, correct = np.repeat([0.5, 0.75, 1.0], 4), [1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1]
    assert calibration(confidences, correct).expected_error == 0.0
    assert calibration(confidences, correct).maximum_error == 0.0


def test_temperature_undoes_a_scale_and_leaves_calibrated_predictions():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 4))
    labels = np.array([rng.choice(4, p=row) for row in special.softmax(logits, axis=1)])
    for scale in (0.3, 1.0, 4.0):
        found = temperature(labels, special.softmax(scale * logits, axis=1))
        assert found == pytest.approx(scale, rel=0.03)
        assert temperature(labels, special.softmax(scale * logits / found, axis=1)) == pytest.approx(1, abs=1e-6)
    assert temperature([0, 1], [[0.9, 0.1], [0.2, 0.8]]) == 1.0  # all correct: undetermined
    assert temperature([1, 0], [[0.9, 0.1], [0.2, 0.8]]) == 1.0  # all wrong
