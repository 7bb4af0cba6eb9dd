"""Slack's own markup, as people's clients send it: `<@U1>`, `<https://a|b>`, `&amp;`, `&gt; quoted`."""

import re

_TOKEN = re.compile(r"<([^<>\n]+)>")
_ESCAPES = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))


def without_mention(raw: str, user_id: str) -> str:
    """The text without the mentions of this user, nor the comma or colon that addressed them."""
    return re.sub(rf"[ \t]*<@{re.escape(user_id)}(?:\|[^>]*)?>[,:]?[ \t]*", " ", raw)


def without_quotes(raw: str) -> tuple[str, str]:
    """The lines that are the writer's own, and the block quotes among them without their marks."""
    own: list[str] = []
    quoted: list[str] = []
    in_code = False
    for line in raw.split("\n"):
        if not in_code and line.startswith("&gt;"):
            quoted.append(line.removeprefix("&gt;").removeprefix(" "))
            continue
        in_code ^= line.count("```") % 2 == 1
        own.append(line)
    return "\n".join(own), "\n".join(quoted)


def readable(raw: str) -> str:
    """The text with mentions as `@name`, channels as `#name`, links in Markdown, and nothing escaped."""
    text = _TOKEN.sub(lambda found: _plain(found[1]), raw)
    for escape, character in _ESCAPES:
        text = text.replace(escape, character)
    return text


def _plain(token: str) -> str:
    target, _, label = token.partition("|")
    if target.startswith("@"):
        return "@" + (label.lstrip("@") or target[1:])
    if target.startswith("#"):
        return "#" + (label.lstrip("#") or target[1:])
    if target.startswith("!"):
        return label or "@" + target[1:].partition("^")[0]
    address = target.removeprefix("mailto:").removeprefix("tel:")
    if address != target:
        return label or address
    bare = re.sub(r"^https?://", "", target).rstrip("/")
    if not label or label.rstrip("/") in (target.rstrip("/"), bare):
        return target
    return f"[{label}]({target})"
