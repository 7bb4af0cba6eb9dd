"""A document in Markdown, and the same as a page that needs nothing else."""

import re
from collections.abc import Iterable, Sequence
from html import escape

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

PUNCTUATION = re.compile(r"([\\`*_{}\[\]<>#|!~&$])")


class Code(str):
    """Something that is typed or stands somewhere as it is: a setting, a host, a column."""


class Blank(str):
    """What only whoever runs Mneme can say; the text tells what that is."""


Fragment = str | Code | Blank
Text = Fragment | Sequence[Fragment]
"""A string is plain text: whatever it holds, none of it is markup."""


class Document:
    """A document that grows from its top to its end. `title` is its first heading."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._blocks: list[str] = []
        self.heading(1, title)

    def heading(self, level: int, text: str) -> None:
        self._blocks.append(f"{'#' * level} {_inline(text)}")

    def say(self, *fragments: Fragment) -> None:
        """A paragraph."""
        self._blocks.append(_inline(fragments))

    def items(self, texts: Iterable[Text]) -> None:
        self._blocks.append("\n".join(f"- {_inline(text)}" for text in texts))

    def table(self, head: Sequence[str], rows: Iterable[Sequence[Text]]) -> None:
        lines = [_row(head), _row(["---"] * len(head), raw=True), *map(_row, rows)]
        self._blocks.append("\n".join(lines))

    def markdown(self) -> str:
        return "\n\n".join(self._blocks) + "\n"

    def html(self) -> str:
        """A whole page: no script, nothing from elsewhere."""
        tokens = _PARSER.parse(self.markdown())
        contents = _number_headings(tokens)
        first = next(number for number, token in enumerate(tokens) if token.type == "heading_close") + 1
        title, body = (
            _PARSER.renderer.render(part, _PARSER.options, {}) for part in (tokens[:first], tokens[first:])
        )
        return _PAGE.format(title=escape(self.title), heading=title, contents=contents, body=body)


def _inline(text: Text) -> str:
    if isinstance(text, Code):
        return f"`{_one_line(text).replace('`', '?').replace('|', '?')}`" if text else ""
    if isinstance(text, Blank):
        return f"**[To be filled in: {_plain(text)}]**"
    if isinstance(text, str):
        return _plain(text)
    joined = ""
    for fragment in text:
        piece = _inline(fragment)
        # Markdown takes asterisks between a letter and a bracket for asterisks.
        touches = joined[-1:].isalnum() and isinstance(fragment, Blank)
        touched = joined.endswith("]**") and piece[:1].isalnum()
        joined += f" {piece}" if touches or touched else piece
    return joined


def _plain(text: str) -> str:
    return PUNCTUATION.sub(r"\\\1", _one_line(text))


def _one_line(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)


def _row(cells: Sequence[Text], *, raw: bool = False) -> str:
    return f"| {' | '.join(str(cell) if raw else _inline(cell) for cell in cells)} |"


def _number_headings(tokens: Sequence[Token]) -> str:
    """Gives the headings ids; returns a list of links to those of the second level."""
    links = []
    for number, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag != "h1":
            token.attrSet("id", f"part-{number}")
            if token.tag == "h2":
                name = _PARSER.renderer.render([tokens[number + 1]], _PARSER.options, {})
                links.append(f'<li><a href="#part-{number}">{name}</a></li>')
    return "".join(links)


class _Renderer(RendererHTML):
    """Only blanks are strong: they are marked as such. Wide tables scroll by themselves, by keyboard too."""

    def strong_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return "<mark>"

    def strong_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return "</mark>"

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return '<div class="wide" tabindex="0" role="group" aria-label="Table"><table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return "</table></div>\n"

    def th_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return '<th scope="col">'


_PARSER = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1d2430; --paper: #fff; --line: #8a93a3; --band: #f1f3f7;
  --mark: #ffe9a8; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e6e9ef; --paper: #14181f; --line: #6d7687; --band: #1f2530; --mark: #5c4a12; }}
}}
body {{ margin: 0 auto; padding: 1.5rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; }}
h1, h2, h3 {{ line-height: 1.25; margin: 2rem 0 .6rem; }}
p, li {{ max-width: 75ch; }}
a {{ color: inherit; }}
.wide {{ overflow-x: auto; margin: 1rem 0; }}
table {{ border-collapse: collapse; width: 100%; font-size: .93rem; }}
th, td {{ border: 1px solid var(--line); padding: .4rem .6rem; min-width: 6rem; text-align: left;
  vertical-align: top; }}
th {{ background: var(--band); }}
code {{ font-size: .9em; overflow-wrap: anywhere; }}
mark {{ background: var(--mark); color: inherit; padding: 0 .15em; }}
@media print {{ body {{ padding: 0; }} nav {{ display: none; }} .wide {{ overflow: visible; }} }}
</style>
</head>
<body>
<header>
{heading}</header>
<nav aria-label="Contents"><ol>{contents}</ol></nav>
<main>
{body}</main>
</body>
</html>
"""
