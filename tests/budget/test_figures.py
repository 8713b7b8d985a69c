"""Which networks the figures of a search show, and what their captions say."""

from types import SimpleNamespace

import pytest

from tests.budget.test_study import study_of
from tfeff.budget.figures import figures
from tfeff.budget.study import Fate


def drawn(*overrides, stages):
    """Returns the figures and captions of a search whose networks have these stages, values and probes."""
    study = study_of("distill=false", *overrides)
    names = list(study.networks)[: len(stages)]
    rows = [
        {
            "name": study.networks[name].label,
            "costs": {"macs": float(study.networks[name].cost.macs)},
            "stage": stage,
            "mean": mean,
            "low": None,
            "high": None,
            "screened": screened,
        }
        for name, (stage, mean, screened) in zip(names, stages, strict=True)
    ]
    fates = {name: Fate(stage, "") for name, (stage, _, _) in zip(names, stages, strict=True)}
    delivered = SimpleNamespace(name=names[0])
    return figures(SimpleNamespace(study=study, fates=fates, delivered=delivered, prospects=None), rows)


FOUND = (("chosen", 0.9, 0.8), ("time", None, 0.7), ("time", None, None), ("larger", None, None))


@pytest.mark.parametrize(
    ("overrides", "y", "published"),
    [
        ((), "accuracy of the probe (%)", "top-1 accuracy on ImageNet (%)"),
        (("experiment.task.name=yolo", "objective.metric=validation_mean_ap"), "short training", "COCO AP (%)"),
    ],
)
def test_networks_without_a_training_are_shown_with_what_comes_before(overrides, y, published):
    found = drawn(*overrides, stages=FOUND)
    figure, caption = found["macs"]
    trained, before = figure.axes
    assert y in before.get_ylabel()
    shown = [
        [float(y) for line in axes.lines if line.get_marker() in "*osD" for y in line.get_ydata()]
        for axes in (trained, before)
    ]
    assert shown == [[0.9], [0.8, 0.7]]
    assert "not comparable with the means above" in caption
    assert "Not tried: 1 network of which a larger one of the same start fits" in caption
    assert found["published"][0].axes[0].get_ylabel() == published


def test_captions_mention_only_what_there_is():
    figure, caption = drawn(stages=(("chosen", 0.9, 0.8), ("race", 0.8, 0.8)))["macs"]
    assert len(figure.axes) == 1
    assert "Below" not in caption
    assert "Not tried" not in caption
    assert "dropped before" in caption
