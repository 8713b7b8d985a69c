"""What images are like, beyond whether they can be read: copies, odd ones, and groups that splits separate."""

from collections.abc import Mapping
from dataclasses import dataclass

from tfeff.analysis.quality import appearance, groups, near_duplicates
from tfeff.analysis.quality.appearance import Oddities
from tfeff.analysis.quality.groups import Grouping
from tfeff.analysis.quality.near_duplicates import Copies
from tfeff.analysis.quality.survey import Place, Survey, survey

__all__ = ["Copies", "Grouping", "Oddities", "Place", "Quality", "Survey", "examine", "survey"]


@dataclass(frozen=True, eq=False)
class Quality:
    """What the images of all splits are like.

    Attributes:
        surveys: surveys by split.
        odd: odd images by kind.
        copies: near duplicates.
        groupings: groups that belong together.
    """

    surveys: Mapping[str, Survey]
    odd: Mapping[str, Oddities]
    copies: Copies
    groupings: list[Grouping]

    def id_of(self, place: Place) -> str:
        """Returns the id of an image."""
        return self.surveys[place[0]].ids[place[1]]


def examine(surveys: Mapping[str, Survey]) -> Quality:
    """Compares the images of all splits."""
    return Quality(surveys, appearance.find(surveys), near_duplicates.find(surveys), groups.find(surveys))
