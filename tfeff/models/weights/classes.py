"""Outputs for classes: those of the classes that a network shares with the source of its weights are kept, by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tfeff.networks.detectors.yolo import CELLS
from tfeff.networks.heads import CLASS_HEAD, CLASSIFIER, ONE_TO_MANY, PROXIES

_OUTPUTS: dict[str, tuple[int, int | None]] = {
    CLASSIFIER: (1, 0),
    PROXIES: (1, 0),
    **{
        f"{prefix}{CLASS_HEAD}_predict{suffix}": (1, 0) for prefix in ("", ONE_TO_MANY) for suffix in ("", "_pointwise")
    },
    "box_head_logits": (1, 1),
    "box_head_codes": (4, 0),
    "logits": (1, 1),  # those of an R-CNN
    "codes": (4, 0),
    "machines": (1, 0),
    "regressors": (4, 0),
    **{f"{CELLS}_predict{suffix}": (1, None) for suffix in ("", "_pointwise")},
}
"""Layers whose outputs are, for each anchor, some numbers for each class -> how many for each class, and how many more
after them: for the background; None: all others, of the only anchor."""
LISTED = 8
"""Names of classes that are listed."""


@dataclass(frozen=True)
class Classes:
    """The classes of a network and of the source of its weights, in the order of their outputs."""

    here: tuple[str, ...]
    there: tuple[str, ...]

    @cached_property
    def shared(self) -> dict[int, int]:
        """Index of a class here -> its index there. Names are compared without case; `_` is a space."""
        places = {_plain(name): place for place, name in enumerate(self.there)}
        found = {place: places.get(_plain(name)) for place, name in enumerate(self.here)}
        return {here: there for here, there in found.items() if there is not None}

    @property
    def same(self) -> bool:
        """Whether these are the same classes in the same order."""
        return list(map(_plain, self.here)) == list(map(_plain, self.there))

    def merged(self, path: str, here: np.ndarray, there: np.ndarray, before: int = 0) -> np.ndarray | None:
        """Returns a variable of a layer with outputs for classes, with those of the shared classes from the source.

        Args:
            path: the variable's path, such as "head_classifier/kernel".
            here: (..., outputs), its value in the network, which the other classes keep.
            there: (..., outputs), its value in the source.
            before: outputs of each anchor before those of the classes.

        Returns:
            None if the layer has no such outputs, reads other channels, or no class is shared.
        """
        layer = path.rpartition("/")[0]
        if layer == "codes" and here.shape == there.shape and here.shape[-1] == 4:  # one box for all classes
            return there
        if layer not in _OUTPUTS or not self.shared or here.shape[:-1] != there.shape[:-1]:
            return None
        each, after = _OUTPUTS[layer]
        if after is None:
            after = max(0, here.shape[-1] - each * len(self.here))
        sizes = [before + each * len(names) + after for names in (self.here, self.there)]
        if any(array.shape[-1] % size for array, size in zip((here, there), sizes, strict=True)):
            return None
        ours, theirs = (
            array.reshape(*array.shape[:-1], -1, size) for array, size in zip((here, there), sizes, strict=True)
        )
        if ours.shape[:-1] != theirs.shape[:-1]:  # other anchors
            return None
        made = ours.copy()
        made[..., :before] = theirs[..., :before]
        if after:
            made[..., -after:] = theirs[..., -after:]
        for mine, other in self.shared.items():
            target, source = (slice(before + each * place, before + each * (place + 1)) for place in (mine, other))
            made[..., target] = theirs[..., source]
        return made.reshape(here.shape)

    def __str__(self) -> str:
        kept = [self.here[place] for place in self.shared]
        new = [name for place, name in enumerate(self.here) if place not in self.shared]
        parts = [(kept, "kept"), (new, "new")]
        return f"outputs of classes: {'; '.join(f'{what}: {_listed(names)}' for names, what in parts if names)}"

    def has_outputs(self, path: str) -> bool:
        """Returns whether a variable belongs to a layer with outputs for classes."""
        return path.rpartition("/")[0] in _OUTPUTS


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:LISTED])
    return f"{shown} and {len(names) - LISTED} more" if len(names) > LISTED else shown


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").strip()


def named(here: Sequence[str] | None, there: Sequence[str] | None) -> Classes | None:
    """Returns the classes of both; None if those of one side are not known."""
    return Classes(tuple(here), tuple(there)) if here and there else None
