"""A self-contained HTML page with text, tables, figures and commands; it loads and runs nothing.

Figures are embedded as data URIs. An SVG in an `<img>` is a separate document: its ids and styles do not conflict with
those of the page or of other figures, and its scripts do not run.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape as escape_markup
from pathlib import Path
from typing import NewType
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfeff.errors import printable
from tfeff.reporting.figure import DPI
from tfeff.reporting.tables import Rows, cells

JPEG, PNG = "image/jpeg", "image/png"
MEDIA_TYPES = {".svg": "image/svg+xml", ".png": PNG, ".jpg": JPEG}
SMALL = 64  # pixels; images up to this side are shown pixel by pixel
LARGE = 500_000  # bytes; larger PNGs are embedded as JPEG
SIDE = 720  # pixels; larger images of a gallery are reduced
PIXELS_PER_POINT = 96 / 72  # CSS

STYLE = """
:root { color-scheme: light dark; --text: #1a1a1a; --muted: #444; --paper: #fff; --line: #ddd; --rule: #888;
  --code: #f4f4f4; --link: #00558a; --accent: #0072b2; --shadow: #0005; }
@media (prefers-color-scheme: dark) { :root { --text: #e8e8e8; --muted: #b5b5b5; --paper: #16181b; --line: #3a3d42;
  --rule: #777; --code: #22252a; --link: #7cc4f5; --accent: #56b4e9; --shadow: #fff5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 1rem; color: var(--text); background: var(--paper);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0.6rem 0; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 2.4rem 0 0.6rem; padding-top: 0.6rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 0.4rem; }
p, nav { max-width: 46rem; }
.summary { font-size: 1.1rem; border-left: 4px solid var(--accent); padding-left: 0.8rem; }
a { color: var(--link); }
a:focus-visible, summary:focus-visible, .scroll:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -999rem; }
.skip:focus { position: static; }
summary { cursor: pointer; padding: 0.4rem 0; font-weight: 600; }
details { border-left: 3px solid var(--line); padding-left: 0.8rem; margin: 0.8rem 0; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(8.5rem, 45%), 1fr)); gap: 0.9rem;
  list-style: none; margin: 1rem 0; padding: 0; }
.gallery figure { margin: 0; }
.gallery img { width: 100%; max-width: 14rem; image-rendering: auto; }
.gallery.large { grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }
.gallery.large img { max-width: 100%; }
.gallery img.small { image-rendering: pixelated; }
.gallery figcaption { font-size: 0.82rem; line-height: 1.35; overflow-wrap: anywhere; }
nav ol { margin: 0; padding-left: 1.6rem; }
figure { margin: 1.4rem 0; }
figcaption { color: var(--muted); font-size: 0.92rem; margin-top: 0.4rem; max-width: 46rem; }
.table figcaption { margin: 0 0 0.4rem; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 33rem), 1fr)); column-gap: 1rem; }
.columns > * { min-width: 0; }
/* A shadow on each side where more is hidden; it scrolls with the content, so it is covered at the ends. */
.scroll { overflow-x: auto; scrollbar-width: thin; background:
  linear-gradient(to right, var(--paper) 40%, transparent) left / 2.5rem 100%,
  linear-gradient(to left, var(--paper) 40%, transparent) right / 2.5rem 100%,
  linear-gradient(to right, var(--shadow), transparent) left / 0.9rem 100%,
  linear-gradient(to left, var(--shadow), transparent) right / 0.9rem 100%;
  background-repeat: no-repeat; background-attachment: local, local, scroll, scroll; }
img { display: block; height: auto; max-width: 100%; background: #fff; }
table { border-collapse: collapse; width: max-content; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
td { max-width: 24rem; }
th { border-bottom: 2px solid var(--rule); }
tbody th { border-bottom: 1px solid var(--line); font-weight: 600; max-width: 18rem; }
.number { text-align: right; white-space: nowrap; }
pre { margin: 0.8rem 0; padding: 0.7rem 0.9rem; background: var(--code); border: 1px solid var(--line);
  border-radius: 4px;
  font: 0.85rem/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; }
@page { margin: 12mm; }
@media print {
  :root { --text: #1a1a1a; --muted: #444; --paper: #fff; --code: #f4f4f4; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  nav, .skip { display: none; }
  .scroll { overflow: visible; background: none; }
  img { max-height: 22cm; }
  figure, tr, pre { break-inside: avoid; }
  h2, figcaption { break-after: avoid; }
  table { font-size: 7pt; width: auto; }
  th, td { padding: 0.1rem 0.2rem; }
  thead { display: table-header-group; }
}
"""
# Defense in depth: browsers do not load any URL that the page might contain.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


Part = NewType("Part", str)
"""A part of a page, as HTML."""


def paragraph(text: str) -> Part:
    """Returns a paragraph of plain text."""
    return Part(f"<p>{_words(text)}</p>")


def link(text: str, target: str) -> Part:
    """Returns a paragraph that links to a file, given relative to the page.

    >>> link("a & b", "its report.html")
    '<p><a href="its%20report.html">a &amp; b</a></p>'
    """
    return Part(f'<p><a href="{escape(quote(target))}">{_words(text)}</a></p>')


def command(text: str) -> Part:
    """Returns one or more lines of code, shown verbatim."""
    return Part(f"<pre><code>{escape(text)}</code></pre>")


def table(rows: Rows, caption: str = "", *, row_headers: bool = False) -> Part:
    """Returns a table of rows as for `tfeff.reporting.tables`; it scrolls horizontally on a narrow screen.

    With `row_headers`, the first column names the rows. Without rows, there is no table and no caption.
    """
    if not rows:
        return Part("")
    header, body, numeric = cells(rows, None)
    kinds = [' class="number"' if right else "" for right in numeric]
    head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(header, kinds, strict=True))
    lines = []
    for line in body:
        values = [f"<td{kind}>{escape(value)}</td>" for value, kind in zip(line, kinds, strict=True)]
        if row_headers:
            values[0] = f'<th scope="row"{kinds[0]}>{escape(line[0])}</th>'
        lines.append(f"<tr>{''.join(values)}</tr>")
    # Not a <caption>, which would be as narrow as the table.
    shown = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    start = f'<figure class="table">{shown}{_scroll(caption or "table")}<table><thead><tr>{head}</tr></thead><tbody>'
    return Part("\n".join([start, *lines, "</tbody></table></div></figure>"]))


def figure(path: Path, caption: str) -> Part:
    """Returns a figure from a file, as `tfeff.reporting.figure.save` writes it.

    It is as wide as it was drawn, or as a narrower screen.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is neither an SVG nor a PNG or JPEG.
    """
    suffix = path.suffix.lower()
    if suffix not in MEDIA_TYPES:
        raise ValueError(f"{path} is neither an .svg nor a .png or .jpg file")
    content = path.read_bytes()
    if suffix == ".svg":
        return drawn(content, caption)
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
        pixels = image.width * 96 / DPI
        if len(content) > LARGE:  # photographs
            buffer, suffix = io.BytesIO(), ".jpg"
            image.convert("RGB").save(buffer, "JPEG", quality=85)
            content = buffer.getvalue()
    return _figure(content, MEDIA_TYPES[suffix], caption, pixels)


def drawn(svg: bytes, caption: str) -> Part:
    """Returns a figure from the contents of an SVG file."""
    # Matplotlib writes sizes in points. Without a size, browsers scale the figure to the page width.
    width = ElementTree.fromstring(svg).get("width", "")
    pixels = PIXELS_PER_POINT * float(width.removesuffix("pt")) if width.endswith("pt") else None
    return _figure(svg, MEDIA_TYPES[".svg"], caption, pixels)


def _figure(content: bytes, media_type: str, caption: str, width: float | None) -> Part:
    size = "" if width is None else f' width="{width:.0f}"'
    shown = f'<img src="{_data(content, media_type)}" alt=""{size}>'  # screen readers read the caption
    return Part(f"<figure>{shown}<figcaption>{escape(caption)}</figcaption></figure>")


def picture(pixels: npt.NDArray[np.uint8], lines: Sequence[str]) -> Part:
    """Returns an image of a gallery, uint8 [height, width, 1 or 3].

    It is a JPEG of at most SIDE pixels a side; up to SMALL pixels a side, a PNG, enlarged without interpolation.
    """
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    buffer, small = io.BytesIO(), max(image.size) <= SMALL
    if small:
        image.save(buffer, "PNG")
    else:
        image.thumbnail((SIDE, SIDE))
        image.save(buffer, "JPEG", quality=85)
    source, kind = _data(buffer.getvalue(), PNG if small else JPEG), ' class="small"' if small else ""
    shown = f'<img src="{source}" alt=""{kind}>'
    return Part(f"<figure>{shown}<figcaption>{'<br>'.join(map(escape, lines))}</figcaption></figure>")


def gallery(title: str, pictures: Sequence[Part], *, large: bool = False) -> Part:
    """Returns pictures in as many columns as fit, with a heading; `large` ones are twice as wide."""
    items = [f"<li>{each}</li>" for each in pictures]
    start = f'<ul class="gallery{" large" * large}">'
    return Part("\n".join([f"<h3>{escape(title)}</h3>", start, *items, "</ul>"]))


def details(title: str, parts: Sequence[Part], *, opened: bool = False) -> Part:
    """Returns parts that the reader can open and close."""
    start = "<details open>" if opened else "<details>"
    return Part("\n".join([f"{start}<summary>{escape(title)}</summary>", *parts, "</details>"]))


def columns(parts: Sequence[Part]) -> Part:
    """Returns parts side by side, if the screen is wide enough."""
    return Part("\n".join(['<div class="columns">', *parts, "</div>"]))


def escape(text: str) -> str:
    """Returns HTML that shows a text as it is, control characters as escapes."""
    return escape_markup(printable(text))


def _words(text: str) -> str:
    """Escapes text; a number and its percent sign stay on one line."""
    return escape(text).replace(" %", "&nbsp;%")


def _scroll(label: str) -> str:
    """Returns the start of an element that scrolls horizontally, also with the keyboard."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">'


def _data(content: bytes, media_type: str) -> str:
    """Returns a file as a URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def page(title: str, sections: Mapping[str, Sequence[Part]], *, summary: str = "") -> str:
    """Returns a complete HTML document for screens, phones and print: title, summary, table of contents and sections.

    Sections are parts by heading; those without parts, or with empty ones alone, are omitted.

    Returns:
        The text of the file, to be written as UTF-8.
    """
    shown = {escape(heading): parts for heading, parts in sections.items() if any(parts)}
    contents = [f'<li><a href="#section-{number}">{heading}</a></li>' for number, heading in enumerate(shown, 1)]
    body = [f'<a class="skip" href="#content">Skip to the content</a>\n<header><h1>{escape(title)}</h1>']
    if summary:
        body.append(f'<p class="summary">{_words(summary)}</p>')
    if contents:
        body += ['<nav aria-label="Contents"><ol>', *contents, "</ol></nav>"]
    body += ["</header>", '<main id="content" tabindex="-1">']
    for number, (heading, parts) in enumerate(shown.items(), 1):
        body.append(f'<section id="section-{number}">\n<h2>{heading}</h2>')
        body += parts
        body.append("</section>")
    body.append("</main>")
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
    ]
    return "\n".join(
        ["<!DOCTYPE html>", '<html lang="en">', "<head>", *head, "</head>", "<body>", *body, "</body>", "</html>", ""]
    )
