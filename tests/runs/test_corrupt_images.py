"""Training, prediction, diagnosis and proposals find the same images corrupt."""

import io
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tfeff
from tfeff.analysis.quality import survey
from tfeff.config import ClassificationSettings, Data, Experiment, Training, architecture
from tfeff.data.sources import catalog
from tfeff.execution.executor import Threads
from tfeff.proposals import ProposalStore, UniformBoxes, generate

CORRUPT = 21
"""Number of damaged files that cannot be read; the others can."""


def encoded(picture: Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, form)
    return file.getvalue()


def damaged_files() -> dict[str, bytes]:
    """Returns name -> contents."""
    rows, columns = np.mgrid[:48, :64]
    picture = Image.fromarray(np.stack([rows * 5, columns * 3, rows + columns], axis=-1).astype(np.uint8))
    jpeg, png, bmp, tiff, webp = (encoded(picture, form) for form in ("JPEG", "PNG", "BMP", "TIFF", "WEBP"))
    scan = jpeg.index(b"\xff\xda") + 14
    data = png.index(b"IDAT") + 4
    corrupt = {
        **{f"cut to {part} of 8.jpg": jpeg[: len(jpeg) * part // 8] for part in range(8)},
        "without its end.jpg": jpeg[:-2],
        "without tables.jpg": jpeg.replace(b"\xff\xdb", b"\xff\xfe"),
        "without scan.jpg": jpeg[: scan - 14] + jpeg[-2:],
        "wrong checksum.png": png[: data + 60] + bytes([png[data + 60] ^ 1]) + png[data + 61 :],
        "wrong last checksum.png": png[:-16] + bytes(4) + png[-12:],
        "cut.png": png[: len(png) // 2],
        "cut.bmp": bmp[:2000],
        "cut.tif": tiff[:2000],
        "cut.webp": webp[: len(webp) // 2],
        "page.jpg": b"<!DOCTYPE html><html><body>404</body></html>",
        "pointer.jpg": b"version https://git-lfs.github.com/spec/v1\n",
        "script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "zeros.jpg": bytes(3000),
    }
    assert len(corrupt) == CORRUPT
    whole = {
        "appended.jpg": jpeg + bytes(40),
        "other scan.jpg": jpeg[: scan + 30] + bytes([jpeg[scan + 30] ^ 1]) + jpeg[scan + 31 :],
        "png.jpg": png,
        "jpeg.png": jpeg,
        "bmp.jpg": bmp,
        "webp.jpg": webp,
        "tiff.jpg": tiff,
        **{f"good {number}.jpg": jpeg for number in range(16)},
    }
    return corrupt | whole


def names(ids: object) -> set[str]:
    assert not isinstance(ids, str)
    return {Path(each).name for each in ids}  # type: ignore[attr-defined]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for name in ("ants", "bees"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for file, content in damaged_files().items():
                if split == "train" or file.startswith("good"):
                    (tmp_path / "photos" / split / name / f"{name} {file}").write_bytes(content)
    return tmp_path / "photos"


@pytest.fixture
def expected() -> set[str]:
    return {f"{name} {file}" for name in ("ants", "bees") for file in list(damaged_files())[:CORRUPT]}


@pytest.mark.slow
def test_the_same_images_are_corrupt_everywhere(
    folder: Path, expected: set[str], tmp_path: Path, without_figures: None
) -> None:
    settings = Experiment(
        task=ClassificationSettings(),
        model=architecture("resnet", width=4, stage_blocks=(1,), resolution=16),
        data=Data(source=f"folder:{folder}", corrupt_images="skip", max_lost=1.0),
        training=Training(epochs=1, batch_size=8),
    )
    run = tfeff.train(settings, tmp_path / "run", evaluate=False, export=False, quiet=True)
    record = json.loads((tmp_path / "run/dataset.json").read_text())
    assert names(record["skipped_images"]) == expected
    assert record["found"]["train"]["lost_images"] == len(expected)
    with pytest.raises(tfeff.UserError, match=r'; replace or remove it, or give corrupt_images="skip"'):
        run.predict(folder / "train")
    with pytest.warns(UserWarning, match=f"skipped {len(expected)} images"):
        predictions = run.predict(folder / "train", corrupt_images="skip")
    everything = names(folder.glob("train/*/*"))
    assert everything - names(each.name for each in predictions) == expected
    train = catalog.open_labels(f"folder:{folder}").load("train")
    assert names(survey(train, 1000).unreadable) == expected
    store = ProposalStore.create(tmp_path / "store", UniformBoxes(5, 0).parameters)
    with Threads() as threads:
        counts = generate(store, train, UniformBoxes(5, 0), threads)
    assert names(counts.failed) == expected


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_every_cache_skips_the_same_images(folder: Path, expected: set[str], tmp_path: Path, cache: str) -> None:
    from tfeff.data.input.cache import ImageCache

    train = catalog.open_labels(f"folder:{folder}").load("train")
    opened = partial(ImageCache.open, train, (16, 16), cache=cache, corrupt_images="skip")
    found = opened(directory=tmp_path / "cache") if cache == "disk" else opened()
    assert names(image.id for image in found.skipped) == expected


def test_boxes_of_corrupt_images_are_lost(folder: Path, expected: set[str], tmp_path: Path) -> None:
    """Sources with boxes read headers first: what has none is a defect, the rest is corrupt when it is decoded."""
    rows = [f"{path},insect,1,2,20,30\n" for path in sorted(folder.glob("train/*/*"))]
    (tmp_path / "boxes.csv").write_text("image,label,xmin,ymin,xmax,ymax\n" + "".join(rows))
    images = catalog.open_objects(f"csv:{tmp_path}/boxes.csv").load("all")
    everything = names(folder.glob("train/*/*"))
    headless = everything - names(images.ids)
    assert images.defects.counts == {"unreadable image": len(headless)}
    assert headless | names(survey(images, 1000).unreadable) == expected
