"""Resumable prediction for many image files: rows as JSON and CSV, and pictures."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tfeff.data.dataset import Id, evenly_spaced
from tfeff.data.images import decoding
from tfeff.data.images.unreadable import REPLACE, unreadable_images
from tfeff.data.names import counted, is_text, shown
from tfeff.data.sources import catalog, files
from tfeff.durable import locked, replacing, write
from tfeff.errors import UserError
from tfeff.evaluation import Detections, to_coco_results
from tfeff.reporting.gallery import contact_sheet, save_image, thumbnail
from tfeff.reporting.spreadsheet import csv_text
from tfeff.reporting.tables import percent
from tfeff.runs.journal import MARK, Journal, compact, file_state
from tfeff.runs.predictors import BOX_COLUMNS, Files, Predictor, detections_csv
from tfeff.runs.results import TOP, Prediction, Row

SHEET = 48
"""Images on the contact sheet of a classifier."""
EMBEDDINGS = "embeddings.npz"
"""The file of vectors."""
_DARK, _DRAWN = "dark", "drawn"
"""The journal's keys of nearly black images, and of the size and time of the picture that was written for a row."""
NAME_BYTES = 255 - len("..partial")
"""Length of a file's name that all usual file systems allow, also while the file is written."""


@dataclass
class Predictions:
    """What was predicted.

    Attributes:
        rows: image name -> row, in the order of the images; vectors are float32 [dimension].
        damaged: image name -> why it has no row.
        dark: names of the images with a row that are nearly black.
        known: number of rows that an earlier call had already found.
        files: all files written, except drawn images.
        drawn: the drawn images, also of an earlier call, that show `rows`.
        ids: which ids `detections.json` has; "" without it.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    dark: list[str] = field(default_factory=list)
    known: int = 0
    files: list[Path] = field(default_factory=list)
    drawn: set[Path] = field(default_factory=set)
    ids: str = ""


def find_images(images: Path, out: Path | None = None, notes: list[str] | None = None) -> dict[str, Path]:
    """Returns image files by name (the path inside `images`), sorted.

    Folders in it that hold predictions are left out, and `out`.

    Args:
        images: an image file, or a folder.
        out: where predictions are written.
        notes: receives a line on the other files of the folder, if there are any.

    Raises:
        UserError: there are none, or `out` is the same folder.
    """
    if images.is_file():
        return {images.name: images}
    if not images.is_dir():
        raise UserError(f"--images={images}: no such file or folder")
    if out is not None and out.resolve() == images.resolve():
        raise UserError(f"--out={out} is the same folder as --images; give another one")
    found = files.find(images, skip=out, mark=(MARK, "folder of predictions"))
    if notes is not None:
        notes += found.note(images)
    # Whatever was meant as an image is tried, so that it is predicted for or listed as damaged.
    paths = {path if is_text(path) else shown(path): images / path for path in sorted([*found.paths, *found.unusable])}
    if not paths and found.skipped:
        raise UserError(f"--images={images}: no other images found; {'; '.join(found.note(images))}")
    if not paths:
        known = ", ".join(decoding.EXTENSIONS)
        raise UserError(f"--images={images}: no images found, {files.contents(images)}; supported formats are {known}")
    return paths


def write_predictions(
    predictor: Predictor,
    paths: Mapping[str, Path],
    out: Path,
    *,
    key: str,
    image_ids: Mapping[str, Id] | None = None,
    draw: bool = True,
    progress: Callable[[int, int], None] = lambda done, computed: None,
) -> Predictions:
    """Predicts for all images and writes `predictions.json`, `predictions.csv` and pictures.

    Vectors are written to `EMBEDDINGS` instead of the CSV file: `names` [n] and `vectors` float32 [n, dimension].

    A rerun after an interruption keeps the rows that are known, as long as the model and the image files are unchanged.

    Args:
        paths: image name -> file.
        key: everything that the rows depend on besides the images.
        image_ids: image name -> its id in the dataset, for `detections.json`; its name if it has none.
        draw: write an annotated PNG for each image, or, if the model predicts classes without boxes, one contact sheet.
        progress: called with the numbers of images done, and of those that were not known.

    Raises:
        UserError: no image could be read, or another process is writing to `out`.
    """
    result, found = Predictions(), dict[str, Row]()
    draws_each = draw and predictor.draws_boxes
    with locked(out, "--out"):
        journal = Journal(out, key)
        wanted, dark = dict[str, Path](), set[str]()
        for name, path in paths.items():
            known = journal.get(name, path)
            if known is None or (draws_each and (_DRAWN not in known or known[_DRAWN] != _drawn(out, name))):
                wanted[name] = path
            else:
                if _DARK in known:
                    dark.add(name)
                found[name] = {key: value for key, value in known.items() if key not in (_DARK, _DRAWN)}
        result.known = len(found)

        def keep(files: Files, predictions: Sequence[Prediction | UserError]) -> None:
            for (name, _), predicted in zip(files, predictions, strict=True):
                if isinstance(predicted, UserError):
                    result.damaged[name] = str(predicted)
                    continue
                if draws_each:
                    save_image(predicted.draw(), _drawing(out, name))
                found[name] = compact(predicted.row)
                marks: Row = {_DRAWN: _drawn(out, name)} if draws_each else {}
                if predicted.dark:
                    dark.add(name)
                    marks[_DARK] = True
                journal.add(name, paths[name], {**found[name], **marks})
            done = len(found) + len(result.damaged)
            progress(done, done - result.known)

        _compute(predictor, _batches(wanted, predictor.batch_size, result.damaged), keep)
        result.damaged = {name: result.damaged[name] for name in paths if name in result.damaged}
        result.rows = {name: found[name] for name in paths if name in found}
        result.drawn = {_drawing(out, name) for name in result.rows if draws_each}
        result.dark = [name for name in result.rows if name in dark]
        if not result.rows:
            raise UserError(unreadable_images("--images", len(paths), result.damaged, REPLACE))
        _write(result, out, predictor, image_ids or {})
        if draw and not predictor.draws_boxes and "label" in next(iter(result.rows.values())):
            sheet = out / "contact_sheet.jpg"
            save_image(_sheet(result.rows, paths), sheet)
            result.files.append(sheet)
        journal.remove_others()
    return result


def _compute(
    predictor: Predictor, batches: Iterator[Files], keep: Callable[[Files, Sequence[Prediction | UserError]], None]
) -> None:
    """Passes the predictions of each batch to `keep`.

    A thread keeps the last batch meanwhile. The model runs in the calling thread, so that Ctrl-C need not wait for a
    large image.
    """
    with ThreadPoolExecutor(1) as keeper:
        kept: Future[None] | None = None
        for files, predictions in predictor.predict_batches(batches):
            if kept is not None:
                kept.result()
            kept = keeper.submit(keep, files, predictions)
        if kept is not None:
            kept.result()


def _batches(paths: Mapping[str, Path], size: int, damaged: dict[str, str]) -> Iterator[Files]:
    """Yields the files' contents. Unreadable files go to `damaged`."""
    names = list(paths)
    for start in range(0, len(names), size):
        files = []
        for name in names[start : start + size]:
            try:
                files.append((name, paths[name].read_bytes()))
            except OSError as error:
                damaged[name] = f"{paths[name]}: {unreadable(paths[name], error)}"
        if files:
            yield files


def unreadable(path: Path, error: OSError) -> str:
    """Returns why a file cannot be read."""
    dangling = os.path.islink(path) and not os.path.exists(path)
    return "link to a missing file" if dangling else f"cannot be read ({error.strerror})"


def dataset_images(dataset: str) -> tuple[dict[str, Path], dict[str, Id]]:
    """Returns the image files of a dataset, by their path in the folder that has all of them, and their ids.

    Args:
        dataset: name of a source with objects whose images have ids, such as `coco:FILE`.

    Raises:
        UserError: the dataset cannot be read, or has no ids.
    """
    known = catalog.open_objects(dataset).image_ids
    if not known:
        raise UserError(f"--dataset={dataset}: has no images with ids; give the folder of the images, --images=DIR")
    base = Path(os.path.commonpath([path.parent for path in known]))
    paths = {path.relative_to(base).as_posix(): path for path in sorted(known)}
    return paths, {name: id_ for name, path in paths.items() if (id_ := known[path]) is not None}


def may_have_ids(dataset: str, paths: Mapping[str, Path]) -> bool:
    """Returns whether some images lie below the folder of a dataset, so that its annotations are worth reading.

    Args:
        dataset: name of a source, such as `coco:DIR`.
        paths: image name -> file.
    """
    given = Path(os.path.expanduser(dataset.partition(":")[2])).absolute()
    root = given.parent.parent if given.is_file() else given  # annotations may have a folder of their own
    folders = {path.parent.absolute() for path in paths.values()}
    return any(each.is_relative_to(root) or each.resolve().is_relative_to(root.resolve()) for each in folders)


def image_ids(dataset: str, paths: Mapping[str, Path]) -> dict[str, Id]:
    """Returns the image name -> its id in a dataset, of those images that have one.

    Args:
        dataset: name of a source with objects, such as `coco:DIR`.
        paths: image name -> file.

    Raises:
        UserError: the dataset cannot be read.
    """
    known = catalog.open_objects(dataset).image_ids
    found = {name: known.get(path.resolve()) for name, path in paths.items()} if known else {}
    return {name: id_ for name, id_ in found.items() if id_ is not None}


def _write(result: Predictions, out: Path, predictor: Predictor, image_ids: Mapping[str, Id]) -> None:
    plain = ({"image": name, **row, "vector": None} for name, row in result.rows.items())
    predictions = _json_lines({key: value for key, value in row.items() if key != "vector"} for row in plain)
    damaged = _json_lines({"image": name, "reason": reason} for name, reason in result.damaged.items())
    dark = _json_lines(result.dark)
    result.files = [out / "predictions.json"]
    write(result.files[0], f'{{"predictions": {predictions},\n"damaged": {damaged},\n"dark": {dark}}}\n')
    if "vector" in next(iter(result.rows.values())):
        result.files.append(out / EMBEDDINGS)
        vectors = np.stack([row["vector"] for row in result.rows.values()])
        with replacing(result.files[-1]) as file:
            np.savez(file, names=np.array(list(result.rows)), vectors=vectors)
        return
    result.files.append(out / "predictions.csv")
    write(result.files[-1], _csv(result.rows))
    if "boxes_yxyx" in next(iter(result.rows.values())):
        detections = [
            Detections(
                np.array(row["boxes_yxyx"], np.float32).reshape(-1, 4),
                np.array(row["labels"], np.int32),
                np.array(row["scores"], np.float32),
            )
            for row in result.rows.values()
        ]
        counts = Counter(image_ids[name] for name in result.rows if name in image_ids)
        clear = {name: id_ for name, id_ in image_ids.items() if counts[id_] == 1}
        images = [clear.get(name, name) for name in result.rows]
        result.files.append(out / "detections.json")
        write(result.files[-1], _json_lines(to_coco_results(detections, images, predictor.class_ids or None)) + "\n")
        known, shared = sum(name in clear for name in result.rows), sum(n for n in counts.values() if n > 1)
        classes = "is that of the dataset" if predictor.class_ids else "counts the classes from 0"
        paths = "the path relative to the folder of the images"
        which = f"that of the dataset for {known:,} images" if known else paths
        rest = f" and {paths} for {len(images) - known:,}" if 0 < known < len(images) else ""
        result.ids = f"{result.files[-1].name}: category_id {classes}, image_id is {which}{rest}"
        if predictor.score > 0:
            result.ids += f"; scores of at least {predictor.score:.3g}, but COCO's evaluation needs all: --score=0"
        if shared:
            result.ids += f"; {shared:,} share their id, in several annotation files: name one, --dataset=coco:FILE"


def leftovers(out: Path, written: Collection[Path], drawn: Collection[Path] = ()) -> list[str]:
    """Returns the names of results in `out` that are not among those written now: a call writes what its model has.

    Args:
        written: the files written now, except drawn images.
        drawn: those; of others, the list says how many there are.
    """
    kinds = ("csv", "json", "jsonl", "mp4")
    names = [*(f"predictions.{kind}" for kind in kinds), "detections.json", "contact_sheet.jpg", EMBEDDINGS]
    found = [name for name in names if (out / name).is_file() and out / name not in written]
    pictures = [path for path in files.find(out, (".png",)).paths if files.is_drawn(path) and out / path not in drawn]
    if pictures:
        found.append(f"{counted(len(pictures), 'annotated images')} such as {shown(pictures[0])}")
    return found


def _json_lines(entries: Iterable[Mapping[str, Any] | str]) -> str:
    """Returns a JSON list with one entry per line. (The json module is much slower if it indents.)"""
    return "[" + ",".join("\n" + json.dumps(entry) for entry in entries) + "]"


def _csv(rows: Mapping[str, Row]) -> str:
    """Returns one line per image, or per detected object."""
    first = next(iter(rows.values()))
    if "boxes_yxyx" in first:
        return detections_csv(["image"], (([name], row) for name, row in rows.items()))
    ranks = range(1, min(TOP, len(first["top"])) + 1)
    box = BOX_COLUMNS if "box_yxyx" in first else ()
    # The class of a gallery can be unknown, and is then not the first of the most similar ones.
    own, value = (["label"], "similarity") if "similarity" in first else ([], "probability")
    lines: list[list[object]] = [
        ["image", *own, *(f"{what}{rank}" for rank in ranks for what in ("label", value)), *box]
    ]
    for name, row in rows.items():
        cells = [cell for label, number in row["top"] for cell in (label, f"{number:.6g}")]
        lines.append([name, *(row[key] for key in own), *cells, *(f"{side:.2f}" for side in row.get("box_yxyx", ()))])
    return csv_text(lines)


def _sheet(rows: Mapping[str, Row], paths: Mapping[str, Path]) -> np.ndarray:
    """Returns images that are evenly spread over all."""
    names = list(rows)
    shown = [names[index] for index in evenly_spaced(len(names), SHEET)]
    captions = [f"{rows[name]['label']} {_confidence(rows[name])}\n{Path(name).name}" for name in shown]
    with ThreadPoolExecutor() as threads:
        return contact_sheet(list(threads.map(lambda name: _small(paths[name], name), shown)), captions)


def _confidence(row: Row) -> str:
    return percent(row["probability"]) if "probability" in row else f"{row['similarity']:.2f}"


def _small(path: Path, name: str) -> np.ndarray:
    """Returns a small image; a white one if the file is gone since it was predicted for."""
    try:
        return thumbnail(decoding.decode(path.read_bytes(), name))
    except OSError:
        return np.full((1, 1, 3), 255, np.uint8)


def _drawn(out: Path, name: str) -> list[int] | None:
    """Returns the size and time of the picture of an image, which a call with other options may have replaced."""
    state = file_state(_drawing(out, name))
    return state and state[:2]


def _drawing(out: Path, name: str) -> Path:
    """Returns where an image is drawn; the longest names of files are cut to leave room for an ending."""
    path = out / f"{name}.png"
    encoded = os.fsencode(path.name)
    if len(encoded) <= NAME_BYTES:
        return path
    digest = hashlib.blake2b(encoded, digest_size=6).hexdigest()
    return path.with_name(f"{encoded[: NAME_BYTES - 20].decode(errors='ignore')}-{digest}.png")
