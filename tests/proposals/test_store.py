import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.thoroughness import only_thorough
from tfeff import checked
from tfeff.data.dataset import Dataset
from tfeff.data.images.storage import EncodedImages, content_digest
from tfeff.errors import UserError
from tfeff.proposals.proposals import ProposedBoxes
from tfeff.proposals.store import ProposalStore, Writer, lookup

PARAMETERS = {"engine": "windows", "scales": [0.5, 1.0]}


def random_proposals(seed, n=20):
    corners = np.sort(np.random.default_rng(seed).integers(0, 300, (n, 2, 2)), axis=1)
    return ProposedBoxes(
        np.concatenate([corners[:, 0], corners[:, 1]], axis=1).astype(np.uint16), (300, 400), (601, 803)
    )


def same(one, other):
    return np.array_equal(one.cells, other.cells) and (one.grid, one.size) == (other.grid, other.size)


def test_a_reader_sees_records_while_the_store_grows(tmp_path):
    store = ProposalStore.create(tmp_path / "s", PARAMETERS)
    reader = ProposalStore(tmp_path / "s")
    with Writer(store) as writer, Writer(store) as other:
        for number in range(20):
            (writer if number % 3 else other).add(
                f"a/ü{number}.jpg", content_digest(b"%d" % number), random_proposals(number, n=number)
            )
            reader.refresh()
            assert len(reader) == number + 1
            assert same(reader[f"a/ü{number}.jpg"], random_proposals(number, n=number))
    assert reader["a/ü5.jpg"].boxes_yxyx.dtype == np.float32
    scale = np.array([601 / 300, 803 / 400] * 2)
    assert reader["a/ü5.jpg"].boxes_yxyx == pytest.approx(random_proposals(5, n=5).cells * scale)
    assert reader.parameters == PARAMETERS


def test_ids_may_be_any_file_name(tmp_path):
    store = ProposalStore.create(tmp_path / "s", PARAMETERS)
    name = os.fsdecode(b"caf\xe9.jpg")
    with Writer(store) as writer:
        writer.add(name, content_digest(b"x"), random_proposals(1))
    assert same(ProposalStore(tmp_path / "s")[name], random_proposals(1))


def test_a_record_takes_8_bytes_per_box(tmp_path):
    store = ProposalStore.create(tmp_path / "s", PARAMETERS)
    with Writer(store) as writer:
        writer.add("x.jpg", content_digest(b""), random_proposals(0, n=2000))
    assert next((tmp_path / "s").glob("shard*")).stat().st_size < 16_100


def test_a_changed_image_is_detected_and_its_latest_proposals_are_read(tmp_path):
    store = ProposalStore.create(tmp_path / "s", PARAMETERS)
    for content in (b"old", b"new"):
        assert not store.matches("x", content_digest(content))
        with Writer(store) as writer:
            writer.add("x", content_digest(content), random_proposals(len(content) + content[0]))
        store.refresh()
        assert store.matches("x", content_digest(content))
    assert not store.matches("x", content_digest(b"old"))
    # In any order of reading the shards.
    assert same(ProposalStore(tmp_path / "s")["x"], random_proposals(3 + ord("n")))
    assert same(store.by_content(content_digest(b"old")), random_proposals(3 + ord("o")))


def test_truncated_and_corrupt_records_are_ignored(tmp_path):
    store = ProposalStore.create(tmp_path / "s", PARAMETERS)
    with Writer(store) as writer:
        for number in range(3):
            writer.add(f"{number}", content_digest(b"%d" % number), random_proposals(number))
    (shard,) = (tmp_path / "s").glob("shard*")
    whole = shard.read_bytes()
    for cut in [1, 30, len(whole) // 3 + 1, len(whole) - 1]:
        shard.write_bytes(whole[:cut])
        assert len(ProposalStore(tmp_path / "s")) == cut // (len(whole) // 3)
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert len(ProposalStore(tmp_path / "s")) == 2
    with Writer(store) as writer:
        writer.add("2", content_digest(b"2"), random_proposals(2))
    assert same(ProposalStore(tmp_path / "s")["2"], random_proposals(2))


def test_a_store_of_another_proposer_is_rejected(tmp_path):
    ProposalStore.create(tmp_path / "s", PARAMETERS)
    with pytest.raises(UserError, match="scales") as error:
        ProposalStore.create(tmp_path / "s", PARAMETERS | {"scales": [0.25]})
    assert "engine" not in str(error.value)
    with pytest.raises(UserError, match=r"tfeff\.propose"):
        ProposalStore(tmp_path / "nothing")
    with pytest.raises(UserError, match="no proposals of y"):
        _ = ProposalStore(tmp_path / "s")["y"]


@only_thorough
def test_a_killed_writer_leaves_complete_records(tmp_path):
    script = (
        "import sys, numpy as np\n"
        "from tfeff.data.images.storage import content_digest\n"
        "from tfeff.proposals.proposals import ProposedBoxes\n"
        "from tfeff.proposals.store import ProposalStore, Writer\n"
        "store = ProposalStore.create(sys.argv[1], {'engine': 'x'})\n"
        "with Writer(store) as writer:\n"
        "    for number in range(len(store), 10**6):\n"
        "        cells = np.full((number % 5000, 4), number % 65536, np.uint16)\n"
        "        writer.add(str(number), content_digest(str(number).encode()), ProposedBoxes(cells, (9, 9), (9, 9)))\n"
    )
    moments = random.Random(5)
    seen = 0
    for _ in range(6):
        writer = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "s")])
        while not list((tmp_path / "s").glob("shard*")):
            assert writer.poll() is None
            time.sleep(0.02)
        time.sleep(1.0 + moments.uniform(0, 0.5))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        store = ProposalStore(tmp_path / "s")
        assert len(store) >= seen
        seen = len(store)
        assert sorted(map(int, store)) == list(range(seen))
        for name in list(store)[:: max(1, seen // 200)]:
            assert len(store[name]) == int(name) % 5000
            assert (store[name].cells == int(name) % 65536).all()
    assert seen > 100
    assert store.parameters == {"engine": "x"}


def test_a_damaged_record_is_dropped_alone(tmp_path, caplog):
    checked.warn.cache_clear()
    store = ProposalStore.create(tmp_path / "s", PARAMETERS)
    with Writer(store) as writer:
        for number in range(4):
            writer.add(f"{number}", content_digest(b"%d" % number), random_proposals(number))
    shard = tmp_path / "s" / "shard-00000.bin"
    content = bytearray(shard.read_bytes())
    content[len(content) // 4 + 60] ^= 4  # a coordinate in the second of four records
    shard.write_bytes(content)
    again = ProposalStore(tmp_path / "s")
    assert sorted(again) == ["0", "2", "3"]
    assert same(again["3"], random_proposals(3))
    assert caplog.messages == [f"{shard}: has damaged or incomplete records; their proposals are computed again"]
    with Writer(again) as writer:
        writer.add("1", content_digest(b"1"), random_proposals(1))
    assert same(ProposalStore(tmp_path / "s")["1"], random_proposals(1))


def test_changed_parameters_are_an_error(tmp_path):
    ProposalStore.create(tmp_path / "s", PARAMETERS | {"max_proposals": 200})
    path = tmp_path / "s" / "parameters.json"
    path.write_text(path.read_text().replace("200", "300"))
    with pytest.raises(UserError, match=r"parameters\.json: damaged or edited.*delete the store"):
        ProposalStore(tmp_path / "s")


def images_of(contents):
    """Returns images by id -> content."""
    return Dataset("made", ("a",), list(contents), EncodedImages(list(contents.values()), ""))


def test_proposals_belong_to_the_content_of_an_image(tmp_path):
    store = ProposalStore.create(tmp_path / "s", PARAMETERS)
    with Writer(store) as writer:
        for number, content in enumerate((b"one", b"another")):
            writer.add("train[0]", content_digest(content), random_proposals(number))
    store.refresh()
    for number, content in enumerate((b"one", b"another")):
        assert same(store.of(images_of({"train[0]": content}), 0), random_proposals(number))
        assert same(store.of(images_of({"copy": content}), 0), random_proposals(number))
    third = images_of({"train[0]": b"third"})
    assert store.find(third, 0) is None
    with pytest.raises(UserError, match=r"no proposals of train\[0\]"):
        store.of(third, 0)


def test_lookup_in_a_pipeline(tmp_path):
    store = ProposalStore.create(tmp_path / "s", {"engine": "x"})
    with Writer(store) as writer:
        for number in range(5):
            cells = np.arange(4 * (number + 1), dtype=np.uint16).reshape(-1, 4)
            writer.add(f"ü{number}", content_digest(b"%d" % number), ProposedBoxes(cells, (10, 10), (20, 30)))
    store.refresh()
    contents = {f"ü{number}": b"%d" % number for number in (3, 0, 4)}
    of_images = lookup(store, images_of(contents))
    found = list(tf.data.Dataset.range(3).map(of_images, num_parallel_calls=2).as_numpy_iterator())
    for boxes, name in zip(found, contents, strict=True):
        assert np.array_equal(boxes, store[name].boxes_yxyx)
    undecodable = os.fsdecode(b"caf\xe9.jpg")
    with Writer(store) as writer:
        boxes = ProposedBoxes(np.ones((7, 4), np.uint16), (10, 10), (20, 30))
        writer.add(undecodable, content_digest(b"9"), boxes)
    store.refresh()
    of_names = lookup(store, images_of({"ü2": b"2", undecodable: b"9", "y": b"y"}))
    assert [len(boxes) for boxes in tf.data.Dataset.range(2).map(of_names).as_numpy_iterator()] == [3, 7]
    with pytest.raises(tf.errors.UnknownError, match="no proposals of y"):
        list(tf.data.Dataset.range(2, 3).map(of_names).as_numpy_iterator())
