"""What the pages say, in six languages: a file of texts for each, all with the same keys."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from aiohttp import web

LANGUAGES: Final = {
    "en": "English",
    "de": "Deutsch",
    "fr": "Français",
    "es": "Español",
    "pt": "Português",
    "ja": "日本語",
}
PARAMETER = "lang"
COOKIE = "mneme_language"

Texts = Mapping[str, Mapping[str, Any]]
"""By table and key; a value is a text, perhaps with `{places}` to fill in, or a list of texts."""


class Catalogue:
    """All texts, read once."""

    def __init__(self) -> None:
        folder = files("bots.web") / "texts"
        self._texts: dict[str, Texts] = {
            code: tomllib.loads((folder / f"{code}.toml").read_text("utf-8")) for code in LANGUAGES
        }

    def __getitem__(self, language: str) -> Texts:
        return self._texts[language]

    def of(self, request: web.Request) -> Texts:
        """In the language that the visitor wants."""
        return self._texts[language_of(request)]


def language_of(request: web.Request) -> str:
    """What the visitor asks for now, else has chosen before, else what their browser prefers of ours."""
    chosen = (request.query.get(PARAMETER), request.cookies.get(COOKIE))
    return next((code for code in chosen if code in LANGUAGES), None) or preferred(
        request.headers.get("Accept-Language", "")
    )


def preferred(accepted: str) -> str:
    """The best of our languages for an `Accept-Language` header (RFC 9110, 12.5.4); English without any."""
    best, best_weight = "en", 0.0
    for each in accepted.split(","):
        tag, _, rest = each.partition(";")
        code = tag.strip().lower().partition("-")[0]
        weight = _weight(rest)
        if code in LANGUAGES and weight > best_weight:
            best, best_weight = code, weight
    return best


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
