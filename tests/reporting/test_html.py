import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tfeff.reporting.figure import new, save
from tfeff.reporting.html import columns, command, details, figure, gallery, page, paragraph, picture, table

VOID = {"meta", "link", "img", "br", "hr"}
HOSTILE = """<script>alert("x")</script> & 'quotes' <b>"""


class Document(HTMLParser):
    """A parser that collects elements and texts, and checks that tags are closed in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else None, data))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag):
        return [data for name, data in self.texts if name == tag]


@pytest.fixture
def files(tmp_path):
    drawn = new(4, 3)
    drawn.add_subplot().plot([1, 3, 2])
    return save(drawn, tmp_path / "a figure")


@pytest.fixture
def report(files):
    png, svg = files
    rows = [{"network": "d 1.2", "accuracy": 0.75, "note": None}, {"network": HOSTILE, "accuracy": None, "note": "x"}]
    sections = {
        "Result": [paragraph("One."), command("python -m tfeff.search --config=a.py && echo '<done>'")],
        HOSTILE: [table(rows, HOSTILE), figure(svg, "first"), figure(svg, HOSTILE), figure(png, "pixels")],
        "omitted": [],
    }
    return page(HOSTILE, sections, summary="γ = 1.2 & more")


def test_the_page_is_well_formed_and_escaped(report):
    document = Document(report)
    assert not document.all("script")
    assert not document.all("b")
    for tag in ("title", "h1", "h2", "a", "td", "figcaption"):
        assert HOSTILE in document.text(tag)
    assert {image["alt"] for image in document.all("img")} == {""}  # screen readers read the captions
    assert document.text("code") == ["python -m tfeff.search --config=a.py && echo '<done>'"]
    assert "γ = 1.2 & more" in document.text("p")


def test_the_table_of_contents_links_to_every_section(report):
    document = Document(report)
    targets = [section["id"] for section in document.all("section")]
    skip, *links = [link["href"] for link in document.all("a")]
    assert links == [f"#{target}" for target in targets]
    assert skip == f"#{document.all('main')[0]['id']}"
    assert len(set(targets)) == len(targets) == 2
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)


def test_the_page_loads_nothing(report):
    assert not re.search(r"https?:|//\w|@import|url\(", re.sub(r"base64,[\w+/=]+", "", report))
    document = Document(report)
    for _, attributes in document.elements:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    policy = next(meta["content"] for meta in document.all("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy


def test_figures_embed_the_files_in_their_size(report, files):
    png, svg = files
    images = Document(report).all("img")
    kinds, contents = zip(*(image["src"].split(";base64,") for image in images), strict=True)
    assert kinds == ("data:image/svg+xml", "data:image/svg+xml", "data:image/png")
    assert [base64.b64decode(content) for content in contents] == [svg.read_bytes(), svg.read_bytes(), png.read_bytes()]
    assert ElementTree.fromstring(base64.b64decode(contents[0])).tag.endswith("svg")
    assert images[0]["width"] == "384"  # 4 inches of 96 CSS pixels


def test_numbers_are_right_aligned(report):
    cells = [attributes.get("class") for attributes in Document(report).all("td")]
    assert cells == [None, "number", None] * 2
    assert Document(report).text("td") == ["d 1.2", "0.7500", "–", HOSTILE, "–", "x"]


def test_an_empty_page_is_valid():
    document = Document(page("nothing", {}))
    assert document.text("h1") == ["nothing"]
    assert not document.all("nav")


def test_other_file_types_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"neither an \.svg nor a \.png"):
        figure(tmp_path / "drawing.pdf", "")
    with pytest.raises(FileNotFoundError):
        figure(tmp_path / "missing.svg", "")


def test_galleries_details_and_columns(files):
    shown = picture(np.zeros((4, 4, 3), np.uint8), ["labeled ant", HOSTILE])
    parts = [gallery(HOSTILE, [shown, shown]), details(HOSTILE, [columns([figure(files[0], "a figure")])])]
    document = Document(page("t", {"s": parts}))
    assert document.text("h3") == document.text("summary") == [HOSTILE]
    first, second, drawn = document.all("img")
    assert first == second
    assert document.text("figcaption")[:2] == ["labeled ant", HOSTILE]
    assert drawn["width"] == "384"  # like the SVG
    assert not document.all("script")


def content_of(part: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(part.split("base64,")[1].split('"')[0])))


@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_are_lossless(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, channels), np.uint8)
    small = picture(pixels, ["a"])
    assert small.startswith('<figure><img src="data:image/png;base64,')
    np.testing.assert_array_equal(np.asarray(content_of(small)).reshape(pixels.shape), pixels)
    large = picture(np.repeat(pixels, 8, axis=0), ["a"])
    assert large.startswith('<figure><img src="data:image/jpeg;base64,')
    assert content_of(large).format == "JPEG"


def test_large_pngs_are_embedded_as_jpeg(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "photograph.png")
    shown = figure(tmp_path / "photograph.png", "a photograph")
    assert 'src="data:image/jpeg;base64,' in shown
    assert content_of(shown).format == "JPEG"


def test_details_can_be_open() -> None:
    assert details("t", []).startswith("<details><summary>")
    assert details("t", [], opened=True).startswith("<details open><summary>")


def test_every_scrolling_element_can_be_reached_with_the_keyboard_and_has_a_name(report):
    document = Document(report)
    regions = [each for each in document.all("div") if each.get("class") == "scroll"]
    assert len(regions) == len(document.all("table"))
    assert all(region["tabindex"] == "0" and region["aria-label"] for region in regions)


def test_sections_with_empty_tables_alone_are_omitted():
    text = page("title", {"Empty": [table([], "a caption")], "Full": [table([{"a": 1}], "another")]})
    assert "a caption" not in text
    assert "Empty" not in text
    assert "<h2>Full</h2>" in text
    assert 'href="#section-1">Full' in text


def test_rows_can_have_headers():
    shown = table([{"model": "x", "accuracy": 0.5}], "caption", row_headers=True)
    document = Document(page("t", {"s": [shown]}))
    assert [each["scope"] for each in document.all("th")] == ["col", "col", "row"]
    assert document.text("td") == ["0.5000"]


def test_a_percent_sign_stays_with_its_number():
    assert "5.0\u00a0% of &lt;" in page("t", {"s": [paragraph("5.0 % of <")]}).replace("&nbsp;", "\u00a0")


def test_characters_that_reorder_text_are_shown_as_escapes() -> None:
    name = "photo\u202egpj.exe <b>"
    for part in (paragraph(name), command(name), table([{"image": name}], name)):
        assert "\u202e" not in part
        assert "photo\\u202egpj.exe &lt;b&gt;" in part
