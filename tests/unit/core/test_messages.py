"""What may come in: text that every store and model can hold."""

import json

from hypothesis import given
from hypothesis import strategies as st

from core.messages import clean

ANYTHING = st.text(st.characters(codec=None, exclude_categories=()), max_size=200)


@given(ANYTHING)
def test_clean_text_goes_everywhere(text: str) -> None:
    cleaned = clean(text)
    assert cleaned.encode("utf-8").decode("utf-8") == cleaned
    assert json.loads(json.dumps(cleaned, ensure_ascii=False)) == cleaned
    assert not any(ord(c) < 32 and c not in "\n\t" for c in cleaned)
    assert cleaned == cleaned.strip()


@given(ANYTHING)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn")), max_size=200))
def test_good_text_stays_as_it_is(text: str) -> None:
    assert clean(text) == text.strip()


def test_what_platforms_send_badly_is_mended() -> None:
    assert clean(" a\r\nb\rc\x00d\x07 ") == "a\nb\ncd"
    assert clean("half \ud83d of a face") == "half \ufffd of a face"
    assert clean("\ud83d\ude00 whole in two halves") == "\U0001f600 whole in two halves"
    assert clean("\x00\u200b\n") == "\u200b"
    assert clean(" \t\r\n\x00 ") == ""
