"""One self-contained HTML file: opens offline, loads nothing, runs nothing, follows the reader's light or dark scheme.

A report is a list of blocks. Whatever comes from a file (a subject called <script>) passes through `escape` on its way
in; nothing else writes into the page.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources

from transmodal.reporting.charts import Chart


@dataclass(frozen=True)
class Headline:
    """One large number: what, how much, between what and what, and a remark."""

    label: str
    value: str
    interval: str = ""
    remark: str = ""
    good: bool | None = None


@dataclass(frozen=True)
class Headlines:
    """Large numbers in a row."""

    items: Sequence[Headline]


@dataclass(frozen=True)
class Text:
    """A paragraph; `kind` is "plain", "note" (small) or "warning"."""

    text: str
    kind: str = "plain"


@dataclass(frozen=True)
class Cell:
    """A table's cell: its text, a smaller line under it, and whether it is the best of its column."""

    text: str
    small: str = ""
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table; columns after the first `words` are numbers and stand to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    caption: str = ""
    words: int = 1


@dataclass(frozen=True)
class Picture:
    """A PNG, or a chart for both schemes, with its caption and its description for those who cannot see it."""

    png: bytes | Chart
    description: str
    caption: str = ""


@dataclass(frozen=True)
class Commands:
    """Lines to copy into a terminal."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Details:
    """Blocks that are folded away until the reader opens them."""

    title: str
    blocks: "Sequence[Block]"


Block = Headlines | Text | Table | Picture | Commands | Details


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Report:
    """All of a page.

    Attributes:
        title: the heading.
        kicker: a short line over the heading.
        facts: short facts under the heading.
        notice: the line that no reader may miss.
        sections: in order.
        footer: the last line.
    """

    title: str
    sections: Sequence[Section]
    kicker: str = ""
    facts: Sequence[str] = field(default_factory=tuple)
    notice: str = ""
    footer: str = ""


def render(report: Report) -> str:
    """Return the page as one HTML text."""
    style = resources.files("transmodal.reporting").joinpath("report.css").read_text(encoding="utf-8")
    anchors = [f"s{number}" for number in range(len(report.sections))]
    links = "".join(
        f'<a href="#{anchor}">{escape(section.title)}</a>'
        for anchor, section in zip(anchors, report.sections, strict=True)
    )
    body = "".join(
        f'<section id="{anchor}"><h2>{escape(section.title)}</h2>{_blocks(section.blocks)}</section>\n'
        for anchor, section in zip(anchors, report.sections, strict=True)
    )
    facts = "".join(f"<li>{escape(fact)}</li>" for fact in report.facts)
    notice = f'<p class="notice" role="note">{escape(report.notice)}</p>' if report.notice else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{escape(report.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f'<header><p class="kicker">{escape(report.kicker)}</p><h1>{escape(report.title)}</h1>'
        f'<ul class="facts">{facts}</ul>{notice}<nav>{links}</nav></header>\n'
        f"<main>\n{body}</main>\n<footer>{escape(report.footer)}</footer>\n</body>\n</html>\n"
    )


def _blocks(blocks: Sequence[Block]) -> str:
    return "\n".join(_block(block) for block in blocks)


def _block(block: Block) -> str:
    if isinstance(block, Headlines):
        return f'<div class="headlines">{"".join(_headline(item) for item in block.items)}</div>'
    if isinstance(block, Text):
        return f'<p class="{escape(block.kind)}">{escape(block.text)}</p>'
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Picture):
        caption = f"<figcaption>{escape(block.caption)}</figcaption>" if block.caption else ""
        return f"<figure>{_image(block)}{caption}</figure>"
    if isinstance(block, Commands):
        return f"<pre><code>{escape(chr(10).join(block.lines))}</code></pre>"
    return f"<details><summary>{escape(block.title)}</summary>{_blocks(block.blocks)}</details>"


def _headline(item: Headline) -> str:
    tone = {True: " good", False: " bad", None: ""}[item.good]
    return (
        f'<div class="headline"><p class="label">{escape(item.label)}</p><p class="value">{escape(item.value)}</p>'
        f'<p class="interval">{escape(item.interval)}</p><p class="remark{tone}">{escape(item.remark)}</p></div>'
    )


def _table(table: Table) -> str:
    head = "".join(
        f'<th scope="col"{_side(place, table)}>{escape(column)}</th>' for place, column in enumerate(table.columns)
    )
    body = "".join(
        "<tr>" + "".join(_cell(cell, place, table) for place, cell in enumerate(row)) + "</tr>" for row in table.rows
    )
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    return f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: Cell | str, place: int, table: Table) -> str:
    cell = Cell(cell) if isinstance(cell, str) else cell
    tag = 'th scope="row"' if place == 0 else "td"
    text = f"<b>{escape(cell.text)}</b>" if cell.best else escape(cell.text)
    small = f"<small>{escape(cell.small)}</small>" if cell.small else ""
    return f"<{tag}{_side(place, table)}>{text}{small}</{tag.split()[0]}>"


def _side(place: int, table: Table) -> str:
    return "" if place < table.words else ' class="number"'


def _image(picture: Picture) -> str:
    description = escape(picture.description)
    if isinstance(picture.png, Chart):
        return (
            f'<picture><source media="(prefers-color-scheme: dark)" srcset="{_data(picture.png.dark)}">'
            f'<img class="chart" src="{_data(picture.png.light)}" alt="{description}"></picture>'
        )
    return f'<img src="{_data(picture.png)}" alt="{description}">'


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
