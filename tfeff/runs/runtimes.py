"""The runtime that predicts for many images: `--runtime` of `tfeff.predict` and `tfeff.evaluate`.

`auto` measures it. If TensorFlow would need long, the network of the run is converted for the other runtimes, once,
into its workdir; of those that predict the same for a few of the images, the fastest predicts for all.
"""

import itertools
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfeff import checked, training
from tfeff.boxes import Tiling
from tfeff.data.images import decoding
from tfeff.durable import locked
from tfeff.errors import UserError, brief, is_disk_full, nearest
from tfeff.runs.equality import DIFFERENCE, Outputs, difference
from tfeff.runs.journal import state_of
from tfeff.runs.predictors import Model
from tfeff.serving import exported
from tfeff.serving import run as serving
from tfeff.serving.batch_predictors import RuntimePredictor
from tfeff.serving.exportable import FORMATS
from tfeff.serving.exported import ExportedModel
from tfeff.serving.image_model import STACKED_BYTES, SavedImageModel
from tfeff.serving.latencies import environment
from tfeff.tasks.task import INPUTS, Batches, BatchPredictor, Predictions
from tfeff.training.latency import alternate
from tfeff.training.plan import Plan

AUTO, TENSORFLOW = "auto", "tensorflow"
RUNTIMES = (AUTO, TENSORFLOW, *FORMATS)
WORTHWHILE_SECONDS = 60.0
"""Shorter work is left to TensorFlow: to convert the network and to compare takes about half as long."""
FEWEST = 200
"""Fewer images are left to TensorFlow without a measurement."""
SAMPLE, ROUNDS = 16, 3
FASTER = 1.1
"""Another runtime is used from this ratio on."""
_INCOMPARABLE = f"could not be compared with {TENSORFLOW}, because nothing is detected in the first images"
Prediction = Callable[[], list[Outputs]]
"""Predicts for the images of the sample."""


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
        self._all = files.runtimes

    def model(self, runtime: str) -> Path:
        """Returns the folder of the model for a runtime that is not TensorFlow; it is converted first if need be.

        Raises:
            UserError: there is no such runtime, it cannot express the network, or its packages are not installed; the
                network takes region proposals.
        """
        if checked_runtime(runtime) in (AUTO, TENSORFLOW):
            raise UserError(f"--runtime={runtime}: give one of {', '.join(FORMATS)}")
        self._require_images_alone(runtime)
        made = self._folder / runtime
        if not _is_intact(made):
            with locked(self._all, wait=True):
                self._convert(runtime, made)
        return made

    def _convert(self, runtime: str, made: Path) -> None:
        if _is_intact(made):  # another process converted it, which had the lock before
            return
        shutil.rmtree(made, ignore_errors=True)
        self._say(f"converting the network for {runtime}, once")
        try:
            serving.exportable(self._files).portable(made, runtime, fit=False)
        except UserError as error:
            raise UserError(str(error).replace("--format=", "--runtime=")) from error

    def for_images(
        self,
        wanted: str,
        opened: Callable[[Path], Model],
        images: Iterable[Path | np.ndarray],
        count: int,
        tiles: Callable[[tuple[int, int]], Tiling],
    ) -> Choice:
        """Returns the runtime that predicts for many images.

        Args:
            wanted: one of `RUNTIMES`.
            opened: opens an exported model.
            images: files, or uint8 [height, width, 3]; the first ones are predicted for.
            count: number of all images.
            tiles: the tiles in which an image of a size, (height, width), is predicted for.

        Raises:
            UserError: the runtime cannot express the network, or is not installed.
        """
        if wanted == TENSORFLOW:
            return Choice(TENSORFLOW)
        images, ahead = itertools.tee(images)
        if wanted == AUTO:
            size = next(filter(None, map(_size, ahead)), None)
            if size is None or not self._is_considered(count * len(tiles(size).tiles_yxyx)):
                return Choice(TENSORFLOW)
        first = sample_of(images, 1)
        if not first:
            return Choice(TENSORFLOW if wanted == AUTO else wanted)
        cut = tiles((first[0].shape[0], first[0].shape[1])).tiles_yxyx
        if len(cut) > 1:
            sample = [first[0][top:bottom, left:right] for top, left, bottom, right in cut[:SAMPLE]]
        else:
            sample = first + sample_of(images, SAMPLE - 1)

        def predicts(path: Path) -> Prediction:
            model = opened(path)
            return lambda: list(_outputs(model, sample))

        try:
            if wanted != AUTO:
                return self._given(wanted, lambda: predicts(self._files.saved_model), predicts)
            purpose, share = "tiles" if len(cut) > 1 else "images", count * len(cut) / len(sample)
            return self._fastest(purpose, lambda: predicts(self._files.saved_model), predicts, share)
        except tf.errors.InvalidArgumentError:  # the model refuses an image, which is said when it is predicted for
            return Choice(TENSORFLOW if wanted == AUTO else wanted)

    def for_batches(
        self, wanted: str, predictor: BatchPredictor, pipeline: Batches, count: int
    ) -> tuple[Callable[[Batches], Predictions], Choice]:
        """Returns what predicts for a pipeline, and the choice; arguments and errors as for `for_images`.

        Args:
            predictor: predicts in TensorFlow.
            pipeline: the images of a split.
            count: their number.
        """
        if wanted == TENSORFLOW or (wanted == AUTO and not self._is_considered(count)):
            return predictor, Choice(TENSORFLOW)
        self._require_images_alone(wanted)
        batch = next(iter(pipeline.evaluation_batches()))
        sample = {key: batch[key] for key in INPUTS if key in batch}

        opened = cache(RuntimePredictor.open)

        def predicts(path: Path) -> Prediction:
            decoded = opened(path).decoded
            return lambda: list(_single(decoded(sample)))

        def reference() -> Prediction:
            return lambda: list(_single(predictor.decoded(sample)))

        if wanted != AUTO:
            choice = self._given(wanted, reference, predicts)
        else:
            choice = self._fastest("batches", reference, predicts, count / int(sample["image"].shape[0]))
        if choice.runtime == TENSORFLOW:
            return predictor, choice
        return opened(self.model(choice.runtime)), choice

    def _is_considered(self, count: int) -> bool:
        """Returns whether another runtime may predict: for many images, of which alone a network reads, on the CPU."""
        return count >= FEWEST and not tf.config.list_physical_devices("GPU") and self._plan.task.proposals is None

    def _require_images_alone(self, runtime: str) -> None:
        if self._plan.task.proposals is not None:
            task = self._plan.settings.task.name
            raise UserError(
                f"--runtime={runtime}: task.name={task} takes region proposals, for which only {TENSORFLOW} predicts"
            )

    def _given(
        self, wanted: str, reference: Callable[[], Prediction], predicts: Callable[[Path], Prediction]
    ) -> Choice:
        """Returns a runtime that the user wants, and whether its predictions are those of TensorFlow."""
        found = predicts(self.model(wanted))()
        gap = difference(reference()(), found)
        if gap is None:
            return Choice(wanted, f"{wanted} {_INCOMPARABLE}")
        return Choice(wanted) if gap <= DIFFERENCE else Choice(wanted, f"warning: {wanted} {_differs(gap)}", True)

    def _fastest(
        self,
        purpose: str,
        reference: Callable[[], Prediction],
        predicts: Callable[[Path], Prediction],
        share: float,
    ) -> Choice:
        """Returns the fastest runtime.

        Args:
            purpose: under which the choice is kept.
            reference: returns the prediction in TensorFlow.
            predicts: returns that of a converted model.
            share: number of all images, divided by that of the sample.
        """
        if (known := self._known().get(purpose)) is not None:
            return known
        tensorflow = reference()
        expected = tensorflow()
        began = time.perf_counter()
        tensorflow()
        if (time.perf_counter() - began) * share < WORTHWHILE_SECONDS:
            return Choice(TENSORFLOW)
        return self._measured(purpose, tensorflow, expected, predicts)

    def _measured(
        self,
        purpose: str,
        tensorflow: Prediction,
        expected: list[Outputs],
        predicts: Callable[[Path], Prediction],
    ) -> Choice:
        equal, gaps, reasons, final = dict[str, Prediction](), dict[str, float](), list[str](), True
        for runtime in FORMATS:
            try:
                prediction = predicts(self.model(runtime))
                gap = difference(expected, prediction())
            except Exception as error:  # of any kind, in the code of other packages; TensorFlow can always predict
                reasons.append(f"{runtime} fails ({brief(error)})")
                final = final and not isinstance(error, OSError) and not is_disk_full(error)
                continue
            if gap is None:
                reasons.append(f"{runtime} {_INCOMPARABLE}")
                final = False
            elif gap <= DIFFERENCE:
                equal[runtime], gaps[runtime] = prediction, gap
            else:
                reasons.append(f"{runtime} {_differs(gap)}")
        seconds = np.median(alternate([tensorflow, *equal.values()], ROUNDS, warm_up=0)[0], axis=0)
        speeds = dict(zip(equal, seconds[0] / seconds[1:], strict=True))
        best = max(speeds, key=speeds.__getitem__, default=TENSORFLOW)
        if not speeds or speeds[best] < FASTER:
            reasons[:0] = [f"{name} is {speed:.1f} times as fast" for name, speed in speeds.items()]
            choice = Choice(TENSORFLOW, f"{TENSORFLOW} predicts: {'; '.join(reasons)}")
        else:
            equality = f"outputs differ by at most {gaps[best]:.1g} of the largest"
            choice = Choice(best, f"{best} predicts: {speeds[best]:.1f} times as fast as {TENSORFLOW}; {equality}")
        if final:
            self._keep(purpose, choice)
        return choice

    @cached_property
    def _plan(self) -> Plan:
        return Plan.opened(self._files)

    @cached_property
    def _folder(self) -> Path:
        """The folder for the weights of the run as they are now; those of earlier weights are removed."""
        now = self._all / f"{zlib.crc32(state_of(self._files.final).encode()):08x}"
        for each in self._all.glob("[0-9a-f]*"):
            if each != now:
                shutil.rmtree(each, ignore_errors=True)
        return now

    @property
    def _record(self) -> Path:
        return self._folder / "chosen.json"

    def _known(self) -> dict[str, Choice]:
        """Returns the choices that were made with these packages on this machine."""
        if not self._record.is_file():
            return {}
        try:
            record = checked.read_json(self._record, "", {"here": dict, "choices": dict})
            choices = {name: Choice(**each) for name, each in record["choices"].items()}
            return choices if record["here"] == environment() else {}
        except (UserError, TypeError):  # it can be measured again
            return {}

    def _keep(self, purpose: str, choice: Choice) -> None:
        choices = {name: asdict(each) for name, each in (self._known() | {purpose: choice}).items()}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            checked.write_json(self._record, {"here": environment(), "choices": choices})
        except OSError as error:  # it is measured again
            self._say(f"{self._record} cannot be written: {brief(error)}")


def checked_runtime(name: str) -> str:
    """Returns the name of a runtime.

    Raises:
        UserError: no such runtime.
    """
    if name not in RUNTIMES:
        raise UserError(f"--runtime={name}: {nearest(name, RUNTIMES)}")
    return name


def _is_intact(made: Path) -> bool:
    """Returns whether there is a converted model, and is as it was written."""
    try:
        exported.check(exported.located(made)[1])
    except UserError:
        return False
    return True


def _size(image: Path | np.ndarray) -> tuple[int, int] | None:
    """Returns (height, width) of an image, of a file from its header alone; None if it cannot be read."""
    if isinstance(image, np.ndarray):
        return image.shape[0], image.shape[1]
    try:
        return decoding.size(image)
    except UserError:  # which is said later
        return None


def sample_of(images: Iterable[Path | np.ndarray], count: int) -> list[np.ndarray]:
    """Returns the first images, uint8 [height, width, 3], that can be read: up to `count`, fewer if they are large."""
    found, total = list[np.ndarray](), 0
    for image in images if count else ():
        if isinstance(image, Path):
            try:
                image = decoding.decode(image.read_bytes(), str(image))
            except (OSError, UserError):  # which is said later
                continue
        found.append(image)
        total += image.nbytes
        if len(found) == count or total > STACKED_BYTES:
            break
    return found


def _differs(gap: float) -> str:
    return f"predicts something else than {TENSORFLOW}" + (f" (by {gap:.2g} of the largest output)" if gap < 10 else "")


def _outputs(model: Model, images: Sequence[np.ndarray]) -> Iterator[Outputs]:
    if isinstance(model, SavedImageModel) or (isinstance(model, ExportedModel) and "boxes" not in model.outputs):
        yield model.predict(images)
        return
    for pixels in images:
        yield dict(zip(("boxes", "labels", "scores"), model.detect(np.ascontiguousarray(pixels)), strict=True))


def _single(outputs: Mapping[str, Any]) -> Iterator[Outputs]:
    """Yields the outputs for a batch: at once, or of a detector for each image."""
    arrays = {name: np.asarray(value) for name, value in outputs.items()}
    if "boxes" not in arrays:
        yield arrays
        return
    for index, count in enumerate(arrays["count"]):
        yield {name: arrays[name][index, :count] for name in ("boxes", "labels", "scores")}
