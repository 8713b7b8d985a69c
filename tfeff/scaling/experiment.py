"""The experiment that trains a scaled network: batch size and learning rate follow the network."""

import dataclasses
import math
from typing import Any

from tfeff import config
from tfeff.errors import UserError
from tfeff.scaling.baseline import Baseline, ScaledNetwork, peak_memory
from tfeff.trials.store import TrialStore
from tfeff.trials.trial import Candidate

COEFFICIENTS = ("depth", "width", "resolution", "neck_depth", "neck_width")
"""Keys of a stored candidate's settings from which its network is built again."""


def experiment(search: config.Search, baseline: Baseline, network: ScaledNetwork) -> config.Experiment:
    """The baseline's experiment with another network, and the batch size and learning rate that suit it."""
    base = search.experiment
    size = batch_size(search, baseline, network)
    return dataclasses.replace(
        base,
        task=network.task,
        model=network.model,
        optimizer=dataclasses.replace(base.optimizer, learning_rate=learning_rate(search, size)),
        training=dataclasses.replace(base.training, batch_size=size),
    )


def candidate(search: config.Search, baseline: Baseline, network: ScaledNetwork) -> Candidate:
    """A network as a candidate for trials; its settings describe it to readers of the store."""
    settings: dict[str, Any] = {
        "depth": network.depth,
        "width": network.width,
        "resolution": network.resolution,
        "scale": network.scale,
        **({"neck_depth": network.neck_depth, "neck_width": network.neck_width} if network.neck else {}),
        "blocks": network.blocks,
        "widths": network.widths,
        "params": network.cost.params,
        "macs": network.cost.macs,
        "memory": peak_memory(network.cost),
        "relative_macs": network.relative["macs"],
    }
    return Candidate(network.id, network.label, experiment(search, baseline, network), network.cost.macs, settings)


def stored_networks(store: TrialStore, baseline: Baseline) -> dict[str, ScaledNetwork]:
    """The networks of a store by id, with the coefficients that they were first trained with.

    Different coefficients may round to the same network. Networks of another baseline are omitted.
    """
    networks = {
        id_: baseline.network(**{key: settings[key] for key in COEFFICIENTS if key in settings})
        for id_, settings in store.candidates().items()
    }
    return {id_: network for id_, network in networks.items() if network.id == id_}


def batch_size(search: config.Search, baseline: Baseline, network: ScaledNetwork) -> int:
    """Images per update, chosen so that every network needs about the baseline's memory.

    Raises:
        UserError: it would be less than one image.
    """
    base = search.experiment.training.batch_size
    match search.trials.batch_size:
        case "fixed":
            return base
        case "product":
            factor = network.nominal
        case _:
            factor = peak_memory(network.cost) / peak_memory(baseline.cost)
    steps = search.experiment.training.accumulation_steps
    size = math.floor(base / factor / steps + 0.5) * steps
    if size < 1:
        raise UserError(
            f"{network.label}: its batch size would be {base / factor:.2f}; raise training.batch_size (now {base}) or "
            "set trials.batch_size=fixed"
        )
    return size


def learning_rate(search: config.Search, size: int) -> float:
    """The learning rate for a batch size."""
    base = search.experiment
    ratio = size / base.training.batch_size
    match search.trials.learning_rate:
        case "linear":
            return base.optimizer.learning_rate * ratio
        case "sqrt":
            return base.optimizer.learning_rate * math.sqrt(ratio)
        case _:
            return base.optimizer.learning_rate
