"""The config of a sweep: its axes, and what it rejects."""

import numpy as np
import pytest

from tfeff import config
from tfeff.errors import UserError

AXES = ("model.dropout=0|0.2", "optimizer.weight_decay=1e-4~1e-2", "training.batch_size=8..32")


def test_axes_are_lists_or_ranges() -> None:
    lists, log, whole = config.Sweep(axes=AXES, sampler=config.Sampler(name="random")).parsed
    assert lists == config.Axis("model.dropout", choices=("0", "0.2"))
    assert log == config.Axis("optimizer.weight_decay", low=1e-4, high=1e-2, log=True)
    assert whole == config.Axis("training.batch_size", low=8, high=32, whole=True)


def test_the_type_of_the_key_decides_whether_a_range_is_whole() -> None:
    axes = ("model.dropout=0..0.5", "training.batch_size=8.0..32.0")
    dropout, batch_size = config.Sweep(axes=axes, sampler=config.Sampler(name="random")).parsed
    assert (dropout.whole, batch_size.whole) == (False, True)


PARSED = config.Sweep(axes=AXES, sampler=config.Sampler(name="random")).parsed


@pytest.mark.parametrize("axis", PARSED[1:])
def test_texts_of_a_range_cover_it(axis: config.Axis) -> None:
    values = [float(axis.text(position / 1000)) for position in range(1000)]
    assert values == sorted(values)
    assert values[0] == axis.low
    if axis.whole:
        assert set(values) == set(range(8, 33))
    else:
        low, high = (np.log([axis.low, axis.high])) if axis.log else (axis.low, axis.high)
        expected = low + np.arange(1000) / 1000 * (high - low)
        assert values == pytest.approx(np.exp(expected) if axis.log else expected, rel=1e-3)  # four digits


def test_a_member_has_the_values_of_the_axes() -> None:
    member = config.Sweep(axes=AXES[:1]).member(["model.dropout=0.2", "optimizer.name=adamw"])
    assert (member.model.dropout, member.optimizer.name) == (0.2, "adamw")


def test_values_do_not_depend_on_the_order_of_the_axes() -> None:
    sweep = config.Sweep(axes=("model.dropout=0|0.5", "model.name=resnet|efficientnet-b0"))
    values = ["model.dropout=0.5", "model.name=efficientnet-b0"]
    member = sweep.member(values)
    assert (member.model.name, member.model.dropout) == ("efficientnet-b0", 0.5)
    assert member == sweep.member(values[::-1])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"axes": ()}, "at least one key"),
        ({"axes": ("model.dropout",)}, "'model.dropout' is not"),
        ({"axes": ("model.dropout=0|0",)}, "is not"),
        ({"axes": ("model.dropout=0.5..0.1",)}, "is not"),
        ({"axes": ("optimizer.weight_decay=0~1",)}, "is not"),
        ({"axes": ("model.dropot=0|1",)}, 'did you mean "dropout"'),
        ({"axes": ("model.dropout=0|2",)}, "model.dropout 2.0: must be in [0, 1)"),
        ({"axes": ("model.dropout=0|0.1", "model.dropout=0.2|0.3")}, "each key once"),
        ({"axes": ("seed=0|1",)}, "seed must be the same"),
        ({"axes": ("data.train_split=train|test",)}, "data.train_split must be the same"),
        ({"axes": ("training.keep=last|best",)}, "training.keep must be the same"),
        ({"axes": ("training.early_stopping_epochs=none|2",)}, "training.early_stopping_epochs must be the same"),
        ({"axes": ("training.epochs=5|10",)}, "training.epochs must be the same"),
        ({"axes": ("member.phi=0|1",)}, "member.phi cannot vary"),
        ({"axes": ("optimizer.learning_rate=0.1|0.10",)}, "0.10 is the same value as 0.1"),
        ({"axes": ("training.batch_size=8.5..16",)}, "should begin and end with one"),
        ({"axes": AXES}, '"random" or "bayesian"'),
        ({"axes": AXES[:1], "trials": config.Trials()}, "trials.batch_size"),
        (
            {
                "axes": AXES,
                "sampler": config.Sampler(name="bayesian"),
                "allocation": config.Allocation(name="halving"),
            },
            "allocation.name",
        ),
        (
            {
                "axes": ("data.channels=1|3",),
                "experiment": config.Experiment(data=config.Data(normalization="dataset")),
            },
            "data.normalization",
        ),
        ({"axes": AXES[:1], "experiment": config.Experiment(data=config.Data(folds=3))}, "data.folds"),
    ],
)
def test_contradictions_are_reported(settings: dict, words: str) -> None:
    with pytest.raises(UserError) as error:
        config.Sweep(**settings)
    assert words in str(error.value)


def test_json_round_trip() -> None:
    sweep = config.Sweep(axes=AXES, sampler=config.Sampler(name="bayesian", candidates=9))
    assert config.from_json(config.to_json(sweep), config.Search, config.Sweep) == sweep


def test_a_sweep_of_stored_features_has_no_range_test() -> None:
    sweep = config.load("bccd_rcnn_sweep", config.Sweep)
    with pytest.raises(UserError, match=r"trials\.learning_rate is 'range_test'; .* task\.name=rcnn trains on stored"):
        config.override(sweep, ["trials.learning_rate=range_test"])
