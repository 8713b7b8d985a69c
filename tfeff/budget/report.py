"""The files that a budget search writes into its workdir.

```
best/              the run of the chosen network: weights, evaluation, the exported model
search.sqlite      the store: config, probes, every trial with its metrics per epoch
result.json        every network with its costs, probe or short training, values per fold and fate
networks.md        those that competed, as a table
figures/           PNG and SVG
report.html        all of the above on one page
trials/            one workdir per trial
trials.log         output of the worker processes
```
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfeff import config
from tfeff.budget.limits import amount
from tfeff.budget.prospects import Prospects
from tfeff.budget.search import Findings
from tfeff.budget.study import Study
from tfeff.config.budget import UNITS
from tfeff.durable import write
from tfeff.reporting import figure, html, tables
from tfeff.reporting.budget import budget_figure, growth_figure
from tfeff.reporting.published import published_figure
from tfeff.reporting.tables import percent, unit_of, upper
from tfeff.trials.intervals import grouped_summaries

GROWTH = (
    "The choice was also trained on a quarter and on half of the training images of each fold. A power law of the odds "
    "of an error, in images and multiply-adds, is fitted to these trainings and to those of all networks of the same "
    "start. Forecasts beyond the images and networks at hand are extrapolations: their intervals contain the "
    "uncertainty of the exponents, not that of the law."
)
STAGES = {
    "budget": "beyond the budget",
    "larger": "a larger one of the same start fits",
    "spread": "left out",
    "probe": "discarded by its probe",
    "short": "discarded after a short training",
    "time": "no time left",
    "race": "hardly among the best",
    "failed": "failed",
    "measured": "beyond the budget when measured",
    "beaten": "finalist",
    "chosen": "chosen",
}
"""Stage of a `Fate` -> its words, in the order of the search."""


def shortlist(study: Study) -> str:
    """The networks that compete, and why the others do not, as text."""
    rows = []
    for key in study.shortlist:
        costs = study.costs[key]
        shown = {
            f"{name}, estimated" if name in study.estimated else name: amount(costs[name], name)
            for name in _measures(study)
        }
        rows.append({"network": study.networks[key].label, **shown})
    bounds = ", ".join(f"{name} {amount(bound, name)}" for name, bound in study.bounds.values.items())
    counts = Counter(fate.stage for fate in study.fates.values())
    left = "; ".join(f"{counts[stage]} {words}" for stage, words in STAGES.items() if counts[stage])
    return (
        f"{tables.text(rows)}\n\n{len(study.shortlist)} of {len(study.networks)} networks compete"
        f"{f' within {bounds}' if bounds else ''}{f' ({left})' if left else ''}; {study.examples[0]:,} training and "
        f"{study.examples[1]:,} validation images a fold"
    )


def write_all(findings: Findings, directory: Path, command: str) -> str:
    """Writes all files that present the findings; returns a summary for the terminal."""
    rows = _rows(findings)
    drawn = _figures(findings, rows)
    for name, (drawing, _) in drawn.items():
        figure.save(drawing, directory / "figures" / name)
    table = _table(findings, rows)
    write(directory / "networks.md", tables.markdown(table) + "\n")
    write(directory / "result.json", json.dumps(_json(findings, rows), indent=1) + "\n")
    write(directory / "report.html", _page(findings, table, directory, command, drawn))
    paths = [directory / name for name in ("report.html", "result.json", "networks.md", "figures")]
    return "\n\n".join(
        [
            tables.text(table),
            answer(findings),
            f"use it: {_use(findings)}",
            "\n".join(f"wrote {path}" for path in (findings.delivered.exported, *paths)),
        ]
    )


def answer(findings: Findings) -> str:
    """The outcome in some sentences: the network, how good it is and how sure, what it costs."""
    study, delivered = findings.study, findings.delivered
    network = study.networks[delivered.name]
    costs = ", ".join(
        f"{name} {amount(delivered.costs[name], name)} of {amount(bound, name)}"
        for name, bound in study.bounds.values.items()
        if name in delivered.costs
    )
    sentences = [findings.ranking.sentence]
    if delivered.name != findings.ranking.chosen:
        sentences.append(f"{network.label} is the first of them that meets the budget when exported.")
    form = study.settings.budget.format
    sentences.append(
        f"Trained on all training images and exported ({form}{', int8' if study.settings.budget.int8 else ''}), "
        f"{network.label} has {amount(network.cost.params, 'params')} parameters"
        f"{f' and meets the budget: {costs}' if costs else ''}."
    )
    if delivered.teacher is not None:
        sentences.append(f"It imitates {delivered.teacher}, which was trained for this.")
    late = sum(fate.stage == "time" for fate in findings.fates.values())
    if not findings.complete:
        sentences.append("The time was over before any network was trained on all folds.")
    elif late:
        sentences.append(f"For lack of time, {late} network{'s' * (late != 1)} could not be trained on all folds.")
    if findings.pace < 1:
        sentences.append(
            f"For lack of time, all were trained for {percent(findings.pace)} of the epochs that suit the images."
        )
    sentences += filter(None, (_tested(findings), _more(findings)))
    return " ".join(sentences)


def _tested(findings: Findings) -> str:
    """The metric on images that the search has not seen."""
    evaluation = findings.delivered.evaluation
    if evaluation is None:
        return ""
    key, words = ("mean_ap", "mAP") if findings.study.detects else ("accuracy", "accuracy")
    result = evaluation.evaluator.result(evaluation.report)
    value, low, high = (_shown(each, words) for each in (result[key], *result[f"{key}_interval"]))
    return f"On the {evaluation.split} images: {words} {value} (95 % interval {low} to {high})."


def _words(study: Study) -> str:
    """The metric on validation images, such as "accuracy" or "mAP"."""
    return study.objective.title.removeprefix("validation ")


def _shown(value: float, words: str) -> str:
    """A value of the metric with these words."""
    return percent(value, 1) if unit_of(words) else f"{value:.3f}"


STEPS: Mapping[str, Mapping[str, float]] = {
    "as it is": {},
    "twice the images": {"images": 2.0},
    "four times the images": {"images": 4.0},
    "twice the multiply-adds": {"macs": 2.0},
    "four times the multiply-adds": {"macs": 4.0},
}
"""What is forecast, in words."""


def _more(findings: Findings) -> str:
    """What brings more: labels or compute."""
    metric = _words(findings.study)
    rows = {row["with"]: [_shown(row[key], metric) for key in (metric, "95 % from", "to")] for row in _growth(findings)}
    parts = [
        f"with {words} {value} ({low} to {high})"
        for words, (value, low, high) in rows.items()
        if words.startswith("twice")
    ]
    if not rows:
        return ""
    return f"Expected {metric} on the folds, now {rows['as it is'][0]}: {', '.join(parts)}."


def _growth(findings: Findings) -> list[dict[str, Any]]:
    """The forecasts, as rows; none about compute if nothing is known about it."""
    if findings.prospects is None:
        return []
    steps = {words: step for words, step in STEPS.items() if findings.prospects.varied or "macs" not in step}
    found = {words: findings.prospects.expected(**step) for words, step in steps.items()}
    return [
        {"with": words, _words(findings.study): each.accuracy, "95 % from": each.low, "to": each.high}
        for words, each in found.items()
    ]


def _measures(study: Study) -> list[str]:
    """The measures to show: those of the budget, and multiply-adds and parameters."""
    return list(dict.fromkeys((*study.bounds.values, "macs", "params")))


def _screening(study: Study) -> str:
    """What comes before the trainings on folds."""
    return "short training" if study.detects else "probe"


def _rows(findings: Findings) -> list[dict[str, Any]]:
    """One row per network, the chosen one first, then by how far it came."""
    study, order = findings.study, list(STAGES)
    table = {name: row for name, row in findings.table.items() if row}
    epochs = {name: findings.candidates[name].experiment.training.epochs for name in table}
    estimates = grouped_summaries(table, epochs, bounded=study.objective.bounded)
    rows = []
    for name, network in study.networks.items():
        values = dict(findings.table.get(name, {}))
        estimate = estimates.get(name)
        fate = findings.fates[name]
        rows.append(
            {
                "id": name,
                "name": network.label,
                "start": network.start.name,
                "width": network.width,
                "depth": network.depth,
                "resolution": network.model.resolution,
                "costs": {**study.costs[name], **findings.measured.get(name, {})},
                "screened": findings.screened.get(name),
                "folds": [fold for fold, _ in values],
                "values": list(values.values()),
                "mean": None if estimate is None else estimate.mean,
                "low": None if estimate is None else estimate.low,
                "high": None if estimate is None else estimate.high,
                "stage": fate.stage,
                "reason": fate.reason,
            }
        )
    return sorted(rows, key=lambda row: (-order.index(row["stage"]), -(row["mean"] or 0.0), -(row["screened"] or 0.0)))


def _table(findings: Findings, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The networks that competed."""
    return [
        {
            "network": row["name"],
            **{name: amount(row["costs"][name], name) for name in _measures(findings.study) if name in row["costs"]},
            _screening(findings.study): row["screened"],
            "mean": row["mean"],
            "95 % from": row["low"],
            "to": row["high"],
            "folds": len(row["values"]),
            "outcome": STAGES[row["stage"]],
            "reason": row["reason"],
        }
        for row in rows
        if row["id"] in findings.candidates
    ]


def _json(findings: Findings, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The contents of result.json."""
    study, delivered = findings.study, findings.delivered
    evaluation = delivered.evaluation
    return {
        "source": study.settings.experiment.data.source,
        "bounds": study.bounds.values,
        "answer": answer(findings),
        "chosen": delivered.name,
        "exported": str(delivered.exported),
        "costs": dict(delivered.costs),
        "evaluation": None if evaluation is None else evaluation.report,
        "prospects": _growth(findings),
        "networks": rows,
    }


def _figures(findings: Findings, rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, str]]:
    """Name -> (figure, caption): one figure for each measure."""
    metric = findings.study.objective.title
    drawn = dict[str, tuple[Any, str]]()
    for measure in dict.fromkeys((*findings.study.bounds.values, "macs")):
        points = []
        for row in rows:
            cost = row["costs"].get(measure)
            if cost is None or (row["mean"] is None and row["screened"] is None):
                continue
            kinds = {"chosen": "chosen", "beaten": "finalist"}
            kind = kinds.get(row["stage"], _screening(findings.study) if row["mean"] is None else "dropped")
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
        drawing = budget_figure(
            points,
            cost={"macs": "multiply-adds", "params": "parameters"}.get(measure, measure),
            unit=unit,
            scale=scale,
            bound=findings.study.bounds.values.get(measure),
            metric=metric,
            metric_unit=unit_of(metric),
        )
        drawn[measure] = (
            drawing,
            f"{upper(metric)} against {measure}: means over folds with 95 % intervals; "
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


def _use(findings: Findings) -> str:
    """The command that uses the chosen network."""
    return f"python -m tfeff.predict --workdir={findings.delivered.workdir} --images=PHOTOS --out=predictions"


def _page(
    findings: Findings,
    table: Sequence[Mapping[str, Any]],
    directory: Path,
    command: str,
    drawn: Mapping[str, tuple[Any, str]],
) -> str:
    """The HTML page of the report."""
    study = findings.study
    counts = Counter(fate.stage for fate in findings.fates.values())
    stages = [{"stage": STAGES[stage], "networks": counts[stage]} for stage in STAGES if counts[stage]]
    sections: dict[str, list[html.Part]] = {
        "Use it": [html.command(_use(findings))],
        f"{upper(_words(study))} and cost": [
            html.figure(directory / "figures" / f"{name}.svg", text)
            for name, (_, text) in drawn.items()
            if name not in ("growth", "published")
        ],
        **(
            {
                "Labels or compute": [
                    html.paragraph(GROWTH),
                    html.table(_growth(findings), f"Expected {_words(study)} on the folds, with 95 % intervals."),
                    html.figure(directory / "figures" / "growth.svg", drawn["growth"][1]),
                ]
            }
            if findings.prospects is not None
            else {}
        ),
        "Networks": [
            html.table(stages, "What became of all networks."),
            html.table(list(table), "Those that competed."),
            *(
                html.figure(directory / "figures" / f"{name}.svg", text)
                for name, (_, text) in drawn.items()
                if name == "published"
            ),
        ],
        "Command and config": [html.command(command), html.command(config.to_json(study.settings))],
    }
    title = f"The best network for {study.settings.experiment.data.source} within the budget"
    return html.page(title, sections, summary=answer(findings))
