import pytest

from tfeff.reporting.allocation import allocation_figure


def candidates(count):
    return [
        {
            "depth": 1.0 + i / 100,
            "width": 1.1,
            "resolution": 1.2,
            "epochs": 90 if i < 4 else 90 - 3 * i,
            "trials": 3 if i else 1,
            "standing": ("winner", "tied", "beaten", "failed")[i] if i < 4 else "eliminated",
            "reason": None if i < 3 else f"its interval ends {i} points below the one of d 1.25 w 1.00, at epoch 9",
        }
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 3, 25])
def test_texts_do_not_overlap(count, assert_legible):
    assert_legible(allocation_figure(candidates(count)))


def test_every_candidate_has_a_bar_with_its_epochs_and_a_reason():
    rows = candidates(10)
    figure = allocation_figure(rows[::-1])
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [row["epochs"] for row in rows]
    assert axes.get_xlim()[1] > 90
    assert "(epochs" in axes.get_xlabel()
    figure.draw_without_rendering()
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == [f"d {row['depth']:.2f}  w 1.10  r 1.20" for row in rows]
    (reason_axis,) = axes.child_axes
    reasons = [tick.get_text() for tick in reason_axis.get_yticklabels()]
    assert reasons[0] == "1 trial, completed"
    assert all(reason.startswith("3 trials, its interval ends") for reason in reasons[3:])
