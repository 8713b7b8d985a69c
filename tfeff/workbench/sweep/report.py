"""The files that a sweep writes into its workdir.

```
sweep.sqlite       the store: config, candidates, every trial with its metrics per epoch
best.json          config of the best candidate, for tfeff.train
result.json        ranking, candidates and cost as numbers
candidates.md      the candidates as a table
figures/           PNG and SVG
report.html        all of the above on one page
trials/            one workdir per trial: config.json, metrics.jsonl
tensorboard/       one run per trial, with HParams
trials.log         output of the worker processes
```
"""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from tfeff import config
from tfeff.durable import write
from tfeff.reporting import figure, html, tables
from tfeff.reporting.metric import unit_of
from tfeff.reporting.sweep import cost_figure, effects_figure, map_figure, ranking_figure
from tfeff.trials.forecast import Rate
from tfeff.trials.store import Record
from tfeff.workbench.sweep.result import Result
from tfeff.workbench.sweep.study import Findings, Study


def candidates(study: Study) -> str:
    """The candidates before training, as text."""
    sweep, trials = study.sweep, len(study.sweep.folds.blocks)
    sizes = f"{study.examples[0]:,} training and {study.examples[1]:,} validation images each"
    if not study.combinations:
        count = sweep.sampler.candidates
        axes = "\n".join(f"  {text}" for text in sweep.axes)
        return f"{count} candidates, chosen one batch after another from\n{axes}\n{trials} trials each, with {sizes}\n"
    rows = [dict(combination.values) for combination in study.combinations]
    return f"{tables.text(rows)}\n\n{len(rows)} candidates, {trials} trials each, with {sizes}\n"


def forecast(study: Study, rate: Rate, seconds: float, processes: int) -> str:
    """The expected duration of a sweep, as text."""
    elapsed = timedelta(seconds=round(seconds / processes))
    stored = study.sweep.experiment.training.feature_variants is not None
    return ("at most " if stored else "") + (
        f"{seconds / 3600:.2f} core-hours, {elapsed} with {processes} processes; measured on this machine: "
        f"{rate.start:.1f} s to start a trial of a new network, then {1e6 * rate.per_image:.0f} µs per image and "
        f"{1e12 * rate.per_mac:.0f} ps per multiply-add" + ("; stored features make it much shorter" if stored else "")
    )


def write_all(findings: Findings, records: Sequence[Record], directory: Path, command: str) -> str:
    """Writes all files that present the findings of a sweep; returns a summary for the terminal.

    Args:
        findings: from `study.run`.
        records: all trials.
        directory: the workdir.
        command: the command line of the sweep, for the report.
    """
    result = Result(findings, records)
    figures = _figures(result)
    for name, (drawing, _) in figures.items():
        figure.save(drawing, directory / "figures" / name)
    write(directory / "best.json", config.to_json(findings.best))
    write(directory / "result.json", json.dumps(result.to_json(), indent=2) + "\n")
    rows = _rows(result)
    write(directory / "candidates.md", tables.markdown(rows) + "\n")
    write(directory / "report.html", _page(result, rows, directory, command, figures))
    paths = [directory / name for name in ("best.json", "result.json", "candidates.md", "figures", "report.html")]
    parts = [
        tables.text(rows),
        findings.ranking.sentence,
        "\n".join(f"wrote {path}" for path in paths),
        f"train the best: {_train_command(directory)}",
        f"all trials with their settings: tensorboard --logdir={directory / 'tensorboard'} (tab HPARAMS)",
    ]
    return "\n\n".join(parts)


def _rows(result: Result) -> list[dict[str, Any]]:
    """The table of candidates."""
    return [
        {
            **row["settings"],
            **({} if row["learning_rate"] is None else {"learning rate (range test)": row["learning_rate"]}),
            "mean": row["mean"],
            "95 % from": row["low"],
            "to": row["high"],
            "below the best": None if row["below_best"] is None else row["below_best"]["mean"],
            "from": None if row["below_best"] is None else row["below_best"]["low"],
            "up to": None if row["below_best"] is None else row["below_best"]["high"],
            "trials": row["trials"],
            "epochs": row["epochs"],
            "standing": row["standing"],
            "reason": row["reason"] or "",
        }
        for row in result.candidates
    ]


def _figures(result: Result) -> dict[str, tuple[Any, str]]:
    """Name -> (figure, caption)."""
    metric = result.study.objective.title
    unit = unit_of(metric)
    figures = {
        "candidates": (
            ranking_figure(result.candidates, metric=metric, unit=unit),
            "The candidates with their 95 % intervals over the folds; faint dots are single folds.",
        ),
        "effects": (
            effects_figure(result.axes, metric=metric, unit=unit),
            "Each fully trained candidate by the value of each key; black: mean over all candidates with the value.",
        ),
        "cost": (
            cost_figure({"": result.cost_curve}, metric=metric, unit=unit),
            "The best fully trained candidate so far, against the training spent.",
        ),
    }
    axes = result.axes
    if len(axes) == 2 and all(axis["order"] for axis in axes):
        figures["map"] = (
            map_figure(result.candidates, axes[1], axes[0], metric=metric, unit=unit),
            "The candidates by the values of both keys; the chosen one is framed.",
        )
    return figures


def _train_command(directory: Path) -> str:
    return f"python -m tfeff.train --config={directory / 'best.json'} --workdir=WORKDIR"


def _page(
    result: Result,
    rows: Sequence[Mapping[str, Any]],
    directory: Path,
    command: str,
    figures: Mapping[str, tuple[Any, str]],
) -> str:
    """The HTML page of the report."""
    study, sweep = result.study, result.sweep

    def shown(name: str) -> list[html.Part]:
        return [html.Figure(directory / "figures" / f"{name}.svg", figures[name][1])] if name in figures else []

    kind = "independent subsets" if sweep.folds.kind == "independent" else "cross-validation folds"
    seeds = f"{sweep.folds.seeds} seed{'s' * (sweep.folds.seeds != 1)}"
    method = (
        f"{len(rows)} combinations ({sweep.sampler.name} sampler) on the same {sweep.folds.count} {kind} of "
        f"{sweep.experiment.data.source}, with {study.examples[0]:,} training and {study.examples[1]:,} validation "
        f"images and {seeds} each, for at most {result.epochs} epochs ({sweep.allocation.name} allocation). Trials "
        f"took {result.records.seconds / 3600:.2f} process-hours. Intervals of differences are adjusted for comparing "
        "all candidates with the best. The mean of the best is the highest of several and therefore somewhat too high; "
        "only held-out images give an unbiased estimate."
    )
    sections: dict[str, list[html.Part]] = {
        "Best": [
            html.Paragraph(result.findings.ranking.sentence),
            html.Command(_train_command(directory)),
        ],
        "Candidates": [
            *shown("map"),
            *shown("candidates"),
            html.Table(rows, f"Candidates by {study.objective.title}."),
        ],
        "Settings": shown("effects"),
        "Cost": shown("cost"),
        "Failed trials": [html.Table(result.records.failed, "Trials that failed.")] if result.records.failed else [],
        "Method": [html.Paragraph(method), html.Command(command), html.Command(config.to_json(sweep))],
    }
    return html.page(
        f"Sweep of {', '.join(axis.key for axis in sweep.parsed)} on {sweep.experiment.data.source}",
        [html.Section(title, parts) for title, parts in sections.items() if parts],
        summary=result.findings.ranking.sentence,
    )
