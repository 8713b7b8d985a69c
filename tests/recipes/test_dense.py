"""The rules for detectors, against the configs whose settings they interpolate."""

import dataclasses

import numpy as np
import pytest

from tests.verbs import ROOT
from tfeff import config, models
from tfeff.boxes import iou
from tfeff.config import Choice
from tfeff.recipes import WarmStart, dense, rules

IMAGENET = WarmStart("imagenet", "efficientnet-lite0", "imagenet", "")
SCRATCH = WarmStart("scratch", None, None, "")


@pytest.mark.parametrize(
    ("file", "count", "start"), [("raccoon_yolo.py", 136, IMAGENET), ("bccd_yolo.py", 248, SCRATCH)]
)
def test_trainings_are_about_those_of_the_configs(file, count, start):
    given = config.load(ROOT / "configs" / file, config.Experiment)
    size = dense.batch_size(count, 0).value
    epochs = dense.epochs(count, size, start, count).value
    assert size == given.training.batch_size
    assert epochs == pytest.approx(given.training.epochs, rel=0.05)
    length = {key: choice.value for key, choice in dense.length(epochs, given.task, needs_validation=False).items()}
    assert length["schedule.warmup_epochs"] == pytest.approx(given.schedule.warmup_epochs, rel=0.4)
    assert length["task.plain_epochs"] == pytest.approx(given.task.plain_epochs, abs=1)
    for key, choice in dense.optimizer(count, start, count).items():
        assert choice.value == getattr(given.optimizer, key)


def test_only_few_images_of_imagenet_weights_keep_layers():
    """Other weights were not compared, and no number of images is the reason there."""
    coco = WarmStart("file", "resnet50-v1.5", "coco", "")
    few, many, other = (
        dense.optimizer(count, start, count)["frozen"]
        for count, start in ((199, IMAGENET), (200, IMAGENET), (10, coco))
    )
    assert [each.value for each in (few, many, other)] == [("stem*", "stage[12]*"), (), ()]
    assert other.why == "the weights are not ImageNet's"


@pytest.mark.parametrize("start", [IMAGENET, SCRATCH])
@pytest.mark.parametrize("count", [3, 40, 500, 10_000, 1_000_000])
def test_lengths_stay_in_their_range(start, count):
    size = dense.batch_size(count, 0).value
    least, most = dense.EPOCHS[start.kind]
    assert 1 <= size <= min(count, 32)
    assert least <= dense.epochs(count, size, start, count).value <= most


def test_batches_that_memory_limits_see_as_many_images():
    assert dense.epochs(960, 2, IMAGENET, 960).value == dense.epochs(960, 32, IMAGENET, 960).value == 34
    assert dense.epochs(960, 2, IMAGENET, 960).why == "16,320 updates"


def test_large_batches_have_as_many_updates():
    """Batches of a size that a user sets; 40 epochs at most."""
    assert [dense.epochs(205, size, IMAGENET, 205).value for size in (2, 4, 6, 32)] == [20, 20, 30, 40]


@pytest.mark.parametrize(
    ("count", "images", "size", "expected"),
    [
        (40, 200, 4, (40, "2,000 updates; 160 more images without objects do not count")),
        (40, 10_000, 32, (13, "limited to 4,056 updates; 9,960 more images without objects do not count")),
        (40, 100_000, 32, (12, "limited to 37,500 updates; 99,960 more images without objects do not count")),
        (9_000, 10_000, 32, (12, "3,744 updates; 1,000 more images without objects do not count")),
    ],
)
def test_images_without_objects_lengthen_the_training_up_to_a_limit(count, images, size, expected):
    assert dense.batch_size(images, 0).value == size
    choice = dense.epochs(count, size, IMAGENET, images)
    assert (choice.value, choice.why) == expected


def test_the_number_of_images_that_keeps_layers_is_named():
    frozen = dense.optimizer(40, IMAGENET, 10_000)["frozen"]
    assert frozen.value == ("stem*", "stage[12]*")
    assert frozen.why == "40 training images (20 with objects, of 10,000); the first layers hardly change"


def test_a_common_aspect_ratio_is_that_of_the_input():
    assert dense.aspect((1.33, 1.3333, 1.34)).value == 1.333
    assert dense.aspect((0.75, 1.33, 1.78)).value == 1.0
    assert dense.aspect((11.9, 12.0, 12.1)) == Choice(8.0, "the images' aspect ratio is 12; networks take 1/8 to 8")
    assert dense.aspect((0.0999, 0.1, 0.1)) == Choice(0.125, "the images' aspect ratio is 0.1; networks take 1/8 to 8")
    assert dense.aspect((8.0, 8.0, 8.0)) == Choice(8.0, "the aspect ratio of the images")


def test_few_objects_take_little_memory():
    task = config.YoloSettings()
    assert [dense.max_objects(most, task).value for most in (1, 10, 31, 2_000)] == [10, 10, 40, 300]
    mixed = config.YoloSettings(augmentation=config.BoxAugmentation(mosaic=0.5, mixup=0.1))
    assert [dense.max_objects(most, mixed).value for most in (1, 10, 31, 2_000)] == [10, 50, 160, 300]
    assert dense.max_objects(9, mixed).why == "at most 9 objects per image; augmentation joins up to 5 images"
    assert dense.max_objects(9, config.ClassificationSettings()).value == 10
    assert dense.max_objects(300, task).why == "at most 300 objects per image"
    assert "more take much memory" in dense.max_objects(301, task).why


def test_there_are_more_detections_than_objects():
    task = config.YoloSettings()
    found = [dense.detections(most, task).get("task.suppression.detections") for most in (1, 66, 67, 300, 5_000)]
    assert [each and each.value for each in found] == [None, None, 200, 500, 1_000]
    reasons = {most: dense.detections(most, task)["task.suppression.detections"].why for most in (666, 667)}
    assert reasons[666] == "at most 666 objects per image, and room for errors"
    assert reasons[667].startswith("at most 667 objects per image; limited to 1,000")
    assert set(dense.detections(300, task)) == {"task.suppression.detections"}
    crowded = dense.detections(300, config.FasterRCNNSettings())
    assert {key: choice.value for key, choice in crowded.items()} == {
        "task.suppression.detections": 500, "task.network.regions": 2_500, "task.proposals_per_level": 10_000
    }  # fmt: skip


@pytest.mark.parametrize(("regions", "size"), [(1_000, 4), (1_500, 2), (5_000, 1)])
def test_a_batch_of_regions_fits_into_memory(regions, size):
    """RoIAlign gathers 49 bins of 16 pixels of 256 channels for each region."""
    count = {"num_classes": 3, "channels": 3}
    model = config.architecture("efficientnet-lite0", resolution=320)
    task = config.FasterRCNNSettings(network=config.detector("faster-rcnn", regions=regions))
    found = dense.image_bytes(task, model, **count)
    gathered = 49 * 16 * 256 * 4
    assert regions * gathered < found < 1.2 * regions * gathered
    assert [dense.batch_size(each, found).value for each in (240, 960)] == [size, size]
    assert dense.batch_size(960, found, 4).value == 4 * size  # in memory at once: a quarter
    assert dense.batch_size(960, found).why == f"an image takes about {found / 1e9:.1f} GB of memory in training"
    many = config.FastRCNNSettings(network=config.detector("fast-rcnn-fpn"), sampled_regions=4_000)
    assert dense.image_bytes(many, model, **count) > 4_000 * gathered
    small = config.detector("faster-rcnn", neck_channels=32, regions=100)
    small = config.FasterRCNNSettings(network=small, sampled_regions=64)
    assert dense.batch_size(960, dense.image_bytes(small, model, **count)).value == 32


@pytest.mark.parametrize(("resolution", "size"), [(320, 32), (640, 8), (1536, 1)])
def test_a_batch_of_large_inputs_fits_into_memory(resolution, size):
    task, model = config.YoloSettings(), config.architecture("efficientnet-lite0", resolution=resolution)
    found = dense.image_bytes(task, model, num_classes=3, channels=3)
    estimated = models.estimate(task.describe(model), num_classes=3, channels=3)
    assert found == max(estimated.training_peak_bytes, estimated.peak_bytes)
    assert dense.batch_size(1_200, found).value == size
    assert size * found <= rules.BATCH_BYTES < 2 * max(size, 16) * found


def test_enough_boxes_of_regions_enter_the_suppression():
    found = [dense.detections(most, config.RCNNSettings()) for most in (66, 300, 500)]
    assert [{key: choice.value for key, choice in each.items()} for each in found] == [
        {},
        {"task.suppression.detections": 500},
        {"task.suppression.detections": 800, "task.suppression.candidates": 16_000},
    ]


def test_the_last_epochs_are_plain_only_if_the_others_are_not():
    flips = config.YoloSettings(augmentation=config.BoxAugmentation(horizontal_flip=True))
    assert dense.length(35, flips, needs_validation=False)["task.plain_epochs"].value == 0
    varied = config.YoloSettings(augmentation=config.BoxAugmentation(brightness=0.2))
    length = dense.length(35, varied, needs_validation=False)
    assert (length["task.plain_epochs"].value, length["training.validation_epochs"].value) == (5, 35)
    assert dense.length(35, varied, needs_validation=True)["training.validation_epochs"].value == 1
    short = [dense.length(epochs, varied, needs_validation=False)["task.plain_epochs"].value for epochs in (1, 6, 14)]
    assert short == [1, 1, 2]


def test_the_resolution_follows_from_the_longer_side():
    choice = dense.resolution(320, 0.0375, 0.03, 1920)  # 0.05 of the square root of the area of 1920x1080 pixels
    assert (choice.value, choice.why) == (640, "the median object then has about 24 pixels, a small one 19")
    # a ball of 20 pixels between players of 100
    assert [dense.resolution(320, 100 / 1280, small / 1280, 1280).value for small in (100, 20, 10)] == [416, 512, 640]


@pytest.mark.parametrize(
    ("pixels", "large", "side", "aspect", "expected"),
    [
        (52, 85, 1920, 16 / 9, (1088, 272)),  # 1024 pixels, and the height of the images hardly more
        (52, 85, 4000, 4 / 3, (1024, 256)),
        (64, 500, 4000, 3 / 2, (1280, 512)),  # large objects fit into the overlap
        (64, 1200, 4000, 3 / 2, (1280, 640)),  # but at most half a tile
        (64, 2000, 4000, 3 / 2, (2016, 1008)),  # and into a tile
        (64, 3000, 4000, 3 / 2, None),  # which then would be nearly as large as the images
        (10, 20, 4000, 1.0, (640, 160)),  # images are not enlarged
        (52, 85, 1000, 1.0, None),  # at 640 pixels, objects have 33
        (30, 60, 900, 1.0, None),  # tiles would be nearly as large as the images
        (30, 60, 1000, 1.0, (640, 160)),
    ],
)
def test_large_images_with_small_objects_are_cut(pixels, large, side, aspect, expected):
    choices = dense.tile(pixels / side, large / side, side, aspect)
    assert choices == dense.tile(pixels / side, large / side, side, 1 / aspect)
    found = tuple(each.value for each in choices.values()) or None
    assert found == expected
    if expected is not None:
        assert list(choices) == ["data.tile", "data.tile_overlap"]
        resolution = dense.resolution(320, pixels / expected[0], pixels / expected[0], expected[0])
        assert resolution.value == 640
        if large < expected[0] - 32:  # else tiles are larger than the median object needs
            assert pixels * 640 / expected[0] == pytest.approx(min(pixels, 32), rel=0.05)


def test_tiles_fit_the_resolution_of_a_run():
    choices = dense.tile(40 / 1600, 40 / 1600, 1600, 4 / 3, 352)
    assert [each.value for each in choices.values()] == [448, 112]
    assert choices["data.tile"].why.endswith("too few if whole images had 352")
    assert not dense.tile(160 / 1600, 160 / 1600, 1600, 4 / 3, 352)


def test_a_faster_rcnn_on_a_small_backbone_costs_about_as_much_as_yolo():
    """The published one has 22.5 billion multiply-adds."""
    macs = {}
    for name, task in (("yolo", config.YoloSettings()), ("faster_rcnn", config.FasterRCNNSettings())):
        settings = config.Experiment(
            task=task, model=config.architecture("efficientnet-lite0", resolution=320), data=config.Data(source="voc:x")
        )
        if name == "faster_rcnn":
            choices = dense.two_stages(320, (118 / 320, 251 / 320), 1.1, 3)
            settings = config.replaced(settings, {key: choice.value for key, choice in choices.items()})
        whole = config.replaced(settings, {"task.network.aspect": 1.0}).description
        macs[name] = models.estimate(whole, num_classes=1, channels=3).macs
    assert macs["faster_rcnn"] < 1.1 * macs["yolo"]


def test_levels_and_regions_of_a_faster_rcnn_fit_the_objects():
    def chosen(*given):
        choices = dense.two_stages(*given)
        return [choices[f"task.{key}"].value for key in ("network.levels", "network.regions", "training_proposals")]

    assert chosen(320, (18 / 320, 106 / 320), 13.5, 28) == [("P3", "P4", "P5"), 300, 500]
    assert chosen(320, (10 / 320, 106 / 320), 1.0, 2) == [("P2", "P3", "P4", "P5"), 200, 300]
    assert chosen(640, (40 / 640, 600 / 640), 30.0, 100) == [("P3", "P4", "P5", "P6"), 500, 1000]


def covered(network, sides, seed=0):
    """Returns the share of squares of these sides, in pixels, at random places, that some anchor overlaps by 0.5."""
    places = np.random.default_rng(seed).uniform(0, 320 - sides[:, None], (len(sides), 2))
    boxes = np.concatenate([places, places + sides[:, None]], axis=1)
    return (iou(boxes, network.anchors.boxes(network.size)).max(axis=1) >= 0.5).mean()


def described(name, resolution=320, **values):
    section = config.EfficientDetSettings if name.startswith("efficientdet") else config.FasterRCNNSettings
    task = section(network=config.detector(name, aspect=1.0, **values))
    return task.describe(config.architecture("efficientnet-lite0", resolution=resolution))


@pytest.mark.parametrize("name", ["efficientdet-d0", "faster-rcnn"])
def test_small_objects_have_anchors(name):
    """As platelets have at 320x240 pixels: 16 to 25 pixels, nine tenths from 18 on if classes count equally."""
    network = described(name)
    choice = dense.anchor_size(network, (18.5 / 320, 106 / 320))
    fitted = dataclasses.replace(network, anchor_size=choice.value)
    small, large = np.linspace(15.5, 25, 40), np.linspace(40, 120, 20)
    assert covered(network, small) <= 0.3
    assert covered(fitted, small) >= 0.9
    assert covered(fitted, large) >= 0.95
    assert "for objects of 18 to 106 pixels" in choice.why


@pytest.mark.parametrize(
    ("name", "values", "extents", "expected"),
    [
        ("efficientdet-d0", {}, (109.6 / 320, 250 / 320), 4.0),  # large ones, as raccoons: as published
        ("efficientdet-lite0", {}, (25 / 320, 250 / 320), 3.0),
        ("faster-rcnn", {}, (0.3, 0.8), 8.0),
        ("efficientdet-d0", {}, (0.001, 0.3), 2.0),  # smaller anchors leave gaps
        ("efficientdet-d0", {"anchor_scales": (0.5, 1.0)}, (0.001, 0.3), 4.0),  # whose smallest has two strides
        ("efficientdet-d0", {"anchor_scales": (0.5, 1.0)}, (10 / 320, 0.3), 4.0),
        ("efficientdet-d0", {"levels": ("P2", "P3", "P4"), "anchor_size": 9.0}, (20 / 320, 20 / 320), 5.0),
        ("faster-rcnn", {}, (0.01, 256 / 320), 4.0),  # the largest anchors have 256 pixels
    ],
)
def test_anchors_are_at_most_as_large_as_they_were(name, values, extents, expected):
    assert dense.anchor_size(described(name, **values), extents).value == expected
    assert dense.anchor_size(described(name, 640, **values), extents).value >= expected


def test_objects_that_no_anchor_has_the_shape_of_are_said():
    network = described("efficientdet-d0")
    assert [bool(dense.misshaped(network, elongation)) for elongation in (1.0, 3.0, 3.1)] == [False, False, True]
    assert "typically 8.0 times as long as wide, anchors at most 2 times" in dense.misshaped(network, 8.0)
    long = described("efficientdet-d0", anchor_aspects=(6.0, 1.0, 1 / 6))
    assert not dense.misshaped(long, 8.0)
