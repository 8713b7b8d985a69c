"""Cost of a network, computed from its description without building it."""

from tfeff.models.backbones.architecture import Architecture
from tfeff.models.cost.complexity import Complexity
from tfeff.models.cost.tracer import CostTracer


def estimate(architecture: Architecture, *, num_classes: int = 1000, channels: int = 3) -> Complexity:
    """Compute the cost of a network, equal to `complexity.count` of the built network in float32.

    Takes less than a millisecond.

    Args:
        architecture: description of the network, from `tfeff.models.architecture`.
        num_classes: outputs of the classifier.
        channels: channels of the images: 3 (RGB) or 1 (gray).

    Raises:
        UserError: invalid `num_classes` or `channels`, or a `mean` or `std` that does not match the channels.
    """
    tracer = CostTracer()
    architecture.define(tracer, num_classes=num_classes, channels=channels)
    return tracer.total()
