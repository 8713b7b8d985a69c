"""The network that sees regions: trained as a classifier first, then frozen."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from tfeff import config, models, training
from tfeff.boxes.assignment import assign, region_boxes
from tfeff.data.dataset import Dataset
from tfeff.data.sources import crops
from tfeff.rcnn.region_features import RegionFeatures
from tfeff.rcnn.workdir import Workdir
from tfeff.training import build, selection

CROPS = "crops"
"""As the source of the backbone's images: those of the run's own objects and background."""
POSITIVE = 0.5
"""Intersection over union from which on a proposal is its object's class for the backbone."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """A trained classifier.

    Attributes:
        model: images [n, resolution, resolution, channels] in [0, 255] -> logits.
        class_names: what it tells apart.
    """

    model: keras.Model
    class_names: tuple[str, ...]


def experiment(settings: config.RCNN) -> config.Experiment:
    """How the backbone is trained: on crops of the run's own training images, and validated on crops of those that it
    holds out, where the config says so."""
    if settings.backbone.data.source != CROPS:
        return settings.backbone
    wanted = config.resolve_family(
        settings.backbone
    )  # the member of a family says at which resolution regions are seen
    shown, context = models.architecture(wanted.model.name, **wanted.model.options()), settings.features.context
    side = wanted.model.resolution or shown.resolution
    data = dataclasses.replace(
        wanted.data,
        source=f"crops:{settings.data.source}",
        train_split=settings.data.train_split,
        validation_split="validation",
        seed=settings.seed,
        # As regions will be seen.
        crop_context=context / max(1, side - 2 * context),
    )
    return dataclasses.replace(wanted, data=data)


def check(settings: config.RCNN) -> None:
    """Looks for mistakes that would otherwise come to light once proposals are made or the network is trained.

    Raises:
        UserError: a network or weights that cannot be, a run that is not there, a grid or context that does not fit.
    """
    if settings.backbone_workdir is None:
        wanted = config.resolve_family(experiment(settings))
        build.check(wanted, 1, afresh=True)
        section = wanted.model
        options = {"resolution": section.resolution, "channels": wanted.data.channels, **section.options()}
        model = models.build(section.name, num_classes=2, **options)
    else:
        model = training.trained_model(training.Workdir(settings.backbone_workdir))
    RegionFeatures(model, grid=settings.features.grid, context=settings.features.context)


def trained(
    settings: config.RCNN,
    workdir: Workdir,
    reporter: training.Reporter,
    images: Mapping[str, Dataset],
    proposals: Callable[[Dataset], Sequence[np.ndarray]],
) -> Backbone:
    """The backbone of a run, trained now if it is not yet.

    Args:
        settings: the run.
        workdir: of the run.
        reporter: says how it goes.
        images: `train` and `validation`.
        proposals: of some images.

    Raises:
        UserError: `backbone_workdir` is not that of a finished run.
        Interrupted: after Ctrl-C or SIGTERM, once its state is saved.
    """
    if settings.backbone_workdir is None and not training.Workdir(workdir.backbone).final.is_file():
        wanted, caches = experiment(settings), None
        if settings.backbone.data.source == CROPS:

            def crops_of(part: Dataset) -> Dataset:
                if settings.backbone_crops == "proposals":
                    return proposal_crops(part, proposals(part), data=wanted.data, seed=settings.seed)
                data = wanted.data
                return crops.object_crops(part, channels=data.channels, context=data.crop_context, seed=settings.seed)

            given = crops_of(images["train"]), crops_of(images["validation"])
            caches = selection.read(wanted, reporter.reading, given)
        training.train(wanted, workdir.backbone, caches=caches, reporter=reporter)
    return finished(settings, workdir)


def finished(settings: config.RCNN, workdir: Workdir) -> Backbone:
    """The backbone of a run that is past its training.

    Raises:
        UserError: it is not there.
    """
    of = training.Workdir(settings.backbone_workdir or workdir.backbone)
    return Backbone(training.trained_model(of, settings.precision), tuple(of.dataset()["class_names"]))


def proposal_crops(images: Dataset, proposals: Sequence[np.ndarray], *, data: config.Data, seed: int) -> Dataset:
    """Objects, proposals that overlap one by half (COPIES an object), and others (BACKGROUNDS an object) as crops.

    Args:
        images: with their objects.
        proposals: boxes_yxyx float32 [n, 4] of each image.
        data: how crops are to be read.
        seed: of the choice; one image's is a function of it and the image's number.
    """
    owners, boxes, labels = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    background = len(images.class_names)
    for image, (objects, found) in enumerate(zip(images.objects, proposals, strict=True)):
        rng = np.random.Generator(np.random.Philox(key=[seed, image]))
        aside = objects.ignored
        every = region_boxes(found, objects.boxes_yxyx, aside)
        regions = assign(found, objects.boxes_yxyx, objects.labels, aside, image)
        count = int(regions.is_object.sum())
        usable = ~regions.ignored & ~regions.is_object
        near = rng.permutation(np.flatnonzero(usable & (regions.overlap >= POSITIVE)))[: crops.COPIES * count]
        far = rng.permutation(np.flatnonzero(usable & (regions.overlap < POSITIVE)))[
            : crops.BACKGROUNDS * max(1, count)
        ]
        chosen = np.concatenate([np.flatnonzero(regions.is_object), near, far])
        owners.append(np.full(len(chosen), image))
        boxes.append(every[chosen])
        labels.append(np.where(np.arange(len(chosen)) < count + len(near), regions.label[chosen], background))
    return crops.crop(
        images,
        np.concatenate(owners).astype(np.int32),
        np.concatenate(boxes),
        np.concatenate(labels).astype(np.int32),
        class_names=(*images.class_names, crops.BACKGROUND),
        channels=data.channels,
        context=data.crop_context,
    )
