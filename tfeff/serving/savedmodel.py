"""A SavedModel: from raw pixels or encoded images to the predictions of a task.

Loading it requires only TensorFlow, in any language:

    model = tf.saved_model.load("saved_model")
    model.signatures["serving_default"](images=images)   # uint8 [batch, height, width, channels], any size
    model.signatures["serving_bytes"](encoded=files)     # string [batch], image files, each of its own size

Both return `probabilities` (float32 [batch, classes]) and `label` (string [batch], the most probable class); those of a
localizer also `box` (float32 [batch, 4]), yxyx in pixels of the original image. An embedder returns `embedding`
(float32 [batch, dimension]), vectors of length 1. A detector returns, for d detections, `boxes` (float32 [batch, d, 4],
yxyx in pixels), `scores`, `labels` and `names` ([batch, d]), and `count` (int32 [batch]), how many of them are not
padding. In general, a task defines its outputs: `ImageTask.decode`, `placed` and `served`. Both signatures of a Fast
R-CNN also take region proposals, see `serving.interface`.

`model.class_names()` returns all names (string [classes]) in the order of the probabilities. The text file
`assets/classes.txt` lists them too, one per line, as does `metadata.json`.

By default, the network is optimized for prediction (`serving.folding`). Otherwise, its variables are
`model.model_variables`.

Files may be JPEG, PNG, BMP, GIF (its first frame) or WebP. A corrupt file, or one of another format, fails the whole
call with `tf.errors.InvalidArgumentError`, which names the decoder. So do outputs of a detector's network that are NaN
or infinite. Batches may be empty.
"""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tfeff import checked
from tfeff.boxes.tiling import Grid
from tfeff.data.dataset import Id
from tfeff.data.images import graph_decoding
from tfeff.durable import staged
from tfeff.errors import UserError, brief
from tfeff.execution.startup import check_backend
from tfeff.models.derived import LOGITS
from tfeff.serving import interface
from tfeff.serving.detector import CHECKSUMS, file_checksums
from tfeff.serving.fitting import Fitting
from tfeff.serving.folding import Folded
from tfeff.tasks import ClassificationTask, ImageTask
from tfeff.tasks.task import DIVERGED, all_finite

CLASSES_FILE = "classes.txt"
_FINITE = "finite"
_OTHERS = ("assets", "fingerprint.pb", "variables", CHECKSUMS, interface.METADATA)
"""What an export holds besides `saved_model.pb`."""


class Served(tf.Module):
    """The contents of the SavedModel: the network's variables, if any, the class names and the signature functions.

    Args:
        model: maps float32 [batch, height, width, channels] in [0, 255] to the outputs of its task.
        task: decodes the outputs.
        classes: copied into the SavedModel: `classes.txt`, the names, one per line.
        class_names, image_size, size, channels, freeze: see `export`.
    """

    def __init__(
        self,
        model: keras.Model,
        task: ImageTask,
        class_names: Sequence[str],
        classes: Path,
        *,
        image_size: tuple[int, int] | None,
        size: tuple[int, int],
        channels: int,
        freeze: bool,
    ) -> None:
        super().__init__(name="served")
        # Wrapped in a partial, because a SavedModel also tracks models that are attributes.
        self._forward = functools.partial(task.forward, model)
        self._task = task
        self._names = tf.constant(list(class_names), tf.string)
        self._original = task.section.CUTS_REGIONS
        self._fitting = Fitting(task.reading, image_size, size, channels)
        # A SavedModel restores variables that are attributes. Keras variables wrap those of TensorFlow.
        self.model_variables = [] if freeze else [variable.value for variable in model.variables]
        self.classes_file = tf.saved_model.Asset(os.fspath(classes))

        # A separate function, so that both signatures share one copy of the network's graph.
        inputs = {"image": self._batch(), **interface.network_specs(task)}
        predict = tf.function(self._decoded, input_signature=[inputs], autograph=False)
        self._predict = Folded(predict) if freeze else predict
        images = tf.TensorSpec([None, None, None, channels], tf.uint8, "images")
        encoded = tf.TensorSpec([None], tf.string, "encoded")
        further = interface.inputs(task)
        self.from_images = tf.function(self._from_images, input_signature=[images, *further], autograph=False)
        self.from_bytes = tf.function(self._from_bytes, input_signature=[encoded, *further], autograph=False)
        self.class_names = tf.function(lambda: tf.identity(self._names), input_signature=[], autograph=False)

    def _from_images(self, images: tf.Tensor, *given: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = self._batch()
        if self._original:
            sizes = tf.broadcast_to(tf.shape(images)[1:3], (tf.shape(images)[0], 2))
            return self._served(images, sizes, *given)
        fitted = tf.map_fn(self._fitting.fit, images, fn_output_signature=tf.TensorSpec(batch.shape[1:], batch.dtype))
        sizes = tf.broadcast_to(tf.shape(images)[1:3], (tf.shape(images)[0], 2))
        return self._served(fitted, sizes, *given)

    def _from_bytes(self, encoded: tf.Tensor, *given: tf.Tensor) -> dict[str, tf.Tensor]:
        def load(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            image = graph_decoding.decode(file, self._fitting.channels)
            return self._fitting.fit(image), tf.shape(image)[:2]

        if self._original:

            def single(each: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
                image, *others = (
                    value[tf.newaxis] for value in (graph_decoding.decode(each[0], self._fitting.channels), *each[1:])
                )
                return {name: value[0] for name, value in self._from_images(image, *others).items()}

            served = self.from_images.get_concrete_function().structured_outputs
            one = {name: tf.TensorSpec(value.shape[1:], value.dtype) for name, value in served.items()}
            return tf.map_fn(single, (encoded, *given), fn_output_signature=one)
        batch = self._batch()
        signature = tf.TensorSpec(batch.shape[1:], batch.dtype), tf.TensorSpec((2,), tf.int32)
        fitted, sizes = tf.map_fn(load, encoded, fn_output_signature=signature)
        return self._served(fitted, sizes, *given)

    def _served(self, fitted: tf.Tensor, sizes: tf.Tensor, *given: tf.Tensor) -> dict[str, tf.Tensor]:
        covered = sizes if self._original else self._fitting.covered(sizes)
        scale = tf.cast(covered / sizes, tf.float32)
        further = interface.network_inputs(self._task, *given, scale=scale, covered=covered) if given else {}
        predictions = dict(self._predict({"image": fitted, **further}))
        if (finite := predictions.pop(_FINITE, None)) is not None:
            with tf.control_dependencies([tf.debugging.Assert(finite, [DIVERGED])]):
                predictions = {name: tf.identity(value) for name, value in predictions.items()}
        predictions = self._task.placed(predictions, sizes, covered)
        return self._task.served(predictions, self._names)

    def _batch(self) -> tf.TensorSpec:
        """Returns what `Fitting.fit` returns, in batches; of regions to be cut, the images themselves."""
        if self._original:
            return tf.TensorSpec([None, None, None, self._fitting.channels], tf.uint8)
        return self._fitting.fitted

    def _decoded(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        batch = tf.shape(inputs["image"])[0]
        # TensorFlow's fused CPU kernels reject an empty batch; a black image replaces it.
        added = [0, tf.cast(batch == 0, tf.int32)]
        inputs = {name: tf.pad(value, [added] + [[0, 0]] * (value.shape.rank - 1)) for name, value in inputs.items()}
        if not self._original:
            inputs["image"] = self._fitting.resize(inputs["image"])
        outputs = self._forward(inputs, training=False)
        outputs = tf.nest.map_structure(lambda output: output[:batch], outputs)
        predictions = self._task.decode(outputs)
        if self._task.kind.detects:  # whose selection drops what is not finite
            predictions[_FINITE] = all_finite(outputs)
        return predictions


def export(
    model: keras.Model,
    class_names: Sequence[str],
    directory: str | os.PathLike[str],
    *,
    image_size: tuple[int, int] | None,
    size: tuple[int, int],
    channels: int,
    task: ImageTask | None = None,
    score: float | None = None,
    class_ids: Sequence[Id] = (),
    unknown: Mapping[int, float] | None = None,
    grid: Grid | None = None,
    freeze: bool = True,
    overwrite: bool = False,
) -> Path:
    """Writes a network as a SavedModel with the signatures `serving_default` and `serving_bytes`.

    The export preprocesses images with the functions of the training pipeline: decode, resize to `image_size` as whole
    numbers in [0, 255], then resize to `size` in float32. The directory is written atomically.

    Args:
        model: maps float32 [batch, height, width, channels] in [0, 255] to the outputs of its task, such as
            logits [batch, classes]; any dtype policy.
        class_names: name of each class, in the order of the logits.
        directory: directory of the SavedModel.
        image_size: (height, width) to which the training pipeline resizes images when loading; None for the network's
            size; of whole images, for their own.
        size: (height, width) of the model's input, in pixels.
        channels: channels of an image, 1 or 3.
        task: defines the outputs of the signatures; None: classification.
        score: see `interface.metadata`.
        class_ids: the dataset's own ids of the classes; empty if it has none.
        unknown: see `interface.metadata`.
        grid: see `interface.metadata`.
        freeze: optimize the network for prediction (`folding.Folded`). False: keep its variables, so that the
            SavedModel can be trained further.
        overwrite: replace an existing SavedModel.

    Returns:
        The directory.

    Raises:
        UserError: the class names do not match the model, the model outputs probabilities, the Keras backend is not
            TensorFlow, the directory exists, or it cannot be written (full disk, no permission).
    """
    task = task or ClassificationTask()
    _check(class_names, model, task)
    directory = Path(directory)
    with staged(directory, overwrite=overwrite, marker="saved_model.pb", others=_OTHERS) as staging:
        try:
            classes = staging / CLASSES_FILE
            classes.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
            served = Served(
                model,
                task,
                class_names,
                classes,
                image_size=image_size,
                size=size,
                channels=channels,
                freeze=freeze,
            )
            signatures = {"serving_default": served.from_images, "serving_bytes": served.from_bytes}
            options = tf.saved_model.SaveOptions(experimental_custom_gradients=not freeze)
            tf.saved_model.save(served, os.fspath(staging), signatures, options)
            classes.unlink()
            loaded = image_size if task.reading.fit == "whole" else image_size or size
            about = interface.metadata(
                task,
                class_names,
                score,
                channels=channels,
                image_size=loaded,
                size=None,
                class_ids=class_ids,
                unknown=unknown,
                grid=grid,
            )
            (staging / interface.METADATA).write_text(about, encoding="utf-8")
            (staging / CHECKSUMS).write_text(checked.to_json(file_checksums(staging)), encoding="utf-8")
        except (OSError, tf.errors.OpError) as error:
            raise UserError(f"{directory}: the SavedModel could not be written: {brief(error)}") from error
    return directory


def _check(class_names: Sequence[str], model: keras.Model, task: ImageTask) -> None:
    check_backend()
    for name in class_names:
        if name.splitlines() != [name]:
            raise UserError(
                f"class name {name!r} must be a single line (one per line in {CLASSES_FILE}); rename the class"
            )
    logits = model.output.get(LOGITS) if isinstance(model.output, dict) else model.output
    if task.kind.detects or logits is None:
        return
    shape = tuple(logits.shape)
    if shape != (None, len(class_names)):
        raise UserError(f"{len(class_names)} class names for a model with outputs of shape {shape}")
    layer = logits._keras_history.operation
    if isinstance(layer, keras.layers.Softmax) or getattr(layer, "activation", None) is keras.activations.softmax:
        raise UserError(f'layer "{layer.name}" outputs probabilities; the model must output logits')
