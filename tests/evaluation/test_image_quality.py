import numpy as np
import pytest

from tfeff.evaluation.image_quality import image_quality, worst_first
from tfeff.evaluation.matching import match

BOX, OFF, FAR = [0, 0, 10, 10], [0, 2, 10, 12], [50, 50, 60, 60]  # the IoU of OFF and BOX is 8 / 12


def test_quality_equals_its_definition(make_detections, make_objects):
    found = [
        make_detections([BOX], [0], [0.9]),
        make_detections([OFF, FAR], [0, 0], [0.9, 0.8]),
        make_detections([OFF, FAR], [0, 0], [0.9, 0.1]),
        make_detections(),
        make_detections([FAR], [1], [0.9]),
        make_detections([BOX], [0], [0.9]),
    ]
    truth = [make_objects([BOX], [0])] * 3 + [make_objects()] * 2 + [make_objects([BOX], [0], difficult=[True])]
    quality = image_quality(match(found, truth, 2), 0.5)
    np.testing.assert_allclose(quality, [1.0, (8 / 12) / 1.5, 8 / 12, np.nan, 0.0, np.nan])


@pytest.mark.parametrize("seed", range(5))
def test_quality_does_not_depend_on_other_images(seed, make_case):
    found, truth = make_case(seed, images=8)
    quality = image_quality(match(found, truth, 3), 0.3)
    single = [image_quality(match([x], [y], 3), 0.3)[0] for x, y in zip(found, truth, strict=True)]
    np.testing.assert_allclose(quality, single)
    assert np.nanmax(quality) <= 1
    assert np.nanmin(quality) >= 0
    order = worst_first(quality)
    assert (np.diff(quality[order]) >= 0).all()
    assert sorted([*order, *np.flatnonzero(np.isnan(quality))]) == list(range(8))
