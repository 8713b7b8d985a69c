"""Every one-stage detector: trained, evaluated, exported, restarted."""

import numpy as np
import pytest

from tfeff import config, training
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options
from tfeff.training import selection

DETECTORS = {
    "efficientdet": ("task.anchor_size=3",),
    "yolo": (),
    "anchor_yolo": (),
    "grid": (),
}
SMALL = (
    *("data.source=embedded:placed_digits:64", "data.train_examples=8", "data.validation_split=train"),
    *("model.name=resnet", "model.width=8", "model.stage_blocks=1,1,1,1", "model.resolution=64"),
    *("task.neck.levels=P2,P3,P4", "task.neck.name=fpn", "task.neck.channels=16", "task.neck.repeats=1"),
    *("task.neck.separable=false", "task.head_repeats=1", "task.max_objects=6"),
    *("training.batch_size=8", "training.precision=float32", "training.deterministic=true"),
    *("optimizer.name=adamw", "optimizer.learning_rate=0.003", "schedule.name=constant"),
)


def settings(name: str, *overrides: str) -> config.Experiment:
    return config.override(config.Experiment(), [f"task.name={name}", *SMALL, *DETECTORS[name], *overrides])


class Eight:
    """The first eight images as training, validation and test images."""

    def __init__(self):
        source = catalog.open_objects("embedded:placed_digits:64", Options(channels=3, seed=0))
        images = source.load("train").take(np.arange(8))
        self.given = images, images


@pytest.mark.parametrize("name", DETECTORS)
def test_it_learns_eight_images_by_heart(name, tmp_path):
    experiment = settings(
        name,
        "training.epochs=300",
        "training.validation_epochs=300",
        "data.train_examples=none",
        "data.validation_split=none",
    )
    images = Eight().given
    caches = selection.read(experiment, lambda *_: None, given=images)
    workdir = training.train(experiment, tmp_path, caches=caches, tensorboard=False)
    row = workdir.rows()[-1]
    print(row)
    assert row["validation_mean_ap"] >= 0.99
