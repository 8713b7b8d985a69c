"""Rules for detectors: from the objects of a dataset and the warm start to the values of a config.

They interpolate between the settings of `configs/raccoon_yolo.py` (136 training images, ImageNet weights),
`configs/bccd_detectors.py` (248, ImageNet weights) and `configs/bccd_yolo.py` (248, random weights);
docs/dense_detection.md has the results.
"""

import math
from dataclasses import replace

from tfeff.config import Choice, Choices
from tfeff.config.tasks import FasterRCNNSettings, RCNNSettings, RetinaNetSettings, TaskSettings, TwoStageSettings
from tfeff.data.augment.policy import BoxAugmentation
from tfeff.networks import Architecture
from tfeff.networks.detectors.detector import MAXIMUM_ASPECT
from tfeff.networks.detectors.efficientdet import EfficientDet
from tfeff.networks.detectors.rcnn import FasterRCNN, TwoStage
from tfeff.networks.detectors.yolo import TABLE
from tfeff.recipes import rules
from tfeff.recipes.rules import WarmStart

Anchored = EfficientDet | FasterRCNN
"""Networks whose anchors have one size at all levels, in strides."""
DETECTOR = Choice("yolo", "fast; faster_rcnn may find more objects, but takes three to four times as long")
"""The detector to start with; docs/own_images.md has the comparison."""
SMALL = TABLE["yolo"].backbone
"""The backbone of detectors from random weights."""
RESOLUTION, MOST_PIXELS = 320, 640
"""Least and most pixels of the input's longer side."""
DETAIL = 2
"""Images that the augmentation scales are loaded with at least this many times the side of the input: they are
resampled twice, which would blur them if both sizes were nearly the same."""
OBJECT_PIXELS, LEAST_PIXELS = 32, 8
"""Sides that the median and the small objects should have in the input, if the images and `MOST_PIXELS` allow it. The
cells of the finest level, P3, have 8 pixels."""
SMALL_PIXELS, LARGE_PIXELS = 16, 512
"""Smaller objects are found at P2, larger ones at P7, which the pyramid then has besides P3 to P6."""
FEW_OBJECTS, MOST_SAMPLED = 3, 512
"""With fewer objects per image, a Faster R-CNN has fewer regions. Of those it learns from, a quarter show objects, so
that they are four times as many as there may be objects, but no more than published."""
LEAST_CUT = 1.5
"""Images whose longer side has fewer tiles are not cut."""
LARGER = 1.25
"""Tiles may be this much larger if they then are as high as the images."""
LEAST_ANCHOR = 2.0
"""Side of the smallest square anchor, in strides; there are gaps between smaller ones."""
LONGER = 1.5
"""Objects that are more elongated than the anchors by this factor have an IoU of at most 2/3 with any of their area."""
SPREAD = 1.1
"""Images whose aspect ratios differ by at most this factor have a common one."""
MOST_OBJECTS = 300
"""Objects of a training image that are used at most: the losses take memory for this number in every image."""
DETECTIONS, MOST_DETECTIONS = 100, 1_000
"""Least and most detections of an image."""
REGIONS, REGIONS_PER_DETECTION, BOXES_PER_DETECTION = 1_000, 5, 20
"""Of Faster R-CNN: least regions, and for each detection regions and boxes of a level that enter their suppression; of
R-CNN: boxes that enter that of detections, for each of them."""
UPDATES = {"imagenet": 1_000, "file": 1_000, "scratch": 2_500}
"""Updates that a training should have, by warm start."""
EPOCHS = {"imagenet": (12, 40), "file": (12, 40), "scratch": (20, 120)}
"""Least and most epochs, by warm start. Published detectors on ImageNet weights see COCO at least 12 times."""
BATCH_SIZES = (4, 8, 16, 32)
UPDATES_PER_EPOCH = 30
"""Small sets get small batches, so that an epoch has about this many updates."""
MOST_UPDATES = 4
"""Images without objects, from which little is learned, may lengthen a training to this many times `UPDATES`."""
FEW = 200
"""With fewer images, the first stages of a backbone with ImageNet weights are not trained. Others were not compared."""


def tile(extent: float, large: float, side: int, aspect: float, resolution: int = MOST_PIXELS) -> Choices:
    """Returns the tiles in which images are trained on and detected in, by dotted key; none for whole images.

    They are as large as possible if the median object is to have `OBJECT_PIXELS` in the input, but images are
    not enlarged for that, and not cut if tiles are nearly as large as they are. A single row of tiles that are a little
    larger is preferred to two. Large objects fit into a tile.

    Args:
        extent: median size of the objects, relative to the longer side of their image.
        large: that of the large objects.
        side: the images' typical longer side, in pixels.
        aspect: their typical width / height.
        resolution: the longer side of the input, in pixels.
    """
    pixels, shorter, largest = extent * side, side * min(aspect, 1.0 / aspect), math.ceil(large * side / 32) * 32
    found = max(round(resolution * max(1.0, pixels / OBJECT_PIXELS) / 32) * 32, largest)
    if found < shorter <= LARGER * found:
        found = math.ceil(shorter / 32) * 32
    if extent * resolution >= OBJECT_PIXELS or side < LEAST_CUT * found:
        return {}
    overlap = min(max(found // 4, largest), found // 2)
    why = f"the median object has {pixels:.0f} of {side:,} pixels, too few if whole images had {resolution}"
    shared = f"large objects have {large * side:.0f} pixels"
    return {"data.tile": Choice(found, why), "data.tile_overlap": Choice(overlap, shared)}


def aspect(aspects: tuple[float, float, float]) -> Choice:
    """Returns width / height of the input.

    It is that of the images if nearly all have the same, so that none of the input is padding.

    Args:
        aspects: 5th percentile, median and 95th percentile of the images' aspect ratios.
    """
    low, middle, high = aspects
    if high <= SPREAD * low:
        value = min(MAXIMUM_ASPECT, max(1 / MAXIMUM_ASPECT, middle))
        if value != middle:
            why = f"the images' aspect ratio is {middle:.3g}; networks take 1/{MAXIMUM_ASPECT:g} to {MAXIMUM_ASPECT:g}"
            return Choice(float(value), why)
        return Choice(round(value, 3), "the aspect ratio of the images")
    return Choice(1.0, f"aspect ratios of the images from {low:.2f} to {high:.2f}")


def resolution(given: int, extent: float, small: float, side: int) -> Choice:
    """Returns the longer side of the input, in pixels.

    Args:
        given: the value in the config.
        extent: median size of the objects, relative to the longer side of their image.
        small: that of the small objects.
        side: the images' typical longer side, in pixels.
    """
    if given != RESOLUTION:
        return Choice(given, "as you set")
    wanted = math.ceil(max(OBJECT_PIXELS / extent, LEAST_PIXELS / small) / 32) * 32
    found = max(RESOLUTION, min(wanted, MOST_PIXELS, side // 32 * 32))
    why = f"the median object then has about {extent * found:.0f} pixels, a small one {small * found:.0f}"
    return Choice(found, why)


def image_size(resolution: int, longest: int, task: TaskSettings) -> Choice:
    """Returns the longer side with which images are loaded, in pixels.

    Args:
        resolution: the longer side of the input, in pixels.
        longest: largest side of all images, in pixels.
        task: section of the task, whose augmentation may enlarge images.
    """
    augmentation, factor = getattr(task, "augmentation", None), 1.0
    if isinstance(augmentation, BoxAugmentation) and augmentation.resizes:
        factor = max(DETAIL, augmentation.enlargement)
    wanted = round(factor * resolution)
    if longest <= wanted:
        return Choice(longest, "the longer side of the largest image")
    if factor == 1:
        return Choice(wanted, "images are loaded at the network's resolution")
    return Choice(wanted, f"{factor:.3g} times the input, so that enlarged images stay sharp")


def anchor_size(network: Anchored, extents: tuple[float, float]) -> Choice:
    """Returns the size of a network's anchors, in strides; at most its own.

    The smallest square anchor has the size of the smallest objects, but at least `LEAST_ANCHOR` strides, and the
    largest one at least that of the largest objects.

    Args:
        network: description of the whole network.
        extents: sizes of the smallest and the largest objects, relative to the longer side of their image.
    """
    least, most = min(network.anchor_scales), max(network.anchor_scales)
    fine, coarse = least * 2 ** network.anchors.levels[0], most * 2 ** network.anchors.levels[-1]
    small, large = (extent * network.resolution for extent in extents)
    size = min(round(max(small / fine, large / coarse, LEAST_ANCHOR / least), 1), network.anchor_size)
    objects = f"{small:.0f} to {large:.0f} pixels (10th to 90th percentile, classes counted equally)"
    return Choice(size, f"anchors of {size * fine:.0f} to {size * coarse:.0f} pixels for objects of {objects}")


def misshaped(network: Anchored, elongation: float) -> str:
    """Returns what to say if no anchors have the shape of the objects; empty if some have.

    Args:
        network: description of the whole network.
        elongation: median of the objects' longer side / shorter side.
    """
    longest = max(max(aspect, 1 / aspect) for aspect in network.anchor_aspects)
    if elongation <= LONGER * longest:
        return ""
    return (
        f"; objects are typically {elongation:.1f} times as long as wide, anchors at most {longest:.3g} times: set "
        "task.network.anchor_aspects, which tfeff.analyze proposes"
    )


def small(task: TaskSettings, resolution: int, extents: tuple[float, float], objects: float, most: int) -> Choices:
    """Returns the sizes of a detector on a small backbone, by dotted key; none if the published one is small.

    Args:
        task: section of the task.
        resolution: the longer side of the input, in pixels.
        extents: sizes of the smallest and the largest objects, relative to the longer side of their image.
        objects: mean number of objects of the images that show any.
        most: number of objects of the image that has the most.
    """
    if isinstance(task, FasterRCNNSettings):
        return two_stages(resolution, extents, objects, most)
    if isinstance(task, RetinaNetSettings):  # the published one has five times the multiply-adds
        why = "enough for the features of a small backbone"
        return {"task.network.neck_channels": Choice(96, why), "task.network.head_repeats": Choice(2, why)}
    return {}


def two_stages(resolution: int, extents: tuple[float, float], objects: float, most: int) -> Choices:
    """Returns the network of a Faster R-CNN on a small backbone, and the regions that it learns from, by dotted key.

    The published one, for 80 classes on a ResNet-50, has 16 times the multiply-adds.

    Args:
        resolution: the longer side of the input, in pixels.
        extents: sizes of the smallest and the largest objects, relative to the longer side of their image.
        objects: mean number of objects of the images that show any.
        most: number of objects of the image that has the most.
    """
    small, large = (extent * resolution for extent in extents)
    first, last = (3 if small >= SMALL_PIXELS else 2), (5 if large <= LARGE_PIXELS else 6)
    few = objects < FEW_OBJECTS
    why = "wide enough for the features of a small backbone"
    regions = f"{objects:.1f} objects per image that shows any"
    return {
        "task.network.levels": Choice(
            tuple(f"P{level}" for level in range(first, last + 1)), f"objects of {small:.0f} to {large:.0f} pixels"
        ),
        "task.network.neck_channels": Choice(96, why),
        "task.network.hidden": Choice((256,), why),
        "task.network.anchor_scales": Choice((0.5, 0.75, 1.0), "objects of all sizes between those of two levels"),
        "task.network.regions": Choice(max(200 if few else 300, REGIONS_PER_DETECTION * most), regions),
        "task.training_proposals": Choice(max(300 if few else 500, 2 * REGIONS_PER_DETECTION * most), regions),
        "task.sampled_regions": Choice(min(max(64 if few else 128, 4 * most), MOST_SAMPLED), regions),
        "task.suppression.minimum_score": Choice(0.01, "low scores count in mean average precision"),
    }


def max_objects(most: int, task: TaskSettings) -> Choice:
    """Returns the maximum number of objects used per training image.

    Args:
        most: number of objects of the image that has the most.
        task: section of the task, whose augmentation may join images.
    """
    augmentation = getattr(task, "augmentation", None)
    images = augmentation.images if isinstance(augmentation, BoxAugmentation) else 1
    wanted = math.ceil(images * most / 10) * 10
    why = f"at most {most:,} objects per image"
    if images > 1:
        why += f"; augmentation joins up to {images} images"
    if wanted > MOST_OBJECTS:
        why += "; more take much memory, so set them with a smaller training.batch_size"
    return Choice(min(MOST_OBJECTS, wanted), why)


def detections(most: int, task: TaskSettings) -> Choices:
    """Returns the maximum number of detections per image, and what limits them, by dotted key; none if the defaults
    leave enough room.

    Args:
        most: number of objects of the image that has the most.
        task: section of the task, whose detections may come from proposed regions.
    """
    wanted = math.ceil(1.5 * most / 100) * 100
    if wanted <= DETECTIONS:
        return {}
    why = f"at most {most:,} objects per image, and room for errors"
    if wanted > MOST_DETECTIONS:
        wanted = MOST_DETECTIONS
        why = f"at most {most:,} objects per image; limited to {wanted:,}: more take much time, so set them yourself"
    chosen = {"task.suppression.detections": wanted}
    if isinstance(task, RCNNSettings) and task.suppression.entering < BOXES_PER_DETECTION * wanted:
        chosen["task.suppression.candidates"] = BOXES_PER_DETECTION * wanted
    if isinstance(task, FasterRCNNSettings):
        chosen["task.network.regions"], chosen["task.proposals_per_level"] = room(wanted)
    return {key: Choice(value, why) for key, value in chosen.items()}


def room(detections: int) -> tuple[int, int]:
    """Returns the regions, and the proposals of a level, that a Faster R-CNN needs for more than `DETECTIONS`."""
    return max(REGIONS, REGIONS_PER_DETECTION * detections), BOXES_PER_DETECTION * detections


def image_bytes(task: TaskSettings, model: Architecture, *, num_classes: int, channels: int) -> int:
    """Returns the memory of an image in training or in evaluation, whichever takes more, estimated.

    Args:
        task: section of the task.
        model: the backbone.
        num_classes: number of classes.
        channels: channels of the images.

    Raises:
        UserError: task and backbone do not fit.
    """
    from tfeff import models

    network = sampled = task.describe(model)
    if isinstance(network, TwoStage) and isinstance(task, TwoStageSettings):
        sampled = replace(network, regions=task.sampled_regions)
    whole, trained = (models.estimate(each, num_classes=num_classes, channels=channels) for each in (network, sampled))
    return max(whole.peak_bytes, trained.training_peak_bytes)


def batch_size(count: int, image_bytes: int, parts: int = 1) -> Choice:
    """Returns a power of two that gives about `UPDATES_PER_EPOCH` updates per epoch and fits into `rules.BATCH_BYTES`.

    Args:
        count: number of training images.
        image_bytes: memory of an image.
        parts: number of equal parts of a batch, one of which is in memory at once; the size is a multiple of it.
    """
    return rules.batch_size(count, BATCH_SIZES, UPDATES_PER_EPOCH, divisor=parts, image_bytes=image_bytes, parts=parts)


def epochs(count: int, batch_size: int, start: WarmStart, images: int) -> Choice:
    """Returns the number of epochs for `UPDATES` updates on the images that count, within `EPOCHS`.

    Batches that are smaller than usual see as many images as usual. The other images lengthen the training up to
    `MOST_UPDATES`.

    Args:
        count: number of training images that count.
        batch_size: images in a batch, which memory may limit.
        start: where the backbone's weights come from.
        images: number of all training images.
    """
    usual = rules.batch_size(images, BATCH_SIZES, UPDATES_PER_EPOCH).value
    most = {kind: MOST_UPDATES * number for kind, number in UPDATES.items()}
    wanted = rules.epochs(count, batch_size, start, UPDATES, EPOCHS, usual=usual)
    limit = rules.epochs(images, batch_size, start, most, EPOCHS, usual=usual)
    number = min(wanted.value, limit.value)
    why = f"{number * max(1, images // batch_size):,} updates"
    if number < wanted.value:
        why = f"limited to {why}"
    if count < images:
        why = f"{why}; {images - count:,} more images without objects do not count"
    return Choice(number, why)


def length(epochs: int, task: TaskSettings, *, needs_validation: bool) -> Choices:
    """Returns what follows from the number of epochs, by dotted key.

    Args:
        epochs: number of epochs.
        task: section of the task, which may have no augmentation to end.
        needs_validation: whether the training compares epochs, by early stopping and the like.
    """
    validation = Choice(epochs, "only the last weights count")
    if needs_validation:
        validation = Choice(1, "the training depends on validation")
    plain = Choice(0, "there is no augmentation except crops and flips")
    if task.varies_images:
        plain = Choice(max(1, epochs // 7), "the last epochs see images as they are, except for flips")
    return {
        "training.epochs": Choice(epochs, "see there"),
        "training.validation_epochs": validation,
        "schedule.warmup_epochs": Choice(epochs / 30, "a thirtieth of the training"),
        "task.plain_epochs": plain,
    }


def optimizer(count: int, start: WarmStart, images: int) -> Choices:
    """Returns optimizer, learning rate, weight decay and the layers that do not learn, by key of `optimizer`.

    Args:
        count: number of training images that count.
        start: where the backbone's weights come from.
        images: number of all training images.
    """
    scratch = start.kind == "scratch"
    why = "good for training from scratch" if scratch else "good for fine-tuning"
    counted = f"{count:,} training images"
    if count < images:
        counted = f"{count:,} training images ({count // 2:,} with objects, of {images:,})"
    if start.kind != "imagenet":
        frozen = rules.frozen(count, start)
    elif count < FEW:
        frozen = Choice(("stem*", "stage[12]*"), f"{counted}; the first layers hardly change")
    else:
        frozen = Choice((), f"{counted} can train all layers")
    return {
        "name": Choice("adamw", why),
        "learning_rate": Choice(2e-3 if scratch else 1e-3, why),
        "weight_decay": Choice(2e-2 if scratch else 1e-2, why),
        "frozen": frozen,
    }
