"""The report of a comparison of detectors."""

from collections.abc import Sequence
from pathlib import Path

from tfeff import durable, training
from tfeff.analysis.comparison.cost import measure_costs
from tfeff.analysis.comparison.detectors import figures, page
from tfeff.analysis.comparison.detectors.insight import SHOWN, Insight
from tfeff.analysis.comparison.detectors.predictions import predict
from tfeff.analysis.comparison.files import figure_files, save_figures, training_curves, write_board
from tfeff.analysis.comparison.run import ComparedRun, read_splits
from tfeff.data.dataset import Dataset
from tfeff.data.images.unreadable import FOLDER
from tfeff.errors import UserError
from tfeff.evaluation import Detections
from tfeff.reporting import tables
from tfeff.tasks.object_detection import detection_threshold


def write(
    runs: Sequence[ComparedRun],
    directory: Path,
    split: str | None,
    formats: Sequence[str],
    reporter: training.Reporter,
    command: str,
) -> str:
    """Compares detectors; see `tfeff.analysis.comparison.write`.

    Raises:
        UserError: there is only one.
    """
    if len(runs) < 2:
        raise UserError(f"--workdir={runs[0].workdir.path}: give at least two detectors to compare")
    images, insight = _insight(runs, directory, split, formats, reporter)
    return _write(runs, images, insight, directory, command)


def _insight(
    runs: Sequence[ComparedRun], directory: Path, split: str | None, formats: Sequence[str], reporter: training.Reporter
) -> tuple[Dataset, Insight]:
    """Returns the images, and all results."""
    found = list[list[Detections]]()
    with reporter.bars():
        name, caches, notes = read_splits(runs, split, reporter, directory / FOLDER)
        for number, (run, images) in enumerate(zip(runs, caches, strict=True)):
            reporter.say(f"detecting objects in {len(images.dataset.uncut):,} images with {run.name}")
            found.append(predict(run, images, directory / "predictions" / f"{number}.npz", reporter))
        reporter.say("measuring latency")
        costs = measure_costs(runs, formats, directory / "latency.json")
    notes += [_tiled(run) for run, images in zip(runs, caches, strict=True) if images.dataset.grid is not None]
    dataset = caches[0].dataset.uncut
    insight = Insight(
        split=name,
        model_names=[run.name for run in runs],
        networks=[_network(run) for run in runs],
        workdirs=[str(run.workdir.path) for run in runs],
        class_names=dataset.class_names,
        ids=dataset.ids,
        objects=dataset.objects,
        found=found,
        thresholds=[detection_threshold(run.workdir.validated(run.task.scores)) for run in runs],
        costs=costs,
        notes=notes,
    )
    return dataset, insight


def _tiled(run: ComparedRun) -> str:
    """Returns a note on a run that detects in tiles."""
    return (
        f"{run.name} detects in tiles (data.tile={run.settings.data.tile}): its multiply-adds and latency, if shown, "
        "are those of one tile"
    )


def _network(run: ComparedRun) -> str:
    height, width = run.network.size
    size = f"{width}x{height}" if height != width else f"{height}"
    return f"{run.settings.task.name}, {run.settings.model.name} at {size} px"


def _write(runs: Sequence[ComparedRun], images: Dataset, insight: Insight, directory: Path, command: str) -> str:
    drawn, models = figures.comparison_figures(insight), range(len(insight.model_names))
    # The losses of detectors of different kinds cannot be compared.
    drawn |= training_curves(runs, {"validation_mean_ap": "validation mAP, IoU 0.5"})
    for i in models:
        drawn |= {f"{name}_{i}": each for name, each in figures.model_figures(insight, i).items()}
    saved, pixels = save_figures(drawn, directory / "figures", raster=())
    contrasts = {
        int(image): [figures.drawn_image(insight, images, i, int(image)) for i in models]
        for image in insight.contrasts[:SHOWN]
    }
    durable.write_record(directory / "report.json", insight.to_json(), figure_files(drawn, directory / "figures"))
    rows, differences = page.model_table(insight), page.difference_table(insight)
    texts = {
        "summary": insight.summary,
        "models": tables.markdown(rows),
        "table of differences": tables.markdown(differences),
    }
    scalars = {f"mean_ap/{name}": insight.reports[i].mean_ap for i, name in enumerate(insight.model_names)}
    write_board(directory / "tensorboard" / "comparison", scalars, pixels, texts)
    durable.write(directory / "report.html", page.comparison_page(insight, saved, contrasts, command))
    wrote = [f"wrote {directory / name}" for name in ("report.html", "report.json", "figures", "tensorboard")]
    parts = [insight.summary, tables.text(rows), tables.text(differences), "\n".join([*insight.notes, *wrote])]
    return "\n\n".join(parts)
