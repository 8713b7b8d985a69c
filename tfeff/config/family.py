"""A family of scaled networks: a baseline, its coefficients, and the member that each φ names.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (arXiv:1905.11946), section 3.3.
`python -m tfeff.search` writes `coefficients.json`; `model.family` and `model.phi` take a member from it.
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

from tfeff.config.schema import Experiment, Model
from tfeff.config.section import Section, from_dict
from tfeff.errors import UserError

FILE = "coefficients.json"
OWN = ("family", "phi", "dropout", "survival_probability", "weights")
"""Keys of a member that its family leaves to the config."""


@dataclass(frozen=True, kw_only=True)
class Family(Section):
    """Depth α^φ, width β^φ and resolution γ^φ of a baseline."""

    baseline: Model
    """With its coefficients and its resolution written out."""
    alpha: float
    beta: float
    gamma: float
    finding: str = ""
    """How the coefficients were found, in a sentence."""

    def check(self) -> None:
        """Values that no type excludes."""
        for key in ("alpha", "beta", "gamma"):
            if not getattr(self, key) >= 1:
                self.wrong(key, "1 or more")
        for key in ("depth_coefficient", "width_coefficient", "resolution"):
            if getattr(self.baseline, key) is None:
                self.wrong("baseline", f"a model with its {key}")

    def coefficients(self, phi: float) -> tuple[float, float, int]:
        """(depth, width, pixels) of the member φ; depth and width as multiples of the baseline's."""
        assert self.baseline.resolution is not None
        resolution = math.floor(self.baseline.resolution * self.gamma**phi + 0.5)
        return self.alpha**phi, self.beta**phi, resolution

    def member(self, phi: float) -> Model:
        """The config of the member φ >= 0; φ = 0 is the baseline."""
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
        """Text that `load` reads."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, directory: str | Path) -> "Family":
        """The family that a search has written into its workdir.

        Raises:
            UserError: there is none, or the file is damaged.
        """
        path = Path(directory) / FILE
        if not path.is_file():
            raise UserError(
                f"config: model.family: no {FILE} in {directory}; it should be the workdir of a finished tfeff.search"
            )
        try:
            values = json.loads(path.read_text())
        except ValueError as error:
            raise UserError(f"{path}: not JSON ({error})") from None
        family: Family = from_dict(cls, values, where=str(path))
        return family


def settled(experiment: Experiment) -> Experiment:
    """The experiment with the network of `model.family` and `model.phi` written out, so that the file is not needed
    any more.

    Raises:
        UserError: for a family that cannot be read, or keys that contradict it.
    """
    model = experiment.model
    if model.family is None:
        return experiment
    for field in dataclasses.fields(model):
        if field.name not in OWN and field.name != "name" and getattr(model, field.name) != field.default:
            raise UserError(f"config: model.{field.name}: left out with model.family, which decides it")
    member = Family.load(model.family).member(0.0 if model.phi is None else model.phi)
    own = {key: getattr(model, key) for key in OWN[2:] if getattr(model, key) is not None}
    return dataclasses.replace(experiment, model=dataclasses.replace(member, **own))
