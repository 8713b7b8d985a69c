"""What a network will cost, from its description alone."""

from tfeff.models.backbones.architecture import Architecture
from tfeff.models.cost.complexity import Complexity
from tfeff.models.cost.tracer import Ledger


def predict(architecture: Architecture, *, num_classes: int = 1000, channels: int = 3) -> Complexity:
    """Cost of the network that `build` would make, exactly as `complexity.count` would count it in float32.

    No layer is made: the description is drawn with a `Ledger`, well within a millisecond.

    Args:
        architecture: of `tfeff.models.backbones.architecture`.
        num_classes: outputs of the classifier.
        channels: of the images: 3 (RGB) or 1 (gray).

    Raises:
        UserError: a number of classes or channels that cannot be, or preprocessing that does not fit the channels.
    """
    ledger = Ledger()
    architecture.draw(ledger, num_classes=num_classes, channels=channels)
    return ledger.total()
