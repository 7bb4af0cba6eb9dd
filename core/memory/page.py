"""How much of a conversation one call to the model reads: whole turns, within what a small model can hold."""

from collections.abc import Sequence
from itertools import groupby

from core.llm.tokens import count_tokens
from core.memory.transcript import Line

PAGE_TOKENS = 3_000
"""With instructions and answer within the 6,000 that the local model gives to one call."""
MAX_LINES = 200
LINE_OVERHEAD_TOKENS = 16
"""Number, date or speaker."""


def first_page(lines: Sequence[Line], *, line_tokens: int) -> list[Line]:
    """The first turns of at most `MAX_LINES` lines that fit, each line cut to `line_tokens`; one at least.

    Who goes on after the page's last turn misses nothing.
    """
    turns = [list(turn) for _, turn in groupby(lines, key=lambda line: line.turn_id)]
    if len(lines) == MAX_LINES and len(turns) > 1:
        turns.pop()  # there may be more of it
    page: list[Line] = []
    left = PAGE_TOKENS
    for turn in turns:
        left -= sum(min(count_tokens(line.text), line_tokens) + LINE_OVERHEAD_TOKENS for line in turn)
        if page and left < 0:
            break
        page += turn
    return page
