"""What reads a backbone's feature maps."""
