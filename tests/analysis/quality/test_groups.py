"""Images that belong together are found by their names and times."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.analysis.quality.test_near_duplicates import scene
from tests.analysis.quality.test_survey import photograph
from tfeff.analysis.quality import groups, survey
from tfeff.data import names
from tfeff.data.sources import catalog


def found(root: Path, images: Mapping[str, np.ndarray | bytes]) -> dict[str, dict[str, list[str]]]:
    """Returns what a group is -> name of each group with images of several splits -> `split/name` of its images."""
    for name, image in images.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image if isinstance(image, bytes) else cv2.imencode(".png", image)[1].tobytes())
    source = catalog.open_labels(f"folder:{root}")
    surveys = {split: survey(source.load(split), 1000) for split in source.splits}
    return {
        each.what: {
            key: [f"{role}/{Path(surveys[role].ids[index]).name}" for role, index in group]
            for key, group in each.across.items()
        }
        for each in groups.find(surveys)
    }


def different(*names: str) -> dict[str, np.ndarray]:
    return {name: scene(seed, (40, 40)) for seed, name in enumerate(names)}


@pytest.mark.parametrize(
    ("one", "other", "group"),
    [
        ("cat_jpg.rf.0a1b2c.jpg", "cat_jpg.rf.99ff00.jpg", "a/cat"),
        ("IMG_7.png", "IMG_7_flip.png", "a/IMG_7"),
        ("IMG_7-rot90.png", "IMG_7-aug_2.png", "a/IMG_7"),
        ("holiday.png", "holiday (1).png", "a/holiday"),
        ("holiday.png", "holiday copy 2.png", "a/holiday"),
        ("holiday - Copy.png", "holiday - Copy (3).png", "a/holiday"),
    ],
)
def test_names_that_say_it(one: str, other: str, group: str, tmp_path: Path) -> None:
    images = different(f"train/a/{one}", "train/a/x.png", "train/b/y.png", f"test/a/{other}", "test/b/z.png")
    result = found(tmp_path, images)
    assert list(result.values()) == [{group: [f"train/{one}", f"test/{other}"]}]


@pytest.mark.parametrize("rule", groups.RULES, ids=lambda rule: rule.what)
def test_the_suggested_setting_keeps_the_groups_together(rule: groups.Rule) -> None:
    ids = [
        *("train/a_jpg.rf.01.jpg", "test/a_jpg.rf.02.jpg", "train/b_jpg.rf.03.jpg", "train/c.jpg", "test/c_flip.jpg"),
        *("train/c-rot90_aug2.JPG", "train/d.png", "test/d (1).png", "test/d - Copy (2).png", "train/film_0001.png"),
        *(
            "train/photo 1.jpg",
            "train/photo 2.jpg",
            "test/film_0002.png",
            "test/reel-frame7.png",
            "train/reel-frame_12.png",
            "no_folder",
            "train/sub/7.png",
        ),
    ]
    own = [rule.key(name) for name in ids]
    together, matched = names.groups(ids, rule.setting)
    assert matched
    for one, first in zip(own, together, strict=True):
        for other, second in zip(own, together, strict=True):
            if one is not None and other is not None:
                assert (one[0] == other[0]) == (first == second), (one, other)


@pytest.mark.parametrize(("train", "test"), [(14, 8), (10, 5), (1, 1)])
def test_numbers_of_whole_sets_are_no_copies(train: int, test: int, tmp_path: Path) -> None:
    """As a file manager renames them: "apple (1)" to "apple (22)"."""
    splits = ["train"] * train + ["test"] * test
    named = [f"{split}/a/{name} ({n}).png" for name in ("apple", "banana", "plum") for n, split in enumerate(splits, 1)]
    assert found(tmp_path, different(*named, "train/b/x.png", "test/b/y.png")) == {}


def test_equal_names_in_different_class_folders_are_no_group(tmp_path: Path) -> None:
    names = [
        f"{split}/{label}/{number:03}.png" for split in ("train", "test") for label in "ab" for number in range(12)
    ]
    assert found(tmp_path, different(*names)) == {}


def film(split_of_frame, *, alike: bool, frames: int = 12) -> dict[str, np.ndarray]:
    """Returns five films; the frames of one show the same scene, if they are alike."""
    images = {}
    for number in range(5):
        for frame in range(frames):
            seed = number if alike else 100 * number + frame
            image = np.clip(scene(seed, (40, 40)) + 6.0 * frame, 0, 255)
            images[f"{split_of_frame(number, frame)}/a/film{number}_{frame:04}.png"] = image
    return images


def test_frames_of_films_are_groups_if_they_look_alike(tmp_path: Path) -> None:
    mixed = found(tmp_path / "mixed", film(lambda _, frame: "test" if frame % 4 == 0 else "train", alike=True))
    (across,) = mixed.values()
    assert {key: len(each) for key, each in across.items()} == {f"a/film{number}": 12 for number in range(5)}
    apart = found(tmp_path / "apart", film(lambda number, _: "test" if number > 3 else "train", alike=True))
    assert list(apart.values()) in ([], [{}])
    numbered = found(tmp_path / "numbered", film(lambda _, frame: "test" if frame % 4 == 0 else "train", alike=False))
    assert numbered == {}


def test_a_large_film_with_most_of_the_test_images_is_a_group(tmp_path: Path) -> None:
    def split(number: int, frame: int) -> str:
        return "test" if frame % 3 == 0 and (number == 0 or frame < 3) else "train"

    (across,) = found(tmp_path, film(split, alike=True, frames=24)).values()
    assert [name.split("/")[0] for name in across["a/film0"]] == ["train"] * 16 + ["test"] * 8


def test_a_name_with_most_images_of_all_splits_is_no_group(tmp_path: Path) -> None:
    images = film(lambda _, frame: "test" if frame % 4 == 0 else "train", alike=True, frames=8)
    for number in range(48):
        folder = f"{'train' if number < 36 else 'test'}/{'ab'[number % 2]}/camera"
        images[f"{folder}/IMG_{number:04}.png"] = scene(100 + number, (40, 40))
    (across,) = found(tmp_path, images).values()
    assert across.keys() == {f"a/film{number}" for number in range(5)}


def test_a_large_folder_with_the_only_image_of_a_class_is_a_group(tmp_path: Path) -> None:
    images = different("train/other/one/x.png", "test/other/two/x.png")
    for patient in range(5):
        for number in range(24):
            label = "rare" if (patient, number) == (0, 1) else "common"
            name = f"{'test' if number % 4 == 0 else 'train'}/{label}/patient{patient}/x{number}.png"
            images[name] = np.clip(scene(patient, (40, 40)) + 4.0 * number, 0, 255)
    (across,) = found(tmp_path, images).values()
    assert {key: len(each) for key, each in across.items()} == {f"patient{patient}": 24 for patient in range(5)}


def test_numbered_images_of_a_class_are_no_group(tmp_path: Path) -> None:
    names = [
        f"{split}/{label}/{label}_{number:03}.png"
        for split in ("train", "test")
        for label in ("cat", "dog")
        for number in range(30)
    ]
    images = {
        name: np.clip(scene("cat" in name, (40, 40)) + np.random.default_rng(seed).normal(0, 20, (40, 40, 3)), 0, 255)
        for seed, name in enumerate(names)
    }
    assert found(tmp_path, images) == {}


def bursts(camera: str, *, alike: bool) -> dict[str, bytes]:
    """Returns thirty bursts of three photographs each, five seconds apart, a minute between bursts.

    Files of two classes have equal names.
    """
    images = {}
    for burst in range(30):
        for number in range(3):
            time = f"2024:01:01 {10 + burst // 60}:{burst % 60:02}:{5 * number:02}"
            seed = burst if alike else 100 + 3 * burst + number
            own = f"{chr(97 + burst // 2)}{burst // 2}{'x' * number}.jpg"
            name = f"{'test' if number == 1 else 'train'}/{'ab'[burst % 2]}/{own}"
            images[name] = photograph(time, camera, seed)
    return images


def test_photographs_of_bursts_are_groups(tmp_path: Path) -> None:
    (across,) = found(tmp_path, bursts("Brownie", alike=True)).values()
    assert len(across) == 30
    assert across[f"{tmp_path}/train/b/b1.jpg"] == ["train/b1.jpg", "train/b1xx.jpg", "test/b1x.jpg"]


@pytest.mark.parametrize(("camera", "alike"), [("", True), ("Brownie", False)])
def test_without_a_camera_or_likeness_times_say_nothing(camera: str, alike: bool, tmp_path: Path) -> None:
    assert found(tmp_path, bursts(camera, alike=alike)) == {}
