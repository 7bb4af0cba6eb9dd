"""Replies as HTML: CommonMark without raw HTML, without pictures, with links only to the web and to mail."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

LINK_SCHEMES = frozenset({"http", "https", "mailto"})
HEADING_SHIFT = 2
"""The page has the first two levels of headings: a reply's begin below them."""


class _Renderer(RendererHTML):
    """Opens links apart from the page, and tells of a picture instead of fetching it."""

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        tokens[idx].attrSet("rel", "noopener noreferrer")
        tokens[idx].attrSet("target", "_blank")
        return self.renderToken(tokens, idx, options, env)

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        # Its address could carry what was said to whoever serves it.
        return self.renderInline([Token("text", "", 0, content=tokens[idx].content)], options, env)


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:
        try:
            return urlsplit(url).scheme in LINK_SCHEMES
        except ValueError:
            return False


def _fit_the_page(state: StateCore) -> None:
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + HEADING_SHIFT)}"
        elif token.type in ("th_open", "td_open") and "style" in token.attrs:
            # The page's policy allows no inline styles.
            token.attrs["class"] = str(token.attrs.pop("style")).removeprefix("text-align:")


def _parser() -> MarkdownIt:
    parser = _Markdown("commonmark", {"html": False, "breaks": True}, renderer_cls=_Renderer)
    parser.enable(["table", "strikethrough"])
    parser.core.ruler.push("fit_the_page", _fit_the_page)
    return parser


_PARSER = _parser()


def to_html(text: str) -> str:
    """The Markdown as HTML that is safe to put into the page."""
    rendered: str = _PARSER.render(text)
    return rendered
