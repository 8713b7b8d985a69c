"""What a search writes into its workdir, beside its trials.

```
search.sqlite      the store: config, networks, every trial with its metrics by epoch
candidates.json    all networks within the budget, and which are tried
coefficients.json  α, β, γ and the baseline: what model.family takes
result.json        the ranking, the comparisons and the family as numbers
family.md          the members as a table
figures/           PNG and SVG
report.html        all of it on one page
trials/            a workdir each: config.json, metrics.jsonl
tensorboard/       a run a trial, with HParams
trials.log         what the processes printed
```
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from tfeff import config
from tfeff.reporting import figure, html, tables
from tfeff.reporting.allocation import allocation_figure
from tfeff.reporting.candidates import candidates_figure
from tfeff.reporting.landscape import landscape_figure
from tfeff.reporting.loss_curves import loss_figure
from tfeff.reporting.scaling_curves import (
    SINGLE,
    latency_figure,
    methods_figure,
    single_against_compound_figure,
    sweep_figure,
)
from tfeff.scaling import statistics, trial
from tfeff.scaling.baseline import ScaledNetwork, memory
from tfeff.scaling.search import STORE, Findings, Forecast, Study
from tfeff.scaling.store import Record, Store
from tfeff.training.workdir import write

MEGA = 1e6


def candidates(study: Study, directory: Path) -> str:
    """Writes `candidates.json` and its figure; the tried ones as a table."""
    chosen = {network.id for network in study.chosen}
    rows = [
        {
            "id": network.id,
            "depth": network.depth,
            "width": network.width,
            "resolution": network.scale,
            "nominal": network.nominal,
            "relative": network.relative,
            "blocks": network.blocks,
            "widths": network.widths,
            "pixels": network.resolution,
            "params": network.cost.params,
            "macs": network.cost.macs,
            "memory": memory(network.cost),
            "tried": network.id in chosen,
        }
        for network in study.networks
    ]
    write(directory / "candidates.json", json.dumps(rows, indent=1) + "\n")
    figure.save(_candidates_figure(study), directory / "figures" / "candidates")
    text = tables.text([_described(study, network) for network in study.chosen])
    return (
        f"{text}\n\n{len(study.chosen)} of {len(study.networks)} distinct networks within the budget; baseline "
        f"{study.baseline.cost.macs:,} multiply-adds, {study.baseline.cost.params:,} parameters\n"
        f"wrote {directory / 'candidates.json'}\nwrote {directory / 'figures' / 'candidates'}.{{png,svg}}"
    )


def forecast(study: Study, expected: Forecast, processes: int) -> str:
    """What the search will take, in words."""
    trials = len(study.chosen) * len(study.search.folds.blocks)
    parts = [
        f"{trials} trials on {study.examples[0]:,} training and {study.examples[1]:,} validation images each, under "
        f"{study.search.allocation.name} allocation: {_duration(expected.search, processes)}",
        f"the sweeps after them: {_duration(expected.sweeps, processes)}",
        f"measured here: {expected.rate.start:.1f} s to start a trial of a new network, then "
        f"{1e6 * expected.rate.per_image:.0f} µs an image and {1e12 * expected.rate.per_mac:.0f} ps a multiply-add",
    ]
    return "\n".join(parts)


def _duration(seconds: float, processes: int) -> str:
    elapsed = timedelta(seconds=round(seconds / processes))
    return f"{seconds / 3600:.2f} core-hours, {elapsed} with {processes} at once"


def write_all(findings: Findings, directory: Path, command: str) -> str:
    """Writes everything but the store from what a search found; a summary for the terminal.

    Args:
        findings: what `search.run` gave.
        directory: the workdir.
        command: that ran the search, as the report shows it.
    """
    store = Store(directory / STORE, None)
    told = _Told(findings, store.records())
    store.close()
    pictures = told.figures()
    for name, (drawn, _) in pictures.items():
        figure.save(drawn, directory / "figures" / name)
    write(directory / "family.md", tables.markdown(told.family_rows()) + "\n")
    write(directory / "result.json", json.dumps(told.result(), indent=2) + "\n")
    write(
        directory / "report.html", told.page(directory, command, {name: text for name, (_, text) in pictures.items()})
    )
    wrote = [directory / name for name in ("coefficients.json", "family.md", "result.json", "figures", "report.html")]
    parts = [
        tables.text(told.ranking_rows()),
        findings.ranking.sentence,
        tables.text(told.comparison_rows()),
        tables.text(told.family_rows()),
        "\n".join(f"wrote {path}" for path in wrote),
        "to train a member on all images: " + told.member_command(directory),
    ]
    return "\n\n".join(part for part in parts if part)


class _Told:
    """A search's findings as rows and figures."""

    def __init__(self, findings: Findings, records: Sequence[Record]) -> None:
        self.findings, self.study = findings, findings.study
        self.search = self.study.search
        self.records = {record.job: record for record in records}
        self.epochs = self.search.experiment.training.epochs
        self.metric = self.search.objective.metric
        self.unit = "%" if self.metric.endswith("accuracy") else ""
        self.objective_unit = self.unit if not self.study.objective.exponent else ""
        self.title = self.metric.replace("_", " ")

    def values(self, network: ScaledNetwork, *, objective: bool = False, epochs: int | None = None) -> dict:
        """Block -> metric (or objective) of a network at an epoch; trials that failed or never ran are left out."""
        found = {}
        for job, record in self.records.items():
            if job.candidate == network.id and job.epochs == (epochs or self.epochs) and record.state == "done":
                row = record.rows[-1]
                value = self.study.objective.value(row, network.cost.macs) if objective else row[self.metric]
                found[job.block] = float(value)
        return {block: found[block] for block in sorted(found)}

    def candidate_rows(self) -> list[dict[str, Any]]:
        """One mapping a candidate, as the figures take it."""
        findings, rows = self.findings, []
        for network in self.study.chosen:
            left = findings.left.get(network.id)
            values = self.values(network, objective=True, epochs=left.epochs if left else None)
            spent: dict[tuple[int, int], int] = {}
            for job, record in self.records.items():
                if job.candidate == network.id and record.state == "done":
                    spent[job.block] = max(spent.get(job.block, 0), job.epochs)
            rows.append(
                {
                    "id": network.id,
                    "label": network.label,
                    "depth": network.depth,
                    "width": network.width,
                    "resolution": network.scale,
                    "ratio": network.relative["macs"],
                    "standing": self._standing(network, bool(values)),
                    "reason": left.reason if left else None,
                    "epochs": sum(spent.values()),
                    "trials": len(spent),
                    **_interval(list(values.values())),
                }
            )
        return rows

    def _standing(self, network: ScaledNetwork, measured: bool) -> str:
        ranking = self.findings.ranking
        if network.id == ranking.chosen:
            return "winner"
        if not measured:
            return "failed"
        if network.id in self.findings.left:
            return "left"
        return "tied" if network.id in (ranking.best, *ranking.tied) else "beaten"

    def ranking_rows(self) -> list[dict[str, Any]]:
        """The candidates as a table, best first."""
        order = {id_: place for place, id_ in enumerate(self.findings.ranking.order)}
        rows = sorted(
            zip(self.study.chosen, self.candidate_rows(), strict=True),
            key=lambda pair: (order.get(pair[0].id, len(order)), -(pair[1]["mean"] or 0.0)),
        )
        return [
            {
                **_described(self.study, network),
                "mean": row["mean"],
                "deviation": row["deviation"],
                "standard error": row["standard_error"],
                "95 % from": row["low"],
                "to": row["high"],
                "trials": row["trials"],
                "epochs": row["epochs"],
                "standing": row["standing"] if row["reason"] is None else f"{row['standing']}: {row['reason']}",
            }
            for network, row in rows
        ]

    def points(self) -> list[dict[str, Any]]:
        """The sweeps, as the figures take them."""
        start = self.study.baseline.cost.macs
        return [
            {
                "label": point.network.label,
                "method": point.method,
                "phi": point.phi,
                "relative_macs": point.network.cost.macs / start,
                "macs": point.network.cost.macs,
                "latency": self.findings.latencies.get(point.network.id),
                **_interval(list(self.values(point.network).values())),
            }
            for point in self.findings.points
        ]

    def comparison_rows(self) -> list[dict[str, Any]]:
        """Compound against each single dimension at the same multiply-adds, by paired intervals."""
        table = {point.network.id: self.values(point.network) for point in self.findings.points}
        if not any(table.values()):
            return []
        rows = []
        for compound in (point for point in self.findings.points if point.method == "compound"):
            for other in self.findings.points:
                if other.phi != compound.phi or other.method == "compound":
                    continue
                row: dict[str, Any] = {
                    "φ": compound.phi,
                    "against": f"{other.method} alone",
                    "compound, x baseline": compound.network.cost.macs / self.study.baseline.cost.macs,
                    "alone, x baseline": other.network.cost.macs / self.study.baseline.cost.macs,
                }
                if table[compound.network.id] and table[other.network.id]:
                    difference = statistics.paired(table[compound.network.id], table[other.network.id])
                    row |= {
                        "compound": statistics.summary(table[compound.network.id].values()).mean,
                        "alone": statistics.summary(table[other.network.id].values()).mean,
                        "difference": difference.mean,
                        "95 % from": difference.low,
                        "to": difference.high,
                        "verdict": self._verdict(compound.network, other.network, difference),
                    }
                rows.append(row)
        return rows

    def _verdict(self, compound: ScaledNetwork, other: ScaledNetwork, difference: statistics.Difference) -> str:
        if compound.id == other.id:
            return "the same network"
        if not difference.separated:
            return "not separable"
        better = (difference.mean > 0) != self.study.objective.minimised
        return "compound is better" if better else "compound is worse"

    def family_rows(self) -> list[dict[str, Any]]:
        """The members of the family."""
        family, baseline = self.findings.family, self.study.baseline
        rows = []
        for phi in sorted({0.0, *(point.phi for point in self.findings.points)}):
            network = baseline.network(*family.coefficients(phi))
            seconds = self.findings.latencies.get(network.id)
            rows.append(
                {
                    "name": f"{baseline.model.name} φ={phi:g}",
                    "φ": f"{phi:g}",
                    "blocks": "-".join(map(str, network.blocks)),
                    "widths": "-".join(map(str, network.widths)),
                    "resolution": network.resolution,
                    "params": network.cost.params,
                    "multiply-adds": network.cost.macs,
                    "memory, MB an image": memory(network.cost) / MEGA,
                    "latency, ms": None if seconds is None else 1e3 * seconds,
                }
            )
        return rows

    def memory_rows(self) -> list[dict[str, Any]]:
        """Predicted against measured memory of the trainings."""
        rows = []
        networks = {network.id: network for network in (*self.study.chosen, *(p.network for p in self.findings.points))}
        for network in networks.values():
            peaks = [
                record.peak_bytes
                for job, record in self.records.items()
                if job.candidate == network.id and record.peak_bytes
            ]
            size = trial.batch_size(self.search, self.study.baseline, network)
            predicted = memory(network.cost) * size
            rows.append(
                {
                    "network": network.label,
                    "batch": size,
                    "predicted, MB": predicted / MEGA,
                    "measured, MB": min(peaks) / MEGA if peaks else None,
                }
            )
        return rows

    def figures(self) -> dict[str, tuple[Any, str]]:
        """Name -> (figure, caption)."""
        rows, points = self.candidate_rows(), self.points()
        title, objective = self.title, self.study.objective.title
        start = _interval(list(self.values(self.study.baseline.start, objective=True).values()))["mean"]
        found = {
            "candidates": (
                _candidates_figure(self.study),
                "All distinct networks within the budget, and those that were tried.",
            ),
            "landscape": (
                landscape_figure(rows, metric=objective, unit=self.objective_unit, baseline=start),
                "How well the candidates did over the shares of depth, width and resolution.",
            ),
            "allocation": (allocation_figure(rows), "What each candidate was given, and why it stopped."),
        }
        methods = [method for method in (*SINGLE, "compound") if any(point["method"] == method for point in points)]
        for method in methods:
            name = method if method == "compound" else f"{method}_alone"
            found[f"sweep_{name}"] = (
                sweep_figure(points, method, metric=title, unit=self.unit),
                f"Scaling by {method if method == 'compound' else f'{method} alone'}: {title} against multiply-adds.",
            )
        found["methods"] = (
            methods_figure(points, metric=title, unit=self.unit),
            "All ways of scaling on the same axes.",
        )
        if "compound" in methods and len(methods) > 1:
            found["single_against_compound"] = (
                single_against_compound_figure(points, metric=title, unit=self.unit),
                "Each single dimension against compound scaling.",
            )
        found["latency"] = (
            latency_figure(points, metric=title, unit=self.unit),
            "Against the measured time of one image's prediction.",
        )
        if self.findings.plain is not None:
            runs = {
                "with batch normalization": self._losses(self.study.baseline.start),
                "without batch normalization": self._losses(self.findings.plain),
            }
            found["batch_normalization"] = (
                loss_figure(runs, title="The baseline with and without batch normalization"),
                "Training loss of the baseline with and without batch normalization.",
            )
        return found

    def _losses(self, network: ScaledNetwork) -> list[list[tuple[float, float]]]:
        return [
            [(row["epoch"], row["train_loss"]) for row in record.rows]
            for job, record in sorted(self.records.items())
            if job.candidate == network.id and job.epochs == self.epochs and record.state == "done"
        ]

    def result(self) -> dict[str, Any]:
        """Everything as numbers."""
        family, ranking = self.findings.family, self.findings.ranking
        return {
            "alpha": family.alpha,
            "beta": family.beta,
            "gamma": family.gamma,
            "sentence": ranking.sentence,
            "objective": self.study.objective.title,
            "best": ranking.best,
            "chosen": ranking.chosen,
            "tied": list(ranking.tied),
            "candidates": self.candidate_rows(),
            "differences_from_best": {name: asdict(difference) for name, difference in ranking.differences.items()},
            "sweeps": self.points(),
            "comparisons": self.comparison_rows(),
            "family": self.family_rows(),
            "seconds_of_trials": sum(record.seconds or 0.0 for record in self.records.values()),
            "failed_trials": [
                {**asdict(record.job), "error": record.error}
                for record in self.records.values()
                if record.state == "failed"
            ],
        }

    def member_command(self, directory: Path) -> str:
        """How to train a member of the family."""
        phi = max((point.phi for point in self.findings.points), default=0.0) or 1.0
        return (
            f"python -m tfeff.train --config=CONFIG --workdir=WORKDIR --config.model.family={directory} "
            f"--config.model.phi={phi:g}"
        )

    def page(self, directory: Path, command: str, captions: Mapping[str, str]) -> str:
        """The report."""
        findings, folds, search = self.findings, self.search.folds, self.search
        family = findings.family
        failed = [record for record in self.records.values() if record.state == "failed"]

        def drawn(*names: str) -> list[html.Figure]:
            return [
                html.Figure(directory / "figures" / f"{name}.svg", captions[name]) for name in names if name in captions
            ]

        seconds = sum(record.seconds or 0.0 for record in self.records.values())
        kind = "independent subsets" if folds.kind == "independent" else "folds of classic cross-validation"
        setting = (
            f"{len(self.study.chosen)} of {len(self.study.networks)} distinct networks that cost "
            f"{' and '.join(f'{bound:g} times the {name}' for name, bound in search.budget.bounds.items())} of the "
            f"baseline (to within {search.budget.tolerance:.1%}) were tried on {folds.count} {kind} of "
            f"{search.experiment.data.source}, {self.study.examples[0]:,} training and {self.study.examples[1]:,} "
            f"validation images each, {folds.seeds} seed{'s' * (folds.seeds != 1)} a fold, for at most {self.epochs} "
            f'epochs under {search.allocation.name} allocation; batch size by the rule "{search.trials.batch_size}", '
            f'learning rate by "{search.trials.learning_rate}". All candidates met the same folds. The trials took '
            f"{seconds / 3600:.2f} process-hours."
        )
        sections = [
            html.Section(
                "The coefficients",
                [
                    html.Paragraph(
                        f"Depth α = {family.alpha:.3f}, width β = {family.beta:.3f}, resolution γ = {family.gamma:.3f};"
                        f" α·β²·γ² = {findings.winner.nominal:.3f}, real multiply-adds "
                        f"{findings.winner.relative['macs']:.3f} times the baseline's. {findings.ranking.sentence}"
                    ),
                    html.Paragraph(setting),
                    *drawn("landscape"),
                    html.Table(self.ranking_rows(), f"The candidates by {self.study.objective.title}."),
                ],
            ),
            html.Section("The candidates and their epochs", drawn("candidates", "allocation")),
            html.Section(
                "What the coefficients are worth",
                [
                    html.Paragraph(
                        "Compound members against networks scaled in one dimension alone to the same multiply-adds; "
                        "differences are paired over the folds, with the pair's own t interval and without "
                        "adjustment for their number. The compound member of φ = 1 was picked by these very trials, "
                        "which flatters it."
                    ),
                    html.Table(self.comparison_rows(), f"Differences in {self.title}."),
                    *drawn("single_against_compound", "methods"),
                    *drawn(*(name for name in captions if name.startswith("sweep_"))),
                    *drawn("latency"),
                ],
            ),
            html.Section(
                "The family",
                [
                    html.Table(self.family_rows(), "Members by φ; latency is that of one image on one process."),
                    html.Command(self.member_command(directory)),
                ],
            ),
        ]
        if "batch_normalization" in captions:
            sections.append(html.Section("Batch normalization", drawn("batch_normalization")))
        sections.append(
            html.Section(
                "Memory",
                [
                    html.Paragraph(
                        "Predicted: layer outputs and gradients at the worst moment of a training step, times the "
                        "batch. Measured: what a training process took beyond what it held before, the smallest of its "
                        "trials; weights, compiled code and input buffers come on top of what is predicted."
                    ),
                    html.Table(self.memory_rows(), "Memory of a training."),
                ],
            )
        )
        if failed:
            rows = [{**asdict(record.job), "error": record.error} for record in failed]
            sections.append(html.Section("Failed trials", [html.Table(rows, "Trials without a result.")]))
        sections.append(html.Section("The commands", [html.Command(command), html.Command(config.to_json(search))]))
        title = f"Compound scaling of {self.study.baseline.model.name} on {search.experiment.data.source}"
        return html.page(title, sections, summary=findings.ranking.sentence)


def _candidates_figure(study: Study) -> Any:
    budget = study.search.budget
    name, target = next(iter(budget.bounds.items()))
    shown = name if name != "latency" else "macs"
    rows = [
        {
            "id": network.id,
            "depth": network.depth,
            "width": network.width,
            "resolution": network.scale,
            "ratio": network.relative[shown],
        }
        for network in study.networks
    ]
    words = {"macs": "multiply-adds", "memory": "peak memory", "params": "parameters"}
    return candidates_figure(
        rows,
        {network.id for network in study.chosen},
        cost=words[shown],
        target=target if shown == name else None,
        tolerance=budget.tolerance,
    )


def _described(study: Study, network: ScaledNetwork) -> dict[str, Any]:
    return {
        "α": network.depth,
        "β": network.width,
        "γ": network.scale,
        "α·β²·γ²": network.nominal,
        **{f"real {name}": network.relative[name] for name in ("macs", "memory", "params")},
        "blocks": "-".join(map(str, network.blocks)),
        "widths": "-".join(map(str, network.widths)),
        "pixels": str(network.resolution),
        "batch": trial.batch_size(study.search, study.baseline, network),
    }


def _interval(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return dict.fromkeys(("mean", "deviation", "standard_error", "low", "high")) | {"values": []}
    of = statistics.summary(values)
    return {
        "mean": of.mean,
        "deviation": of.deviation,
        "standard_error": of.standard_error,
        "low": of.low,
        "high": of.high,
        "values": list(values),
    }
