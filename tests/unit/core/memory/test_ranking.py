"""Ranking: meaning, words and neighbourhood, within the audience, of what the lexicon has."""

from datetime import UTC, datetime, timedelta

import pytest

from core.memory.lexicon import Lexicon
from core.memory.ranking import CANDIDATES, TIME_WEIGHT, Candidate, by_chance, rank
from core.storage.index import Neighbour

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
TEXTS = ["violin lesson", "rain today", "tea at home", "new bike", "old car"]


@pytest.fixture
def lexicon() -> Lexicon:
    """Entries that stand alone, each in a conversation of its own."""
    made = Lexicon()
    for number, text in enumerate(TEXTS):
        made.add(f"m{number}", text, "team" if number == 4 else "private", NOON, f"c{number}")
    return made


def near(**similarities: float) -> list[Neighbour]:
    found = [Neighbour(id, similarity) for id, similarity in similarities.items()]
    return sorted(found, key=lambda each: each.similarity, reverse=True)


def ranked(
    lexicon: Lexicon, found: list[Neighbour], words: str = "", audience: str | None = None, limit: int = 9
) -> list[Candidate]:
    return rank(found, lexicon, words, audience=audience, limit=limit)


def ids(candidates: list[Candidate]) -> list[str]:
    return [candidate.id for candidate in candidates]


def test_words_lift_what_is_about_as_near(lexicon: Lexicon) -> None:
    found = near(m1=0.3, m0=0.28, m2=0.2)
    assert ids(ranked(lexicon, found)) == ["m1", "m0", "m2"]
    assert ids(ranked(lexicon, found, "violin")) == ["m0", "m1", "m2"]


def test_meaning_wins_where_it_is_plain(lexicon: Lexicon) -> None:
    assert ids(ranked(lexicon, near(m1=0.7, m0=0.2), "violin"))[0] == "m1"


def test_what_the_index_did_not_find_is_found_by_its_words(lexicon: Lexicon) -> None:
    (found,) = ranked(lexicon, [], "violin")
    assert (found.id, found.similarity, found.meaning) == ("m0", None, 0)
    assert found.score == found.words > 0


def test_what_stands_beside_an_answer_is_lifted() -> None:
    lexicon = Lexicon()
    for number in range(4):
        at, conversation = (NOON + timedelta(minutes=number), "c") if number < 3 else (NOON, "other")
        lexicon.add(f"m{number}", f"word {number}", "private", at, conversation)
    found = ranked(lexicon, near(m1=0.5, m3=0.1, m0=0.09, m2=0.09))
    assert ids(found) == ["m1", "m0", "m2", "m3"]
    assert found[1].beside == pytest.approx(found[0].meaning / 2 + found[2].meaning / 4)


def test_an_audience_sees_its_own_alone_and_nothing_leaks_by_a_neighbour() -> None:
    lexicon = Lexicon()
    lexicon.add("m0", "violin", "private", NOON, "c")
    lexicon.add("m1", "rain", "team", NOON, "c")
    found = near(m0=0.9, m1=0.1)
    assert ids(ranked(lexicon, found, "violin", audience="team")) == ["m1"]
    assert ranked(lexicon, found, "violin", audience="team")[0].beside == 0
    assert ranked(lexicon, found, "violin", audience="elsewhere") == []


def test_what_the_lexicon_does_not_have_is_not_ranked(lexicon: Lexicon) -> None:
    assert ids(ranked(lexicon, near(m9=0.9, m0=0.5))) == ["m0"]
    assert ranked(Lexicon(), near(m0=0.9)) == []


def test_among_many_only_what_is_above_the_usual_counts() -> None:
    lexicon = Lexicon()
    for number in range(CANDIDATES + 1):
        lexicon.add(f"m{number:03}", "word", "private")
    found = [Neighbour(f"m{number:03}", 0.9 - number / 1000) for number in range(CANDIDATES)]
    candidates = ranked(lexicon, found, limit=CANDIDATES)
    assert ids(candidates) == [each.id for each in found[:-1]]
    assert candidates[0].score == pytest.approx(0.099)
    assert ids(ranked(lexicon, found, limit=3)) == ids(candidates)[:3]


def test_signals_add_up(lexicon: Lexicon) -> None:
    for each in ranked(lexicon, near(m0=0.5, m1=0.2), "violin rain"):
        assert each.score == pytest.approx(each.meaning + each.words + each.time + each.beside)
        assert each.signals["similarity"] == each.similarity


def test_what_comes_near_by_chance_does_not_fit(lexicon: Lexicon) -> None:
    fitting = {each.id: each.fits for each in ranked(lexicon, near(m0=0.3, m1=0.08, m2=-0.02))}
    assert fitting == {"m0": True, "m1": False, "m2": False}


def test_who_shares_most_words_fits_whatever_the_index_says(lexicon: Lexicon) -> None:
    fitting = {each.id: each.fits for each in ranked(lexicon, near(m0=0.01, m1=0.02), "violin")}
    assert fitting == {"m0": True, "m1": False}


def test_among_more_something_unrelated_comes_nearer() -> None:
    nearest = [by_chance(entries) for entries in (0, 1, 10, 100, 1_000, 100_000)]
    assert nearest == sorted(nearest)
    assert nearest[0] == nearest[2] > 0.05
    assert nearest[-1] < 0.3


def test_what_was_said_when_the_question_asks_for_it_is_found_without_meaning_or_words() -> None:
    lexicon = Lexicon()
    for day in range(5):
        lexicon.add(
            f"m{day}", f"word{day}", "team" if day == 3 else "private", NOON + timedelta(days=day), f"c{day}"
        )
    lexicon.add("c9", "word9", "private")
    asked = (NOON + timedelta(days=2), NOON + timedelta(days=3))
    found = rank(near(m0=0.4), lexicon, "", audience="private", limit=9, during=[asked])
    assert [(each.id, each.fits) for each in found] == [("m0", True), ("m2", True)]
    assert found[1].score == found[1].signals["time"] == pytest.approx(TIME_WEIGHT)
    every = rank([], lexicon, "", audience=None, limit=9, during=[asked, (NOON, NOON)])
    assert sorted(ids(every)) == ["m0", "m2", "m3"]
