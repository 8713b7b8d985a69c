"""The backbone: trained as a classifier on crops, then frozen to extract the features of regions."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from tfeff import config, models, training
from tfeff.boxes.assignment import assign, region_boxes
from tfeff.data.dataset import Dataset
from tfeff.data.sources import crops
from tfeff.rcnn.feature_extractor import FeatureExtractor
from tfeff.rcnn.workdir import Workdir
from tfeff.training import build, selection

CROPS = "crops"
"""`backbone.data.source` for crops of the run's own images."""
POSITIVE_OVERLAP = 0.5
"""Minimum IoU of a proposal with an object for its crop to get that object's class."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """A trained classifier.

    Attributes:
        model: images [n, resolution, resolution, channels] in [0, 255] -> logits.
        class_names: of the classifier.
    """

    model: keras.Model
    class_names: tuple[str, ...]


def experiment(settings: config.RCNN) -> config.Experiment:
    """The experiment that trains the backbone, with `model.family` resolved to its member.

    If `backbone.data.source` is `crops`, it trains and validates on crops of the run's own images, which show as much
    context as regions do.
    """
    wanted = config.resolve_family(settings.backbone)  # A family's member decides the resolution, and so the context.
    if wanted.data.source != CROPS:
        return wanted
    default = models.architecture(wanted.model.name, **wanted.model.options()).resolution
    side, context = wanted.model.resolution or default, settings.features.context
    data = dataclasses.replace(
        wanted.data,
        source=f"crops:{settings.data.source}",
        train_split=settings.data.train_split,
        validation_split="validation",
        seed=settings.seed,
        crop_context=context / max(1, side - 2 * context),
    )
    return dataclasses.replace(wanted, data=data)


def check(settings: config.RCNN) -> None:
    """Reports errors in the backbone's settings before any work starts.

    Raises:
        UserError: an invalid network or weights, a missing workdir, or a grid or context that does not fit.
    """
    if settings.backbone_workdir is None:
        wanted = experiment(settings)
        build.check(wanted, 1, afresh=True)
        section = wanted.model
        options = {"resolution": section.resolution, "channels": wanted.data.channels, **section.options()}
        model = models.build(section.name, num_classes=2, **options)
    else:
        model = training.trained_model(training.Workdir(settings.backbone_workdir))
    FeatureExtractor(model, grid=settings.features.grid, context=settings.features.context)


def trained(
    settings: config.RCNN,
    workdir: Workdir,
    reporter: training.Reporter,
    images: Mapping[str, Dataset],
    proposals: Callable[[str], Sequence[np.ndarray]],
) -> Backbone:
    """The backbone of a run, trained first if necessary.

    Args:
        settings: the run.
        workdir: of the run.
        reporter: logs progress.
        images: `train` and `validation`.
        proposals: of the images of `train` or `validation`.

    Raises:
        UserError: `backbone_workdir` is not the workdir of a finished run.
        Interrupted: after Ctrl-C or SIGTERM, once the state is saved.
    """
    if settings.backbone_workdir is None and not training.Workdir(workdir.backbone).final.is_file():
        wanted, caches = experiment(settings), None
        if settings.backbone.data.source == CROPS:
            data, seed = wanted.data, settings.seed

            def crops_of(name: str) -> Dataset:
                if settings.backbone_crops == "proposals":
                    return proposal_crops(images[name], proposals(name), data=data, seed=seed)
                return crops.object_crops(images[name], channels=data.channels, context=data.crop_context, seed=seed)

            caches = selection.read(wanted, reporter.reading, (crops_of("train"), crops_of("validation")))
        training.train(wanted, workdir.backbone, caches=caches, reporter=reporter)
    return finished(settings, workdir)


def finished(settings: config.RCNN, workdir: Workdir) -> Backbone:
    """The backbone of a run that has trained it.

    Raises:
        UserError: it is not trained.
    """
    backbone_workdir = training.Workdir(settings.backbone_workdir or workdir.backbone)
    model = training.trained_model(backbone_workdir, settings.precision)
    return Backbone(model, tuple(backbone_workdir.dataset()["class_names"]))


def proposal_crops(images: Dataset, proposals: Sequence[np.ndarray], *, data: config.Data, seed: int) -> Dataset:
    """Crops of objects, of proposals that overlap one by at least half (up to COPIES per object), and of background
    proposals (up to BACKGROUNDS per object).

    Args:
        images: with their objects.
        proposals: boxes_yxyx float32 [n, 4] of each image.
        data: `channels` and `crop_context` apply.
        seed: draws the proposals; those of an image are a function of the seed and the image's index.
    """
    owners, boxes, labels = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    background = images.num_classes
    for image, (objects, proposed) in enumerate(zip(images.objects, proposals, strict=True)):
        rng = np.random.Generator(np.random.Philox(key=[seed, image]))
        targets = assign(proposed, objects.boxes_yxyx, objects.labels, objects.ignored, image)
        count = int(targets.is_object.sum())
        usable = ~targets.ignored & ~targets.is_object
        near = rng.permutation(np.flatnonzero(usable & (targets.overlap >= POSITIVE_OVERLAP)))
        near = near[: crops.COPIES * count]
        far = rng.permutation(np.flatnonzero(usable & (targets.overlap < POSITIVE_OVERLAP)))
        far = far[: crops.BACKGROUNDS * max(1, count)]
        chosen = np.concatenate([np.flatnonzero(targets.is_object), near, far])
        owners.append(np.full(len(chosen), image))
        boxes.append(region_boxes(proposed, objects.boxes_yxyx, objects.ignored)[chosen])
        labels.append(np.where(np.arange(len(chosen)) < count + len(near), targets.label[chosen], background))
    return crops.crop(
        images,
        np.concatenate(owners).astype(np.int32),
        np.concatenate(boxes),
        np.concatenate(labels).astype(np.int32),
        class_names=(*images.class_names, crops.BACKGROUND),
        channels=data.channels,
        context=data.crop_context,
    )
