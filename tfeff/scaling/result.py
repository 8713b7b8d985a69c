"""What a search found, as rows: for tables, figures and result.json."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from tfeff.scaling import statistics, trial
from tfeff.scaling.baseline import ScaledNetwork, memory
from tfeff.scaling.search import Findings, Study
from tfeff.scaling.store import Record

MEGA = 1e6


class Result:
    """A search's findings as rows: what its tables, figures and result.json are made of.

    Args:
        findings: what `search.run` gave.
        records: all of its trials.
    """

    def __init__(self, findings: Findings, records: Sequence[Record]) -> None:
        self.findings, self.study = findings, findings.study
        self.search = self.study.search
        self.records = {record.job: record for record in records}
        self.epochs = self.search.experiment.training.epochs
        self.metric = self.search.objective.metric

    def values(self, network: ScaledNetwork, *, objective: bool = False, epochs: int | None = None) -> dict:
        """Fold -> metric (or objective) of a network at an epoch, averaged over seeds.

        Trials that failed or never ran are left out.
        """
        found = {}
        for job, record in self.records.items():
            if job.candidate == network.id and job.epochs == (epochs or self.epochs) and record.state == "done":
                row = trial.outcome(self.search, record.rows)
                value = self.study.objective.value(row, network.cost.macs) if objective else row[self.metric]
                found[job.block] = float(value)
        return statistics.by_fold({block: found[block] for block in sorted(found)})

    @cached_property
    def candidates(self) -> list[dict[str, Any]]:
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

    @cached_property
    def ranking(self) -> list[dict[str, Any]]:
        """The candidates as a table, best first."""
        order = {id_: place for place, id_ in enumerate(self.findings.ranking.order)}
        rows = sorted(
            zip(self.study.chosen, self.candidates, strict=True),
            key=lambda pair: (order.get(pair[0].id, len(order)), -(pair[1]["mean"] or 0.0)),
        )
        return [
            {
                **_coefficients(network),
                "mean": row["mean"],
                "95 % from": row["low"],
                "to": row["high"],
                "deviation": row["deviation"],
                "standard error": row["standard_error"],
                "trials": row["trials"],
                "epochs": row["epochs"],
                "standing": row["standing"],
                **described(self.study, network),
                "why it left": row["reason"] or "",
            }
            for network, row in rows
        ]

    @cached_property
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
                "latency": self._seconds(point.network),
                **_interval(list(self.values(point.network).values())),
            }
            for point in self.findings.points
        ]

    @cached_property
    def comparisons(self) -> list[dict[str, Any]]:
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

    @cached_property
    def family(self) -> list[dict[str, Any]]:
        """The members of the family."""
        family, baseline = self.findings.family, self.study.baseline
        rows = []
        for phi in sorted({0.0, 1.0, *(point.phi for point in self.findings.points)}):
            network = baseline.network(*family.coefficients(phi))
            seconds = self._seconds(network)
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

    @cached_property
    def memory(self) -> list[dict[str, Any]]:
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

    @property
    def seconds(self) -> float:
        """Of all processes together."""
        return sum(record.seconds or 0.0 for record in self.records.values())

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The trials without a result."""
        return [
            {**asdict(record.job), "error": record.error}
            for record in self.records.values()
            if record.state == "failed"
        ]

    def losses(self, network: ScaledNetwork) -> list[list[tuple[float, float]]]:
        """(epoch, training loss) of each whole trial of a network."""
        return [
            [(row["epoch"], row["train_loss"]) for row in record.rows]
            for job, record in sorted(self.records.items())
            if job.candidate == network.id and job.epochs == self.epochs and record.state == "done"
        ]

    def _seconds(self, network: ScaledNetwork) -> float | None:
        """Of one image's prediction: the ratio to the baseline is what a busy machine disturbs least."""
        latencies = self.findings.latencies
        unit, own = (latencies.get(id_) for id_ in (self.study.baseline.start.id, network.id))
        return None if unit is None or own is None else unit.seconds * own.relative

    def numbers(self) -> dict[str, Any]:
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
            "candidates": self.candidates,
            "differences_from_best": {name: asdict(difference) for name, difference in ranking.differences.items()},
            "sweeps": self.points,
            "comparisons": self.comparisons,
            "family": self.family,
            "seconds_of_trials": self.seconds,
            "failed_trials": self.failed,
        }


def described(study: Study, network: ScaledNetwork) -> dict[str, Any]:
    """A candidate before anything trains."""
    return {
        **_coefficients(network),
        "α·β²·γ²": network.nominal,
        **{f"real {name}": ratio for name, ratio in network.relative.items()},
        "blocks": "-".join(map(str, network.blocks)),
        "widths": "-".join(map(str, network.widths)),
        "pixels": str(network.resolution),
        "batch": trial.batch_size(study.search, study.baseline, network),
    }


def _coefficients(network: ScaledNetwork) -> dict[str, Any]:
    return {"α": network.depth, "β": network.width, "γ": network.scale}


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
