"""Documents: the same in Markdown and as a page, and whatever a text holds, it stays text."""

from html.parser import HTMLParser

import pytest

from core.rights.document import Blank, Code, Document

HOSTILE = (
    "<script>alert(1)</script>",
    "[a](javascript:alert(1)) ![b](https://leak.example/x.png)",
    "**bold** _it_ `code` | cell | # no heading\n# none\n---\n<!-- -->",
    "&lt;b&gt; &amp; \\<b>",
    "https://leak.example/ <https://leak.example/>",
)


class Reader(HTMLParser):
    """The elements of a page, and the text of its body."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._in_style = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.text += data


def made(text: str) -> Document:
    document = Document(f"About {text}")
    document.heading(2, text)
    document.say(text, Code(text), Blank(text))
    document.items([text, (Code(text), text)])
    document.table((text, "B"), [(text, Code(text)), ((text, Blank(text)), "")])
    return document


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_a_text_holds_it_stays_text(text: str) -> None:
    page, plain = Reader(made(text).html()), Reader(made("harmless").html())
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert " ".join(text.split()) in " ".join(page.text.split())
    for tag, attributes in page.tags:
        assert tag != "script"
        links = [value for name, value in attributes.items() if name in ("src", "href")]
        assert all(value and value.startswith("#part-") for value in links)


def test_a_page_has_one_title_a_way_to_each_part_and_marked_blanks() -> None:
    document = made("parts & more")
    page = Reader(document.html())
    tags = [tag for tag, _ in page.tags]
    assert tags.count("h1") == tags.count("main") == tags.count("nav") == 1
    ids = [attributes["id"] for tag, attributes in page.tags if tag == "h2"]
    assert [f"#{each}" for each in ids] == [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert all(attributes["scope"] == "col" for tag, attributes in page.tags if tag == "th")
    assert "[To be filled in: parts & more]" in page.text
    assert tags.count("mark") == 2
    assert document.markdown().count("**[To be filled in: ") == 2
