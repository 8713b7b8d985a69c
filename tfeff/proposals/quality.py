"""How good the proposals of one or several stores are, on the objects of a data set: tables, JSON and a figure."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.evaluation.proposals import COUNTS, SIZES, THRESHOLDS, Coverage, coverage
from tfeff.proposals.store import ProposalStore
from tfeff.reporting import figure, tables
from tfeff.reporting.proposal_curves import proposals_figure

SHOWN = (100, 500, 1000, 2000)
"""Numbers of proposals in the tables."""
AT = 1000
"""Number of proposals where classes, sizes and overlaps are looked at."""


class Quality:
    """Measures of stores on one data set.

    Objects marked difficult or crowd are left out, and damaged images that some store lacks.

    Args:
        stores: name -> store.
        source: images with objects.

    Raises:
        UserError: a store lacks an image of the data set, or has proposals of another content of it; or no object
            is left.
    """

    def __init__(self, stores: Mapping[str, ProposalStore], source: Dataset) -> None:
        contents = [source.images.digest(index) for index in range(len(source))]
        lacking = {
            name: [index for index, content in enumerate(contents) if not store.is_of(source.ids[index], content)]
            for name, store in stores.items()
        }
        damaged = [index for index in sorted(set().union(*lacking.values())) if _is_damaged(source, index)]
        for name, store in stores.items():
            if wrong := [source.ids[index] for index in lacking[name] if index not in damaged]:
                raise UserError(
                    f"{store.directory}: no proposals of {len(wrong)} of the {len(source)} images of {source.name} (as "
                    f"they are now), the first is {wrong[0]}; run tfeff.propose on it"
                )
        self.left_out = [source.ids[index] for index in damaged]
        source = source.take(np.delete(np.arange(len(source)), damaged))
        self.source = source
        kept = [~objects.ignored for objects in source.objects]
        boxes = [objects.boxes_yxyx[keep] for objects, keep in zip(source.objects, kept, strict=True)]
        labels = [objects.labels[keep] for objects, keep in zip(source.objects, kept, strict=True)]
        if not sum(map(len, boxes)):
            raise UserError(f"{source.name}: no objects to cover, but for difficult ones and crowds")
        self.coverage: dict[str, Coverage] = {}
        self.mean_count: dict[str, float] = {}
        for name, store in stores.items():
            self.coverage[name] = coverage((store[image].boxes_yxyx for image in source.ids), boxes, labels)
            self.mean_count[name] = float(np.mean([len(store[image]) for image in source.ids]))

    def rows(self) -> list[dict[str, Any]]:
        """A row a store and number of proposals."""
        return [
            {
                "proposer": name,
                "proposals": count,
                "recall@.5": float(of.recall(0.5)[at]),
                "recall@.7": float(of.recall(0.7)[at]),
                "average recall": float(of.average_recall[at]),
                "ABO": float(of.abo[at]),
                "MABO": float(of.mabo[at]),
            }
            for name, of in self.coverage.items()
            for count, at in ((count, COUNTS.index(count)) for count in SHOWN)
        ]

    def class_rows(self) -> list[dict[str, Any]]:
        """A row a class: average best overlap of each store with AT proposals."""
        at = COUNTS.index(AT)
        rows = []
        for label, class_name in enumerate(self.source.class_names):
            of_class = {name: of.for_class(label) for name, of in self.coverage.items()}
            objects = len(next(iter(of_class.values())).labels)
            if objects:
                abo = {f"ABO, {name}": float(of.abo[at]) for name, of in of_class.items()}
                rows.append({"class": class_name, "objects": objects, **abo})
        return rows

    def size_rows(self) -> list[dict[str, Any]]:
        """A row a size of objects: recall and average best overlap of each store with AT proposals."""
        at = COUNTS.index(AT)
        rows = []
        for size in SIZES:
            of_size = {name: of.for_size(size) for name, of in self.coverage.items()}
            row: dict[str, Any] = {"size": size, "objects": len(next(iter(of_size.values())).labels)}
            for name, of in of_size.items():
                measures = {"recall@.5": of.recall(0.5)[at], "ABO": of.abo[at], "MABO": of.mabo[at]}
                row |= {
                    f"{what}, {name}": None if np.isnan(value) else float(value) for what, value in measures.items()
                }
            rows.append(row)
        return rows

    def to_text(self) -> str:
        """All tables, for the terminal."""
        counts = ", ".join(f"{name} {count:,.0f}" for name, count in self.mean_count.items())
        return "\n\n".join(
            [
                tables.text(self.rows()),
                f"by class, with {AT:,} proposals\n{tables.text(self.class_rows())}",
                f"by size (COCO's), with {AT:,} proposals\n{tables.text(self.size_rows())}",
                f"{len(next(iter(self.coverage.values())).labels):,} objects in {len(self.source):,} images; proposals "
                f"an image on average: {counts}",
                *([f"left out, damaged: {', '.join(self.left_out)}"] if self.left_out else []),
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers."""
        return {
            "dataset": self.source.name,
            "counts": list(COUNTS),
            "thresholds": list(THRESHOLDS),
            "proposers": {
                name: {
                    "mean_count": self.mean_count[name],
                    "recall": {f"{threshold:g}": of.recall(threshold).tolist() for threshold in THRESHOLDS},
                    "abo": of.abo.tolist(),
                    "mabo": of.mabo.tolist(),
                }
                for name, of in self.coverage.items()
            },
            "classes": self.class_rows(),
            "sizes": self.size_rows(),
            "left_out": self.left_out,
        }

    def save(self, directory: Path) -> list[Path]:
        """Writes `proposals.json` and the figure; the paths."""
        directory.mkdir(parents=True, exist_ok=True)
        write(directory / "proposals.json", json.dumps(self.to_dict(), indent=2) + "\n")
        curves = {
            name: {
                "recall@.5": of.recall(0.5),
                "recall@.7": of.recall(0.7),
                "ABO": of.abo,
                "by overlap": np.array([of.recall(threshold)[COUNTS.index(AT)] for threshold in THRESHOLDS]),
            }
            for name, of in self.coverage.items()
        }
        title = f"Proposals on {self.source.name}"
        drawn = proposals_figure(curves, COUNTS, thresholds=THRESHOLDS, at=AT, title=title)
        return [directory / "proposals.json", *figure.save(drawn, directory / "proposals")]


def _is_damaged(source: Dataset, index: int) -> bool:
    try:
        decoding.decode(source.encoded(index), source.ids[index])
    except UserError:
        return True
    return False
