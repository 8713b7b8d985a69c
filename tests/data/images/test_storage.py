import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tfeff.data.images import decoding, pixels
from tfeff.data.images.storage import (
    DrawnImages,
    EncodedImages,
    ImageFiles,
    PixelArray,
    PixelArrays,
    Segments,
    content_digest,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), np.uint8)
ENCODED = [cv2.imencode(".png", image[..., ::-1])[1].tobytes() for image in PIXELS]


def segments(folder):
    """Returns two files of two images each, with something around them."""
    rows = []
    for file in range(2):
        content = b"header"
        for encoded in ENCODED[2 * file : 2 * file + 2]:
            rows.append((file, len(content), len(encoded)))
            content += encoded + b"footer"
        (folder / f"{file}.records").write_bytes(content)
    return Segments([folder / "0.records", folder / "1.records"], np.array(rows), "v1")


@pytest.fixture(params=["files", "encoded", "segments", "array", "arrays", "drawn"])
def storage(request, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path, content in zip(paths, ENCODED, strict=True):
        path.write_bytes(content)
    made = {
        "files": lambda: ImageFiles(paths),
        "encoded": lambda: EncodedImages(ENCODED, "v1"),
        "segments": lambda: segments(tmp_path),
        "array": lambda: PixelArray(PIXELS, "v1"),
        "arrays": lambda: PixelArrays(list(PIXELS), "v1"),
        "drawn": lambda: DrawnImages(4, ENCODED.__getitem__, "v1"),
    }
    return made[request.param]()


def test_every_storage_gives_the_same_images_in_both_forms(storage):
    part = storage.take(np.array([2, 0, 3])).take(np.array([1, 2]))
    for index, original in enumerate((0, 3)):
        decoded = cv2.imdecode(np.frombuffer(part.encoded(index), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        np.testing.assert_array_equal(decoded, PIXELS[original])
        np.testing.assert_array_equal(part.read(tf.constant(index, tf.int64), 3), PIXELS[original])
        assert part.digest(index) == content_digest(part.encoded(index))
        assert part.size(index) == (6, 5)
    gray = part.read(tf.constant(0, tf.int64), 1)
    np.testing.assert_allclose(gray[..., 0], cv2.cvtColor(PIXELS[0], cv2.COLOR_RGB2GRAY), atol=1)
    dataset = tf.data.Dataset.range(2).map(lambda index: part.read(index, 3))
    np.testing.assert_array_equal(np.stack(list(dataset.as_numpy_iterator())), PIXELS[[0, 3]])


def test_parts_of_files_are_compared_without_reading(tmp_path):
    one, other = segments(tmp_path), segments(tmp_path).take(np.array([3, 1]))
    for path in tmp_path.glob("*.records"):
        path.write_bytes(b"")
    assert one.same_content(1, other, 1)
    assert other.same_content(0, one, 3)
    assert one.location(1) != one.location(0)


def test_a_digest_reads_a_file_once(tmp_path, monkeypatch):
    path = tmp_path / "0.png"
    path.write_bytes(ENCODED[0])
    files = ImageFiles([path])
    first = files.encoded(0)
    path.unlink()
    assert files.digest(0) == content_digest(first)


def test_the_fingerprint_of_files_follows_size_and_time(tmp_path):
    path = tmp_path / "0.png"
    path.write_bytes(ENCODED[0])
    before = ImageFiles([path]).fingerprint(3)
    assert ImageFiles([path]).fingerprint(3) == before != ImageFiles([path]).fingerprint(1)
    path.write_bytes(ENCODED[1] + b"x")
    assert ImageFiles([path]).fingerprint(3) != before


def test_fingerprints_of_images_in_memory_and_in_larger_files_follow_order_and_contents(tmp_path):
    contents, other = [b"one", b"two"], [b"two", b"one"]  # of the same length
    known = EncodedImages(contents, "v1").fingerprint(3)
    assert EncodedImages(contents, "v1").fingerprint(3) == known != EncodedImages(other, "v1").fingerprint(3)
    path, places = tmp_path / "0.records", np.array([(0, 0, 3), (0, 3, 3)])
    path.write_bytes(b"".join(contents))
    known = Segments([path], places, "v1").fingerprint(3)
    assert Segments([path], places, "v1").fingerprint(3) == known != Segments([path], places[::-1], "v1").fingerprint(3)
    path.write_bytes(b"".join(other))
    os.utime(path, ns=(0, 0))
    assert Segments([path], places, "v1").fingerprint(3) != known


def test_a_shortened_file_of_segments_is_an_error(tmp_path):
    storage = segments(tmp_path)
    path = tmp_path / "1.records"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(OSError, match=r"1\.records: ends after"):
        storage.encoded(3)
    with pytest.raises(tf.errors.OpError, match=r"1\.records: ends after"):
        list(tf.data.Dataset.range(3, 4).map(lambda index: storage.read(index, 3)))


def test_files_are_looked_up_once_but_for_their_stamps(tmp_path, monkeypatch):
    """Disks of a network take long; stamps tell whether files have changed since."""
    paths = [str(tmp_path / f"{number}.png") for number in range(4)]
    for path, content in zip(paths, ENCODED, strict=True):
        Path(path).write_bytes(content)
    files, stat, asked = ImageFiles(paths), os.stat, []
    monkeypatch.setattr(os, "stat", lambda path, **options: asked.append(path) or stat(path, **options))
    stamps = [files.stamp(index) for index in range(4)]
    part = files.take(np.array([2, 1]))
    known = files.fingerprint(3), part.fingerprint(3), files.origin(2), part.origin(0)
    assert asked == paths
    assert known[2] == known[3]
    Path(paths[2]).write_bytes(ENCODED[0] + b"x")
    changed = [files.stamp(index) for index in range(4)]
    assert [one == other for one, other in zip(stamps, changed, strict=True)] == [True, True, False, True]
    assert files.fingerprint(3) != known[0]
    assert part.fingerprint(3) != known[1]


def test_images_of_several_sizes_are_kept_as_they_are():
    images = [PIXELS[0], PIXELS[1, :4], PIXELS[2, :, :, :1], PIXELS[1, :4]]
    arrays = PixelArrays(images, "v1")
    for index, image in enumerate(images):
        expected = np.repeat(image, 3 // image.shape[2], axis=2)
        np.testing.assert_array_equal(arrays.read(tf.constant(index, tf.int64), 3), expected)
        np.testing.assert_array_equal(arrays.read(tf.constant(index, tf.int64), 1), decoding.luma(expected))
        np.testing.assert_array_equal(decoding.decode(arrays.encoded(index), ""), expected)
        assert arrays.size(index) == image.shape[:2]
    found = [arrays.outline(index) for index in range(4)]
    assert found[1] == found[3]
    assert len(set(found)) == 3
    assert arrays.origin(0) == PixelArray(PIXELS, "v2").origin(0)


def test_the_memory_of_images_of_one_size_is_not_copied():
    array = pixels.allocate(PIXELS.size).reshape(PIXELS.shape)
    array[:] = PIXELS
    images = PixelArray(array, "v1")
    images.read(tf.constant(0, tf.int64), 3)
    array[1] = 7
    np.testing.assert_array_equal(images.read(tf.constant(1, tf.int64), 3), np.full((6, 5, 3), 7))
