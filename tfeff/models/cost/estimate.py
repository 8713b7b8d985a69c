"""Cost of a network, computed from its description without building it."""

from tfeff.models.backbones.architecture import Architecture
from tfeff.models.cost.complexity import Complexity
from tfeff.models.cost.tracer import CostTracer, GraphTracer
from tfeff.models.detectors.detector import Detector


def estimate(architecture: Architecture | Detector, *, num_classes: int = 1000, channels: int = 3) -> Complexity:
    """Compute the cost of a network, equal to `complexity.count` of the built network in float32.

    Takes less than a millisecond for a backbone, and about ten for a detector.

    Args:
        architecture: description of the network, from `tfeff.models.architecture` or `tfeff.models.detector`.
        num_classes: outputs of the classifier, or classes of the detector.
        channels: channels of the images: 3 (RGB) or 1 (gray).

    Raises:
        UserError: invalid `num_classes` or `channels`, a `mean` or `std` that does not match the channels, or levels
            that the backbone lacks.
    """
    if isinstance(architecture, Detector):
        graph = GraphTracer()
        outputs = architecture.define(graph, num_classes=num_classes, channels=channels).output
        return graph.total(*(outputs[name] for name in sorted(outputs)))  # the order in which Keras flattens them
    tracer = CostTracer()
    architecture.define(tracer, num_classes=num_classes, channels=channels)
    return tracer.total()
