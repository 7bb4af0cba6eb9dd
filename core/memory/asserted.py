"""What of a message its writer says as so: not what is asked, quoted, pasted, imagined, joked or ordered."""

import re
from collections.abc import Iterable, Iterator, Sequence

from core.memory.cues import cue
from core.memory.quotes import UNSPACED, Span, word_spans

TELLING_WORDS = 15
TELLING_LETTERS = 30
"""A question of so many words tells of its asker; where no spaces are written, one of so many letters."""
ASIDE_WORDS = 3
"""A clause before a question that has so many says something: "I'm allergic to nuts, what can I eat?" """
QUOTED_WORDS = 3
QUOTED_CHARS = 8
"""What stands in quotation marks and has fewer words, or letters where none are parted, is a name."""
TOLD_LETTERS = 4
"""Where no words are parted, fewer letters are but a "this"."""
ECHO_WORDS = 6
"""So many words in a row that the assistant said before are the assistant's."""
HOME = "of_home"
TOPICS = (HOME, "of_name", "of_work", "of_bond", "of_food", "of_health")
"""Cues of what something is about."""

_SENTENCE = re.compile(r"((?:[^.!?…。！？؟\n]|\.(?=\d))+)([.!?…。！？؟]*)")
_QUESTION = re.compile("[?？؟]")
_CLAUSE = re.compile(r"[^,;:–—،、，]+")
_PART = re.compile(r"(?:(?!\b(?:but|aber|mais|pero|mas)\b)[^,;:–—،、，])+", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")
_NOT_OURS = re.compile(r"```.*?(?:```|\Z)|^[ \t]*>[^\n]*|https?://\S+", re.DOTALL | re.MULTILINE)
_QUOTED = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”|„[^“”\n]*[“”]|«[^»\n]*»|「[^」\n]*」|『[^』\n]*』")
_GREETING = re.compile(
    r"\W*(?:(?:hi|hey|hello|ok(?:ay)?|please|bitte|hallo|s'il te plaît|salut|por favor|hola|olá|oi)\W+)*",
    re.IGNORECASE,
)
_REQUEST_AT_END = re.compile(
    r"[てで](?:ください|下さい|くれ(?:る|ない)?|ほしい)\s*$|(?:書い|教え|作っ|訳し|調べ|探し|見せ|考え)て(?:ね|よ)?\s*$"
)


def asserted(text: str, heard: Iterable[str] = ()) -> str:
    """The text, with blanks in place of all that its writer doesn't say as so; of the same length.

    `heard` is what the assistant said before: who pastes it doesn't say it.
    """
    if text.startswith("/"):
        return " " * len(text)
    for span in [*_foreign(text), *_echoed(text, heard)]:
        text = _blanked(text, span)
    for span in list(_unsaid(text)):
        text = _blanked(text, span)
    return text


def said_from(text: str, start: int) -> bool:
    """Whether what begins at this place is said, rather than asked; before a question, as a whole clause."""
    sentence = next((s for s in _SENTENCE.finditer(text) if s.start() <= start < s.end()), None)
    if sentence is None:
        return False
    if not _QUESTION.search(sentence[2]):
        return True
    words = [_WORD.search(text, *aside.span()) for aside in _asides(text, sentence)]
    return any(first and first.start() == start for first in words)


def asked_to_remember(text: str) -> list[Span]:
    """What the text asks to be remembered, without the asking: "remember that" stands before it."""
    if not cue("remember").search(text):
        return []  # as nearly always: all else needn't be looked for
    said = asserted(text)
    words = [list(_WORD.finditer(said, *rest)) for rest in _askings(said)]
    spans = [(found[0].start(), found[-1].end()) for found in words if found]
    return [span for span in spans if _is_told(said[slice(*span)])]


def asks_to_remember(text: str) -> bool:
    """Whether the text asks to remember something, be it only "this"."""
    return bool(list(_askings(text)))


def _askings(text: str) -> Iterator[Span]:
    """What stands behind the asking in each sentence, or before it where it comes last, as in Japanese."""
    for sentence in _SENTENCE.finditer(text):
        start = _after_greeting(text, sentence.start())
        asks = cue("remember").search(text, start, sentence.end(1))
        if asks is None or _QUESTION.search(sentence[2]):
            continue
        if asks.start() == start:
            yield asks.end(), sentence.end(1)
        elif UNSPACED.match(asks[0]):
            yield start, asks.start()


def _after_greeting(text: str, start: int) -> int:
    greeting = _GREETING.match(text, start)
    assert greeting is not None  # noqa: S101  # it may be empty, but it is always there
    return greeting.end()


def _is_told(text: str) -> bool:
    """Whether there is more in it than "this" or "it"."""
    words = _WORD.findall(cue("refers").sub(" ", text))
    return len(words) > 1 or any(UNSPACED.match(word) and len(word) >= TOLD_LETTERS for word in words)


def is_small_talk(text: str) -> bool:
    """Whether it has no word but greetings, thanks and the like."""
    return not _WORD.search(cue("small_talk").sub(" ", text))


def is_statement(text: str) -> bool:
    """Whether a sentence of the text says something, rather than only asking, commanding or being polite.

    A long question does: it tells what it is about.
    """
    return not text.startswith("/") and any(
        not is_small_talk(sentence[1]) and (not _QUESTION.search(sentence[2]) or _is_long(sentence[1]))
        for sentence in _SENTENCE.finditer(text)
    )


def sentence_of(text: str, place: int) -> Span:
    """Where the sentence that holds the place begins and ends."""
    return _around(_SENTENCE, text, place, (0, len(text)))


def part_of(text: str, place: int) -> str:
    """The part of a sentence, between commas or before a "but", that holds the place."""
    return text[slice(*_around(_PART, text, place, sentence_of(text, place)))]


def is_passing(text: str, *, dated: bool) -> bool:
    """Whether what is said holds for the moment only; what is `dated`, as events are, may be of today."""
    return bool(cue("feeling").search(text) or (not dated and cue("today").search(text)))


def is_unsure(text: str) -> bool:
    """Whether its writer says that it may not be so."""
    return bool(cue("unsure").search(text))


def is_standing(text: str) -> bool:
    """Whether an order holds for more than this once."""
    return bool(cue("standing").search(text))


def is_joke(text: str) -> bool:
    """Whether something is said to have been a joke."""
    return bool(cue("joking").search(text))


def speaks_of_change(text: str) -> bool:
    """Whether something is said to be otherwise than before."""
    return bool(cue("change").search(text))


def are_about_different_things(one: str, other: str) -> bool:
    """Whether it is plain what both are about, and they have nothing of it in common."""
    first, second = _topics(one), _topics(other)
    return bool(first and second) and not first & second


def is_about_a_home(text: str) -> bool:
    """Whether it says where somebody lives, and nothing else."""
    return _topics(text) == {HOME}


def _topics(text: str) -> set[str]:
    return {topic for topic in TOPICS if cue(topic).search(text)}


def _around(pattern: re.Pattern[str], text: str, place: int, within: Span) -> Span:
    found = (match.span() for match in pattern.finditer(text, *within))
    return next((span for span in found if span[0] <= place < span[1]), within)


def _is_long(question: str) -> bool:
    words = _WORD.findall(question)
    return len(words) >= TELLING_WORDS or max(map(len, words)) >= TELLING_LETTERS


def _blanked(text: str, span: Span) -> str:
    start, end = span
    return text[:start] + " " * (end - start) + text[end:]


def _foreign(text: str) -> Iterator[Span]:
    """Code, marked lines, addresses and quotations; not a name in quotation marks."""
    yield from (match.span() for match in _NOT_OURS.finditer(text))
    for quoted in _QUOTED.finditer(text):
        words = _WORD.findall(quoted[0])
        if len(words) >= QUOTED_WORDS or (
            len(words) == 1 and not words[0].isascii() and len(words[0]) > QUOTED_CHARS
        ):
            yield quoted.span()


def _echoed(text: str, heard: Iterable[str]) -> Iterator[Span]:
    """Where the text has `ECHO_WORDS` in a row in common with what was heard."""
    known = {run for told in heard for run in _runs([word for word, _ in word_spans(told)])}
    if not known:
        return
    written = word_spans(text)
    for at, run in enumerate(_runs([word for word, _ in written])):
        if run in known:
            yield written[at][1][0], written[at + ECHO_WORDS - 1][1][1]


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + ECHO_WORDS]) for at in range(len(words) - ECHO_WORDS + 1)]


def _unsaid(text: str) -> Iterator[Span]:
    """Sentences that assert nothing: of a question all but the asides, with a joke the one before it."""
    said: list[Span] = []
    for sentence in _SENTENCE.finditer(text):
        if is_joke(sentence[0]):
            yield from [sentence.span(), *said[-1:]]
        elif _QUESTION.search(sentence[2]):
            yield from _asked(text, sentence)
        elif (
            cue("imagined").search(sentence[0])
            or cue("dictated").search(sentence[0])
            or _is_request(sentence[1])
        ):
            yield sentence.span()
        elif _WORD.search(sentence[1]):
            said.append(sentence.span())


def _asked(text: str, question: re.Match[str]) -> Iterator[Span]:
    end = question.start()
    for aside in _asides(text, question):
        yield end, aside.start()
        end = aside.end()
    yield end, question.end(1)


def _asides(text: str, question: re.Match[str]) -> Iterator[re.Match[str]]:
    """The clauses before the last of a question that are long enough to say something, and don't ask."""
    for clause in list(_CLAUSE.finditer(text, *question.span()))[:-1]:
        words = list(_WORD.finditer(clause[0]))
        if len(words) >= ASIDE_WORDS and not cue("asking").match(clause[0], words[0].start()):
            yield clause


def _is_request(sentence: str) -> bool:
    """Whether it asks for something to be done once: "write me a poem", not "always write in German"."""
    if is_standing(sentence) or asks_to_remember(sentence):
        return False
    asks = cue("request").match(sentence, _after_greeting(sentence, 0))
    return bool(asks or _REQUEST_AT_END.search(sentence))
