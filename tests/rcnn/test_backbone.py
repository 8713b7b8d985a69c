"""What the backbone learns on: objects, proposals near them, and others as background."""

import numpy as np
import pytest
import tensorflow as tf

from tfeff import config
from tfeff.boxes import iou
from tfeff.data.sources import catalog, crops
from tfeff.rcnn import backbone


@pytest.fixture(scope="module")
def images():
    return catalog.load_annotated("embedded:placed_digits:64", "validation").take(np.arange(12))


def proposals(images, seed=0):
    """Boxes about each object, and boxes anywhere."""
    rng = np.random.default_rng(seed)
    found = []
    for objects in images.objects:
        near = np.repeat(objects.boxes_yxyx, 6, axis=0)
        near = near + rng.normal(0, 2, near.shape)
        low = rng.uniform(0, 40, (30, 2))
        anywhere = np.concatenate([low, low + rng.uniform(4, 24, (30, 2))], axis=1)
        found.append(np.clip(np.concatenate([near, anywhere]), 0, 64).astype(np.float32))
    return found


def test_crops_are_objects_and_proposals_by_their_overlap(images):
    made = backbone.proposal_crops(images, proposals(images), data=config.Data(), seed=0)
    assert made.class_names == (*images.class_names, crops.BACKGROUND)
    counts = np.zeros(len(images), int)
    for name, label in zip(made.ids, made.labels, strict=True):
        image, _, box = name.partition(" [")
        index = list(images.ids).index(image)
        counts[index] += 1
        objects = images.objects[index]
        overlaps = iou(np.array([box.strip("]").split(", ")], float), objects.boxes_yxyx)[0]
        if label == 10:
            assert overlaps.max() < 0.65  # ids are rounded to whole pixels
        else:
            assert overlaps[objects.labels == label].max() > 0.35
    for index, objects in enumerate(images.objects):
        assert len(objects) < counts[index] <= len(objects) * (1 + crops.COPIES + crops.BACKGROUNDS)
    assert made.read(tf.constant(0, tf.int64)).shape[-1] == 3


def test_the_choice_repeats_under_its_seed(images):
    one, same, other = (
        backbone.proposal_crops(images, proposals(images), data=config.Data(), seed=seed) for seed in (1, 1, 2)
    )
    assert list(one.ids) == list(same.ids)
    assert list(one.ids) != list(other.ids)


def test_the_experiment_reads_the_runs_own_images_as_regions_are_seen():
    settings = config.RCNN(
        data=config.DetectionData(source="voc:x", train_split="trainval"),
        backbone=config.Experiment(model=config.Model(resolution=40), data=config.Data(source="crops")),
        features=config.RegionFeatures(context=5),
    )
    data = backbone.experiment(settings).data
    assert (data.source, data.train_split, data.crop_context) == ("crops:voc:x", "trainval", 5 / 30)
    other = config.Experiment(data=config.Data(source="folder:y"))
    assert backbone.experiment(config.RCNN(backbone=other)) == other
