import math

import numpy as np
import pytest

from tfeff.reporting.training_curves import (
    line_style,
    loss_figure,
    range_test_figure,
    runs_figure,
    training_figure,
)


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


def test_rates_of_background_share_a_panel():
    metrics = [{"epoch": 1, "validation_called_background": 0.2, "validation_background_recall": 0.9}]
    figure = training_figure(metrics)
    assert curves(figure) == {
        ("share of regions", "objects classified as background"): [(1, 0.2)],
        ("share of regions", "background recall"): [(1, 0.9)],
    }
    assert len({line.get_color() for line in figure.axes[0].lines}) == 2


def test_the_metrics_of_an_embedder_have_panels():
    metrics = [{"epoch": 1, "validation_recall_at_1": 0.5, "validation_map_at_r": 0.25}]
    assert curves(training_figure(metrics)) == {
        ("recall at 1", "validation"): [(1, 0.5)],
        ("MAP@R", "validation"): [(1, 0.25)],
    }


def test_missing_values_have_no_points_and_missing_metrics_no_panels():
    metrics = [{"epoch": 1, "train_loss": 3.0}, {"epoch": 2, "train_loss": math.nan}, {"epoch": 3, "train_loss": 1.0}]
    metrics[1]["validation_loss"] = 2.5
    metrics[2]["validation_loss"] = None
    assert curves(training_figure(metrics)) == {
        ("loss", "train"): [(1, 3.0), (3, 1.0)],
        ("loss", "validation"): [(2, 2.5)],
    }
    assert not training_figure([]).axes


@pytest.mark.parametrize("metric", ["accuracy", "iou", "mean_ap", "recall_at_1", "map_at_r"])
def test_the_title_names_the_best_epoch(metric):
    metrics = [{"epoch": epoch, f"validation_{metric}": value} for epoch, value in enumerate([0.5, 0.875, 0.75], 1)]
    (axes,) = training_figure(metrics).axes
    assert axes.get_title(loc="right") == "best validation: 0.8750 at epoch 2"


def test_a_learning_rate_of_zero_uses_a_linear_scale():
    (axes,) = training_figure([{"epoch": 1, "learning_rate": 0.1}, {"epoch": 2, "learning_rate": 0.0}]).axes
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] <= 0.0


def losses_of(folds, epochs, floor=0.3):
    rng = np.random.default_rng(folds)
    return [
        [(epoch, 2.0 * math.exp(-epoch / 8) + floor + rng.uniform(0, 0.05)) for epoch in range(1, epochs + 1)]
        for _ in range(folds)
    ]


@pytest.mark.parametrize("folds", [1, 3, 10])
@pytest.mark.parametrize("epochs", [1, 5, 200])
def test_texts_do_not_overlap_loss_curves(folds, epochs, assert_legible):
    long = "with batch normalization, and with a label that is longer than the figure is wide"
    assert_legible(loss_figure({long: losses_of(folds, epochs), "without": losses_of(folds, epochs, 0.001)}))


def test_the_line_is_the_mean_and_the_band_spans_all_folds():
    runs = losses_of(3, 10)
    axes = loss_figure({"run": runs}).axes[0]
    losses = np.array(runs)[:, :, 1]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), losses.mean(axis=0))
    outline = axes.collections[0].get_paths()[0].vertices
    for epoch in range(1, 11):
        at = outline[outline[:, 0] == epoch, 1]
        assert (at.min(), at.max()) == pytest.approx((losses[:, epoch - 1].min(), losses[:, epoch - 1].max()))
    low, high = axes.get_ylim()
    assert low < losses.min()
    assert high > losses.max()
    assert axes.get_ylabel() == "training loss (nats)"


def test_a_single_fold_has_no_band():
    assert not loss_figure({"run": losses_of(1, 10)}).axes[0].collections


def test_a_diverged_fold_is_ignored_and_counted_in_the_legend():
    runs = [[(1, 2.0), (2, 1.0)], [(1, 3.0), (2, math.nan)]]
    figure = loss_figure({"run": runs})
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [2.5, 1.0])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["run (2 folds, 1 diverged)"]


@pytest.mark.parametrize(("last", "scale"), [(0.5, "linear"), (0.001, "log"), (0.0, "linear")])
def test_large_ratios_use_a_logarithmic_axis(last, scale):
    assert loss_figure({"run": [[(1, 2.0), (2, last)]]}).axes[0].get_yscale() == scale


def test_a_figure_without_runs_is_empty(assert_legible):
    assert_legible(loss_figure({}))


@pytest.mark.parametrize("count", [21, 120])
def test_texts_do_not_overlap_range_test(count, assert_legible):
    rates = np.geomspace(1e-5, 1.0, count)
    losses = 2 + (np.log10(rates) + 2) ** 2
    means = [math.nan, *losses[1:-1], math.nan]
    figure = range_test_figure(rates, losses, means, 0.01)
    assert_legible(figure)
    _, _, line = figure.axes[0].lines
    assert list(line.get_xdata()) == [0.01, 0.01]


def test_each_run_has_a_line_that_is_the_same_for_all_metrics():
    short, long = rows(3), rows(30)
    for row in short:
        del row["validation_accuracy"]
    runs = {"from ImageNet": short, "from scratch": long, "damaged": []}
    losses, accuracies = (runs_figure(runs, f"validation_{key}", key) for key in ("loss", "accuracy"))
    assert curves(losses) == {
        ("loss", "from ImageNet"): [(row["epoch"], row["validation_loss"]) for row in short],
        ("loss", "from scratch"): [(row["epoch"], row["validation_loss"]) for row in long],
    }
    assert curves(accuracies) == {
        ("accuracy", "from scratch"): [(row["epoch"], row["validation_accuracy"]) for row in long]
    }
    assert losses.axes[0].lines[1].get_color() == accuracies.axes[0].lines[0].get_color()
    assert [text.get_text() for text in losses.legends[0].get_texts()] == ["from ImageNet", "from scratch"]
    assert runs_figure(runs, "validation_iou", "IoU") is None


def test_curves_of_many_runs_differ_in_color_or_dashes(assert_legible):
    assert len({line_style(index) for index in range(24)}) == 24
    runs = {f"run {index} with a name of some length, of a recipe": rows(12) for index in range(8)}
    assert_legible(runs_figure(runs, "validation_loss", "validation loss"))
