"""Figures of a sweep."""

from matplotlib.axes import Axes

from tfeff.reporting.sweep import cost_figure, effects_figure, map_figure, ranking_figure

ROWS = [
    {
        "label": f"dropout {dropout}, weight decay {decay}",
        "settings": {"model.dropout": dropout, "optimizer.weight_decay": decay},
        "mean": mean,
        "low": None if mean is None else mean - 0.1,
        "high": None if mean is None else mean + 0.1,
        "values": [] if mean is None else [mean - 0.02, mean + 0.02],
        "standing": standing,
    }
    for dropout, decay, mean, standing in (
        ("0", "0.01", 0.8, "winner"),
        ("0.5", "0.01", 0.78, "tied"),
        ("0", "0.1", 0.6, "beaten"),
        ("0.5", "0.1", None, "failed"),
    )
]
DROPOUT = {"key": "model.dropout", "log": False, "order": ["0", "0.5"]}
DECAY = {"key": "optimizer.weight_decay", "log": True, "order": []}


def points(key: str) -> list[dict]:
    return [{"value": row["settings"][key], **{name: row[name] for name in ("mean", "low", "high")}} for row in ROWS]


def test_candidates_with_a_mean_are_drawn_in_their_order() -> None:
    figure = ranking_figure(ROWS, metric="validation accuracy", unit="%")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [row["label"] for row in ROWS[:3]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "winner",
        "not separable from the best",
        "worse than the best",
    ]


def test_effects_show_candidates_and_intervals() -> None:
    means = [
        {"value": "0", "mean": 0.7, "low": 0.6, "high": 0.9},
        {"value": "0.5", "mean": 0.78, "low": None, "high": None},
    ]
    axes_of_sweep = [
        DROPOUT | {"points": points("model.dropout"), "means": means},
        DECAY | {"points": points("optimizer.weight_decay"), "means": []},
    ]
    figure = effects_figure(axes_of_sweep, metric="validation accuracy", unit="%")
    first, second = figure.axes[:2]
    dots, line = first.get_lines()[:2]
    assert sorted(zip(dots.get_xdata(), dots.get_ydata(), strict=True)) == [(0, 0.6), (0, 0.8), (1, 0.78)]
    assert [*zip(*line.get_data(), strict=True)] == [(0, 0.7), (1, 0.78)]
    assert bars(first) == [(0, 0.6, 0.9)]
    assert [text.get_text() for text in first.get_xticklabels()] == ["0", "0.5"]
    assert second.get_xscale() == "log"
    assert sorted(second.get_lines()[0].get_xdata()) == [0.01, 0.01, 0.1]
    assert bars(second) == [(0.01, 0.68, 0.88), (0.01, 0.7, 0.9), (0.1, 0.5, 0.7)]


def bars(axes: Axes) -> list[tuple[float, float, float]]:
    """Returns the place, the lower and the upper end of the vertical error bars."""
    found = [segment for lines in axes.collections for segment in lines.get_segments()]
    return sorted((x, round(low, 9), round(high, 9)) for (x, low), (_, high) in found)


def test_the_map_has_a_cell_for_each_candidate_and_frames_the_winner() -> None:
    figure = map_figure(
        ROWS, DROPOUT, {"key": "optimizer.weight_decay", "order": ["0.01", "0.1"]}, metric="accuracy", unit="%"
    )
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == [
        "80.0\n70.0 to 90.0",
        "78.0\n68.0 to 88.0",
        "60.0\n50.0 to 70.0",
    ]
    assert axes.get_title() == "accuracy (%), with 95 % interval"
    framed = [cell for cell in axes.patches if cell.get_linewidth() == 2.0]
    assert [cell.get_xy() for cell in framed] == [(-0.48, -0.46)]


def test_the_cost_starts_where_a_first_candidate_is_complete() -> None:
    curve = [{"epochs": 4, "best": None}, {"epochs": 8, "best": 0.5}, {"epochs": 16, "best": 0.6}]
    axes = cost_figure({"grid": curve, "halving": curve[:2]}, metric="accuracy", unit="%").axes[0]
    assert list(axes.get_lines()[0].get_xdata()) == [8, 16]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["grid", "halving"]
