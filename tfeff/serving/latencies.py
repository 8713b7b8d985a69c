"""A file of latencies of exported networks, measured on one machine, for a search on another one.

`tfeff.summary --latency --out=FILE.json` writes it.
"""

import dataclasses
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfeff import checked, models
from tfeff.errors import UserError
from tfeff.execution import resources
from tfeff.models.cost.complexity import Complexity
from tfeff.serving.timing import Timing

ADVICE = "measure again with tfeff.summary --latency --out"
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "format": str,
    "precision": str,
    "threads": (int, type(None)),
    "machine": dict,
    "versions": dict,
    "networks": list,
}


@dataclass(frozen=True)
class TimedNetwork:
    """A network by name, scaled, with its measured latency.

    Attributes:
        name: name of the network or detector.
        backbone: name of a detector's backbone; None: that of the published detector, or no detector.
        num_classes: number of classes.
        resolution: side of the input, in pixels.
        width_coefficient: factor of the channels of the network or of the detector's backbone.
        depth_coefficient: factor of the blocks of the network or of the detector's backbone.
        seconds: median time to predict one image.
        low: first quartile.
        high: third quartile.
        undisturbed: seconds on a machine without other load, for fits; see `Timing`.
        size: bytes of the exported files.
    """

    name: str
    backbone: str | None
    num_classes: int
    resolution: int
    width_coefficient: float
    depth_coefficient: float
    seconds: float
    low: float
    high: float
    undisturbed: float
    size: int

    @classmethod
    def of(cls, description: models.Architecture | models.Detector, num_classes: int, timing: Timing) -> "TimedNetwork":
        """Returns a network that differs from the published one of its names only in resolution, width and depth."""
        backbone, (low, high) = description.backbone, timing.quartiles
        scaling: dict[str, Any] = {
            "resolution": description.resolution,
            "width_coefficient": backbone.width_coefficient,
            "depth_coefficient": backbone.depth_coefficient,
        }
        other = isinstance(description, models.Detector) and description != models.detector(description.name, **scaling)
        return cls(
            name=description.name,
            backbone=backbone.name if other else None,
            num_classes=num_classes,
            **scaling,
            seconds=timing.seconds,
            low=low,
            high=high,
            undisturbed=timing.undisturbed,
            size=timing.size,
        )

    @property
    def network(self) -> tuple[str | int | float | None, ...]:
        """What identifies the network."""
        scaling = self.resolution, self.width_coefficient, self.depth_coefficient
        return self.name, self.backbone, self.num_classes, *scaling

    @cached_property
    def description(self) -> models.Architecture | models.Detector:
        """The network's description.

        Raises:
            UserError: there is no network of these names, or a value is out of range.
        """
        scaling = {key: getattr(self, key) for key in ("resolution", "width_coefficient", "depth_coefficient")}
        if self.backbone is not None or self.name in models.detector_names():
            return models.detector(self.name, backbone=self.backbone, **scaling)
        return models.architecture(self.name, **scaling)

    @cached_property
    def cost(self) -> Complexity:
        """The network's cost, for `LatencyFit`; errors as for `description`."""
        return models.estimate(self.description, num_classes=self.num_classes)


@dataclass(frozen=True)
class Latencies:
    """Latencies of networks in one format on one machine.

    Attributes:
        format: `saved_model`, `litert`, `onnx` or `openvino`.
        precision: `float32`, `bfloat16` or `int8`.
        threads: number of the runtime's threads; None: all cores of the machine.
        machine: `processor`, `architecture` and `cores`.
        versions: package -> version: TensorFlow, whose converters wrote the models, and the runtime.
        networks: distinct networks.
    """

    format: str
    precision: str
    threads: int | None
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    networks: tuple[TimedNetwork, ...]

    @classmethod
    def here(cls, timing: Timing, networks: Sequence[TimedNetwork]) -> "Latencies":
        """Returns latencies measured on this machine, of which `timing` is one."""
        versions = {"tensorflow": tf.__version__, "runtime": timing.runtime}
        return cls(timing.format, timing.precision, timing.threads, this_machine(), versions, tuple(networks))

    def check(self, path: Path, *, format: str, precision: str, threads: int | None) -> None:
        """Raises UserError unless latencies read from `path` were measured so."""
        for name, found, wanted in (
            ("format", self.format, format),
            ("precision", self.precision, precision),
            ("threads", self.threads, threads),
        ):
            if found != wanted:
                raise UserError(
                    f"{path}: measured with {name}={_text(found)}; use another file for "
                    f"{timing_flags(format, precision, threads)}, which tfeff.summary --latency --out=FILE.json writes"
                )

    def check_here(self, path: Path) -> None:
        """Raises UserError unless latencies read from `path` were measured on this machine with this TensorFlow.

        The runtime's version, if that is not TensorFlow, is known once it has been timed; `added` checks it.
        """
        self._check_origin(path, this_machine(), {**self.versions, "tensorflow": tf.__version__})

    def added(self, others: "Latencies", path: Path) -> "Latencies":
        """Returns these and other latencies, which replace those of the same networks.

        Raises:
            UserError: they were measured otherwise than these, which were read from `path`.
        """
        self.check(path, format=others.format, precision=others.precision, threads=others.threads)
        self._check_origin(path, others.machine, others.versions)
        networks = {each.network: each for each in (*self.networks, *others.networks)}
        return dataclasses.replace(self, networks=tuple(networks.values()))

    def _check_origin(self, path: Path, machine: Mapping[str, Any], versions: Mapping[str, str]) -> None:
        for name, found, wanted in (("machine", self.machine, machine), ("versions", self.versions, versions)):
            if found != wanted:
                raise UserError(
                    f"{path}: measured with other {name}: {dict(found)}, now {dict(wanted)}; give another --out"
                )

    def write(self, path: Path) -> None:
        """Writes the file, atomically.

        Raises:
            UserError: its folder does not exist, or cannot be written.
        """
        record = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        networks = [dataclasses.asdict(each) for each in self.networks]
        try:
            checked.write_json(path, record | {"networks": networks})
        except OSError as error:
            raise UserError(f"--out={path}: cannot be written ({error.strerror}); give another file") from error

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Latencies":
        """Reads a file that `write` has written.

        Raises:
            UserError: it is missing or damaged, or has a network that this version does not know.
        """
        path = Path(path)
        try:
            record = checked.read_json(path, ADVICE, _TYPES)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); give a file of tfeff.summary --out") from None
        try:
            networks = tuple(TimedNetwork(**each) for each in record["networks"])
            for each in networks:
                _check(each)
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: damaged ({error}); {ADVICE}") from None
        except UserError as error:
            raise UserError(f"{path}: {error}; {ADVICE}") from None
        return cls(**{field.name: record[field.name] for field in dataclasses.fields(cls)} | {"networks": networks})


def this_machine() -> dict[str, Any]:
    """Returns processor, architecture and usable cores."""
    return {"processor": resources.processor(), "architecture": platform.machine(), "cores": resources.cores()}


def environment() -> dict[str, Any]:
    """Returns what a latency depends on besides the model: this machine, its GPUs, and the versions of the runtimes."""
    versions = {each: _version(each) for each in ("tensorflow", "onnxruntime", "tf2onnx", "openvino")}
    return {**this_machine(), "gpus": len(resources.gpus()), **versions}


def _version(package: str) -> str | None:
    """Returns the version of a distribution; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _check(network: TimedNetwork) -> None:
    """Raises ValueError for a latency that is none, and UserError for a network that there is not."""
    for name in ("seconds", "low", "high", "undisturbed"):
        value = getattr(network, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not (0 < value < math.inf):
            raise ValueError(f"{network.name}: {name} is {value!r}")
    if type(network.size) is not int or network.size < 1:
        raise ValueError(f"{network.name}: size is {network.size!r}")
    _ = network.cost


def _text(value: object) -> str:
    return "all" if value is None else str(value).lower()


def timing_flags(format: str, precision: str, threads: int | None) -> str:
    """Returns the flags of `tfeff.summary` that time networks in this form."""
    flags = {"format": format, "precision": None if precision == "float32" else precision, "threads": threads}
    return " ".join(f"--{name}={value}" for name, value in flags.items() if value is not None)
