"""Sides of detectors that other packages build; skipped without them."""

import pytest


@pytest.fixture
def sides(import_tool):
    """The tool."""
    return import_tool("detector_sides")


def test_yolov8n_never_decodes(sides):
    pytest.importorskip("ultralytics")
    import torch

    around = torch.nn.Sequential(sides.undecoded_yolov8n())
    for network in (around, around.eval(), around.train(False)):
        outputs = network(torch.zeros(1, 3, 64, 64))
        assert outputs["boxes"].shape == (1, 64, 84)  # distributions over 16 distances to each of four sides
        assert outputs["scores"].shape == (1, 80, 84)


def test_torchvision_trains_without_resizing(sides, monkeypatch):
    pytest.importorskip("torchvision")
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    monkeypatch.setattr(sides, "TWO_STAGE_SIZE", (64, 96))
    monkeypatch.setattr(sides, "fastest_way", lambda placed, torch: placed(torch.channels_last, compiled=False))
    monkeypatch.delattr(GeneralizedRCNNTransform, "forward")
    assert 0 < sides.torchvision_training()() < 100
