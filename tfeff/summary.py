"""Cost of networks: `python -m tfeff.summary --model=efficientnet-b3`.

With `--stages`, the table has a row for each stage of the network. With `--latency`, networks get random weights, are
exported as `tfeff.export` exports those of a run, and timed in the runtime of the format, by default as a SavedModel.
In other formats, they take images that fit, as with `tfeff.export --nofit`. `--exported=PATH` times a
model of `tfeff.export`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tfeff import cli
from tfeff.config.budget import PRECISIONS, check_precision
from tfeff.errors import UserError, nearest
from tfeff.execution.startup import load_tensorflow
from tfeff.reporting import tables
from tfeff.reporting.terminal import say

if TYPE_CHECKING:
    from tfeff.serving.latencies import Latencies
    from tfeff.serving.timing import Timing

FLAGS = flags.FLAGS
SCALING = ("resolution", "width_coefficient", "depth_coefficient")
COLUMNS = {
    "name": "model",
    "resolution": "resolution",
    "width_coefficient": "width",
    "depth_coefficient": "depth",
    "backbone": "backbone",
    "neck_channels": "neck channels",
    "neck_repeats": "neck cells",
    "head_repeats": "head layers",
    "regions": "regions",
    "params": "params",
    "trainable_params": "trainable",
    "macs": "multiply-adds",
    "activation_bytes": "activation bytes",
    "exported_bytes": "exported bytes",
    "latency_s": "latency [s]",
    "latency_low_s": "lower quartile",
    "latency_high_s": "upper quartile",
    "latency_undisturbed_s": "undisturbed",
    "relative_params": "params ratio",
    "relative_macs": "multiply-adds ratio",
    "relative_latency": "latency ratio",
}
STAGE_COLUMNS = {
    "name": "stage",
    "operators": "operators of its first block",
    "size": "output",
    "channels": "channels",
    "blocks": "blocks",
    "params": "params",
    "macs": "multiply-adds",
}
IMAGENET_CLASSES, COCO_CLASSES = 1000, 90
EXPORTED_COLUMNS = {
    "path": "path",
    "format": "format",
    **{key: COLUMNS[key] for key in COLUMNS if key == "exported_bytes" or key.startswith("latency")},
}


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_string(
        "model", None, "Name of a network, detector or preset, such as efficientnet-b3 or efficientdet-d0."
    )
    flags.DEFINE_string(
        "family",
        None,
        "Name of a family: resnet, efficientnet, efficientnet-lite, efficientnet-v2, mobilenet, mobilenet-v3, regnet "
        "or convnext; of detectors: rcnn, efficientdet, efficientdet-lite, retinanet or yolo.",
    )
    flags.DEFINE_string(
        "detector", None, "Name of a detector, such as yolo, whose backbones are the networks of --model or --family."
    )
    flags.DEFINE_integer("resolution", None, "Side of the square input in pixels. Default: that of the network.")
    flags.DEFINE_integer("num_classes", None, "Number of classes. Default: 1000; 90 for detectors.", lower_bound=1)
    flags.DEFINE_float("width_coefficient", None, "Multiplies the number of channels. Default: that of the network.")
    flags.DEFINE_float("depth_coefficient", None, "Multiplies the number of blocks. Default: that of the network.")
    flags.DEFINE_string("relative_to", None, "Name of a network; adds ratios to its cost, at its own scale.")
    flags.DEFINE_bool("stages", False, "With --model: print the stages of the network instead.")
    flags.DEFINE_bool("latency", False, "Export the networks and time the prediction of one image on this machine.")
    flags.DEFINE_enum(
        "format",
        None,
        ["saved_model", "litert", "onnx", "openvino"],
        "Format of the exported networks; adds their size, estimated without --latency. The last two require the "
        "extras onnx and openvino. Default with --latency: saved_model.",
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        list(PRECISIONS),
        "Precision of the exported networks; bfloat16 requires --format=openvino, int8 --format=litert.",
    )
    flags.DEFINE_integer("threads", None, "Threads of the runtime. Default: all cores.", lower_bound=1)
    flags.DEFINE_multi_string("exported", [], "Time a model of tfeff.export instead, a folder or a file; repeatable.")
    flags.DEFINE_string(
        "out", None, "With --latency: JSON file for the latencies, which a search can read. An earlier one is extended."
    )
    flags.DEFINE_bool("json", False, "Print JSON: an object for --model, else a list of objects.")


NOTES = {
    "efficientdet-d6": "efficientdet-d6: 1280 pixels, as its published weights and the last version of the paper; the "
    "first version (arXiv:1911.09070v1) has --resolution=1408",
}
"""What to know about networks, by name."""


def main(argv: list[str]) -> None:
    """Prints the cost of the selected networks, or the latency of exported ones."""
    if FLAGS.exported:
        others = ("detector", "relative_to", "latency", "format", "precision", "out", "stages", *SCALING, "num_classes")
        for name in ("model", "family", *others):
            cli.refuse(name, "--exported")
        show(exported(FLAGS.exported), EXPORTED_COLUMNS)
        return
    if (FLAGS.model is None) == (FLAGS.family is None):
        raise UserError("give either --model=NAME or --family=NAME")
    if FLAGS.stages:
        for name in ("family", "detector", "relative_to", "latency", "format", "precision", "out"):
            cli.refuse(name, "--stages")
    check_precision(FLAGS.precision, FLAGS.format or "saved_model")
    for name in ("threads", "out") if not FLAGS.latency else ():
        if FLAGS[name].present:
            raise UserError(f"--{name} requires --latency")
    if FLAGS.latency:
        load_tensorflow()
    from tfeff.networks.backbones.preset import is_name as is_preset
    from tfeff.networks.catalog import ALL_DETECTORS, BACKBONES, DETECTORS

    families: dict[str, Any] = {**BACKBONES, **DETECTORS}
    known = [name for members in families.values() for name in members]
    if FLAGS.family and FLAGS.family not in families:
        raise UserError(f'no family "{FLAGS.family}"; {nearest(FLAGS.family, families)}')
    for name in filter(None, (FLAGS.model, FLAGS.relative_to)):
        if name not in known and not is_preset(name):
            raise UserError(f'no network "{name}"; {nearest(name, known)}')
    if FLAGS.detector:
        if FLAGS.detector not in ALL_DETECTORS:
            raise UserError(f'no detector "{FLAGS.detector}"; {nearest(FLAGS.detector, ALL_DETECTORS)}')
        if FLAGS.family in DETECTORS or FLAGS.model in ALL_DETECTORS:
            raise UserError(f"--detector={FLAGS.detector} needs backbones in --model or --family, not detectors")
    names = families[FLAGS.family] if FLAGS.family else (FLAGS.model,)
    scaling = {key: FLAGS[key].value for key in SCALING}
    networks = [Described(name, scaling, FLAGS.detector) for name in names]
    base = Described(FLAGS.relative_to, {}) if FLAGS.relative_to else None
    if FLAGS.stages:
        show(networks[0].stages(), STAGE_COLUMNS)
        return
    if FLAGS.out:
        read_earlier(Path(FLAGS.out))
    rows = []
    try:
        for network in networks:
            rows.append(row(network, base))
            if FLAGS.out:  # already now, as each one can take minutes, and the next one can fail
                write(Path(FLAGS.out), networks)
    finally:
        if rows:
            show(rows, COLUMNS)
    if FLAGS.out:
        say(f"wrote {FLAGS.out}", error=FLAGS.json)


def show(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Prints rows as a table, or as JSON."""
    if FLAGS.json:
        say(json.dumps(rows[0] if FLAGS.model and not FLAGS.stages else rows, indent=2))
    else:
        shown = [{key: f"{value:g}" if key in SCALING[1:] else value for key, value in row.items()} for row in rows]
        say(tables.text([{columns[key]: value for key, value in row.items()} for row in shown]))


def row(network: "Described", base: "Described | None") -> dict[str, str | int | float]:
    """Returns the name, resolution and cost of one network; its latency, and ratios to `base`, if asked for."""
    from tfeff.networks.catalog import unchanged

    cost, architecture = network.cost, network.architecture
    for note in (NOTES.get(network.name), unchanged(architecture.backbone)):
        if note is not None:
            say(note, error=True)
    found: dict[str, str | int | float] = {
        "name": network.name,
        "resolution": architecture.resolution,
        **network.scales(),
        **({"regions": architecture.regions} if hasattr(architecture, "regions") else {}),
        "params": cost.params,
        "trainable_params": cost.trainable_params,
        "macs": cost.macs,
        "activation_bytes": cost.activation_bytes,
    }
    if base is not None:
        found |= {"relative_params": cost.params / base.cost.params, "relative_macs": cost.macs / base.cost.macs}
    if FLAGS.format and not FLAGS.latency:
        from tfeff.models.cost.exported_size import exported_bytes

        found["exported_bytes"] = exported_bytes(cost, FLAGS.format, FLAGS.precision)
    if FLAGS.latency:
        import numpy as np

        from tfeff.serving.exported import SAVED_MODEL
        from tfeff.serving.timing import time_networks

        timings = time_networks(
            [(each.architecture, each.classes) for each in (network, base) if each is not None],
            format=FLAGS.format or SAVED_MODEL,
            precision=FLAGS.precision,
            threads=FLAGS.threads,
        )
        network.timing = timings[0]
        found |= measured(timings[0])
        if base is not None:
            found["relative_latency"] = float(np.median(np.divide(timings[0].rounds, timings[1].rounds)))
    return found


def measured(timing: "Timing") -> dict[str, str | int | float]:
    """Returns the size and latency of an exported model; says if the machine was busy."""
    if timing.is_disturbed:
        say(
            f"the machine was busy: the median call took {timing.seconds / timing.undisturbed:.1f} times as long as an "
            "undisturbed one; repeat this on a quiet machine",
            error=True,
        )
    low, high = timing.quartiles
    return {
        "exported_bytes": timing.size,
        "latency_s": timing.seconds,
        "latency_low_s": low,
        "latency_high_s": high,
        "latency_undisturbed_s": timing.undisturbed,
    }


def exported(paths: Sequence[str]) -> list[dict[str, str | int | float]]:
    """Returns the format, size and latency of exported models, timed in turn."""
    load_tensorflow()
    from tfeff.serving.exported import SAVED_MODEL
    from tfeff.serving.timing import time_alternately

    timings = time_alternately(paths, threads=FLAGS.threads)
    for path, each in zip(paths, timings, strict=True):
        if each.fits and each.format != SAVED_MODEL:
            say(f"{path}: fits images itself, which its time includes; --nofit of tfeff.export avoids that", error=True)
    return [{"path": path, "format": each.format, **measured(each)} for path, each in zip(paths, timings, strict=True)]


def read_earlier(path: Path) -> "Latencies | None":
    """Returns the file that is extended, if it exists; called also before anything is timed, for its errors.

    Raises:
        UserError: it is damaged, or was measured with other flags, on another machine or with another TensorFlow; or
            there is no such folder.
    """
    from tfeff.serving.exported import SAVED_MODEL
    from tfeff.serving.latencies import Latencies

    if not path.parent.is_dir():
        raise UserError(f"--out={path}: no folder {path.parent}; create it, or give another file")
    if not path.exists():
        return None
    earlier = Latencies.read(path)
    earlier.check(path, format=FLAGS.format or SAVED_MODEL, precision=FLAGS.precision, threads=FLAGS.threads)
    earlier.check_here(path)
    return earlier


def write(path: Path, networks: Sequence["Described"]) -> None:
    """Adds the latencies to the file, to which other processes may have added some meanwhile."""
    from tfeff.serving.latencies import Latencies, TimedNetwork

    timed = [(each, each.timing) for each in networks if each.timing is not None]
    rows = [TimedNetwork.of(each.architecture, each.classes, timing) for each, timing in timed]
    found = Latencies.here(timed[0][1], rows)
    earlier = read_earlier(path)
    (earlier.added(found, path) if earlier else found).write(path)


class Described:
    """A network or detector by name, with its cost.

    Args:
        name: the name.
        scaling: options that replace its resolution and coefficients.
        detector: name of a detector whose backbone `name` is; None: `name` is the whole network.

    Attributes:
        name: name of the whole network.
        timing: the network's latency, once measured.
    """

    def __init__(self, name: str, scaling: Mapping[str, Any], detector: str | None = None) -> None:
        from tfeff import models

        self.name = detector or name
        self.architecture: models.Architecture | models.Detector
        is_detector = self.name in models.detector_names()
        if is_detector:
            self.architecture = models.detector(self.name, backbone=name if detector else None, **scaling)
        else:
            self.architecture = models.architecture(name, **scaling)
        default = COCO_CLASSES if is_detector else IMAGENET_CLASSES
        self.classes = default if FLAGS.num_classes is None else FLAGS.num_classes
        self.cost = models.estimate(self.architecture, num_classes=self.classes)
        self.timing: Timing | None = None

    def scales(self) -> dict[str, str | int | float]:
        """Returns coefficients of a backbone; the backbone of a detector, and width and depth of its neck and heads."""
        from tfeff.networks.backbones.architecture import Architecture
        from tfeff.networks.detectors.detector import Detector

        described = self.architecture
        if isinstance(described, Architecture):
            return {name: getattr(described, name) for name in SCALING[1:]}
        found: dict[str, str | int | float] = {"backbone": described.backbone.name}
        if isinstance(described, Detector):
            found |= {name: getattr(described, name) for name in ("neck_channels", "neck_repeats", "head_repeats")}
        return found

    def stages(self) -> list[dict[str, Any]]:
        """Returns the stages of a backbone as rows.

        Raises:
            UserError: it is a detector, or a network whose layers are not described by this package.
        """
        from tfeff.models.cost.stages import stages
        from tfeff.networks.backbones.architecture import Architecture
        from tfeff.networks.backbones.given import Given

        if not isinstance(self.architecture, Architecture) or isinstance(self.architecture, Given):
            raise UserError(f"--model={self.name}: --stages requires a backbone of this package")
        return [
            {
                "name": each.name,
                "operators": ", ".join(each.operators),
                "size": "x".join(map(str, each.size)) or None,
                "channels": each.channels,
                "blocks": each.blocks or None,
                "params": each.params,
                "macs": each.macs,
            }
            for each in stages(self.architecture, num_classes=self.classes)
        ]


if __name__ == "__main__":
    define_flags()
    cli.run(main)
