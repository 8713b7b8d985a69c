"""A published archive of COCO weights, in the cache of downloads."""

import tarfile
from pathlib import Path

import pytest

from tests.conftest import SHARED

CHECKPOINT = SHARED / "reference" / "efficientdet-d0"


def write_archive(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes the reference checkpoint of EfficientDet-D0 as it is published; returns Keras' cache of models."""
    if not CHECKPOINT.is_dir():
        pytest.skip("no reference checkpoint")
    monkeypatch.setenv("KERAS_HOME", str(home))
    (home / "models").mkdir()
    with tarfile.open(home / "models" / "efficientdet-d0.tar.gz", "w:gz") as made:
        for file in CHECKPOINT.iterdir():
            if file.suffix != ".npz":
                made.add(file, f"efficientdet-d0/{file.name}")
    return home / "models"
