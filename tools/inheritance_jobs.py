"""What `compare_inheritance` trains: data sets, networks of a given cost, and jobs in the order of their importance."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tfeff import models

COSTS = (0.25, 0.5, 0.15, 0.75)
"""Multiply-adds relative to Lite0's; the most important first."""
WAYS = ("compound", "width", "depth", "resolution")
_ALPHA, _BETA, _GAMMA = 1.2, 1.1, 1.15  # depth, width, resolution: EfficientNet, section 3.3
_TOLERANCE = 0.15
_STEPS = 40  # of the bisection
SEED = 0


@dataclass(frozen=True)
class Data:
    """A data set and how networks are trained on it.

    Attributes:
        side: side of the square images as they are stored, in pixels.
        resolution: input side of Lite0, in pixels; other networks have the published ratio to it.
        classes: number of classes.
        seeds: number of trainings of each network.
        crop: least side of a random crop, relative to the image.
        shift: largest shift of the crop, relative to the image's side; beyond the border, the border is repeated.
    """

    side: int
    resolution: int
    classes: int
    seeds: int
    crop: float
    shift: float


DATA = {"cifar10": Data(32, 96, 10, 3, 1.0, 0.125), "hymenoptera": Data(256, 224, 2, 5, 0.7, 0.0)}
PUBLISHED = {"lite0": 224, "lite1": 240, "lite2": 260}
"""Resolution of each published network."""


@dataclass(frozen=True)
class Job:
    """Trainings of one network from one start, all seeds.

    Attributes:
        data: name in `DATA`.
        network: such as "lite0", "lite0-0.25-width" or "lite2-lite0-depth" (Lite2 scaled to Lite0's cost).
        start: "inherited" (published networks: their own weights), "grown" (from Lite0), or "random".
        variant: treatment of batch statistics: "" (kept), "recomputed" before, "frozen" in fine-tuning,
            "recomputed+frozen", or "momentum0.9".
        held_out: "tune": trains with several rates on a part of the training images, and tests on the others.
        epochs: for "tune"; 0: those that "tune" chose.
    """

    data: str
    network: str
    start: str
    variant: str = ""
    held_out: bool = False
    epochs: int = 0

    @property
    def name(self) -> str:
        """The job's id in the results."""
        tuning = f"tune{self.epochs}" if self.held_out else ""
        return "/".join(filter(None, (self.data, self.network, self.start, self.variant, tuning)))

    @property
    def weights(self) -> str:
        """The id of the initial weights."""
        return "-".join((self.data, self.network, self.start))

    @property
    def fields(self) -> dict[str, Any]:
        """The job's fields in the results."""
        return {"name": self.name, "kind": self.kind} | dataclasses.asdict(self)

    @property
    def kind(self) -> str:
        """The kind of start, which decides the schedule."""
        return "random" if self.start == "random" else "pretrained"


@dataclass(frozen=True)
class Scaled:
    """A network of a wanted cost.

    Attributes:
        options: arguments of `tfeff.models.architecture`.
        macs: its multiply-adds.
        ratio: its multiply-adds relative to the wanted ones.
    """

    name: str
    options: dict[str, Any] = field(hash=False)
    macs: int = 0
    ratio: float = 1.0


@lru_cache
def scaled(data: str, network: str) -> Scaled | None:
    """Returns the network of a name; None if its way of scaling does not reach the cost within 15 %."""
    base, *rest = network.split("-")
    options = _published(data, base)
    name = f"efficientnet-{base}"
    if not rest:
        return Scaled(name, options, _macs(data, name, options))
    target, way = rest
    wanted = (
        _macs(data, f"efficientnet-{target}", _published(data, target))
        if target in PUBLISHED
        else float(target) * _macs(data, name, options)
    )
    own = models.architecture(name)

    def at(share: float) -> dict[str, Any]:
        found = dict(options)
        if way in ("width", "compound"):
            found["width_coefficient"] = own.width_coefficient * (share if way == "width" else _BETA**share)
        if way in ("depth", "compound"):
            found["depth_coefficient"] = own.depth_coefficient * (share if way == "depth" else _ALPHA**share)
        if way in ("resolution", "compound"):
            found["resolution"] = max(
                16, round(options["resolution"] * (share if way == "resolution" else _GAMMA**share))
            )
        return found

    low, high = (-16.0, 0.0) if way == "compound" else (0.02, 1.0)
    best = _closest(at, wanted, low, high, lambda each: _macs(data, name, each))
    macs = _macs(data, name, best)
    return Scaled(name, best, macs, macs / wanted) if abs(macs / wanted - 1) <= _TOLERANCE else None


def _closest(
    at: Callable[[float], dict[str, Any]], wanted: float, low: float, high: float, cost: Callable[[dict[str, Any]], int]
) -> dict[str, Any]:
    """Bisects a step function that increases; of the two sides of the step, the closer one."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(at(middle)) <= wanted else (low, middle)
    return min((at(low), at(high)), key=lambda options: abs(cost(options) - wanted))


def _published(data: str, network: str) -> dict[str, Any]:
    return {"resolution": round(DATA[data].resolution * PUBLISHED[network] / PUBLISHED["lite0"])}


def _macs(data: str, name: str, options: dict[str, Any]) -> int:
    return models.estimate(models.architecture(name, **options), num_classes=DATA[data].classes).macs


def tuning() -> list[Job]:
    """Chooses epochs and rate of each kind of start on a held-out part of CIFAR-10's training images."""
    return [
        Job("cifar10", network, start, held_out=True, epochs=epochs)
        for network, start, choices in (
            ("lite0", "inherited", (8, 16)),
            ("lite0-0.25-resolution", "inherited", (8, 16)),
            ("lite0-0.25-compound", "random", (40, 80)),
        )
        for epochs in choices
    ]


def jobs() -> list[Job]:
    """Returns all jobs but tuning, the most important first; those that cannot be reached are left out."""
    return [job for job in dict.fromkeys(_wanted()) if scaled(job.data, job.network) is not None]


def _wanted() -> Iterator[Job]:
    first = [f"lite0-{cost}-{way}" for cost in COSTS[:2] for way in WAYS]
    second = [f"lite0-{cost}-{way}" for cost in COSTS[2:] for way in WAYS]
    for data in DATA:
        yield Job(data, "lite0", "inherited")
    for data in DATA:
        yield from (Job(data, network, "inherited") for network in first)
        yield Job(data, "lite0", "random")
    yield from (Job("cifar10", network, "random") for network in first)
    for data in DATA:
        for network in ("lite0", "lite0-0.25-compound"):
            for variant in ("recomputed", "frozen", "recomputed+frozen", "momentum0.9"):
                yield Job(data, network, "inherited", variant)
    for data in DATA:
        yield from (Job(data, network, "inherited") for network in ("lite1", "lite2"))
        yield from (Job(data, network, "grown") for network in ("lite1", "lite2"))
        yield from (Job(data, f"lite2-{target}-{way}", "inherited") for target in ("lite0", "lite1") for way in WAYS)
        # The published shapes, with Lite2's weights: the compound way of the family.
        yield from (Job(data, network, "shrunk") for network in ("lite0", "lite1"))
    for data in DATA:
        yield from (Job(data, network, "inherited") for network in second)
    yield from (Job("hymenoptera", network, "random") for network in first)
    for data in DATA:
        yield from (Job(data, network, "random") for network in second)
