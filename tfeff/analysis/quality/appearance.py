"""Images that differ from the others of their dataset in ways that harm training: blurred, dark, overexposed, flat."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tfeff.analysis.quality.survey import Measurements, Place, Survey, places_in


@dataclass(frozen=True)
class Kind:
    """A kind of odd image.

    Attributes:
        what: predicate of a sentence about such images.
        measure: how odd an image is; the lowest values are the oddest.
        limit: images below it are odd.
        relative: and below this share of the median over all images.
    """

    what: str
    measure: Callable[[Measurements], float]
    limit: float
    relative: float = np.inf


SHARPNESS, RELATIVE_SHARPNESS = 0.13, 0.5
KINDS = {
    # blur with a standard deviation of two pixels leaves less; microscopes and small sensors have less everywhere
    "blurred": Kind("look blurred", lambda each: each.sharpness, SHARPNESS, RELATIVE_SHARPNESS),
    "dark": Kind("are dark: 95 % of their pixels are below 64 of 255", lambda each: each.bright, 64),
    "overexposed": Kind("are very bright: 95 % of their pixels are above 215 of 255", lambda each: -each.dark, -215),
    "low contrast": Kind(
        "have hardly any contrast: 90 % of their pixels are within 24 of 255 gray levels",
        lambda each: each.bright - each.dark,
        24,
    ),
}
USUAL = 0.2
"""If a larger share of the images is of a kind, it is usual for this dataset, and they are not listed."""


@dataclass(frozen=True, eq=False)
class Oddities:
    """The odd images of one kind.

    Attributes:
        what: predicate of a sentence about them.
        places: (split, position in the survey), the oddest first.
        usual: whether so many images are of this kind that it is usual here.
    """

    what: str
    places: list[Place]
    usual: bool


def find(surveys: Mapping[str, Survey]) -> dict[str, Oddities]:
    """Returns the odd images by kind; kinds without images are left out."""
    places = places_in(surveys)
    found = dict[str, Oddities]()
    if not places:
        return found
    for name, kind in KINDS.items():
        values = np.array([kind.measure(surveys[role].measured[index]) for role, index in places])
        odd = values < kind.limit
        usual = bool(odd.mean() > USUAL)
        if np.isfinite(kind.relative):
            odd, usual = odd & (values < kind.relative * np.median(values)), False
        if odd.any():
            chosen = np.flatnonzero(odd)[np.argsort(values[odd], kind="stable")]
            found[name] = Oddities(kind.what, [places[index] for index in chosen.tolist()], usual)
    return found
