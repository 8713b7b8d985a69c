"""What the compared models cost: parameters, multiply-adds, bytes, and the latency of their exported models."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfeff import checked, models
from tfeff.analysis.comparison.run import ComparedRun
from tfeff.errors import UserError
from tfeff.networks import Architecture
from tfeff.networks.catalog import ALL_BACKBONES
from tfeff.serving import run as serving
from tfeff.serving import timing
from tfeff.serving.exported import SAVED_MODEL
from tfeff.serving.latencies import environment


@dataclass(frozen=True)
class Latency:
    """The time in which an exported model predicts one image.

    Attributes:
        seconds: median.
        low: first quartile.
        high: third quartile.
        size: bytes of the exported model.
    """

    seconds: float
    low: float
    high: float
    size: int


@dataclass(frozen=True)
class Cost:
    """The cost of a model.

    Attributes:
        params: number of parameters.
        macs: multiply-adds for one image, with test-time augmentation, without those of region proposals; None if those
            of a layer of the user's own are unknown, or only some of the compared models read region proposals or
            detect in the same tiles.
        weights_bytes: size of the file with the final weights.
        latencies: latencies by format; none for models whose input includes region proposals, or images of any size,
            and without the same tiles.
        imagenet_top1: published accuracy on ImageNet of the weights that training started from; None without them.
    """

    params: int
    macs: int | None
    weights_bytes: int
    latencies: Mapping[str, Latency]
    imagenet_top1: float | None


def measure_costs(compared: Sequence[ComparedRun], formats: Sequence[str], path: Path) -> list[Cost]:
    """Counts and measures the costs of models.

    Args:
        compared: the models. They are exported, unless the run has done so, and timed alternately.
        formats: export formats, as in `tfeff.export`.
        path: a file that keeps the latencies; used again on the same machine for the same models and formats.

    Raises:
        UserError: a format cannot express one of the models, or its package is not installed.
    """
    key = " ".join(
        [*(f"{name}={value}" for name, value in environment().items()), *formats, *(run.key for run in compared)]
    )
    found = stored_latencies(path, key)
    if found is None:
        found = _measured(compared, formats)
        rows = [{format: list(vars(each).values()) for format, each in of.items()} for of in found]
        checked.write_json(path, {"key": key, "latencies": rows})
    costs = []
    for run, latencies in zip(compared, found, strict=True):
        costs.append(
            Cost(
                params=run.network.predictor().count_params(),
                macs=_macs(run) if _costs_are_comparable(run, compared) else None,
                weights_bytes=run.workdir.final.stat().st_size,
                latencies=latencies,
                imagenet_top1=_imagenet_top1(run.settings.model),
            )
        )
    return costs


def _costs_are_comparable(run: ComparedRun, compared: Sequence[ComparedRun]) -> bool:
    """Returns whether the costs of a network can be compared with those of the others.

    They cannot if it also reads region proposals, or if it detects in several tiles of an image, and others do not.
    """
    tiles = {(each.settings.data.tile, each.settings.data.tile_overlap) for each in compared}
    if run.reads_regions and not all(each.reads_regions for each in compared):
        return False
    return run.settings.data.tile is None or len(tiles) == 1


def _macs(run: ComparedRun) -> int | None:
    try:
        return models.complexity.count(run.task.predictor(run.network), regions=run.network.regions).macs
    except UserError:  # a layer of an own backbone
        return None


def _imagenet_top1(section: Architecture) -> float | None:
    """Returns the accuracy of published weights; None if the network has another depth or width and inherits them."""
    published = ALL_BACKBONES.get(section.name)
    if section.weights != "imagenet" or published is None:
        return None
    if (section.blocks, section.widths) != (published.blocks, published.widths):
        return None
    return models.imagenet_top1(section.name)


def stored_latencies(path: Path, key: str) -> list[dict[str, Latency]] | None:
    """Returns the latencies that `measure_costs` kept for the same models.

    None if there are none, or if they are damaged.
    """
    if not path.is_file():
        return None
    try:
        kept = checked.read_json(path, "they are measured again", {"key": str, "latencies": list})
        rows = [{format: Latency(*values) for format, values in row.items()} for row in kept["latencies"]]
        return rows if kept["key"] == key else None
    except (UserError, ValueError, TypeError, AttributeError) as error:
        checked.warn(f"latencies: {error}")
        return None


def _measured(compared: Sequence[ComparedRun], formats: Sequence[str]) -> list[dict[str, Latency]]:
    found: list[dict[str, Latency]] = [{} for _ in compared]
    with tempfile.TemporaryDirectory() as directory:
        exported = {
            (number, format): _exported(run, format, Path(directory) / f"{number}_{format}")
            for number, run in enumerate(compared)
            if _costs_are_comparable(run, compared) and not run.reads_regions  # proposals take most of the time
            if run.settings.data.image_size != "original"  # images of any size take no certain time
            for format in formats
        }
        timed = timing.time_alternately(list(exported.values()), threads=timing.tensorflow_threads())
        for (number, format), each in zip(exported, timed, strict=True):
            found[number][format] = Latency(each.seconds, *each.quartiles, each.size)
    return found


def _exported(run: ComparedRun, format: str, path: Path) -> Path:
    if format != SAVED_MODEL:
        serving.exportable(run.workdir).portable(path, format, fit=False)
    elif run.workdir.saved_model.is_dir():
        return run.workdir.saved_model
    else:
        serving.exportable(run.workdir).saved_model(path)
    return path
