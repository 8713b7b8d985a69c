"""The runtime that predicts for many images: `--runtime` of `tfeff.predict` and `tfeff.evaluate`.

`auto` measures it. If TensorFlow would need long, the network of the run is converted for the other runtimes that are
installed, once, into its workdir; of those that predict the same for a few of the images, the fastest predicts for all.
"""

import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from tfeff import checked, training
from tfeff.data.images import decoding
from tfeff.errors import UserError, nearest
from tfeff.execution import resources
from tfeff.execution.startup import installed
from tfeff.runs.journal import state_of
from tfeff.runs.predictors import Model
from tfeff.serving import exported, portable
from tfeff.serving import run as serving
from tfeff.serving.exported import ExportedModel
from tfeff.serving.image_model import STACKED_BYTES, SavedImageModel
from tfeff.serving.latencies import this_machine
from tfeff.tasks.task import INPUTS, Batch, Batches, BatchPredictor, Predictions, predictions
from tfeff.training.latency import alternate
from tfeff.training.plan import Plan

AUTO, TENSORFLOW = "auto", "tensorflow"
RUNTIMES = (AUTO, TENSORFLOW, *serving.FORMATS)
WORTHWHILE_SECONDS = 60.0
"""Shorter work is left to TensorFlow: to convert the network and to compare takes about half as long."""
FEWEST = 200
"""Fewer images are left to TensorFlow without a measurement."""
SAMPLE, ROUNDS = 8, 3
FASTER = 1.1
"""Another runtime is used from this ratio on."""
DIFFERENCE = 1e-3
"""Largest difference of outputs that count as equal, relative to the largest value of an output if that is above 1."""
FAINT = 0.05
"""Detections with lower scores need not be equal: a detector returns so many at most, and rounding can decide which."""

Outputs = Mapping[str, np.ndarray]
"""Outputs of a model for some images, [n, ...] each; those of a detector for one image, without `count`."""
Call = Callable[[], list[Outputs]]
"""Predicts for some images."""


@dataclass(frozen=True)
class Choice:
    """The runtime that predicts.

    Attributes:
        runtime: one of `RUNTIMES`, but not `AUTO`.
        note: one line about it; empty if there is nothing to say.
        differs: whether it predicts something else than TensorFlow, which `note` says.
    """

    runtime: str
    note: str = ""
    differs: bool = False


class Runtimes:
    """The models of a finished run for runtimes other than TensorFlow, in its folder `runtimes`.

    Args:
        files: the workdir of the run.
        say: shows a line.
    """

    def __init__(self, files: training.Workdir, say: Callable[[str], None] = lambda line: None) -> None:
        self._files, self._say = files, say
        self._all = files.path / "runtimes"

    def model(self, runtime: str) -> Path:
        """Returns the folder of the model for a runtime that is not TensorFlow; it is converted first if need be.

        Raises:
            UserError: the runtime cannot express the network, or its packages are not installed.
        """
        made = self._folder / runtime
        if not made.is_dir():
            self._say(f"converting the network for {runtime}, once")
            serving.export_portable(self._files, made, runtime, fit=False)
        return made

    def for_images(
        self, wanted: str, opened: Callable[[Path], Model], images: Iterable[Path | np.ndarray], count: int
    ) -> Choice:
        """Returns the runtime that predicts for many images.

        Args:
            wanted: one of `RUNTIMES`.
            opened: opens an exported model.
            images: files, or uint8 [height, width, 3]; the first ones are predicted for.
            count: number of all images.

        Raises:
            UserError: the runtime cannot express the network, or is not installed.
        """

        some = sample_of(images) if wanted != AUTO or count >= FEWEST else []
        if not some:
            return Choice(TENSORFLOW if wanted == AUTO else wanted)

        def call(path: Path) -> Call:
            model = opened(path)
            return lambda: list(_outputs(model, some))

        return self._choose(wanted, "images", lambda: call(self._files.saved_model), call, len(some), count)

    def for_batches(
        self, wanted: str, predictor: BatchPredictor, pipeline: Batches, count: int
    ) -> tuple[Callable[[Batches], Predictions], str]:
        """Returns what predicts for a pipeline, and a line about it; arguments and errors as for `for_images`.

        Args:
            predictor: predicts in TensorFlow.
            pipeline: the images of a split.
            count: their number.
        """
        batch = next(iter(pipeline.evaluation_batches()))
        some = {key: batch[key] for key in INPUTS if key in batch}

        def call(path: Path) -> Call:
            decoded = RuntimePredictor(path).decoded
            return lambda: list(_single(decoded(some)))

        def reference() -> Call:
            return lambda: list(_single(predictor.decoded(some)))

        choice = self._choose(wanted, "batches", reference, call, int(some["image"].shape[0]), count)
        if choice.runtime == TENSORFLOW:
            return predictor, choice.note
        return RuntimePredictor(self.model(choice.runtime)), choice.note

    def _choose(
        self,
        wanted: str,
        purpose: str,
        tensorflow: Callable[[], Call],
        call: Callable[[Path], Call],
        some: int,
        count: int,
    ) -> Choice:
        """Returns the runtime.

        Args:
            wanted: one of `RUNTIMES`.
            purpose: name of what is predicted for, under which the choice is kept.
            tensorflow: returns the prediction of some of the images in TensorFlow.
            call: returns the same of a converted model.
            some: number of these images.
            count: number of all images.
        """
        if wanted == TENSORFLOW:
            return Choice(TENSORFLOW)
        if wanted == AUTO:
            if (known := self._known().get(purpose)) is not None:
                return Choice(**known)
            if count < FEWEST or Plan.opened(self._files).task.proposals is not None:
                return Choice(TENSORFLOW)
        others = {wanted: call(self.model(wanted))} if wanted != AUTO else {}
        reference = tensorflow()
        expected = reference()
        if wanted != AUTO:
            gap = difference(expected, others[wanted]())
            return Choice(wanted) if gap <= DIFFERENCE else Choice(wanted, f"warning: {_differs(wanted, gap)}", True)
        began = time.perf_counter()
        reference()
        if (time.perf_counter() - began) / some * count < WORTHWHILE_SECONDS:
            return Choice(TENSORFLOW)
        gaps = dict[str, float]()
        for runtime in serving.FORMATS:
            try:
                made = call(self.model(runtime))
                gaps[runtime] = difference(expected, made())
            except UserError as error:  # most often, it is not installed
                self._say(f"{runtime} is not compared: {error}")
                continue
            if gaps[runtime] <= DIFFERENCE:
                others[runtime] = made
            else:
                self._say(_differs(runtime, gaps[runtime]))
        seconds = np.median(alternate([reference, *others.values()], ROUNDS, warm_up=0)[0], axis=0)
        times = dict(zip(others, seconds[0] / seconds[1:], strict=True))
        best = max(times, key=times.__getitem__, default=TENSORFLOW)
        if not times:
            choice = Choice(TENSORFLOW, "TensorFlow predicts: no other runtime is installed and predicts the same")
        elif times[best] < FASTER:
            choice = Choice(TENSORFLOW, f"TensorFlow predicts: none of {', '.join(times)} is faster")
        else:
            faster = f"{times[best]:.1f} times as fast as TensorFlow on {some} images"
            choice = Choice(best, f"{best} predicts: {faster}; outputs differ by at most {gaps[best]:.1g}")
        self._keep(purpose, choice)
        return choice

    @cached_property
    def _folder(self) -> Path:
        """The folder for the weights of the run as they are now; those of earlier weights are removed."""
        now = self._all / f"{zlib.crc32(state_of(self._files.final).encode()):08x}"
        for each in self._all.glob("*"):
            if each != now:
                shutil.rmtree(each, ignore_errors=True)
        return now

    @property
    def _record(self) -> Path:
        return self._folder / "chosen.json"

    def _known(self) -> dict[str, Any]:
        """Returns the choices that were made with these packages on this machine."""
        if not self._record.is_file():
            return {}
        try:
            record = checked.read_json(self._record, "", {"here": dict, "choices": dict})
        except UserError:  # it can be measured again
            return {}
        return dict(record["choices"]) if record.get("here") == _here() else {}

    def _keep(self, purpose: str, choice: Choice) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        checked.write_json(self._record, {"here": _here(), "choices": self._known() | {purpose: asdict(choice)}})


class RuntimePredictor:
    """Predictions of a converted network; see `BatchPredictor`.

    Args:
        path: folder of the model, which takes images that fit its input.
    """

    def __init__(self, path: Path) -> None:
        loaded = exported.load(*exported.located(path), len(resources.cores()))
        self._run, self._together = loaded.run, loaded.inputs["images"][0] is None

    def __call__(self, pipeline: Batches) -> Predictions:
        """Returns predictions for all images of a pipeline, in order."""
        return predictions(self.decoded, pipeline)

    def decoded(self, batch: Batch) -> dict[str, np.ndarray]:
        """Returns what `ImageTask.decode` returns for a batch."""
        given = portable.inputs(batch)
        if self._together:
            return {name: np.asarray(value) for name, value in self._run(given).items()}
        size = len(given["images"])
        single = [self._run({name: value[n : n + 1] for name, value in given.items()}) for n in range(size)]
        return {name: np.concatenate([each[name] for each in single]) for name in single[0]}


def checked_runtime(name: str) -> str:
    """Returns the name of a runtime.

    Raises:
        UserError: there is none of that name.
    """
    if name not in RUNTIMES:
        raise UserError(f"--runtime={name}: {nearest(name, RUNTIMES)}")
    return name


def sample_of(images: Iterable[Path | np.ndarray]) -> list[np.ndarray]:
    """Returns the first images, uint8 [height, width, 3], that can be read: up to `SAMPLE`, fewer if they are large."""
    found, total = list[np.ndarray](), 0
    for image in images:
        if isinstance(image, Path):
            try:
                image = decoding.decode(image.read_bytes(), str(image))
            except (OSError, UserError):  # which is said later
                continue
        found.append(image)
        total += image.nbytes
        if len(found) == SAMPLE or total > STACKED_BYTES:
            break
    return found


def difference(first: Sequence[Outputs], second: Sequence[Outputs]) -> float:
    """Returns the largest difference of two models' outputs for the same images; see `DIFFERENCE`.

    Each detection of one model with a score of at least `FAINT` is compared with the most similar one of its class of
    the other.
    """
    largest = 0.0
    for one, other in zip(first, second, strict=True):
        if "boxes" in one:
            gap = _of_detections(one, other)
        else:
            names = [name for name, values in one.items() if np.issubdtype(values.dtype, np.floating)]
            gap = max(float(np.max(np.abs(one[name] - other[name]), initial=0)) / _scale(one[name]) for name in names)
        if not gap <= largest:  # also if it is not a number
            largest = gap if gap == gap else np.inf
    return largest


def _of_detections(one: Outputs, other: Outputs) -> float:
    scale = _scale(one["boxes"])
    gaps = np.abs(one["boxes"][:, np.newaxis] - other["boxes"]).max(axis=-1, initial=0) / scale
    gaps = np.maximum(gaps, np.abs(one["scores"][:, np.newaxis] - other["scores"]))
    gaps = np.where(one["labels"][:, np.newaxis] == other["labels"], gaps, np.inf)
    here, there = (np.asarray(each["scores"]) >= FAINT for each in (one, other))
    return float(
        max(
            gaps.min(axis=1, initial=np.inf)[here].max(initial=0),
            gaps.min(axis=0, initial=np.inf)[there].max(initial=0),
        )
    )


def _scale(values: np.ndarray) -> float:
    return float(max(1.0, np.max(np.abs(values), initial=0)))


def _differs(runtime: str, gap: float) -> str:
    return f"{runtime} predicts something else than TensorFlow: outputs differ by up to {gap:.2g}"


def _outputs(model: Model, images: Sequence[np.ndarray]) -> Iterator[Outputs]:
    if isinstance(model, SavedImageModel) or (isinstance(model, ExportedModel) and "boxes" not in model.outputs):
        yield model.predict(images)
        return
    for pixels in images:
        yield dict(zip(("boxes", "labels", "scores"), model.detect(pixels), strict=True))


def _single(outputs: Mapping[str, Any]) -> Iterator[Outputs]:
    """Yields the outputs for a batch: at once, or of a detector for each image."""
    arrays = {name: np.asarray(value) for name, value in outputs.items()}
    if "boxes" not in arrays:
        yield arrays
        return
    for index, count in enumerate(arrays["count"]):
        yield {name: arrays[name][index, :count] for name in ("boxes", "labels", "scores")}


def _here() -> dict[str, Any]:
    """Returns what a choice depends on besides the network."""
    versions = {each: metadata.version(each) for each in ("tensorflow", "onnxruntime", "openvino") if installed(each)}
    return {**this_machine(), **versions}
