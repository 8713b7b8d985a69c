"""Budgets as people state them, and what exceeds them."""

import pytest

from tfeff.budget.limits import Bounds, amount
from tfeff.config import Limits
from tfeff.config.budget import Amount, check_precision
from tfeff.errors import UserError


@pytest.mark.parametrize(
    ("text", "measure", "value"),
    [
        ("20ms", "latency", 0.02),
        ("20 MS", "latency", 0.02),
        ("1.5s", "latency", 1.5),
        ("5MB", "size", 5e6),
        ("100M", "macs", 1e8),
        ("4e8", "macs", 4e8),
        ("950", "params", 950),
    ],
)
def test_amounts_are_read_with_their_units(text, measure, value):
    assert Amount.parse(text, measure) == Amount(pytest.approx(value), relative=False)


def test_a_multiple_is_relative():
    assert Amount.parse("0.5x", "latency") == Amount(0.5, relative=True)


@pytest.mark.parametrize(
    ("measure", "text"),
    [("latency", "20"), ("latency", "20 MB"), ("size", "5"), ("macs", "-3M"), ("macs", "0x"), ("params", "many")],
)
def test_a_wrong_amount_says_which_units_there_are(measure, text):
    with pytest.raises(UserError, match=rf"budget\.{measure} is .* it should be a number above 0 with a unit"):
        Limits(**{measure: text})


@pytest.mark.parametrize(("precision", "required"), [("int8", "litert"), ("bfloat16", "openvino")])
def test_a_precision_needs_its_format(precision, required):
    assert Limits(precision=precision, format=required).form == f"{required}, {precision}"
    assert Limits(format=required).form == required
    for format in {"saved_model", "litert", "onnx", "openvino"} - {required}:
        words = rf"budget\.precision is '{precision}'; it should be \"float32\", or set budget\.format={required}"
        with pytest.raises(UserError, match=words):
            Limits(precision=precision, format=format)
        with pytest.raises(UserError, match=f"--precision={precision} requires --format={required}"):
            check_precision(precision, format)
    with pytest.raises(UserError, match='--precision=bfloat: did you mean "bfloat16"'):
        check_precision("bfloat", "openvino")


def test_relative_bounds_are_multiples_of_the_baseline():
    bounds = Bounds(Limits(macs="0.5x", size="3MB"), {"macs": 400.0}.__getitem__)
    assert bounds.values == {"size": 3e6, "macs": 200.0}


def test_the_bound_that_is_exceeded_most_is_named():
    bounds = Bounds(Limits(macs="100", latency="10ms"), lambda measure: 0.0)
    assert bounds.exceeded({"macs": 100.0, "latency": 0.01}) is None
    assert bounds.exceeded({"macs": 150.0, "latency": 0.011}).text == "multiply-adds of 150, above 100"
    assert bounds.exceeded({"macs": 150.0, "latency": 0.03}).text == "a latency of 30 ms, above 10 ms"
    assert bounds.exceeded({"latency": 0.005}) is None


def test_a_small_excess_can_be_seen():
    bounds = Bounds(Limits(latency="20ms"), lambda measure: 0.0)
    assert bounds.exceeded({"latency": 0.020004}).text == "a latency of 20.004 ms, above 20 ms"


def test_a_budget_that_nothing_meets_names_the_closest_network():
    bounds = Bounds(Limits(macs="100"), lambda measure: 0.0)
    costs = {"large": {"macs": 300.0}, "small": {"macs": 120.0}}
    error = bounds.impossible(costs, {"large": {}, "small": {"macs": 0.05}})
    assert "the closest, small, has multiply-adds of 120 (estimated, ± 5 %), above 100" in str(error)


@pytest.mark.parametrize("measure", ["latency", "size", "macs", "params", "memory"])
@pytest.mark.parametrize("value", [3.0e-5, 0.02, 7.0, 4.2e3, 9.9e5, 1.23e7, 4e9])
def test_an_amount_can_be_read_again(measure, value):
    if measure != "latency" and value < 1000:
        value *= 1e8
    assert Amount.parse(amount(value, measure), measure).value == pytest.approx(value, rel=0.005)
