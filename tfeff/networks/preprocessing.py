"""The first layer of every network: it standardizes raw pixels with per-channel statistics."""

from collections.abc import Sequence

from tfeff.errors import UserError
from tfeff.networks.layers import FeatureMap, Layers

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Usual statistics of ImageNet's training images, RGB in pixel units."""
STANDARDIZATION = "standardisation"
"""Name of the layer. Saved models contain it, so its spelling is fixed."""


def standardized(layers: Layers, images: FeatureMap, mean: Sequence[float], std: Sequence[float]) -> FeatureMap:
    """Defines (x - mean) / std for each channel, without weights.

    It is computed in float32 under any precision policy. Half precision is too coarse for pixels.

    Args:
        images: raw pixels.
        mean: per-channel mean in pixel units ([0, 255]), adapted as in `per_channel`.
        std: per-channel standard deviation in pixel units, above 0, adapted in the same way.

    Raises:
        UserError: statistics that do not match the channels.
    """
    mean, std = (per_channel(values, images.shape[-1]) for values in (mean, std))
    return layers.rescaling(
        images,
        scale=[1 / s for s in std],
        offset=[-m / s for m, s in zip(mean, std, strict=True)],
        dtype="float32",
        name=STANDARDIZATION,
    )


def per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Adapts per-channel statistics to the number of image channels.

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
