"""The first layer of every network: standardizes raw pixels."""

from collections.abc import Sequence

import keras

from tfeff.errors import UserError

STANDARDIZATION = "standardisation"
"""Name of the layer. Saved models contain it, so its spelling is fixed."""


def per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Adapt per-channel statistics to the number of image channels.

    For gray images, RGB statistics are averaged. A single value is repeated for all channels.

    >>> per_channel((120.0, 110.0, 100.0), channels=1)
    (110.0,)
    >>> per_channel((127.5,), channels=3)
    (127.5, 127.5, 127.5)

    Raises:
        UserError: the number of values is neither 1 nor `channels`.
    """
    values = tuple(float(value) for value in values)
    if len(values) == channels:
        return values
    if len(values) == 1:
        return values * channels
    if channels == 1:
        return (sum(values) / len(values),)
    raise UserError(f"{len(values)} per-channel statistics for images with {channels} channels; give 1 or {channels}")


def standardization(mean: Sequence[float], std: Sequence[float]) -> keras.layers.Rescaling:
    """Layer that computes (x - mean) / std for each channel, without weights.

    Args:
        mean: one value per channel, in pixel units ([0, 255]).
        std: one value per channel, in pixel units, each above 0.

    Returns:
        A layer that computes in float32 under any precision policy. Half precision is too coarse for pixels.

    Raises:
        UserError: a standard deviation is not positive.
    """
    check_standard_deviations(std)
    return keras.layers.Rescaling(
        scale=[1 / s for s in std],
        offset=[-m / s for m, s in zip(mean, std, strict=True)],
        dtype="float32",
        name=STANDARDIZATION,
    )


def check_standard_deviations(std: Sequence[float]) -> None:
    """Check that all standard deviations are positive.

    Raises:
        UserError: a standard deviation is not positive.
    """
    if min(std) <= 0:
        raise UserError(f"std {tuple(std)}: every standard deviation must be above 0")


def statistics(layer: keras.layers.Rescaling) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of a standardization layer, in pixel units."""
    std = tuple(1 / scale for scale in layer.scale)
    return tuple(-offset * s for offset, s in zip(layer.offset, std, strict=True)), std


def set_mean(layer: keras.layers.Rescaling, mean: Sequence[float]) -> None:
    """Change the mean of a standardization layer (pixel units, one value per channel) and keep its std."""
    layer.offset = [-m * scale for m, scale in zip(mean, layer.scale, strict=True)]
