"""Random variation of training images, with and without boxes."""
