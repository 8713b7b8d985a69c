"""Necks, built from their tables of nodes on any backbone.

Facts of EfficientDet's reference implementation (google/automl `efficientdet/`) that the paper leaves open: inputs
whose channels differ pass a 1x1 convolution with batch normalization, one for each node that reads them; maps are
reduced by max-pooling, enlarged by nearest-neighbor upsampling; the activation is between fusion and convolution.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tfeff.errors import UserError
from tfeff.networks.backbones.architecture import check_choice, level_number, level_numbers
from tfeff.networks.blocks import ConvolutionUnit, convolution_3x3
from tfeff.networks.layers import FeatureMap, Layers
from tfeff.networks.necks.tables import Node, nodes

INITIALIZER = "glorot_uniform"
WEIGHTED = ("unbounded", "softmax", "fast")
"""Fusions with learned weights (arXiv:1911.09070, section 3.3)."""
METHODS = ("sum", *WEIGHTED)
WEIGHTS_PER = ("input", "channel", "pixel")
"""What has a weight of its own: the paper's scalars, vectors and multi-dimensional tensors."""


@dataclass(frozen=True, kw_only=True)
class Neck:
    """Cells of fusion nodes, applied one after the other.

    Attributes:
        name: name of the table: a key of `tables.TABLES`.
        levels: names of the input and output levels, such as ("P3", "P4", "P5", "P6", "P7"), without gaps.
        channels: channels of all nodes.
        repeats: number of cells.
        fusion: "sum", or a method of `WeightedFusion`. Gated nodes and nodes of one input have no fusion weights.
        weights_per: what has a fusion weight of its own, see `WeightedFusion`.
        separable: depthwise-separable convolutions instead of plain ones.
    """

    name: str = "bifpn"
    levels: tuple[str, ...] = ("P3", "P4", "P5", "P6", "P7")
    channels: int = 64
    repeats: int = 3
    fusion: str = "fast"
    weights_per: str = "input"
    separable: bool = True

    def __post_init__(self) -> None:
        check_choice("fusion", self.fusion, METHODS)
        check_choice("fusion_weights_per", self.weights_per, WEIGHTS_PER)
        if self.fusion not in WEIGHTED and self.weights_per != "input":
            raise UserError(
                f"fusion_weights_per {self.weights_per!r}: fusion {self.fusion!r} has no weights; omit it, or set "
                f"fusion to one of {', '.join(WEIGHTED)}"
            )
        numbers = level_numbers(self.levels)
        if numbers != list(range(numbers[0], numbers[-1] + 1)):
            raise UserError(f"levels {', '.join(self.levels)}: must not have gaps")
        object.__setattr__(self, "levels", tuple(f"P{number}" for number in numbers))
        nodes(self.name, *self.ends)

    @property
    def ends(self) -> tuple[int, int]:
        """Numbers of the finest and the coarsest level."""
        return level_number(self.levels[0]), level_number(self.levels[-1])

    def __call__(
        self, unit: ConvolutionUnit, maps: Mapping[str, FeatureMap], size: tuple[int, int]
    ) -> dict[str, FeatureMap]:
        """Defines the neck.

        Levels beyond the backbone's last are added by max-pooling, the first of them after a 1x1 convolution.

        Args:
            unit: batch normalization after each convolution, and the activation before that of a node ("linear" for
                none). Convolutions have biases even with batch normalization.
            maps: feature maps of the backbone by level, (batch, ceil(height / 2^n), ceil(width / 2^n), c).
            size: (height, width) of the image, in pixels.

        Returns:
            Fused maps by level, from fine to coarse, (batch, ceil(height / 2^n), ceil(width / 2^n), channels).

        Raises:
            UserError: a level that the backbone lacks and that is not beyond its last.
        """
        maps = self._extended(unit, maps)
        first, last = self.ends
        sizes = {n: (math.ceil(size[0] / 2**n), math.ceil(size[1] / 2**n)) for n in range(first, last + 1)}
        for cell in range(1, self.repeats + 1):
            outputs = {}
            computed = {level: (level_number(level), maps[level]) for level in self.levels}
            for node in nodes(self.name, *self.ends):
                x = self._node(unit, node, computed, sizes[node.level], f"neck_cell{cell}_{node.name.lower()}")
                computed[node.name] = node.level, x
                outputs[f"P{node.level}"] = x
            maps = {level: outputs[level] for level in self.levels}
        return dict(maps)

    def _extended(self, unit: ConvolutionUnit, maps: Mapping[str, FeatureMap]) -> dict[str, FeatureMap]:
        """Returns the backbone's maps, with the levels beyond its last."""
        maps, last = dict(maps), max(map(level_number, maps))
        for level in self.levels:
            if level not in maps and level_number(level) <= last:
                raise UserError(
                    f'the backbone has no pyramid level "{level}"; it has {", ".join(maps)}. '
                    f"Only levels beyond P{last} can be added"
                )
        for number in range(last + 1, self.ends[1] + 1):
            x = self._projected(unit, maps[f"P{number - 1}"], f"neck_p{number}")
            maps[f"P{number}"] = unit.layers.max_pooling(
                x, pool_size=3, strides=2, padding="same", name=f"neck_p{number}_pool"
            )
        return maps

    def _node(
        self,
        unit: ConvolutionUnit,
        node: Node,
        computed: Mapping[str, tuple[int, FeatureMap]],
        size: tuple[int, int],
        name: str,
    ) -> FeatureMap:
        """Resamples the inputs, fuses them, and convolves the result."""
        layers, maps = unit.layers, []
        for source in node.inputs:
            level, x = computed[source]
            prefix = f"{name}_from_{source.lower()}"
            x = self._projected(unit, x, prefix, always=not node.convolved and source in self.levels)
            if level < node.level:
                stride = 2 ** (node.level - level)
                x = layers.max_pooling(x, pool_size=stride + 1, strides=stride, padding="same", name=f"{prefix}_pool")
            elif level > node.level:
                x = layers.nearest_upsampling(x, factor=2 ** (level - node.level), size=size, name=f"{prefix}_up")
            maps.append(x)
        x = self._gated(layers, maps, name) if node.gated else self._fused(layers, maps, name)
        if not node.convolved:
            return x
        if unit.activation != "linear":
            x = layers.activation(x, activation=unit.activation, name=f"{name}_act")
        x = convolution_3x3(
            layers, x, self.channels, separable=self.separable, initializer=INITIALIZER, name=f"{name}_conv"
        )
        return unit.normalized(x, name, activate=False)

    def _fused(self, layers: Layers, maps: list[FeatureMap], name: str) -> FeatureMap:
        if len(maps) == 1:
            return maps[0]
        if self.fusion == "sum":
            return layers.add(*maps, name=f"{name}_fusion")
        return layers.weighted_fusion(*maps, method=self.fusion, weights_per=self.weights_per, name=f"{name}_fusion")

    def _gated(self, layers: Layers, maps: list[FeatureMap], name: str) -> FeatureMap:
        first, second, *others = maps
        gate = layers.global_max_pooling(first, keepdims=True, name=f"{name}_pool")
        gate = layers.activation(gate, activation="sigmoid", name=f"{name}_gate")
        return layers.add(first, layers.multiply(second, gate, name=f"{name}_scale"), *others, name=f"{name}_fusion")

    def _projected(self, unit: ConvolutionUnit, x: FeatureMap, name: str, *, always: bool = False) -> FeatureMap:
        """Returns a map of `channels` channels, convolved only if it has others, or always."""
        if x.shape[-1] == self.channels and not always:
            return x
        x = unit.layers.convolution(
            x,
            filters=self.channels,
            kernel_size=1,
            padding="same",
            kernel_initializer=INITIALIZER,
            name=f"{name}_conv",
        )
        return unit.normalized(x, name, activate=False)
