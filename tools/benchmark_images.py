"""CPU time of images: `python tools/benchmark.py images --small=folder:DIR --large=folder:DIR2`.

The cost of an augmentation is that of batches with it, in this process and all its threads. The rounds of all rows
alternate.

With --boxes, also augmentation of photographs with their boxes. With --large, also what `data.reduced_decoding` saves
and changes: photographs of --large, enlarged to the sizes of cameras, are decoded and cropped, whole and reduced in
turn. PSNR compares the two results. And whether the pipeline delivers what its CPU time promises: a device that needs
no CPU is simulated by a consumer that sleeps after each batch.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from paired_rounds import quartiles
from PIL import Image

from tfeff.data.augment.policy import Augmentation, BoxAugmentation
from tfeff.data.dataset import Dataset, evenly_spaced
from tfeff.data.images import decoding as image_decoding
from tfeff.data.images.storage import EncodedImages
from tfeff.data.input.batches import Batches
from tfeff.data.input.box_transform import BoxTransform
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.decoding import resized
from tfeff.data.input.image_transform import ImageTransform
from tfeff.data.input.order import Shuffled
from tfeff.data.input.reader import Reader
from tfeff.data.input.transform import Transform
from tfeff.data.sources import catalog
from tfeff.errors import UserError
from tfeff.reporting import tables

BATCH = 128
LARGE_BATCH = 16
LARGE = 224
WITH_BOXES = 640
BUFFERED = 3
"""More batches than the pipeline keeps ready, beside those that its threads make."""
PACES = (0.5, 0.9, 1.0, 1.1, 2.0)
"""Speeds of a simulated device, as multiples of the pipeline's own."""
ENLARGED = (1600, 1200), (4000, 3000)
"""(width, height) of photographs that are decoded at a reduced size."""
AUGMENTATIONS = {
    "none": Augmentation(),
    "flip and padded crop": Augmentation(horizontal_flip=True, crop_padding=4),
    "rotation, shift, scale and shear in one warp": Augmentation(rotation=15, shift=0.1, scale=0.1, shear=10),
    "color jitter": Augmentation(brightness=0.4, contrast=0.4, saturation=0.4),
    "random erasing": Augmentation(random_erasing=0.5),
    "MixUp and CutMix": Augmentation(mixup_alpha=0.2, cutmix_alpha=1.0),
    "RandAugment with two operations": Augmentation(randaugment_layers=2),
}
"""Each of them alone, on images of the network's resolution."""
_COLOR = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.02}
BOX_AUGMENTATIONS = {
    "none": BoxAugmentation(),
    "scale": BoxAugmentation(scale=0.5),
    "scale and color": BoxAugmentation(scale=0.5, **_COLOR),
    "rotation and color": BoxAugmentation(rotation=10, **_COLOR),
    "Mosaic, scale and color": BoxAugmentation(mosaic=1.0, scale=0.5, **_COLOR),
    "AutoAugment v0": BoxAugmentation(autoaugment="v0"),
    "AutoAugment v2": BoxAugmentation(autoaugment="v2"),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Defines the flags."""
    parser.add_argument("--small", default="embedded:digits", help="Dataset of small images; CIFAR-10 in the docs.")
    parser.add_argument("--large", help="Dataset of photographs, decoded for every batch; none by default.")
    parser.add_argument("--boxes", help="Photographs with boxes; none by default.")
    parser.add_argument("--rounds", type=int, default=8, help="Timed rounds per row.")
    parser.add_argument("--batches", type=int, default=40, help="Batches per round.")


def run(arguments: argparse.Namespace) -> None:
    """Measures the CPU time per image of decoding and of each augmentation."""
    if arguments.rounds < 2 or arguments.batches < 1:
        raise UserError(f"--rounds={arguments.rounds} must be at least 2, --batches={arguments.batches} at least 1")
    small = catalog.open_labels(arguments.small).load("train")
    decode_all = decoding(small)
    reading = [decode_all() for _ in range(3)]
    size = small.size or (32, 32)
    cache = ImageCache.open(small, size)
    reader = Reader(cache)
    rows = {
        f"{small.name}, {name}": batches(ImageTransform(reader, size, augmentation=each), BATCH, arguments.batches)
        for name, each in AUGMENTATIONS.items()
    }
    smaller = (3 * size[0] // 4, 3 * size[1] // 4)
    rows[f"{small.name}, downsampling {size[0]} to {smaller[0]} pixels"] = batches(
        ImageTransform(reader, smaller), BATCH, arguments.batches
    )
    few = max(1, arguments.batches // 8)
    if arguments.large:
        photographs = catalog.open_labels(arguments.large).load("train")
        uncached = ImageCache.open(photographs, (LARGE, LARGE), fit="crop", cache="none")
        for name, augmentation in (
            (f"decoded and cropped to {LARGE} pixels", Augmentation()),
            ("also AutoAugment", Augmentation(autoaugment=True)),
        ):
            transform = ImageTransform(Reader(uncached), (LARGE, LARGE), augmentation=augmentation)
            rows[f"{photographs.name}, {name}"] = batches(transform, LARGE_BATCH, few)
    if arguments.boxes:
        annotated = catalog.open_objects(arguments.boxes).load("train")
        canvas = (WITH_BOXES, WITH_BOXES)
        with_boxes = Reader(ImageCache.open(annotated, canvas, fit="letterbox"))
        for name, each in BOX_AUGMENTATIONS.items():
            rows[f"{annotated.name}, {name}"] = batches(
                BoxTransform(with_boxes, canvas, augmentation=each), LARGE_BATCH, few
            )
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(arguments.rounds + 1):
        for name in rows if number % 2 else reversed(rows):
            seconds[name].append(rows[name]())
    # The first round starts the pipelines.
    print(tables.markdown([row(name, times[1:]) for name, times in seconds.items()]))
    cpu, wall = zip(*reading, strict=True)
    print(
        f"\nreading all {len(small):,} images of {small.name}: {statistics.median(wall):.1f} s "
        f"({min(wall):.1f} to {max(wall):.1f} in {len(wall)} rounds), {statistics.median(cpu):.1f} s of CPU time"
    )
    if arguments.large:
        print("\n" + tables.markdown(reduced_decoding(photographs)))
        print("\n" + tables.markdown(delivered(uncached, arguments.batches)))


def reduced_decoding(photographs: Dataset, count: int = 40) -> list[dict[str, object]]:
    """Returns what reduced decoding saves and changes, by size of photographs and of the result."""
    rows = []
    for width, height in ENLARGED:
        images = enlarged(photographs.take(evenly_spaced(len(photographs), count)), (width, height))
        for side in (64, 128, LARGE):
            seconds: dict[bool, list[float]] = {False: [], True: []}
            psnr = []
            for index in range(-1, len(images)):  # the first one loads the kernels
                found = {}
                for reduced in (False, True):
                    began = time.process_time()
                    place = tf.constant(max(0, index), tf.int64)
                    found[reduced] = resized(images, place, (side, side), "crop", "bilinear", reduced).numpy()
                    seconds[reduced].append(time.process_time() - began)
                error = np.mean((found[False].astype(float) - found[True]) ** 2)
                psnr.append(10 * np.log10(255**2 / error) if error else np.inf)
            whole, part = (np.array(seconds[reduced][1:]) for reduced in (False, True))
            low, middle, high = np.quantile(whole / part, (0.25, 0.5, 0.75))
            rows.append(
                {
                    "photographs of": f"{width}x{height}",
                    "cropped to": side,
                    "whole, ms": 1e3 * np.median(whole),
                    "reduced, ms": 1e3 * np.median(part),
                    "ratio": middle,
                    "quartiles": f"{low:.2f} to {high:.2f}",
                    "PSNR, dB, median": np.median(psnr[1:]),
                    "least": min(psnr[1:]),
                }
            )
    return rows


def delivered(cache: ImageCache, count: int) -> list[dict[str, object]]:
    """Returns how many images a device gets that takes them at different speeds, in rounds of `count` batches."""
    transform = ImageTransform(Reader(cache), (LARGE, LARGE), augmentation=Augmentation())
    made = Batches(transform, min(LARGE_BATCH, len(cache)), order=Shuffled(len(cache), seed=0))

    def speed(step_seconds: float) -> tuple[float, float]:
        """Returns batches per second, and the share of the time that the device waits, once buffers are empty."""
        endless = iter(made.training_batches(epochs=100_000))
        for _ in range(made.parallelism + BUFFERED):
            next(endless)
        waited, began = 0.0, time.perf_counter()
        for _ in range(count):
            before = time.perf_counter()
            next(endless)
            waited += time.perf_counter() - before
            time.sleep(step_seconds)
        seconds = time.perf_counter() - began
        return count / seconds, waited / seconds

    speed(0.0)  # warm-up
    own = statistics.median(speed(0.0)[0] for _ in range(3))
    rows: list[dict[str, object]] = []
    for pace in PACES:
        reached, waiting = speed(1 / (pace * own))
        rows.append(
            {
                "a device takes, images/s": pace * own * made.batch_size,
                "gets": reached * made.batch_size,
                "waits, % of the time": 100 * waiting,
            }
        )
    return rows


def enlarged(photographs: Dataset, size: tuple[int, int]) -> Dataset:
    """Returns photographs enlarged to (width, height) or, upright ones, (height, width), as JPEG files in memory."""
    files = []
    for index in range(len(photographs)):
        image = Image.fromarray(image_decoding.decode(photographs.encoded(index), photographs.ids[index]))
        target = size if image.width >= image.height else size[::-1]
        file = io.BytesIO()
        image.resize(target, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return Dataset(photographs.name, photographs.class_names, photographs.ids, EncodedImages(files, "enlarged"))


def batches(transform: Transform, batch_size: int, count: int) -> Callable[[], float]:
    """Returns a round of `count` training batches, which returns CPU seconds per image.

    A round begins and ends with full buffers, so it pays for as many batches as it takes.
    """
    images = len(transform.reader)
    made = Batches(transform, min(batch_size, images), order=Shuffled(images, seed=0))
    endless = iter(made.training_batches(epochs=100_000))

    def timed() -> float:
        began = time.process_time()
        for _ in range(count):
            next(endless)
        wait_until_idle()
        return (time.process_time() - began) / (count * made.batch_size)

    return timed


def wait_until_idle() -> None:
    """Waits until the pipelines of this process have filled their buffers."""
    while True:
        before = time.process_time()
        time.sleep(0.2)
        if time.process_time() - before < 0.002:
            return


def decoding(images: Dataset) -> Callable[[], tuple[float, float]]:
    """Returns a round that decodes all images of a dataset, which returns CPU seconds and seconds."""

    def timed() -> tuple[float, float]:
        began = time.process_time(), time.perf_counter()
        ImageCache.open(images, images.size or (32, 32))
        return time.process_time() - began[0], time.perf_counter() - began[1]

    return timed


def row(name: str, seconds: list[float]) -> dict[str, object]:
    """Returns the table row of a pipeline's CPU seconds per image."""
    low, middle, high = quartiles(seconds)
    return {
        "batches of": name,
        "CPU time per image, µs": 1e6 * middle,
        "quartiles": f"{1e6 * low:.1f} to {1e6 * high:.1f}",
    }
