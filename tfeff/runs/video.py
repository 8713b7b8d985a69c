"""Resumable detection of objects in the frames of a video: rows as JSON lines and CSV, and an annotated video."""

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from tfeff.data.images import decoding
from tfeff.durable import locked, sync, write
from tfeff.errors import UserError
from tfeff.reporting.box_drawing import draw_detections
from tfeff.runs.journal import Journal
from tfeff.runs.predictors import DetectorPredictor, Predictor, detections_csv
from tfeff.runs.results import Row

NAME = "predictions.mp4"
"""The annotated video."""
CODEC = "mp4v"  # MPEG-4 part 2: OpenCV's packages contain no encoder for H.264
UNKNOWN_RATE = 25.0  # of files that do not contain their frame rate


class Video:
    """The frames of a video file, in the formats of FFmpeg.

    Attributes:
        rate: frames per second.
        announced: number of frames according to the file's header, which can be an estimate; None if unknown.

    Raises:
        UserError: no such file, an image, or not a video.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise UserError(f"--video={path}: no such file")
        capture = self._open()
        count = round(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.announced = count if count > 0 else None
        rate = capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if math.isfinite(rate) and rate > 0 else UNKNOWN_RATE
        if count <= 1 and path.name.lower().endswith(decoding.EXTENSIONS):
            raise UserError(f"--video={path}: an image; give it as --images")

    def length(self, every: int) -> int | None:
        """Returns the expected number of items of `frames(every)`; None if unknown."""
        return None if self.announced is None else -(-self.announced // every)

    def frames(self, every: int = 1) -> Iterator[tuple[int, float, np.ndarray]]:
        """Yields (number, seconds, uint8 [height, width, 3]) of every n-th frame, until one is unreadable.

        Numbers count from 0.
        """
        capture, number = self._open(), 0
        while capture.grab():
            if number % every == 0:
                seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                readable, pixels = capture.retrieve()
                if not readable:
                    return
                yield number, seconds, np.ascontiguousarray(pixels[..., ::-1])
            number += 1

    def images(self, every: int = 1) -> Iterator[np.ndarray]:
        """Yields the frames of `frames`, without numbers and times."""
        return (pixels for *_, pixels in self.frames(every))

    def _open(self) -> cv2.VideoCapture:
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            capture = cv2.VideoCapture(os.fspath(self.path), cv2.CAP_FFMPEG)
        finally:
            cv2.utils.logging.setLogLevel(level)
        if not capture.isOpened():
            raise UserError(f"--video={self.path}: not a video, or one that is damaged or truncated")
        return capture


@dataclass
class VideoPredictions:
    """What was detected in a video.

    Attributes:
        rows: one for each frame: `frame` (number from 0), `time` in seconds, and the detector's.
        known: number of rows that an earlier call had already found.
        warning: what could not be read; empty if the video is complete.
    """

    rows: list[Row] = field(default_factory=list)
    known: int = 0
    files: list[Path] = field(default_factory=list)
    warning: str = ""


def write_video_predictions(
    predictor: Predictor,
    video: Video,
    out: Path,
    *,
    key: str,
    every: int = 1,
    draw: bool = True,
    progress: Callable[[int, int], None] = lambda done, computed: None,
) -> VideoPredictions:
    """Detects in all frames and writes `predictions.jsonl`, `predictions.csv` and `predictions.mp4`.

    The annotated video has the frames in which objects were detected, at the speed of the original. A rerun after an
    interruption keeps the rows that are known, as long as the model and the video are unchanged.

    Args:
        key: everything that the rows depend on besides the video.
        every: detect in every n-th frame.
        draw: write the annotated video.
        progress: called with the numbers of frames done, and of those that were not known.

    Raises:
        UserError: the predictor is no detector or refuses a frame, no frame could be read, the annotated video cannot
            be written, or another process is writing to `out`.
    """
    if not isinstance(predictor, DetectorPredictor):
        raise UserError("--video requires a detector; give --images=PATH to classify images")
    if (out / NAME).exists() and (out / NAME).samefile(video.path):
        raise UserError(f"--out={out}: the annotated video would replace {video.path}; give another directory")
    result = VideoPredictions()
    with locked(out, "--out"), _Writer(out / NAME, video.rate / every) as annotated:
        journal = Journal(out, key)
        for number, seconds, pixels in video.frames(every):
            row = journal.get(str(number), video.path)
            if row is None:
                row = {"frame": number, "time": round(seconds, 6), **predictor.detect(pixels, f"frame {number}").row}
                journal.add(str(number), video.path, row)
            else:
                result.known += 1
            result.rows.append(row)
            if draw:
                annotated.add(draw_detections(pixels, row["boxes_yxyx"], row["classes"], row["scores"]))
            progress(len(result.rows), len(result.rows) - result.known)
        if not result.rows:
            raise UserError(f"--video={video.path}: no frame could be read; the file is empty or damaged")
        result.files = [out / "predictions.jsonl", out / "predictions.csv"]
        write(result.files[0], "".join(json.dumps(row) + "\n" for row in result.rows))
        rows = (([row["frame"], f"{row['time']:.3f}"], row) for row in result.rows)
        write(result.files[1], detections_csv(["frame", "time"], rows))
        if draw:
            annotated.finish()
            result.files.append(out / NAME)
        journal.remove_others()
    expected = video.length(every)
    # Headers of some formats estimate the number of frames from the duration, so one frame less is no damage.
    if expected is not None and len(result.rows) < expected - 1:
        result.warning = (
            f"{video.path}: only {len(result.rows):,} of {expected:,} frames could be read; the file is truncated or "
            "damaged"
        )
    return result


def written_rate(rate: float) -> float:
    """Returns the nearest frame rate, in frames per second, that the annotated video can have: from 0.002 to 65535.

    MPEG-4 counts time in at most 65535 parts of a second, and OpenCV writes up to three decimals as such parts.
    """
    digits = 3 if rate < 65 else 2 if rate < 655 else 1 if rate < 6553 else 0
    return min(max(round(rate, digits), 0.002), 65535.0)


class _Writer:
    """An annotated video, complete or absent. All frames have the size of the first.

    As a context, it removes what an earlier process or an error has left incomplete.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self._path, self._partial, self._rate = path, path.with_name(f".partial-{path.name}"), rate
        self._video: cv2.VideoWriter | None = None
        self._frames = 0

    def __enter__(self) -> Self:
        self._partial.unlink(missing_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self._video is not None:
            self._video.release()
        self._partial.unlink(missing_ok=True)

    def add(self, pixels: np.ndarray) -> None:
        if self._video is None:
            size = pixels.shape[1], pixels.shape[0]
            codec = cv2.VideoWriter.fourcc(*CODEC)
            rate = written_rate(self._rate)
            self._video = cv2.VideoWriter(os.fspath(self._partial), cv2.CAP_FFMPEG, codec, rate, size)
            if not self._video.isOpened():
                raise self._error()
        self._video.write(np.ascontiguousarray(pixels[..., ::-1]))
        self._frames += 1

    def finish(self) -> None:
        """Closes the video and checks it, because OpenCV does not report a full disk."""
        assert self._video is not None
        self._video.release()
        written = cv2.VideoCapture(os.fspath(self._partial), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FRAME_COUNT)
        if written != self._frames:
            raise self._error()
        sync(self._partial)
        self._partial.replace(self._path)
        sync(self._path.parent)

    def _error(self) -> UserError:
        return UserError(f"{self._path}: the annotated video cannot be written; check the disk, or use --nodraw")
