"""The figures of a budget search."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfeff.budget.answer import screening
from tfeff.budget.prospects import Prospects
from tfeff.budget.search import Findings
from tfeff.config.budget import UNITS
from tfeff.data.names import counted
from tfeff.reporting.budget import budget_figure, growth_figure
from tfeff.reporting.published import published_detectors_figure, published_figure
from tfeff.reporting.tables import unit_of, upper


def figures(findings: Findings, rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, str]]:
    """Returns name -> (figure, caption): one figure for each measure."""
    study, metric = findings.study, findings.study.objective.title
    before = (f"{metric}, short training", unit_of(metric)) if study.detects else ("accuracy of the probe", "%")
    drawn = dict[str, tuple[Any, str]]()
    for measure in dict.fromkeys((*study.bounds.values, "macs")):
        points = []
        for row in rows:
            cost = row["costs"].get(measure)
            if cost is None or (row["mean"] is None and row["screened"] is None):
                continue
            kinds = {"chosen": "chosen", "beaten": "finalist"}
            kind = kinds.get(row["stage"], screening(study) if row["mean"] is None else "dropped")
            name = row["name"].replace("efficientnet-", "")
            values = {key: row[key] for key in ("mean", "low", "high", "screened")}
            points.append({"name": name, "cost": cost, "kind": kind, **values})
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
            bound=study.bounds.values.get(measure),
            metric=metric,
            metric_unit=unit_of(metric),
            screening=before,
        )
        drawn[measure] = (drawing, _caption(findings, points, cost_name))
    network = study.networks[findings.delivered.name]
    own = [{"name": network.label, "macs": network.cost.macs, "params": network.cost.params}]
    if study.detects:
        published, words = published_detectors_figure(own), "detectors on COCO"
    else:
        published, words = published_figure(own), "classifiers on ImageNet"
    drawn["published"] = (
        published,
        f"Published {words}, for orientation; dashed: the costs of the choice. Their accuracies are not those on these "
        "images.",
    )
    if findings.prospects is not None:
        drawn["growth"] = _growth_figure(findings.prospects, metric)
    return drawn


def _caption(findings: Findings, points: Sequence[Mapping[str, Any]], cost: str) -> str:
    """Returns what the figure of a cost shows, and which networks are not in it."""
    study = findings.study
    sentences = [f"{upper(study.objective.title)} against {cost}: means over folds with 95 % intervals."]
    if any(point["kind"] == "dropped" for point in points):
        sentences.append("Networks that were dropped before may have been trained on fewer folds.")
    if any(point["mean"] is None for point in points):
        after = "after the short training on one fold" if study.detects else "of the linear probe"
        sentences.append(
            f"Below: the value {after} of all networks that have one, also of those that were trained later. It is "
            "not comparable with the means above, and may order networks differently."
        )
    smaller = sum(fate.stage == "larger" for fate in findings.fates.values())
    if smaller:
        sentences.append(
            f"Not tried: {counted(smaller, 'networks')} of which a larger one of the same start fits; with "
            "objective.margin, these may compete, too."
        )
    return " ".join(sentences)


def _growth_figure(found: Prospects, metric: str) -> tuple[Any, str]:
    largest = max(images for images, _ in found.trainings)
    smallest = min(images for images, _ in found.trainings)
    band = []
    for factor in np.geomspace(smallest / largest, 4.0, 60):
        at = found.expected(images=float(factor))
        band.append((factor * largest, at.accuracy, *np.clip((found.mean + at.low, found.mean + at.high), 0.0, 1.0)))
    return (
        growth_figure(found.trainings, band, metric=metric, unit=unit_of(metric)),
        f"{upper(metric)} of the choice against the number of training images of a fold, and up to four times as many. "
        "The band is that of the change from the mean with all images.",
    )
