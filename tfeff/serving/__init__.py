"""Export of trained networks (SavedModel, LiteRT, ONNX, OpenVINO), and loading of exported detectors."""

from tfeff.serving.detector import ExportedDetector

__all__ = ["ExportedDetector"]
