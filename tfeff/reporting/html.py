"""A self-contained HTML page with text, tables, figures and commands; it loads and runs nothing.

Figures are embedded as data URIs. An SVG in an `<img>` is a separate document: its ids and styles do not conflict with
those of the page or of other figures, and its scripts do not run.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from tfeff.reporting.figure import DPI
from tfeff.reporting.tables import Rows, cells

JPEG, PNG = "image/jpeg", "image/png"
MEDIA_TYPES = {".svg": "image/svg+xml", ".png": PNG, ".jpg": JPEG}
MIN_SCALE = 0.62  # figures shrink to this factor on a narrow screen; below it they scroll
PIXELS_PER_POINT = 96 / 72  # CSS

STYLE = """
:root { color-scheme: light dark; --text: #1a1a1a; --muted: #444; --paper: #fff; --line: #ddd; --rule: #888;
  --code: #f4f4f4; --link: #00558a; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --text: #e8e8e8; --muted: #b5b5b5; --paper: #16181b; --line: #3a3d42;
  --rule: #777; --code: #22252a; --link: #7cc4f5; --accent: #56b4e9; } }
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
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(9.5rem, 45%), 1fr)); gap: 0.9rem;
  list-style: none; margin: 1rem 0; padding: 0; }
.gallery figure { margin: 0; }
.gallery img { width: 100%; max-width: 14rem; image-rendering: auto; }
.gallery img.small { image-rendering: pixelated; }
.gallery figcaption { font-size: 0.82rem; line-height: 1.35; overflow-wrap: anywhere; }
nav ol { margin: 0; padding-left: 1.6rem; }
figure { margin: 1.4rem 0; }
figcaption, caption { color: var(--muted); font-size: 0.92rem; text-align: left; }
figcaption { margin-top: 0.4rem; max-width: 46rem; }
caption { padding-bottom: 0.4rem; max-width: min(46rem, calc(100vw - 2rem)); }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 33rem), 1fr)); column-gap: 1rem; }
.columns > * { min-width: 0; }
.scroll { overflow-x: auto; }
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
  .scroll { overflow: visible; }
  img { min-width: 0 !important; max-height: 22cm; }
  figure, tr, pre { break-inside: avoid; }
  h2, caption { break-after: avoid; }
  table { font-size: 7pt; width: auto; }
  th, td { padding: 0.1rem 0.2rem; }
  thead { display: table-header-group; }
}
"""
# Defense in depth: browsers do not load any URL that the page might contain.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text."""

    text: str

    def html(self) -> str:
        """The paragraph as HTML."""
        return f"<p>{_words(self.text)}</p>"


@dataclass(frozen=True)
class Command:
    """One or more lines of code, shown verbatim."""

    text: str

    def html(self) -> str:
        """The command as HTML."""
        return f"<pre><code>{escape(self.text)}</code></pre>"


@dataclass(frozen=True)
class Table:
    """A table, with text aligned left and numbers aligned right.

    Args:
        rows: one mapping per row, from column to value, as for `tfeff.reporting.tables`.
        caption: caption of the table.
        columns: columns and their order; None includes all, in the order of their first appearance.
        row_headers: whether the first column names the rows.
    """

    rows: Rows
    caption: str = ""
    columns: Sequence[str] | None = None
    row_headers: bool = False

    def html(self) -> str:
        """The table as HTML; it scrolls horizontally on a narrow screen."""
        header, body, numeric = cells(self.rows, self.columns)
        kinds = [' class="number"' if right else "" for right in numeric]
        head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(header, kinds, strict=True))
        lines = [
            "<tr>"
            + "".join(
                f'<th scope="row"{kind}>{escape(value)}</th>'
                if self.row_headers and column == 0
                else f"<td{kind}>{escape(value)}</td>"
                for column, (value, kind) in enumerate(zip(line, kinds, strict=True))
            )
            + "</tr>"
            for line in body
        ]
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        start = f"{_scroll(self.caption or 'table')}<table>{caption}<thead><tr>{head}</tr></thead><tbody>"
        return "\n".join([start, *lines, "</tbody></table></div>"])


@dataclass(frozen=True)
class Figure:
    """A figure from a file.

    Args:
        path: an .svg, .png or .jpg file, as `tfeff.reporting.figure.save` writes; read when the page is created.
        caption: caption and alternative text.
    """

    path: Path
    caption: str

    def html(self) -> str:
        """The figure as HTML, with the file embedded.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file is of another type.
        """
        suffix = self.path.suffix.lower()
        if suffix not in MEDIA_TYPES:
            raise ValueError(f"{self.path} is neither an .svg nor a .png or .jpg file")
        content = self.path.read_bytes()
        size, pixels = "", 0.0
        if suffix == ".svg":
            # Matplotlib writes sizes in points. Without a size, browsers scale the figure to the page width.
            width = ElementTree.fromstring(content).get("width", "")
            if width.endswith("pt"):
                pixels = PIXELS_PER_POINT * float(width.removesuffix("pt"))
        else:
            with Image.open(io.BytesIO(content)) as image:
                pixels = image.width * 96 / DPI
        if pixels:
            size = f' width="{pixels:.0f}" style="min-width: {MIN_SCALE * pixels:.0f}px"'
        data = base64.b64encode(content).decode()
        shown = f'<img src="data:{MEDIA_TYPES[suffix]};base64,{data}" alt="{escape(self.caption)}"{size}>'
        caption = escape(self.caption)
        return f"<figure>{_scroll(self.caption)}{shown}</div><figcaption>{caption}</figcaption></figure>"


@dataclass(frozen=True)
class Picture:
    """An encoded image of a gallery.

    Args:
        content: the bytes of a JPEG or PNG file.
        lines: lines of the caption; also the alternative text.
        media_type: `JPEG` or `PNG`.
        small: whether it is enlarged without interpolation.
    """

    content: bytes
    lines: Sequence[str]
    media_type: str = JPEG
    small: bool = False

    def html(self) -> str:
        """The picture as HTML."""
        data = base64.b64encode(self.content).decode()
        alternative, kind = escape("; ".join(self.lines)), ' class="small"' if self.small else ""
        image = f'<img src="data:{self.media_type};base64,{data}" alt="{alternative}"{kind}>'
        return f"<figure>{image}<figcaption>{'<br>'.join(map(escape, self.lines))}</figcaption></figure>"


@dataclass(frozen=True)
class Gallery:
    """Pictures in as many columns as fit, with a heading."""

    title: str
    pictures: Sequence[Picture]

    def html(self) -> str:
        """The gallery as HTML."""
        items = [f"<li>{picture.html()}</li>" for picture in self.pictures]
        return "\n".join([f"<h3>{escape(self.title)}</h3>", '<ul class="gallery">', *items, "</ul>"])


@dataclass(frozen=True)
class Details:
    """Parts that are shown when the reader opens them."""

    title: str
    parts: "Sequence[Part]"

    def html(self) -> str:
        """The parts as HTML."""
        body = "\n".join(part.html() for part in self.parts)
        return f"<details><summary>{escape(self.title)}</summary>\n{body}\n</details>"


@dataclass(frozen=True)
class Columns:
    """Parts side by side, if the screen is wide enough."""

    parts: "Sequence[Part]"

    def html(self) -> str:
        """The parts as HTML."""
        return "\n".join(['<div class="columns">', *(part.html() for part in self.parts), "</div>"])


Part = Paragraph | Command | Table | Figure | Gallery | Details | Columns


def _words(text: str) -> str:
    """Escapes text; a number and its percent sign stay on one line."""
    return escape(text).replace(" %", "&nbsp;%")


def _scroll(label: str) -> str:
    """The start of an element that scrolls horizontally, also with the keyboard."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">'


@dataclass(frozen=True)
class Section:
    """A section of the page with a heading; the table of contents links to it."""

    title: str
    parts: Sequence[Part]


def page(title: str, sections: Sequence[Section], *, summary: str = "") -> str:
    """A complete HTML document with title, summary, table of contents and sections, for screens, phones and print.

    Args:
        title: title of the page.
        sections: sections in order.
        summary: a sentence with the result.

    Returns:
        The text of the file, to be written as UTF-8.

    Raises:
        OSError: the file of a figure cannot be read.
        ValueError: the file of a figure is neither an SVG nor a PNG or JPEG.
    """
    titles = [escape(section.title) for section in sections]
    contents = [f'<li><a href="#section-{number}">{heading}</a></li>' for number, heading in enumerate(titles, 1)]
    body = [f'<a class="skip" href="#content">Skip to the content</a>\n<header><h1>{escape(title)}</h1>']
    if summary:
        body.append(f'<p class="summary">{_words(summary)}</p>')
    if contents:
        body += ['<nav aria-label="Contents"><ol>', *contents, "</ol></nav>"]
    body += ["</header>", '<main id="content" tabindex="-1">']
    for number, (heading, section) in enumerate(zip(titles, sections, strict=True), 1):
        body.append(f'<section id="section-{number}">\n<h2>{heading}</h2>')
        body += [part.html() for part in section.parts]
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
