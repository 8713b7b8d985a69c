import numpy as np
import pytest

from tfeff import config, selection
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.images.storage import EncodedImages
from tfeff.selection.reading import detections_note


def crowd(*counts: int) -> Dataset:
    """Images with these numbers of objects."""
    objects = []
    for count in counts:
        none = np.zeros(count, bool)
        objects.append(Objects(np.tile(np.float32([0, 0, 8, 8]), (count, 1)), np.zeros(count, np.int32), none, none))
    images = EncodedImages([b""] * len(counts), "1")
    return Dataset("crowds", ("cat",), list(map(str, range(len(counts)))), images, objects=tuple(objects))


def notes(*overrides: str) -> tuple[str, ...]:
    settings = config.override(config.Experiment(), overrides)
    return detections_note(selection.request(settings), crowd(1, 66, 67, 300))


DETECTIONS = (
    "crowds: 1 image with more objects than task.suppression.detections=100, so that some cannot be found; set it to "
    "at least 300"
)
CANDIDATES = (
    "crowds: 2 images with more objects than task.suppression.candidates=1000 has 15 boxes for, so that some cannot be "
    "found; set it to at least 4500"
)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], (DETECTIONS,)),
        (["task.suppression.candidates=1000"], (DETECTIONS, CANDIDATES)),
        (["task.suppression.detections=300", "task.suppression.candidates=1000"], (CANDIDATES,)),
        (["task.suppression.detections=300"], ()),
        (["task.suppression.detections=300", "task.network.end_to_end=true"], ()),
    ],
)
def test_what_limits_the_objects_that_are_found_is_noted(overrides: list[str], expected: tuple[str, ...]) -> None:
    assert notes("task.name=yolo", *overrides) == expected


def test_proposed_regions_limit_the_objects_that_are_found() -> None:
    regions, boxes = notes("task.name=faster_rcnn", "task.suppression.detections=300")
    assert "1 image with more objects than task.network.regions=1000 has 5 boxes for" in regions
    assert "2 images with more objects than task.proposals_per_level=1000 has 15 boxes for" in boxes
    enough = "task.suppression.detections=300", "task.network.regions=1500", "task.proposals_per_level=4500"
    assert not notes("task.name=faster_rcnn", *enough)


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["task.name=fast_rcnn", "task.proposals.directory=p"], "task.proposals.max_proposals"),
        (["task.name=rcnn"], "task.proposals.max_proposals"),
        (["task.name=rcnn", "task.network.head=sliding_window"], "task.windows.max_proposals"),
    ],
)
def test_stored_proposals_limit_the_objects_that_are_found(overrides: list[str], key: str) -> None:
    overrides = [*overrides, "task.suppression.detections=300"]
    (note,) = notes(*overrides, f"{key}=1000")
    assert f"1 image with more objects than {key}=1000 has 5 boxes for" in note
    assert note.endswith("set it to at least 1500")
    assert not notes(*overrides, f"{key}=1500")
