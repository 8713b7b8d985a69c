"""The findings of a search as rows for tables, figures and result.json."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np

from tfeff.config.section import to_dict
from tfeff.reporting.scaling_curves import METHODS
from tfeff.reporting.tables import in_words
from tfeff.scaling.baseline import ScaledNetwork, batch_size, experiment
from tfeff.scaling.choice import Ranked
from tfeff.scaling.direction import BestDirection
from tfeff.scaling.members import Comparison
from tfeff.scaling.search import Findings
from tfeff.scaling.study import Study
from tfeff.trials.intervals import Summary, grouped_summaries, number
from tfeff.trials.learning_rates import best_rate
from tfeff.trials.proportions import is_proportion
from tfeff.trials.results import Block, Job
from tfeff.trials.store import Record, Records

MEGA = 1e6


class Result:
    """The findings of a search as rows."""

    def __init__(self, findings: Findings, records: Sequence[Record]) -> None:
        self.findings, self.study = findings, findings.study
        self.search = self.study.search
        # The workdir may also hold trainings of an earlier search, with another budget.
        best, plain = self.best, findings.plain
        compared = [each.network for each in best.trained] if best else [*self.study.chosen] if self.ranked else []
        compared += [*(point.network for point in findings.points), *([plain] if plain else [])]
        names = {network.id for network in compared}
        records = [each for each in records if each.job.candidate in names]
        self.records = Records(records)
        self.epochs = self.search.experiment.training.epochs
        self.metric = self.search.objective.metric
        split = self.search.folds.validation_split
        words = in_words(self.metric)
        self.metric_words = words.replace("validation", split) if split else words
        networks = {point.network.id: point.network for point in findings.points}
        self.comparison = Comparison(
            findings.points,
            {name: self.values(network, members=True) for name, network in networks.items()},
            {name: self.final(network, "train_loss") for name, network in networks.items()},
            {record.job.candidate for record in records if record.has_failed and self._is_of_member(record.job)},
            minimized=self.study.objective.minimized,
            bounded=is_proportion(self.metric),
        )

    def values(
        self, network: ScaledNetwork, *, members: bool = False, objective: bool = False, epochs: int | None = None
    ) -> dict[Block, float]:
        """Returns fold -> metric of a network, averaged over seeds; failed and missing trials are omitted.

        Args:
            members: use the folds of the members, not those of the candidates.
            objective: the objective instead of its metric.
            epochs: number of epochs of the trainings; None: all of them.
        """

        def value(row: Mapping[str, Any]) -> float:
            return self.study.objective.value(row, network.cost.macs) if objective else float(row[self.metric])

        training = self.search.experiment.training
        blocks = self.search.member_blocks if members else self.search.folds.blocks
        return self.records.values(network.id, epochs or self.epochs, training, value, blocks)

    @property
    def ranked(self) -> Ranked | None:
        """The ranking of the candidates, with `choice=mean`."""
        basis = None if self.findings.choice is None else self.findings.choice.basis
        return basis if isinstance(basis, Ranked) else None

    @property
    def best(self) -> BestDirection | None:
        """The best direction, with `choice=surface`."""
        basis = None if self.findings.choice is None else self.findings.choice.basis
        return basis if isinstance(basis, BestDirection) else None

    @cached_property
    def candidates(self) -> list[dict[str, Any]]:
        """One row per candidate, in the format of the figures."""
        ranked, rows = self.ranked, list[dict[str, Any]]()
        if ranked is None:
            return rows
        lengths = {name: elimination.epochs for name, elimination in ranked.eliminated.items()}
        lengths = {network.id: lengths.get(network.id, self.epochs) for network in self.study.chosen}
        table = {
            network.id: self.values(network, objective=True, epochs=lengths[network.id])
            for network in self.study.chosen
        }
        estimates = grouped_summaries(table, lengths, bounded=self.study.objective.bounded)
        for network in self.study.chosen:
            elimination, values = ranked.eliminated.get(network.id), table[network.id]
            spent = self.records.epochs(network.id, self.search.folds.blocks)
            rows.append(
                {
                    "id": network.id,
                    "label": network.label,
                    "depth": network.depth,
                    "width": network.width,
                    "resolution": network.scale,
                    "ratio": network.relative["macs"],
                    "standing": ranked.ranking.standing(network.id, has_values=bool(values)),
                    "reason": elimination.reason if elimination else None,
                    "epochs": sum(spent.values()),
                    "trials": len(spent),
                    **_interval(values, estimates.get(network.id)),
                }
            )
        return rows

    @cached_property
    def trainings(self) -> list[dict[str, Any]]:
        """The trainings of `choice=surface`, in their order."""
        return [
            {
                **_coefficients(each.network),
                "φ": each.phi,
                "fold": each.block[0],
                self.study.objective.title: each.value,
                **_sizes(each.network),
            }
            for each in (self.best.trained if self.best else ())
        ]

    @cached_property
    def surface(self) -> dict[str, Any] | None:
        """What the surface says about the best direction, with `choice=surface`."""
        best = self.best
        if best is None:
            return None
        return best.to_json() | {"trainings": self.trainings}

    @cached_property
    def ranking(self) -> list[dict[str, Any]]:
        """The candidates as a table, the best first."""
        ranked = self.ranked
        order = {id_: index for index, id_ in enumerate(ranked.ranking.order)} if ranked else {}
        rows = sorted(
            zip(self.study.chosen, self.candidates, strict=True) if ranked else (),
            key=lambda pair: (order.get(pair[0].id, len(order)), pair[1]["mean"] is None, -(pair[1]["mean"] or 0.0)),
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
        estimates = self.comparison.estimates
        return [
            {
                "label": point.network.label,
                "method": point.method,
                "phi": point.phi,
                "relative_macs": point.network.cost.macs / baseline_macs,
                "macs": point.network.cost.macs,
                "latency": self._seconds(point.network),
                **_interval(self.values(point.network, members=True), estimates.get(point.network.id)),
            }
            for point in self.findings.points
        ]

    @cached_property
    def members(self) -> list[dict[str, Any]]:
        """The networks that are compared, as a table."""
        rows = []
        for point, row in zip(self.findings.points, self.points, strict=True):
            network, rate = point.network, self.findings.learning_rates.get(point.network.id)
            fitted = self.final(network, "train_accuracy")
            rows.append(
                {
                    "network": METHODS[point.method].label,
                    "φ": f"{point.phi:g}",
                    "x baseline": network.relative["macs"],
                    **_sizes(network),
                    **({} if rate is None else {"learning rate": f"{rate:.3g}"}),
                    "folds": len(row["folds"]),
                    **({"training accuracy": float(np.mean(fitted))} if fitted else {}),
                    self.metric_words: row["mean"],
                    "95 % from": row["low"],
                    "to": row["high"],
                }
            )
        return rows

    @cached_property
    def rates(self) -> list[dict[str, Any]]:
        """The learning rates tried for each network, with the metric on held-out images of the first fold."""
        rows = []
        for point in self.findings.points:
            tried = self.findings.tried_rates.get(point.network.id, ())
            if tried:
                best, rates = best_rate(tried), sorted(rate for rate, _ in tried)
                rows.append(
                    {
                        "network": METHODS[point.method].label,
                        "φ": f"{point.phi:g}",
                        "learning rate": f"{best:.3g}",
                        "tried": ", ".join(
                            f"{rate:.3g}: {'diverged' if value is None else number(value)}"
                            for rate, value in sorted(tried)
                        ),
                        "at the end": "yes" if best in (rates[0], rates[-1]) else "",
                    }
                )
        return rows

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
                    "memory, MB an image": network.cost.training_peak_bytes / MEGA,
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
                    "estimated, MB": network.cost.training_peak_bytes * size / MEGA,
                    "measured, MB": min(peaks) / MEGA if peaks else None,
                }
            )
        return rows

    def rate(self, network: ScaledNetwork) -> float:
        """Returns the learning rate of a member: the one that was found for it, or by the rule of the config."""
        search = self.study.search
        given = experiment(search, self.study.baseline, network).optimizer.learning_rate
        return self.findings.learning_rates.get(network.id, given)

    def losses(self, network: ScaledNetwork) -> list[list[tuple[float, float]]]:
        """Returns (epoch, training loss) of each complete trial of a member."""
        return [[(row["epoch"], row["train_loss"]) for row in rows] for rows in self._complete(network)]

    def final(self, network: ScaledNetwork, metric: str) -> list[float]:
        """Returns a metric of the last epoch of each complete trial of a member, if it was recorded."""
        return [rows[-1][metric] for rows in self._complete(network) if metric in rows[-1]]

    def _complete(self, network: ScaledNetwork) -> list[Sequence[Mapping[str, Any]]]:
        """Returns the metrics per epoch of each complete trial of a member."""
        return [
            record.rows
            for record in sorted(self.records.done(network.id), key=lambda record: record.job)
            if self._is_of_member(record.job)
        ]

    def _is_of_member(self, job: Job) -> bool:
        """Returns whether a job trains a member, not a candidate on other folds or for fewer epochs."""
        return job.epochs == self.epochs and job.block in self.search.member_blocks

    def _seconds(self, network: ScaledNetwork) -> float | None:
        """Returns the latency as its ratio times the baseline's seconds.

        Other load on the machine affects the ratio least.
        """
        latencies = self.findings.latencies
        baseline, latency = latencies.get(self.study.baseline.unscaled.id), latencies.get(network.id)
        return None if baseline is None or latency is None else baseline.seconds * latency.relative

    def to_json(self) -> dict[str, Any]:
        """Returns the contents of result.json."""
        family, chosen = self.findings.family, dict[str, Any]()
        if self.ranked is not None:
            ranking = self.ranked.ranking
            chosen = {
                "best": ranking.best,
                "chosen": ranking.chosen,
                "tied": list(ranking.tied),
                "candidates": self.candidates,
                "differences_from_best": {name: asdict(each) for name, each in ranking.differences.items()},
            }
        elif self.best is not None:
            chosen = {"surface": self.surface}
        return {
            "alpha": family.alpha,
            "beta": family.beta,
            "gamma": family.gamma,
            **({"neck_depth": family.neck_depth, "neck_width": family.neck_width} if family.detector else {}),
            "sentence": family.finding,
            "objective": self.study.objective.title,
            "metric": self.metric_words,
            **chosen,
            "members": self.points,
            "networks": self.members,
            "gains": self.comparison.gains,
            "comparisons": self.comparison.rows,
            "power": self.comparison.power,
            "slopes": self.comparison.slopes,
            "found_rates": dict(self.findings.learning_rates),
            "learning_rates": self.rates,
            "tried_rates": dict(self.findings.tried_rates),
            "not_optimized": sorted(self.comparison.not_optimized),
            "family": self.family,
            "seconds_of_trials": self.records.seconds,
            "failed_trials": self.records.failed,
            "images": self.study.fingerprint.digest,
            "config": to_dict(self.search),
        }


def describe(study: Study, network: ScaledNetwork) -> dict[str, Any]:
    """Returns a row of the table of candidates, before training."""
    return {
        **_coefficients(network),
        **({} if network.neck else {"α·β²·γ²": network.nominal}),
        **{f"real {name}": ratio for name, ratio in network.relative.items()},
        **_sizes(network),
        "batch": batch_size(study.search, study.baseline, network),
    }


def _sizes(network: ScaledNetwork) -> dict[str, str]:
    return {
        "blocks": "-".join(map(str, network.blocks)),
        "widths": "-".join(map(str, network.widths)),
        **_neck(network),
        "pixels": str(network.resolution),
    }


def _coefficients(network: ScaledNetwork) -> dict[str, Any]:
    neck = {"neck depth": network.neck_depth, "neck width": network.neck_width} if network.neck else {}
    return {"α": network.depth, "β": network.width, "γ": network.scale, **neck}


def _neck(network: ScaledNetwork) -> dict[str, str]:
    """Returns channels and cells of a detector's neck, and convolutions of each head."""
    if not network.neck:
        return {}
    channels, repeats, head_repeats = network.neck
    return {"neck": f"{channels}x{repeats}", "heads": f"{channels}x{head_repeats}"}


def _interval(values: Mapping[Block, float], estimate: Summary | None) -> dict[str, Any]:
    """Returns the mean and interval of values by fold, and the values."""
    by_fold = {"folds": [fold for fold, _ in values], "values": list(values.values())}
    if estimate is None:
        return dict.fromkeys(("mean", "deviation", "standard_error", "low", "high")) | by_fold
    shown = asdict(estimate)
    del shown["n"]
    return shown | by_fold
