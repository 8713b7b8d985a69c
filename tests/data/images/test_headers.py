from PIL import Image

from tfeff.data.images import decoding
from tfeff.data.images.headers import Headers
from tfeff.errors import UserError


def test_each_header_is_read_once(tmp_path, monkeypatch):
    image, text = tmp_path / "image.png", tmp_path / "text.png"
    Image.new("RGB", (60, 40)).save(image)
    text.write_text("not an image")
    headers, read, size = Headers(), [], decoding.size
    monkeypatch.setattr(decoding, "size", lambda path: read.append(path) or size(path))
    for _ in range(2):
        assert headers.size(image) == (40, 60)
        assert isinstance(headers.size(text), UserError)
    assert read == [image, text]
