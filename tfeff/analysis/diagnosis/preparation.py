"""The link between dataset and network: what resizing, augmentation and normalization leave of images and objects."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tfeff import selection
from tfeff.analysis.diagnosis.finding import Finding, Link, share
from tfeff.analysis.diagnosis.subject import Subject
from tfeff.analysis.diagnosis.thresholds import limit
from tfeff.analysis.quality import Survey
from tfeff.data.dataset import evenly_spaced
from tfeff.data.input.batches import Batches
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.statistics import channel_statistics
from tfeff.errors import UserError
from tfeff.networks.preprocessing import per_channel
from tfeff.reporting.tables import percent
from tfeff.tasks.object_detection import ObjectDetectionTask

IMAGES = 64
"""Training images that are prepared, at most."""
KEPT = 256
"""Decoded images that are kept in memory, at most."""
BATCH = 8
EPOCHS = 2
"""Times that each is augmented."""


@dataclass(frozen=True, eq=False)
class PreparedImages:
    """Training images as the network gets them.

    Attributes:
        batches: without augmentation and images, as NumPy arrays; see `BoxTransform` and `ImageTransform`.
        survived: objects to learn in augmented images, relative to those in the dataset; None unless a detector is
            trained.
        dropped: objects beyond `task.max_objects`, relative to all objects in augmented images.
        most: number of objects of the augmented image that has the most.
        mean: mean of the network's input after its normalization.
        std: the same.
    """

    batches: list[dict[str, npt.NDArray[Any]]]
    survived: float | None
    dropped: float
    most: int
    mean: float
    std: float


def prepare(subject: Subject, survey: Survey) -> PreparedImages:
    """Passes training images through resizing, augmentation and normalization.

    Args:
        survey: the examined training images.

    Raises:
        UserError: they cannot be prepared.
    """
    settings = subject.settings
    assert settings is not None
    images = cached(subject.plan.images, survey, IMAGES)
    size = subject.description.size if subject.detects else (subject.description.resolution,) * 2
    batches = Batches(subject.plan.transform(images, size), min(BATCH, len(images)))
    plain, mean, std = _normalized(batches, *_normalization(subject, images))
    survived, dropped, most = None, 0.0, 0
    if isinstance(subject.task, ObjectDetectionTask):
        counts = np.array([np.count_nonzero(~each.ignored) for each in images.dataset.objects])
        expected, augmented = 0.0, plain
        augmentation = getattr(settings.task, "augmentation", None)
        if augmentation is not None and augmentation.any:
            images_each = 1 + 3 * augmentation.mosaic + augmentation.mixup + augmentation.copy_paste / 2
            keys = "index", "valid", "difficult", "crowd", "dropped"
            augmented = [{key: batch[key].numpy() for key in keys} for batch in batches.training_batches(EPOCHS)]
            expected = float(sum(counts[batch["index"]].sum() for batch in augmented)) * images_each
        else:
            expected = float(counts.sum())
        used, beyond = (
            np.concatenate(each)
            for each in zip(*((b["valid"].sum(axis=1), b["dropped"]) for b in augmented), strict=True)
        )
        learned = sum(int((b["valid"] & ~b["difficult"] & ~b["crowd"]).sum()) for b in augmented)
        survived = learned / expected if expected else None
        dropped = float(beyond.sum() / max(1, used.sum() + beyond.sum()))
        most = int((used + beyond).max())
    return PreparedImages(plain, survived, dropped, most, mean, std)


def _normalized(
    batches: Batches, mean: npt.NDArray[Any], std: npt.NDArray[Any]
) -> tuple[list[dict[str, npt.NDArray[Any]]], float, float]:
    """Returns all batches without their images, and mean and standard deviation of the normalized images.

    Only a batch is in memory at a time.

    Args:
        mean: what the network subtracts, [channels].
        std: what it then divides by, [channels].
    """
    plain, count, total, squares = list[dict[str, npt.NDArray[Any]]](), 0, 0.0, 0.0
    for batch in batches.evaluation_batches():
        values = {name: value.numpy() for name, value in batch.items()}
        images, windows = values.pop("image"), values.get("window_yxyx")
        for row in np.flatnonzero(values["weight"] > 0):
            height, width = images.shape[1:3] if windows is None else windows[row][2:].astype(int)
            pixels = (images[row][:height, :width] - mean) / std
            count, total, squares = count + pixels.size, total + pixels.sum(), squares + np.square(pixels).sum()
        plain.append(values)
    average = total / count
    return plain, float(average), float(np.sqrt(max(0.0, squares / count - average**2)))


def cached(wanted: selection.Request, survey: Survey, count: int) -> ImageCache:
    """Returns some readable images of a split, decoded at the size at which training loads them.

    They are evenly spaced; if most images have no objects, half of them have, as far as there are so many.

    Args:
        survey: the examined images of the split.
        count: number of images, at most.

    Raises:
        UserError: none can be read.
    """
    if not len(survey):
        raise UserError(f"{survey.images.name}: none of the {survey.examined:,} examined images can be read")
    sample = survey.images.take(_sample(survey, count))
    data = replace(wanted.data, corrupt_images="skip", cache="memory" if len(sample) <= KEPT else "none")
    size, unlabeled = selection.image_size(wanted, survey.images), replace(sample, labels=sample.labels[:0])
    # Without labels, since a class without images is an error, but may be missing in a sample.
    found = selection.cache(replace(wanted, data=data), unlabeled, size, lambda *_: None, readable=True)
    return replace(found, dataset=sample.take(found.rows))


def _sample(survey: Survey, count: int) -> npt.NDArray[np.int64]:
    """Returns places in the split of some images, int64 [m], rising; see `cached`."""
    images, readable = survey.images, np.array(survey.indices)
    if images.has_objects:
        shows = np.array([not images.objects[index].ignored.all() for index in survey.indices])
        if 2 * shows.sum() < len(shows):
            shown, others = readable[shows], readable[~shows]
            shown = shown[evenly_spaced(len(shown), (count + 1) // 2)]
            return np.sort(np.concatenate([shown, others[evenly_spaced(len(others), count - len(shown))]]))
    return readable[evenly_spaced(len(readable), count)]


def check_preparation(subject: Subject, prepared: PreparedImages | str, survey: Survey) -> Link:
    """Checks the input of the network; `prepared` is a text if there is none."""
    question = "do objects and contrast survive resizing, augmentation and normalization?"
    findings = list[Finding]()
    black = [name for name, one in zip(survey.ids, survey.measured, strict=True) if one.highest <= 1]
    if len(black) > limit("black_images") * len(survey):
        findings.append(
            Finding(
                what=f"{share(len(black), len(survey), 'images')} have no pixel above 1: they were saved in "
                "[0, 1] instead of [0, 255], and are black for the network.",
                measured={"images": len(black), "of": len(survey)},
                evidence=black[:5],
                fix="multiply by 255 before saving the images",
            )
        )
    if isinstance(prepared, str):
        return Link(name="preparation", question=question, findings=findings, skipped=prepared)
    far = abs(prepared.mean) > limit("input_mean")
    if not findings and (far or not limit("input_std_low") <= prepared.std <= limit("input_std_high")):
        how = "far from 0" if far else "almost constant" if prepared.std < 1 else "too large"
        findings.append(
            Finding(
                what=f"the network's input is {how} after its normalization: mean {prepared.mean:.2f}, standard "
                f"deviation {prepared.std:.3f}, instead of about 0 and 1.",
                measured={"mean": prepared.mean, "std": prepared.std},
                evidence=[f"{len(prepared.batches)} batches of {subject.train.name}"],
                fix="images must be in [0, 255]; set data.normalization=dataset, or check model.mean and model.std",
            )
        )
    if isinstance(subject.task, ObjectDetectionTask):
        findings += _lost(subject, prepared)
    return Link(
        name="preparation",
        question=question,
        findings=findings,
        measured={
            "input_mean": round(prepared.mean, 3),
            "input_std": round(prepared.std, 3),
            "surviving_objects": None if prepared.survived is None else round(prepared.survived, 3),
        },
    )


def _lost(subject: Subject, prepared: PreparedImages) -> Iterator[Finding]:
    """Yields objects that training does not see."""
    assert subject.settings is not None
    most = selection.request(subject.settings).task.reading.max_objects
    counts = np.array([len(each) for each in subject.train.objects])
    if most is not None and (counts > most).any():
        dropped = int(np.maximum(counts - most, 0).sum())
        crowded = [subject.train.ids[index] for index in np.argsort(-counts)[:3]]
        yield Finding(
            what=f"{share(dropped, int(counts.sum()), 'objects')} are dropped, because "
            f"{int((counts > most).sum()):,} images have more than task.max_objects={most}.",
            broken=dropped > limit("dropped_objects") * counts.sum(),
            measured={"dropped": dropped, "most_in_an_image": int(counts.max())},
            evidence=crowded,
            fix=f"set task.max_objects={counts.max()}",
        )
    augmentation = getattr(subject.settings.task, "augmentation", None)
    if most is not None and prepared.dropped and augmentation is not None and augmentation.mixes:
        yield Finding(
            what=f"{percent(prepared.dropped)} of the objects in augmented images are dropped, because those that "
            f"augmentation joins have more than task.max_objects={most}.",
            broken=prepared.dropped > limit("dropped_objects"),
            measured={"dropped": round(prepared.dropped, 3), "most_in_an_image": prepared.most},
            fix=f"set task.max_objects={prepared.most}, or reduce task.augmentation.mosaic, mixup or copy_paste",
        )
    # Of what is left after augmentation, before the limit.
    kept = None if prepared.survived is None else prepared.survived / (1 - min(prepared.dropped, 0.999))
    if kept is not None and kept < limit("surviving_objects"):
        yield Finding(
            what=f"augmentation keeps only {percent(kept)} of the objects.",
            measured={"surviving_objects": kept},
            fix="reduce task.augmentation.scale_range, scale or rotation, or task.augmentation.min_share",
        )


def _normalization(subject: Subject, images: ImageCache) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Returns the mean and standard deviation that the network subtracts and divides by, [channels]."""
    settings = subject.settings
    assert settings is not None
    channels = settings.data.channels
    if subject.workdir is not None and subject.workdir.dataset().get("mean"):
        record = subject.workdir.dataset()
        return np.array(record["mean"]), np.array(record["std"])
    if settings.data.normalization == "dataset":
        try:
            mean, std = channel_statistics(images)
        except UserError:  # constant images
            return np.zeros(channels), np.ones(channels)
        return np.array(mean), np.array(std)
    backbone = subject.description.backbone
    return np.array(per_channel(backbone.mean, channels)), np.array(per_channel(backbone.std, channels))
