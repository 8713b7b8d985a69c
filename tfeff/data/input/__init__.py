"""From a dataset to batches: order, reader, transform, batches."""
