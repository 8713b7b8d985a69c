"""The figures of a budget search."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfeff.budget.answer import screening
from tfeff.budget.prospects import Prospects
from tfeff.budget.search import Findings
from tfeff.config.budget import UNITS
from tfeff.reporting.budget import budget_figure, growth_figure
from tfeff.reporting.published import published_figure
from tfeff.reporting.tables import unit_of, upper


def figures(findings: Findings, rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, str]]:
    """Returns name -> (figure, caption): one figure for each measure."""
    metric = findings.study.objective.title
    drawn = dict[str, tuple[Any, str]]()
    for measure in dict.fromkeys((*findings.study.bounds.values, "macs")):
        points = []
        for row in rows:
            cost = row["costs"].get(measure)
            if cost is None or (row["mean"] is None and row["screened"] is None):
                continue
            kinds = {"chosen": "chosen", "beaten": "finalist"}
            kind = kinds.get(row["stage"], screening(findings.study) if row["mean"] is None else "dropped")
            value = {key: row[key] for key in ("mean", "low", "high")}
            if row["mean"] is None:
                value = {"mean": row["screened"], "low": None, "high": None}
            name = row["name"].replace("efficientnet-", "")
            points.append({"name": name, "cost": cost, "kind": kind, **value})
        if not points:
            continue
        largest = max(point["cost"] for point in points)
        unit, scale = next(
            each for each in sorted(UNITS[measure].items(), key=lambda item: -item[1]) if largest >= each[1]
        )
        cost_name = {"macs": "multiply-adds", "params": "parameters"}.get(measure, measure)
        drawing = budget_figure(
            points,
            cost=cost_name,
            unit=unit,
            scale=scale,
            bound=findings.study.bounds.values.get(measure),
            metric=metric,
            metric_unit=unit_of(metric),
        )
        drawn[measure] = (
            drawing,
            f"{upper(metric)} against {cost_name}: means over folds with 95 % intervals; "
            + (
                "networks that were only trained shortly at the value after that."
                if findings.study.detects
                else "networks that were only probed at the accuracy of their probe."
            ),
        )
    if not findings.study.detects:
        network = findings.study.networks[findings.delivered.name]
        own = [{"name": network.label, "macs": network.cost.macs, "params": network.cost.params}]
        drawn["published"] = (
            published_figure(own),
            "Published classifiers on ImageNet, for orientation; dashed: the costs of the choice. Accuracies there are "
            "not those on these images.",
        )
    if findings.prospects is not None:
        drawn["growth"] = _growth_figure(findings.prospects, metric)
    return drawn


def _growth_figure(found: Prospects, metric: str) -> tuple[Any, str]:
    largest = max(images for images, _ in found.trainings)
    smallest = min(images for images, _ in found.trainings)
    band = []
    for factor in np.geomspace(smallest / largest, 4.0, 60):
        at = found.expected(images=float(factor))
        band.append((factor * largest, at.accuracy, at.low, at.high))
    return (
        growth_figure(found.trainings, band, metric=metric, unit=unit_of(metric)),
        f"{upper(metric)} of the choice against the number of training images of a fold, and up to four times as many.",
    )
