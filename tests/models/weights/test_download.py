"""Downloads from a server on this machine: whole, continued, damaged, and without a server."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tfeff.errors import UserError
from tfeff.models.weights import download

CONTENTS = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(CONTENTS).hexdigest()[:8]


class Server:
    """A server that sends CONTENTS.

    Attributes:
        url: of the file.
        ranges: the header Range of each request.
        limit: bytes after which it breaks the connection.
        continues: whether it sends parts of the file.
    """

    url: str
    limit: int | None = None
    continues = True

    def __init__(self) -> None:
        self.ranges = list[str | None]()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and state.continues else 0
            if start >= len(CONTENTS):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(CONTENTS)}")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENTS) - start))
            self.end_headers()
            self.wfile.write(CONTENTS[start : start + (state.limit or len(CONTENTS))])

        def log_message(self, *_: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{running.server_port}/weights.bin"
    yield state
    running.shutdown()
    running.server_close()


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        path = download.fetch(server.url, "weights.bin", DIGEST)
        assert path == tmp_path / "models" / "weights.bin"
        assert path.read_bytes() == CONTENTS
    assert server.ranges == [None]
    assert {each.name for each in path.parent.iterdir()} == {path.name, ".lock"}


@pytest.mark.parametrize("continues", [True, False])
def test_an_interrupted_download_continues(server: Server, continues: bool) -> None:
    server.limit = 300_000
    with pytest.raises(UserError, match=r"weights.bin.part is continued by the next attempt"):
        download.fetch(server.url, "weights.bin", DIGEST)
    server.limit, server.continues = None, continues
    assert download.fetch(server.url, "weights.bin", DIGEST).read_bytes() == CONTENTS
    assert server.ranges == [None, "bytes=300000-"]


@pytest.mark.parametrize("surplus", [b"", b"of another version"])
def test_a_complete_part_is_used_and_a_longer_one_is_not(server: Server, tmp_path: Path, surplus: bytes) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights.bin.part").write_bytes(CONTENTS + surplus)
    assert download.fetch(server.url, "weights.bin", DIGEST).read_bytes() == CONTENTS
    assert server.ranges == [f"bytes={len(CONTENTS) + len(surplus)}-", *([None] if surplus else [])]


def test_another_file_is_refused(server: Server) -> None:
    with pytest.raises(UserError, match="damaged, or not the file of http"):
        download.fetch(server.url, "weights.bin", "00000000")


def test_without_a_server_the_message_says_where_the_file_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"cannot download .*copy the file to .*/models/weights.bin"):
        download.fetch("http://127.0.0.1:9/weights.bin", "weights.bin")


def test_processes_download_a_file_once(server: Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:  # each opens the lock itself, as processes do
        paths = list(threads.map(lambda _: download.fetch(server.url, "weights.pth", DIGEST), range(4)))
    assert {path.read_bytes() for path in paths} == {CONTENTS}
    assert server.ranges == [None]
