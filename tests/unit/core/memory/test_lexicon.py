"""The lexicon: which entries share a question's telling words, and what was said beside them."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from core.memory.lexicon import COMMON_ENTRIES, SITTING, Lexicon

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def lexicon_of(*texts: str) -> Lexicon:
    """One message a minute, in one private conversation."""
    lexicon = Lexicon()
    for number, text in enumerate(texts):
        lexicon.add(f"m{number}", text, "private", NOON + timedelta(minutes=number), "c")
    return lexicon


def test_the_rarer_word_counts_more() -> None:
    lexicon = lexicon_of("tea at home", "tea with milk", "tea and violin", "tea again", "rain today")
    scores = lexicon.coverage("tea violin")
    assert scores.argmax() == 2
    assert scores[2] > 2 * scores[0] > 0
    assert scores[4] == 0


def test_an_entry_of_usual_length_with_every_word_covers_the_question() -> None:
    lexicon = lexicon_of("my violin teacher", "rain all day", "a new bike")
    assert lexicon.coverage("violin teacher")[0] == pytest.approx(1, abs=0.01)
    assert lexicon.coverage("violin teacher piano organ")[0] < 0.6, "half of it is missing"


def test_what_is_said_all_the_time_tells_nothing() -> None:
    lexicon = lexicon_of(*["well yes"] * (COMMON_ENTRIES + 1), "well done")
    assert not lexicon.coverage("well").any()
    assert lexicon.coverage("well done").argmax() == COMMON_ENTRIES + 1


def test_a_long_entry_needs_more_of_a_word() -> None:
    lexicon = lexicon_of("violin", "violin " + "and so on it went " * 20)
    short, long = lexicon.coverage("violin")
    assert short > 2 * long


def test_a_repeated_word_of_the_question_counts_once() -> None:
    lexicon = lexicon_of("violin", "piano")
    assert lexicon.coverage("violin violin piano") == pytest.approx(lexicon.coverage("violin piano"))


def test_nothing_and_unknown_words_cover_nothing() -> None:
    assert Lexicon().coverage("violin").shape == (0,)
    lexicon = lexicon_of("violin", "")
    assert not lexicon.coverage("oboe").any()
    assert not lexicon.coverage("").any()


def test_neighbours_are_of_one_conversation_and_one_sitting() -> None:
    lexicon = Lexicon()
    for entry, conversation, minutes in (
        ("m0", "a", 0),
        ("m1", "b", 1),
        ("m2", "a", 2),
        ("m3", "a", 2 + SITTING / timedelta(minutes=1)),
        ("m4", "a", 3 + 2 * SITTING / timedelta(minutes=1)),
    ):
        lexicon.add(entry, "word", "private", NOON + timedelta(minutes=minutes), conversation)
    lexicon.add("c5", "word", "private")
    scores = np.array([1, 2, 4, 8, 16, 32], dtype=np.float32)
    assert list(lexicon.beside(scores)) == [4, 0, 8, 4, 0, 0]
    assert list(lexicon.beside(scores, steps=2)) == [8, 0, 0, 1, 0, 0]
    assert list(lexicon.beside(-scores)) == [0] * 6


def test_audiences_are_kept_apart() -> None:
    lexicon = Lexicon()
    for entry, audience in (("m0", "private"), ("m1", "team"), ("m2", "private")):
        lexicon.add(entry, "word", audience)
    assert list(lexicon.of_audience("private")) == [True, False, True]
    assert list(lexicon.of_audience("team")) == [False, True, False]
    assert not lexicon.of_audience("another").any()
    assert lexicon.of_audience(None).all()


def test_what_was_told_elsewhere_is_found_by_the_words_that_a_text_shares_with_it() -> None:
    lexicon = Lexicon()
    for entry, text, audience in (
        ("m0", "My locker code is 7391", "private"),
        ("m1", "My locker code is 7391", "team"),
        ("m2", "Locker rooms are cold and damp in any season", "private"),
        ("m3", "7391 is a prime", "club"),
    ):
        lexicon.add(entry, text, audience)
    weights = {"7391": 8.0, "code": 2.0, "is": 0.5}
    found = lexicon.told_elsewhere("team", weights, {"my", "locker"}, {"7391"})
    assert list(found) == ["m0", "m3"]
    assert found["m0"] == 10.5
    assert lexicon.told_elsewhere("team", weights, {"my", "locker"}, {"prime"}) == {}
    assert lexicon.words_told_to("team", {"7391", "prime"}) == {"7391"}
    assert lexicon.words_told_to("nobody", {"7391"}) == set()
