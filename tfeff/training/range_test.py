"""Learning-rate range test: finds a good learning rate in a short run with increasing rates.

The test follows Smith (arXiv:1506.01186, section 3.3), with two differences. The rate grows exponentially, because good
rates of different networks can be decades apart. The training loss is used instead of the accuracy.
"""

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfeff import config, selection
from tfeff.durable import locked, write
from tfeff.errors import UserError
from tfeff.execution import workers
from tfeff.models.network import in_policy
from tfeff.reporting import figure
from tfeff.reporting.training_curves import range_test_figure
from tfeff.training import checks, distribution, transfer
from tfeff.training.interruption import Interruption
from tfeff.training.plan import Plan
from tfeff.training.process import as_before
from tfeff.training.progress import Reporter
from tfeff.training.teachers import taught

STEPS = 120
"""Number of updates."""
SPAN = 100.0
"""The rate grows from 1/SPAN to SPAN times the config's learning rate."""
WINDOW = 21
"""Width of the moving average over losses, which vary between batches."""
DIVERGED = 4.0
"""The test ends if the loss exceeds this multiple of the first loss."""
MIN_IMPROVEMENT = 0.003
"""The loss must fall below that of the best constant prediction by this fraction."""


@dataclass(frozen=True)
class RangeTest:
    """A range test.

    Attributes:
        rates: learning rate of each update.
        losses: training loss before each update.
        means: the losses, averaged over WINDOW updates around each; NaN near both ends.
        constant: loss of the best constant prediction; infinity if it is unknown.
        rate: the learning rate that was found.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    means: tuple[float, ...]
    constant: float
    rate: float

    def to_json(self) -> dict[str, Any]:
        """Returns the numbers without the averages, which follow from them."""
        return {
            "learning_rate": self.rate,
            "constant_loss": self.constant if math.isfinite(self.constant) else None,
            "rates": self.rates,
            "losses": self.losses,
        }


def range_test(plan: Plan, caches: selection.SplitCaches) -> RangeTest:
    """Finds a peak learning rate for a run, to be used with a decaying schedule.

    The test makes STEPS updates with the run's initial weights, batches and optimizer, each at a higher rate. The loss
    falls until the rate becomes too high, then rises or diverges. The result is the rate at the minimum of the loss,
    averaged over WINDOW steps: the upper bound of the paper's range.

    With `training.deterministic` the result is reproducible; otherwise the rounding of parallel sums can change it.
    Another seed can change it by a factor of 2 or 3 if batches are small or the network learns slowly.

    Args:
        plan: the run's plan. Rates around its learning rate are tried. Its schedule and precision are ignored; the
            test runs in float32.
        caches: its images.

    Raises:
        UserError: if the network learns nothing at any rate, or its loss is not finite before the first update; or the
            run trains on images without labels, too.
        ValueError: if the caches were read with other settings.
    """
    _require_labels(plan)
    with as_before(deterministic=plan.training.deterministic), in_policy("float32"):
        rates, losses, constant = _losses(plan, caches)
    means = averaged(losses)
    rate, loss = lowest(rates, means)
    if not loss < (1 - MIN_IMPROVEMENT) * constant:
        raise UserError(
            f"the learning-rate range test learned nothing in {len(losses)} steps at rates from {rates[0]:.2g} to "
            f"{rates[-1]:.2g}: the lowest loss is {loss:.4f}, and a constant prediction reaches {constant:.4f}; check "
            "the images and their labels, or test around another optimizer.learning_rate"
        )
    return RangeTest(tuple(rates), tuple(losses), means, constant, rate)


def write_range_test(settings: config.Experiment, directory: str | os.PathLike[str]) -> tuple[float, list[Path]]:
    """Finds a learning rate; writes `range_test.json` and its figure into a directory.

    Returns:
        The learning rate, and the files.

    Raises:
        UserError: as for `range_test`, and for images or settings that cannot be trained.
    """
    plan, directory = Plan.of(config.resolve_member(settings)), Path(directory)
    if workers.worker_count() > 1:
        raise UserError("--range_test: several workers are not supported; use one (unset TF_CONFIG)")
    devices = distribution.strategy(plan.training.strategy).num_replicas_in_sync
    checks.check(plan, devices, new_run=True)
    if plan.task.stored is not None:
        raise UserError(f"--range_test: task.name={plan.settings.task.name} trains on stored features, not on images")
    _require_labels(plan)
    plan = _on_one_device(plan, devices)
    with locked(directory):
        source = selection.open_source(plan.images)
        selection.check(plan.images, source)
        found = range_test(plan, selection.read(plan.images, Reporter().reading, source=source))
        report = directory / "range_test.json"
        write(report, json.dumps(found.to_json(), indent=1) + "\n")
        drawn = range_test_figure(found.rates, found.losses, found.means, found.rate)
        return found.rate, [report, *figure.save(drawn, directory / "range_test")]


def _on_one_device(plan: Plan, devices: int) -> Plan:
    """Returns the plan of a run on several devices for one, which takes their shares of a batch one after the other."""
    steps = plan.training.accumulation_steps * devices
    training = dataclasses.replace(plan.training, strategy="single", accumulation_steps=steps)
    return dataclasses.replace(plan, settings=dataclasses.replace(plan.settings, training=training))


def _require_labels(plan: Plan) -> None:
    if plan.settings.data.unlabeled is not None:
        raise UserError(
            "config: data.unlabeled: the learning-rate range test reads only images with labels; test with "
            "data.unlabeled=none, and train with the rate that it finds"
        )


def averaged(losses: Sequence[float]) -> tuple[float, ...]:
    """Returns the moving average over WINDOW losses; NaN for the first and the last WINDOW // 2."""
    if len(losses) < WINDOW:
        return (math.nan,) * len(losses)
    means = np.convolve(losses, np.full(WINDOW, 1 / WINDOW), "valid").tolist()
    margin = (math.nan,) * (WINDOW // 2)
    return (*margin, *means, *margin)


def lowest(rates: Sequence[float], means: Sequence[float]) -> tuple[float, float]:
    """Returns the rate at the lowest mean loss, and that loss; NaN if there is none."""
    if np.isnan(means).all():
        return math.nan, math.nan
    index = int(np.nanargmin(means))
    return float(rates[index]), float(means[index])


def _losses(plan: Plan, caches: selection.SplitCaches) -> tuple[list[float], list[float], float]:
    """Returns the rates, the loss before each update, and the loss of the best constant prediction."""
    dataset = selection.choose(plan.images, caches)
    record, _ = plan.measured(dataset)
    if plan.update.transfer is not None:
        record |= transfer.choose(plan.learned(record), dataset, Reporter(quiet=True), Interruption())
    plan = plan.learned(record)
    network = plan.build_network()
    plan.load_weights(network, dataset.train)
    task = taught(plan, network)
    step = plan.build_step(network, plan.build_optimizer(network), task=task)
    pipeline = plan.training_pipeline(dataset.train, network.size)
    pipeline.transform.plain_from = None  # easier images would lower the loss at the rates of these updates
    batches = pipeline.training_batches(-(-STEPS // pipeline.steps_per_epoch)).take(STEPS)
    peak = plan.update.learning_rate
    rates, losses, targets = list[float](), list[float](), list[dict[str, np.ndarray]]()
    growing = np.geomspace(peak / SPAN, peak * SPAN, STEPS).tolist()
    for index, (batch, rate) in enumerate(zip(batches, growing, strict=True)):
        loss = step.task.means(step.train(batch, step=index, learning_rate=rate).numpy())["loss"]
        if not losses and not math.isfinite(loss):
            raise UserError(
                f"the learning-rate range test cannot start: the loss of the first batch is {loss}; check "
                "model.weights, model.mean and model.std"
            )
        if losses and not loss < DIVERGED * losses[0]:
            break
        rates.append(rate)
        losses.append(loss)
        targets.append({name: values.numpy() for name, values in batch.items() if name not in ("image", "weight")})
    stacked = {name: np.concatenate([each[name] for each in targets]) for name in targets[0]}
    return rates, losses, plan.task.constant_loss(stacked) if task is plan.task else math.inf
