import numpy as np
import pytest

from tfeff.evaluation.image_quality import from_worst_to_best, image_quality
from tfeff.evaluation.matching import match

BOX, OFF, FAR = [0, 0, 10, 10], [0, 2, 10, 12], [50, 50, 60, 60]  # OFF overlaps BOX by 8 / 12


def test_quality_follows_its_definition(make_detections, make_objects):
    found = [
        make_detections([BOX], [0], [0.9]),
        make_detections([OFF, FAR], [0, 0], [0.9, 0.8]),
        make_detections([OFF, FAR], [0, 0], [0.9, 0.1]),
        make_detections(),
        make_detections([FAR], [1], [0.9]),
        make_detections([BOX], [0], [0.9]),
    ]
    there = [make_objects([BOX], [0])] * 3 + [make_objects()] * 2 + [make_objects([BOX], [0], difficult=[True])]
    quality = image_quality(match(found, there, 2), 0.5)
    np.testing.assert_allclose(quality, [1.0, (8 / 12) / 1.5, 8 / 12, np.nan, 0.0, np.nan])


@pytest.mark.parametrize("seed", range(5))
def test_quality_is_that_of_the_image_by_itself(seed, make_case):
    found, there = make_case(seed, images=8)
    together = image_quality(match(found, there, 3), 0.3)
    alone = [image_quality(match([one], [other], 3), 0.3)[0] for one, other in zip(found, there, strict=True)]
    np.testing.assert_allclose(together, alone)
    assert np.nanmax(together) <= 1
    assert np.nanmin(together) >= 0
    order = from_worst_to_best(together)
    assert (np.diff(together[order]) >= 0).all()
    assert sorted([*order, *np.flatnonzero(np.isnan(together))]) == list(range(8))
