import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bots.slack.rendering import (
    BLOCK_CHARS,
    NOTICE_CHARS,
    PART_CHARS,
    content,
    defused,
    plain_content,
    split,
)

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
_lines = st.sampled_from(
    ["", "a word and another", "x" * 150, "```python", "```", "~~~~", "~~~", "  ```", "<!channel>", "été 🐝"]
)
_markdown = st.lists(_lines, max_size=40).map("\n".join)


def visible(text: str) -> str:
    return re.sub(r"\s", "", text)


def fence_lines(text: str) -> list[str]:
    return re.findall(r"^ {0,3}(?:`{3,}|~{3,}).*$", text, re.MULTILINE)


@unhurried
@given(st.text())
def test_parts_fit_and_lose_nothing(text: str) -> None:
    parts = split(text, 200)
    assert all(0 < len(part) <= 200 and part.strip() for part in parts)
    if not fence_lines(defused(text)):
        assert visible("".join(parts)) == visible(defused(text))


@unhurried
@given(_markdown)
def test_parts_of_markdown_fit_and_keep_their_words(text: str) -> None:
    parts = split(text, 200)
    assert all(len(part) <= 200 for part in parts)
    words = re.findall(r"[^\s`~]+", re.sub(r"^```python$", "", defused(text), flags=re.MULTILINE))
    found = re.findall(r"[^\s`~]+", re.sub(r"^```python$", "", "\n".join(parts), flags=re.MULTILINE))
    assert "".join(found) == "".join(words)


@unhurried
@given(_markdown)
def test_splitting_again_changes_nothing(text: str) -> None:
    for part in split(text, 200):
        assert split(part, 200) == [part]


def test_a_code_block_that_is_cut_is_closed_and_opened_again() -> None:
    code = "\n".join(f"line {n}" for n in range(60))
    parts = split(f"Before\n\n```python\n{code}\n```\n\nAfter", 200)
    assert len(parts) > 2
    assert all(len(fence_lines(part)) % 2 == 0 for part in parts)
    assert parts[1].startswith("```python\nline ")
    assert parts[-1].endswith("After")


def test_a_text_is_cut_between_paragraphs() -> None:
    one, two = "first " * 25, "second " * 15
    assert split(f"{one}\n\n{two}", 250) == [one.rstrip(), two.rstrip()]


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\t \n"])
def test_blank_text_has_no_parts(text: str) -> None:
    assert split(text) == []


def test_a_short_text_is_one_part_as_it_is() -> None:
    assert split("**Hi** `x`\n- a\n- b") == ["**Hi** `x`\n- a\n- b"]


@pytest.mark.parametrize(
    "ping",
    ["<!channel>", "<!here|x>", "<!EVERYONE>", "<!subteam^S1>", "<@U123>", "<@W1|ana>", "@here", "@channel!"],
)
def test_mentions_are_made_inert(ping: str) -> None:
    once = defused(f"hey {ping}")
    assert ping not in once
    assert once.replace("\N{WORD JOINER}", "") == f"hey {ping}"
    assert defused(once) == once


@pytest.mark.parametrize(
    "text", ["<!DOCTYPE html>", "<b>", "a < b", "ana@here.com is @hereby", "<https://a.b>", "@property"]
)
def test_what_is_no_mention_stays(text: str) -> None:
    assert defused(text).replace("\N{WORD JOINER}", "") == text
    if "@here.com" not in text:
        assert defused(text) == text


@unhurried
@given(st.text(min_size=1, max_size=100).filter(str.strip), st.integers(1, 300))
def test_every_part_is_content_that_slack_takes(text: str, times: int) -> None:
    for part in split(text * times):
        assert len(part) <= PART_CHARS
        message = content(part)
        (block,) = message["blocks"]
        assert block == {"type": "markdown", "text": part}
        assert len(part) <= BLOCK_CHARS
        assert len(message["text"]) <= NOTICE_CHARS
        assert "<" not in message["text"]


def test_plain_content_holds_all_of_it_in_sections() -> None:
    text = "<b> & " * 1_500
    message = plain_content(text)
    pieces = [block["text"]["text"] for block in message["blocks"]]
    assert all(len(piece) <= 3_000 for piece in pieces)
    assert "".join(pieces) == text
