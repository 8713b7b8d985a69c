"""Networks derived from another one, with which they share their weights.

A network for images of another size, pyramid levels of a backbone, a localizer or an embedder on a backbone, a
classifier that averages several views of an image, and the two stages of a detector.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras
from keras import ops

from tfeff.errors import UserError, brief
from tfeff.models.layers.bias import Dense
from tfeff.models.layers.kinds import KerasLayers
from tfeff.models.layers.neck import NearestUpsampling
from tfeff.models.network import Network
from tfeff.networks.backbones.architecture import level_number, level_numbers, require_levels
from tfeff.networks.detectors import rcnn
from tfeff.networks.heads import PROXIES, classifier, embedding


def resized(network: Network, size: tuple[int, int]) -> Network:
    """Builds a network for images of another size.

    Args:
        network: the network.
        size: (height, width) of the images.

    Raises:
        UserError: the network takes images of one size only, since a dense layer reads all positions of a feature map;
            or a side, its own or the new one, is no multiple of `size_multiple`.
    """

    def of_size(layer: keras.Layer) -> keras.Layer:
        if not isinstance(layer, NearestUpsampling):
            return layer
        height, width = (new * side // old for new, side, old in zip(size, layer.size, network.size, strict=True))
        return NearestUpsampling(layer.factor, (height, width), name=layer.name, dtype=layer.dtype_policy)

    multiple = size_multiple(network)
    for height, width in (network.size, size):
        if height % multiple or width % multiple:
            raise UserError(
                f"{network.name}, images of {height}x{width}: for other sizes, sides must be multiples of {multiple}"
            )
    images, *further = network.inputs
    inputs = [keras.Input((*size, images.shape[-1]), dtype=images.dtype, name=images.name)]
    inputs += [keras.Input(each.shape[1:], dtype=each.dtype, name=each.name) for each in further]
    whole = keras.Model(network.inputs, [network.output, network.pyramid])
    try:
        output, maps = keras.models.clone_model(whole, input_tensors=inputs, clone_function=of_size).output
    except ValueError as error:
        height, width = network.size
        raise UserError(f"{network.name} takes images of {height}x{width} pixels only: {brief(error)}") from error
    other = Network(inputs if further else inputs[0], output, name=network.name)
    other.levels, other.maps, other.description = dict(network.levels), maps, network.description
    return other


def size_multiple(network: Network) -> int:
    """Returns what the sides of images are multiples of if `resized` supports them.

    1, or the coarsest stride of a network that adds feature maps of different resolutions: it crops them for other
    sizes.
    """
    layers = [layer for layer in network.layers if isinstance(layer, NearestUpsampling)]
    return max((layer.factor * 2 ** round(math.log2(network.size[0] / layer.size[0])) for layer in layers), default=1)


def pyramid(model: Network, levels: Sequence[str], *, channels: int | None = None) -> Network:
    """Builds a network that outputs the given pyramid levels. Level Pn has stride 2^n.

    Levels of the backbone share their weights with `model`; layers that no level needs are omitted. Each level beyond
    the backbone's last is a 3x3 convolution of the level before it, with stride 2 and padding "same"
    (`pyramid_p6_conv`). A ReLU separates two added levels (`pyramid_p7_relu`), as RetinaNet's P6 and P7 (Lin et al.,
    "Focal Loss for Dense Object Detection", 2017, section 4, footnote 2). Levels that are only needed to compute higher
    ones are not returned.

    Args:
        model: the backbone, with or without a classifier.
        levels: names such as ("P3", "P4", "P5", "P6"), in any order.
        channels: channels of the added levels. Defaults to those of the backbone's last level.

    Returns:
        A network from images to {level: (batch, ceil(resolution / 2^n), ceil(resolution / 2^n), channels)}. Its
        `levels` are the requested ones, from fine to coarse.

    Raises:
        UserError: no levels, a malformed or repeated name, a level that the backbone lacks and that is not beyond its
            last, `channels` below 1, or a backbone without levels.
    """
    numbers = level_numbers(levels)
    if channels is not None and channels < 1:
        raise UserError(f"channels {channels}: must be at least 1")
    maps = dict(model.pyramid)
    require_levels(model.name, maps)
    last = max(map(level_number, maps))
    for number in numbers:
        if number <= last and f"P{number}" not in maps:
            raise UserError(
                f'{model.name} has no pyramid level "P{number}"; it has {", ".join(maps)}. '
                f"Only levels beyond P{last} can be added"
            )
    layers = dict(model.levels)
    x = maps[f"P{last}"]
    width = channels or x.shape[-1]
    for number in range(last + 1, numbers[-1] + 1):
        if layers[f"P{number - 1}"].startswith("pyramid_"):
            x = keras.layers.ReLU(name=f"pyramid_p{number}_relu")(x)
        layers[f"P{number}"] = f"pyramid_p{number}_conv"
        x = maps[f"P{number}"] = keras.layers.Conv2D(width, 3, strides=2, padding="same", name=layers[f"P{number}"])(x)
    names = [f"P{number}" for number in numbers]
    network = Network(model.inputs[0], {name: maps[name] for name in names}, name=f"{model.name}_pyramid")
    network.levels = {name: layers[name] for name in names}
    return network


LOGITS, BOX = "logits", "box"
"""Names of the outputs of a localizer."""


def localizer(
    backbone: Network, *, num_classes: int, dropout: float = 0.0, grid: int = 4, hidden: Sequence[int] = (128,)
) -> Network:
    """Adds a classifier and a box regressor to a backbone: the class and the box of one object.

    Sermanet et al., "OverFeat" (arXiv:1312.6229, section 4.1), with one box regressor for all classes. Global pooling
    discards location, so the box regressor reads a spatial grid.

    Args:
        backbone: a network of `build` with `include_top=False`.
        num_classes: outputs of the classifier.
        dropout: dropout rate at the input of both heads.
        grid: the box regressor reads the last feature map, pooled to at most grid x grid cells.
        hidden: units of the dense layers between the grid and the box.

    Returns:
        A network from images to {"logits": (batch, num_classes), "box": (batch, 4)}, float32 under any precision
        policy. Boxes are yxyx relative to the image size, in [0, 1]; those of an untrained network may have bottom <
        top. The classifier has the layers of `build`, so a classifier's weights can be loaded; ConvNeXt's normalization
        of the pooled features and MobileNetV3's hidden layer are left out.
    """
    features = backbone.outputs[0]
    logits = classifier(KerasLayers(), features, num_classes, dropout)
    x = features
    cells = min(grid, x.shape[1]), min(grid, x.shape[2])
    if cells != tuple(x.shape[1:3]):
        x = keras.layers.AdaptiveAveragePooling2D(cells, name="box_pool")(x)
    x = keras.layers.Flatten(name="box_flatten")(x)
    if dropout > 0:
        x = keras.layers.Dropout(dropout, name="box_dropout")(x)
    for number, units in enumerate(hidden, 1):
        x = Dense(units, activation="relu", name=f"box_hidden{number}")(x)
    box = keras.layers.Dense(4, activation="sigmoid", dtype=keras.config.floatx(), name="box_regressor")(x)
    network = Network(backbone.inputs[0], {LOGITS: logits, BOX: box}, name=f"{backbone.name}_localizer")
    network.levels = dict(backbone.levels)
    return network


VECTOR, SIMILARITIES = "vector", "similarities"
"""Names of the outputs of an embedder."""


def embedder(backbone: Network, *, dimension: int, dropout: float = 0.0, proxies: int = 0) -> Network:
    """Adds a vector to a backbone, and its cosine similarities to learned vectors, the proxies of classes.

    Args:
        backbone: a network of `build` with `include_top=False`.
        dimension: numbers in the vector.
        dropout: dropout rate at the input of the vector's layer.
        proxies: number of proxies.

    Returns:
        A network from images to {"vector": (batch, dimension)}, which is not normalized, and with proxies
        "similarities": (batch, proxies), in [-1, 1]; float32 under any precision policy. Parts of a classifier's head
        besides pooling are left out, as in `localizer`.
    """
    layers = KerasLayers()
    vector = embedding(layers, backbone.outputs[0], dimension, dropout)
    outputs = {VECTOR: vector}
    if proxies:
        outputs[SIMILARITIES] = layers.cosine_similarity(vector, units=proxies, precise=True, name=PROXIES)
    network = Network(backbone.inputs[0], outputs, name=f"{backbone.name}_embedder")
    network.levels = dict(backbone.levels)
    return network


UNSHIFTED_WEIGHT = 0.5
"""Total weight of the unshifted views if there are shifted ones."""


def averaged(model: keras.Model, *, mirrored: bool = True, shift: int = 0) -> keras.Model:
    """Builds a classifier that averages the probabilities of several views of an image.

    It shares its weights with `model`. Views and their weights follow K. Jordan ("94% on CIFAR-10 in 3.29 Seconds on a
    Single GPU", 2024, section 3.5), who averages logits.

    Args:
        model: images [batch, resolution, resolution, channels] -> logits [batch, classes].
        mirrored: adds the horizontal flip of each view, which doubles the cost.
        shift: adds two views, shifted by this many pixels down and right, and up and left, with reflection padding;
            three times the cost. 0 adds none. Must be less than the resolution.

    Returns:
        A model with the same input and a `size`. Its logits are the logarithms of the mean probabilities.

    Raises:
        UserError: `shift` is not in [0, resolution).
    """
    side = model.resolution
    if not 0 <= shift < side:
        raise UserError(f"shift {shift}: must be between 0 and {side - 1} for images of {side}x{side} pixels")
    images = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype)
    views, weights = [images], [1.0]
    if shift:
        padded = ops.pad(images, [[0, 0], [shift, shift], [shift, shift], [0, 0]], mode="reflect")
        views += [padded[:, :side, :side], padded[:, -side:, -side:]]
        weights = [UNSHIFTED_WEIGHT, (1 - UNSHIFTED_WEIGHT) / 2, (1 - UNSHIFTED_WEIGHT) / 2]
    if mirrored:
        views += [ops.flip(view, axis=2) for view in views]
        weights = [weight / 2 for weight in weights] * 2
    terms = [ops.log_softmax(model(view)) + math.log(weight) for view, weight in zip(views, weights, strict=True)]
    averaging = keras.Model(images, ops.logsumexp(ops.stack(terms), axis=0), name=f"averaged_{model.name}")
    averaging.size = model.size
    return averaging


@dataclass(frozen=True, eq=False)
class Stages:
    """A two-stage detector as two networks that share their weights; between them, the task selects regions.

    Attributes:
        images: images -> "maps", a list of the maps that regions are read from, and what proposes regions.
        regions: [*maps, boxes_yxyx (batch, n, 4) in pixels, for any n] -> "logits" and "codes".
    """

    images: keras.Model
    regions: keras.Model

    @classmethod
    def of(cls, network: Network) -> "Stages":
        """Returns the two parts of a network that was built from a `networks.detectors.rcnn.TwoStage`."""
        maps = [network.pyramid[level] for level in network.description.levels]
        images, boxes = network.inputs
        head = {name: network.output[name] for name in (rcnn.LOGITS, rcnn.CODES)}
        proposed = {name: output for name, output in network.output.items() if name not in head}
        stages = cls(keras.Model(images, {"maps": maps, **proposed}), keras.Model([*maps, boxes], head))
        stages.images.autocast = stages.regions.autocast = False  # boxes and pixels need float32
        return stages
