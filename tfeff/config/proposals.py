"""The sections of region proposals."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfeff.config.section import Section, positive


@dataclass(frozen=True, kw_only=True)
class Proposals(Section):
    """Region proposals by selective search."""

    mode: Literal["single", "fast", "quality"] = "fast"
    """Mode of selective search: the number of color spaces and segmentations that it combines."""
    max_proposals: int = 1000
    """Maximum number of proposals per image."""
    directory: str | None = None
    """Proposal store of `tfeff.propose`; missing proposals are computed and added. None: a store in the workdir."""

    def check(self) -> None:
        """Validates field values."""
        positive(self, "max_proposals")


@dataclass(frozen=True, kw_only=True)
class SharedProposals(Proposals):
    """Region proposals by selective search, in a store that several runs share."""

    KEY = "task.proposals"

    max_proposals: int = 2000
    """Maximum number of proposals per image. The multiply-adds of a network are counted for this number."""
    directory: str | None = None
    """Proposal store of `tfeff.propose`, required; missing proposals are computed and added."""

    @property
    def store(self) -> Path:
        """The directory.

        Raises:
            UserError: there is none.
        """
        if self.directory is None:
            self.wrong("directory", "a directory for the proposals; runs on the same images can share it")
        return Path(self.directory)
