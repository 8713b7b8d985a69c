"""What detectors are made of: regions as pixels and features, heads, labels for regions, detections from scores."""
