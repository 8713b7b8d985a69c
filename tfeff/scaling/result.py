"""The findings of a search as rows for tables, figures and result.json."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from tfeff.scaling.baseline import ScaledNetwork, peak_memory
from tfeff.scaling.experiment import batch_size
from tfeff.scaling.optimum import Optimum, find
from tfeff.scaling.search import Findings
from tfeff.scaling.study import Study
from tfeff.trials.intervals import Difference, paired_difference, summary
from tfeff.trials.records import Records
from tfeff.trials.results import Block
from tfeff.trials.store import Record

MEGA = 1e6


class Result:
    """The findings of a search as rows.

    Args:
        findings: from `search.run`.
        records: all trials of the search.
    """

    def __init__(self, findings: Findings, records: Sequence[Record]) -> None:
        self.findings, self.study = findings, findings.study
        self.search = self.study.search
        self.records = Records(records)
        self.epochs = self.search.experiment.training.epochs
        self.metric = self.search.objective.metric

    def values(
        self, network: ScaledNetwork, *, objective: bool = False, epochs: int | None = None
    ) -> dict[Block, float]:
        """Fold -> metric (or objective) of a network after `epochs` (default: all), averaged over seeds.

        Failed and missing trials are omitted.
        """

        def value(row: Mapping[str, Any]) -> float:
            return self.study.objective.value(row, network.cost.macs) if objective else float(row[self.metric])

        training = self.search.experiment.training
        return self.records.values(network.id, epochs or self.epochs, training, value)

    @cached_property
    def candidates(self) -> list[dict[str, Any]]:
        """One row per candidate, in the format of the figures."""
        findings, rows = self.findings, []
        for network in self.study.chosen:
            elimination = findings.eliminated.get(network.id)
            values = self.values(network, objective=True, epochs=elimination.epochs if elimination else None)
            spent = self.records.epochs(network.id)
            rows.append(
                {
                    "id": network.id,
                    "label": network.label,
                    "depth": network.depth,
                    "width": network.width,
                    "resolution": network.scale,
                    "ratio": network.relative["macs"],
                    "standing": findings.ranking.standing(network.id, has_values=bool(values)),
                    "reason": elimination.reason if elimination else None,
                    "epochs": sum(spent.values()),
                    "trials": len(spent),
                    **_interval(list(values.values())),
                }
            )
        return rows

    @cached_property
    def optimum(self) -> Optimum | None:
        """The highest point of a surface through all candidates; None if some were eliminated early."""
        if self.findings.eliminated:
            return None
        return find({n.id: self.values(n, objective=True) for n in self.study.chosen}, self.study.chosen)

    @cached_property
    def surface(self) -> dict[str, Any] | None:
        """The optimum in numbers and words."""
        if self.optimum is None:
            return None
        alpha, beta, gamma = self.optimum.coefficients
        findings, metric = self.findings, self.study.objective.title
        return {
            "alpha": alpha,
            "beta": beta,
            "gamma": gamma,
            "region_share": self.optimum.surface.extent,
            "sentence": self.optimum.sentence(findings.winner, findings.ranking, metric),
        }

    @cached_property
    def ranking(self) -> list[dict[str, Any]]:
        """The candidates as a table, the best first."""
        order = {id_: index for index, id_ in enumerate(self.findings.ranking.order)}
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
                **describe(self.study, network),
                "reason": row["reason"] or "",
            }
            for network, row in rows
        ]

    @cached_property
    def points(self) -> list[dict[str, Any]]:
        """The members and the networks that they are compared with, in the format of the figures."""
        baseline_macs = self.study.baseline.cost.macs
        return [
            {
                "label": point.network.label,
                "method": point.method,
                "phi": point.phi,
                "relative_macs": point.network.cost.macs / baseline_macs,
                "macs": point.network.cost.macs,
                "latency": self._seconds(point.network),
                **_interval(list(self.values(point.network).values())),
            }
            for point in self.findings.points
        ]

    @cached_property
    def comparisons(self) -> list[dict[str, Any]]:
        """Compound scaling against each single dimension at the same multiply-adds, with paired intervals."""
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
                    difference = paired_difference(table[compound.network.id], table[other.network.id])
                    row |= {
                        "compound": summary(table[compound.network.id].values()).mean,
                        "alone": summary(table[other.network.id].values()).mean,
                        "difference": difference.mean,
                        "95 % from": difference.low,
                        "to": difference.high,
                        "verdict": self._verdict(compound.network, other.network, difference),
                    }
                rows.append(row)
        return rows

    def _verdict(self, compound: ScaledNetwork, other: ScaledNetwork, difference: Difference) -> str:
        if compound.id == other.id:
            return "the same network"
        if not difference.separable:
            return "not separable"
        better = (difference.mean > 0) != self.study.objective.minimized
        return "compound is better" if better else "compound is worse"

    @cached_property
    def family(self) -> list[dict[str, Any]]:
        """The members of the family."""
        family, baseline = self.findings.family, self.study.baseline
        rows = []
        for phi in sorted({0.0, 1.0, *(point.phi for point in self.findings.points)}):
            network = baseline.member(family, phi)
            seconds = self._seconds(network)
            rows.append(
                {
                    "name": f"{baseline.model.name} φ={phi:g}",
                    "φ": f"{phi:g}",
                    "blocks": "-".join(map(str, network.blocks)),
                    "widths": "-".join(map(str, network.widths)),
                    **_neck(network),
                    "resolution": network.resolution,
                    "params": network.cost.params,
                    "multiply-adds": network.cost.macs,
                    "memory, MB an image": peak_memory(network.cost) / MEGA,
                    "latency, ms": None if seconds is None else 1e3 * seconds,
                }
            )
        return rows

    @cached_property
    def memory(self) -> list[dict[str, Any]]:
        """Estimated and measured memory of the trials."""
        rows = []
        networks = {network.id: network for network in (*self.study.chosen, *(p.network for p in self.findings.points))}
        for network in networks.values():
            peaks = [
                record.peak_bytes
                for record in self.records.all
                if record.job.candidate == network.id and record.peak_bytes
            ]
            size = batch_size(self.search, self.study.baseline, network)
            rows.append(
                {
                    "network": network.label,
                    "batch": size,
                    "estimated, MB": peak_memory(network.cost) * size / MEGA,
                    "measured, MB": min(peaks) / MEGA if peaks else None,
                }
            )
        return rows

    def losses(self, network: ScaledNetwork) -> list[list[tuple[float, float]]]:
        """(epoch, training loss) of each complete trial of a network."""
        return [
            [(row["epoch"], row["train_loss"]) for row in record.rows]
            for record in sorted(self.records.done(network.id), key=lambda record: record.job)
            if record.job.epochs == self.epochs
        ]

    def _seconds(self, network: ScaledNetwork) -> float | None:
        """Latency as ratio times the baseline's seconds: the ratio is least affected by other load on the machine."""
        latencies = self.findings.latencies
        baseline, latency = latencies.get(self.study.baseline.unscaled.id), latencies.get(network.id)
        return None if baseline is None or latency is None else baseline.seconds * latency.relative

    def to_json(self) -> dict[str, Any]:
        """The contents of result.json."""
        family, ranking = self.findings.family, self.findings.ranking
        return {
            "alpha": family.alpha,
            "beta": family.beta,
            "gamma": family.gamma,
            **({"neck_depth": family.neck_depth, "neck_width": family.neck_width} if family.detector else {}),
            "sentence": ranking.sentence,
            "objective": self.study.objective.title,
            "best": ranking.best,
            "chosen": ranking.chosen,
            "tied": list(ranking.tied),
            "candidates": self.candidates,
            "surface": self.surface,
            "differences_from_best": {name: asdict(difference) for name, difference in ranking.differences.items()},
            "members": self.points,
            "comparisons": self.comparisons,
            "family": self.family,
            "seconds_of_trials": self.records.seconds,
            "failed_trials": self.records.failed,
        }


def describe(study: Study, network: ScaledNetwork) -> dict[str, Any]:
    """A row of the table of candidates, before training."""
    return {
        **_coefficients(network),
        **({} if network.neck else {"α·β²·γ²": network.nominal}),
        **{f"real {name}": ratio for name, ratio in network.relative.items()},
        "blocks": "-".join(map(str, network.blocks)),
        "widths": "-".join(map(str, network.widths)),
        **_neck(network),
        "pixels": str(network.resolution),
        "batch": batch_size(study.search, study.baseline, network),
    }


def _coefficients(network: ScaledNetwork) -> dict[str, Any]:
    neck = {"neck depth": network.neck_depth, "neck width": network.neck_width} if network.neck else {}
    return {"α": network.depth, "β": network.width, "γ": network.scale, **neck}


def _neck(network: ScaledNetwork) -> dict[str, str]:
    """Channels and cells of a detector's neck, and convolutions of each head."""
    if not network.neck:
        return {}
    channels, repeats, head_repeats = network.neck
    return {"neck": f"{channels}x{repeats}", "heads": f"{channels}x{head_repeats}"}


def _interval(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return dict.fromkeys(("mean", "deviation", "standard_error", "low", "high")) | {"values": []}
    estimate = asdict(summary(values))
    del estimate["n"]
    return {**estimate, "values": list(values)}
