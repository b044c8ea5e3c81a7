"""A web page in one file: sections, tiles and pictures, with everything inside it.

The page needs no network: pictures are base64 PNGs, the style is in the head, there is no script.
"""

import base64
import html
import os
import pathlib

_STYLE = """
:root { --ink: #1d2733; --quiet: #66717f; --line: #e3e7ec; --paper: #f5f6f8; --accent: #2563c9;
        --right: #16803c; --wrong: #c2361f; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5;
       font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.02em; }
h2 { font-size: 1.3rem; margin: 0 0 .3rem; letter-spacing: -.01em; }
h3 { font-size: 1rem; margin: 1.6rem 0 .6rem; }
p { margin: 0 0 .9rem; max-width: 46rem; }
.quiet { color: var(--quiet); }
.small { font-size: .85rem; }
section { background: #fff; border: 1px solid var(--line); border-radius: 12px;
          padding: 1.4rem 1.4rem 1.5rem; margin-top: 1.2rem; }
.facts { color: var(--quiet); font-size: .9rem; margin: 0; }
.facts span { white-space: nowrap; margin-right: 1.2rem; }
.tiles { display: grid; gap: .8rem; margin-top: 1.4rem;
         grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); }
.tile { background: #fff; border: 1px solid var(--line); border-radius: 12px; padding: 1rem; }
.tile .value { font-size: 2.1rem; font-weight: 650; line-height: 1.1; letter-spacing: -.02em; }
.tile .name { font-weight: 600; font-size: .92rem; margin-top: .35rem; }
.tile .note { color: var(--quiet); font-size: .8rem; line-height: 1.35; margin-top: .15rem; }
.grid { display: grid; gap: 1rem; }
.charts { grid-template-columns: repeat(auto-fit, minmax(290px, 1fr)); }
.halves { grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); align-items: start; }
.wide-halves { grid-template-columns: repeat(auto-fit, minmax(min(100%, 475px), 1fr)); }
.cards { grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: .8rem; }
img { display: block; max-width: 100%; }
img.chart { width: 100%; max-width: 560px; }
img.pixels, img.smooth { width: 72px; height: 72px; border-radius: 6px; }
img.pixels { image-rendering: pixelated; }
.row { display: flex; gap: .5rem; flex-wrap: wrap; align-items: flex-start; }
.card { display: flex; gap: .7rem; align-items: flex-start; font-size: .88rem; line-height: 1.35; }
.card > div { min-width: 0; }
.framed img { outline: 3px solid var(--right); outline-offset: 2px; }
figure { margin: 0; width: 72px; }
figcaption { font-size: .72rem; line-height: 1.2; color: var(--quiet); margin-top: .3rem;
             text-align: center; }
.query { margin: 0 0 1.3rem; }
.query .text { font-weight: 600; margin-bottom: .45rem; }
.query .rank { font-size: .85rem; margin-top: .45rem; }
.right { color: var(--right); } .wrong { color: var(--wrong); }
.mark { font-weight: 700; }
del { color: var(--wrong); text-decoration: none; border-bottom: 2px solid currentColor; }
ol.captions { margin: 0; padding-left: 1.3rem; font-size: .88rem; }
ol.captions li.right { font-weight: 600; }
table { border-collapse: collapse; font-size: .88rem; }
td { padding: .25rem 1.2rem .25rem 0; border-bottom: 1px solid var(--line); }
td.number { text-align: right; font-variant-numeric: tabular-nums; padding-right: 0; }
"""


def escape(text):
    """Text made safe to stand in the page."""
    return html.escape(str(text), quote=True)


def image(png, description, css_class):
    """An <img> that holds the PNG bytes themselves."""
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<img class="{css_class}" alt="{escape(description)}" src="data:image/png;base64,{data}">'
    )


def figure(png, description, caption="", css_class="pixels", is_framed=False):
    """A small picture over a short caption; "pixels" enlarges it without smoothing."""
    frame = ' class="framed"' if is_framed else ""
    under = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure{frame}>{image(png, description, css_class)}{under}</figure>"


def block(css_class, *parts):
    """A <div> of the given class around the parts."""
    return f'<div class="{css_class}">{"".join(parts)}</div>'


def chart_grid(charts, description):
    """Charts as PNG bytes, as many beside one another as the screen holds."""
    return block("grid charts", *(image(chart, description, "chart") for chart in charts))


def tile(value, name, note):
    """One headline number."""
    return block(
        "tile",
        block("value", escape(value)),
        block("name", escape(name)),
        block("note", escape(note)),
    )


def table(rows):
    """A table of (name, number as text) rows."""
    cells = (
        f'<tr><td>{escape(name)}</td><td class="number">{escape(value)}</td></tr>'
        for name, value in rows
    )
    return f"<table>{''.join(cells)}</table>"


class Page:
    """Collects the parts of a page and writes them as one HTML file.

    Args:
        title: the heading.
        lead: one or two sentences under it.
        facts: {name: value} shown in one quiet line.
    """

    def __init__(self, title, lead, facts):
        shown = (f"<span>{escape(name)}: {escape(value)}</span>" for name, value in facts.items())
        self._title = escape(title)
        self._parts = [f"<h1>{escape(title)}</h1><p>{escape(lead)}</p>"]
        if facts:
            self._parts.append(f'<p class="facts">{" ".join(shown)}</p>')

    def add_tiles(self, tiles):
        """Adds a row of headline numbers."""
        self._parts.append(block("tiles", *tiles))

    def add_section(self, name, title, introduction, *parts):
        """Adds a section; `name` is its anchor, `parts` are pieces of HTML."""
        self._parts.append(
            f'<section id="{escape(name)}"><h2>{escape(title)}</h2>'
            f'<p class="quiet">{escape(introduction)}</p>{"".join(parts)}</section>'
        )

    def write(self, path):
        """Writes the file; an older one stays whole until the new one is complete."""
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(path.name + ".unfinished")
        unfinished.write_text(
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{self._title}</title><style>{_STYLE}</style></head>"
            f"<body><main>{''.join(self._parts)}</main></body></html>\n",
            encoding="utf-8",
        )
        os.replace(unfinished, path)
