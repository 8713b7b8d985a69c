"""The findings of a sweep as rows for tables, figures and result.json."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from tfeff.trials.intervals import summary
from tfeff.trials.records import Records
from tfeff.trials.results import Block
from tfeff.trials.store import Record
from tfeff.workbench.sweep.study import Findings


class Result:
    """The findings of a sweep as rows.

    Args:
        findings: from `study.run`.
        records: all trials of the sweep, in the order of their start.
    """

    def __init__(self, findings: Findings, records: Sequence[Record]) -> None:
        self.findings, self.study, self.sweep = findings, findings.study, findings.study.sweep
        self.records = Records([record for record in records if record.job.candidate in findings.candidates])
        self.epochs = self.sweep.experiment.training.epochs

    @cached_property
    def candidates(self) -> list[dict[str, Any]]:
        """One row per candidate, the best first."""
        ranking, rows = self.findings.ranking, []
        order = {name: index for index, name in enumerate(ranking.order)}
        for name, combination in self.findings.combinations.items():
            elimination = self.findings.eliminated.get(name)
            values = self._values(name, elimination.epochs if elimination else self.epochs)
            estimate = asdict(summary(values.values())) if values else dict.fromkeys(("mean", "low", "high"))
            spent = self.records.epochs(name, self.sweep.folds.blocks)
            difference = ranking.differences.get(name)
            rows.append(
                {
                    "name": name,
                    "label": combination.label,
                    "settings": dict(combination.values),
                    "learning_rate": self.findings.learning_rates.get(name),
                    "mean": estimate["mean"],
                    "low": estimate["low"],
                    "high": estimate["high"],
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
        return sorted(rows, key=lambda row: (order.get(row["name"], len(order)), -(row["mean"] or 0.0)))

    @cached_property
    def axes(self) -> list[dict[str, Any]]:
        """The effect of each key: its value in each fully trained candidate, with the candidate's mean and interval."""
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
            }
            for axis in self.sweep.parsed
        ]

    @cached_property
    def cost_curve(self) -> list[dict[str, Any]]:
        """After each finished training: epochs so far, and the mean of the candidate that is then the best.

        Only candidates trained to the last epoch on all folds count.
        """
        curve, best, total = [], None, 0
        complete: dict[str, set[Block]] = {}
        means = {row["name"]: row["mean"] for row in self.candidates if row["name"] in self.findings.ranking.order}
        for record in self.records.all:
            if record.state != "done":
                continue
            total += record.job.epochs
            if record.job.epochs == self.epochs:
                complete.setdefault(record.job.candidate, set()).add(record.job.block)
                whole = len(complete[record.job.candidate]) == len(self.sweep.folds.blocks)
                value = means.get(record.job.candidate)
                if whole and value is not None and (best is None or value > best):
                    best = value
            curve.append({"epochs": total, "best": best})
        return curve

    def to_json(self) -> dict[str, Any]:
        """The contents of result.json."""
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
            "cost_curve": self.cost_curve,
            "epochs": sum(row["epochs"] for row in self.candidates),
            "seconds_of_trials": self.records.seconds,
            "failed_trials": self.records.failed,
        }

    def _values(self, name: str, epochs: int) -> dict[Block, float]:
        """Fold -> objective after some epochs, averaged over seeds."""
        candidate, objective = self.findings.candidates[name], self.study.objective
        training = candidate.experiment.training
        return self.records.values(name, epochs, training, lambda row: objective.value(row, candidate.macs))
