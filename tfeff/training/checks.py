"""What a run cannot do, reported before its images are read."""

import keras

from tfeff import models, reports
from tfeff.data.augment import given
from tfeff.data.augment.policy import Augmentation
from tfeff.data.input.device_batches import BY_CPU, IN_BATCHES
from tfeff.errors import UserError, nearest
from tfeff.execution import workers
from tfeff.models import presets
from tfeff.networks import Architecture
from tfeff.networks.backbones.architecture import require_same_layers
from tfeff.networks.backbones.given import Given
from tfeff.networks.catalog import own_statistics
from tfeff.training.features import KEY, split
from tfeff.training.plan import Plan, weights_file
from tfeff.training.stored_teachers import KEY as TEACHERS
from tfeff.training.workdir import Workdir, run_of


def check(plan: Plan, replicas: int, *, new_run: bool) -> None:
    """Reports errors that would otherwise occur only after all images are read, or after training.

    Args:
        plan: the run's plan.
        replicas: number of devices that share a batch, over all workers.
        new_run: whether this is a new run; resumed runs do not need the initial weights.

    Raises:
        UserError: an impossible network, missing weights or teachers, an augmentation that is missing, settings that
            exclude each other, patterns of optimizer settings that match nothing or that `optimizer.transfer` chooses,
            a shift beyond the image, or a batch that the devices cannot share.
    """
    settings = plan.settings
    reports.evaluator(plan.task.kind)
    plan.task.check(plan.network.resolution)
    if new_run:
        _check_weights(plan)
    if settings.data.augment is not None:
        given.find(settings.data.augment)
    if isinstance(settings.model, Given):
        presets.find(settings.model.source)
    _check_training(plan, replicas)
    if plan.settings.data.augment_on_device:
        _check_device_batches(plan, replicas)
    _check_teachers(plan, replicas)
    _check_variants(plan)
    if plan.training.resolution_factors and new_run:
        _check_resolutions(plan)
    if plan.training.quantization is not None:
        _check_quantization(plan, replicas)
    _check_optimizer(plan, new_run=new_run)


def _check_weights(plan: Plan) -> None:
    settings = plan.settings
    try:
        _check_source(plan)
    except UserError as error:
        if str(error).startswith("weights"):  # a description does not know the config
            raise UserError(f"config: model.{error}") from None
        raise
    if settings.task.CUTS_REGIONS and not settings.model.starts_trained:
        raise UserError(
            "config: model.weights: the backbone is frozen and needs weights. Train it as a classifier of the "
            "objects, and give its workdir:\n"
            "  python -m tfeff.train --config=... --workdir=BACKBONE "
            f"--config.data.source=crops:{settings.data.source}\n"
            "  python -m tfeff.train --config=... --workdir=... --config.model.weights=BACKBONE"
        )


def _check_source(plan: Plan) -> None:
    """Raises UserError unless there are initial weights, if any, of a network with the same layers."""
    model, source = plan.settings.model, plan.settings.model.weights
    if source == models.COCO:
        if not isinstance(plan.network, models.Detector):
            raise UserError(f"weights={source}: these weights are those of detectors, not of backbones")
        models.published_detector(plan.network)
    elif (origin := models.published(model)) is not None:
        models.require_published(origin.name)
    elif source is not None:
        weights_file(source)  # raises if there are none
        run = run_of(source)
        if run is not None:
            theirs = Plan.opened(run).network.backbone
            require_same_layers(model, theirs)
            for key in own_statistics(model):
                if getattr(model, key) != getattr(theirs, key):
                    raise UserError(f"config: model.{key}: omit it: the network takes that of the run in {source}")


def _check_training(plan: Plan, replicas: int) -> None:
    training, task = plan.training, plan.task
    parts = replicas * training.accumulation_steps
    if training.batch_size % parts:
        raise UserError(
            f"config: training.batch_size is {training.batch_size}; it should be a multiple of {parts} "
            f"({replicas} devices x training.accumulation_steps)"
        )
    apart = {*task.tuned, *task.unwatched}
    metrics = *task.means(task.zero_sums()), *(name for name in task.scores if name not in apart)
    if training.monitor not in metrics:
        raise UserError(f"config: training.monitor is {training.monitor!r}; {nearest(training.monitor, metrics)}")
    if plan.settings.task.images_drawn_together is not None:
        _check_classes_in_batches(plan, plan.settings.task.images_drawn_together, parts)
    if training.xla and replicas > 1:
        raise UserError("config: training.xla supports only a single device; set it to false")
    if training.recompute_statistics and task.stored is not None:
        raise UserError("config: training.recompute_statistics: the task trains on stored features; set it to false")
    if training.recompute_statistics and _reads_regions(plan):
        raise UserError("config: training.recompute_statistics: the network reads regions, too; set it to false")
    if training.rematerialize and _reads_regions(plan):
        raise UserError(
            "config: training.rematerialize: the network reads regions, and its two parts run apart; set it to false, "
            "and training.accumulation_steps for less memory"
        )
    _check_drawing(plan)


def _reads_regions(plan: Plan) -> bool:
    return getattr(plan.network, "regions", None) is not None


def _check_drawing(plan: Plan) -> None:
    """Checks how images are drawn and varied, and that workers can share their batches."""
    data, name = plan.settings.data, plan.settings.task.name
    if data.class_balanced and plan.settings.task.IS_DETECTOR:
        raise UserError(
            f"config: data.class_balanced: with task.name={name}, an image can have objects of several classes; set it "
            "to false"
        )
    if plan.task.stored is None:
        return
    if data.augment is not None:
        raise UserError(
            f"config: data.augment: task.name={name} trains on stored features of images without augmentation; omit it"
        )
    if workers.worker_count() > 1:
        raise UserError(
            f"config: task.name={name} trains on stored features, which several workers cannot share; use one (unset "
            "TF_CONFIG)"
        )


def _check_device_batches(plan: Plan, replicas: int) -> None:
    """Checks that nothing else uses the batches of `data.augment_on_device`."""
    settings, training = plan.settings, plan.training
    if plan.task.stored is not None:
        raise UserError("config: data.augment_on_device: the task trains on stored features; set it to false")
    boxes = plan.task.kind.annotations == "objects"
    if boxes or settings.data.cache == "none" or settings.task.keeps_image_sizes:
        raise UserError(f"config: {IN_BATCHES}")
    if settings.data.augment is not None:
        raise UserError(f"config: {BY_CPU}")
    others = {
        KEY: training.feature_variants is not None,
        TEACHERS: settings.task.teacher_variants is not None,
        "data.unlabeled": settings.data.unlabeled is not None,
    }
    for key, used in others.items():
        if used:
            raise UserError(
                f"config: data.augment_on_device: {key} needs batches that the CPU makes; remove one of them"
            )
    augmentation = getattr(settings.task, "augmentation", None)
    if replicas > workers.worker_count() and getattr(augmentation, "mixes", False):
        raise UserError(
            "config: data.augment_on_device: the devices of a worker cannot mix images of each other; remove "
            "task.augmentation.mixup_alpha and cutmix_alpha, or set data.augment_on_device=false"
        )


def _check_classes_in_batches(plan: Plan, together: int, parts: int) -> None:
    """Checks that each part of a batch holds several classes, with all images that are drawn together."""
    size = plan.training.batch_size
    if size % (parts * together) or size == parts * together:
        divided = f" in {parts} parts (devices x training.accumulation_steps)" if parts > 1 else ""
        raise UserError(
            f"config: training.batch_size is {size}{divided}; with {together} images of a class drawn together "
            f"(task.images_per_class), it should be a multiple of {parts * together}, at least {2 * parts * together}, "
            "so that there are several classes to compare"
        )
    if plan.settings.data.class_balanced:
        raise UserError(
            "config: data.class_balanced: task.images_per_class draws all classes equally often, too; set it to false"
        )


def _check_teachers(plan: Plan, replicas: int) -> None:
    training, teachers, unlabeled = plan.training, plan.settings.task.teachers, plan.settings.data.unlabeled
    if teachers and (training.feature_variants is not None or training.rematerialize):
        raise UserError(
            "config: task.teacher sees the images of each batch: remove training.feature_variants and "
            "training.rematerialize"
        )
    for name in teachers:
        if name not in models.names() and not Workdir(name).final.is_file():
            raise UserError(
                f'config: task.teacher.runs: "{name}": no finished run; give the workdir of a tfeff.train run'
            )
    if plan.settings.task.teacher_variants is not None:
        if not teachers:
            raise UserError("config: task.teacher.variants: there are no teachers; set task.teacher.runs")
        if plan.settings.task.plain_epochs:
            raise UserError(
                "config: task.teacher.variants: images of the last epochs differ from those of the first ones; set "
                "task.plain_epochs=0"
            )
    if unlabeled is not None and not teachers:
        raise UserError("config: data.unlabeled: images without labels need a teacher; set task.teacher.runs")
    if unlabeled is not None and replicas > 1:
        raise UserError("config: data.unlabeled: several devices are not supported; use one")
    _check_features_in_batches(plan, replicas * training.accumulation_steps)
    count, parts = plan.unlabeled_batch_size, training.accumulation_steps
    if unlabeled is not None and count % parts:
        fitting = -(-count // parts) * parts / training.batch_size
        raise UserError(
            f"config: data.unlabeled_per_label: {count} unlabeled images in a batch cannot be divided into {parts} "
            f"parts (training.accumulation_steps); set data.unlabeled_per_label={fitting:g}"
        )


def _check_features_in_batches(plan: Plan, parts: int) -> None:
    """Checks that each part of a batch has several images, by which the features of teachers are measured."""
    size = plan.training.batch_size
    images = size + (plan.unlabeled_batch_size if plan.settings.data.unlabeled is not None else 0)
    if plan.settings.task.imitates_features and images < 2 * parts:
        divided = f" in {parts} parts (devices x training.accumulation_steps)" if parts > 1 else ""
        raise UserError(
            f"config: training.batch_size is {size}{divided}; task.teacher.features compares the images of a part; "
            f"use at least {2 * parts}"
        )


def _check_variants(plan: Plan) -> None:
    """Checks that what is stored of an image does not depend on its batch, and that this process sees all images."""
    task, augmentation = plan.settings.task, getattr(plan.settings.task, "augmentation", None)
    for key, variants in {KEY: plan.training.feature_variants, TEACHERS: task.teacher_variants}.items():
        if variants is None:
            continue
        if isinstance(augmentation, Augmentation) and augmentation.mixes:
            raise UserError(f"config: {key}: MixUp and CutMix mix images of a batch; switch them off")
        if workers.worker_count() > 1:
            raise UserError(f"config: {key}: several workers are not supported; use one, or set it to none")


def _check_resolutions(plan: Plan) -> None:
    training, where = plan.training, "config: training.resolution_factors"
    excluded = {
        "training.rematerialize": training.rematerialize,
        "training.feature_variants": training.feature_variants is not None,
        "training.quantization": training.quantization is not None,
        "task.teacher": plan.settings.task.teachers,
    }
    for key, wanted in excluded.items():
        if wanted:
            raise UserError(f"{where} and {key} exclude each other; remove one of them")
    if plan.task.stored is not None:
        raise UserError(f"{where}: task.name={plan.settings.task.name} trains on stored features; omit it")
    plan.resolutions(plan.build_network())


def _check_quantization(plan: Plan, replicas: int) -> None:
    training, task = plan.training, plan.settings.task
    excluded = {
        "training.rematerialize": training.rematerialize,
        "training.feature_variants": training.feature_variants is not None,
        "training.swa_epochs": training.swa_epochs is not None,
        "training.xla": training.xla,
        "optimizer.transfer": plan.update.transfer is not None,
        "task.teacher.features": task.imitates_features,
    }
    where = "config: training.quantization"
    for key, wanted in excluded.items():
        if wanted:
            raise UserError(f"{where} does not go with {key}; remove one of them")
    if training.precision not in ("auto", "float32"):
        raise UserError(f"{where} computes in float32; set training.precision=float32")
    if replicas > 1:
        raise UserError(f"{where}: several devices are not supported; set training.strategy=single")
    if task.CUTS_REGIONS or task.fitted or _reads_regions(plan):
        raise UserError(f"{where}: task.name={task.name} is not supported, whose network reads regions")
    if not plan.settings.model.starts_trained:
        raise UserError(f"{where} fine-tunes a trained network; set model.weights to the workdir of a finished run")


def _check_optimizer(plan: Plan, *, new_run: bool) -> None:
    update, training = plan.update, plan.training
    if update.unfreeze and workers.worker_count() > 1:
        raise UserError("config: optimizer.unfreeze: several workers are not supported; use one")
    if update.transfer is not None and update.frozen:
        raise UserError("config: optimizer.transfer=auto chooses optimizer.frozen, which is set; remove one of them")
    if update.transfer is not None and workers.worker_count() > 1:
        raise UserError("config: optimizer.transfer: several workers are not supported; set optimizer.frozen instead")
    if update.parametrization == "mup":
        _check_parametrization(plan)
    if new_run and (update.frozen or update.unfreeze or update.learning_rate_factors or training.feature_variants):
        # The patterns refer to paths, which depend on neither classes nor statistics: those need the data.
        network = _frozen_network(plan)
        if update.unfreeze:
            _frozen_network(plan.in_phase(training.epochs))
        if training.feature_variants is not None and update.transfer is None and split(network) is None:
            raise UserError(
                "config: training.feature_variants: the first layers of the network are trained; freeze them with "
                "optimizer.frozen, such as stem*,stage*"
            )


def _check_parametrization(plan: Plan) -> None:
    where, model = "config: optimizer.parametrization=mup", plan.settings.model
    if not isinstance(plan.network, Architecture):
        raise UserError(f"{where} is for classifiers; leave it at standard")
    if not hasattr(model, "width_coefficient"):
        raise UserError(f"{where}: {model.name} is no family of the package, so it has no widths; leave it at standard")
    if model.starts_trained:
        raise UserError(f"{where} sets random initial weights; omit model.weights")
    if plan.update.name == "muon":
        raise UserError(f"{where} has no rule for muon; choose optimizer.name=sgd, rmsprop or adamw")


def _frozen_network(plan: Plan) -> keras.Model:
    """Returns a network for any data, frozen as in the first phase of a run; its optimizer can be created."""
    network = plan.build_network()
    plan.build_optimizer(network)
    return network
