"""The posterior of the best direction: the prior alone, data alone, and a single dimension."""

import numpy as np
import pytest

from tests.trials.test_surface import CENTER, PEAK, TOP, trainings
from tfeff.trials.direction import infer
from tfeff.trials.surface import Data, Training, plane


def test_the_prior_is_centered_on_the_published_proportions() -> None:
    direction = infer(Data.of([], CENTER, TOP, folds=3))
    assert np.median(direction.draws, axis=0) == pytest.approx(CENTER, abs=0.1)
    assert direction.weight == pytest.approx(1.0)
    assert direction.single is None


def test_many_trainings_determine_the_direction() -> None:
    direction = infer(Data.of(trainings(80, 0.001), CENTER, TOP, folds=3))
    assert direction.answer == pytest.approx(PEAK, abs=0.01)
    assert direction.weight < 0.05
    assert direction.chance_of_single.max() == 0.0


def test_few_trainings_leave_the_answer_nearer_to_the_prior() -> None:
    distances = []
    for count in (12, 80):
        found = Data.of(trainings(count, 0.5, (3.0,)), CENTER, TOP, folds=3)
        distances.append(infer(found).weight)
    assert distances[0] > distances[1]


def test_the_strength_of_the_prior_follows_from_the_data() -> None:
    at_center = [level(each, CENTER) for each in trainings(60, phis=(3.0,))]
    far = [level(each, np.array([0.9, 0.1, 0.0])) for each in trainings(60, phis=(3.0,))]
    near, wide = (infer(Data.of(each, CENTER, TOP, folds=3)).distance for each in (at_center, far))
    assert near < 0.75 * wide


@pytest.mark.parametrize("dimension", [0, 1, 2])
def test_a_single_dimension_is_the_answer(dimension: int) -> None:
    rng = np.random.default_rng(1)
    found = [
        Training(tuple(shares), TOP, index % 3, float(shares[dimension] + 0.05 * rng.normal()))
        for index, shares in enumerate(rng.dirichlet((1, 1, 1), 40))
    ]
    direction = infer(Data.of(found, CENTER, TOP, folds=3))
    assert direction.single == dimension
    assert direction.answer.tolist() == np.eye(3)[dimension].tolist()
    assert direction.chance_of_single[dimension] > 0.9


def test_the_same_data_give_the_same_draws() -> None:
    data = Data.of(trainings(20, 0.1), CENTER, TOP, folds=3)
    np.testing.assert_array_equal(infer(data).draws, infer(data).draws)


def level(training: Training, peak: np.ndarray) -> Training:
    away = plane(training.shares, peak)[0]
    noise = 0.02 * np.sin(1000 * training.value)
    return Training(training.shares, training.phi, training.fold, float(-away @ away + noise))
