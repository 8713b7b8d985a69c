"""How well the proposals of one or more stores cover the objects of a dataset: tables, JSON and a figure."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.durable import locked, write
from tfeff.errors import UserError
from tfeff.evaluation.proposals import COUNTS, SIZES, THRESHOLDS, ProposalCoverage, coverage
from tfeff.proposals.store import ProposalStore
from tfeff.reporting import figure, tables
from tfeff.reporting.detection import proposals_figure

TABLE_COUNTS = (100, 500, 1000, 2000)
"""Numbers of proposals per image in the main table."""
BREAKDOWN_COUNT = 1000
"""Number of proposals per image in the breakdowns by class, size and overlap."""


class Quality:
    """Evaluation of the proposals of stores on one dataset.

    Difficult and crowd objects are ignored. Unreadable images without proposals of their present content are skipped
    for all stores.

    Args:
        stores: name -> store.
        source: images with objects.

    Raises:
        UserError: a store has no proposals of a readable image, or only of a previous version of it; or no objects
            remain.
    """

    def __init__(self, stores: Mapping[str, ProposalStore], source: Dataset) -> None:
        contents = [_digest(source, index) for index in range(len(source))]
        missing = {
            name: [index for index, content in enumerate(contents) if store.by_content(content) is None]
            for name, store in stores.items()
        }
        unreadable = [index for index in sorted(set().union(*missing.values())) if not _is_readable(source, index)]
        skipped = set(unreadable)
        for name, store in stores.items():
            if ids := [source.ids[index] for index in missing[name] if index not in skipped]:
                raise UserError(
                    f"{store.directory}: no proposals, or outdated ones, for {len(ids)} of the {len(source)} images of "
                    f"{source.name}; the first is {ids[0]}. Run tfeff.propose on this dataset"
                )
        self.skipped = [source.ids[index] for index in unreadable]
        source = source.take(np.delete(np.arange(len(source)), unreadable))
        contents = [content for index, content in enumerate(contents) if index not in skipped]
        self.source = source
        kept = [~objects.ignored for objects in source.objects]
        boxes = [objects.boxes_yxyx[keep] for objects, keep in zip(source.objects, kept, strict=True)]
        labels = [objects.labels[keep] for objects, keep in zip(source.objects, kept, strict=True)]
        if not sum(map(len, boxes)):
            raise UserError(f"{source.name}: no objects to cover (difficult and crowd objects are ignored)")
        self.coverage: dict[str, ProposalCoverage] = {}
        self.mean_count: dict[str, float] = {}
        for name, store in stores.items():
            proposals = [found for content in contents if (found := store.by_content(content)) is not None]
            self.coverage[name] = coverage((each.boxes_yxyx for each in proposals), boxes, labels)
            self.mean_count[name] = float(np.mean([len(each) for each in proposals]))

    def rows(self) -> list[dict[str, Any]]:
        """Returns one row per store and number of proposals."""
        return [
            {
                "proposer": name,
                "proposals": count,
                "recall@.5": float(result.recall(0.5)[at]),
                "recall@.7": float(result.recall(0.7)[at]),
                "average recall": float(result.average_recall[at]),
                "ABO": float(result.abo[at]),
                "MABO": float(result.mabo[at]),
            }
            for name, result in self.coverage.items()
            for count, at in ((count, COUNTS.index(count)) for count in TABLE_COUNTS)
        ]

    def class_rows(self) -> list[dict[str, Any]]:
        """Returns one row per class with objects: average best overlap of each store with BREAKDOWN_COUNT proposals."""
        at = COUNTS.index(BREAKDOWN_COUNT)
        labels, objects = np.unique(next(iter(self.coverage.values())).labels, return_counts=True)
        abo = {f"ABO, {name}": result.class_abo[:, at].tolist() for name, result in self.coverage.items()}
        return [
            {
                "class": self.source.class_names[label],
                "objects": int(objects[row]),
                **{title: values[row] for title, values in abo.items()},
            }
            for row, label in enumerate(labels)
        ]

    def size_rows(self) -> list[dict[str, Any]]:
        """Returns one row per object size: each store's recall and ABO with BREAKDOWN_COUNT proposals."""
        at = COUNTS.index(BREAKDOWN_COUNT)
        rows = []
        for size in SIZES:
            of_size = {name: result.for_size(size) for name, result in self.coverage.items()}
            row: dict[str, Any] = {"size": size, "objects": len(next(iter(of_size.values())).labels)}
            for name, result in of_size.items():
                measures = {"recall@.5": result.recall(0.5)[at], "ABO": result.abo[at], "MABO": result.mabo[at]}
                row |= {
                    f"{measure}, {name}": None if np.isnan(value) else float(value)
                    for measure, value in measures.items()
                }
            rows.append(row)
        return rows

    def to_text(self) -> str:
        """Returns all tables as text."""
        listed = tables.worst_classes(self.class_rows(), f"ABO, {next(iter(self.coverage))}")
        counts = ", ".join(f"{name} {count:,.0f}" for name, count in self.mean_count.items())
        return "\n\n".join(
            [
                tables.text(self.rows()),
                f"by class, with {BREAKDOWN_COUNT:,} proposals\n{tables.text(listed)}",
                f"by size (COCO's), with {BREAKDOWN_COUNT:,} proposals\n{tables.text(self.size_rows())}",
                f"{len(next(iter(self.coverage.values())).labels):,} objects in {len(self.source):,} images; mean "
                f"proposals per image: {counts}",
                *(
                    [f"skipped {len(self.skipped)} unreadable images: {', '.join(self.skipped)}"]
                    if self.skipped
                    else []
                ),
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns all results as JSON values."""
        return {
            "dataset": self.source.name,
            "counts": list(COUNTS),
            "thresholds": list(THRESHOLDS),
            "proposers": {
                name: {
                    "mean_count": self.mean_count[name],
                    "recall": {f"{threshold:g}": result.recall(threshold).tolist() for threshold in THRESHOLDS},
                    "abo": result.abo.tolist(),
                    "mabo": result.mabo.tolist(),
                }
                for name, result in self.coverage.items()
            },
            "classes": self.class_rows(),
            "sizes": self.size_rows(),
            "left_out": self.skipped,
        }

    def save(self, directory: Path) -> list[Path]:
        """Writes `proposals.json` and the figure; returns their paths."""
        curves = {
            name: {
                "recall@.5": result.recall(0.5),
                "recall@.7": result.recall(0.7),
                "ABO": result.abo,
                "by overlap": np.array(
                    [result.recall(threshold)[COUNTS.index(BREAKDOWN_COUNT)] for threshold in THRESHOLDS]
                ),
            }
            for name, result in self.coverage.items()
        }
        title = f"Proposals on {self.source.name}"
        drawn = proposals_figure(curves, COUNTS, thresholds=THRESHOLDS, at=BREAKDOWN_COUNT, title=title)
        with locked(directory, "--out"):
            write(directory / "proposals.json", json.dumps(self.to_dict(), indent=2) + "\n")
            return [directory / "proposals.json", *figure.save(drawn, directory / "proposals")]


def _digest(source: Dataset, index: int) -> bytes:
    """Returns the digest of an image; empty if its file cannot be read."""
    try:
        return source.images.digest(index)
    except (OSError, UserError):
        return b""


def _is_readable(source: Dataset, index: int) -> bool:
    try:
        decoding.decode(source.encoded(index), source.ids[index])
    except (OSError, UserError):
        return False
    return True
