"""Copies are found, within and across splits; different images are not."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tfeff.analysis.quality import near_duplicates, survey
from tfeff.analysis.quality.near_duplicates import Copies
from tfeff.data.sources import catalog

Image = np.ndarray


def scene(seed: int, size: tuple[int, int] = (120, 160)) -> Image:
    """Returns colored disks on a gradient."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    slopes, offset = rng.uniform(-0.6, 0.6, (2, 3)), rng.uniform(90, 160, 3)
    image = offset + y[..., None] * slopes[0] + x[..., None] * slopes[1]
    for _ in range(8):
        center, radius = rng.uniform(0, 1, 2) * size, rng.uniform(8, 40)
        image[(y - center[0]) ** 2 + (x - center[1]) ** 2 < radius**2] = rng.uniform(0, 255, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def found(root: Path, images: dict[str, Image]) -> Copies:
    """Returns the copies among images, given as `split/class/name`."""
    for name, image in images.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image)
    source = catalog.open_labels(f"folder:{root}")
    surveys = {split: survey(source.load(split), 1000) for split in source.splits}
    copies = near_duplicates.find(surveys)
    named = [[(role, Path(surveys[role].ids[index]).name) for role, index in each] for each in copies.groups]
    return Copies(named, copies.alike, copies.bits)


CHANGES: dict[str, Callable[[Image], Image]] = {
    "same": lambda image: image,
    "encoded again": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 1),
    "halved": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "stretched": lambda image: cv2.resize(image, (200, 200)),
    "brighter": lambda image: np.clip(image * 1.15 + 8, 0, 255).astype(np.uint8),
    "mirrored": lambda image: image[:, ::-1],
    "mirrored and halved": lambda image: cv2.resize(image[:, ::-1], None, fx=0.5, fy=0.5),
    "cropped": lambda image: image[2:-2, 2:-2],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_in_another_split_is_found(change: str, tmp_path: Path) -> None:
    images = {f"train/a/{seed}.jpg": scene(seed) for seed in range(12)}
    images |= {f"val/a/{seed}.jpg": scene(seed) for seed in range(12, 18)}
    images["val/a/copy.jpg"] = CHANGES[change](scene(5))
    copies = found(tmp_path, images)
    assert copies.groups == [[("train", "5.jpg"), ("validation", "copy.jpg")]]
    assert copies.across == copies.groups
    assert not copies.alike


def test_different_images_are_no_copies(tmp_path: Path) -> None:
    images = {f"train/a/{seed}.jpg": scene(seed) for seed in range(150)}
    assert found(tmp_path, images).groups == []


def test_copies_of_copies_are_one_group_and_groups_across_splits_come_first(tmp_path: Path) -> None:
    images = {f"train/a/{seed}.jpg": scene(seed) for seed in range(10)}
    images |= {f"train/a/one-{number}.jpg": np.clip(scene(1) + 3.0 * number, 0, 255) for number in range(4)}
    images |= {"test/a/two.png": scene(2)}
    assert found(tmp_path, images).groups == [
        [("train", "2.jpg"), ("test", "two.png")],
        [("train", name) for name in ("1.jpg", "one-0.jpg", "one-1.jpg", "one-2.jpg", "one-3.jpg")],
    ]


def test_of_blank_and_tiny_images_only_equal_files_are_copies(tmp_path: Path) -> None:
    images = {f"train/a/{number:02}.png": np.full((64, 64, 3), number, np.uint8) for number in range(40)}
    images |= {f"train/b/{number}.png": cv2.resize(scene(number), (28, 28)) for number in range(40)}
    tiny = cv2.resize(scene(1), (28, 28)).astype(np.int64) + 1
    images |= {"test/a/equal.png": images["train/a/07.png"], "test/b/equal.png": images["train/b/1.png"]}
    images |= {"test/b/similar.png": np.clip(tiny, 0, 255)}
    assert found(tmp_path, images).groups == [
        [("train", "07.png"), ("test", "equal.png")],
        [("train", "1.png"), ("test", "equal.png")],
    ]


def test_images_that_look_alike_without_being_copies_are_left_out(tmp_path: Path) -> None:
    """A scene that slowly becomes another one: neighbors are alike, but not the ends. Copies elsewhere are found."""
    one, other = scene(1).astype(float), scene(2).astype(float)
    chain = {f"train/b/chain{step:02}.png": one + (other - one) * step / 39 for step in range(40)}
    images = {f"train/b/{seed}.png": scene(seed) for seed in range(10, 70)}
    images |= {f"test/b/copy{seed}.png": scene(seed)[:, ::-1] for seed in range(10, 15)}
    copies = found(tmp_path, images | chain)
    assert copies.alike == 40
    assert sorted(map(tuple, copies.groups)) == [
        (("train", f"{seed}.png"), ("test", f"copy{seed}.png")) for seed in range(10, 15)
    ]


def test_many_copies_of_one_image_are_a_group(tmp_path: Path) -> None:
    images = {f"train/b/{seed}.png": scene(seed) for seed in range(100)}
    images |= {f"test/b/x{number:02}.png": np.clip(scene(5) + 2.0 * number, 0, 255) for number in range(25)}
    copies = found(tmp_path, images)
    assert copies.alike == 0
    assert [len(group) for group in copies.groups] == [26]


def test_if_most_images_are_alike_none_are_copies(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = {
        f"train/a/{number}.png": np.clip(scene(1) + rng.normal(0, 12, (120, 160, 3)), 0, 255) for number in range(60)
    }
    copies = found(tmp_path, images)
    assert copies.alike == 60
    assert copies.groups == []


def test_of_images_with_one_hash_equal_ones_are_found() -> None:
    hashes = np.full((3, 2), 7, np.uint64)
    hashes[:, 1] = np.uint64(2**64 - 8)
    thumbnails = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8)
    thumbnails[2] = thumbnails[1]
    connected, _ = near_duplicates.pairs(hashes, thumbnails)
    assert near_duplicates.joined(3, connected) == [[1, 2]]


def test_too_many_similar_hashes_are_compared_less_widely(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    alike = rng.integers(0, 2**63, 600, np.uint64) & np.uint64(0x0001_0001_0001_0001)
    monkeypatch.setattr(near_duplicates, "BUDGET", 900_000)
    one, other, bits = near_duplicates.close(alike, alike)
    assert bits == 3
    assert len(one) == int((np.bitwise_count(alike[:, None] ^ alike[None]) <= bits).sum())
    monkeypatch.setattr(near_duplicates, "BUDGET", 90)
    one, other, bits = near_duplicates.close(alike, alike)
    assert bits == 0
    assert len(one) == int((alike[:, None] == alike[None]).sum())
    assert (alike[one] == alike[other]).all()


@pytest.mark.parametrize("bits", [0, 1, 6, 10])
def test_all_close_pairs_of_hashes_are_found(bits: int) -> None:
    rng = np.random.default_rng(bits)
    known = rng.integers(0, 2**63, 300, np.uint64)
    queries = known.copy()
    for index in range(len(queries)):
        for bit in rng.permutation(64)[:bits]:
            queries[index] ^= np.uint64(1) << np.uint64(bit)
    one, other, guaranteed = near_duplicates.close(queries, known)
    assert guaranteed == near_duplicates.BITS
    distances = np.bitwise_count(queries[:, None] ^ known[None])
    expected = np.argwhere(distances <= near_duplicates.BITS)
    np.testing.assert_array_equal(np.stack([one, other], axis=1), expected)
    assert len(expected) >= 300
