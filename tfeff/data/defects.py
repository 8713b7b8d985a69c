"""What was wrong in a dataset's files, and what was lost by it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from tfeff.errors import UserError

OnDefect = Literal["report", "stop"]
"""What to do with a defect: fix or leave out what is concerned and report it, or stop with an error."""
Lost = Literal["objects", "images"]
"""What a defect can cost a dataset."""

EXAMPLES = 3
"""How many places of each kind of defect are kept."""


@dataclass
class Defects:
    """Defects of a dataset's files, by kind.

    Attributes:
        on_defect: what to do with a defect.
        counts: number of defects of each kind.
        examples: where the first defects of each kind are.
        costs: what each defect of a kind costs, of those kinds that cost something.
    """

    on_defect: OnDefect = "report"
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    costs: dict[str, Lost] = field(default_factory=dict)

    def add(self, kind: str, where: str, *, lost: Lost | None = None, count: int = 1) -> None:
        """Counts a defect.

        Args:
            kind: what is wrong, as a noun phrase in the singular, such as `box without area`.
            where: file, line and value.
            lost: what the dataset lacks because of it, always the same for a kind; None: nothing, it was fixed or is
                only strange.
            count: how many defects there are at this place.

        Raises:
            UserError: if defects stop.
        """
        if self.on_defect == "stop":
            raise UserError(f"{where}: {kind}; correct it, or set on_defect=report")
        self.counts[kind] += count
        examples = self.examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(where)
        if lost is not None:
            self.costs[kind] = lost

    def first(self, kind: str) -> str:
        """Returns where the first defect of a kind is, or "" if there is none."""
        return next(iter(self.examples.get(kind, ())), "")

    def lost(self, what: Lost) -> int:
        """Returns how many objects or images the dataset lacks because of defects."""
        return sum(self.counts[kind] for kind, cost in self.costs.items() if cost == what)

    def text(self) -> str:
        """Returns one line per kind; empty without defects."""
        return "\n".join(f"{count} x {kind}, first: {self.first(kind)}" for kind, count in sorted(self.counts.items()))

    def joined(self, others: Iterable["Defects"]) -> "Defects":
        """Returns these defects and those of others."""
        result = Defects(self.on_defect)
        for each in (self, *others):
            result.counts += each.counts
            result.costs |= each.costs
            for kind, places in each.examples.items():
                known = result.examples.setdefault(kind, [])
                known += places[: EXAMPLES - len(known)]
        return result
