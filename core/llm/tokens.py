"""Counting tokens with OpenAI's o200k vocabulary, which is near enough for every model's budget."""

from functools import cache
from math import log2
from typing import Protocol, cast

EVERYDAY_BITS = 10.0
"""The rank of "time" or "work"."""
MOST_BITS = 8.0
SEVERAL_TOKENS_BITS = 4.0


class _Encoding(Protocol):
    def encode_ordinary(self, text: str) -> list[int]: ...
    def decode(self, tokens: list[int], errors: str = "replace") -> str: ...


@cache
def _encoding() -> _Encoding:
    # It loads all its vocabularies when it is imported; most commands count no tokens.
    import bpe_openai  # type: ignore[import-untyped]

    return cast(_Encoding, bpe_openai.get_encoding("o200k_base"))


def count_tokens(text: str) -> int:
    """How many tokens the text is; what looks like a special token counts as plain text."""
    return len(_encoding().encode_ordinary(text))


def surprise(word: str) -> float:
    """How rare a word is, in bits beyond an everyday one, from 0 to 8.

    The vocabulary was learned in the order of how often things occur, so a token's number is about its rank.
    What takes several tokens may be rare or only foreign: it counts as half rare.
    """
    tokens = _encoding().encode_ordinary(f" {word}")
    if len(tokens) > 1:
        return SEVERAL_TOKENS_BITS
    return min(MOST_BITS, max(0.0, log2(tokens[0] + 1) - EVERYDAY_BITS))


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
