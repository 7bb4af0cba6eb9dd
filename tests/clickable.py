"""What the people on each channel could click on, or their clients would fetch, of a reply's Markdown."""

import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser

from bots.slack import rendering as slack
from bots.telegram import rendering as telegram
from bots.web.markdown import to_html
from core.reply.addresses import ADDRESS


def clickable(text: str) -> list[str]:
    """The addresses, on all channels."""
    return [*_on_telegram(text), *_in_slack(text), *_Links(to_html(text)).found]


class _Links(HTMLParser):
    """What a browser would fetch or let be clicked."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("href", "src", "action")]


def _on_telegram(text: str) -> Iterator[str]:
    """What Telegram makes a link of: its entities, and every address that isn't code."""
    for part in telegram.split(text):
        shown = telegram.render(part)
        units = shown.text.encode("utf-16-le")
        for entity in shown.entities:
            if entity.url:
                yield entity.url
            if entity.type in ("code", "pre"):
                start, end = 2 * entity.offset, 2 * (entity.offset + entity.length)
                units = units[:start] + "\n".encode("utf-16-le") * entity.length + units[end:]
        yield from (match[0] for match in ADDRESS.finditer(units.decode("utf-16-le")))


def _in_slack(text: str) -> Iterator[str]:
    """What Slack may make a link of, in its block: Markdown's links, and addresses that stand free."""
    for part in slack.split(text):
        html = to_html(slack.content(part)["blocks"][0]["text"])
        yield from _Links(html).found
        free = re.sub(r"<code[^>]*>.*?</code>|<[^>]*>", "\n", html, flags=re.DOTALL)
        yield from (match[0] for match in ADDRESS.finditer(unescape(free)))
