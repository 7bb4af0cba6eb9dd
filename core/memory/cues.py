"""What people say when something isn't so, isn't theirs, won't last, may be wrong or has changed: cues.toml.

Of English, German, French, Spanish, Portuguese and Japanese, all looked for in every message. They err on the
safe side: what isn't made a memory still stands in the transcript, and is recalled as it was said.
"""

import re
import tomllib
from functools import cache
from pathlib import Path

UNSPACED_LANGUAGE = "ja"


@cache
def cue(name: str) -> re.Pattern[str]:
    """Any of the cues of that name, in any of the languages, wherever in a text."""
    spaced, unspaced = alternatives(name), alternatives(name, unspaced=True)
    return re.compile(rf"(?<!\w)(?:{spaced})(?!\w)" + (f"|{unspaced}" if unspaced else ""), re.IGNORECASE)


def alternatives(name: str, *, unspaced: bool = False) -> str:
    """The cues of that name as one expression: of scripts with spaces between words, or of those without."""
    found = _read()[name].items()
    return "|".join(
        each for language, cues in found if (language == UNSPACED_LANGUAGE) is unspaced for each in cues
    )


@cache
def _read() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads((Path(__file__).parent / "cues.toml").read_text(encoding="utf-8"))
