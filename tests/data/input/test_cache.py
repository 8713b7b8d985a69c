import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.data.images import pillow
from tfeff.data.dataset import Objects
from tfeff.data.images import decoding, resizing
from tfeff.data.input.cache import ImageCache
from tfeff.data.sources import catalog, packing
from tfeff.data.sources.folder import Folder
from tfeff.data.sources.source import Options
from tfeff.errors import UserError


def pixels(opened_cache):
    return np.concatenate(list(opened_cache.chunks(3)))


@pytest.fixture
def source(image_folder):
    root = image_folder({"train/a": 3, "train/b": 4})
    image_folder({"train/b": 6}, size=(9, 5))
    return Folder(root, Options()).load("train")


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_images_are_resized_to_one_size(source, cache, tmp_path):
    opened_cache = ImageCache.open(source, (12, 16), cache=cache, directory=tmp_path / "cache")
    images = pixels(opened_cache)
    assert images.shape == (9, 12, 16, 3)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images[1], np.asarray(Image.open(source.ids[1])))
    resized = Image.open(source.ids[5]).resize((16, 12), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(images[5].astype(int), np.asarray(resized).astype(int), atol=1)


def test_all_caches_hold_the_same_pixels(source, tmp_path):
    opened = [
        ImageCache.open(source, (7, 8), cache=c, directory=tmp_path / "cache") for c in ("memory", "disk", "none")
    ]
    reopened = ImageCache.open(source, (7, 8), cache="disk", directory=tmp_path / "cache")
    for other in [*opened[1:], reopened]:
        np.testing.assert_array_equal(pixels(other), pixels(opened[0]))


def test_the_disk_cache_is_rebuilt_only_for_changed_images(source, tmp_path):
    cache = tmp_path / "cache"
    first = pixels(ImageCache.open(source, (7, 8), cache="disk", directory=cache))
    for path in source.ids[:2]:
        Image.new("RGB", (16, 12)).save(path)
    np.testing.assert_array_equal(pixels(ImageCache.open(source, (7, 8), cache="disk", directory=cache)), first)
    renewed = Folder(Path(source.ids[0]).parents[2], Options()).load("train")
    assert not pixels(ImageCache.open(renewed, (7, 8), cache="disk", directory=cache))[0].any()


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_a_subset_shares_the_images(source, cache):
    opened_cache = ImageCache.open(source, (7, 8), cache=cache)
    part = opened_cache.take(np.array([6, 2, 4])).take(np.array([2, 0]))
    np.testing.assert_array_equal(pixels(part), pixels(opened_cache)[[4, 6]])
    np.testing.assert_array_equal(part.dataset.labels, source.labels[[4, 6]])
    assert part.pixels is opened_cache.pixels


def damage(source):
    """Makes four of nine files unreadable, and gives one the wrong extension."""
    whole = Path(source.ids[1]).read_bytes()
    for i, content in ((1, whole[: len(whole) // 2]), (4, b""), (5, b"<html>not found</html>"), (7, whole[:20])):
        Path(source.ids[i]).write_bytes(content)
    Image.open(source.ids[8]).save(source.ids[8], "JPEG")
    return {1, 4, 5, 7}


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_corrupt_images_are_all_found_and_named(source, cache, tmp_path):
    corrupt = damage(source)
    with pytest.raises(UserError, match="4 of 9 images cannot be read") as caught:
        ImageCache.open(source, (7, 8), cache=cache, directory=tmp_path / "cache")
    for i, path in enumerate(source.ids):
        assert (path in str(caught.value)) == (i in corrupt)
    assert "the file is empty" in str(caught.value)
    assert "node" not in str(caught.value)


def test_corrupt_images_cost_no_second_decoding_of_the_others(source, tmp_path, monkeypatch):
    corrupt, decoded, decode = damage(source), set(), decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda content, name, *rest: decoded.add(name) or decode(content, name))
    options = {"cache": "disk", "directory": tmp_path / "cache"}
    with pytest.raises(UserError, match="4 of 9 images cannot be read"):
        ImageCache.open(source, (7, 8), **options)
    assert len(decoded) == 9
    decoded.clear()
    assert len(ImageCache.open(source, (7, 8), corrupt_images="skip", **options)) == 5
    assert decoded == {f"image {index}" for index in corrupt}


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_corrupt_images_are_skipped_on_request(source, cache, tmp_path):
    corrupt = damage(source)
    for _ in range(2):
        opened_cache = ImageCache.open(source, (7, 8), cache=cache, directory=tmp_path / "cache", corrupt_images="skip")
        assert {image.id for image in opened_cache.skipped} == {source.ids[i] for i in corrupt}
        kept = [i for i in range(9) if i not in corrupt]
        assert list(opened_cache.dataset.ids) == [source.ids[i] for i in kept]
        np.testing.assert_array_equal(opened_cache.dataset.labels, source.labels[kept])
        assert pixels(opened_cache).shape == (5, 7, 8, 3)
        assert (pixels(opened_cache).std(axis=(1, 2, 3)) > 10).all()


def test_without_a_cache_all_images_are_decoded_only_at_the_first_start(source, tmp_path, monkeypatch):
    corrupt, decoded = damage(source), []
    decode = decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda content, name, *rest: decoded.append(name) or decode(content, name))

    def opened(source, directory=tmp_path):
        decoded.clear()
        found = ImageCache.open(source, (7, 8), cache="none", directory=directory, corrupt_images="skip")
        assert {image.id for image in found.skipped} == {source.ids[i] for i in corrupt}
        return {int(name.removeprefix("image ")) for name in decoded}

    assert opened(source) == set(range(9))
    assert opened(source) == corrupt
    with pytest.raises(UserError, match="4 of 9 images cannot be read"):
        ImageCache.open(source, (7, 8), cache="none", directory=tmp_path)
    assert opened(source, None) == set(range(9))
    # An image that can be read again is used, and changed files are all decoded.
    content = Path(source.ids[0]).read_bytes()
    monkeypatch.setattr(
        source.images, "_content", lambda index: content if index == 4 else Path(source.ids[index]).read_bytes()
    )
    corrupt.remove(4)
    assert opened(source) == corrupt | {4}
    monkeypatch.undo()
    monkeypatch.setattr(decoding, "decode", lambda content, name, *rest: decoded.append(name) or decode(content, name))
    Path(source.ids[4]).write_bytes(content)
    assert opened(Folder(Path(source.ids[0]).parents[2], Options()).load("train")) == set(range(9))


@pytest.mark.parametrize("fit", ["stretch", "whole"])
def test_images_of_a_disk_cache_that_can_be_read_again_are_used(source, fit, tmp_path, monkeypatch):
    corrupt, decoded, decode = damage(source), [], decoding.decode
    content = Path(source.ids[3]).read_bytes()
    monkeypatch.setattr(decoding, "decode", lambda content, name, *rest: decoded.append(name) or decode(content, name))
    if fit == "whole":
        source = dataclasses.replace(source, sizes=np.array([[12, 16]] * 3 + [[9, 5]] * 5 + [[9, 6]]))
        corrupt.add(8)  # has another size

    def opened():
        decoded.clear()
        options = {"cache": "disk", "directory": tmp_path / "cache", "corrupt_images": "skip"}
        found = ImageCache.open(source, (7, 8) if fit == "stretch" else None, fit=fit, **options)
        assert {image.id for image in found.skipped} == {source.ids[i] for i in corrupt}
        return {int(name.removeprefix("image ")) for name in decoded}, found

    assert opened()[0] == set(range(9))
    assert len(opened()[0]) == len(corrupt)
    monkeypatch.setattr(
        source.images, "_content", lambda index: content if index == 4 else Path(source.ids[index]).read_bytes()
    )
    corrupt.remove(4)
    names, found = opened()
    assert names == set(range(9))
    image = whole_images(found)[list(found.dataset.ids).index(source.ids[4])]
    np.testing.assert_array_equal(image, whole_images(found)[list(found.dataset.ids).index(source.ids[3])])
    assert len(opened()[0]) == len(corrupt)


@pytest.mark.parametrize("cache", ["disk", "none"])
def test_other_objects_do_not_decode_the_images_again(source, tmp_path, monkeypatch, cache):
    decoded, decode = [], decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda content, name, *rest: decoded.append(name) or decode(content, name))
    for side in (4, 5):
        box = np.array([[0, 0, side, side]], np.float32)
        one = Objects(box, np.zeros(1, np.int32), np.zeros(1, bool), np.zeros(1, bool))
        annotated = dataclasses.replace(source, objects=[one] * len(source))
        ImageCache.open(annotated, (7, 8), cache=cache, directory=tmp_path)
    assert len(decoded) == len(source)


def test_a_damaged_list_of_corrupt_images_is_made_again(source, tmp_path, caplog):
    damage(source)
    for _ in range(2):
        found = ImageCache.open(source, (7, 8), cache="none", directory=tmp_path, corrupt_images="skip")
        assert len(found.skipped) == 4
        (path,) = tmp_path.glob("unreadable-*/index.json")
        path.write_text(path.read_text().replace('"4"', '"3"'))
    assert "all images are decoded" in caplog.text


def test_skipping_all_images_of_a_class_is_an_error(source):
    for path in source.ids[:3]:
        Path(path).write_bytes(b"")
    with pytest.raises(UserError, match='without them, class "a" has no images'):
        ImageCache.open(source, (7, 8), corrupt_images="skip")


def test_a_missing_file_is_named(source):
    Path(source.ids[3]).unlink()
    with pytest.raises(UserError, match=source.ids[3]):
        ImageCache.open(source, (7, 8))


def test_a_file_deleted_later_is_named(source):
    opened_cache = ImageCache.open(source, (7, 8), cache="none")
    Path(source.ids[5]).unlink()
    with pytest.raises(UserError, match=rf"{source.ids[5]} can no longer be read: .*No such file"):
        list(opened_cache.chunks(4))


def test_progress_counts_up_to_all(source):
    calls = []
    ImageCache.open(source, (7, 8), progress=lambda done, total: calls.append((done, total)))
    assert calls[0] == (0, 9)
    assert calls[-1] == (9, 9)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "set image_size"),
        ({"image_size": (0, 5)}, "at least 1 pixel"),
        ({"image_size": (5, 5), "cache": "ram"}, 'cache = "ram"'),
        ({"image_size": (5, 5), "corrupt_images": "ignore"}, "corrupt_images"),
        ({"image_size": (5, 5), "cache": "disk"}, "needs a directory"),
    ],
)
def test_invalid_arguments_are_reported(source, arguments, message):
    with pytest.raises(UserError, match=message):
        ImageCache.open(source, **arguments)


def test_real_photos_of_many_sizes(dataset):
    source = catalog.open_labels(f"folder:{dataset('hymenoptera', per_folder=12)}").load("val")
    for image, path in zip(pixels(ImageCache.open(source, (64, 64))), source.ids, strict=True):
        theirs = Image.open(path).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(image.astype(int), np.asarray(theirs).astype(int), atol=1)


def test_letterboxed_images_are_padded_and_cached_apart_from_stretched_ones(source, tmp_path):
    stretched, letterboxed = (
        ImageCache.open(source, (12, 12), fit=fit, cache="disk", directory=tmp_path / "cache")
        for fit in ("stretch", "letterbox")
    )
    assert (pixels(letterboxed)[0][9:] == resizing.FILL).all()  # 12 x 16 becomes 9 x 12
    assert not (pixels(stretched)[0][9:] == resizing.FILL).all()


def whole_images(opened_cache):
    return [image for chunk in opened_cache.chunks(4) for image in chunk]


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_whole_images_keep_their_aspect_ratio(source, cache, tmp_path):
    for _ in range(2):
        opened_cache = ImageCache.open(
            source, (7, 7), fit="whole", interpolation="bicubic", cache=cache, directory=tmp_path / "cache"
        )
        images = whole_images(opened_cache)
        assert [image.shape for image in images] == [(7, 9, 3)] * 3 + [(13, 7, 3)] * 6
        for image, path in zip(images, source.ids, strict=True):
            theirs = pillow.resized(np.asarray(Image.open(path)), image.shape[:2], "bicubic")
            assert np.abs(image - theirs).max() <= 0.51
        part = opened_cache.take(np.array([7, 0, 4])).take(np.array([2, 0]))
        for image, index in zip(whole_images(part), (4, 7), strict=True):
            np.testing.assert_array_equal(image, images[index])


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_whole_images_that_are_not_resized(source, cache, tmp_path):
    opened_cache = ImageCache.open(source, fit="whole", cache=cache, directory=tmp_path / "cache")
    for image, path in zip(whole_images(opened_cache), source.ids, strict=True):
        np.testing.assert_array_equal(image, np.asarray(Image.open(path)))


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_corrupt_images_among_whole_ones(source, cache, tmp_path):
    corrupt = damage(source)
    options = {"fit": "whole", "cache": cache, "directory": tmp_path / "cache"}
    with pytest.raises(UserError, match="4 of 9 images cannot be read"):
        ImageCache.open(source, (7, 7), **options)
    for _ in range(2):
        opened_cache = ImageCache.open(source, (7, 7), corrupt_images="skip", **options)
        assert {image.id for image in opened_cache.skipped} == {source.ids[i] for i in corrupt}
        kept = [i for i in range(9) if i not in corrupt]
        for image, index in zip(whole_images(opened_cache), kept, strict=True):
            assert image.shape[:2] == ((7, 9) if index < 3 else (13, 7))
            assert image.std() > 10


@pytest.mark.parametrize("fit", ["stretch", "whole"])
def test_a_damaged_disk_cache_is_reported_when_the_image_is_read_and_then_rebuilt(source, fit, tmp_path):
    options = {"fit": fit, "cache": "disk", "directory": tmp_path / "cache"}
    first = ImageCache.open(source, (7, 8), **options)
    expected = whole_images(first)
    (path,) = (tmp_path / "cache").glob("*/images.uint8")
    content = bytearray(path.read_bytes())
    content[first.layout[5, 0] + 2] ^= 1
    path.write_bytes(content)
    damaged = ImageCache.open(source, (7, 8), **options)
    intact, read = damaged.take(np.delete(np.arange(9), 5)), tf.function(damaged.read)
    assert sum(len(chunk) for chunk in intact.chunks(4)) == 8
    for index in (4, 6):
        np.testing.assert_array_equal(read(tf.constant(index, tf.int64)), expected[index])
    with pytest.raises(UserError, match=r"image 5 has changed since it was written"):
        list(damaged.chunks(4))
    with pytest.raises(tf.errors.OpError, match=r"UserError: .*image 5 has changed since it was written"):
        read(tf.constant(5, tf.int64))
    assert "image 5 has changed" in str(damaged.take([0, 5]).unreadable([0, 1]))
    rebuilt = ImageCache.open(source, (7, 8), **options)
    assert [image.tolist() for image in whole_images(rebuilt)] == [image.tolist() for image in expected]


def test_interpolations_are_cached_apart(source, tmp_path):
    one, other = (
        pixels(ImageCache.open(source, (7, 8), interpolation=each, cache="disk", directory=tmp_path / "cache"))
        for each in ("bilinear", "bicubic")
    )
    assert (one != other).any()


@pytest.mark.parametrize("fit", ["stretch", "whole"])
def test_more_images_than_the_memory_holds_are_refused_before_they_are_decoded(source, fit, monkeypatch):
    total = 9 * 7 * 7 * 3 if fit == "stretch" else 3 * 7 * 9 * 3 + 6 * 13 * 7 * 3
    monkeypatch.setattr("tfeff.data.input.filling.free_memory", lambda: total - 1)
    with pytest.raises(UserError, match=r"9 decoded images in memory takes .* data\.cache=disk"):
        ImageCache.open(source, (7, 7), fit=fit)
    monkeypatch.undo()
    monkeypatch.setattr("tfeff.data.input.filling.free_memory", lambda: total)
    assert len(ImageCache.open(source, (7, 7), fit=fit)) == 9


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_thin_images_too_large_for_the_memory_are_named_or_cropped(source, cache):
    Image.new("L", (65_535, 1)).save(source.ids[2])
    source = Folder(Path(source.ids[0]).parents[2], Options()).load("train")
    with pytest.raises(UserError, match=r"1 of 9 images cannot be read:\n.*002.png: the image is too thin"):
        ImageCache.open(source, (224, 224), fit="whole", cache=cache)
    skipped = ImageCache.open(source, (224, 224), fit="whole", cache=cache, corrupt_images="skip")
    assert [image.id for image in skipped.skipped] == [source.ids[2]]
    assert pixels(ImageCache.open(source, (224, 224), fit="crop", cache=cache)).shape == (9, 224, 224, 3)


@pytest.mark.parametrize(("fit", "size"), [("whole", (224, 224)), ("stretch", (2000, 8)), ("crop", (224, 224))])
@pytest.mark.parametrize("packed", [False, True])
def test_images_that_are_too_thin_for_a_size_alone_are_found_without_a_cache(source, tmp_path, fit, size, packed):
    Image.new("L", (65_535, 1)).save(source.ids[2])
    folder, thin = Path(source.ids[0]).parents[2], fit != "crop"
    source = Folder(folder, Options()).load("train")
    if packed:
        packing.pack(packing.open_source(f"folder:{folder}"), tmp_path / "records")
        source = catalog.open_labels(f"records:{tmp_path / 'records'}").load("all")
    for each, skipped in (((2, 2), []), (size, [source.ids[2]] * thin), ((2, 2), [])):
        found = ImageCache.open(source, each, fit=fit, cache="none", directory=tmp_path / "list", corrupt_images="skip")
        assert [image.id for image in found.skipped] == skipped
    assert len(list(tmp_path.glob("list/*/index.json"))) == (0 if packed else 1 + thin)


@pytest.mark.slow
@pytest.mark.parametrize("fit", resizing.FITS)
def test_reduced_decoding_changes_pixels_slightly_and_no_geometry(fit, tmp_path):
    rows, columns = np.mgrid[:200, :336]
    for number in range(4):
        waves = (120 + 60 * np.sin(rows / 20 + number) + 50 * np.cos(columns / 25)).astype(np.uint8)
        (tmp_path / f"images/train/{'ab'[number % 2]}").mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.stack([waves, waves[::-1], 250 - waves], -1))
        image.save(tmp_path / f"images/train/{'ab'[number % 2]}/{number}.jpg", quality=92)
    photographs = Folder(tmp_path / "images", Options()).load("train")
    found = {}
    for cache in ("memory", "disk", "none"):
        for reduced in (False, True):
            opened = ImageCache.open(
                photographs, (24, 30), fit=fit, cache=cache, directory=tmp_path / "cache", reduced=reduced
            )
            found[cache, reduced] = np.concatenate([np.ravel(each) for each in opened.chunks(1)])
            assert ("reduced" in opened.form) == reduced
    for (cache, reduced), values in found.items():  # in particular, the two disk caches are apart
        np.testing.assert_array_equal(values, found["memory", reduced], err_msg=cache)
    whole, other = (found["none", reduced].astype(float) for reduced in (False, True))
    assert whole.shape == other.shape
    error = np.mean((whole - other) ** 2)
    assert 0 < error < 255**2 / 10**3.8  # 38 dB
