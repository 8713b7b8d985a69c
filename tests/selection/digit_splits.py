"""Experiments on handwritten digits or folders, and the images that they select."""

import numpy as np

from tfeff import config, selection

QUIET = lambda *_: None  # noqa: E731
FOLDERS = {"train/a": 12, "train/b": 12, "val/a": 5, "val/b": 5}


def digits(**data):
    model = config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=8)
    return config.Experiment(model=model, data=config.Data(**{"source": "embedded:digits", "channels": 1} | data))


def read(settings):
    return selection.choose(selection.request(settings), selection.read(selection.request(settings), QUIET))


def indices(cache):
    return set(np.asarray(cache.rows).tolist())


def planned(root, **data):
    settings = config.override(digits(source=f"folder:{root}", channels=3, **data), ["training.batch_size=8"])
    source = selection.open_source(selection.request(settings))
    selection.check(selection.request(settings), source)
    return settings, source, selection.assign(selection.request(settings), source)
