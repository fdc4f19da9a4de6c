"""The report is one file that opens anywhere, loads nothing, and cannot be written into by a name in a manifest."""

from html.parser import HTMLParser
from importlib import resources

from transmodal.reporting.charts import Chart
from transmodal.reporting.html import (
    Cell,
    Commands,
    Details,
    Headline,
    Headlines,
    Picture,
    Report,
    Section,
    Table,
    Text,
    render,
)

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;"
VOID = {"meta", "img", "source", "br", "link"}


class Reader(HTMLParser):
    """Collects tags and attributes, and holds that every tag is closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parse(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def page_with(text: str) -> str:
    blocks = [
        Headlines([Headline(text, text, text, text, good=True)]),
        Text(text, "warning"),
        Table([text, text], [[Cell(text, text, best=True), text]], text),
        Picture(b"png", text, text),
        Picture(Chart(b"light", b"dark"), text, text),
        Commands([text]),
        Details(text, [Text(text)]),
    ]
    return render(Report(text, [Section(text, blocks)], text, [text], text, text))


def test_nothing_from_a_file_becomes_markup() -> None:
    harmless, evil = parse(page_with("mouse")), parse(page_with(EVIL))
    assert evil.tags == harmless.tags
    assert "script" not in evil.tags
    assert not [name for _, name, _ in evil.attributes if name.startswith("on")]
    assert EVIL in evil.text


def test_the_page_loads_nothing() -> None:
    page = page_with("mouse")
    reader = parse(page)
    for tag, name, value in reader.attributes:
        if name in ("src", "srcset"):
            assert value.startswith("data:image/png;base64,"), (tag, name)
        if name == "href":
            assert value.startswith("#")
    assert not {"script", "link", "iframe", "object"} & set(reader.tags)
    for outside in ("http://", "https://", "url(", "@import"):
        assert outside not in page


def test_every_picture_is_described_and_follows_the_scheme() -> None:
    reader = parse(page_with("a mouse"))
    assert [value for tag, name, value in reader.attributes if tag == "img" and name == "alt"] == ["a mouse"] * 2
    assert ("source", "media", "(prefers-color-scheme: dark)") in reader.attributes
    assert "prefers-color-scheme: dark" in page_with("")


def test_headings_of_tables_may_wrap_while_numbers_stay_whole() -> None:
    style = resources.files("transmodal.reporting").joinpath("report.css").read_text(encoding="utf-8")
    rules = (rule.split("{") for rule in style.split("}") if "nowrap" in rule)
    assert [selector.strip() for selector, _ in rules] == ["td.number"], "else a wide table's last column is cut off"
