"""The head of a region proposal network: Ren et al., "Faster R-CNN" (arXiv:1506.01497), section 3.1."""

from collections.abc import Mapping

from tfeff.models.layers.backend import FeatureMap, Layers

OBJECTNESS, PROPOSAL_CODES = "objectness", "proposal_codes"
"""Names of the outputs."""
_INITIALIZER = {"class_name": "RandomNormal", "config": {"stddev": 0.01}}


def proposals(
    layers: Layers, maps: Mapping[str, FeatureMap], anchors: int, *, repeats: int = 1
) -> dict[str, FeatureMap]:
    """3x3 convolutions with ReLU, then two 1x1 convolutions, all shared by the levels.

    Args:
        layers: the layer backend.
        maps: feature maps by level, (batch, h, w, channels), all with the same channels.
        anchors: anchors per position.
        repeats: number of 3x3 convolutions.

    Returns:
        "objectness", (batch, n, 1), logits; "proposal_codes", (batch, n, 4). Both float32, ordered by level, row,
        column, and anchor of a position.
    """
    features = list(maps.values())
    channels = features[0].shape[-1]
    for repeat in range(1, repeats + 1):
        features = layers.convolution(
            features, channels, 3, activation="relu", initializer=_INITIALIZER, name=f"rpn_conv{repeat}"
        )
    objectness = layers.convolution(features, anchors, 1, initializer=_INITIALIZER, name="rpn_objectness")
    codes = layers.convolution(features, 4 * anchors, 1, initializer=_INITIALIZER, name="rpn_codes")
    return {
        OBJECTNESS: layers.predictions(objectness, 1, name=OBJECTNESS),
        PROPOSAL_CODES: layers.predictions(codes, 4, name=PROPOSAL_CODES),
    }
