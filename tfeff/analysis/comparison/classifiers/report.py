"""The report of a comparison of classifiers."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tensorboard.plugins import projector

from tfeff import durable, training
from tfeff.analysis.comparison.classifiers import explanation, figures, page
from tfeff.analysis.comparison.classifiers.insight import Insight
from tfeff.analysis.comparison.classifiers.predictions import SplitPredictions, predict
from tfeff.analysis.comparison.cost import measure_costs
from tfeff.analysis.comparison.files import figure_files, save_figures, training_curves, write_board
from tfeff.analysis.comparison.run import ComparedRun, read_splits
from tfeff.analysis.comparison.thumbnails import Thumbnails, fitted
from tfeff.data.images.unreadable import FOLDER
from tfeff.data.input.cache import ImageCache
from tfeff.reporting import tables
from tfeff.reporting.gallery import save_image
from tfeff.reports.classification import file_name

MAPPED = 2000
"""Maximum number of examples in embedding maps and projector."""
EXPLAINED = 5
"""Maximum number of models with class activation maps: the most accurate ones."""


def write(
    runs: Sequence[ComparedRun],
    directory: Path,
    split: str | None,
    formats: Sequence[str],
    reporter: training.Reporter,
    command: str,
) -> str:
    """Compares classifiers; see `tfeff.analysis.comparison.write`."""
    caches, insight, features = _insight(runs, directory, split, formats, reporter)
    return _write(runs, caches, insight, features, directory, command)


def _insight(
    runs: Sequence[ComparedRun],
    directory: Path,
    split: str | None,
    formats: Sequence[str],
    reporter: training.Reporter,
) -> tuple[list[ImageCache], Insight, list[np.ndarray]]:
    """Returns the images of each run, all results, and the features of each network."""
    predicted = list[SplitPredictions]()
    with reporter.bars():
        name, caches, notes = read_splits(runs, split, reporter, directory / FOLDER)
        for number, (run, images) in enumerate(zip(runs, caches, strict=True)):
            reporter.say(f"predicting {len(images):,} images with {run.name}")
            predicted.append(predict(run, images, directory / "predictions" / f"{number}.npz"))
        reporter.say("measuring latency")
        measured = measure_costs(runs, formats, directory / "latency.json")
    dataset, record = caches[0].dataset, runs[0].workdir.dataset()
    insight = Insight(
        split=name,
        model_names=[run.name for run in runs],
        networks=[(run.settings.model.name, run.network.resolution) for run in runs],
        workdirs=[str(run.workdir.path) for run in runs],
        class_names=dataset.class_names,
        ids=dataset.ids,
        labels=dataset.labels,
        training_counts=np.array(record["train_class_counts"]),
        probabilities=np.stack([each.probabilities for each in predicted]),
        costs=measured,
        notes=notes,
    )
    return caches, insight, [each.features for each in predicted]


def _write(
    runs: Sequence[ComparedRun],
    caches: Sequence[ImageCache],
    insight: Insight,
    features: Sequence[np.ndarray],
    directory: Path,
    command: str,
) -> str:
    thumbnails = Thumbnails(caches[0].dataset)
    mapped = _sample(len(insight.labels))
    drawn = figures.comparison_figures(insight) | training_curves(runs, figures.CURVES)
    for i in range(len(runs)):
        drawn |= {f"{name}_{i}": each for name, each in figures.model_figures(insight, i).items()}
        drawn[f"embedding_{i}"] = figures.embedding_figure(insight, i, features[i], mapped)
    explained = insight.ranking[:EXPLAINED]
    if len(insight.to_explain):
        maps = [explanation.explain(runs[i], caches[i], insight, i, insight.to_explain) for i in explained]
        activation = explanation.explanation_figure(insight, explained, maps, insight.to_explain)
        drawn["class_activation"] = activation, explanation.CAPTION
    raster = {name for name in drawn if name.startswith(("embedding", "class_activation"))}
    saved, images = save_figures(drawn, directory / "figures", raster=raster)
    files = figure_files(drawn, directory / "figures")
    for name, sheet in figures.galleries(insight, thumbnails).items():
        files.append(directory / "figures" / f"gallery_{name}.png")
        save_image(sheet, files[-1])
        images[f"gallery/{name}"] = sheet
    durable.write_record(directory / "report.json", insight.to_json(), files)
    _write_tensorboard(directory / "tensorboard" / "comparison", insight, images)
    _write_projector(directory / "tensorboard" / "comparison", caches[0], insight, features, mapped)
    durable.write(directory / "report.html", page.comparison_page(insight, saved, thumbnails, command))
    wrote = [directory / name for name in ("report.html", "report.json", "figures", "tensorboard")]
    parts = [
        tables.text(page.model_table(insight)),
        tables.text(page.difference_table(insight)) if insight.differences else "",
        insight.summary,
        "\n".join([*insight.notes, *(f"wrote {path}" for path in wrote)]),
    ]
    return "\n\n".join(part for part in parts if part)


def _write_tensorboard(directory: Path, insight: Insight, images: dict[str, np.ndarray]) -> None:
    scalars = {f"accuracy/{name}": insight.reports[i]["top1"] for i, name in enumerate(insight.model_names)}
    texts = {"summary": insight.summary, "models": tables.markdown(page.model_table(insight))}
    if insight.differences:
        texts["table of differences"] = tables.markdown(page.difference_table(insight))
    if rows := insight.suspects():
        texts["suspicious_labels"] = tables.markdown(rows[: page.LISTED])
    write_board(directory, scalars, images, texts)


def _write_projector(
    directory: Path, images: ImageCache, insight: Insight, features: Sequence[np.ndarray], mapped: np.ndarray
) -> None:
    side = THUMBNAIL
    small = [fitted(pixels, (side, side)) for chunk in images.take(mapped).chunks(256) for pixels in chunk]
    names = insight.class_names
    metadata = {
        "label": [names[label] for label in insight.labels[mapped]],
        "id": [file_name(insight.ids[index]) for index in mapped],
        "misses": [str(insight.matrix.misses[index]) for index in mapped],
    }
    vectors = {name: features[i][mapped] for i, name in enumerate(insight.model_names)}
    write_projector(directory, vectors, metadata, np.stack(small))


def _sample(count: int) -> np.ndarray:
    """Returns all of n examples, or `MAPPED` drawn at random; always the same, in order."""
    if count <= MAPPED:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, MAPPED, replace=False))


THUMBNAIL = 32  # pixels
NOT_IN_FILE_NAMES = r"[^\w.-]+"


def write_projector(
    directory: Path, embeddings: Mapping[str, np.ndarray], metadata: Mapping[str, Sequence[str]], images: np.ndarray
) -> None:
    """Writes the embeddings of the same examples by several models.

    Args:
        embeddings: name of a model -> float [n, d].
        metadata: title of a column -> n texts.
        images: uint8 [n, 32, 32, 1 or 3].
    """
    folder = directory / "projector"
    folder.mkdir(parents=True, exist_ok=True)
    save_image(sprite(images), folder / "sprite.png")
    rows = ["\t".join(map(_plain, row)) for row in zip(*metadata.values(), strict=True)]
    header = ["\t".join(map(_plain, metadata))] if len(metadata) > 1 else []  # a single column must have none
    durable.write(folder / "metadata.tsv", "\n".join([*header, *rows]) + "\n")
    config = projector.ProjectorConfig()
    for number, (name, vectors) in enumerate(embeddings.items()):
        file = f"{number}_{re.sub(NOT_IN_FILE_NAMES, '_', name)}.tsv"
        lines = ["\t".join(f"{value:.6g}" for value in vector) for vector in vectors.tolist()]
        durable.write(folder / file, "\n".join(lines) + "\n")
        embedding = config.embeddings.add()
        embedding.tensor_name = name
        embedding.tensor_path = f"projector/{file}"
        embedding.metadata_path = "projector/metadata.tsv"
        embedding.sprite.image_path = "projector/sprite.png"
        embedding.sprite.single_image_dim.extend([THUMBNAIL, THUMBNAIL])
    projector.visualize_embeddings(str(directory), config)


def sprite(images: np.ndarray) -> np.ndarray:
    """Arranges n images, uint8 [n, h, w, 1 or 3], row by row in a square grid: uint8 [r · h, r · w, 3]."""
    n, height, width, channels = images.shape
    side = math.ceil(math.sqrt(n))
    grid = np.zeros((side * side, height, width, 3), np.uint8)
    grid[:n] = images if channels == 3 else np.repeat(images, 3, axis=3)
    return grid.reshape(side, side, height, width, 3).swapaxes(1, 2).reshape(side * height, side * width, 3)


def _plain(text: str) -> str:
    return " ".join(text.split())
