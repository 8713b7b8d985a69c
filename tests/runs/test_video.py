"""Detections in videos: rows, the annotated video, resuming, and files that are damaged or no videos."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.runs.bright_squares import SquaresPredictor, squares
from tfeff.errors import UserError
from tfeff.runs.predictors import ClassifierPredictor
from tfeff.runs.results import Detection
from tfeff.runs.video import Video, write_video_predictions, written_rate

FRAMES, RATE = 11, 12.5
TILES = (60, 60), 16
"""Size and overlap of tiles; a frame has four."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same frames in two formats."""
    root = tmp_path_factory.mktemp("videos")
    for name, codec in (("video.mp4", "mp4v"), ("video.avi", "MJPG")):
        writer = cv2.VideoWriter(str(root / name), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), RATE, (96, 72))
        for number in range(FRAMES):
            writer.write(np.ascontiguousarray(np.roll(squares(72, 96), number, axis=1)[..., ::-1]))
        writer.release()
    return root


def test_every_frame_has_a_row_with_its_time(root: Path, tmp_path: Path, synced: list[str]) -> None:
    predictor = SquaresPredictor()
    done = write_video_predictions(predictor, Video(root / "video.mp4"), tmp_path, key="", every=2)
    assert [row["frame"] for row in done.rows] == [0, 2, 4, 6, 8, 10]
    assert [row["time"] for row in done.rows] == pytest.approx([0, 0.16, 0.32, 0.48, 0.64, 0.8])
    assert (predictor.squares.calls, done.known, done.warning) == (6, 0, "")
    assert [json.loads(line) for line in (tmp_path / "predictions.jsonl").open()] == done.rows
    lines = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert len(lines) == sum(len(row["classes"]) for row in done.rows) > 20
    assert (lines[-1]["frame"], lines[-1]["time"]) == ("10", "0.800")
    assert synced[-2:] == [".partial-predictions.mp4", tmp_path.name]
    annotated = Video(tmp_path / "predictions.mp4")
    assert (annotated.announced, annotated.rate) == (6, RATE / 2)
    (_, _, first), *_ = annotated.frames()
    assert first.shape[0] > 500  # small frames are enlarged
    assert done.files[-1] == tmp_path / "predictions.mp4"


@pytest.mark.parametrize(
    ("rate", "written"),
    [
        *((0.0004, 0.002), (0.001, 0.002), (0.04, 0.04), (23.976, 23.976), (29.97003, 29.97), (64.9996, 65)),
        *((119.987, 119.99), (239.873, 239.87), (333.333, 333.33), (654.999, 655), (1234.56, 1234.6)),
        *((6552.96, 6553), (10_000.4, 10_000), (65_535, 65_535), (90_000, 65_535)),
    ],
)
def test_rates_are_rounded_to_what_the_codec_can_express(rate: float, written: float) -> None:
    assert written_rate(rate) == pytest.approx(written, abs=1e-9)


@pytest.mark.parametrize("rate", [119.987, 0.0004, 90_000.0])
def test_videos_of_any_rate_are_annotated(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float
) -> None:
    video = Video(root / "video.mp4")
    monkeypatch.setattr(video, "rate", rate)
    write_video_predictions(SquaresPredictor(), video, tmp_path, key="")
    annotated = Video(tmp_path / "predictions.mp4")
    assert (annotated.announced, annotated.rate) == (FRAMES, pytest.approx(written_rate(rate)))


def test_an_interrupted_call_resumes_without_repeating(root: Path, tmp_path: Path) -> None:
    video = Video(root / "video.mp4")
    with pytest.raises(KeyboardInterrupt):
        write_video_predictions(SquaresPredictor(*TILES, limit=4 * 4), video, tmp_path, key="")
    assert [path.name for path in tmp_path.glob("*predictions*.mp4")] == []
    (tmp_path / ".partial-predictions.mp4").write_text("of a killed process")
    second = SquaresPredictor(*TILES)
    progress = list[tuple[int, int]]()
    done = write_video_predictions(second, video, tmp_path, key="", progress=lambda *given: progress.append(given))
    assert (second.squares.calls, done.known, len(done.rows)) == (4 * (FRAMES - 4), 4, FRAMES)
    assert progress[-1] == (FRAMES, FRAMES - 4)
    assert Video(tmp_path / "predictions.mp4").announced == FRAMES
    assert (
        write_video_predictions(SquaresPredictor(*TILES), video, tmp_path / "again", key="", draw=False).rows
        == done.rows
    )
    assert not (tmp_path / "again" / "predictions.mp4").exists()


def test_what_a_killed_process_left_is_removed_also_without_drawing(root: Path, tmp_path: Path) -> None:
    (tmp_path / ".partial-predictions.mp4").write_text("of a killed process")
    write_video_predictions(SquaresPredictor(), Video(root / "video.mp4"), tmp_path, key="", draw=False)
    assert [path.name for path in tmp_path.glob("*predictions*.mp4")] == []


def test_a_changed_video_is_detected_again(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "video.avi"
    path.write_bytes((root / "video.avi").read_bytes())
    write_video_predictions(SquaresPredictor(), Video(path), tmp_path / "out", key="", draw=False)
    path.write_bytes((root / "video.mp4").read_bytes())
    predictor = SquaresPredictor()
    done = write_video_predictions(predictor, Video(path), tmp_path / "out", key="", draw=False)
    assert (predictor.squares.calls, done.known) == (FRAMES, 0)


def test_a_stream_without_a_header_has_an_unknown_length(root: Path, tmp_path: Path) -> None:
    with (tmp_path / "stream.mjpeg").open("wb") as stream:
        for number in range(4):
            stream.write(cv2.imencode(".jpg", squares(72, 96, seed=number))[1].tobytes())
    video = Video(tmp_path / "stream.mjpeg")
    assert video.announced is None
    done = write_video_predictions(SquaresPredictor(), video, tmp_path / "out", key="", every=3)
    assert ([row["frame"] for row in done.rows], done.warning) == ([0, 3], "")


def test_the_readable_frames_of_a_truncated_video_are_kept(root: Path, tmp_path: Path) -> None:
    whole = (root / "video.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    done = write_video_predictions(SquaresPredictor(), Video(tmp_path / "cut.avi"), tmp_path / "out", key="")
    assert 2 < len(done.rows) < FRAMES - 1
    assert f"only {len(done.rows)} of {FRAMES} frames" in done.warning
    assert Video(tmp_path / "out" / "predictions.mp4").announced == len(done.rows)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.mp4", "no such file"),
        ("empty.mp4", "not a video"),
        ("text.mp4", "not a video"),
        ("cut.mp4", "not a video, or one that is damaged"),
        ("image.jpg", "an image; give it as --images"),
    ],
)
def test_other_files_are_refused(root: Path, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("text\n" * 99)
    whole = (root / "video.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: whole.index(b"moov")])
    Image.new("RGB", (20, 10)).save(tmp_path / "image.jpg")
    with pytest.raises(UserError, match=message):
        Video(tmp_path / name)


def test_a_video_without_readable_frames_is_refused(root: Path, tmp_path: Path) -> None:
    damaged = bytearray((root / "video.mp4").read_bytes())
    start = damaged.index(b"mdat") + 4
    damaged[start : damaged.index(b"moov") - 4] = bytes(damaged.index(b"moov") - 4 - start)
    (tmp_path / "damaged.mp4").write_bytes(damaged)
    with pytest.raises(UserError, match="no frame could be read"):
        write_video_predictions(SquaresPredictor(), Video(tmp_path / "damaged.mp4"), tmp_path / "out", key="")


def test_an_annotated_video_that_cannot_be_written_is_reported(root: Path, tmp_path: Path) -> None:
    class OnFullDisk(SquaresPredictor):
        def detect(self, pixels: np.ndarray, name: str = "") -> Detection:
            if not self.squares.calls:
                (tmp_path / ".partial-predictions.mp4").symlink_to("/dev/full")
            return super().detect(pixels, name)

    with pytest.raises(UserError, match=r"predictions\.mp4: the annotated video cannot be written"):
        write_video_predictions(OnFullDisk(), Video(root / "video.mp4"), tmp_path, key="")
    assert [path.name for path in tmp_path.glob("*predictions*.mp4")] == []
    done = write_video_predictions(SquaresPredictor(), Video(root / "video.mp4"), tmp_path, key="", draw=False)
    assert done.known > 0


def test_what_cannot_be_done_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "predictions.mp4").write_bytes((root / "video.mp4").read_bytes())
    with pytest.raises(UserError, match="would replace"):
        write_video_predictions(SquaresPredictor(), Video(tmp_path / "predictions.mp4"), tmp_path, key="")
    with pytest.raises(UserError, match="--video requires a detector"):
        write_video_predictions(
            ClassifierPredictor.__new__(ClassifierPredictor), Video(root / "video.mp4"), tmp_path, key=""
        )
