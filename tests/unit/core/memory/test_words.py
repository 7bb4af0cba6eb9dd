"""Words as they are compared: one stem for the forms of a word, in the language of the text."""

import pytest

from core.llm.language import UNKNOWN, language_of
from core.memory.words import MAX_TEXT_CHARS, stems


def words(text: str) -> set[str]:
    return set(stems(text, language_of(text)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("My sister plays the violin.", "Who in my family is playing a violin?"),
        ("Ich habe zwei Katzen zu Hause.", "Wie heißt meine Katze, die zu Hause ist?"),
        ("Mis hermanos viven en Sevilla.", "¿Dónde vive mi hermano en España?"),
        ("Мы купили новую машину вчера.", "Какого цвета наша новая машина?"),
    ],
)
def test_forms_of_a_word_are_one(one: str, other: str) -> None:
    assert len(words(one) & words(other)) >= 2


def test_scripts_without_spaces_are_read_in_pairs() -> None:
    assert stems("我住在北京", "zh") == ["我住", "住在", "在北", "北京"]
    assert words("你住在哪里") & words("我住在北京") == {"住在"}
    assert stems("東", "ja") == ["東"]
    assert stems("Tokyo東京2024", "ja") == ["tokyo", "東京", "2024"]


@pytest.mark.parametrize("text", ["", " ", "?!", "👩‍👩‍👧", "\ud800", "\x00", "_"])
def test_what_has_no_words_gives_none(text: str) -> None:
    assert stems(text, language_of(text)) == []


def test_case_and_width_do_not_matter() -> None:
    assert stems("STRASSE ＡＢＣ", "de") == stems("straße abc", "de")


def test_of_an_endless_text_the_beginning_is_read() -> None:
    assert len(stems("word " * MAX_TEXT_CHARS, "en")) == MAX_TEXT_CHARS / len("word ")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What should I cook tonight?", "en"),
        ("Was soll ich heute kochen?", "de"),
        ("Que dois-je\ncuisiner\nce soir ?", "fr"),
        ("Что мне приготовить сегодня?", "ru"),
        ("今晚我该做什么菜？", "zh"),
        ("", UNKNOWN),
        ("\n", UNKNOWN),
        ("\ud800", UNKNOWN),
    ],
)
def test_the_language_is_guessed(text: str, language: str) -> None:
    assert language_of(text) == language


def test_a_weak_guess_yields_to_the_writers_usual_language() -> None:
    assert language_of("Braga", usual="en") == "en"
    assert language_of("", usual="en") == "en"
    assert language_of("Was soll ich heute kochen?", usual="en") == "de"
