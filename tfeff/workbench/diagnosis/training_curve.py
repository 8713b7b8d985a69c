"""The link of the training: what happened to the loss."""

import math
from typing import Any

from tfeff import config
from tfeff.workbench.diagnosis.finding import Finding, Link
from tfeff.workbench.diagnosis.subject import Subject
from tfeff.workbench.diagnosis.thresholds import limit


def check(subject: Subject, *, learned: bool | None, frozen: float | None) -> Link:
    """Checks the curve of a run.

    Args:
        subject: with a run.
        learned: whether the network finds its training objects; None if that is unknown. If it does, only a divergence
            breaks the link.
        frozen: share of the parameters that are frozen; None if it is unknown.
    """
    workdir, settings = subject.workdir, subject.settings
    assert workdir is not None
    assert settings is not None
    question = "did the loss fall, and far enough?"
    rows, findings = workdir.rows(), list[Finding]()
    divergence = workdir.divergence()
    if divergence is not None:
        findings.append(
            Finding(
                what=f"training diverged in epoch {divergence['epoch']}, step {divergence['step']:,}: "
                f"{divergence['reason']}.",
                measured={"learning_rate": settings.optimizer.learning_rate, "step": divergence["step"]},
                evidence=[str(workdir.path / "divergence.json")],
                fix=_calmer(settings),
            )
        )
    if rows:
        findings += _curve(settings, rows, learned=bool(learned), frozen=frozen)
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
        findings=sorted(findings, key=lambda each: not each.broken),
        measured={"epochs": len(rows), "first": _losses(rows[0]), "last": _losses(rows[-1])} if rows else {},
    )


def _curve(
    settings: config.Experiment, rows: list[dict[str, Any]], *, learned: bool, frozen: float | None
) -> list[Finding]:
    losses = [float(row["train_loss"]) for row in rows]
    updates, epochs, findings = int(rows[-1]["step"]), len(rows), list[Finding]()
    bad = [row["epoch"] for row in rows for name, value in _losses(row).items() if not math.isfinite(value)]
    first, last, lowest = losses[0], losses[-1], min(losses)
    rate = settings.optimizer.learning_rate
    fall = (first - lowest) / abs(first) if first else 0.0
    short = {"epochs": epochs, "updates": updates, "first_loss": first, "last_loss": last}
    if bad:
        findings.append(
            Finding(
                what=f"the loss is not finite from epoch {bad[0]} on.",
                measured={"epoch": bad[0], "learning_rate": rate},
                fix=_calmer(settings),
            )
        )
        return findings
    if last > limit("loss_rise") * lowest:
        findings.append(
            Finding(
                what=f"the training loss rose again, from {lowest:.3g} to {last:.3g}.",
                broken=not learned,
                measured=short | {"lowest_loss": lowest, "learning_rate": rate},
                evidence=["see training.png"],
                fix=_calmer(settings),
            )
        )
    if frozen is not None and frozen > 0.999 and not learned:
        findings.append(
            Finding(
                what=f"{frozen:.1%} of the parameters are frozen, so nothing can be learned.",
                measured={"frozen": frozen},
                evidence=[f"optimizer.frozen={','.join(settings.optimizer.frozen)}"],
                fix="narrow the patterns of optimizer.frozen; do not freeze the heads",
            )
        )
    stalled = epochs > 1 and fall < limit("loss_decrease")
    if stalled and not findings:
        tiny = rate < 1e-5 if settings.optimizer.name in ("adamw", "muon") else rate < 1e-4
        what = (
            f"the training loss hardly fell: from {first:.3g} to {lowest:.3g} in {epochs} epochs ({updates:,} updates)."
        )
        findings.append(
            Finding(
                what=what + (f" The learning rate, {rate:g}, is very low." if tiny else ""),
                broken=not learned,
                measured=short | {"learning_rate": rate},
                evidence=["see training.png"],
                fix="raise optimizer.learning_rate"
                if tiny
                else "train for more updates; try another "
                "optimizer.learning_rate (ten times lower and higher); check the links before this one",
            )
        )
    elif updates < limit("few_updates") and not findings:
        findings.append(
            Finding(
                what=f"training was short: {updates:,} updates in {epochs} epochs.",
                broken=not learned,
                measured=short,
                fix="raise training.epochs, or lower training.batch_size; a rerun in the same workdir continues",
            )
        )
    recent = losses[-max(2, epochs // 5) :]
    if epochs >= 5 and recent[0] - recent[-1] > limit("still_falling") * abs(recent[0]) and not stalled:
        findings.append(
            Finding(
                what=f"the loss was still falling at the end, from {recent[0]:.3g} to {recent[-1]:.3g} in the last "
                f"{len(recent)} epochs.",
                broken=False,
                measured=short,
                fix="more training.epochs will help",
            )
        )
    for name in _losses(rows[0]):
        if name != "train_loss" and all(row.get(name) == 0 for row in rows):
            findings.append(
                Finding(
                    what=f"{name} is 0 in all epochs: there was nothing to learn for it.",
                    broken=not learned,
                    measured={name: 0.0},
                    fix="see the links boxes, preparation and assignment: no object reached this loss",
                )
            )
    return findings


def _losses(row: dict[str, Any]) -> dict[str, float]:
    """The training losses of an epoch."""
    return {name: float(value) for name, value in row.items() if name.startswith("train_") and name.endswith("loss")}


def _calmer(settings: config.Experiment) -> str:
    parts = [f"lower optimizer.learning_rate (now {settings.optimizer.learning_rate:g})"]
    if not settings.schedule.warmup_epochs:
        parts.append("warm up (schedule.warmup_epochs=1)")
    if settings.optimizer.clip_norm is None:
        parts.append("clip gradients (optimizer.clip_norm=10)")
    return ", ".join(parts) + "; train in a new --workdir"
