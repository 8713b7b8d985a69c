"""R-CNN: a head on the features of regions, which a frozen backbone computes once and a store keeps."""
