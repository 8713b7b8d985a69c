"""The network that sees regions: trained as a classifier first, then frozen."""

import dataclasses
from dataclasses import dataclass

import keras

from tfeff import config, models, training
from tfeff.rcnn.workdir import Workdir


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
    """How the backbone is trained: on the crops of the run's own training images, where the config says so."""
    wanted = settings.backbone
    if wanted.data.source != "crops":
        return wanted
    shown, context = models.architecture(wanted.model.name, **wanted.model.options()), settings.features.context
    side = wanted.model.resolution or shown.resolution
    data = dataclasses.replace(
        wanted.data,
        source=f"crops:{settings.data.source}",
        train_split=settings.data.train_split,
        # As regions will be seen.
        crop_context=context / max(1, side - 2 * context),
    )
    return dataclasses.replace(wanted, data=data)


def trained(settings: config.RCNN, workdir: Workdir, reporter: training.Reporter) -> Backbone:
    """The backbone of a run, trained now if it is not yet.

    Raises:
        UserError: `backbone_workdir` is not that of a finished run.
        Interrupted: after Ctrl-C or SIGTERM, once its state is saved.
    """
    if settings.backbone_workdir is not None:
        of = training.Workdir(settings.backbone_workdir)
    else:
        of = training.train(experiment(settings), workdir.backbone, reporter=reporter)
    return Backbone(training.trained_model(of, settings.precision), tuple(of.dataset()["class_names"]))
