"""Rules: from the number of images and the warm start to the values of a config.

Each returns a `Choice`: the value and the reason. Those for a few hundred images were chosen by cross-validation;
docs/own_images.md has the results.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tfeff.config import Choice, Choices, ClassificationSettings, Data, Optimizer, TaskSettings, Training
from tfeff.errors import UserError
from tfeff.execution import workers
from tfeff.networks import Architecture, architecture
from tfeff.networks.backbones.convnext import ConvNeXt
from tfeff.networks.backbones.given import Given
from tfeff.networks.backbones.preset import Preset
from tfeff.networks.catalog import published
from tfeff.recipes.transfer import FACTORS


@dataclass(frozen=True)
class WarmStart:
    """The start of a training.

    Attributes:
        kind: `imagenet`, `file` (your own weights) or `scratch`.
        network: its name; None if any will do.
        weights: the value of `model.weights`.
        why: the reason, for the table of choices.
    """

    kind: Literal["imagenet", "file", "scratch"]
    network: str | None
    weights: str | None
    why: str


def warm_start(model: Architecture) -> WarmStart:
    """Returns the weights that a config asks for, or the best that can be had instead.

    For `weights="imagenet"`, these are the published weights of the network, from its installed package or downloaded;
    in place of the recipes' network, those of EfficientNet-B0, downloaded; else none. The weights of another network of
    the family are inherited.

    Args:
        model: the section of the config; `name` and `weights` say what is wanted.

    Raises:
        UserError: the weights of the network that `weights` names cannot be had.
    """
    if isinstance(model, Given):
        if model.starts_trained:
            whose = "the preset" if isinstance(model, Preset) else "your backbone"
            return WarmStart("file", model.name, model.weights, f"{whose}, with its weights")
        return WarmStart("scratch", model.name, None, "your backbone, with random weights")
    if model.weights is None:
        return WarmStart("scratch", None, None, "random weights, as you set")
    source = published(model)
    if source is None:
        why = "published weights, trained on COCO" if model.weights == "coco" else "your own weights"
        return WarmStart("file", model.name, model.weights, why)
    from tfeff import models

    if source.name != model.name:
        origin = models.imagenet_origin(source.name)
        if origin is None:
            raise UserError(
                f"config: model.weights is {model.weights}, whose weights cannot be had here; "
                'pip install "tfeff[imagenet]", or connect to the internet once'
            )
        why = f"inherited from the ImageNet weights of {source.name} from {origin}"
        return WarmStart("imagenet", model.name, model.weights, why)
    for network in (model.name, DOWNLOADED) if model.name == NETWORK else (model.name,):
        origin = models.imagenet_origin(network)
        if origin is not None:
            return WarmStart("imagenet", network, "imagenet", f"ImageNet weights from {origin}")
    why = f"no ImageNet weights of {model.name} here"
    if model.name == NETWORK:
        why = 'no ImageNet weights here; pip install "tfeff[imagenet]" provides them, and far better results'
    return WarmStart("scratch", None, None, why)


DOWNLOADED = "efficientnet-b0"
"""The network whose weights are downloaded if the wanted one's are not installed."""
NETWORK = "efficientnet-lite0"
"""The network of the recipes, replaced by a small ResNet if no ImageNet weights can be had."""
UNPUBLISHED = "resnet"
"""The small ResNet; all other networks have published weights or at least a published resolution."""
USUAL_RESOLUTION = 224
"""Pixels with which most networks are trained on ImageNet."""
UPDATES = {"imagenet": 150, "file": 500, "scratch": 1000}
"""Updates that a training should have, by warm start."""
EPOCHS = {"imagenet": (5, 30), "file": (10, 50), "scratch": (20, 100)}
"""Least and most epochs, by warm start."""
BATCH_SIZES = (8, 16, 32, 64, 128)
UPDATES_PER_EPOCH = 15
"""Small sets get small batches, so that an epoch has about this many updates."""
FEW, MANY = 2_000, 20_000
"""Bounds of small and large sets."""
ALL_LAYERS = 500
"""From this number of images on, all layers of a pretrained network are trained, below it only the classifier."""
VARIANTS = 2
"""Augmented variants of an image whose features are stored: not separable from new ones in each epoch
(docs/own_images.md)."""
ALL_UPDATES, ALL_UPDATES_PER_EPOCH, ALL_BATCH_SIZES = 800, 60, (16, 32, 64, 128)
"""As `UPDATES`, `UPDATES_PER_EPOCH` and `BATCH_SIZES`, for all layers of a pretrained network."""
HEADS = {
    "efficientnet": ("head_conv*",),
    "mobilenet-v2": ("head_conv*",),
    "mobilenet-v3": ("head_conv*", "head_hidden*"),
    "convnext": ("head_norm*",),
}
"""Layers between the last stage and the classifier, by the beginning of the network's name."""
AFTER_POOLING = ("head_hidden*", "head_norm*")
"""Those of them that embedders do not have."""
BATCH_BYTES = 4e9
"""Memory that a batch may take, estimated; that of one image is allowed in any case."""
REMAINING, LEAST_MOMENTUM = 0.01, 0.9
"""Share of the initial batch statistics that may remain at the end of a training, and the least momentum for that."""
MEMORY_BYTES = 2e9
"""Decoded images are kept in memory up to this size."""
IMBALANCE = 3.0
"""From this ratio of the largest to the smallest class on, all classes are sampled equally often, and `analyze` says
so."""


def network(model: Architecture, start: WarmStart) -> Choices:
    """Returns the network and its weights, by key of the section `model`.

    Args:
        model: what the config asks for.
        start: what can be had.
    """
    choices = {"weights": Choice(start.weights, start.why)}
    if start.network is not None:
        why = "the network of these weights" if start.kind == "imagenet" else "the network that reads these weights"
        return choices | {"name": Choice(start.network, why)}
    if model.name != NETWORK:
        return choices
    why = "without ImageNet weights, a small network learns more from few images"
    return choices | {"name": Choice(UNPUBLISHED, why)}


def resolution(model: Architecture, start: WarmStart, count: int, side: int) -> Choice:
    """Returns the side of a classifier's input, in pixels.

    Weights of ImageNet were trained on random crops, in which objects are larger than in whole images. A larger input
    makes up for that (Touvron et al., "Fixing the train-test resolution discrepancy", arXiv:1906.06423). Plain files
    are taken for those of the published network, except for the small ResNet, which is not published.

    Args:
        model: what the config asks for.
        start: the warm start.
        count: number of training images.
        side: the images' typical shorter side, in pixels.
    """
    if model.resolution != architecture(model.name).resolution:
        return Choice(model.resolution, "as you set")
    name = start.network or model.name
    pretrained = start.kind == "imagenet" or (start.kind == "file" and name != UNPUBLISHED)
    if pretrained:
        known = architecture(name).resolution
        trained = known or USUAL_RESOLUTION
        if not known:  # a backbone that is given in Python and takes images of any size
            of = f"{trained}, with which most networks are trained"
        elif start.kind == "file" and not isinstance(model, Given):
            of = f"that of the published {name}, {trained}; set another one if these weights had another"
        else:
            of = f"that of these weights, {trained}"
        wanted, why = round(trained * 8 / 7 / 32) * 32, f"a seventh above {of}"
    else:
        wanted, why = 64 if count < FEW else 96 if count < MANY else 128, f"{count:,} training examples"
    # Larger input adds no information, but features of ImageNet expect objects of a certain size.
    limit = max(32, (2 if pretrained else 1) * side // 16 * 16)
    return Choice(wanted, why) if wanted <= limit else Choice(limit, f"the images have only {side} pixels")


def cache(count: int, pixels: int, channels: int) -> Choice:
    """Returns whether decoded images are kept in memory.

    Args:
        count: number of images.
        pixels: of each of them.
        channels: 1 or 3.
    """
    total = count * pixels * channels
    return Choice("memory" if total <= MEMORY_BYTES else "none", f"decoded, the images take {_size(total)}")


def _size(total: int) -> str:
    """Returns a number of bytes in words."""
    return f"{total / 1e9:.1f} GB" if total >= 1e8 else f"{total / 1e6:.0f} MB"


def class_balanced(imbalance: float, *, together: int | None = None) -> Choice:
    """Returns whether all classes are sampled equally often.

    Args:
        imbalance: images of the largest class per image of the smallest.
        together: images of a class that the task draws together; None: it draws them one by one.
    """
    if together is not None:
        return Choice(False, f"the task draws {together} images of a class together, and all classes equally often")
    return Choice(imbalance >= IMBALANCE, f"the largest class has {imbalance:.1f} times the images of the smallest")


def image_bytes(model: Architecture, *, num_classes: int, channels: int, frozen: bool) -> int:
    """Returns the memory of an image in training, estimated; 0 if the cost of an own backbone is unknown.

    Args:
        model: the network.
        num_classes: number of classes.
        channels: channels of the images.
        frozen: whether only layers after the backbone are trained, so that its maps are not kept.

    Raises:
        UserError: the network cannot be built.
    """
    from tfeff import models

    try:
        cost = models.estimate(model, num_classes=num_classes, channels=channels)
    except UserError:
        if isinstance(model, Given):
            return 0
        raise
    return cost.peak_bytes if frozen else cost.training_peak_bytes


def batch_size(
    count: int,
    sizes: Sequence[int] = BATCH_SIZES,
    updates: int = UPDATES_PER_EPOCH,
    *,
    divisor: int = 1,
    image_bytes: int = 0,
    parts: int = 1,
) -> Choice:
    """Returns one of the sizes, that gives about so many updates per epoch and fits into `BATCH_BYTES`.

    Args:
        count: number of training images.
        sizes: possible sizes, ascending.
        updates: least updates per epoch, except with the smallest size.
        divisor: the size is rounded down to a multiple of it, but not to 0.
        image_bytes: memory of an image in training; 0: all sizes fit.
        parts: number of equal parts of a batch, one of which is in memory at once.
    """
    possible = [size for size in sizes if size * updates <= count]
    wanted = multiple = max(1, min(possible[-1] if possible else sizes[0], count) // divisor)
    while multiple > 1 and multiple * divisor // parts * image_bytes > BATCH_BYTES:
        multiple = (multiple + 1) // 2
    size = multiple * divisor
    if multiple < wanted:
        return Choice(size, f"an image takes about {_size(image_bytes)} of memory in training")
    return Choice(size, f"{count:,} training examples: {count // size:,} updates per epoch")


def epochs(
    count: int,
    batch_size: int,
    start: WarmStart,
    updates: Mapping[str, int] = UPDATES,
    limits: Mapping[str, tuple[int, int]] = EPOCHS,
    *,
    usual: int = 0,
) -> Choice:
    """Returns the epochs for so many updates, within limits.

    Args:
        count: number of training images.
        batch_size: images in a batch.
        start: the warm start.
        updates: updates that a training should have, by kind of start.
        limits: least and most epochs, by kind of start.
        usual: smaller batches see as many images as batches of this size.
    """
    least, most = limits[start.kind]
    per_epoch = max(1, count // max(batch_size, usual))
    number = min(most, max(least, math.ceil(updates[start.kind] / per_epoch)))
    return Choice(number, f"{number * max(1, count // batch_size):,} updates")


def bn_momentum(model: Architecture, updates: int) -> Choices:
    """Returns the momentum of batch normalization, by key of the section `model`; none if that of the network suffices.

    Moving statistics start as 0 and 1, or as those of the weights, of which momentum^n remains after n updates.

    Args:
        model: the network.
        updates: number of updates of the training.
    """
    normalized = getattr(model, "batch_norm", True) and not isinstance(model, (Given, ConvNeXt))
    momentum = max(LEAST_MOMENTUM, math.floor(1000 * REMAINING ** (1 / updates)) / 1000)
    if not normalized or model.bn_momentum <= momentum:
        return {}
    remaining = model.bn_momentum**updates
    why = f"{model.bn_momentum:g} keeps {remaining:.0%} of the initial statistics in {updates:,} updates"
    return {"bn_momentum": Choice(momentum, why)}


def precision(count: int) -> Choice:
    """Returns whether it pays to time mixed precision before training on `count` images."""
    if count < FEW:
        return Choice("float32", "training is too short to time mixed precision")
    return Choice("auto", "mixed precision, if it is faster here")


def frozen(count: int, start: WarmStart, *, embeds: bool = False) -> Choice:
    """Returns patterns of the variables that are not trained.

    Args:
        count: number of training images.
        start: the warm start.
        embeds: whether the network is an embedder, not a classifier.
    """
    if start.kind != "imagenet":
        return Choice((), "all layers have to learn" if start.kind == "scratch" else "the weights are not ImageNet's")
    if count >= ALL_LAYERS:
        return Choice((), f"{count:,} training examples are enough to train all layers")
    network = start.network or ""
    head = next((layers for name, layers in HEADS.items() if network.startswith(name)), ())
    if embeds:
        head = tuple(each for each in head if each not in AFTER_POOLING)
    layer = "layer of the vector" if embeds else "classifier"
    return Choice(("stem*", "stage*", *head), f"{count:,} training examples suffice for the {layer}")


def feature_variants(task: TaskSettings, optimizer: Optimizer, training: Training, data: Data, epochs: int) -> Choice:
    """Returns of how many variants of each image frozen stages compute the features once; None: in each step.

    Args:
        task, optimizer, training, data: sections of the config.
        epochs: number of epochs.
    """
    others = {
        "this task": type(task) is not ClassificationSettings,
        "task.teacher": bool(task.teachers),
        "task.plain_epochs": bool(task.plain_epochs),
        "MixUp or CutMix": isinstance(task, ClassificationSettings) and task.augmentation.mixes,
        "optimizer.unfreeze": bool(optimizer.unfreeze),
        "data.augment_on_device": data.augment_on_device,
        "data.augment": data.augment is not None,
        "training.resolution_factors": bool(training.resolution_factors),
        "training.rematerialize": training.rematerialize,
        "training.quantization": training.quantization is not None,
        "several workers": workers.worker_count() > 1,
    }
    found = [words for words, excluded in others.items() if excluded]
    if found:
        return Choice(None, f"features are not stored with {found[0]}")
    assert isinstance(task, ClassificationSettings)
    variants = min(VARIANTS, epochs) if task.augmentation.any else 1
    words = "one variant" if variants == 1 else f"{variants} variants"
    return Choice(variants, f"the frozen layers compute {words} of each image, once")


def freeze_normalization(count: int, start: WarmStart, *, frozen: bool) -> Choice:
    """Returns whether batch normalization keeps the statistics of the weights.

    Args:
        count: number of training images.
        start: the warm start.
        frozen: whether no layer with batch normalization is trained.
    """
    if start.kind != "imagenet":
        return Choice(False, "no weights" if start.kind == "scratch" else "the weights are not ImageNet's")
    if frozen:
        return Choice(False, "frozen layers keep their statistics in any case")
    if count >= MANY:
        return Choice(False, f"{count:,} training examples have statistics of their own")
    return Choice(True, "the statistics of the weights are better than those of a few batches")


TAUGHT_EPOCHS = 4
"""Epochs with a teacher relative to those without."""


def taught(epochs: int) -> Choices:
    """Returns what a teacher changes, by dotted key.

    A network learns for longer from it than from labels (arXiv:2106.05237).

    Args:
        epochs: without a teacher.
    """
    why = "all layers imitate the teacher"
    return {
        "optimizer.frozen": Choice((), why),
        "optimizer.learning_rate_factors": Choice((), why),
        "optimizer.learning_rate": Choice(0.001, why),
        "training.feature_variants": Choice(None, why),
        "training.epochs": Choice(TAUGHT_EPOCHS * epochs, "imitation takes longer"),
    }


def optimizer(start: WarmStart) -> Choices:
    """Returns the optimizer, its learning rate and weight decay, by key of the section `optimizer`."""
    values: dict[str, str | float] = {"name": "adamw", "learning_rate": 0.003, "weight_decay": 0.01}
    if start.kind == "scratch":
        values = {"name": "muon", "learning_rate": 0.01, "weight_decay": 0.05}
    aims = {"scratch": "training from scratch", "file": "fine-tuning", "imagenet": "training a new classifier"}
    why = f"good for {aims[start.kind]} in few updates"
    return {key: Choice(value, why) for key, value in values.items()}


def learning_rate_factors(start: WarmStart, *, embeds: bool = False) -> Choice:
    """Returns factors on the learning rate, by patterns of variables; `embeds`: of an embedder, not of a classifier."""
    if start.kind == "scratch":
        return Choice((), "all layers start from random weights")
    if embeds:
        return Choice((FACTORS[0], "head_[ep]*=1"), "the layers before that of the vector are pretrained")
    return Choice(FACTORS, "the layers before the classifier are pretrained")


def region_resolution(model: Architecture, chosen: str) -> Choice:
    """Returns the side of the input of R-CNN's backbone, in pixels: it is applied to hundreds of regions per image.

    Args:
        model: what the config asks for.
        chosen: name of the network that was chosen.
    """
    if model.resolution != architecture(model.name).resolution:
        return Choice(model.resolution, "as you set")
    if chosen == UNPUBLISHED:
        return Choice(48, "a small network with 6 x 6 features")
    return Choice(96, "the smallest input with 3 x 3 features")


def vote_overlap(objects: float) -> Choice:
    """Returns the overlap of box voting, for a number of objects per image that shows any."""
    if objects < 3:
        return Choice(
            0.5, f"{objects:.1f} objects per image that shows any: they hardly overlap, so boxes are averaged"
        )
    return Choice(None, f"{objects:.1f} objects per image that shows any: they may overlap")


def max_proposals(objects: float) -> Choice:
    """Returns the number of proposals per image, for a number of objects per image that shows any.

    Features are computed for 128 regions at a time; the objects' own boxes are among them.
    """
    number = 250 if objects < 3 else 1000 if objects < 8 else 2000
    return Choice(number, f"{objects:.1f} objects per image that shows any")
