"""From a name to batches: a dataset, its cached images, and the input pipeline.

`sources.catalog` turns a name (`embedded:digits`, `folder:<dir>`, `tfds:<name>`) into a dataset: images with random
access and their labels or objects. `images.cache` decodes the images and keeps them. `input` makes batches: an order of
examples, a reader, a transform (with `augment`), and the batches themselves. Nothing is imported here, so that
`tfeff.data.augment.policy` and `tfeff.data.folds` do not need TensorFlow.
"""
