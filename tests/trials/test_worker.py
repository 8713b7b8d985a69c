"""What runs in the process of a trial."""

from tests.tasks.digits_of_many_sizes import write_coco
from tfeff import config
from tfeff.trials import worker


def test_the_candidates_of_a_detector_share_their_images(tmp_path):
    source = write_coco(tmp_path / "digits", 6)
    small = config.override(
        config.Experiment(),
        ["task.name=yolo", f"data.source=coco:{source}", "data.image_size=64", "model.resolution=32"],
    )
    wide = config.override(small, ["task.neck.width_coefficient=2", "task.head_repeats=1", "model.resolution=48"])
    first = worker.split_caches(small)
    assert worker.split_caches(wide) is first
    assert len(first.train) == 6
    assert first.train.fit == "letterbox"
    assert first.train.dataset.has_objects
