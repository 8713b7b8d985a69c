"""Images to label next: uncertain ones, different from each other."""

import csv

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tfeff import config, training
from tfeff.analysis import labeling
from tfeff.data.input import filling
from tfeff.errors import UserError

CERTAIN, TORN = (0.98, 0.01, 0.01), (0.4, 0.35, 0.25)


def test_uncertain_images_are_chosen_and_copies_only_once():
    rng = np.random.default_rng(0)
    features = np.repeat(np.eye(6, dtype=np.float32), 20, axis=0)  # six kinds of images, twenty copies of each
    probabilities = np.tile(np.float32(CERTAIN), (120, 1))
    probabilities[:60] = TORN  # three kinds are uncertain
    order = rng.permutation(120)
    chosen = order[labeling.choose(probabilities[order], features[order], 3)]
    assert sorted(chosen // 20) == [0, 1, 2]
    again = order[labeling.choose(probabilities[order], features[order], 3)]
    np.testing.assert_array_equal(chosen, again)


def test_the_gradients_are_those_of_the_loss():
    """The distances that decide are those of the explicit outer products."""
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet((1, 1, 1), 40).astype(np.float32)
    features = rng.normal(size=(40, 5)).astype(np.float32)
    errors = probabilities - np.eye(3)[probabilities.argmax(axis=1)]
    gradients = np.einsum("nc,nd->ncd", errors, features - features.mean(axis=0)).reshape(40, -1)
    chosen = labeling.choose(probabilities, features, 40)
    assert chosen[0] == np.linalg.norm(gradients, axis=1).argmax()
    assert sorted(chosen) == list(range(40))
    draw, mine = np.random.default_rng(0), [chosen[0]]
    while len(mine) < 5:
        nearest = ((gradients[:, None] - gradients[mine]) ** 2).sum(axis=2).min(axis=1)
        nearest[mine] = 0
        mine.append(draw.choice(40, p=nearest / nearest.sum()))
    assert mine == chosen[:5].tolist()


def test_more_images_than_there_are():
    assert sorted(labeling.choose(np.float32([CERTAIN, TORN]), np.ones((2, 4), np.float32), 10)) == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_the_images_are_kept_neither_in_memory_nor_on_disk(runs, image_folder, tmp_path, monkeypatch, cache):
    monkeypatch.setattr(filling, "free_memory", lambda: 0)
    kept = tmp_path / "kept"
    settings = config.override(runs[0].config(), [f"data.cache={cache}", f"data.cache_directory={kept}"])
    (runs[0].path / "config.json").write_text(config.to_json(settings))
    folder, quiet = image_folder({"x": 5}, size=(8, 8)), training.Reporter(quiet=True)
    labeling.write(runs[0].path, str(folder), tmp_path / "out", 2, quiet)
    assert not list(kept.glob("images-*"))


def test_a_folder_of_images(trained_once, tmp_path):
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    digits = load_digits().images
    for number in range(30):
        pixels = np.uint8(digits[number] * 255 / 16)
        Image.fromarray(pixels).save(folder / ("deeper" if number % 2 else "") / f"{number}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n")
    found = labeling.write(trained_once[0].path, str(folder), tmp_path / "out", 12, training.Reporter(quiet=True))
    text = found.to_text()
    assert (len(found.rows), found.images, found.unreadable) == (12, 30, 1)
    with open(tmp_path / "out" / labeling.FILE) as file:
        rows = list(csv.DictReader(file))
    assert len({row["image"] for row in rows}) == 12
    assert all((folder / row["image"]).is_file() for row in rows)
    assert all(float(row["probability"]) >= float(row["its probability"]) for row in rows)
    assert "1 of 31 images cannot be read" in text
    assert "The 12 of 30 images" in text
    assert Image.open(tmp_path / "out" / labeling.SHEET).width > 500
    with pytest.raises(UserError, match="--unlabeled: no folder"):
        labeling.write(trained_once[0].path, str(tmp_path / "none"), tmp_path / "out", 12)
    with pytest.raises(UserError, match=r"^config: data.unlabeled: no folder"):
        labeling.write(
            trained_once[0].path, str(tmp_path / "none"), tmp_path / "out", 12, where="config: data.unlabeled"
        )
