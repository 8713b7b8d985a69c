"""The link of the training: what happened to the loss."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tfeff import config
from tfeff.analysis.diagnosis.finding import Finding, Link
from tfeff.analysis.diagnosis.subject import Subject
from tfeff.analysis.diagnosis.thresholds import limit
from tfeff.reporting.tables import percent


def check_training_curve(subject: Subject, *, learned: bool | None, frozen: float | None) -> Link:
    """Checks the curve of a run.

    Args:
        learned: whether the network finds its training objects; None if that is unknown. Only if it does not, more
            than a divergence breaks the link.
        frozen: share of the parameters that are frozen; None if it is unknown.
    """
    workdir, settings = subject.workdir, subject.settings
    assert workdir is not None
    assert settings is not None
    question = "did the loss fall far enough?"
    if settings.task.fitted:
        return Link(name="training", question=question, skipped="the head is fitted, not trained by gradients")
    rows, findings = workdir.rows(), list[Finding]()
    divergence = workdir.divergence()
    if divergence is not None:
        findings.append(
            Finding(
                what=f"training diverged in epoch {divergence['epoch']}, step {divergence['step']:,}: "
                f"{divergence['reason']}.",
                measured={"learning_rate": settings.optimizer.learning_rate, "step": divergence["step"]},
                evidence=[str(workdir.path / "divergence.json")],
                fix=_calmer(settings.optimizer, settings.schedule),
            )
        )
    if rows:
        findings += _findings(_Curve(settings, rows, learned), frozen)
        if not workdir.final.is_file() and divergence is None:
            findings.append(
                Finding(
                    what=f"the run is not finished: {rows[-1]['epoch']} of {settings.training.epochs} epochs.",
                    broken=False,
                    measured={"epochs": rows[-1]["epoch"]},
                )
            )
    return Link(
        name="training",
        question=question,
        findings=findings,
        measured={"epochs": len(rows), "first": _losses(rows[0]), "last": _losses(rows[-1])} if rows else {},
    )


@dataclass(frozen=True)
class _Curve:
    """What a run has logged.

    Attributes:
        rows: one per epoch.
        learned: whether the network finds its training objects; None if that is unknown.
    """

    settings: config.Experiment
    rows: list[dict[str, Any]]
    learned: bool | None

    @property
    def failed(self) -> bool:
        """Whether the network is known not to find its training objects."""
        return self.learned is False

    @property
    def losses(self) -> list[float]:
        """The training loss of each epoch."""
        return [float(row["train_loss"]) for row in self.rows]

    @property
    def updates(self) -> int:
        """Number of updates."""
        return int(self.rows[-1]["step"])

    @property
    def measured(self) -> dict[str, Any]:
        """Numbers that most findings state."""
        return {
            "epochs": len(self.rows),
            "updates": self.updates,
            "first_loss": self.losses[0],
            "last_loss": self.losses[-1],
        }

    @property
    def stalled(self) -> bool:
        """Whether the loss hardly fell."""
        first, lowest = self.losses[0], min(self.losses)
        fall = (first - lowest) / abs(first) if first else 0.0
        return len(self.rows) > 1 and fall < limit("loss_decrease")


def _findings(curve: _Curve, frozen: float | None) -> list[Finding]:
    if found := list(_not_finite(curve)):
        return found
    found = [*_rising(curve), *_frozen(curve, frozen)] or list(_stalled(curve)) or list(_short(curve))
    return [*found, *_still_falling(curve), *_zero_losses(curve)]


def _not_finite(curve: _Curve) -> Iterator[Finding]:
    bad = [row["epoch"] for row in curve.rows for value in _losses(row).values() if not math.isfinite(value)]
    if not bad:
        return
    yield Finding(
        what=f"the loss is not finite from epoch {bad[0]} on.",
        measured={"epoch": bad[0], "learning_rate": curve.settings.optimizer.learning_rate},
        fix=_calmer(curve.settings.optimizer, curve.settings.schedule),
    )


def _rising(curve: _Curve) -> Iterator[Finding]:
    lowest, last = min(curve.losses), curve.losses[-1]
    if last <= limit("loss_rise") * lowest:
        return
    yield Finding(
        what=f"the training loss rose again, from {lowest:.3g} to {last:.3g}.",
        broken=curve.failed,
        measured=curve.measured | {"lowest_loss": lowest, "learning_rate": curve.settings.optimizer.learning_rate},
        evidence=["see training.png"],
        fix=_calmer(curve.settings.optimizer, curve.settings.schedule),
    )


def _frozen(curve: _Curve, frozen: float | None) -> Iterator[Finding]:
    if frozen is None or frozen <= limit("frozen_share") or curve.learned:
        return
    yield Finding(
        what=f"{percent(frozen, 1)} of the parameters are frozen, so nothing can be learned.",
        broken=curve.failed,
        measured={"frozen": frozen},
        evidence=[f"optimizer.frozen={','.join(curve.settings.optimizer.frozen)}"],
        fix="narrow the patterns of optimizer.frozen; do not freeze the heads",
    )


def _stalled(curve: _Curve) -> Iterator[Finding]:
    if not curve.stalled:
        return
    optimizer = curve.settings.optimizer
    rate, adaptive = optimizer.learning_rate, optimizer.name in ("adamw", "muon")
    tiny = rate < limit("low_adaptive_rate" if adaptive else "low_rate")
    what = (
        f"the training loss hardly fell: from {curve.losses[0]:.3g} to {min(curve.losses):.3g} in {len(curve.rows)} "
        f"epochs ({curve.updates:,} updates)."
    )
    yield Finding(
        what=what + (f" The learning rate, {rate:g}, is very low." if tiny else ""),
        broken=curve.failed,
        measured=curve.measured | {"learning_rate": rate},
        evidence=["see training.png"],
        fix="raise optimizer.learning_rate"
        if tiny
        else "train for more updates; try another optimizer.learning_rate (ten times lower and higher); check the "
        "links before this one",
    )


def _short(curve: _Curve) -> Iterator[Finding]:
    if curve.updates >= limit("few_updates") or curve.learned:
        return
    yield Finding(
        what=f"training was short: {curve.updates:,} updates in {len(curve.rows)} epochs.",
        broken=curve.failed,
        measured=curve.measured,
        fix="raise training.epochs, or lower training.batch_size; a rerun in the same workdir continues",
    )


def _still_falling(curve: _Curve) -> Iterator[Finding]:
    epochs = len(curve.rows)
    recent = curve.losses[-max(2, epochs // 5) :]
    falling = recent[0] - recent[-1] > limit("still_falling") * abs(recent[0])
    if epochs < limit("falling_epochs") or not falling or curve.stalled:
        return
    yield Finding(
        what=f"the loss was still falling at the end, from {recent[0]:.3g} to {recent[-1]:.3g} in the last "
        f"{len(recent)} epochs.",
        broken=False,
        measured=curve.measured,
        fix="more training.epochs will help",
    )


def _zero_losses(curve: _Curve) -> Iterator[Finding]:
    yield from (
        Finding(
            what=f"{name} is 0 in all epochs: there was nothing to learn for it.",
            broken=curve.failed,
            measured={name: 0.0},
            fix="see the links boxes, preparation and assignment: no object reached this loss",
        )
        for name in _losses(curve.rows[0])
        if name != "train_loss" and all(row.get(name) == 0 for row in curve.rows)
    )


def _losses(row: dict[str, Any]) -> dict[str, float]:
    """Returns the training losses of an epoch."""
    return {name: float(value) for name, value in row.items() if name.startswith("train_") and name.endswith("loss")}


def _calmer(update: config.Optimizer, schedule: config.Schedule) -> str:
    parts = [f"lower optimizer.learning_rate (now {update.learning_rate:g})"]
    if not schedule.warmup_epochs:
        parts.append("warm up (schedule.warmup_epochs=1)")
    if update.clip_norm is None:
        parts.append("clip gradients (optimizer.clip_norm=10)")
    return ", ".join(parts) + "; train in a new --workdir"
