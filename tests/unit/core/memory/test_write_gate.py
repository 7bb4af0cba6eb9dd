"""The write gate: only what the person wrote, and said, becomes a memory (P3)."""

import re
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.memory.asserted import is_statement
from core.memory.claims import BELIEVED, Change, Claim, Kind, Memory
from core.memory.quotes import find_quote
from core.memory.transcript import Line
from core.memory.write_gate import MAX_CLAIM_CHARS, check

NEW = Change.NONE
SAID = datetime(2026, 10, 31, 12, tzinfo=UTC)
"""A Saturday."""


def line(text: str) -> Line:
    return Line("m1", 1, "ana", "user", text, SAID, "private")


def gate(
    said: str, quote: str, text: str, *, message: int = 1, kind: str = "fact", when: str = ""
) -> Claim | None:
    raw = {"message": message, "quote": quote, "kind": kind, "text": text, "when": when}
    return check(raw, {1: line(said)})


def letters(text: str) -> str:
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(c for c in folded if unicodedata.category(c)[0] in "LMN")


def test_a_claim_cites_the_characters_that_say_it() -> None:
    said = "Hi! I'm Ana, I live in Porto and I'm allergic to peanuts."
    claim = gate(said, "I'm allergic to peanuts", "Is allergic to peanuts.", kind="preference")
    assert claim is not None
    assert claim.kind is Kind.PREFERENCE
    assert said[claim.start : claim.end] == "I'm allergic to peanuts."
    assert (claim.line.id, claim.text) == ("m1", "Is allergic to peanuts.")


@pytest.mark.parametrize(
    ("said", "quote", "text"),
    [
        ("I’M ALLERGIC\nto   peanuts!!", "I'm allergic to peanuts", "Is allergic to peanuts."),
        ("I love tea ☕🍵 and cake 🎂", "I love tea and cake", "Loves tea and cake."),
        ("Ich bin gegen Erdnüsse allergisch.", "gegen Erdnüsse allergisch", "Hat eine Erdnussallergie."),
        ("Ich heiße Jürgen und wohne in Köln.", "Ich heiße Jürgen", "Heißt Jürgen."),
        ("Wir haben zwei Töchter, Lea und Mia", "zwei Töchter, Lea und Mia", "Hat eine Tochter namens Lea."),
        ("Sou a Ana e moro no Porto.", "Sou a Ana e moro no Porto", "Chama-se Ana e mora no Porto."),
        ("Tenho alergia a amendoins", "Tenho alergia a amendoins", "É alérgica a amendoins."),
        ("Me llamo José y vivo en Málaga", "Me llamo José", "Se llama José."),
        ("私はポルトに住んでいます。", "ポルトに住んでいます", "ポルトに住んでいる。"),
        ("我对花生过敏，住在波尔图。", "我对花生过敏", "对花生过敏。"),
        ("У меня аллергия на арахис", "аллергия на арахис", "Аллергия на арахис."),
        ("Ζω στην Αθήνα", "Ζω στην Αθήνα", "Ζει στην Αθήνα."),
        ("Cafe\u0301 Majestic is my favourite", "Café Majestic is my favourite", "Likes Café Majestic."),
        ("I'm 42", "I'm 42", "Is 42 years old."),
        ("I have a son, Max", "I have a son, Max", "Has a son called Max."),
        ("I have a son", "I have a son", "Has a son."),
        ("I'm a vegetarian", "I'm a vegetarian", "Vegetarian."),
        ("I'm Ana. Can you help me?", "I'm Ana", "Is called Ana."),
        ("I'm allergic to nuts, what can I eat?", "I'm allergic to nuts", "Is allergic to nuts."),
        ("Bin Ana, und ich wohne in Köln: was tun?", "und ich wohne in Köln", "Wohnt in Köln."),
        ("I weigh 70.5 kg", "I weigh 70.5 kg", "Weighs 70.5 kg."),
    ],
)
def test_what_was_said_is_kept_in_any_script(said: str, quote: str, text: str) -> None:
    claim = gate(said, quote, text)
    assert claim is not None
    assert letters(said[claim.start : claim.end]) == letters(quote)


@pytest.mark.parametrize(
    ("said", "quote", "text"),
    [
        ("I live in Porto", "I own three yachts", "Owns three yachts."),
        ("I live in Porto", "I live in Lisbon", "Lives in Lisbon."),
        ("Concatenate the files", "cat", "Has a cat."),
        ("The Hawaii amber show was nice", "I am", "Is called Am."),
        ("I like tea", "", "Likes tea."),
        ("I like tea", "!!! ...", "Likes tea."),
        ("I like tea", "I like tea", "Owns three yachts in Monaco."),
        ("I like tea", "I like tea", "Has a son, Max."),
        ("I like tea", "I like tea", "Likes tea, owns three yachts in Monaco."),
        ("I'm 42", "I'm 42", "Is 24 years old."),
        ("I like tea", "I like tea", ""),
        ("I like tea", "I like tea", " \n "),
        ("I like tea", "I like tea", "Yes."),
        ("I like tea", "I like tea", "Likes tea" + " and tea" * MAX_CLAIM_CHARS),
        ("I have a cart", "I have a cart", "Reads Descartes."),
        ("我叫花生", "我对花生过敏", "对花生过敏。"),
        ("मुझे कि पसंद", "मुझे का पसंद", "का पसंद।"),
    ],
)
def test_what_was_not_said_is_dropped(said: str, quote: str, text: str) -> None:
    assert gate(said, quote, text) is None


@pytest.mark.parametrize("message", [0, 2, -1, 10**30])
def test_a_message_that_is_not_the_users_cannot_be_cited(message: int) -> None:
    assert gate("I like tea", "I like tea", "Likes tea.", message=message) is None


@pytest.mark.parametrize(
    ("said", "quote", "text"),
    [
        ("Am I allergic to peanuts?", "allergic to peanuts?", "Is allergic to peanuts."),
        ("Do you know if I'm allergic to peanuts?", "I'm allergic to peanuts", "Is allergic to peanuts."),
        ("Hello. Should I move to Porto?! Thanks.", "I move to Porto", "Moves to Porto."),
        ("Should I move to Porto, or stay in Rome?", "I move to Porto", "Moves to Porto."),
        ("Hey, is Porto nice?", "Hey", "Hey, Porto is nice."),
        ("Soll ich nach Porto ziehen?", "ich nach Porto ziehen", "Zieht nach Porto."),
        ("¿Vivo en Málaga?", "Vivo en Málaga", "Vive en Málaga."),
        ("ポルトに住んでいますか？", "ポルトに住んでいます", "ポルトに住んでいる。"),
    ],
)
def test_a_question_says_nothing(said: str, quote: str, text: str) -> None:
    assert gate(said, quote, text) is None


@pytest.mark.parametrize(
    ("text", "says_something"),
    [
        ("I like tea", True),
        ("I like tea. And you?", True),
        ("What do I like?", False),
        ("Really?! ", False),
        ("Hey Mneme, what do I like?", False),
        ("I'm allergic to nuts, what can I eat?", False),
        ("Where do I live, and what am I allergic to?", False),
        ("Who? What? Where?!", False),
        ("Can you plan the meals of a family of four where one eats no meat and two hate fish?", True),
        ("Can you tell me once more where it was that I left my bag?", False),
        ("我女儿对花生和牛奶都过敏我们周末要去爬山你能帮我想想应该带些什么吃的吗？", True),
        ("/forget 2", False),
        ("🎂🎂🎂", False),
        ("...", False),
        ("", False),
        ("何？", False),
        ("Good morning!", False),
        ("Vielen Dank, das hat mir sehr geholfen.", False),
        ("Ok, thanks. I moved to Porto.", True),
        ("ありがとうございます。", False),
        ("ما اسمي؟", False),
        ("اسمي آنا.", True),
    ],
)
def test_a_statement_is_told_from_a_question(text: str, says_something: bool) -> None:
    assert is_statement(text) is says_something


WORDS = st.text(alphabet="abcäéßIİıſ1_-.'’ \n?!☕\u0301\u200bかÅΣσς", max_size=40)


@given(WORDS, WORDS)
def test_a_found_quote_stands_in_the_text(quote: str, text: str) -> None:
    span = find_quote(quote, text)
    if span is not None:
        start, end = span
        assert 0 <= start < end <= len(text)
        assert letters(text[start:end]) == letters(quote)


@given(st.text(max_size=200), st.data())
def test_whole_words_of_a_text_are_found_in_it(text: str, data: st.DataObject) -> None:
    words = re.findall(r"[^\W_]+", text)
    if words:
        first = data.draw(st.integers(0, len(words) - 1))
        quote = " ".join(words[first : data.draw(st.integers(first, len(words) - 1)) + 1])
        span = find_quote(quote, " ".join(words))
        assert span is not None


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_whatever_a_model_says_a_kept_claim_has_its_source(said: str, quote: str, text: str) -> None:
    claim = gate(said, quote, text)
    if claim is not None:
        assert 0 <= claim.start < claim.end <= len(said)
        assert letters(said[claim.start : claim.end]) == letters(quote)
        assert claim.text
        assert len(claim.text) <= MAX_CLAIM_CHARS


def test_words_that_the_assistant_said_are_not_the_persons() -> None:
    heard = {1: ["You told me that you own three yachts in Monaco and two in Nice."]}
    said = "You told me that you own three yachts in Monaco and two in Nice. I live in Porto."
    lines = {1: line(said)}
    yachts = {
        "message": 1,
        "quote": "own three yachts in Monaco",
        "kind": "fact",
        "text": "Owns three yachts.",
    }
    porto = {"message": 1, "quote": "I live in Porto", "kind": "fact", "text": "Lives in Porto."}
    assert check(yachts, lines, heard) is None
    assert check(porto, lines, heard) is not None


def test_a_joke_is_taken_back_by_the_next_message() -> None:
    lines = {1: line("I'm the king of France."), 2: line("just kidding"), 3: line("I live in Porto.")}
    king = {"message": 1, "quote": "I'm the king of France", "kind": "fact", "text": "Is the king of France."}
    porto = {"message": 3, "quote": "I live in Porto", "kind": "fact", "text": "Lives in Porto."}
    assert check(king, lines) is None
    assert check(porto, lines) is not None


def test_she_is_who_was_named_before() -> None:
    lines = {1: line("My sister Lea moved out."), 2: line("She lives in Oslo now.")}
    raw = {"message": 2, "quote": "She lives in Oslo", "kind": "relationship", "text": "Lea lives in Oslo."}
    lea = check({**raw, "about": "Lea"}, lines)
    assert lea is not None
    assert lea.subject == "Lea"
    assert check({**raw, "about": "me", "text": "Lives in Oslo."}, lines) is None
    assert check({**raw, "about": "Ben", "text": "Ben lives in Oslo."}, lines) is None


def test_what_is_said_of_a_day_is_dated() -> None:
    said = "I moved to Lisbon last week, and until Friday I'm staying in a hotel. I fly to Oslo next Tuesday."
    moved = gate(said, "I moved to Lisbon last week", "Moved to Lisbon last week.", when="last week")
    assert moved is not None
    assert moved.text == "Moved to Lisbon last week (week of 2026-10-19)."
    assert (moved.valid_from, moved.valid_until) == (datetime(2026, 10, 19, tzinfo=UTC), None)
    flies = gate(said, "I fly to Oslo next Tuesday", "Flies to Oslo.", when="next Tuesday", kind="event")
    assert flies is not None
    assert flies.text == "Flies to Oslo (2026-11-03)."
    assert flies.valid_from == datetime(2026, 11, 3, tzinfo=UTC)
    assert flies.valid_until == datetime(2026, 11, 3, 23, 59, 59, tzinfo=UTC)
    hotel = gate(said, "until Friday I'm staying in a hotel", "Is staying in a hotel.", when="until Friday")
    assert hotel is not None
    assert hotel.valid_until == datetime(2026, 11, 6, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize("when", ["next Friday", "last year", "blue", "", "yesterday " * 20])
def test_a_date_that_the_message_does_not_give_is_not_believed(when: str) -> None:
    claim = gate("I moved to Lisbon last week.", "I moved to Lisbon", "Moved to Lisbon.", when=when)
    assert claim is not None
    assert claim.text == "Moved to Lisbon."
    assert claim.valid_from == claim.line.said_at


def memory(text: str, *, kind: Kind = Kind.FACT, subject: str | None = None) -> Memory:
    return Memory("k1", kind, text, subject, "private", SAID, SAID, None, None, None, ())


@pytest.mark.parametrize(
    ("said", "text", "known", "change", "becomes"),
    [
        ("I moved to Lisbon.", "Moved to Lisbon.", memory("Lives in Porto."), "replaces", Change.REPLACES),
        ("I live in Lisbon.", "Lives in Lisbon.", memory("Lives in Porto."), "replaces", Change.REPLACES),
        ("I live in Porto.", "Lives in Porto.", memory("Lives in Porto."), "replaces", NEW),
        ("I own three yachts.", "Owns three yachts.", memory("Is vegan."), "replaces", NEW),
        ("I moved to Lisbon.", "Moved to Lisbon.", memory("Is called Ana."), "replaces", NEW),
        ("I moved to Lisbon.", "Moved to Lisbon.", memory("Works as a nurse."), "replaces", NEW),
        ("I quit my job.", "Quit their job.", memory("Works as a nurse."), "replaces", Change.REPLACES),
        (
            "I've become a vegetarian.",
            "Is a vegetarian.",
            memory("Allergic to peanuts."),
            "replaces",
            NEW,
        ),
        (
            "I've become a vegetarian.",
            "Is a vegetarian.",
            memory("Eats meat every day."),
            "replaces",
            Change.REPLACES,
        ),
        ("Ich wohne jetzt in Kiel.", "Wohnt in Kiel.", memory("Heißt Jonas."), "replaces", NEW),
        (
            "I moved to Rome.",
            "Moved to Rome.",
            memory("Lea is in Oslo.", subject="Lea"),
            "replaces",
            NEW,
        ),
        ("Yes, I live in Porto.", "Is living in Porto.", memory("Lives in Porto."), "same", Change.CONFIRMS),
        ("I don't live in Porto any more.", "Left Porto.", memory("Lives in Porto."), "same", NEW),
        ("I live in Rome.", "Lives in Rome.", memory("Is vegan."), "same", NEW),
        ("I moved to Lisbon.", "Moved to Lisbon.", memory("Lives in Porto."), "new", NEW),
    ],
)
def test_a_memory_is_confirmed_or_replaced_only_as_the_message_bears_out(
    said: str, text: str, known: Memory, change: str, becomes: Change
) -> None:
    quote = said.rstrip(".")
    raw = {"message": 1, "quote": quote, "kind": "fact", "text": text, "change": change, "known": 1}
    claim = check(raw, {1: line(said)}, known={1: known})
    if claim is None:
        assert becomes is NEW
    else:
        assert (claim.change, claim.known) == (becomes, () if becomes is NEW else ("k1",))
    other = check({**raw, "known": 2}, {1: line(said)}, known={1: known})
    assert other is None or other.change is NEW


def test_a_new_home_replaces_every_other_one_whichever_the_model_named() -> None:
    texts = [
        "Is called Ana.",
        "Lives in Porto.",
        "Works as a nurse.",
        "Ana lives in Lisbon now.",
        "Moved to Rome.",
    ]
    known = {n: replace(memory(text), id=f"k{n}") for n, text in enumerate(texts, start=1)}
    known[5] = replace(known[5], subject="Lea")
    said = "I moved again: I live in Madrid now."
    raw = {"message": 1, "quote": said, "kind": "fact", "text": "Lives in Madrid.", "change": "replaces"}
    for named, over in ((1, ("k2", "k4")), (2, ("k2", "k4")), (5, ("k2", "k4")), (9, ())):
        claim = check({**raw, "known": named}, {1: line(said)}, known=known)
        assert claim is not None
        assert claim.known == over
    desk = {**raw, "quote": "I bought a desk now", "text": "Bought a desk.", "known": 2}
    claim = check(desk, {1: line("I bought a desk now.")}, known={2: known[2], 4: known[4]})
    assert claim is not None
    assert "k4" not in claim.known


def test_maybe_is_not_yes() -> None:
    unsure = gate("Maybe I'm lactose intolerant.", "I'm lactose intolerant", "Is lactose intolerant.")
    sure = gate("I'm lactose intolerant.", "I'm lactose intolerant", "Is lactose intolerant.")
    assert unsure is not None
    assert sure is not None
    assert unsure.certainty < BELIEVED < sure.certainty
