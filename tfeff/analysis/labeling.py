"""Which images to label next: those whose labels would teach a trained classifier most."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfeff import config, durable, selection, training
from tfeff.analysis.comparison.classifiers.predictions import predict
from tfeff.analysis.comparison.run import open_runs
from tfeff.analysis.comparison.thumbnails import Thumbnails
from tfeff.data.sources import unlabeled
from tfeff.errors import UserError
from tfeff.reporting import tables
from tfeff.reporting.gallery import contact_sheet, save_image
from tfeff.reporting.spreadsheet import csv_text

FILE, SHEET = "label_next.csv", "label_next.jpg"
SHOWN = 48
"""Images on the sheet."""
PRINTED = 10
"""Images in the terminal."""


@dataclass(frozen=True)
class Listing:
    """The images of a folder to label next, and their files.

    Attributes:
        rows: `image`, and the two likeliest classes with their probabilities, of each image that is listed, the most
            important first.
        images: number of images in the folder that can be read.
        unreadable: number of the others.
        table: the file with the rows.
        sheet: the file with the pictures of the first ones.
        kept: where an earlier table with other rows is kept; None if there was none.
    """

    rows: Sequence[Mapping[str, Any]]
    images: int
    unreadable: int
    table: Path
    sheet: Path
    kept: Path | None

    def to_text(self) -> str:
        """Returns the first images and the paths of the files, for the terminal."""
        every = self.images + self.unreadable
        left = f"{self.unreadable:,} of {every:,} images cannot be read\n" if self.unreadable else ""
        earlier = f"the earlier list is kept as {self.kept}\n" if self.kept else ""
        return (
            f"{tables.text(self.rows[:PRINTED])}\n\n{left}The {len(self.rows):,} of {self.images:,} images whose "
            "labels would teach most, in this order: uncertain, and different from each other.\n"
            f"{earlier}wrote {self.table}\nwrote {self.sheet}"
        )


def choose(
    probabilities: npt.NDArray[np.float32], features: npt.NDArray[np.float32], count: int, *, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Returns images that are uncertain and differ from each other (BADGE: Ash et al., arXiv:1906.03671).

    If the predicted class were the label, the gradient of the classifier's loss would be the outer product of
    probabilities minus label and features (here: minus their mean). It is large for uncertain images. k-means++ draws
    images with large gradients far from those of the images that it has drawn.

    Args:
        probabilities: [n, classes].
        features: [n, d], what the classifier reads.
        count: images to choose, at most n.

    Returns:
        Indices, the most important first.
    """
    errors = probabilities.astype(np.float64)
    errors[np.arange(len(errors)), errors.argmax(axis=1)] -= 1
    features = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    norms = (errors**2).sum(axis=1) * (features**2).sum(axis=1)
    draw, chosen = np.random.default_rng(seed), [int(norms.argmax())]
    distances = np.full(len(norms), np.inf)
    while len(chosen) < min(count, len(norms)):
        last = chosen[-1]
        products = (errors @ errors[last]) * (features @ features[last])
        distances = np.minimum(distances, np.maximum(norms + norms[last] - 2 * products, 0))
        distances[chosen] = 0
        if not distances.any():  # the others are copies; the most uncertain ones come first
            others = np.setdiff1d(np.argsort(-norms, kind="stable"), chosen, assume_unique=True)
            return np.array([*chosen, *others])[:count]
        chosen.append(int(draw.choice(len(norms), p=distances / distances.sum())))
    return np.array(chosen)


def write(
    workdir: str | Path,
    directory: str,
    out: str | Path,
    count: int,
    reporter: training.Reporter | None = None,
    where: str = "--unlabeled",
) -> Listing:
    """Lists the images of a folder to label next, in `label_next.csv`, and draws the first ones.

    Args:
        workdir: workdir of a finished classifier run.
        directory: images without labels.
        out: where the files are written.
        count: number of images.
        where: the setting that names the folder, for messages.

    Raises:
        UserError: the run is not finished or not of a classifier, or the folder has no images.
    """
    reporter, out = reporter or training.Reporter(), Path(out)
    config.refuse_workdir(out)
    (run,) = open_runs([workdir])
    if run.kind != "classifier":
        raise UserError(f"--workdir={workdir}: a {run.kind}; {where} requires a classifier")
    plan, record = run.plan, run.workdir.dataset()
    dataset = unlabeled.load(directory, record["class_names"], plan.images.data.channels, objects=False, where=where)
    size = record["image_size"]
    data = dataclasses.replace(plan.images.data, corrupt_images="skip", cache="none")  # each is read once
    wanted = dataclasses.replace(plan.images, data=data)
    with durable.locked(out, "--out"), reporter.bars():
        images = selection.cache(wanted, dataset, size and tuple(size), reporter.reading)
        if not len(images):
            raise UserError(f"{where}={directory}: no image can be read")
        reporter.say(f"predicting {len(images):,} images with {run.name}")
        predicted = predict(run, images, out / "predictions" / "unlabeled.npz", read=True)
        chosen = choose(predicted.probabilities, predicted.features, count)
        rows = _rows(images.dataset.ids, images.dataset.class_names, predicted.probabilities, chosen)
        columns = list(rows[0])
        table = csv_text([columns, *([row[key] for key in columns] for row in rows)])
        kept = durable.write_listing(out / FILE, table)
        shown = [
            np.broadcast_to(each, (*each.shape[:2], 3)) for each in Thumbnails(images.dataset).take(chosen[:SHOWN])
        ]
        captions = [
            f"{row['predicted']} ({tables.percent(row['probability'])})\n{Path(row['image']).name}" for row in rows
        ]
        save_image(contact_sheet(shown, captions[:SHOWN]), out / SHEET)
    return Listing(rows, len(images), len(images.skipped), out / FILE, out / SHEET, kept)


def _rows(
    ids: Sequence[str],
    class_names: Sequence[str],
    probabilities: npt.NDArray[np.float32],
    chosen: npt.NDArray[np.int64],
) -> list[dict[str, Any]]:
    rows = []
    for index in chosen:
        first, second, *_ = np.argsort(-probabilities[index], kind="stable")
        rows.append(
            {
                "image": ids[index],
                "predicted": class_names[first],
                "probability": round(float(probabilities[index, first]), 4),
                "second": class_names[second],
                "its probability": round(float(probabilities[index, second]), 4),
            }
        )
    return rows
