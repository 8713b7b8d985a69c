from types import SimpleNamespace

import pytest

from tfeff.data.input.cache import ImageCache
from tfeff.data.sources import catalog
from tools import benchmark_images


def test_reduced_decoding_is_measured(image_folder, monkeypatch):
    monkeypatch.setattr(benchmark_images, "ENLARGED", ((640, 480),))
    photographs = catalog.open_labels(f"folder:{image_folder({'train/a': 2, 'train/b': 2})}").load("train")
    rows = benchmark_images.reduced_decoding(photographs, count=3)
    assert [row["cropped to"] for row in rows] == [64, 128, 224]
    assert all(row["whole, ms"] > 0 for row in rows)
    assert [row["least"] < 99 for row in rows] == [True, False, False]  # 480 pixels are not twice 2 x 128


@pytest.mark.slow
def test_a_slow_device_waits_less_than_a_fast_one(image_folder, monkeypatch):
    monkeypatch.setattr(benchmark_images, "PACES", (0.2, 20.0))
    photographs = catalog.open_labels(f"folder:{image_folder({'train/a': 20, 'train/b': 20}, size=(300, 300))}")
    slow, fast = benchmark_images.delivered(ImageCache.open(photographs.load("train"), (224, 224), cache="none"), 5)
    assert fast["a device takes, images/s"] == pytest.approx(100 * slow["a device takes, images/s"])
    assert slow["waits, % of the time"] < fast["waits, % of the time"]


def test_the_speed_of_the_pipeline_is_the_median_of_warm_passes(image_folder, monkeypatch):
    now, passes = [0.0], []

    def slept(seconds):
        now[0] += seconds

    def training_batches(epochs):
        seconds = {0: 9.0, 2: 4.0}.get(len(passes), 0.5)  # per batch: the first pass is cold, the third one disturbed
        passes.append(seconds)
        while True:
            slept(seconds)
            yield

    pipeline = SimpleNamespace(parallelism=1, batch_size=6, training_batches=training_batches)
    monkeypatch.setattr(benchmark_images, "Batches", lambda *_, **__: pipeline)
    monkeypatch.setattr(benchmark_images, "time", SimpleNamespace(perf_counter=lambda: now[0], sleep=slept))
    photographs = catalog.open_labels(f"folder:{image_folder({'train/a': 1, 'train/b': 1})}").load("train")
    rows = benchmark_images.delivered(ImageCache.open(photographs, (8, 8)), 5)
    taken = [row["a device takes, images/s"] for row in rows]
    assert taken == pytest.approx([12 * pace for pace in benchmark_images.PACES])
    assert rows[2]["gets"] == pytest.approx(6)  # half a second for the batch, then half a second on the device
