"""The table of a network's stages, as papers print it: operators, resolution, channels, blocks and cost of each."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tfeff.models.cost.tracer import GraphTracer, TracedMap
from tfeff.models.layers.kinds import Kind, Reads
from tfeff.networks.backbones.architecture import Architecture

SQUEEZE_EXCITE = "squeeze-and-excite"
_PART = re.compile(r"(?P<stage>stem|stage\d+|head)(_block(?P<block>\d+))?")


@dataclass
class Stage:
    """A part of a backbone or classifier.

    Attributes:
        name: `stem`, `stage1`, ..., `head`.
        operators: its layers with kernels in its first block, such as "conv 1x1" or "squeeze-and-excite", in order.
        size: (height, width) of its output; empty if that is a vector.
        channels: number of channels of its output.
        blocks: number of blocks; 0 if it has none.
        params: parameters.
        macs: multiply-adds for one image.
    """

    name: str
    operators: list[str] = field(default_factory=list)
    size: tuple[int, ...] = ()
    channels: int = 0
    blocks: int = 0
    params: int = 0
    macs: int = 0


def stages(architecture: Architecture, *, num_classes: int, channels: int = 3) -> list[Stage]:
    """Returns the stages of a classifier, in order. Their costs add up to those of `estimate`.

    Raises:
        UserError: as for `estimate`.
    """
    tracer = _StageTracer()
    architecture.define(tracer, num_classes=num_classes, channels=channels)
    return list(tracer.stages.values())


class _StageTracer(GraphTracer):
    """A cost tracer that counts each layer for the stage that its name begins with."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = dict[str, Stage]()

    def _applied(self, kind: Kind, x: Any, *, name: str, precise: bool = False, **settings: Any) -> Any:
        self._layer = name, settings
        return super()._applied(kind, x, name=name, precise=precise, **settings)

    def _merged(self, kind: Kind, *maps: Any, name: str, precise: bool = False, **settings: Any) -> TracedMap:
        self._layer = name, settings
        return super()._merged(kind, *maps, name=name, precise=precise, **settings)

    def _call(self, shape: tuple[int, ...], reads: Reads | None, inputs: tuple[int, ...], layer: int) -> TracedMap:
        made = super()._call(shape, reads, inputs, layer)
        name, settings = self._layer
        if found := _PART.match(name):  # not the preprocessing
            stage = self.stages.setdefault(found["stage"], Stage(found["stage"]))
            block, costs = int(found["block"] or 0), self._costs[-1]
            stage.blocks = max(stage.blocks, block)
            stage.params += costs.params
            stage.macs += costs.macs
            stage.size, stage.channels = shape[:-1], shape[-1]
            if costs.kernel_calls and block <= 1 and "shortcut" not in name:
                operator = _operator(name, settings)
                if operator != SQUEEZE_EXCITE or operator not in stage.operators[-1:]:  # of two convolutions
                    stage.operators.append(operator)
        return made


def _operator(name: str, settings: Mapping[str, Any]) -> str:
    if "squeeze_excite" in name:
        return SQUEEZE_EXCITE
    size = settings.get("kernel_size")
    kind = "depthwise" if "depthwise" in name else "conv" if size else "dense"
    return f"{kind} {size}x{size}" if size else kind
