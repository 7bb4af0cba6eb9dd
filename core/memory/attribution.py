"""Of whom a sentence speaks: of its writer, or of somebody else."""

import re
from functools import cache

from core.memory.cues import alternatives, cue


def spoken_of(sentence: str, place: int) -> str | None:
    """Of whom what stands at this place of the sentence is said; None: of its writer.

    That is whoever was made the subject last before the place: as they are called there, "" for "she" alone.
    """
    found: list[tuple[int, str | None]] = [(match.start(), None) for match in cue("self").finditer(sentence)]
    for match in _others().finditer(sentence):
        called = match.lastgroup or ""
        found.append((match.start(called), "" if called in ("pronoun", "they") else match[called]))
    found += [(match.start("name"), match["name"]) for match in _named().finditer(sentence)]
    found.sort(key=lambda each: each[0])
    before = [called for at, called in found if at <= place]
    if before:
        return before[-1]
    return found[0][1] if found else None


def names_a_relation(text: str) -> bool:
    """Whether the text speaks of somebody who is close to the person: "has a sister"."""
    return bool(cue("relation").search(text))


@cache
def _others() -> re.Pattern[str]:
    my, begin = alternatives("my"), _begin()
    relation = f"{alternatives('relation')}|{alternatives('animal')}"
    unspaced = [alternatives(name, unspaced=True) for name in ("relation", "animal")]
    return re.compile(
        rf"{begin}(?:{my})\s+(?:\w+\s+){{0,2}}?(?P<relation>{relation})\b"
        rf"|\b(?P<clause>{relation})(?:\s+\w+)?,?\s+(?:who|that|der|die|das|qui|que|whose)\b"
        rf"|{begin}(?P<pronoun>{alternatives('pronoun')})(?:['’](?:s|re))?\b"
        rf"|(?P<unspaced>{'|'.join(unspaced)})(?:さん|ちゃん|くん)?[はがもの]"
        rf"|(?P<they>{alternatives('pronoun', unspaced=True)})[はがもの]"
        r"|(?P<called>[^\s、。はがもの]{1,8}(?:さん|ちゃん|くん))[はがも]",
        re.IGNORECASE,
    )


@cache
def _named() -> re.Pattern[str]:
    """Somebody by name, who is or does something."""
    not_names = "|".join(alternatives(name) for name in ("pronoun", "self", "nobody"))
    name = rf"(?!(?:{not_names})\b)(?-i:(?P<name>[A-ZÀ-Þ]\w+))"
    return re.compile(rf"{_begin()}{name}\s+(?:{alternatives('does')})\b", re.IGNORECASE)


def _begin() -> str:
    return rf"(?:^|[,;:.!?()–—]|\b(?:{alternatives('conjunction')})\b)\s*"
