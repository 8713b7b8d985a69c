"""Result of loading weights: loaded and skipped variables."""

import re
from collections import Counter
from dataclasses import dataclass

LISTED = 8
"""Up to this many variables that one side lacks are listed one by one, more by the beginning of their names."""


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
        absent = [each for each in self.skipped if each.shape_there is None]
        surplus = [each for each in self.skipped if each.shape_here is None]
        differing = [each for each in self.skipped if each not in absent and each not in surplus]
        for where, group in (("source", absent), ("network", surplus)):
            if len(group) <= LISTED:
                lines += map(str, group)
            else:
                prefixes = Counter(re.split(r"[/_.]", each.name.lstrip("_"))[0] for each in group)
                names = ", ".join(f"{count} of {prefix}*" for prefix, count in sorted(prefixes.items()))
                lines.append(f"not in the {where}: {names}")
        return "\n  ".join([*lines, *map(str, differing)])
