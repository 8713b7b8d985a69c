"""The results of a diagnosis: findings, the links of the chain, and the diagnosis."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfeff.reporting.tables import percent

WIDTH = 110
"""Characters per line of the text."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something about a link that explains bad results, or that the user should know.

    Attributes:
        what: what was found, as a sentence.
        role: the split that it is about, if it is about one.
        broken: whether it breaks the link; otherwise it is a note.
        measured: the numbers behind it, by name; JSON-serializable.
        evidence: places where it shows, such as names of images.
        fix: what to do; empty for a note that needs no action.
    """

    what: str
    role: str = ""
    broken: bool = True
    measured: Mapping[str, Any] = field(default_factory=dict)
    evidence: Sequence[str] = ()
    fix: str = ""

    @property
    def sentence(self) -> str:
        """What was found, and in which split."""
        return f"{self.role}: {self.what}" if self.role else self.what

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields for JSON."""
        return {
            "what": self.sentence,
            "broken": bool(self.broken),
            "measured": dict(self.measured),
            "evidence": list(self.evidence),
            "fix": self.fix,
        }

    def lines(self) -> list[str]:
        """Formats the text for the terminal."""
        measured = ", ".join(f"{name} {_number(value)}" for name, value in self.measured.items())
        evidence = "; ".join(self.evidence)
        parts = [("what", self.sentence), ("measured", measured), ("evidence", evidence), ("fix", self.fix)]
        return [line for name, text in parts if text for line in _wrapped(f"  {name:<10}", text)]


@dataclass(frozen=True, kw_only=True)
class Link:
    """One link of the chain.

    Attributes:
        findings: what was found; faults are put first, the most specific cause first among them.
        measured: numbers that were measured even if nothing is wrong; JSON-serializable.
        skipped: why it was not checked; empty if it was.
    """

    name: str
    question: str
    findings: Sequence[Finding] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)
    skipped: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", [*self.faults, *self.notes])

    @property
    def faults(self) -> list[Finding]:
        """The findings that break the link."""
        return [each for each in self.findings if each.broken]

    @property
    def notes(self) -> list[Finding]:
        """The other findings."""
        return [each for each in self.findings if not each.broken]

    @property
    def status(self) -> str:
        """`broken`, `fine` or `not checked`."""
        return "broken" if self.faults else "not checked" if self.skipped else "fine"

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields for JSON."""
        return {
            "name": self.name,
            "question": self.question,
            "status": self.status,
            "skipped": self.skipped,
            "measured": dict(self.measured),
            "findings": [each.to_dict() for each in self.findings],
        }


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All links of a chain, in order: a broken link also harms those after it."""

    subject: str
    links: Sequence[Link]

    @property
    def broken(self) -> list[Link]:
        """The broken links, in order."""
        return [link for link in self.links if link.faults]

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields for JSON."""
        broken = [link.name for link in self.broken]
        return {
            "subject": self.subject,
            "first_broken": broken[0] if broken else None,
            "broken": broken,
            "links": [link.to_dict() for link in self.links],
        }

    def to_text(self) -> str:
        """Formats the text for the terminal."""
        lines = [self.subject, ""]
        for number, link in enumerate(self.links, 1):
            state = "BROKEN" if link.faults else link.status
            reason = f" ({link.skipped})" if link.status == "not checked" else ""
            lines.append(f"{number}  {link.name:<12} {state:<12} {link.question}{reason}")
        if self.broken:
            first, *others = self.broken
            lines += ["", f"First broken link: {first.name}", *_joined(first.faults)]
            for link in others:
                lines += ["", f"Also broken, perhaps as a consequence: {link.name}", *_joined(link.faults)]
        else:
            skipped = any(link.status == "not checked" for link in self.links)
            lines += ["", f"Nothing is wrong{' with the links that were checked' if skipped else ''}."]
        notes = [f"{link.name}: {note.sentence}" for link in self.links for note in link.notes]
        if notes:
            lines += ["", "Notes", *(line for note in notes for line in _wrapped("  ", note))]
        return "\n".join(lines)


def share(part: int, whole: int, noun: str) -> str:
    """Returns a share as text.

    >>> share(3, 20, "images")
    '3 of 20 images (15.0 %)'
    """
    return f"{part:,} of {whole:,} {noun} ({percent(part / max(whole, 1), 1)})"


def listed(names: Sequence[str], count: int = 5) -> str:
    """Returns the first names and the number of the others.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    rest = len(names) - count
    return ", ".join(names[:count]) + (f" and {rest:,} more" if rest > 0 else "")


def _joined(findings: Sequence[Finding]) -> list[str]:
    lines = list[str]()
    for number, finding in enumerate(findings):
        lines += ([""] if number else []) + finding.lines()
    return lines


def _wrapped(start: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_long_words=False)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_number, value)) + "]"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
