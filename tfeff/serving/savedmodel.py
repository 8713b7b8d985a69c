"""A classifier as one SavedModel that takes raw images, or JPEG and PNG files, and gives class probabilities.

It needs TensorFlow alone, in any of its languages:

    model = tf.saved_model.load("saved_model")
    model.signatures["serving_default"](images=images)   # uint8 [batch, height, width, channels], any size
    model.signatures["serving_bytes"](encoded=files)     # string [batch], image files, each of its own size

Both give `probabilities` (float32 [batch, classes]) and `label` (string [batch], the most probable class).
`model.class_names()` gives all names (string [classes]), in the order of the probabilities; so does the text file
`assets/classes.txt`, one a line.

Files may be JPEG, PNG or whatever else the package decodes. A damaged file fails the whole call with
`tf.errors.InvalidArgumentError`, which names the decoder. A batch may be empty.
"""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tfeff.data.images import graph_decoding, resizing
from tfeff.errors import UserError
from tfeff.serving.staging import staged

CLASSES_FILE = "classes.txt"


class Classifier(tf.Module):
    """What the SavedModel holds: the network's variables, the class names and the functions behind the signatures.

    Args:
        model: takes float32 [batch, resolution, resolution, channels] in [0, 255], gives logits [batch, classes].
        class_names: name of each class.
        classes_file: text file with the names, one a line; copied into the SavedModel.
        image_size: (height, width) to which the training pipeline's loader brings every image; None where that is
            the network's resolution.
        resolution: height and width of the model's input.
        channels: channels of an image, 1 or 3.
        freeze: hold the network's weights as constants of its graph instead of variables.
    """

    def __init__(
        self,
        model: keras.Model,
        class_names: Sequence[str],
        classes_file: Path,
        *,
        image_size: tuple[int, int] | None,
        resolution: int,
        channels: int,
        freeze: bool,
    ) -> None:
        super().__init__(name="classifier")
        # Wrapped, for a SavedModel would take a model that is an attribute for a part of its own.
        self._outputs = functools.partial(model, training=False)
        self._names = tf.constant(list(class_names), tf.string)
        self._resolution = (resolution, resolution)
        self._image_size = image_size or self._resolution
        self._channels = channels
        # A SavedModel restores what it finds as attributes; Keras variables wrap TensorFlow's.
        self.model_variables = [] if freeze else [variable.value for variable in model.variables]
        self.classes_file = tf.saved_model.Asset(os.fspath(classes_file))

        # A function of its own, so that both signatures hold one copy of the network's graph.
        predict = tf.function(self._classify, input_signature=[self._batch()])
        self._predict = _frozen(predict) if freeze else predict
        images = tf.TensorSpec([None, None, None, channels], tf.uint8, "images")
        encoded = tf.TensorSpec([None], tf.string, "encoded")
        self.from_images = tf.function(self._from_images, input_signature=[images])
        self.from_bytes = tf.function(self._from_bytes, input_signature=[encoded])
        self.class_names = tf.function(lambda: tf.identity(self._names), input_signature=[])

    @staticmethod
    def classes(model: keras.Model) -> tuple[object, keras.layers.Layer]:
        """Shape of the logits, and the layer that gives them."""
        return model.output_shape, model.layers[-1]

    def _from_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._predict(self._each(self._fit, images))

    def _from_bytes(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._predict(self._each(lambda file: self._fit(graph_decoding.decode(file, self._channels)), encoded))

    def _fit(self, image: tf.Tensor) -> tf.Tensor:
        return resizing.fit(image, self._image_size)

    def _each(self, load: Callable[[tf.Tensor], tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
        loaded = self._batch()
        return tf.map_fn(load, inputs, fn_output_signature=tf.TensorSpec(loaded.shape[1:], loaded.dtype))

    def _batch(self) -> tf.TensorSpec:
        return tf.TensorSpec([None, *self._image_size, self._channels], tf.uint8)

    def _classify(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = tf.shape(images)[0]
        # TensorFlow's fused CPU kernels refuse an empty batch; a black image stands in for it.
        images = tf.pad(images, [[0, tf.cast(batch == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        outputs = self._outputs(resizing.resize(images, self._resolution))
        return self._answers(tf.nest.map_structure(lambda output: output[:batch], outputs))

    def _answers(self, outputs: Any) -> dict[str, tf.Tensor]:
        """What the signatures give, of what the network gives."""
        probabilities = tf.nn.softmax(tf.cast(outputs, tf.float32))
        return {"probabilities": probabilities, "label": tf.gather(self._names, tf.argmax(probabilities, axis=-1))}


def export(
    model: keras.Model,
    class_names: Sequence[str],
    directory: str | os.PathLike[str],
    *,
    image_size: tuple[int, int] | None,
    resolution: int,
    channels: int,
    kind: type[Classifier] = Classifier,
    freeze: bool = False,
    overwrite: bool = False,
) -> Path:
    """Writes a network as a SavedModel with the signatures `serving_default` and `serving_bytes`.

    Images go through the very functions of the training pipeline: decoded, brought to `image_size` as whole numbers
    in [0, 255], then resized to `resolution` in float32. The directory appears whole or not at all.

    Args:
        model: takes float32 [batch, resolution, resolution, channels] in [0, 255], gives logits [batch, classes] under
            any precision policy.
        class_names: name of each class, in the order of the logits.
        directory: where the SavedModel goes.
        image_size: (height, width) to which the training pipeline's loader brings every image; None where that is
            the network's resolution.
        resolution: height and width of the model's input, in pixels.
        channels: channels of an image, 1 or 3.
        kind: what the SavedModel holds; says what the model gives instead of logits, if anything.
        freeze: hold the weights as constants of the graph, not as variables. TensorFlow then folds normalisation into
            convolutions (EfficientNet-B0 on a CPU: 1.3 times as fast); the result cannot be trained further.
        overwrite: replace a SavedModel that is already there.

    Returns:
        The directory.

    Raises:
        UserError: the class names do not fit the model, the model gives probabilities already, another Keras backend
            than TensorFlow runs, the directory is taken, or it cannot be written (a full disk, no permission).
    """
    _check(model, class_names, kind)
    directory = Path(directory)
    with staged(directory, overwrite=overwrite, marker="saved_model.pb") as staging:
        try:
            classes_file = staging / CLASSES_FILE
            classes_file.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
            served = kind(
                model,
                class_names,
                classes_file,
                image_size=image_size,
                resolution=resolution,
                channels=channels,
                freeze=freeze,
            )
            signatures = {"serving_default": served.from_images, "serving_bytes": served.from_bytes}
            options = tf.saved_model.SaveOptions(experimental_custom_gradients=not freeze)
            tf.saved_model.save(served, os.fspath(staging), signatures, options)
            classes_file.unlink()
        except (OSError, tf.errors.OpError) as error:
            raise UserError(f"{directory}: the SavedModel could not be written: {error}") from error
    return directory


def _frozen(function: Any) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """The one graph of a `tf.function` of one tensor, its variables turned into constants."""
    concrete = function.get_concrete_function()
    constant = convert_variables_to_constants_v2(concrete)
    return lambda images: tf.nest.pack_sequence_as(concrete.structured_outputs, constant(images))


def _check(model: keras.Model, class_names: Sequence[str], kind: type[Classifier]) -> None:
    if keras.backend.backend() != "tensorflow":
        raise UserError(f"a SavedModel needs KERAS_BACKEND=tensorflow; this process runs {keras.backend.backend()}")
    shape, last = kind.classes(model)
    if shape != (None, len(class_names)):
        raise UserError(f"{len(class_names)} class names for a model that gives {shape}")
    for name in class_names:
        if name.splitlines() != [name]:
            raise UserError(f"class name {name!r}: names are one line each in {CLASSES_FILE}; rename the class")
    if isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is keras.activations.softmax:
        raise UserError(f'layer "{last.name}" gives probabilities already; build the model with logits as its output')
