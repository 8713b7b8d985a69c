"""A finished run: evaluate it, predict with it, export it."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from tfeff import training
from tfeff.boxes.tiling import Tile
from tfeff.config import Experiment
from tfeff.durable import locked
from tfeff.errors import in_python
from tfeff.reporting.terminal import say
from tfeff.runs import given, model_files
from tfeff.runs.journal import state_of
from tfeff.runs.predictors import Model, Options, Predictor, check_options, load_predictor, open_model, tiles
from tfeff.runs.results import EvaluationResult, Prediction
from tfeff.runs.runtimes import AUTO, FEWEST, TENSORFLOW, Choice, Runtimes, checked_runtime
from tfeff.serving import run as serving
from tfeff.tasks.task import Batches, BatchPredictor, Predictions


class Run:
    """A run in the workdir of `tfeff.train`.

    Attributes:
        workdir: its path.
        evaluation: what `tfeff.train` measured after training; None if it did not, or for a run that was opened.
    """

    def __init__(self, workdir: str | os.PathLike[str]) -> None:
        self.workdir = Path(workdir)
        self.evaluation: EvaluationResult | None = None
        self._files = training.Workdir(self.workdir)
        self._models = dict[Path, Any]()
        self._weights = ""

    def __repr__(self) -> str:
        return f'tfeff.open("{self.workdir}")'

    @property
    @in_python()
    def config(self) -> Experiment:
        """The config of the run, with all values that were chosen for its images."""
        return self._files.config()

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The metrics of each epoch."""
        return self._files.rows()

    @in_python()
    def evaluate(self, split: str | None = None, *, runtime: str = AUTO, quiet: bool = False) -> EvaluationResult:
        """Evaluates the run; writes `evaluation_<split>.json`, `predictions_<split>.csv` and figures into the workdir,
        and updates `result.json`, `report.html` and `model_card.md` unless these show another split.

        Args:
            split: a split of its source; `validation` is what the run validated on. None: the test split, or the
                validation images if there is none.
            runtime: what predicts: `tensorflow`, `litert`, `onnx` or `openvino`; `auto`: TensorFlow, or for long work
                the fastest one that is installed and predicts the same.
            quiet: show no progress.

        Raises:
            UserError: the run has not finished, there is no such split, or the runtime is not installed or cannot
                express the network.
        """
        reporter, wanted = training.Reporter(quiet=quiet), checked_runtime(runtime)
        runtimes = Runtimes(self._files, reporter.say)

        def predicted(
            tensorflow: BatchPredictor, pipeline: Batches, count: int
        ) -> tuple[Callable[[Batches], Predictions], str]:
            predict, choice = runtimes.for_batches(wanted, tensorflow, pipeline, count)
            if choice.runtime == TENSORFLOW and choice.note:
                reporter.say(choice.note)
            return predict, "" if choice.runtime == TENSORFLOW else choice.note

        evaluated = training.evaluate_again(self._files, split, reporter, predicted)
        return EvaluationResult(evaluated.split, evaluated.to_text(), evaluated.report, evaluated.figures)

    @in_python()
    def predict(
        self,
        images: given.Images,
        *,
        score: float | None = None,
        tile: Tile | None = None,
        tile_overlap: int | None = None,
        gallery: str | os.PathLike[str] | None = None,
        neighbors: int | None = None,
        threshold: float | None = None,
        batch_size: int = 32,
        runtime: str = AUTO,
        corrupt_images: given.Corrupt = "error",
    ) -> list[Prediction]:
        """Predicts for images of any size.

        Args:
            images: a file, a folder (with all folders in it), or a pattern such as `new/*.jpg`; arrays, uint8
                [height, width, 3] or [n, height, width, 3]; Pillow images; or a list of these.
            score: detectors: minimum score of a detection. None: the threshold chosen on the validation images.
            tile: detectors: detect in tiles of this size in pixels, a number or (height, width), for large images.
                None: as the detector was trained (`data.tile`).
            tile_overlap: pixels that neighboring tiles share. None: a quarter of the shorter side.
            gallery: embedders: recognize images by those of this folder, which has a folder of images for each class.
                None: return their vectors.
            neighbors: nearest images of a class whose mean similarity counts. None: 1.
            threshold: minimum similarity of a known class; others are `unknown`. None: what about 5 % of images of
                other classes reach with a gallery of as many images, by the validation images.
            batch_size: images in one call, except of a detector.
            runtime: see `evaluate`.
            corrupt_images: `error`, or `skip` with a warning.

        Returns:
            A `Classification`, `Localization`, `Detection`, `Embedding` or (with a gallery) `Recognition` for each
            image, in order.

        Raises:
            UserError: there are no images, one cannot be read, the run has not finished, or as in `evaluate`.
        """
        given.check_corrupt(corrupt_images)
        self._files.config()  # a folder that holds no run is reported before its images are
        listed = given.listed(images)
        options: Options = {
            "score": score,
            "tile": tile,
            "tile_overlap": tile_overlap,
            "gallery": gallery,
            "neighbors": neighbors,
            "threshold": threshold,
        }
        if runtime != TENSORFLOW:
            first = list(itertools.islice(listed, FEWEST))
            count = len(first)
            if count == FEWEST and not isinstance(images, Iterator):  # a generator is read as it is needed
                first += listed
                count = len(first)
            listed = itertools.chain(first, listed)
            choice = self.choose_runtime(
                runtime,
                (image for _, image in first),
                count,
                say=lambda line: say(line, error=True),
                **options,
            )
            runtime = choice.runtime
            if choice.note:
                say(choice.note, error=True)
        predictor = self.predictor(runtime=runtime, batch_size=batch_size, **options)
        return given.predict(predictor, listed, corrupt_images)

    @in_python()
    def export(
        self,
        path: str | os.PathLike[str],
        format: str | None = None,
        *,
        fit: bool | None = None,
        precision: str = "float32",
        freeze: bool | None = None,
        next_version: bool = False,
        overwrite: bool = False,
    ) -> Path:
        """Writes the network for use elsewhere, with its decoding except for Keras.

        Args:
            path: a folder; or, except for SavedModels, a file with the ending of the format, such as `mine.onnx`. How
                to fit images to the model's input is written to `metadata.json` in the folder, or to `mine.onnx.json`;
                one that does not belong to an export is not replaced.
            format: `saved_model`, `litert`, `onnx`, `openvino`, or `keras` for the network without decoding. None: by
                the ending of `path`; without one, `saved_model`.
            fit: whether the model takes uint8 images of any size and fits them itself, as SavedModels always do. None:
                yes, but not for LiteRT, whose fast kernels need fixed sizes, and Keras.
            precision: that of the computation: `float32`; `bfloat16` (OpenVINO), in which `predict` and `serve` then
                compute, too; `int8` (LiteRT), calibrated on training images.
            freeze: SavedModels: optimize for prediction; False: keep the variables, to train them further.
            next_version: SavedModels: write `path/1`, or the number after the highest one there, as TensorFlow Serving
                expects versions of a model.
            overwrite: replace an earlier export. If the process is killed meanwhile, a folder is the old or the new
                one; of files, the model is missing until all others are new.

        Returns:
            `path`, or the folder of the version.

        Raises:
            UserError: the run has not finished, the format cannot express the model, its converter is not installed, or
                `path` cannot be written.
        """
        return model_files.export(
            lambda: serving.exportable(self._files),
            Path(os.path.expanduser(path)),
            format,
            fit=fit,
            precision=precision,
            freeze=freeze,
            next_version=next_version,
            overwrite=overwrite,
        )

    def choose_runtime(
        self,
        wanted: str,
        images: Iterable[Path | np.ndarray],
        count: int,
        *,
        say: Callable[[str], None] = lambda line: None,
        **options: Unpack[Options],
    ) -> Choice:
        """Returns the runtime that predicts for images; see `evaluate`.

        Args:
            wanted: `auto`, or one of the others.
            images: files, or pixels, uint8 [height, width, 3]; the first ones are predicted for.
            count: their number.
            say: shows what is converted.
            **options: see `Options`; they are checked first.
        """
        checked_runtime(wanted)
        path = self._exported()
        check_options(path, **options)

        def opened(path: Path) -> Model:
            return open_model(path, self._models)

        grid = tiles(path, **options)
        return Runtimes(self._files, say).for_images(wanted, opened, images, count, grid.of)

    def predictor(
        self,
        *,
        runtime: str = TENSORFLOW,
        batch_size: int = 32,
        progress: Callable[[int], None] = lambda done: None,
        **options: Unpack[Options],
    ) -> Predictor:
        """Returns the exported model of the run, for many calls; it is exported first if it has not been.

        Args:
            runtime: as in `evaluate`, but not `auto`.
            batch_size: images in one call, except of a detector.
            progress: called with the number of images of the gallery that have been read.
            **options: see `Options`.

        Raises:
            UserError: the run has not finished, or as in `load_predictor`.
        """
        path = self._exported() if runtime == TENSORFLOW else Runtimes(self._files).model(runtime)
        return load_predictor(path, batch_size=batch_size, progress=progress, loaded=self._models, **options)

    @property
    def saved_model(self) -> Path:
        """The folder of the SavedModel that training writes."""
        return self._files.saved_model

    def _exported(self) -> Path:
        """Returns `saved_model`, which is written first if it is missing."""
        if (weights := state_of(self._files.final)) != self._weights:  # the run may have been continued meanwhile
            self._models.clear()
            self._weights = weights
        if not self.saved_model.is_dir():
            with locked(self._files.runtimes, wait=True):  # another process may be exporting it
                if not self.saved_model.is_dir():
                    serving.exportable(self._files).saved_model(self.saved_model)
        return self.saved_model
