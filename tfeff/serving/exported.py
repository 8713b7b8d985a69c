"""Exported models of any format, loaded by their path; predictions of those that other runtimes run, for any images."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfeff import checked
from tfeff.data.dataset import Id
from tfeff.data.images import decoding
from tfeff.errors import UserError, brief
from tfeff.execution import resources
from tfeff.serving import interface
from tfeff.serving.exportable import FORMATS, WITHOUT_DECODING
from tfeff.serving.fitting import Fitting
from tfeff.serving.image_model import STACKED_BYTES
from tfeff.serving.interface import ADVICE, FILES, METADATA, PRECISION
from tfeff.serving.portable import Loaded
from tfeff.tasks.localization import in_pixels
from tfeff.tasks.object_detection import place
from tfeff.tasks.task import ImageReading

SAVED_MODEL = "saved_model"
ENDINGS = {Path(module.FILE).suffix: name for name, module in FORMATS.items()}


def located(path: Path) -> tuple[str, Path]:
    """Returns the format of an exported model, and its file, or the folder of a SavedModel.

    Raises:
        UserError: there is no exported model, or one without decoding.
    """
    if (path / "saved_model.pb").is_file():
        return SAVED_MODEL, path
    for name, module in FORMATS.items():
        if (path / module.FILE).is_file():
            return name, path / module.FILE
    if path.is_file() and path.suffix in ENDINGS:
        return ENDINGS[path.suffix], path
    for module in WITHOUT_DECODING.values():
        if (path / module.FILE).is_file() or (path.is_file() and path.suffix == Path(module.FILE).suffix):
            raise UserError(
                f"{path}: the network alone, without the decoding of its predictions; export another format, such as "
                "saved_model"
            )
    raise UserError(
        f"{path}: no exported model; give a folder that tfeff.export wrote, or a file that ends in {', '.join(ENDINGS)}"
    )


def metadata_of(path: Path) -> Path:
    """Returns the file with the metadata of a model, from the model's file or the folder of a SavedModel."""
    if path.is_dir():
        return path / METADATA
    own = metadata_beside(path)
    return path.with_name(METADATA) if path.stem == "model" and not own.is_file() else own


def metadata_beside(path: Path) -> Path:
    """Returns where the metadata of a model belong that is exported as a file: those of other formats differ."""
    return path.with_name(f"{path.name}.json")


def files_of(path: Path) -> list[Path]:
    """Returns the files of a model, and its metadata; of a SavedModel also folders that hold nothing else.

    Raises:
        UserError: as in `located`.
    """
    format, found = located(path)
    if format == SAVED_MODEL:
        parts = [found / name for name in ("saved_model.pb", "variables", "assets")]
    else:
        parts = [found, found.with_suffix(".bin")]
    return [each for each in (*parts, metadata_of(found)) if each.exists()]


def read_metadata(path: Path) -> Mapping[str, Any]:
    """Returns the metadata of a model, from the model's file or the folder of a SavedModel.

    Raises:
        UserError: they are missing or damaged.
    """
    return interface.read(metadata_of(path))


def check(file: Path) -> None:
    """Compares the files of a model with the checksums in its metadata, if it has some.

    Raises:
        UserError: they differ, since damaged weights would predict something else.
    """
    about = metadata_of(file)
    expected = checked.read_json(about, ADVICE).get(FILES, {}) if about.is_file() else {}
    for name, crc in expected.items():
        path = file.with_suffix(Path(name).suffix)
        if not path.is_file() or f"{checked.file_crc32(path):08x}" != crc:
            raise UserError(
                f'{path}: damaged, edited or missing; {ADVICE}, or delete "{FILES}" and "{checked.KEY}" in {about}'
            )


def precision_of(path: Path) -> str:
    """Returns the precision in which a model was exported to compute, from its file or the folder of a SavedModel.

    Raises:
        UserError: its metadata are damaged.
    """
    about = metadata_of(path)
    return str(checked.read_json(about, ADVICE).get(PRECISION, "float32")) if about.is_file() else "float32"


def load(format: str, file: Path, threads: int) -> Loaded:
    """Returns a model in its runtime, which is not TensorFlow; OpenVINO computes in the precision of the export.

    Raises:
        UserError: the runtime is not installed, the model is damaged, or the runtime cannot read it.
    """
    check(file)
    options = {"precision": precision_of(file)} if format == "openvino" else {}
    try:
        loaded: Loaded = FORMATS[format].load(file, threads, **options)
    except UserError:
        raise
    except Exception as error:  # the runtimes' types of errors are not public
        raise UserError(f"{file}: cannot read the model ({brief(error)}); {ADVICE}") from error
    return loaded


class ExportedModel:
    """A model for LiteRT, ONNX Runtime or OpenVINO, on the CPU.

    If the model takes images that fit its input, they are fitted as in training.

    Args:
        path: folder or file of `tfeff.export`.

    Attributes:
        class_names: C.
        class_ids: the dataset's own ids of the classes; empty if it has none.
        score: the detection threshold of a detector.
        class_agnostic: see `ImageDetector`.
        outputs: their names.
        metadata: the file with its metadata.

    Raises:
        UserError: there is no such model, it or its metadata are damaged, its runtime is not installed, or it takes
            region proposals.
    """

    def __init__(self, path: Path) -> None:
        format, file = located(path)
        about = read_metadata(file)
        if "proposals" in about:
            raise UserError(f"{path}: takes region proposals; predict with the run's SavedModel")
        loaded = load(format, file, resources.cores())
        self.outputs, self.metadata, self._run = frozenset(loaded.outputs), metadata_of(file), loaded.run
        self._together = loaded.inputs["images"][0] is None  # else one image a call
        self.class_names: tuple[str, ...] = tuple(about["class_names"])
        self.class_ids: tuple[Id, ...] = tuple(about.get("class_ids", ()))
        self.score = float(about.get("score", 0.0))
        self.class_agnostic = bool(about.get("class_agnostic", False))
        height, width, self._channels = about["input"]
        self._fitting = None
        if height is not None:
            reading = ImageReading(about["fit"], about["interpolation"], about.get("center_crop"))
            stored = about["image_size"]
            self._fitting = Fitting(reading, stored and tuple(stored), (height, width), self._channels)
            spec = tf.TensorSpec((None, None, self._channels), tf.uint8)
            self._fit = tf.function(self._fitted, input_signature=[spec], autograph=False, jit_compile=False)

    def predict(self, images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the outputs for images, uint8 [height, width, 3], of any sizes; boxes are in pixels of the images."""
        pixels = [decoding.in_channels(image, self._channels) for image in images]
        given = pixels if self._fitting is None else [self._fit(image).numpy() for image in pixels]
        found = list[Mapping[str, np.ndarray]]()
        for _, group in itertools.groupby(given, lambda image: image.shape):
            same = list(group)
            size = max(1, STACKED_BYTES // max(1, same[0].nbytes)) if self._together else 1
            parts = (same[start : start + size] for start in range(0, len(same), size))
            found += [self._run({"images": np.stack(part)}) for part in parts]
        outputs = {name: np.concatenate([np.asarray(each[name]) for each in found]) for name in found[0]}
        if self._fitting is None:
            return outputs
        return outputs | self._placed(outputs, np.array([image.shape[:2] for image in images], np.int32))

    def detect(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Detects boxes_yxyx float32 [m, 4], labels int32 [m], scores float32 [m] in uint8 [height, width, 3]."""
        found = {name: values[0] for name, values in self.predict([pixels]).items()}
        count = int(found["count"])
        return found["boxes"][:count], found["labels"][:count], found["scores"][:count]

    def _fitted(self, image: tf.Tensor) -> tf.Tensor:
        assert self._fitting is not None
        return self._fitting.resize(self._fitting.fit(image)[tf.newaxis])[0]

    def _placed(self, outputs: Mapping[str, np.ndarray], sizes: np.ndarray) -> dict[str, np.ndarray]:
        """Returns what of the outputs changes with boxes in pixels of the images.

        Those of a detector are in pixels of the input, that of a localizer is relative to the image.
        """
        assert self._fitting is not None
        if "boxes" in outputs:
            placed = place(outputs, sizes, self._fitting.covered(tf.constant(sizes)))
            return {name: values.numpy() for name, values in placed.items()}
        return {"box": in_pixels(outputs["box"], sizes).numpy()} if "box" in outputs else {}
