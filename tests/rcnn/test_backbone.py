"""The backbone trains on crops of objects, of proposals near them, and of background."""

import numpy as np
import pytest
import tensorflow as tf

from tfeff import config, models
from tfeff.boxes import iou
from tfeff.data.sources import catalog, crops
from tfeff.rcnn import backbone


@pytest.fixture(scope="module")
def images():
    return catalog.open_objects("embedded:placed_digits:64").load("validation").take(np.arange(12))


def proposals(images, seed=0):
    """Random boxes near each object and anywhere in the image."""
    rng = np.random.default_rng(seed)
    boxes = []
    for objects in images.objects:
        near = np.repeat(objects.boxes_yxyx, 6, axis=0)
        near = near + rng.normal(0, 2, near.shape)
        low = rng.uniform(0, 40, (30, 2))
        anywhere = np.concatenate([low, low + rng.uniform(4, 24, (30, 2))], axis=1)
        boxes.append(np.clip(np.concatenate([near, anywhere]), 0, 64).astype(np.float32))
    return boxes


def test_labels_of_crops_follow_their_overlap_with_objects(images):
    dataset = backbone.proposal_crops(images, proposals(images), data=config.Data(), seed=0)
    assert dataset.class_names == (*images.class_names, crops.BACKGROUND)
    counts = np.zeros(len(images), int)
    for name, label in zip(dataset.ids, dataset.labels, strict=True):
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
    assert dataset.read(tf.constant(0, tf.int64)).shape[-1] == 3


def test_crops_depend_only_on_the_seed(images):
    one, same, other = (
        backbone.proposal_crops(images, proposals(images), data=config.Data(), seed=seed) for seed in (1, 1, 2)
    )
    assert list(one.ids) == list(same.ids)
    assert list(one.ids) != list(other.ids)


def test_crops_of_the_runs_own_images_show_the_context_of_regions():
    settings = config.RCNN(
        data=config.DetectionData(source="voc:x", train_split="trainval"),
        backbone=config.Experiment(model=config.Model(resolution=40), data=config.Data(source="crops")),
        features=config.RegionFeatures(context=5),
    )
    data = backbone.experiment(settings).data
    assert (data.source, data.train_split, data.crop_context) == ("crops:voc:x", "trainval", 5 / 30)
    other = config.Experiment(data=config.Data(source="folder:y"))
    assert backbone.experiment(config.RCNN(backbone=other)) == other


def test_the_context_follows_the_resolution_of_a_familys_member(tmp_path):
    baseline = config.Model(name="resnet", depth_coefficient=1.0, width_coefficient=1.0, resolution=32)
    family = config.Family(baseline=baseline, alpha=1.2, beta=1.1, gamma=1.25)
    (tmp_path / "coefficients.json").write_text(family.to_json())

    def settings(phi):
        model = config.Model(family=str(tmp_path), phi=phi)
        experiment = config.Experiment(model=model, data=config.Data(source="crops"))
        return config.RCNN(backbone=experiment, features=config.RegionFeatures(context=4))

    small, large = (backbone.experiment(settings(phi)) for phi in (0.0, 1.0))
    assert small.data.crop_context == pytest.approx(4 / (32 - 8))  # 0.167; 0.046 at the family's default of 95 pixels
    assert large.model.resolution == 40
    assert large.data.crop_context == pytest.approx(4 / (40 - 8))
    assert models.architecture("resnet").resolution == 95
