import json

import numpy as np
import pytest

from tfeff.analysis.comparison.classifiers.insight import Insight
from tfeff.analysis.comparison.classifiers.page import model_table
from tfeff.analysis.comparison.cost import Cost, Latency
from tfeff.analysis.comparison.files import cost_figures


def insight(accuracies, examples=400, macs=None, classes=4):
    """Returns models of known accuracy whose errors are independent."""
    rng = np.random.default_rng(0)
    labels = np.arange(examples) % classes
    probabilities = []
    for accuracy in accuracies:
        predicted = np.where(rng.random(examples) < accuracy, labels, (labels + 1) % classes)
        scores = np.full((examples, classes), 0.01) + rng.uniform(0.5, 2, (examples, 1)) * np.eye(classes)[predicted]
        probabilities.append(scores / scores.sum(axis=1, keepdims=True))
    costs = macs or [1000 * (i + 1) for i in range(len(accuracies))]
    return Insight(
        split="test",
        model_names=[f"run{i}" for i in range(len(accuracies))],
        networks=[("resnet", 32)] * len(accuracies),
        workdirs=[f"/runs/run{i}" for i in range(len(accuracies))],
        class_names=[f"class {i}" for i in range(classes)],
        ids=[f"test[{i}]" for i in range(examples)],
        labels=labels.astype(np.int32),
        training_counts=np.full(classes, 10),
        probabilities=np.array(probabilities, np.float32),
        costs=[Cost(10, each, 100, {"saved_model": Latency(0.01, 0.009, 0.011, 1000)}, None) for each in costs],
        notes=["a note"],
    )


def test_a_clearly_better_model_leads():
    result = insight([0.6, 0.95, 0.7])
    assert result.ranking == [1, 2, 0]
    assert result.summary.startswith("run1 has the highest accuracy, 9")
    assert "Its lead over all others is significant." in result.summary
    assert [(row["first"], row["second"], row["separable"]) for row in result.differences] == [
        ("run1", "run2", True),
        ("run1", "run0", True),
        ("run2", "run0", True),
    ]


def test_the_cheapest_of_similar_models_is_named():
    result = insight([0.9, 0.9, 0.5, 0.91], examples=100, macs=[100, 400, 1, 1000])
    best = result.model_names[result.ranking[0]]
    assert result.ranking[0] != 0
    assert f"{best} has the highest accuracy" in result.summary
    assert "Of these, run0 is the cheapest" in result.summary


def test_equally_accurate_models_are_ranked_by_cost():
    twins = insight([1.0, 1.0, 1.0], macs=[300, 100, 200])
    assert twins.ranking == [1, 2, 0]
    assert all(row["p_value"] == 1 and row["difference"] == 0 for row in twins.differences)


def test_models_of_unknown_cost_are_compared_without_it():
    result = insight([0.9, 0.9], examples=100, macs=[None, 400])
    assert "cheapest" not in result.summary
    assert [row["multiply-adds (M)"] for row in model_table(result)] == [
        None if i == 0 else "0.0004" for i in result.ranking
    ]
    points = [{"name": name, "accuracy": 0.9, "low": 0.8, "high": 1.0} for name in result.model_names]
    drawn = dict(cost_figures(points, result.costs, metric="accuracy", interval="95 % intervals"))
    assert set(drawn) == {"accuracy_macs", "accuracy_latency_saved_model", "accuracy_size_saved_model"}
    lacking = {name for name, (_, caption) in drawn.items() if "Not shown, as this cost is not known: run0." in caption}
    assert lacking == {"accuracy_macs"}


def test_a_single_model_has_no_differences():
    single = insight([0.9])
    assert single.differences == []
    assert single.summary.startswith("run0 has an accuracy of ")
    assert single.summary.count(".") == single.summary.count(". ") + 1 + 3  # one sentence with three decimals


def test_galleries_hold_the_right_examples():
    result = insight([0.8, 0.7])
    correct, confidence = result.matrix.correct, result.probabilities.max(axis=2)
    galleries = result.examples
    assert not correct[:, galleries["missed_by_all"]].any()
    wrong = np.where(correct, 0, confidence).max(axis=0)
    chosen = galleries["most_confidently_wrong"]
    assert len(set(chosen.tolist())) == len(chosen) == 24
    assert wrong[chosen] == pytest.approx(np.sort(wrong)[::-1][:24])
    explained = result.to_explain
    misses = result.matrix.misses[explained]
    assert misses.tolist() == [1] * 4 + [2] * 3 + [0]


def test_the_hardest_class_has_the_most_images_that_every_model_misses():
    result = insight([0.6, 0.5, 0.7])
    correct = result.matrix.correct
    missed = [sum(not correct[:, i].any() for i in range(400) if result.labels[i] == c) for c in range(4)]
    assert result.missed_by_class.tolist() == missed
    assert min(missed) > 0
    assert result.hardest_classes == sorted(range(4), key=lambda c: -missed[c])
    assert [each["missed_by_all"] for each in result.to_json()["classes"]] == missed


def test_perfect_models_have_nothing_to_show():
    perfect = insight([1.0, 1.0])
    assert not len(perfect.examples["missed_by_all"])
    assert not len(perfect.examples["most_confidently_wrong"])
    assert perfect.hardest_classes == []
    assert perfect.suspects() == []
    assert perfect.confused_pairs(0) == []


def test_numbers_are_json_and_consistent():
    result = insight([0.8, 0.7])
    numbers = json.loads(json.dumps(result.to_json(), allow_nan=False))
    first = numbers["models"][0]
    assert first["name"] == "run0"
    assert first["accuracy"] == pytest.approx(result.matrix.correct[0].mean())
    assert sum(pair["images"] for pair in numbers["confused_pairs"]["run0"]) == (~result.matrix.correct[0]).sum()
    matrix = numbers["predictions_matrix"]
    assert len(matrix["missed"]) == (result.matrix.misses > 0).sum()
    assert len(matrix["missed_by_all"]) == (result.matrix.misses == 2).sum()
    by_class = np.mean([each["accuracy"]["run1"] for each in numbers["classes"]])
    assert by_class == pytest.approx(result.matrix.correct[1].mean())  # classes of equal size
    pair = numbers["differences"][0]
    assert pair["difference"] == pytest.approx(first["accuracy"] - numbers["models"][1]["accuracy"])


def test_classes_without_examples_have_no_accuracy():
    result = insight([0.8], examples=3)
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["classes"][3]["accuracy"] == {"run0": None}
