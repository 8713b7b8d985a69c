"""What a search says before it starts."""

from types import SimpleNamespace

from tfeff import config
from tfeff.scaling.forecast import Forecast
from tfeff.scaling.report import forecast
from tfeff.trials.progress import Rate
from tfeff.trials.results import TrialObjective


def test_the_duration_of_simulated_searches_is_a_median():
    study = SimpleNamespace(examples=(100, 50), search=config.Search(), objective=TrialObjective())
    rows = [{"single dimensions lose": "1 points", "trainings": 14, "minutes of training": 60.0}]
    words = forecast(study, Forecast(Rate(1.0, 0.0, 0.0), 14, 3600.0, 60.0, rows), processes=2)
    assert "At most" not in words
    longest = "of which the longest takes 1.00 core-hours, 0:30:00 with 2 processes:"
    assert f"Medians of simulated searches at an accuracy of 0.5, {longest}" in words
