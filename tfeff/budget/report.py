"""The files that a budget search writes into its workdir.

```
best/              the run of the chosen network: weights, evaluation, the exported model
search.sqlite      the store: config, probes, every trial with its metrics per epoch
result.json        every network with its costs, probe or short training, values per fold and fate
networks.md        those that competed, as a table
suspects.csv       the labels that look wrong, if some do
best/analysis/     with data.unlabeled, the images to label next
figures/           PNG and SVG
report.html        all of the above on one page
trials/            one workdir per trial
tensorboard/       one run per trial, with HParams
trackers.json      with --track, the run of each tracker
trials.log         output of the worker processes
```
"""

import dataclasses
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfeff import config, training
from tfeff.budget.answer import (
    answer,
    checked,
    compared,
    evaluated,
    evaluated_on,
    growth,
    labels,
    metric_words,
    more,
    screening,
    to_label,
)
from tfeff.budget.figures import figures
from tfeff.budget.limits import Costs, Errors, amount, estimated, remaining
from tfeff.budget.search import Findings
from tfeff.budget.study import Study
from tfeff.durable import write, write_listing, write_record
from tfeff.reporting import figure, html, tables
from tfeff.reporting.spreadsheet import table_text
from tfeff.reporting.tables import upper
from tfeff.trials.intervals import grouped_summaries
from tfeff.trials.ranking import HIGHEST

GROWTH = (
    "The choice was also trained on a quarter and on half of the training images of each fold and, with time left, for "
    "twice the epochs. A power law of the odds of an error, in images, multiply-adds and epochs, is fitted to these "
    "trainings and to those of all networks of the same start. Intervals are of the gain alone: the folds vary alike "
    "before and after it. Forecasts beyond the images and networks at hand are extrapolations: their intervals contain "
    "the uncertainty of the exponents, not that of the law. Gains from more images may be smaller than forecast: ten "
    "networks trained on twice the images of CIFAR-10 were 0.8 to 2.5 points worse than forecast (1.4 on average), ten "
    "on those of ants and bees 1.3 points off, on both sides. Forecasts of multiply-adds and epochs were checked in "
    "simulations alone."
)
LABELS = (
    "Labels look wrong if other images contradict them; those of at most 1,000 images, drawn from one half of all, are "
    "examined. They are left out, not corrected, and only a linear classifier on fixed features is trained without "
    "them; held-out images keep their labels. Corrected labels bring more than images that are left out, and wrong "
    "labels of held-out images hide a part of the gain."
)
FAILED = (
    "Trainings on folds that failed. If a process was lost, a higher trials.attempts repeats its training; with fewer "
    "--processes, each has more memory."
)
SUSPECTS = "suspects.csv"
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
    "exported": "less accurate when exported",
    "beaten": "finalist",
    "chosen": "chosen",
}
"""Stage of a `Fate` -> its words, in the order of the search."""


def shortlist(study: Study) -> str:
    """Returns the networks that compete, and why the others do not, as text."""
    rows = []
    for key in study.shortlist:
        costs = study.costs[key]
        shown = {name: _amount(costs, study.errors[key], name) for name in _measures(study)}
        rows.append({"network": study.networks[key].label, **shown})
    bounds = ", ".join(f"{name} {amount(bound, name)}" for name, bound in study.bounds.values.items())
    counts = Counter(fate.stage for fate in study.fates.values())
    if all(study.bounds.exceeded(study.costs[key]) for key in study.shortlist):
        bounds += ", if their costs are lower than estimated"
    left = "; ".join(f"{counts[stage]} {words}" for stage, words in STAGES.items() if counts[stage])
    notes = "".join(f"\nnote: {each}" for each in study.notes)
    return (
        f"{tables.text(rows)}\n\n{len(study.shortlist)} of {len(study.networks)} networks compete"
        f"{f' within {bounds}' if bounds else ''}{f' ({left})' if left else ''}; {study.examples[0]:,} training and "
        f"{study.examples[1]:,} validation images a fold{notes}"
    )


def write_all(findings: Findings, directory: Path, command: str) -> str:
    """Writes all files that present the findings; returns a summary for the terminal."""
    rows = _rows(findings)
    drawn = figures(findings, rows)
    saved = figure.save_all(drawn, directory / "figures")
    table = _table(findings, rows)
    write(directory / "networks.md", tables.markdown(table) + "\n")
    write_record(directory / "result.json", _json(findings, rows), saved)
    write(directory / "report.html", _page(findings, table, directory, command, drawn))
    paths = [directory / name for name in ("report.html", "result.json", "networks.md", "figures")]
    listed = findings.labels.listed if findings.labels is not None else []
    kept = write_listing(directory / SUSPECTS, table_text(listed) if listed else None)
    paths += [path for path in (directory / SUSPECTS, kept) if path is not None and path.exists()]
    return "\n\n".join(
        [
            tables.text(table),
            answer(findings),
            f"use it: {_use(findings)}",
            "\n".join(f"wrote {path}" for path in (findings.delivered.exported, *paths)),
        ]
    )


def _amount(costs: Costs, errors: Errors, measure: str) -> str:
    return f"{amount(costs[measure], measure)}{estimated(errors.get(measure, 0.0))}"


def _measures(study: Study) -> list[str]:
    """Returns the measures to show: those of the budget, and multiply-adds and parameters."""
    return list(dict.fromkeys((*study.bounds.values, "macs", "params")))


def _rows(findings: Findings) -> list[dict[str, Any]]:
    """Returns one row per network, the chosen one first, then by how far it came."""
    study, order = findings.study, list(STAGES)
    table = {name: row for name, row in findings.table.items() if row}
    epochs = {name: findings.candidates[name].experiment.training.epochs for name in table}
    estimates = grouped_summaries(table, epochs, bounded=study.objective.bounded)
    estimates |= findings.ranking.summaries  # the intervals of the answer, for those that were left
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
                "costs": {**study.costs[name], **(measured := findings.measured.get(name, {}))},
                "errors": remaining(study.errors[name], measured),
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
    """Returns the networks that competed, without columns that hold nothing."""
    table = [
        {
            "network": row["name"],
            **{
                name: _amount(row["costs"], row["errors"], name)
                for name in _measures(findings.study)
                if name in row["costs"]
            },
            screening(findings.study): row["screened"],
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
    filled = {column for row in table for column, value in row.items() if value not in (None, "", 0)}
    return [{column: value for column, value in row.items() if column in filled} for row in table]


def _json(findings: Findings, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the contents of result.json."""
    study, delivered = findings.study, findings.delivered
    evaluation = delivered.evaluation
    return {
        "source": study.settings.experiment.data.source,
        "bounds": study.bounds.values,
        "answer": answer(findings),
        "chosen": delivered.name,
        "exported": str(delivered.exported),
        "costs": dict(delivered.costs),
        "errors": dict(delivered.errors),
        "evaluation": None if evaluation is None else evaluation.report,
        "exported_evaluation": delivered.verified.report,
        "export_loss": dataclasses.asdict(delivered.verified.loss),
        "epochs": {
            "on folds": findings.pace if compared(findings) else None,
            "of the choice": delivered.pace,
        },
        "minutes": {"given": study.settings.budget.minutes, "taken": findings.moments.end / 60},
        "prospects": growth(findings),
        "labels": None if findings.labels is None else dataclasses.asdict(findings.labels),
        "to_label": None if findings.to_label is None else str(findings.to_label.table),
        "networks": rows,
        "failed_trials": list(findings.failed),
    }


def _labels_or_compute(findings: Findings, directory: Path, drawn: Mapping[str, tuple[Any, str]]) -> list[html.Part]:
    parts = list[html.Part]()
    if findings.prospects is not None:
        metric = metric_words(findings.study)
        words = f"Mean {metric} on the folds, and what would be gained, with 95 % intervals."
        parts += [html.paragraph(GROWTH), html.table(growth(findings), words)]
        parts.append(html.paragraph(checked(findings.prospects.check, metric)))
        parts.append(html.figure(directory / "figures" / "growth.svg", drawn["growth"][1]))
    elif findings.no_forecast:
        parts.append(html.paragraph(more(findings)))
    if findings.labels is not None and not findings.labels.suspects:
        parts.append(html.paragraph(labels(findings)))
    elif findings.labels is not None:
        parts.append(html.paragraph(f"{labels(findings)} {LABELS}"))
        if findings.labels.listed:
            parts.append(html.link("The labels that look wrong, with the likely ones", SUSPECTS))
    if findings.to_label is not None:
        parts.append(html.paragraph(to_label(findings)))
        parts.append(html.link("The images to label next", str(findings.to_label.table.relative_to(directory))))
    return parts


def _use(findings: Findings) -> str:
    """Returns the command that uses the chosen network, as a shell takes it."""
    workdir = shlex.quote(str(findings.delivered.workdir))
    return f"python -m tfeff.predict --workdir={workdir} --images=PHOTOS --out=predictions"


def _page(
    findings: Findings,
    table: Sequence[Mapping[str, Any]],
    directory: Path,
    command: str,
    drawn: Mapping[str, tuple[Any, str]],
) -> str:
    """Returns the HTML page of the report."""
    study, rows = findings.study, evaluated(findings)
    counts = Counter(fate.stage for fate in findings.fates.values())
    stages = [{"stage": STAGES[stage], "networks": counts[stage]} for stage in STAGES if counts[stage]]
    use = [html.command(_use(findings))]
    run = training.Workdir(findings.delivered.workdir).page
    if run.is_file():
        use.append(html.link("What it gets right and wrong", str(run.relative_to(directory))))
    sections: dict[str, list[html.Part]] = {
        "Use it": use,
        f"{upper(metric_words(study))} and cost": [
            *([html.table(rows, f"On the {evaluated_on(findings)} images, with 95 % intervals.")] if rows else []),
            *(
                html.figure(directory / "figures" / f"{name}.svg", text)
                for name, (_, text) in drawn.items()
                if name not in ("growth", "published")
            ),
        ],
        "Labels or compute": _labels_or_compute(findings, directory, drawn),
        "Networks": [
            html.table(stages, "What became of all networks."),
            html.table(list(table), f"Those that competed. {HIGHEST}" if len(table) > 1 else "The one that competed."),
            *(
                html.figure(directory / "figures" / f"{name}.svg", text)
                for name, (_, text) in drawn.items()
                if name == "published"
            ),
        ],
        "Failed trials": [html.table(findings.failed, FAILED)] if findings.failed else [],
        "Command and config": [
            html.command(command),
            html.details("The whole config", [html.command(config.to_json(study.settings))]),
        ],
    }
    sections = {heading: parts for heading, parts in sections.items() if parts}
    title = f"The best network for {study.settings.experiment.data.source} within the budget"
    return html.page(title, sections, summary=answer(findings))
