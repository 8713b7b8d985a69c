"""Export of trained networks (SavedModel, LiteRT, ONNX, OpenVINO), and loading of exported detectors."""
