"""Fixtures of all tests: quiet and bounded TensorFlow, a clean Keras, and real data if it is available."""

import tests.environment  # noqa: F401

# isort: split

import ctypes
import fcntl
import gc
import json
import os
import resource
import shutil
import signal
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from tests.undrawn import undrawn
from tests.verbs import Verbs

gc.set_threshold(100_000, 50, 100)  # Graphs consist of very many objects; collecting often takes a tenth of the time.

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("TFEFF_SHARED", ROOT.parent / "shared"))


SLOWEST_FIRST = (
    "scaling/test_search",
    "training/test_loop",
    "rcnn/test_runs",
    "training/test_distribution",
    "tasks/test_object_detection",
    "tasks/test_localization",
    "tasks/test_embedding",
    "data/input/test_batches",
    "models/weights/test_applications",
    "training/test_restart",
    "test_cli",
    "test_commands",
    "models/cost/test_complexity",
    "test_propose",
    "models/test_build",
    "data/input/test_box_transform",
    "models/cost/test_tracer",
    "training/test_assembly",
    "models/test_jax_backend",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files run first. pytest-xdist gives a file to one process; if it were last, the others would only wait.

    In a single process they run last, so that failures show early.
    """
    ranks = {ROOT / "tests" / f"{name}.py": rank for rank, name in enumerate(SLOWEST_FIRST)}
    sign = 1 if "PYTEST_XDIST_WORKER" in os.environ else -1
    items.sort(key=lambda item: sign * ranks.get(item.path, len(ranks)))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Says how a test process died, and with how much memory; killed by the system, it says nothing itself."""
    if error is not None:
        code = node.gateway._io.popen.wait(10)
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        print(f"\n{node.gateway.id} ended {how}; the largest process had {peak / 2**30:.1f} GiB", file=sys.stderr)


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """`image_folder({"train/cat": 3, "train/dog": 2}, size=(12, 16))`: a folder with that many random PNG files."""

    def make(counts: Mapping[str, int], size: tuple[int, int] = (12, 16), name: str = "images") -> Path:
        rng = np.random.default_rng(0)
        for part, count in counts.items():
            (tmp_path / name / part).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (*size, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / name / part / f"{i:03}.png")
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def verbs() -> Iterator[Verbs]:
    """`verbs("train", "--config=...")` runs a verb to its end, `verbs.start(...)` starts it."""
    with Verbs() as verbs:
        yield verbs


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the archives of real datasets; without it, the test is skipped."""
    return _shared("data")


@pytest.fixture(scope="session")
def dataset(shared_data: Path, pytestconfig: pytest.Config) -> Callable[..., Path]:
    """`dataset("cifar10", per_folder=100)`: the folder of an unpacked archive, whole or the first files of each folder.

    Unpacked once and kept in pytest's cache; a test that changes files copies them first.
    """
    assert pytestconfig.cache is not None
    cache = pytestconfig.cache.mkdir("datasets")

    def unpacked(name: str, per_folder: int | None = None) -> Path:
        folder = cache / (name if per_folder is None else f"{name}-first-{per_folder}")
        with (cache / f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the other test processes wait, then find it there
            if not folder.exists():
                _unpack(shared_data / f"{name}.tar.gz", folder, per_folder)
        return folder

    return unpacked


@pytest.fixture
def without_figures() -> Iterator[None]:
    """Draws no figures in this process: they take longer than evaluating a small network."""
    with undrawn():
        yield


@pytest.fixture(autouse=True)
def _seeds_and_precision() -> Iterator[None]:
    """Every test starts from the same seeds and keeps its precision to itself.

    TensorFlow's own seed is left alone: setting it empties the cache of kernels, after which a network takes half as
    long again to build. Only stateful random operators depend on it, and the package uses them for no result.
    """
    if keras := sys.modules.get("keras"):
        with mock.patch("tensorflow.random.set_seed"):
            keras.utils.set_random_seed(0)
    yield
    if keras := sys.modules.get("keras"):
        keras.config.set_dtype_policy("float32")


def pytest_collection_finish() -> None:
    """What was imported stays; the collector need not look at it again."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _memory() -> Iterator[None]:
    """Gives back a file's networks and layer names; after every test, the collector would take half of the time."""
    yield
    if keras := sys.modules.get("keras"):
        keras.backend.clear_session()  # collects garbage, too
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # of glibc, which otherwise keeps what is free
        trim(0)


def _shared(part: str) -> Path:
    folder = SHARED / part
    if not folder.is_dir():
        pytest.skip(f"needs {folder} (TFEFF_SHARED names its parent)")
    return folder


def _unpack(archive: Path, folder: Path, per_folder: int | None) -> None:
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with tarfile.open(archive) as tar:
        members = sorted((member for member in tar if member.isfile()), key=lambda member: member.name)
        if per_folder is not None:
            taken: Counter[Path] = Counter()
            first = []
            for member in members:
                parent = Path(member.name).parent
                taken[parent] += 1
                if taken[parent] <= per_folder:
                    first.append(member)
            members = first
        members.sort(key=lambda member: member.offset)  # seeking back would mean to decompress from the start
        tar.extractall(partial, members, filter="data")
    partial.rename(folder)


@pytest.fixture
def assert_legible(monkeypatch: pytest.MonkeyPatch) -> Callable[[Figure], None]:
    """Draws a figure and checks that all texts are inside it and do not overlap."""

    def check(figure: Figure) -> None:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # computes the layout
        texts = []
        draw = Text.draw
        with monkeypatch.context() as patch:
            # Axes keep texts that they do not draw, such as ticks outside their limits.
            patch.setattr(Text, "draw", lambda text, *args, **kwargs: (texts.append(text), draw(text, *args, **kwargs)))
            canvas.draw()
        texts = [text for text in texts if text.get_visible() and text.get_text().strip()]
        extents = [text.get_window_extent(canvas.get_renderer()).extents for text in texts]
        left, bottom, right, top = np.reshape(extents, (-1, 4)).T
        outside = (left < -1) | (bottom < -1) | (right > figure.bbox.width + 1) | (top > figure.bbox.height + 1)
        assert not outside.any(), [texts[i].get_text() for i in np.flatnonzero(outside)]

        # One pixel of tolerance, because extents contain the full line height.
        across = np.minimum.outer(right, right) - np.maximum.outer(left, left) > 1
        down = np.minimum.outer(top, top) - np.maximum.outer(bottom, bottom) > 1
        pairs = np.argwhere(np.triu(across & down, 1))
        assert not len(pairs), [(texts[i].get_text(), texts[j].get_text()) for i, j in pairs[:5]]

    return check


@pytest.fixture(scope="session")
def golden_counts() -> dict[str, Any]:
    """Parameters and multiply-adds of the published implementations: `classification` and `detection`, by name."""
    return json.loads((Path(__file__).parent / "models" / "golden_counts.json").read_text())


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files and directories that were synchronized with the disk, in order."""
    names, fsync = list[str](), os.fsync

    def noted(descriptor: int) -> None:
        names.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    return names
