"""Lexicons: as the record stands, in every process, and no longer than that."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from core.errors import Undecryptable
from core.memory.lexicon import Lexicon
from core.memory.lexicons import ENTRY_BYTES, SMALL, Lexicons
from core.memory.transcript import TEXT
from core.privacy.vault import Vault
from core.settings import Settings
from core.storage.database import id_before, new_id
from core.storage.schema import memories, messages
from tests.integration.remembering import People, people_of, reader
from tests.standins.model import ModelStandIn

PORTO = "I live in Porto"


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    model.extract = reader((PORTO, "Lives in Porto."))
    async with people_of(open_settings, model) as made:
        yield made


@pytest.fixture
def lexicons(people: People) -> Lexicons:
    """Another process's."""
    return Lexicons(people.app.database, Vault(people.app.master), kept_bytes=2**20)


async def lexicon_of(people: People, lexicons: Lexicons, person: str = "ana") -> Lexicon:
    return await lexicons.of_user(await people.id(person))


def found(lexicon: Lexicon, question: str) -> list[str]:
    """The ids of the entries that share a telling word with the question."""
    scores = lexicon.coverage(question)
    return [id for id, score in zip(lexicon.ids, scores, strict=True) if score > 0]


async def add_message(people: People, text: str, *, id: str, person: str = "ana") -> str:
    """A row like the person's first message."""
    user_id = await people.id(person)
    async with people.app.database.write() as connection:
        first = (await connection.execute(select(messages).where(messages.c.user_id == user_id))).first()
        assert first is not None
        box = await Vault(people.app.master).box(connection, user_id)
        row = dict(first._mapping) | {"id": id, "text_sealed": box.seal(text, TEXT), "event_digest": None}
        await connection.execute(messages.insert().values(row))
    return f"m{id}"


async def test_it_keeps_up_with_what_is_said_and_what_is_read_out_of_it(
    people: People, lexicons: Lexicons
) -> None:
    await people.say(f"{PORTO}.")
    lexicon = await lexicon_of(people, lexicons)
    (message,) = found(lexicon, "Porto")
    await people.say("My violin lesson is on Monday.")
    await people.work()
    assert await lexicon_of(people, lexicons) is lexicon, "read once, then only added to"
    (memory,) = await people.memories()
    assert sorted(found(lexicon, "Porto")) == sorted([message, f"c{memory.id}"])
    assert len(found(lexicon, "When is the violin lesson?")) == 1
    assert len(lexicon) == 3


async def test_what_is_taken_back_is_gone_at_the_next_look(people: People, lexicons: Lexicons) -> None:
    await people.say(f"{PORTO}.")
    await people.say("My violin lesson is on Monday.")
    await people.work()
    assert found(await lexicon_of(people, lexicons), "Porto violin") != []
    (memory,) = await people.memories()
    assert await people.app.forgetting.memory(await people.id(), memory.id)
    lexicon = await lexicon_of(people, lexicons)
    assert found(lexicon, "Porto") == []
    assert len(found(lexicon, "violin")) == 1
    await people.app.forgetting.everything(await people.id())
    assert len(await lexicon_of(people, lexicons)) == 0


async def test_an_edited_message_is_known_by_its_new_words(people: People, lexicons: Lexicons) -> None:
    await people.say(f"{PORTO}.", event="e1")
    assert len(found(await lexicon_of(people, lexicons), "Porto")) == 1
    await people.say("I live in Braga.", event="e2", replaces="e1")
    lexicon = await lexicon_of(people, lexicons)
    assert (len(found(lexicon, "Porto")), len(found(lexicon, "Braga"))) == (0, 1)


async def test_what_is_committed_late_is_not_overlooked(people: People, lexicons: Lexicons) -> None:
    await people.say("My violin lesson is on Monday.")
    early = id_before(new_id(), timedelta(seconds=20))
    await lexicon_of(people, lexicons)
    late = await add_message(people, f"{PORTO}.", id=early + "7" * (32 - len(early)))
    assert found(await lexicon_of(people, lexicons), "Porto") == [late]


async def test_a_large_one_is_read_whole(people: People, lexicons: Lexicons) -> None:
    await people.say("Hello there.")
    for number in range(SMALL + 1):
        await add_message(people, f"Parcel n{number} came.", id=new_id())
    lexicon = await lexicon_of(people, lexicons)
    assert len(lexicon) == SMALL + 2
    assert len(found(lexicon, f"n{SMALL}")) == 1
    for number in range(SMALL + 1):
        await add_message(people, f"Letter l{number} came.", id=new_id())
    grown = await lexicon_of(people, lexicons)
    assert (len(grown), len(lexicon)) == (2 * SMALL + 3, SMALL + 2), "who reads the old one isn't disturbed"


async def test_one_persons_words_are_not_anothers(people: People, lexicons: Lexicons) -> None:
    await people.say(f"{PORTO}.")
    await people.say("I like tea.", person="ben")
    assert found(await lexicon_of(people, lexicons, "ben"), "Porto") == []
    assert len(await lexicon_of(people, lexicons, "ben")) == 1


async def test_whoever_was_silent_longest_is_let_go(people: People) -> None:
    lexicons = Lexicons(people.app.database, Vault(people.app.master), kept_bytes=2 * ENTRY_BYTES)
    held = {}
    for person in ("ana", "ben", "eve"):
        await people.say("I like tea.", person=person)
        held[person] = await lexicon_of(people, lexicons, person)
    assert await lexicon_of(people, lexicons, "eve") is held["eve"]
    assert await lexicon_of(people, lexicons, "ben") is held["ben"]
    assert await lexicon_of(people, lexicons, "ana") is not held["ana"]


async def test_without_the_key_there_are_no_words(people: People, lexicons: Lexicons) -> None:
    await people.say(f"{PORTO}.")
    await lexicon_of(people, lexicons)
    user_id = await people.id()
    async with people.app.database.write() as connection:
        await Vault(people.app.master).destroy(connection, user_id)
    with pytest.raises(Undecryptable):
        await lexicon_of(people, lexicons)


async def test_what_was_retired_or_is_no_statement_is_not_in_it(people: People, lexicons: Lexicons) -> None:
    await people.say(f"{PORTO}.")
    await people.say("Where is Porto?")
    await people.work()
    async with people.app.database.write() as connection:
        await connection.execute(memories.update().values(retired_at=datetime.now(UTC)))
    assert len(found(await lexicon_of(people, lexicons), "Porto")) == 1
