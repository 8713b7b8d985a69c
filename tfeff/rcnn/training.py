"""Training of R-CNN's heads on stored features of regions."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from tfeff import config
from tfeff.data.dataset import Dataset
from tfeff.data.input.cache import ImageCache
from tfeff.errors import UserError
from tfeff.models.fingerprint import fingerprint
from tfeff.models.rcnn import Parts
from tfeff.networks.heads import CLASSIFIER
from tfeff.proposals import ProposalStore
from tfeff.rcnn.classic import ClassicTraining
from tfeff.rcnn.region_batches import FittedBatches, ImageBatches, RegionBatches
from tfeff.rcnn.regions import RegionSet, region_set
from tfeff.rcnn.sampling import RegionSampler
from tfeff.tasks.task import Progress, Role, StoredTraining

FEATURE_NORM = 6.0
"""Mean norm to which a joint head scales features. Larger norms make box regression unstable at common learning
rates."""


@dataclass(frozen=True)
class RegionTraining(StoredTraining):
    """See `StoredTraining`. Training batches are those of `RegionBatches`; evaluation reads `ImageBatches`.

    Attributes:
        section: the task's section of the config.
        proposals: the regions.
        known: those that were read before, by dataset and `fingerprint` of the backbone.
    """

    section: config.RCNNSettings
    proposals: config.StoredProposals
    known: dict[tuple[Dataset, str], RegionSet] = field(default_factory=dict, init=False, repr=False, compare=False)

    def part(self, network: keras.Model) -> keras.Model:
        """Returns the head."""
        return Parts.of(network).head

    def batches(
        self, network: keras.Model, images: ImageCache, role: Role, *, seed: int, batch_size: int, progress: Progress
    ) -> RegionBatches | ImageBatches:
        """See `StoredTraining`."""
        regions = self._regions(Parts.of(network).features, images.dataset, progress)
        if role == "evaluation":
            return ImageBatches(images, regions)
        joint = self.section.joint
        sampler = RegionSampler.by_overlap(
            regions.targets,
            positives=joint.positives,
            batch_size=batch_size,
            positive_overlap=joint.positive_overlap,
            negative_overlap=joint.negative_overlap,
            seed=seed,
        )
        if not len(sampler.positive):
            raise UserError(
                f"no region of the {role} images overlaps an object by more than {joint.positive_overlap}; lower "
                f"task.joint.positive_overlap, or raise {self.proposals.KEY}.max_proposals, with a new "
                f"{self.proposals.KEY}.directory"
            )
        return (FittedBatches if role == "training" and self.section.fitted else RegionBatches)(regions, sampler)

    def _regions(self, backbone: keras.Model, dataset: Dataset, progress: Progress) -> RegionSet:
        """Returns the regions of a dataset with their features, which are read once."""
        key = dataset, fingerprint(backbone)
        if key not in self.known:
            store, most = ProposalStore(self.proposals.store), self.proposals.max_proposals
            self.known[key] = region_set(
                backbone,
                dataset,
                [store.of(dataset, index).first(most).boxes_yxyx for index in range(len(dataset))],
                Path(self.section.features.directory or ""),
                context=self.section.features.context,
                progress=lambda done, total: progress(f"{dataset.name} (features)", done, total),
            )
        return self.known[key]

    def start(
        self,
        network: keras.Model,
        training: RegionBatches,
        *,
        loaded: Collection[str],
        seed: int,
        report: Callable[[str], None],
    ) -> None:
        """Initializes a joint head, or fits the SVMs and regressions of a classic head.

        A joint head gets its standardization from the features and its kernels from the seed, except for what is
        loaded. A sliding window has the classifier of its backbone.

        Raises:
            UserError: a sliding window without a trained classifier.
        """
        head = self.section.network.head
        if head == "joint":
            self._initialize(network, training, loaded, seed)
        elif head == "classic":
            svms, boxes = ClassicTraining(training.regions, seed).run(self.section.classic, report)
            network.get_layer("machines").set_weights([svms.weights, svms.biases])
            regressors = boxes.weights.reshape(len(boxes.weights), -1), boxes.biases.ravel()
            network.get_layer("regressors").set_weights(list(regressors))
        elif network.get_layer(CLASSIFIER).kernel.path not in loaded:
            raise UserError(
                "task.network.head=sliding_window needs a trained classifier of these classes and background: set "
                "model.weights to the workdir of a run on crops:, of the same network"
            )

    def _initialize(self, network: keras.Model, training: RegionBatches, loaded: Collection[str], seed: int) -> None:
        described = self.section.network
        standardize = network.get_layer("standardize")
        if standardize.mean.path not in loaded:
            mean, std = training.regions.moments(seed)
            standardize.mean.assign(mean)
            standardize.scale.assign(1 / (std * np.sqrt(len(std)) / FEATURE_NORM).astype(np.float32))
        hidden = [f"hidden_{number}" for number in range(len(described.hidden))]
        for number, name in enumerate((*hidden, "logits", "codes")):
            kernel = network.get_layer(name).kernel
            if kernel.path not in loaded:
                kernel.assign(keras.initializers.GlorotUniform(seed + number)(kernel.shape))
        for number in range(len(hidden) + 1 if described.dropout else 0):
            state = network.get_layer(f"dropout_{number}").seed_generator.state
            state.assign(keras.ops.array([seed + number, 0], dtype=state.dtype))
