"""One person's accounts on two channels become one person, and are parted again."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from sqlalchemy import select

from core.privacy.vault import Vault
from core.settings import Settings
from core.storage.schema import audit, conversations, identities, keys, memories, messages, users
from tests.conftest import lanes_running
from tests.integration.conftest import House, a_house
from tests.integration.remembering import ONE_DATABASE, People, index_entries, reader
from tests.standins.model import ModelStandIn
from tests.standins.paper import CHANNEL, Paper, letter

SLATE = "slate"
"""Another channel, on which other accounts write."""

Say = Callable[..., Awaitable[str]]


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    model.extract = reader(
        ("I live in Porto", "Lives in Porto."),
        ("I drink tea", "Drinks tea."),
        ("I have a dog", "Has a dog."),
    )
    async with a_house(open_settings) as house:
        house.app.outlets[SLATE] = Paper(SLATE)
        async with lanes_running(house.app):
            yield People(house, model)


@pytest.fixture
def write(people: People) -> Say:
    """Says something on the other channel; what that shows as the reply."""
    paper = people.app.outlets[SLATE]
    assert isinstance(paper, Paper)

    async def say(text: str, person: str = "u1") -> str:
        await people.house.take(replace(letter(text, person=person), channel=SLATE))
        await people.house.settled()
        return paper.shown[-1]

    return say


async def user_of(people: People, channel: str, account: str) -> str:
    async with people.app.database.read() as connection:
        found = await people.app.people.find(connection, channel, "desk", account)
    assert found is not None
    return found.id


async def told(people: People, user_id: str) -> list[str]:
    async with people.app.database.read() as connection:
        return sorted(m.text for m in await people.app.memories.of_user(connection, user_id))


def code_in(reply: str) -> str:
    found = re.search(r"/link ([A-Z2-7]{16})", reply)
    assert found
    return found[1]


async def lives(people: People, write: Say) -> None:
    """Ana writes here, and as u1 there."""
    await people.say("I live in Porto.")
    await people.say("I drink tea.")
    await write("I drink tea.")
    await write("I have a dog.")
    await people.say("I like jazz.", person="ben")
    await people.work()


async def link(people: People, write: Say) -> str:
    code = code_in(await people.say("/link"))
    return await write(f"/link {code} yes")


async def every_seal_opens(house: House) -> None:
    """Whatever is sealed opens with the key of whose it is."""
    vault = Vault(house.app.master)
    async with house.app.database.read() as connection:
        for row in await house.rows(messages):
            (await vault.box(connection, row.user_id)).open(row.text_sealed, "messages.text")
        for row in await house.rows(memories):
            (await vault.box(connection, row.user_id)).open(row.text_sealed, "memories.text")
        for row in await house.rows(identities):
            (await vault.box(connection, row.user_id)).open(row.name_sealed, "identities.name")
        for row in await house.rows(conversations):
            (await vault.box(connection, row.owner)).open(row.address_sealed, "conversations.address")


def indexed(people: People, user_id: str) -> set[str]:
    name = people.app.indexer.pseudonym(user_id)
    return {id for id, (data, _) in index_entries(people.app).items() if data["user"] == name}


async def test_two_accounts_become_one_person_and_are_parted_again(people: People, write: Say) -> None:
    await lives(people, write)
    ana, there = await people.id(), await user_of(people, SLATE, "u1")
    assert await told(people, ana) == ["Drinks tea.", "Lives in Porto."]

    code = code_in(await people.say("/link"))
    shown = await write(f"/link {code}")
    assert "Paper (2 messages, 2 memories)" in shown
    assert "Slate (2 messages, 2 memories)" in shown
    assert await user_of(people, SLATE, "u1") == there
    assert "one person now" in await write(f"/link {code} yes")

    assert await user_of(people, SLATE, "u1") == ana
    assert await told(people, ana) == ["Drinks tea.", "Has a dog.", "Lives in Porto."]
    tea = next(m for m in await people.memories() if "tea" in m.text)
    assert len(tea.sources) == 2
    assert await people.house.rows(users, users.c.id == there) == []
    assert await people.house.rows(keys, keys.c.owner == there) == []
    await every_seal_opens(people.house)
    await people.app.indexer.flush()
    assert indexed(people, there) == set()

    # Each channel knows what was told on the other; and the first one is told of it, once.
    await write("Where do I live?")
    assert "Porto" in str(people.prompts()[-1])
    said = await people.say("Do I have a dog?")
    assert "Has a dog" in str(people.prompts()[-1]) or "I have a dog" in str(people.prompts()[-1])
    assert "Your account on Slate was joined with this one" in said
    assert "was joined" not in await people.say("Thank you.")
    assert await people.texts("ben") == []

    parting = await people.say("/unlink slate")
    assert "/unlink slate yes" in parting
    await people.say("/unlink slate yes")
    parted = await user_of(people, SLATE, "u1")
    assert parted not in (ana, there)
    assert await told(people, ana) == ["Drinks tea.", "Lives in Porto."]
    assert await told(people, parted) == ["Has a dog."]
    await every_seal_opens(people.house)
    await people.app.indexer.flush()
    assert indexed(people, parted) & indexed(people, ana) == set()
    dog = await people.recall("Do I have a dog?")
    assert "dog" not in str([memory.text for memory in dog.memories if "Do I" not in memory.text])
    assert "parted from this one" in await write("Where do I live?")
    assert "I live in Porto" not in str(people.prompts()[-1])
    deeds = [(row.deed, row.detail) for row in await people.house.rows(audit) if "link" in row.deed]
    assert deeds == [("link", SLATE), ("unlink", SLATE)]


async def test_who_parts_the_account_they_write_from_is_somebody_new_at_once(
    people: People, write: Say
) -> None:
    await lives(people, write)
    await link(people, write)
    assert "somebody of its own" in await write("/unlink slate yes")
    parted = await user_of(people, SLATE, "u1")
    assert parted != await people.id()
    assert "Has a dog." in await told(people, parted)
    await every_seal_opens(people.house)
    assert "dog" in await write("/memory")
    assert "Your account on Slate was parted from this one" in await people.say("Hello there, Mneme.")


@ONE_DATABASE
async def test_a_code_is_good_once_for_others_and_not_for_long(people: People, write: Say) -> None:
    await lives(people, write)
    code = code_in(await people.say("/link"))
    assert "your own code" in await people.say(f"/link {code}")
    assert "same channel" in await people.say(f"/link {code} yes", person="ben")
    assert "one person now" in await write(f"/link {code.lower()} yes")
    assert "isn't good" in await write(f"/link {code} yes", person="u2")
    rows = await people.house.rows(identities)
    assert len({row.user_id for row in rows}) == 3  # ana with u1, ben, u2


@ONE_DATABASE
async def test_guessing_ends_after_some_codes(people: People, write: Say) -> None:
    await people.say("I live in Porto.")
    code = code_in(await people.say("/link"))
    for number in range(5):
        assert "isn't good" in await write(f"/link {'A' * 15}{'ABCDE'[number]}", person="eve")
    assert "too many" in await write(f"/link {code} yes", person="eve")
    assert await user_of(people, SLATE, "eve") != await people.id()


@ONE_DATABASE
async def test_codes_are_few_private_and_not_in_the_record(people: People) -> None:
    await people.say("I live in Porto.")
    codes = [code_in(await people.say("/link")) for _ in range(3)]
    assert "several codes" in await people.say("/link")
    assert "in private" in await people.say_in_group("/link")
    async with people.app.database.read() as connection:
        from core.storage.schema import link_codes

        rows = (await connection.scalars(select(link_codes.c.code_digest))).all()
    assert not any(code in digest for code in codes for digest in rows)
    assert CHANNEL == "paper"


@ONE_DATABASE
async def test_a_stranger_comes_in_by_the_code_of_who_they_are(
    settings: Settings, model: ModelStandIn
) -> None:
    async with a_house(settings) as house:
        slate = Paper(SLATE)
        house.app.outlets[SLATE] = slate
        async with lanes_running(house.app):
            people = People(house, model)
            await people.say(f"/start {house.app.access.code}")
            code = code_in(await people.say("/link"))
            for text in ("Hello!", f"/link {code} yes", "Who am I?"):
                await house.take(replace(letter(text, person="u1"), channel=SLATE))
                await house.settled()
            assert "one person now" in slate.shown[1]
            assert "Who am I?" in slate.shown[2]
