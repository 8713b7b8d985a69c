import math

import pytest

from tfeff.reporting.training_curves import training_figure


def rows(epochs):
    return [
        {
            "epoch": epoch,
            "train_loss": 2.0 / epoch,
            "validation_loss": 2.5 / epoch,
            "train_accuracy": 1 - 0.9 / epoch,
            "validation_accuracy": 0.9 - 0.8 / epoch,
            "learning_rate": 0.1 * 0.97**epoch,
            "images_per_second": 1400.0 + epoch,
        }
        for epoch in range(1, epochs + 1)
    ]


def curves(figure):
    return {
        (axes.get_ylabel(), line.get_label()): list(zip(*line.get_data(), strict=True))
        for axes in figure.axes
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


@pytest.mark.parametrize("epochs", [1, 2, 15, 350])
def test_texts_do_not_overlap(epochs, assert_legible):
    assert_legible(training_figure(rows(epochs), title="a run"))


def test_every_metric_has_a_curve():
    metrics = rows(15)
    drawn = curves(training_figure(metrics))
    assert len(drawn) == 6
    assert drawn["loss", "validation"] == [(row["epoch"], row["validation_loss"]) for row in metrics]
    assert drawn["accuracy", "train"] == [(row["epoch"], row["train_accuracy"]) for row in metrics]
    assert drawn["images/s", "images"] == [(row["epoch"], row["images_per_second"]) for row in metrics]


def test_missing_values_have_no_points_and_missing_metrics_no_panels():
    metrics = [{"epoch": 1, "train_loss": 3.0}, {"epoch": 2, "train_loss": math.nan}, {"epoch": 3, "train_loss": 1.0}]
    metrics[1]["validation_loss"] = 2.5
    metrics[2]["validation_loss"] = None
    assert curves(training_figure(metrics)) == {
        ("loss", "train"): [(1, 3.0), (3, 1.0)],
        ("loss", "validation"): [(2, 2.5)],
    }
    assert not training_figure([]).axes


def test_the_title_names_the_best_epoch():
    metrics = [{"epoch": epoch, "validation_accuracy": value} for epoch, value in enumerate([0.5, 0.875, 0.75], 1)]
    (axes,) = training_figure(metrics).axes
    assert axes.get_title(loc="right") == "best validation: 0.8750 at epoch 2"


def test_a_learning_rate_of_zero_uses_a_linear_scale():
    (axes,) = training_figure([{"epoch": 1, "learning_rate": 0.1}, {"epoch": 2, "learning_rate": 0.0}]).axes
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] <= 0.0
