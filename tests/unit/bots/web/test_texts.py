"""The pages' texts: complete in every language, and chosen as the browser asks."""

import re
from typing import Any

import pytest

from bots.web.texts import LANGUAGES, Catalogue, Texts, preferred
from core.memory.claims import Kind

CATALOGUE = Catalogue()
ENGLISH = CATALOGUE["en"]


def shape(texts: Texts) -> dict[tuple[str, str], Any]:
    """What must be alike in all languages: the keys, each text's places to fill in, each list's length."""
    return {
        (table, key): len(value) if isinstance(value, list) else sorted(re.findall(r"\{\w*\}", value))
        for table, texts_of in texts.items()
        for key, value in texts_of.items()
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_everything(language: str) -> None:
    texts = CATALOGUE[language]
    assert shape(texts) == shape(ENGLISH)
    assert all(value for table in texts.values() for value in table.values())
    assert set(texts["kinds"]) == set(Kind)


def test_templates_reach_every_text() -> None:
    """A key that every mapping has as a method would be that method there."""
    assert [key for table in ENGLISH.values() for key in table if hasattr({}, key)] == []


@pytest.mark.parametrize("language", [code for code in LANGUAGES if code != "en"])
def test_nothing_was_left_in_english(language: str) -> None:
    same = [
        (table, key)
        for table, texts in ENGLISH.items()
        for key, value in texts.items()
        if len(str(value)) > 15 and CATALOGUE[language][table][key] == value
    ]
    assert same == []


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("nl,sv;q=0.9", "en"),
        ("nl, ja;q=0.3, fr;q=0.7", "fr"),
        ("PT-br", "pt"),
        ("es;q=0, ja;q=0.1", "ja"),
        ("ja;q=much,;;=,q", "en"),
        ("*", "en"),
    ],
)
def test_the_browser_says_which_language(accepted: str, language: str) -> None:
    assert preferred(accepted) == language
