"""The first layer of every network: raw pixels to standardised ones."""

from collections.abc import Sequence

import keras

from tfeff.errors import UserError

STANDARDISATION = "standardisation"


def per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Per-channel statistics for an image of `channels` channels.

    RGB statistics become those of a gray image as their mean, and one value serves all channels.

    >>> per_channel((120.0, 110.0, 100.0), channels=1)
    (110.0,)
    >>> per_channel((127.5,), channels=3)
    (127.5, 127.5, 127.5)

    Raises:
        UserError: another number of values.
    """
    values = tuple(float(value) for value in values)
    if len(values) == channels:
        return values
    if len(values) == 1:
        return values * channels
    if channels == 1:
        return (sum(values) / len(values),)
    raise UserError(f"{len(values)} per-channel statistics for images of {channels} channels; give 1 or {channels}")


def standardisation(mean: Sequence[float], std: Sequence[float]) -> keras.layers.Rescaling:
    """Layer computing (x - mean) / std by channel, with no parameters.

    Args:
        mean: one value a channel, in pixel units ([0, 255]).
        std: one value a channel, in pixel units, each above 0.

    Returns:
        A layer that puts out float32 under any precision policy: half precision has too few digits for pixels.

    Raises:
        UserError: a standard deviation that is not positive.
    """
    check_standard_deviations(std)
    return keras.layers.Rescaling(
        scale=[1 / s for s in std],
        offset=[-m / s for m, s in zip(mean, std, strict=True)],
        dtype="float32",
        name=STANDARDISATION,
    )


def check_standard_deviations(std: Sequence[float]) -> None:
    """Check that one can divide by them.

    Raises:
        UserError: a standard deviation that is not positive.
    """
    if min(std) <= 0:
        raise UserError(f"std {tuple(std)}: every standard deviation must be above 0")


def statistics(layer: keras.layers.Rescaling) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The (mean, std) of a standardisation layer, in pixel units."""
    std = tuple(1 / scale for scale in layer.scale)
    return tuple(-offset * s for offset, s in zip(layer.offset, std, strict=True)), std


def set_mean(layer: keras.layers.Rescaling, mean: Sequence[float]) -> None:
    """Give a standardisation layer another mean, in pixel units, one value a channel; its std stays."""
    layer.offset = [-m * scale for m, scale in zip(mean, layer.scale, strict=True)]
