"""What is measured on single images."""

import io
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.analysis.quality.test_near_duplicates import scene
from tfeff.analysis.quality import appearance, survey
from tfeff.analysis.quality.survey import measure
from tfeff.data.sources import catalog


def measured(pixels: np.ndarray):
    return measure(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes(), pixels)


def test_levels_are_those_of_the_pixels() -> None:
    ramp = np.repeat(np.arange(200, dtype=np.uint8), 5)[None, :, None].repeat(20, axis=0).repeat(3, axis=2)[:, :500]
    found = measured(ramp)  # 0 to 99, equally often
    assert (found.lowest, found.highest, found.dark, found.bright) == (0, 99, 4, 94)
    assert found.size == (20, 500)


@pytest.mark.parametrize("seed", range(5))
def test_blur_lowers_sharpness_whatever_the_contrast(seed: int) -> None:
    image = cv2.GaussianBlur(scene(seed, (300, 400)), (0, 0), 0.6)
    sharp, flat = measured(image).sharpness, measured((90 + 0.4 * image.astype(float)).astype(np.uint8)).sharpness
    blurred = measured(cv2.GaussianBlur(image, (0, 0), 2.5)).sharpness
    assert sharp > 0.15
    assert flat == pytest.approx(sharp, rel=0.35)
    assert blurred < 0.08


def photograph(time: str | None, camera: str = "", seed: int = 1) -> bytes:
    exif = Image.Exif()
    if time is not None:
        exif.get_ifd(0x8769)[0x9003] = time
    if camera:
        exif[0x0110] = camera
    buffer = io.BytesIO()
    Image.fromarray(scene(seed)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def test_time_and_camera_are_those_of_exif() -> None:
    found = measure(photograph("2024:05:06 07:08:09", "Brownie"), scene(1))
    assert found.time == datetime(2024, 5, 6, 7, 8, 9).timestamp()
    assert found.camera == "Brownie"


def test_when_a_file_was_changed_is_not_when_it_was_taken() -> None:
    exif = Image.Exif()
    exif[0x0132] = "2024:05:06 07:08:09"
    buffer = io.BytesIO()
    Image.fromarray(scene(1)).save(buffer, "JPEG", exif=exif)
    assert np.isnan(measure(buffer.getvalue(), scene(1)).time)


@pytest.mark.parametrize("time", [None, "", "yesterday", "0000:00:00 00:00:00"])
def test_a_missing_or_wrong_time_is_unknown(time: str | None) -> None:
    assert np.isnan(measure(photograph(time), scene(1)).time)


ODD = {
    "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), 4),
    "dark": lambda image: (image * 0.15).astype(np.uint8),
    "overexposed": lambda image: np.clip(225 + image * 0.4, 0, 255).astype(np.uint8),
    "low contrast": lambda image: (110 + image * 0.05).astype(np.uint8),
}


def surveyed(root: Path, images: dict[str, np.ndarray]):
    for name, image in images.items():
        path = root / "train" / "a" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    return {"train": survey(catalog.open_labels(f"folder:{root}").load("train"), 1000)}


@pytest.mark.parametrize("kind", ODD)
def test_odd_images_are_found_by_kind(kind: str, tmp_path: Path) -> None:
    images = {str(seed): cv2.GaussianBlur(scene(seed), (0, 0), 0.5) for seed in range(12)}
    surveys = surveyed(tmp_path, images | {"odd": ODD[kind](scene(20))})
    found = {name: each for name, each in appearance.find(surveys).items() if kind in name or name == "blurred"}
    names = {name: [Path(surveys["train"].ids[index]).stem for _, index in each.places] for name, each in found.items()}
    assert names[kind] == ["odd"]
    assert not found[kind].usual


def test_what_most_images_are_is_usual(tmp_path: Path) -> None:
    surveys = surveyed(tmp_path, {str(seed): ODD["dark"](scene(seed)) for seed in range(10)})
    assert appearance.find(surveys)["dark"].usual


def test_images_beyond_the_limit_are_not_examined_and_unreadable_ones_are_named(tmp_path: Path) -> None:
    surveyed(tmp_path, {f"{seed:02}": scene(seed) for seed in range(20)})
    (tmp_path / "train" / "a" / "00.png").write_bytes(b"no image")
    dataset = catalog.open_labels(f"folder:{tmp_path}").load("train")
    reported = list[tuple[int, int]]()
    found = survey(dataset, 5, lambda done, total: reported.append((done, total)))
    assert found.examined == 5
    assert len(found) == 4
    assert [Path(name).name for name in found.unreadable] == ["00.png"]
    assert reported[-1] == (5, 5)


@pytest.mark.parametrize("size", [(1, 1200), (5000, 3)])
def test_thin_images_are_measured(size: tuple[int, int]) -> None:
    found = measured(np.full((*size, 3), 77, np.uint8))
    assert (found.size, found.lowest, found.highest, found.sharpness) == (size, 77, 77, 0)
