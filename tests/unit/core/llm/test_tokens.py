import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.llm.tokens import MOST_BITS, SEVERAL_TOKENS_BITS, count_tokens, surprise, truncate_tokens


def test_counts_as_openai_does() -> None:
    assert count_tokens("") == 0
    assert count_tokens("hello world") == 2


def test_what_looks_special_is_plain_text() -> None:
    assert count_tokens("<|endoftext|>") > 1


@pytest.mark.parametrize("limit", [-1, 0])
def test_no_room_no_text(limit: int) -> None:
    assert truncate_tokens("hello", limit) == ""


def test_never_cuts_a_character() -> None:
    text = "👩‍👩‍👧日本語" * 20
    for limit in range(1, count_tokens(text)):
        assert text.startswith(truncate_tokens(text, limit))


@given(st.text(), st.integers(0, 40))
def test_a_cut_text_is_a_beginning_that_fits(text: str, limit: int) -> None:
    cut = truncate_tokens(text, limit)
    assert text.startswith(cut)
    assert count_tokens(cut) <= limit


def test_long_and_odd_texts_are_quick() -> None:
    for text in ("a" * 100_000, " " * 100_000, "\x00" * 10_000, "日" * 100_000, "a\ud800b"):
        assert count_tokens(text) > 0


def test_a_rare_word_surprises_more_than_a_common_one() -> None:
    bits = [surprise(word) for word in ("the", "time", "family", "coffee", "allergic")]
    assert bits == sorted(bits)
    assert bits[0] == 0.0
    assert 6.0 < bits[-1] <= MOST_BITS
    assert surprise("Quittengelee") == SEVERAL_TOKENS_BITS
