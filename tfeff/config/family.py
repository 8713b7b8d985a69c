"""A family of scaled networks: a baseline, its scaling coefficients, and a member for each φ.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (arXiv:1905.11946), section 3.3.
`python -m tfeff.search` writes `coefficients.json`; `member.family`, `member.phi` and `member.method` select a network.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfeff import checked
from tfeff.config.schema import Experiment, Member
from tfeff.config.section import Section, choice, from_dict, keys, to_dict
from tfeff.errors import UserError
from tfeff.networks import Architecture, Detector
from tfeff.networks.catalog import ALL_BACKBONES, ALL_DETECTORS

FILE = "coefficients.json"
COMPOUND = "compound"
OWN = ("dropout", "survival_probability", "weights")
"""Keys of `model` that remain configurable with `member.family`."""


@dataclass(frozen=True, kw_only=True)
class Family(Section):
    """Depth α^φ, width β^φ and resolution γ^φ of a baseline; of a detector, also depth and width of neck and heads."""

    baseline: Architecture = choice(ALL_BACKBONES, "resnet")
    """The baseline, or the backbone of a detector."""
    detector: Detector | None = choice(ALL_DETECTORS, None)
    """The baseline without its backbone, if it is a detector; only then, the coefficients of the neck apply."""
    alpha: float
    beta: float
    gamma: float
    neck_depth: float = 1.0
    neck_width: float = 1.0
    finding: str = ""
    """How the coefficients were found, as a sentence."""
    others: tuple[tuple[str, float, float, float, int], ...] = ()
    """Networks with the multiply-adds of a member, scaled by another method: (method, φ, depth, width, resolution)."""

    def _check(self) -> None:
        for key in ("alpha", "beta", "gamma", "neck_depth", "neck_width"):
            if not getattr(self, key) >= 1:
                self.wrong(key, "1 or more")

    def coefficients(self, phi: float) -> tuple[float, float, int]:
        """Returns (depth, width, resolution) of member φ: two factors relative to the baseline, and pixels."""
        resolution = math.floor(self.baseline.resolution * self.gamma**phi + 0.5)
        return self.alpha**phi, self.beta**phi, resolution

    def neck_coefficients(self, phi: float) -> dict[str, float]:
        """Returns a detector's `neck_depth` and `neck_width` at φ, relative to the baseline; empty for classifiers."""
        if self.detector is None:
            return {}
        return {"neck_depth": self.neck_depth**phi, "neck_width": self.neck_width**phi}

    def member(self, phi: float, method: str = COMPOUND) -> Architecture | Detector:
        """Returns the description of member φ >= 0; φ = 0 is the baseline.

        Args:
            method: scaling method; for others than "compound", the network of `others` is returned, whose neck is that
                of the baseline.

        Raises:
            UserError: `others` has no such network.
        """
        if method == COMPOUND:
            (depth, width, resolution), neck = self.coefficients(phi), self.neck_coefficients(phi)
        else:
            (depth, width, resolution), neck = self._other(phi, method), self.neck_coefficients(0.0)
        scaled = self.baseline.scaled(depth=depth, width=width, resolution=resolution)
        if self.detector is None:
            return scaled
        return dataclasses.replace(self.detector, backbone=scaled).scaled_neck(**neck)

    def _other(self, phi: float, method: str) -> tuple[float, float, int]:
        for name, exponent, depth, width, resolution in self.others:
            if name == method and math.isclose(exponent, phi):
                return depth, width, resolution
        known = ", ".join(f"{name} with φ = {exponent:g}" for name, exponent, *_ in self.others) or "none"
        raise UserError(
            f"config: member.method={method} with member.phi={phi:g}: the search has no such network. It has: {known}; "
            "more by search.members.phis"
        )

    def to_json(self) -> str:
        """Returns JSON text that `load` reads."""
        return checked.to_json(to_dict(self))

    @classmethod
    def load(cls, directory: str | Path) -> "Family":
        """Reads the family from the workdir of a search.

        Raises:
            UserError: the file is missing or invalid.
        """
        path = Path(directory) / FILE
        if not path.is_file():
            raise UserError(
                f"config: member.family: no {FILE} in {directory}; expected the workdir of a finished tfeff.search"
            )
        values = checked.read_json(path, "rerun the tfeff.search command, which writes it again")
        family: Family = from_dict(cls, values, where=str(path))
        return family


def resolve_member(experiment: Experiment) -> Experiment:
    """Replaces `model`, and the `task.network` of a detector, by the network that `member` selects.

    The file of the family is not needed after that.

    Raises:
        UserError: the family cannot be read or is not one for this task, or a key is set that the family determines.
    """
    if experiment.member.family is None:
        return experiment
    if experiment.model.name not in ALL_BACKBONES:
        raise UserError("config: member.family: the family determines the network; omit the backbone, or member.family")
    family, model, task = Family.load(experiment.member.family), experiment.model, experiment.task
    # R-CNN cuts regions out and classifies them, so a family of classifiers determines its backbone, and nothing else.
    network = None if task.CUTS_REGIONS else getattr(task, "network", None)
    if (network is None) != (family.detector is None):
        raise UserError(
            f"config: member.family is a family of {'classifiers' if family.detector is None else 'detectors'}; set "
            "task.name to that of its search"
        )
    own = {key: value for key, value in _changed(model, ALL_BACKBONES[model.name]).items() if key in OWN}
    _check("model", _changed(model, ALL_BACKBONES[model.name], family.baseline), OWN)
    if network is not None:
        _check("task.network", _changed(network, ALL_DETECTORS[network.name], family.detector))
    member = family.member(experiment.member.phi or 0.0, experiment.member.method)
    return dataclasses.replace(
        experiment,
        task=task.with_network(member),
        model=dataclasses.replace(member.backbone, **own),
        member=Member(),
    )


def _changed(description: Any, *others: Any) -> dict[str, Any]:
    """Returns the values that no other description has."""
    values = {key: getattr(description, key) for key in keys(description)}
    return {key: value for key, value in values.items() if all(value != getattr(each, key, None) for each in others)}


def _check(section: str, changed: Iterable[str], allowed: Sequence[str] = ()) -> None:
    """Raises UserError if a key is changed that the family determines."""
    for key in changed:
        if key not in allowed:
            raise UserError(
                f"config: {section}.{key}: member.family determines it; remove it, or set it to its default"
            )
