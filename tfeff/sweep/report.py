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

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from tfeff import config
from tfeff.data.names import counted
from tfeff.durable import write, write_record
from tfeff.reporting import figure, html, tables
from tfeff.reporting.sweep import cost_figure, effects_figure, map_figure, ranking_figure
from tfeff.reporting.tables import unit_of
from tfeff.sweep.study import SweepFindings, SweepStudy
from tfeff.trials.intervals import grouped_summaries, summaries
from tfeff.trials.progress import Rate, duration
from tfeff.trials.ranking import HIGHEST
from tfeff.trials.results import Block
from tfeff.trials.store import Record, Records


class SweepResult:
    """The findings of a sweep as rows."""

    def __init__(self, findings: SweepFindings, records: Sequence[Record]) -> None:
        self.findings, self.study, self.sweep = findings, findings.study, findings.study.sweep
        self.records = Records([record for record in records if record.job.candidate in findings.candidates])
        self.epochs = self.sweep.experiment.training.epochs

    @cached_property
    def candidates(self) -> list[dict[str, Any]]:
        """One row per candidate, the best first."""
        ranking, rows = self.findings.ranking, []
        lengths = {
            name: elimination.epochs if (elimination := self.findings.eliminated.get(name)) else self.epochs
            for name in self.findings.combinations
        }
        table = {name: self._values(name, epochs) for name, epochs in lengths.items()}
        estimates = grouped_summaries(table, lengths, bounded=self.study.objective.bounded)
        order = {name: index for index, name in enumerate(ranking.order)}
        for name, combination in self.findings.combinations.items():
            elimination = self.findings.eliminated.get(name)
            values, estimate = table[name], estimates.get(name)
            spent = self.records.epochs(name, self.sweep.folds.blocks)
            difference = ranking.differences.get(name)
            rows.append(
                {
                    "name": name,
                    "label": combination.label,
                    "settings": dict(combination.values),
                    "learning_rate": self.findings.learning_rates.get(name),
                    "mean": None if estimate is None else estimate.mean,
                    "low": None if estimate is None else estimate.low,
                    "high": None if estimate is None else estimate.high,
                    "values": list(values.values()),
                    "folds": [fold for fold, _ in values],
                    "below_best": None if difference is None else asdict(difference),
                    "standing": ranking.standing(name, has_values=bool(values)),
                    "reason": elimination.reason if elimination else None,
                    "epochs": sum(spent.values()),
                    "trials": len(spent),
                    "macs": self.findings.candidates[name].macs,
                }
            )
        return sorted(
            rows, key=lambda row: (order.get(row["name"], len(order)), row["mean"] is None, -(row["mean"] or 0.0))
        )

    @cached_property
    def axes(self) -> list[dict[str, Any]]:
        """The effect of each key: its value in each fully trained candidate, with the candidate's mean and interval; of
        a list of values, also the mean of all candidates with a value."""
        finished = [row for row in self.candidates if row["name"] in self.findings.ranking.order]
        return [
            {
                "key": axis.key,
                "log": axis.log,
                "points": [
                    {"value": row["settings"][axis.key], **{key: row[key] for key in ("mean", "low", "high")}}
                    for row in finished
                ],
                "order": list(axis.choices),
                "means": self._means(axis.key, axis.choices, finished),
            }
            for axis in self.sweep.parsed
        ]

    def _means(self, key: str, choices: Sequence[str], finished: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Returns the mean over the candidates with each value, and its interval over the folds that all of them have.

        The candidates of a value share the folds, so their values are averaged fold by fold before the interval is
        computed: taken one by one, they would count each fold several times.
        """
        table = dict[str, dict[Block, float]]()
        for choice in choices:
            rows = [self._values(row["name"], self.epochs) for row in finished if row["settings"][key] == choice]
            shared = set(rows[0]).intersection(*rows) if rows else ()
            table[choice] = {block: sum(row[block] for row in rows) / len(rows) for block in sorted(shared)}
        found = summaries(table, bounded=self.study.objective.bounded)
        return [
            {"value": value, "mean": each.mean, "low": each.low, "high": each.high} for value, each in found.items()
        ]

    @cached_property
    def cost_curve(self) -> list[dict[str, Any]]:
        """For each finished training: epochs so far, and the mean of the candidate that is then the best.

        Trainings are in the order in which they were first started, which may differ from that in which they ended.
        Only candidates trained to the last epoch on all folds count.
        """
        curve, best, total, blocks = [], None, 0, set(self.sweep.folds.blocks)
        complete: dict[str, set[Block]] = {}
        means = {row["name"]: row["mean"] for row in self.candidates if row["name"] in self.findings.ranking.order}
        for record in self.records.all:
            if record.state != "done":
                continue
            total += record.job.epochs
            if record.job.epochs == self.epochs and record.job.block in blocks:
                complete.setdefault(record.job.candidate, set()).add(record.job.block)
                whole = len(complete[record.job.candidate]) == len(blocks)
                value = means.get(record.job.candidate)
                if whole and value is not None and (best is None or value > best):
                    best = value
            curve.append({"epochs": total, "best": best})
        return curve

    def to_json(self) -> dict[str, Any]:
        """Returns the contents of result.json."""
        ranking, experiment = self.findings.ranking, self.sweep.experiment
        return {
            "source": experiment.data.source,
            "seed": experiment.seed,
            "folds": asdict(self.sweep.folds),
            "sentence": ranking.sentence,
            "objective": self.study.objective.title,
            "sampler": self.sweep.sampler.name,
            "allocation": self.sweep.allocation.name,
            "best": ranking.best,
            "chosen": ranking.chosen,
            "tied": list(ranking.tied),
            "candidates": self.candidates,
            "effects": self.axes,
            "cost_curve": self.cost_curve,
            "epochs": sum(row["epochs"] for row in self.candidates),
            "seconds_of_trials": self.records.seconds,
            "failed_trials": self.records.failed,
        }

    def _values(self, name: str, epochs: int) -> dict[Block, float]:
        """Returns fold -> objective after some epochs, averaged over seeds."""
        candidate, objective = self.findings.candidates[name], self.study.objective
        training = candidate.experiment.training
        blocks = self.sweep.folds.blocks  # others are those of an earlier call, with more seeds
        return self.records.values(name, epochs, training, lambda row: objective.value(row, candidate.macs), blocks)


def candidates(study: SweepStudy) -> str:
    """Returns the candidates before training, as text."""
    sweep, trials = study.sweep, len(study.sweep.folds.blocks)
    sizes = f"{study.examples[0]:,} training and {study.examples[1]:,} validation images each"
    if not study.combinations:
        count = sweep.sampler.candidates
        axes = "\n".join(f"  {text}" for text in sweep.axes)
        return f"{count} candidates, chosen one batch after another from\n{axes}\n{trials} trials each, with {sizes}\n"
    rows = [dict(combination.values) for combination in study.combinations]
    return f"{tables.text(rows)}\n\n{len(rows)} candidates, {trials} trials each, with {sizes}\n"


def forecast(study: SweepStudy, expected: tuple[Rate, float] | None, processes: int) -> str:
    """Returns the expected duration of a sweep, as text; None: it is unknown."""
    if expected is None:
        return f"no forecast: task.name={study.sweep.experiment.task.name} trains on stored features, not on images"
    rate, seconds = expected
    stored = study.sweep.experiment.training.feature_variants is not None
    return ("at most " if stored else "") + (
        f"{duration(seconds, processes)}; measured on this machine: {rate}"
        + ("; stored features make it much shorter" if stored else "")
    )


def write_all(findings: SweepFindings, records: Sequence[Record], directory: Path, command: str) -> str:
    """Writes all files that present the findings of a sweep; returns a summary for the terminal."""
    result = SweepResult(findings, records)
    figures = _figures(result)
    saved = figure.save_all(figures, directory / "figures")
    write(directory / "best.json", config.to_json(findings.best))
    write_record(directory / "result.json", result.to_json(), saved)
    rows = _rows(result)
    write(directory / "candidates.md", tables.markdown(rows) + "\n")
    write(directory / "report.html", _page(result, rows, directory, command, figures))
    paths = [directory / name for name in ("best.json", "result.json", "candidates.md", "figures", "report.html")]
    parts = [
        tables.text(rows),
        findings.ranking.sentence,
        "\n".join(f"wrote {path}" for path in paths),
        f"train the best: {_train_command(directory)}",
        f"all trials with their settings: tensorboard --logdir={_quoted(directory / 'tensorboard')} (tab HPARAMS)",
    ]
    return "\n\n".join(parts)


def _rows(result: SweepResult) -> list[dict[str, Any]]:
    """Returns the table of candidates."""
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


def _figures(result: SweepResult) -> dict[str, tuple[Any, str]]:
    """Returns name -> (figure, caption)."""
    metric = result.study.objective.title
    unit = unit_of(metric)
    figures = {
        "candidates": (
            ranking_figure(result.candidates, metric=metric, unit=unit),
            "The candidates with their 95 % intervals over the folds; faint dots are single folds.",
        ),
        "effects": (
            effects_figure(result.axes, metric=metric, unit=unit),
            "Each fully trained candidate by the value of each key. Black: mean over those with the value"
            + (", too high where others were eliminated. " if result.findings.eliminated else ". ")
            + "Bars: 95 % intervals over the folds, which include how these differ; the table compares within folds.",
        ),
        "cost": (
            cost_figure({"": result.cost_curve}, metric=metric, unit=unit),
            "The best fully trained candidate so far, against the training spent, in the order of first starts.",
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
    return f"python -m tfeff.train --config={_quoted(directory / 'best.json')} --workdir=WORKDIR"


def _quoted(path: Path) -> str:
    """Returns a path as a shell takes it."""
    return shlex.quote(str(path))


def _page(
    result: SweepResult,
    rows: Sequence[Mapping[str, Any]],
    directory: Path,
    command: str,
    figures: Mapping[str, tuple[Any, str]],
) -> str:
    """Returns the HTML page of the report."""
    study, sweep = result.study, result.sweep

    def shown(name: str) -> list[html.Part]:
        return [html.figure(directory / "figures" / f"{name}.svg", figures[name][1])] if name in figures else []

    kind = "independent subsets" if sweep.folds.kind == "independent" else "cross-validation folds"
    method = (
        f"{len(rows)} combinations ({sweep.sampler.name} sampler) on the same {sweep.folds.count} {kind} of "
        f"{sweep.experiment.data.source}, with {study.examples[0]:,} training and {study.examples[1]:,} validation "
        f"images and {counted(sweep.folds.seeds, 'seeds')} each, for at most {result.epochs} epochs "
        f"({sweep.allocation.name} allocation). Trials took {result.records.seconds / 3600:.2f} process-hours. "
        f"Intervals of differences hold for all pairs of candidates at once. {HIGHEST}"
    )
    sections: dict[str, list[html.Part]] = {
        "Best": [html.paragraph(result.findings.ranking.sentence), html.command(_train_command(directory))],
        "Candidates": [
            *shown("map"),
            *shown("candidates"),
            html.table(rows, f"Candidates by {study.objective.title}."),
        ],
        "Settings": shown("effects"),
        "Cost": shown("cost"),
        "Failed trials": [html.table(result.records.failed, "Trials that failed.")] if result.records.failed else [],
        "Method": [
            html.paragraph(method),
            html.command(command),
            html.details("The whole config", [html.command(config.to_json(sweep))]),
        ],
    }
    return html.page(
        f"Sweep of {', '.join(axis.key for axis in sweep.parsed)} on {sweep.experiment.data.source}",
        sections,
        summary=result.findings.ranking.sentence,
    )
