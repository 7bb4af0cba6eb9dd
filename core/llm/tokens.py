"""Counting tokens with OpenAI's o200k vocabulary, which is near enough for every model's budget."""

from functools import cache
from typing import Protocol, cast

import bpe_openai  # type: ignore[import-untyped]


class _Encoding(Protocol):
    def encode_ordinary(self, text: str) -> list[int]: ...
    def decode(self, tokens: list[int], errors: str = "replace") -> str: ...


@cache
def _encoding() -> _Encoding:
    return cast(_Encoding, bpe_openai.get_encoding("o200k_base"))


def count_tokens(text: str) -> int:
    """How many tokens the text is; what looks like a special token counts as plain text."""
    return len(_encoding().encode_ordinary(text))


def truncate_tokens(text: str, limit: int) -> str:
    """The longest beginning of the text within `limit` tokens; a character is never cut in two."""
    if limit <= 0:
        return ""
    if len(text.encode("utf-8", "surrogatepass")) <= limit:
        return text  # a token is a byte at least
    tokens = _encoding().encode_ordinary(text)
    if len(tokens) <= limit:
        return text
    return _encoding().decode(tokens[:limit], errors="ignore")
