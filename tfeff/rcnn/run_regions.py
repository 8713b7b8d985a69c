"""The proposals, backbone and features of a run, each computed on first use."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from tfeff import config, training
from tfeff.data.dataset import Dataset
from tfeff.proposals.records import selective_search
from tfeff.rcnn import backbone
from tfeff.rcnn.regions import (
    CachedExtractor,
    RegionSet,
    proposal_recall,
    propose,
    sliding_windows,
    window_boxes,
)
from tfeff.rcnn.workdir import Workdir

SLIDING_WINDOW = "sliding_window"
"""The form without a trained head: the backbone's own classifier on sliding windows."""


class RunRegions:
    """The regions of a run's images. Proposals and features are read from the workdir if they are there.

    Args:
        settings: the run.
        workdir: of the run.
        reporter: logs progress.
        images: `train` and `validation`, to train the backbone on. None: the backbone must be trained already.
    """

    def __init__(
        self,
        settings: config.RCNN,
        workdir: Workdir,
        reporter: training.Reporter,
        images: Mapping[str, Dataset] | None = None,
    ) -> None:
        self._settings, self._workdir, self._reporter, self._images = settings, workdir, reporter, images
        self._proposals: dict[tuple[str, bool], list[np.ndarray]] = {}
        self._region_sets: dict[tuple[str, bool], RegionSet] = {}

    @cached_property
    def backbone(self) -> backbone.Backbone:
        """The trained backbone.

        Raises:
            UserError: it is not trained, and there are no images to train it on.
        """
        images = self._images
        if images is None:
            return backbone.finished(self._settings, self._workdir)

        def proposals(name: str) -> list[np.ndarray]:
            return self.proposals(name, images[name], windows=False)

        return backbone.trained(self._settings, self._workdir, self._reporter, images, proposals)

    def proposals(self, name: str, images: Dataset, *, windows: bool) -> list[np.ndarray]:
        """Boxes_yxyx [n, 4] of each image: proposals, or sliding windows.

        Args:
            name: of the split.
            images: of the split.
            windows: use sliding windows instead of proposals.
        """
        if (name, windows) not in self._proposals:
            settings = self._settings
            if windows:
                boxes = window_boxes(sliding_windows(settings.windows, settings.seed), images)
            else:
                search = selective_search(settings.proposals, settings.seed)
                boxes = propose(search, self._workdir.proposals(settings.proposals.directory), images)
            method = "sliding window" if windows else "proposals"
            recall = proposal_recall(images.objects, boxes)
            self._reporter.say(f"{name}: recall of the {method} {recall:.3f} (IoU 0.5)")
            self._proposals[name, windows] = boxes
        return self._proposals[name, windows]

    def region_set(self, name: str, images: Dataset, *, windows: bool) -> RegionSet:
        """The regions of a split with their features; arguments as for `proposals`."""
        if (name, windows) not in self._region_sets:
            proposals = self.proposals(name, images, windows=windows)
            self._region_sets[name, windows] = self._extractors[windows].region_set(name, images, proposals)
        return self._region_sets[name, windows]

    @property
    def backbone_digest(self) -> str:
        """Digest of the backbone's weights."""
        return self._extractors[0].backbone_digest

    @cached_property
    def _extractors(self) -> tuple[CachedExtractor, CachedExtractor]:
        """For proposals, and for windows: there, the backbone's classifier needs its own input."""
        model, directory, features = self.backbone.model, self._workdir.features, self._settings.features
        return (
            CachedExtractor(model, directory, grid=features.grid, context=features.context),
            CachedExtractor(model, directory / SLIDING_WINDOW, grid=None, context=features.context),
        )
