"""What was said in private stays there, whoever asks and however, even where one wall has a hole (P2)."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select, update

from core.reply.draft import HELD_BACK
from core.settings import Settings
from core.storage.schema import memories, messages
from tests.integration.remembering import People, people_of, reader
from tests.standins.model import ModelStandIn


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


LOCKER = "My locker code is 7391, and the spare key lies under the blue flowerpot."


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
