"""Near to verbatim: what a reply repeats of what was told, and what is ordinary speech."""

import pytest

from core.llm.language import language_of
from core.reply.discretion import LEAST_BITS, SPEAKERS_LEAST_BITS
from core.reply.likeness import tells, words_of

LOCKER = "By the way: my locker code is 7391, and the spare key lies under the blue flowerpot."


def is_told(reply: str, told: str, *, heard: str = "", least_bits: float = SPEAKERS_LEAST_BITS) -> bool:
    language = language_of(reply)
    return tells(
        words_of(reply, language), told, language, set(words_of(heard, language)), least_bits=least_bits
    )


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ("Ana's locker code is 7391.", LOCKER),
        ("Sure! The spare KEY lies under the **blue** flower\u00adpot, Ben.", LOCKER),
        ("Well, as far as I know you live in Porto these days.", "Lives in Porto."),
        ("Don't forget: you are allergic to peanuts!", "Is allergic to peanuts."),
        ("Congratulations, Ana is pregnant!", "Is pregnant."),
        ("Du wohnst ja in Buxtehude, hinter der Post.", "Ich wohne in Buxtehude hinter der Post."),
        ("Ana a peur de perdre son travail à la banque.", "J'ai peur de perdre mon travail à la banque."),
        ("アナさんはピーナッツのアレルギーがあります。", "私はピーナッツのアレルギーがあります。"),
        ("她的银行密码是七三九一。", "我的银行密码是七三九一"),
    ],
)
def test_what_was_told_is_known_again(reply: str, told: str) -> None:
    assert is_told(reply, told)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ("How about tea, or would you like coffee?", "Likes tea."),
        ("You may like tea.", "I like tea."),
        ("Nurses often work at night, which is hard.", "Works as a nurse."),
        ("It's been a while, how is it going?", "Hey John, been a while since we chatted. How's it going?"),
        ("Many people are quite happy with peanuts; some are allergic to cats.", "Is allergic to peanuts."),
        ("That should work for all of you.", "I work."),
        ("The code is in the repository, and the key lies on the table.", LOCKER),
        ("我们可以喝茶。", "我喜欢喝茶。"),
    ],
)
def test_ordinary_speech_is_not(reply: str, told: str) -> None:
    assert not is_told(reply, told)


def test_what_the_group_has_heard_is_no_secret() -> None:
    reply = "You live in Porto."
    assert not is_told(reply, "I live in Porto.", heard="Who else lives in Porto?")
    assert is_told("It's 7391.", "My locker code is 7391.", heard="What's my locker code?")


def test_what_others_told_counts_only_where_nobody_can_guess_it() -> None:
    assert not is_told("Ana is allergic to peanuts.", "I'm allergic to peanuts.", least_bits=LEAST_BITS)
    assert is_told(f"Ana said: {LOCKER}", LOCKER, least_bits=LEAST_BITS)
