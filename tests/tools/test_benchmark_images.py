from tfeff.data.sources import catalog
from tools import benchmark_images


def test_reduced_decoding_is_measured(image_folder, monkeypatch):
    monkeypatch.setattr(benchmark_images, "ENLARGED", ((640, 480),))
    photographs = catalog.open_labels(f"folder:{image_folder({'train/a': 2, 'train/b': 2})}").load("train")
    rows = benchmark_images.reduced_decoding(photographs, count=3)
    assert [row["cropped to"] for row in rows] == [64, 128, 224]
    assert all(row["whole, ms"] > 0 for row in rows)
    assert [row["least"] < 99 for row in rows] == [True, False, False]  # 480 pixels are not twice 2 x 128
