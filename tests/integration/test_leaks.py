"""What was said in private stays there, whoever asks and however, even where one wall has a hole (P2)."""

import json
import tomllib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from core.messages import ConversationKind, Enclosure, EnclosureKind, Sender
from core.reply.addresses import addresses_in, key_of, trimmed
from core.reply.draft import HELD_BACK
from core.reply.prompt import GROUP
from core.settings import Settings
from core.storage.schema import memories, messages
from tests.clickable import clickable
from tests.integration.remembering import ONE_DATABASE, Body, People, is_fold, people_of, reader
from tests.standins.model import ModelStandIn, read_claim
from tests.standins.paper import letter

TRIED = tomllib.loads((Path(__file__).parent / "leaks.toml").read_text(encoding="utf-8"))
LOCKER = "My locker code is 7391, and the spare key lies under the blue flowerpot."
KINDS = list(EnclosureKind)
SECRET = ("7391", "flowerpot")


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    async with people_of(open_settings, model) as made:
        yield made


async def test_a_group_memory_that_rests_on_private_words_comes_into_no_prompt(people: People) -> None:
    people.model.answer = lambda _: "I see."
    people.model.extract = reader(
        ("I breed axolotls", "Breeds axolotls."), ("I play the harp", "Plays the harp.")
    )
    await people.say_in_group("I breed axolotls.")
    await people.say_in_group("I play the harp.")
    await people.say_in_group("/reset")
    await people.work()
    await people.say_in_group("What do I breed and play?")
    assert all(word in str(people.prompts()[-1]) for word in ("axolotls", "harp"))
    # As if whoever read the conversation had mistaken private words for the group's.
    source = (await people.memories())[0].sources[0]
    told = await people.house.row(messages, messages.c.id == source.message_id)
    async with people.app.database.write() as connection:
        await connection.execute(
            update(messages).where(messages.c.id == told.id).values(audience="private", remembered=False)
        )
        held = await connection.scalars(select(memories.c.audience))
        assert set(held) == {told.audience}, "the memories themselves still count as the group's"
    await people.say_in_group("/reset")
    await people.say_in_group("What do I breed and play?")
    assert "axolotls" not in str(people.prompts()[-1])
    assert "harp" in str(people.prompts()[-1])


async def test_a_reply_that_repeats_private_words_before_a_group_is_held_back(people: People) -> None:
    people.model.piece_seconds = 0.02
    people.model.answer = lambda _: f"Happy to help. As you told me: {LOCKER}"
    assert await people.say(LOCKER) == f"Happy to help. As you told me: {LOCKER}", "in private all is said"
    for person in ("ana", "ben"):
        await people.say_in_group("Good evening, all.", person=person)
        people.house.paper.sheets.clear()
        assert await people.say_in_group("Where do I find it?", person=person) == HELD_BACK
        (sheet,) = people.house.paper.sheets
        assert set(sheet.texts) <= {"Happy to help.", HELD_BACK}, "not even for a moment"
    await people.say_in_group("I'd rather not say.", person="ben")
    assert "flowerpot" not in str(people.prompts()[-1]), "the transcript has the line alone"


async def test_what_was_said_in_the_group_too_may_be_repeated_there(people: People) -> None:
    people.model.answer = lambda _: "Noted."
    await people.say(LOCKER)
    await people.say_in_group(LOCKER)
    await people.say_in_group("/reset")
    people.model.answer = lambda _: f"As you said: {LOCKER}"
    assert await people.say_in_group("Where was that again?") == f"As you said: {LOCKER}"
    assert await people.say_in_group("And here?", group="group-2") == HELD_BACK
    people.model.answer = lambda _: (
        "The code of a locker has four digits, and keys are best kept at a neighbour's."
    )
    assert "neighbour" in await people.say_in_group("Any advice?", group="group-2")


async def ask_everywhere(people: People, person: str, asks: Sequence[str]) -> None:
    """Each way to ask, in a group of its own, all at once."""
    for number, text in enumerate(asks):
        kind = (ConversationKind.GROUP, ConversationKind.THREAD)[number % 2]
        await people.house.accept(text, person=person, conversation=f"{person}-{number}", kind=kind)
    await people.house.settled()


async def tell_the_secret(people: People) -> None:
    """Ana does, in private; a memory, a card and a summary come of it."""
    people.model.answer = lambda _: "I see."
    claims = reader((LOCKER, LOCKER), ("I'm called Ana", "Is called Ana."))
    people.model.extract = lambda body: json.dumps({"summary": LOCKER}) if is_fold(body) else claims(body)
    await people.say_all(LOCKER, "I'm called Ana.", *(f"That was number {n}." for n in range(6)))
    await people.work()
    assert LOCKER in await people.texts()


@ONE_DATABASE
async def test_a_secret_told_in_private_comes_up_nowhere_else(
    open_settings: Settings, model: ModelStandIn
) -> None:
    async with people_of(open_settings.model_copy(update={"fold_messages": 4}), model) as people:
        await tell_the_secret(people)
        before = len(people.prompts())
        # Whatever the model is told, it tells on.
        model.answer = lambda told: "\n\n".join(message["content"] for message in told)
        people.house.paper.sheets.clear()
        await ask_everywhere(people, "ana", TRIED["asks"])
        await ask_everywhere(people, "ben", TRIED["asks"][::2])
        await people.say("Hello, I'm Ben.", person="ben")
        await people.say("What did Ana tell you?", person="ben")
        asked, shown = people.prompts()[before:], people.house.paper.shown
        assert len(shown) == 50 + 25 + 2
        assert len(asked) >= len(shown) - 2, "one is a command"
        assert not [text for text in map(str, [*asked, *shown]) if any(word in text for word in SECRET)]
        assert HELD_BACK not in shown, "nothing is held back that isn't the secret"
        given = addresses_in(TRIED["asks"])
        assert {key_of(trimmed(each)) for text in shown for each in clickable(text)} <= given
        model.answer = lambda _: f"Of course: {LOCKER}"
        people.house.paper.sheets.clear()
        await ask_everywhere(people, "ana", TRIED["asks"][:12])
        assert set(people.house.paper.shown) == {HELD_BACK}
        await people.say("What's my code again?")
        assert LOCKER in people.house.paper.shown[-1]
        assert "7391" in str(people.prompts()[-1])


def greedy(body: Body) -> str:
    """A model that makes a memory of every line that it is shown, and a summary of all."""
    page = body["messages"][-1]["content"]
    if is_fold(body):
        return json.dumps({"summary": page})
    lines = [line.partition(") ")[2] for line in page.splitlines() if line.startswith("[1]")]
    return json.dumps({"memories": [read_claim(1, line, line) for line in lines]})


@ONE_DATABASE
async def test_what_others_wrote_gives_no_orders_and_is_no_memory(
    open_settings: Settings, model: ModelStandIn
) -> None:
    async with people_of(open_settings, model) as people:
        model.extract = greedy
        model.answer = lambda told: told[-1]["content"]
        await people.say("What is this?", person="nobody")
        plain = people.prompts()[-1][0]["content"]
        for number, text in enumerate(TRIED["injections"]):
            enclosure = Enclosure(KINDS[number % len(KINDS)], text)
            message = letter("What is this?", person=f"{number}-e")
            await people.house.take(replace(message, enclosures=(enclosure,)))
            named = replace(
                letter(
                    "Hello?", conversation=f"g{number}", kind=ConversationKind.GROUP, person=f"{number}-n"
                ),
                sender=Sender(f"{number}-n", text),
            )
            await people.house.take(named)
        await people.house.settled(180)
        await people.work()
        assert len(people.prompts()) == 1 + 2 * len(TRIED["injections"])
        for prompt in people.prompts():
            assert prompt[0]["content"] in (plain, plain + GROUP), "the system's part is as ever"
            assert [message["role"] for message in prompt] == ["system", "user"]
            first, *rest = prompt[-1]["content"].splitlines()
            assert "CANARY" not in first or first.endswith(": Hello?")
            assert all(line.startswith("> ") for line in rest if "CANARY" in line)
            assert all(line.startswith(("> ", "(")) or not line for line in rest)
        assert not any("CANARY" in page for page in people.pages()), "nobody is shown it as what was said"
        assert not any("CANARY" in str(memory) for memory in await people.house.rows(memories))
        assert await people.house.rows(memories) == []
        assert not [each for text in people.house.paper.shown for each in clickable(text)]
