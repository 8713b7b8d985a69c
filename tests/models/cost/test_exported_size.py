"""Estimated sizes of exported networks; those of real exports are the oracle."""

from pathlib import Path

import pytest

from tests.thoroughness import thorough
from tfeff import models, training
from tfeff.errors import UserError
from tfeff.models.cost.exported_size import exported_bytes
from tfeff.serving import timing
from tfeff.serving.exportable import FORMATS


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["mobilenet-v2", thorough("resnet50"), thorough("efficientnet-b0"), thorough("mobilenet-v3-large")]
)
def test_estimates_are_those_of_exports(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, built = training.Plan.build_network, list[models.Network]()

    def once(plan: training.Plan) -> models.Network:
        if not built:
            built.append(build(plan))
        return built[0]

    monkeypatch.setattr(training.Plan, "build_network", once)
    described = models.architecture(name, resolution=32, depth_coefficient=0.3)
    cost = models.estimate(described, num_classes=50)
    forms = [("saved_model", "float32"), *((format, "float32") for format in FORMATS)]
    for format, precision in (*forms, ("openvino", "bfloat16"), ("litert", "int8")):
        path = timing.export_untrained(
            described, tmp_path / f"{format}-{precision}", num_classes=50, format=format, precision=precision
        )
        estimated = exported_bytes(cost, format, precision)
        assert estimated == pytest.approx(timing.bytes_of(path), rel=0.02), (format, precision)


@pytest.mark.slow
def test_savedmodels_copy_the_small_kernels_of_heads(tmp_path: Path) -> None:
    described = models.detector("yolo", backbone="resnet", width=16, resolution=64, neck_channels=64)
    cost = models.estimate(described, num_classes=2)
    assert cost.copied_params == cost.small_copied_params == 2 * 4 * 9 * 64**2  # two levels more than kernels
    path = timing.export_untrained(
        described, tmp_path / "model", num_classes=2, format="saved_model", precision="float32"
    )
    assert exported_bytes(cost, "saved_model") == pytest.approx(timing.bytes_of(path), rel=0.06)
    large = models.estimate(models.detector("yolo", resolution=64, neck_channels=128), num_classes=2)
    assert (large.small_copied_params, large.copied_params) == (0, 2 * 4 * 9 * 128**2)


def test_unknown_formats_are_refused() -> None:
    cost = models.estimate(models.architecture("resnet"))
    with pytest.raises(UserError, match="format=onix: give one of saved_model, litert, onnx, openvino"):
        exported_bytes(cost, "onix")
    with pytest.raises(UserError, match="precision=int8 requires format=litert"):
        exported_bytes(cost, "onnx", "int8")
