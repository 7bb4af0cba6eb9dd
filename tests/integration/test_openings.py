"""Somebody lets a group know a memory, and takes that back (P2)."""

from collections.abc import AsyncIterator

import pytest

from core.reply.draft import HELD_BACK
from core.reply.opening_commands import CLOSE_WHICH, CLOSED, IN_PRIVATE, NO_PLACES, OPEN_WHICH
from core.settings import Settings
from core.storage.schema import openings
from tests.integration.remembering import People, people_of, reader
from tests.standins.model import ModelStandIn

FLUTE = "I play the traverse flute in an orchestra."


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    """Ana, who told something in private and wrote in a group."""
    model.answer = lambda _: "I see."
    model.extract = reader((FLUTE, FLUTE), ("I breed axolotls", "Breeds axolotls."))
    async with people_of(open_settings, model) as made:
        assert await made.say("/memory places") == NO_PLACES
        await made.say_all(FLUTE, "I breed axolotls.")
        await made.say_in_group("Hello, all of you.")
        await made.say_in_group("Hello, Ana.", person="ben")
        await made.work()
        yield made


async def asked_in_group(people: People, **given: str) -> str:
    await people.say_in_group("Who of us plays something?", **given)
    return str(people.prompts()[-1])


async def test_a_group_knows_what_was_opened_to_it_and_no_other(people: People) -> None:
    assert "1. Paper group (since 20" in await people.say("/memory places")
    assert "flute" not in await asked_in_group(people)
    assert "From now on I may mention that" in await people.say("/memory open 1 1")
    assert await people.say("/memory open 1 1"), "twice is once"
    listed = await people.say("/memory")
    assert f"1. {FLUTE} _(may be mentioned in: Paper group" in listed
    assert listed.count("flute") == 2
    assert "flute" in await asked_in_group(people)
    assert "axolotls" not in str(people.prompts()[-1])
    assert "flute" not in await asked_in_group(people, person="ben"), "it is told where Ana speaks"
    people.model.answer = lambda _: f"Ana said: {FLUTE}"
    assert await people.say_in_group("What do I play?") == f"Ana said: {FLUTE}"
    assert await people.say_in_group("What do I play?", group="group-2") == HELD_BACK
    assert await people.say("/memory close 1") == CLOSED
    assert "may be mentioned" not in await people.say("/memory")
    await people.say_in_group("/reset")
    assert "flute" not in await asked_in_group(people)
    assert await people.say_in_group("And I?") == HELD_BACK


async def test_it_ends_with_the_memory(people: People) -> None:
    await people.say_all("/memory open 1 1", "/memory open 2 1")
    await people.say("/memory edit 1 I play the harp.")
    assert "flute" not in await asked_in_group(people)
    assert "harp" not in str(people.prompts()[-1]), "nobody opened that"
    assert "axolotls" in str(people.prompts()[-1])
    number = 1 + [memory.text for memory in await people.memories()].index("Breeds axolotls.")
    await people.say(f"/forget {number}")
    await people.say_in_group("/reset")
    assert "axolotls" not in await asked_in_group(people)
    await people.say("/forget everything yes")
    assert await people.house.rows(openings) == []


async def test_only_its_person_opens_it_in_private_to_a_group_of_theirs(people: People) -> None:
    for text in ("/memory open 1 1", "/memory places", "/memory close 1"):
        assert await people.say_in_group(text) == IN_PRIVATE
    for text in (
        "/memory open",
        "/memory open 1",
        "/memory open 1 2",
        "/memory open 9 1",
        "/memory open x y",
    ):
        assert await people.say(text) == OPEN_WHICH
    assert await people.say("/memory close 1") == CLOSE_WHICH
    assert await people.say("/memory open 1 1", person="ben") == OPEN_WHICH, "Ben has no memory"
    assert await people.say("/memory places", person="eve") == NO_PLACES
    assert await people.house.rows(openings) == []
