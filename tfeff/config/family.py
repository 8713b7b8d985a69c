"""A family of scaled networks: a baseline, its scaling coefficients, and a member for each φ.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (arXiv:1905.11946), section 3.3.
`python -m tfeff.search` writes `coefficients.json`; `model.family` and `model.phi` select a member of it.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from tfeff.config.schema import Experiment, Model
from tfeff.config.section import Section, from_dict
from tfeff.config.tasks import Neck, ObjectDetection
from tfeff.errors import UserError

FILE = "coefficients.json"
OWN = ("family", "phi", "dropout", "survival_probability", "weights", "transfer")
"""Keys of `model` that remain configurable with `model.family`."""


@dataclass(frozen=True, kw_only=True)
class Family(Section):
    """Depth α^φ, width β^φ and resolution γ^φ of a baseline; of a detector, also depth and width of neck and heads."""

    baseline: Model
    """With explicit coefficients and resolution."""
    alpha: float
    beta: float
    gamma: float
    detector: bool = False
    """Whether the baseline is a detector; only then, the keys that follow apply."""
    neck_depth: float = 1.0
    neck_width: float = 1.0
    neck: Neck = field(default_factory=Neck)
    """The baseline's neck, with explicit coefficients."""
    head_repeats: int | None = None
    """The baseline's convolutions of each head, before scaling."""
    finding: str = ""
    """How the coefficients were found, as a sentence."""

    def check(self) -> None:
        """Validates field values."""
        for key in ("alpha", "beta", "gamma", "neck_depth", "neck_width"):
            if not getattr(self, key) >= 1:
                self.wrong(key, "1 or more")
        for key in ("depth_coefficient", "width_coefficient", "resolution"):
            if getattr(self.baseline, key) is None:
                self.wrong("baseline", f"a model with an explicit {key}")

    def coefficients(self, phi: float) -> tuple[float, float, int]:
        """(depth, width, resolution) of member φ: two factors relative to the baseline, and pixels."""
        assert self.baseline.resolution is not None
        resolution = math.floor(self.baseline.resolution * self.gamma**phi + 0.5)
        return self.alpha**phi, self.beta**phi, resolution

    def neck_coefficients(self, phi: float) -> dict[str, float]:
        """`neck_depth` and `neck_width` of member φ of a detector, relative to the baseline; empty for classifiers."""
        if not self.detector:
            return {}
        return {"neck_depth": self.neck_depth**phi, "neck_width": self.neck_width**phi}

    def member(self, phi: float) -> Model:
        """The config of member φ >= 0; φ = 0 is the baseline."""
        depth, width, resolution = self.coefficients(phi)
        base = self.baseline
        assert base.depth_coefficient is not None
        assert base.width_coefficient is not None
        return dataclasses.replace(
            base,
            depth_coefficient=base.depth_coefficient * depth,
            width_coefficient=base.width_coefficient * width,
            resolution=resolution,
        )

    def to_json(self) -> str:
        """JSON text that `load` reads."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, directory: str | Path) -> "Family":
        """Reads the family from the workdir of a search.

        Raises:
            UserError: the file is missing or invalid.
        """
        path = Path(directory) / FILE
        if not path.is_file():
            raise UserError(
                f"config: model.family: no {FILE} in {directory}; expected the workdir of a finished tfeff.search"
            )
        try:
            values = json.loads(path.read_text())
        except ValueError as error:
            raise UserError(f"{path}: not JSON ({error})") from None
        family: Family = from_dict(cls, values, where=str(path))
        return family


def resolve_family(experiment: Experiment) -> Experiment:
    """Replaces `model.family` and `model.phi` by the network that they select, so that the file is not needed any more.

    Raises:
        UserError: the family cannot be read, or `model` sets a key that the family determines.
    """
    model = experiment.model
    if model.family is None:
        return experiment
    for key in dataclasses.fields(model):
        if key.name not in OWN and key.name != "name" and getattr(model, key.name) != key.default:
            raise UserError(f"config: model.{key.name}: model.family determines it; remove it or set it to none")
    family, phi = Family.load(model.family), model.phi or 0.0
    own = {key: getattr(model, key) for key in OWN[2:] if getattr(model, key) is not None}
    changed = dataclasses.replace(experiment, model=dataclasses.replace(family.member(phi), **own))
    task = experiment.task
    if not family.detector:
        return changed
    if not isinstance(task, ObjectDetection):
        raise UserError("config: model.family is a family of detectors; set task.name to that of its search")
    given = {f"neck.{key.name}": getattr(task.neck, key.name) for key in dataclasses.fields(Neck)}
    for name, value in {**given, "head_repeats": task.head_repeats}.items():
        if value is not None:
            raise UserError(f"config: task.{name}: model.family determines it; remove it or set it to none")
    scaled = family.neck.scaled(**family.neck_coefficients(phi))
    return dataclasses.replace(changed, task=dataclasses.replace(task, neck=scaled, head_repeats=family.head_repeats))
