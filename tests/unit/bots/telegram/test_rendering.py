"""Markdown as Telegram shows it: nothing lost, and in parts that fit."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bots.telegram.rendering import MAX_UNITS, render, split
from tests.standins.telegram_chats import checked_text, units


def shown(markdown: str) -> tuple[str, list[tuple[str, str]]]:
    """The text, and each entity with the part of the text that it covers."""
    rendered = render(markdown)
    coded = rendered.text.encode("utf-16-le")
    return rendered.text, [
        (str(entity.type), coded[2 * entity.offset : 2 * (entity.offset + entity.length)].decode("utf-16-le"))
        for entity in rendered.entities
    ]


@pytest.mark.parametrize(
    ("markdown", "text", "entities"),
    [
        ("**bold** and *it* 😀 `x`", "bold and it 😀 x", {("bold", "bold"), ("italic", "it"), ("code", "x")}),
        ("😀 **b**", "😀 b", {("bold", "b")}),
        ("# Head\n\nbody", "Head\n\nbody", {("bold", "Head"), ("underline", "Head")}),
        ("- a\n- b", "• a\n• b", set()),
        ("- [ ] a\n- [x] b", "☐ a\n✅ b", set()),
        ("```python\nprint(1)\n```", "print(1)", {("pre", "print(1)")}),
        ("1. one\n   ```\n   x\n   ```", "1. one\nx", {("pre", "x")}),
        ("> q", "q", {("blockquote", "q")}),
        ("[a](https://a.example)", "a", {("text_link", "a")}),
        ("这是**重点**内容", "这是重点内容", {("bold", "重点")}),
        ("energy is $E=mc^2$", "energy is E=mc²", {("code", "E=mc²")}),
    ],
)
def test_markdown_becomes_entities(markdown: str, text: str, entities: set[tuple[str, str]]) -> None:
    rendered, found = shown(markdown)

    assert rendered == text
    assert set(found) == entities


@pytest.mark.parametrize(
    "text",
    [
        "2*3*4",
        "5*6 = 30 and 7*8 = 56",
        "2**3**4",
        "f(x)*g(y)*h",
        "a***b***c",
        "__init__ and __main__",
        "snake_case_name",
        "<div>\nhello\n</div>",
        "<!-- a comment -->",
        "std::vector<int> and List<String>",
        "if (a || b || c)",
        "[^1]: a footnote",
        "[1]: https://a.example",
        "from $5 to b$ 6",
        "~5 or ~6",
    ],
)
def test_what_only_looks_like_markdown_is_left_alone(text: str) -> None:
    assert shown(text) == (text, [])


def test_code_keeps_what_is_escaped_elsewhere() -> None:
    code = "a||b||c <div> 2*3*4 $x$ __init__"

    assert shown(f"`{code}`") == (code, [("code", code)])
    assert shown(f"```\n{code}\n```") == (code, [("pre", code)])


def test_a_line_break_tag_parts_words() -> None:
    assert shown("one<br>two")[0] == "one two"


def test_an_empty_cell_is_no_spoiler() -> None:
    assert shown("|a||b|\n|-|-|-|\n|1||2|")[0] == "a |  | b\n--+--+--\n1 |  | 2"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "relative.md", "file:///etc/passwd"]
)
def test_links_that_lead_nowhere_good_are_text(url: str) -> None:
    assert shown(f"[press]({url})") == ("press", [])


@pytest.mark.parametrize(
    "markdown", ["<!-- -->", "[a]: b", "[](https://a.example)", "#", ">", "```\n```", "&#32;"]
)
def test_what_isnt_blank_never_becomes_blank(markdown: str) -> None:
    assert render(markdown).text.strip()


@pytest.mark.parametrize("markdown", ["", "   ", "\n\n", "\x00"])
def test_blank_is_blank(markdown: str) -> None:
    assert render(markdown).text == ""
    assert split(markdown) == []


_MARKS = st.sampled_from(
    [
        *"*_`~|<>[]()#-+.!\\$&\n \t=",
        "**",
        "```",
        "```py\n",
        "||",
        "\n\n",
        "\n- ",
        "\n1. ",
        "\n> ",
        "<br>",
        "](",
    ]
)
_WORDS = st.text(st.sampled_from("abcXYZ0189äß漢😀👩"), min_size=1, max_size=12)
_MARKDOWN = st.lists(_MARKS | _WORDS, max_size=60).map("".join)


def letters(text: str) -> str:
    return "".join(re.findall(r"[^\W_]|😀|👩", text))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([*"*_~|<>!\\&\n \t", "**", "||", "\n\n", "<b>", "`"]) | _WORDS, max_size=60).map(
        "".join
    )
)
def test_rendering_loses_no_letter(markdown: str) -> None:
    assert letters(render(markdown).text) == letters(markdown)


@settings(max_examples=300, deadline=None)
@given(_MARKDOWN)
def test_telegram_takes_whatever_is_rendered(markdown: str) -> None:
    rendered = render(markdown)
    if rendered.text:
        checked_text(rendered.text, [entity.to_dict() for entity in rendered.entities])


@settings(max_examples=60, deadline=None)
@given(st.lists(_MARKDOWN, min_size=1, max_size=5), st.integers(1, 400))
def test_parts_fit_and_hold_everything(pieces: list[str], repeat: int) -> None:
    markdown = "\n\n".join(pieces * repeat)[:20_000]
    parts = split(markdown)

    assert all(0 < units(render(part).text) <= MAX_UNITS for part in parts)
    if "```" not in markdown:
        assert letters("".join(parts)) == letters(markdown)


def test_it_cuts_between_paragraphs() -> None:
    paragraph = "word " * 200
    parts = split("\n\n".join([paragraph.strip()] * 10))

    assert len(parts) == 3
    assert all(part.startswith("word") and part.endswith("word") for part in parts)
    assert all(part.count("word") % 200 == 0 for part in parts)


def test_a_long_code_block_is_closed_and_opened_again() -> None:
    lines = [f"    print({number})" for number in range(1000)]
    parts = split("Look:\n\n```python\n" + "\n".join(lines) + "\n```\n\nThat's **it**.")

    assert len(parts) > 3
    for part in parts[1:]:
        assert part.startswith("```python\n    print(")
    assert all(part.count("```") == 2 for part in parts)
    assert [line for part in parts for line in part.split("\n") if "print" in line] == lines
    assert ("bold", "it") in shown(parts[-1])[1]


def test_a_code_block_at_the_end_of_a_part_isnt_left_empty() -> None:
    parts = split("word " * 790 + "\n\n```python\n" + "x = 1\n" * 200 + "```")

    assert "```" not in parts[0]
    assert parts[1].startswith("```python\nx = 1")


def test_surrogate_pairs_stay_whole() -> None:
    parts = split("😀" * 9000)

    assert "".join(parts) == "😀" * 9000
    assert all(units(part) <= MAX_UNITS for part in parts)


def test_a_growing_text_keeps_its_finished_parts() -> None:
    text = "\n\n".join(f"Paragraph {number}: " + "word " * 60 for number in range(60))
    finished: list[str] = []
    for end in range(0, len(text), 700):
        parts = split(text[:end])
        assert parts[: len(finished)] == finished
        finished = parts[:-1]


def test_a_padded_table_is_cut_smaller() -> None:
    table = "|a|b|\n|-|-|\n|" + "y" * 1500 + "|x|\n" + "|1|2|\n" * 400

    assert all(units(render(part).text) <= MAX_UNITS for part in split(table))


def test_an_entity_over_the_trimmed_beginning_is_cut_with_it() -> None:
    shown = render("```\n\n*")
    assert shown.text == "*"
    assert [(entity.offset, entity.length) for entity in shown.entities] == [(0, 1)]
