"""A SavedModel of a classifier: from raw pixels or encoded images to class probabilities.

Loading it requires only TensorFlow, in any language:

    model = tf.saved_model.load("saved_model")
    model.signatures["serving_default"](images=images)   # uint8 [batch, height, width, channels], any size
    model.signatures["serving_bytes"](encoded=files)     # string [batch], image files, each of its own size

Both return `probabilities` (float32 [batch, classes]) and `label` (string [batch], the most probable class).
`model.class_names()` returns all names (string [classes]) in the order of the probabilities. The text file
`assets/classes.txt` lists them too, one per line.

Files may be JPEG, PNG or any other format that tfeff decodes. A corrupt file fails the whole call with
`tf.errors.InvalidArgumentError`, which names the decoder. Batches may be empty.
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
from tfeff.tasks import Classification

CLASSES_FILE = "classes.txt"


class Classifier(tf.Module):
    """The contents of the SavedModel: the network's variables, the class names and the signature functions.

    Args:
        model: maps float32 [batch, resolution, resolution, channels] in [0, 255] to logits [batch, classes].
        class_names: name of each class.
        classes_file: text file with the names, one per line; copied into the SavedModel.
        image_size: (height, width) to which the training pipeline resizes images when loading; None for the network's
            resolution.
        resolution: height and width of the model's input.
        channels: channels of an image, 1 or 3.
        freeze: store the weights as graph constants instead of variables.
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
        # Wrapped in a partial, because a SavedModel also tracks models that are attributes.
        self._outputs = functools.partial(model, training=False)
        self._names = tf.constant(list(class_names), tf.string)
        self._resolution = (resolution, resolution)
        self._image_size = image_size or self._resolution
        self._channels = channels
        # A SavedModel restores variables that are attributes. Keras variables wrap those of TensorFlow.
        self.model_variables = [] if freeze else [variable.value for variable in model.variables]
        self.classes_file = tf.saved_model.Asset(os.fspath(classes_file))

        # A separate function, so that both signatures share one copy of the network's graph.
        predict = tf.function(self._classify, input_signature=[self._batch()])
        self._predict = _frozen(predict) if freeze else predict
        images = tf.TensorSpec([None, None, None, channels], tf.uint8, "images")
        encoded = tf.TensorSpec([None], tf.string, "encoded")
        self.from_images = tf.function(self._from_images, input_signature=[images])
        self.from_bytes = tf.function(self._from_bytes, input_signature=[encoded])
        self.class_names = tf.function(lambda: tf.identity(self._names), input_signature=[])

    @staticmethod
    def classes(model: keras.Model) -> tuple[object, keras.layers.Layer]:
        """Shape of the logits, and the layer that outputs them."""
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
        # TensorFlow's fused CPU kernels reject an empty batch; a black image replaces it.
        images = tf.pad(images, [[0, tf.cast(batch == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        outputs = self._outputs(resizing.resize(images, self._resolution))
        return self._outputs_of(tf.nest.map_structure(lambda output: output[:batch], outputs))

    def _outputs_of(self, outputs: Any) -> dict[str, tf.Tensor]:
        """The outputs of the signatures, from those of the network."""
        probabilities = Classification.decode(outputs)["probabilities"]
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

    The export preprocesses images with the functions of the training pipeline: decode, resize to `image_size` as whole
    numbers in [0, 255], then resize to `resolution` in float32. The directory is written atomically.

    Args:
        model: maps float32 [batch, resolution, resolution, channels] in [0, 255] to logits [batch, classes]; any dtype
            policy.
        class_names: name of each class, in the order of the logits.
        directory: directory of the SavedModel.
        image_size: (height, width) to which the training pipeline resizes images when loading; None for the network's
            resolution.
        resolution: height and width of the model's input, in pixels.
        channels: channels of an image, 1 or 3.
        kind: class of the exported module, which defines the outputs of the signatures.
        freeze: store the weights as graph constants instead of variables. TensorFlow then folds batch normalization
            into convolutions (EfficientNet-B0 on a CPU: 1.3 times as fast). The result cannot be trained further.
        overwrite: replace an existing SavedModel.

    Returns:
        The directory.

    Raises:
        UserError: the class names do not match the model, the model outputs probabilities, the Keras backend is not
            TensorFlow, the directory exists, or it cannot be written (full disk, no permission).
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
    """Converts the variables of a `tf.function` with one input signature to constants."""
    concrete = function.get_concrete_function()
    constant = convert_variables_to_constants_v2(concrete)
    return lambda images: tf.nest.pack_sequence_as(concrete.structured_outputs, constant(images))


def _check(model: keras.Model, class_names: Sequence[str], kind: type[Classifier]) -> None:
    if keras.backend.backend() != "tensorflow":
        raise UserError(f"export requires KERAS_BACKEND=tensorflow; the backend is {keras.backend.backend()}")
    shape, last = kind.classes(model)
    if shape != (None, len(class_names)):
        raise UserError(f"{len(class_names)} class names for a model with outputs of shape {shape}")
    for name in class_names:
        if name.splitlines() != [name]:
            raise UserError(
                f"class name {name!r} must be a single line (one per line in {CLASSES_FILE}); rename the class"
            )
    if isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is keras.activations.softmax:
        raise UserError(f'layer "{last.name}" outputs probabilities; the model must output logits')
