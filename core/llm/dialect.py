"""How OpenAI's own service and the servers that are compatible with it want to be asked."""

import re
from typing import Any
from urllib.parse import urlsplit

_THINKING_TOKENS = 2_000
"""Room for a reasoning model's thoughts, which count as completion tokens but aren't part of the answer."""

_MINIMAL = re.compile(r"gpt-5(-mini|-nano)?(-\d{4}-\d\d-\d\d)?$")
_LOW = re.compile(r"(gpt-5\.\d|o\d)(?!.*(chat|pro))")


def is_openai(base_url: str | None) -> bool:
    """Whether this is OpenAI's own service."""
    return base_url is None or urlsplit(base_url).hostname == "api.openai.com"


def options(base_url: str | None, model: str, max_tokens: int, *, structured: bool) -> dict[str, Any]:
    """The request's fields for the longest answer, and for how hard to think and how freely to choose.

    A chat wants the first word soon, so a reasoning model is asked for the least thought that it offers.
    Small models fill a form best without chance; OpenAI's reasoning models refuse to be told.
    """
    if not is_openai(base_url):
        return {"max_tokens": max_tokens} | ({"temperature": 0} if structured else {})
    if _MINIMAL.match(model):
        return {"max_completion_tokens": max_tokens, "reasoning_effort": "minimal"}
    if _LOW.match(model):
        return {"max_completion_tokens": max_tokens + _THINKING_TOKENS, "reasoning_effort": "low"}
    return {"max_completion_tokens": max_tokens}


def answer_tokens(base_url: str | None, model: str, max_tokens: int) -> int:
    """The most completion tokens that such a request allows, thoughts included."""
    asked = options(base_url, model, max_tokens, structured=False)
    return int(asked.get("max_completion_tokens", max_tokens))
