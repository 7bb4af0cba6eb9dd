"""The write gate: what a model says it read becomes a memory only if the person really said so (P3)."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from core.llm.language import language_of
from core.memory.asserted import (
    are_about_different_things,
    asserted,
    is_about_a_home,
    is_joke,
    is_passing,
    is_standing,
    is_unsure,
    part_of,
    said_from,
    sentence_of,
    speaks_of_change,
)
from core.memory.attribution import names_a_relation, spoken_of
from core.memory.claims import Change, Claim, Kind, Memory
from core.memory.cues import cue
from core.memory.dates import Bound, Period, resolve
from core.memory.quotes import UNSPACED, find_quote, folded, word_spans
from core.memory.transcript import Line

MAX_CLAIM_CHARS = 300
MAX_SUBJECT_CHARS = 60
MIN_SUPPORT = 0.5
"""The share of a claim's telling words that must stand in its message; names and numbers all must."""
SURE = 0.9
"""The person said so in these words; nobody has confirmed it yet."""
UNSURE = 0.4
"""They said "maybe": two such are believed (see `claims.confidence`), one isn't."""

STEM_LETTERS = 4
"""The first letters stand for the word: "allergic" and "allergy" are one to a reader."""
_ABOUT = frozenset(
    "a an and are called for from had has have he her his is it its does lived lives likes name named old "
    "said she that the their them they this to user uses was with year years "
    "eine einen einem einer heißt namens wohnt hat ist mag person nutzer "
    "est une des les habite appelle aime tiene vive llama una gusta tem mora chama gosta".split()
)
"""Words that a claim in the third person adds to what was said."""
_SELF = frozenset(
    "me i myself self user person you ich mich nutzer moi je yo mismo usuario eu mim usuário 私 自分".split()
)
DATED = (Kind.EVENT, Kind.GOAL)
"""What happens, on a day; all else is so from one day on."""


def check(
    raw: Mapping[str, Any],
    lines: Mapping[int, Line],
    heard: Mapping[int, Iterable[str]] | None = None,
    known: Mapping[int, Memory] | None = None,
) -> Claim | None:
    """The claim, if the user's own message of that number says so of whom the claim says it.

    `raw` is what the model gave: message (int), quote, kind and text, and perhaps about, when, change and
    known. `lines` are the user's messages and `known` their memories, by number; `heard` is what the
    assistant had said before each of the messages.
    """
    line = lines.get(raw["message"])
    text = " ".join(str(raw["text"]).split())
    if line is None or not text or len(text) > MAX_CLAIM_CHARS or _was_a_joke(raw["message"], lines):
        return None
    said = asserted(line.text, (heard or {}).get(raw["message"], ()))
    span = find_quote(str(raw["quote"]), said)
    subject = _subject(str(raw.get("about", "")))
    # Who "she" is may have been said before.
    named = _standing_in(subject, " ".join(each.text for each in lines.values())) if subject else ""
    if span is None or not said_from(line.text, span[0]) or not _supported(text, f"{said} {named}"):
        return None
    words, quoted = _telling(text), _telling(said[slice(*span)])
    if not words or not quoted or len(words) == len(quoted) == 1:
        return None
    kind = Kind(raw["kind"])
    if is_passing(part_of(said, span[0]), dated=kind in DATED):
        return None
    begin, end = sentence_of(said, span[0])
    sentence = said[begin:end]
    if not _is_attributed(text, subject, sentence, span[0] - begin, named=bool(named)):
        return None
    unsure = is_unsure(sentence) or (kind is Kind.INSTRUCTION and not is_standing(sentence))
    claim = Claim(
        kind, text, subject, line, *span, certainty=UNSURE if unsure else SURE, valid_from=line.said_at
    )
    return _related(_dated(claim, str(raw.get("when", "")), said), raw, sentence, known or {})


def _dated(claim: Claim, phrase: str, said: str) -> Claim:
    """The claim with the date that its message gives, if the phrase stands there and means one."""
    if not phrase or find_quote(phrase, said) is None:
        return claim
    period = resolve(phrase, claim.line.said_at, language_of(said))
    if period is None:
        return claim
    begin, end = period.within(claim.line.said_at)
    if period.bound is Bound.UNTIL:
        claim = replace(claim, valid_until=end)
    elif claim.kind in DATED:
        claim = replace(claim, valid_from=begin, valid_until=end)
    else:
        claim = replace(claim, valid_from=begin)
    return replace(claim, text=_with_date(claim.text, phrase, period))


def _with_date(text: str, phrase: str, period: Period) -> str:
    """The date in figures behind the words that say it, or at the end."""
    if str(period) in text:
        return text
    span = find_quote(phrase, text)
    place = span[1] if span else len(text)
    before = text[:place].rstrip(".!。")
    return f"{before} ({period}){text[len(before) :]}"


def _related(claim: Claim, raw: Mapping[str, Any], sentence: str, known: Mapping[int, Memory]) -> Claim:
    """The claim with the memories that it confirms or replaces, if the message bears that out.

    To confirm a memory the message has to say it, too, and not that it is over. To replace one it has to
    speak of a change, or the two have to be of one kind and share a word; and they mustn't plainly be about
    different things, as a name and a home are. A new home replaces every other, whichever the model named.
    """
    named = known.get(raw.get("known", 0))
    if named is None:
        return claim
    change, says_so = raw.get("change"), speaks_of_change(sentence)
    ours = named.subject == claim.subject
    if change == Change.CONFIRMS and ours and not says_so and _supported(named.text, claim.line.text):
        return replace(claim, change=Change.CONFIRMS, known=(named.id,))
    if change != Change.REPLACES:
        return claim
    is_new_home = says_so and is_about_a_home(claim.text)

    def is_over(memory: Memory) -> bool:
        if memory.subject != claim.subject or folded(memory.text) == folded(claim.text):
            return False
        if is_new_home and is_about_a_home(memory.text):
            return True
        alike = memory.kind is claim.kind and bool(_words(memory.text) & _words(claim.text))
        apart = are_about_different_things(memory.text, f"{claim.text} {sentence}")
        return memory is named and (says_so or alike) and not apart

    over = tuple(memory.id for memory in known.values() if is_over(memory))
    return replace(claim, change=Change.REPLACES, known=over) if over else claim


def _words(text: str) -> set[str]:
    return {_stem(word) for word in folded(text).split() if len(word) >= STEM_LETTERS}


def _was_a_joke(number: int, lines: Mapping[int, Line]) -> bool:
    after = lines.get(number + 1)
    return after is not None and after.text.count(" ") <= 5 and is_joke(after.text)


def _subject(about: str) -> str | None:
    """Whom the model says it is about; None for the person."""
    words = folded(about).removeprefix("the ").split()
    if not words or len(about) > MAX_SUBJECT_CHARS or all(word in _SELF for word in words):
        return None
    return " ".join(about.split())


def _telling(text: str) -> list[str]:
    """The words that are left of it without greetings, thanks and the like."""
    words = folded(cue("small_talk").sub(" ", text)).split()
    return [each for word in words for each in (_in_pairs(word) if UNSPACED.match(word) else [word])]


def _in_pairs(run: str) -> list[str]:
    """A run of a script without spaces in twos, about a word each."""
    return [run[at : at + 2] for at in range(0, len(run), 2)]


def _is_attributed(text: str, subject: str | None, sentence: str, start: int, *, named: bool) -> bool:
    """Whether the claim speaks of the one of whom the sentence does; `named`: its subject was named."""
    somebody = spoken_of(sentence, _last_telling(text, sentence, start))
    if somebody is None:
        return subject is None or bool(_standing_in(subject, sentence))
    if not somebody:
        return named
    if _is_begun(_stem(somebody), " " + _stripped(text)):
        return True
    return named and names_a_relation(text)  # "my mom", of whom the claim says "mother"


def _last_telling(text: str, sentence: str, start: int) -> int:
    """Where the last of the claim's telling words stands in the sentence; `start` if none does."""
    claimed = {_stem(word) for word in folded(text).split() if word not in _ABOUT}
    places = [
        at for word, (at, _) in word_spans(sentence) if len(word) >= STEM_LETTERS and _stem(word) in claimed
    ]
    return places[-1] if places else start


def _standing_in(subject: str, said: str) -> str:
    """Those of the subject's words that were said."""
    told = " " + _stripped(said)
    return " ".join(word for word in subject.split() if _is_begun(_stem(word), told))


def _supported(claim: str, message: str) -> bool:
    said = " " + _stripped(message)
    return (
        all(f" {number} " in said + " " for number in _numbers(claim))
        and all(_is_begun(name, said) for name in _names(claim))
        and support(claim, message) >= MIN_SUPPORT
    )


def anchors(text: str) -> set[str]:
    """What pins a claim down: its numbers, and the stems of its names, all but a first word."""
    return _numbers(text) | _names(text)


def support(claim: str, message: str) -> float:
    """The share of the claim's telling words that stand in the message."""
    said, names, numbers = " " + _stripped(message), _names(claim), _numbers(claim)
    words = {word for word in _stripped(claim).split() if word not in _ABOUT} - numbers
    telling = {word for word in words if len(word) >= STEM_LETTERS or word in names}
    telling = telling or {word for word in words if len(word) > 1}
    if not telling:
        return float(bool(numbers))
    return sum(_is_begun(word[:STEM_LETTERS], said) for word in telling) / len(telling)


def _numbers(text: str) -> set[str]:
    return {word for word in _stripped(text).split() if sum(c.isdecimal() for c in word) > 1}


def _names(text: str) -> set[str]:
    words = [_stripped(word) for word in text.split()[1:] if word[:1].isupper()]
    return {part[:STEM_LETTERS] for word in words for part in word.split()}


def _stripped(text: str) -> str:
    """Folded, and without accents: "Tochter" stands in "Töchter"."""
    return "".join(c for c in folded(text) if unicodedata.category(c)[0] != "M")


def _stem(word: str) -> str:
    return _stripped(word)[:STEM_LETTERS]


def _is_begun(stem: str, said: str) -> bool:
    return f" {stem}" in said or (bool(UNSPACED.match(stem)) and stem in said)
