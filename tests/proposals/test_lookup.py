import os

import numpy as np
import pytest
import tensorflow as tf

from tfeff.data.images.storage import content_digest
from tfeff.proposals.lookup import indexed_lookup, lookup
from tfeff.proposals.proposals import Proposals
from tfeff.proposals.store import ProposalStore, Writer


def test_lookup_in_a_pipeline(tmp_path):
    store = ProposalStore.create(tmp_path / "s", {"engine": "x"})
    with Writer(store) as writer:
        for number in range(5):
            cells = np.arange(4 * (number + 1), dtype=np.uint16).reshape(-1, 4)
            writer.add(f"ü{number}", content_digest(b"%d" % number), Proposals(cells, (10, 10), (20, 30)))
    store.refresh()
    names = tf.data.Dataset.from_tensor_slices([f"ü{number}" for number in (3, 0, 4)])
    found = list(names.map(lookup(store), num_parallel_calls=2).as_numpy_iterator())
    for boxes, number in zip(found, (3, 0, 4), strict=True):
        assert np.array_equal(boxes, store[f"ü{number}"].boxes_yxyx)
    assert [len(boxes) for boxes in names.map(lookup(store, limit=2)).as_numpy_iterator()] == [2, 1, 2]
    with Writer(store) as writer:
        writer.add(
            os.fsdecode(b"caf\xe9.jpg"), content_digest(b"9"), Proposals(np.ones((7, 4), np.uint16), (10, 10), (20, 30))
        )
    store.refresh()
    by_index = indexed_lookup(store, ["ü2", os.fsdecode(b"caf\xe9.jpg"), "ü0"], limit=3)
    indices = tf.data.Dataset.range(3).map(by_index)
    assert [len(boxes) for boxes in indices.as_numpy_iterator()] == [3, 3, 1]
    other = tf.data.Dataset.from_tensors(b"caf\xe9.jpg")
    assert [len(boxes) for boxes in other.map(lookup(store)).as_numpy_iterator()] == [7]
    with pytest.raises(tf.errors.UnknownError, match="no proposals of y"):
        list(tf.data.Dataset.from_tensors("y").map(lookup(store)).as_numpy_iterator())
