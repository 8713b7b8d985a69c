"""Datasets, images and annotations: everything from a dataset's name to batches.

`sources.catalog` opens a source by its name (`folder:<dir>`, `voc:<dir>`, ...); a source loads the `dataset.Dataset` of
each split; `input.cache.ImageCache` decodes its images; `input` makes batches of them: order, reader, transform,
batches; `augment` varies training images. Nothing is imported here, so that policies, splits and folds, and reading of
annotations, do not need TensorFlow.
"""
