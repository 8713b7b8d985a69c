"""From a name to batches: catalog -> source -> store -> pipeline.

A `catalog` name (`embedded:digits`, `folder:<dir>`, `tfds:<name>`) becomes a `source.Source`: labels, class names and a
random-access `read`. A `store.Store` brings its images to one fixed size and keeps them; a `pipeline.Pipeline` makes
batches of them: order (`sampling`), augmentation (`augment`), resizing (`preprocess`), pairs (`mixing`). Nothing is
imported here, so that `tfeff.data.augment.policy` and `tfeff.data.folds` do not need TensorFlow.
"""
