"""A trained network as it is exported: as a SavedModel, or for LiteRT, ONNX, OpenVINO or Keras."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import keras
import numpy as np

from tfeff.boxes.tiling import Grid
from tfeff.data.dataset import Id
from tfeff.durable import staged
from tfeff.errors import UserError, brief
from tfeff.serving import interface, keras_file, litert, onnx, openvino, savedmodel
from tfeff.serving.fitting import Fitting
from tfeff.tasks.task import ImageTask

FORMATS: dict[str, ModuleType] = {"litert": litert, "onnx": onnx, "openvino": openvino}
"""Modules of the formats besides SavedModel: `FILE`, the name of the model's file, and `convert`, its contents."""
WITHOUT_DECODING: dict[str, ModuleType] = {"keras": keras_file}
"""The same of formats that hold the network alone."""


def fits(format: str, precision: str) -> bool:
    """Returns whether models of a format take images of any size, unless chosen otherwise.

    LiteRT's fast kernels need fixed sizes: with others, a network takes three times as long. Networks alone never do.
    In bfloat16, fitting would be rounded, too.
    """
    return precision == "float32" and format not in ("litert", *WITHOUT_DECODING)


@dataclass(frozen=True, eq=False)
class Exportable:
    """A trained network, and what its exports need to know.

    Attributes:
        task: what it was trained for.
        network: the network, of raw pixels.
        class_names: in the order of its outputs.
        image_size: (height, width) to which images are fitted first; None: see `savedmodel.export`.
        channels: channels of an image, 1 or 3.
        score: see `interface.metadata`.
        class_ids: the dataset's own ids of the classes; empty if it has none.
        unknown: see `interface.metadata`.
        grid: see `interface.metadata`.
        examples: yields inputs of `portable.function`, from which the ranges of 8-bit activations are determined; None:
            there are none.
    """

    task: ImageTask
    network: keras.Model
    class_names: Sequence[str]
    image_size: tuple[int, int] | None
    channels: int
    score: float | None = None
    class_ids: Sequence[Id] = ()
    unknown: Mapping[int, float] = field(default_factory=dict)
    grid: Grid | None = None
    examples: Callable[[], Iterable[dict[str, np.ndarray]]] | None = None

    def saved_model(self, directory: str | Path, *, freeze: bool = True, overwrite: bool = False) -> Path:
        """Writes a SavedModel, with the decoding and resizing of the training; arguments as for `savedmodel.export`.

        Raises:
            UserError: the directory cannot be written.
        """
        return savedmodel.export(
            self.task.predictor(self.network),
            self.class_names,
            directory,
            image_size=self.image_size,
            size=self.network.size,
            channels=self.channels,
            task=self.task,
            score=self.score,
            class_ids=self.class_ids,
            unknown=self.unknown,
            grid=self.grid,
            freeze=freeze,
            overwrite=overwrite,
        )

    def portable(
        self,
        directory: str | Path,
        format: str,
        *,
        fit: bool | None = None,
        precision: str = "float32",
        overwrite: bool = False,
    ) -> Path:
        """Writes the model for LiteRT, ONNX or OpenVINO, with the decoding of its task, or for Keras; `metadata.json`,
        which says how to fit images to its input.

        Args:
            directory: where to write.
            format: one of `FORMATS` or `WITHOUT_DECODING`.
            fit: whether the model takes uint8 images of any size and fits them itself, as the training does; None:
                `fits`. Formats without decoding cannot.
            precision: that of the computation: `float32`; `bfloat16`, in which OpenVINO then computes (weights remain
                float32); `int8`, LiteRT's 8-bit weights and activations, calibrated on `examples`.
            overwrite: replace an earlier export.

        Raises:
            UserError: the format cannot express the network, its converter is not installed, or the directory cannot be
                written.
        """
        task, size = self.task, self.network.size
        if task.section.CUTS_REGIONS:
            raise UserError(
                f"--format={format}: task.name={task.section.name} exports only as a SavedModel, because it cuts "
                "regions from images of any size"
            )
        if precision == "int8" and self.examples is None:
            raise UserError(
                "--precision=int8 requires the training images of a run, from which ranges are determined; omit it"
            )
        fitting = None
        if fits(format, precision) if fit is None else fit:
            fitting = Fitting(task.reading, self.image_size, size, self.channels)
        converter = (FORMATS | WITHOUT_DECODING)[format]
        others = (Path(converter.FILE).with_suffix(".bin").name, interface.METADATA)
        with staged(Path(directory), overwrite=overwrite, marker=converter.FILE, others=others) as staging:
            calibration = {"examples": self.examples} if precision == "int8" else {}
            files = converter.convert(task.predictor(self.network), task, fitting=fitting, **calibration)
            about = interface.metadata(
                task,
                self.class_names,
                self.score,
                channels=self.channels,
                image_size=self.image_size if task.reading.fit == "whole" else self.image_size or size,
                size=size if fitting is None else None,
                class_ids=self.class_ids,
                unknown=self.unknown,
                grid=self.grid,
                decoded=format not in WITHOUT_DECODING,
                precision=precision,
                files=files,
            )
            try:
                for name, contents in {**files, interface.METADATA: about.encode()}.items():
                    (staging / name).write_bytes(contents)
            except OSError as error:
                raise UserError(f"{directory}: the model could not be written: {brief(error)}") from error
        return Path(directory)
