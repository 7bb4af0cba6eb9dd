"""Replies as HTML: what a model writes can neither run, nor fetch, nor lead astray."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.web.markdown import to_html

ALLOWED_TAGS = frozenset(
    "p br strong em s a code pre ul ol li blockquote hr h3 h4 h5 h6 table thead tbody tr th td".split()
)


def tags(html: str) -> set[str]:
    return {name.lower() for name in re.findall(r"</?([a-zA-Z][a-zA-Z0-9]*)", html)}


def test_common_markdown_is_rendered() -> None:
    html = to_html("**bold** and `code`\n\n- one\n- two")
    assert "<strong>bold</strong>" in html
    assert "<code>code</code>" in html
    assert html.count("<li>") == 2


def test_a_line_end_stays_a_line_end() -> None:
    assert "<br" in to_html("one\ntwo")


def test_headings_begin_below_those_of_the_page() -> None:
    assert to_html("# Top") == "<h3>Top</h3>\n"
    assert to_html("###### Low") == "<h6>Low</h6>\n"


def test_a_table_aligns_without_inline_styles() -> None:
    html = to_html("|a|b|\n|-|-:|\n|1|2|")
    assert 'class="right"' in html
    assert "style" not in html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "a <b onclick=alert(1)>b</b>",
        "<!-- x --><iframe src=//evil.example>",
        "```\n</code><script>alert(1)</script>\n```",
        "| <script> |\n|-|\n| <img src=x onerror=y> |",
    ],
)
def test_raw_html_is_shown_not_obeyed(text: str) -> None:
    assert tags(to_html(text)) <= ALLOWED_TAGS


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "&#106;avascript:alert(1)",
        "java&Tab;script:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "file:///etc/passwd",
        "//evil.example/x",
        "/web/memories",
    ],
)
def test_a_link_elsewhere_than_to_the_web_is_no_link(address: str) -> None:
    assert "<a" not in to_html(f"[look]({address})")
    assert "<a" not in to_html(f"[look][1]\n\n[1]: {address}")


@pytest.mark.parametrize("address", ["https://example.org/a?b=c", "http://example.org", "mailto:a@b.example"])
def test_a_link_to_the_web_opens_apart_and_tells_nothing(address: str) -> None:
    html = to_html(f"[look]({address})")
    assert f'href="{address}"' in html
    assert 'rel="noopener noreferrer"' in html
    assert 'target="_blank"' in html


def test_a_picture_is_not_fetched() -> None:
    html = to_html("![a *sea* <b>](https://evil.example/?secret)")
    assert "evil.example" not in html
    assert tags(html) == {"p"}


@given(st.text(alphabet=st.sampled_from("<>[]()!`*_#|-:&;\"'/\\ \nabjs=."), max_size=80))
def test_whatever_is_written_only_harmless_tags_come_out(text: str) -> None:
    html = to_html(text)
    assert tags(html) <= ALLOWED_TAGS
    assert all(target.startswith(("http", "mailto")) for target in re.findall(r'href="([^"]*)"', html))
