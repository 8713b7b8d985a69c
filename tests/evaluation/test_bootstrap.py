import numpy as np
import pytest
from scipy.stats import binom

from tfeff.evaluation.average_precision import average_precisions, mean_average_precision
from tfeff.evaluation.bootstrap import bootstrap_mean, bootstrap_mean_average_precision, percentile_interval
from tfeff.evaluation.matching import match


def test_a_resample_is_what_its_images_would_have_given(make_case, make_detections):
    found, there = make_case(1, images=15)
    rng = np.random.default_rng(0)
    # Equal scores of different images would change their order with the images'.
    unlike = [make_detections(of.boxes_yxyx, of.labels, rng.random(len(of))) for of in found]
    values = bootstrap_mean_average_precision(match(unlike, there, 3), resamples=100, seed=5)
    drawn = np.random.default_rng(5).multinomial(15, np.full(15, 1 / 15), size=100)
    expected = []
    for counts in drawn:
        chosen = np.repeat(np.arange(15), counts)
        again = match([unlike[i] for i in chosen], [there[i] for i in chosen], 3)
        expected.append(mean_average_precision(average_precisions(again)))
    np.testing.assert_allclose(values, expected, atol=1e-12)


@pytest.mark.parametrize("images", [20, 320])
def test_without_false_positives_average_precision_follows_a_binomial_distribution(
    images, make_detections, make_objects
):
    # One object per image, found in 3 of 4 images: average precision is the share of drawn images with a detection.
    box = [[0, 0, 10, 10]]
    detections = [make_detections(box, [0], [0.5]) if i % 4 else make_detections() for i in range(images)]
    values = bootstrap_mean_average_precision(match(detections, [make_objects(box, [0])] * images, 1), resamples=10_000)
    expected = binom(images, 0.75)
    assert values.mean() == pytest.approx(0.75, abs=4 * expected.std() / images / np.sqrt(10_000))
    assert percentile_interval(values) == pytest.approx((expected.ppf(0.025) / images, expected.ppf(0.975) / images))


def test_seeds_decide(make_case):
    matching = match(*make_case(4), 3)
    first, again, other = (bootstrap_mean_average_precision(matching, resamples=20, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_without_objects_nothing_is_claimed(make_detections, make_objects):
    values = bootstrap_mean_average_precision(match([make_detections()], [make_objects()], 2), resamples=5)
    assert np.isnan(values).all()
    assert np.isnan(percentile_interval(values)).all()


def test_resampled_means_spread_as_the_standard_error_says():
    values = np.random.default_rng(2).gamma(2.0, size=400)
    means = bootstrap_mean(values, resamples=4000, seed=3)
    assert means.shape == (4000,)
    assert means.mean() == pytest.approx(values.mean(), rel=0.002)
    assert means.std() == pytest.approx(values.std() / 20, rel=0.035)
    assert (bootstrap_mean([0.5] * 7) == 0.5).all()
