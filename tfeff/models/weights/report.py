"""Result of loading weights: loaded and skipped variables."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Skipped:
    """A variable that was not loaded.

    Attributes:
        name: path of the variable, such as "head_classifier/kernel".
        shape_here: its shape in the network, or None if the network does not have it.
        shape_there: its shape in the source, or None if the source does not have it.
    """

    name: str
    shape_here: tuple[int, ...] | None
    shape_there: tuple[int, ...] | None

    def __str__(self) -> str:
        here = "not in the network" if self.shape_here is None else f"{self.shape_here} in the network"
        there = "not in the source" if self.shape_there is None else f"{self.shape_there} in the source"
        return f"{self.name}: {here}, {there}"


@dataclass(frozen=True)
class LoadReport:
    """Loaded and skipped variables.

    Attributes:
        loaded: paths of the network's variables that were set.
        skipped: all other variables of the network and of the source.
    """

    loaded: tuple[str, ...]
    skipped: tuple[Skipped, ...]

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} variables loaded, {len(self.skipped)} skipped"]
        return "\n  ".join([*lines, *map(str, self.skipped)])
