"""Export, erase, import: the same person as before; and an archive that lies brings nothing in."""

import io
import json
import zipfile
from collections.abc import AsyncIterator

import pytest

from core.memory.claims import Memory
from core.rights.archive import Archive, Cited
from core.rights.export import JSON_FILE, PAGE_FILE, SCHEMA_FILE
from core.rights.foreign import read_archive
from core.settings import Settings
from core.storage.schema import messages
from tests.integration.remembering import ONE_DATABASE, People, people_of, reader
from tests.standins.model import ModelStandIn, read_claim

QUESTIONS = ("Where do I live?", "What do I drink?", "How is the weather?")


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    model.extract = reader(
        ("I live in Porto", "Lives in Porto."),
        ("I moved to Lisbon", "Lives in Lisbon."),
        ("I drink green tea", "Drinks green tea."),
        ("Bruno is my brother", "Bruno is the brother."),
    )
    async with people_of(open_settings, model) as made:
        yield made


async def lead_a_life(people: People, model: ModelStandIn) -> None:
    await people.say("I live in Porto.")
    await people.work()
    read = model.extract

    def moving(body: dict[str, object]) -> str:
        moved = read_claim(1, "I moved to Lisbon", "Lives in Lisbon.", change="replaces", known=1)
        return json.dumps({"memories": [moved]}) if "moved" in str(body["messages"]) else read(body)

    model.extract = moving
    await people.say("I moved to Lisbon.")
    await people.work()
    model.extract = read
    await people.say("I drink green tea.", conversation="elsewhere")
    await people.say_in_group("Bruno is my brother.")
    await people.say("The <b>weather</b> is fine.")
    await people.say("Tom has a secret.", person="ben")
    await people.say_in_group("I am Ben of the group.", person="ben")
    await people.work()
    ids = {memory.text: memory.id for memory in await people.memories()}
    ana = await people.id()
    assert await people.app.corrections.pin(ana, ids["Drinks green tea."], True)
    assert await people.app.corrections.mute(ana, ids["Bruno is the brother."], True)


def told(memories: list[Memory]) -> set[tuple[object, ...]]:
    return {
        (
            m.text,
            m.kind,
            m.valid_from,
            m.valid_until,
            m.retired_at,
            m.is_pinned,
            m.is_muted,
            tuple(s.quote for s in m.sources),
        )
        for m in memories
    }


async def history(people: People) -> list[Memory]:
    async with people.app.database.read() as connection:
        return await people.app.memories.of_user(connection, await people.id(), retired=True)


async def test_export_erase_import_gives_the_same_recall(people: People, model: ModelStandIn) -> None:
    await lead_a_life(people, model)
    ana = await people.id()
    before = told(await history(people))
    recalled = [await people.recalled(question) for question in QUESTIONS]
    assert all(recalled)
    packed = await people.app.export.packed(ana)
    await people.app.erasure.erase(ana)
    await people.say("Hello!")
    assert await people.texts() == []

    archive = read_archive(packed)
    came = await people.app.importing.bring(await people.id(), archive)
    await people.app.indexer.flush()
    assert (came.messages, came.memories) == (10, 4)
    assert told(await history(people)) == before
    assert [await people.recalled(question) for question in QUESTIONS] == recalled
    (porto,) = [memory for memory in await history(people) if "Porto" in memory.text]
    (lisbon,) = [memory for memory in await history(people) if "Lisbon" in memory.text]
    assert porto.replaced_by == lisbon.id
    assert "Porto" in await people.say("/memory timeline home")
    # What was told in a group there is private here.
    group = await people.say_in_group("Who is my brother?", group="another group")
    assert "Bruno" not in group
    assert not any("Bruno" in message["content"] for message in people.prompts()[-1])

    again = await people.app.importing.bring(await people.id(), archive)
    assert (again.messages, again.memories) == (0, 0)
    assert told(await history(people)) == before


@ONE_DATABASE
async def test_an_archive_holds_the_person_alone_and_says_what_it_means(
    people: People, model: ModelStandIn
) -> None:
    await lead_a_life(people, model)
    with zipfile.ZipFile(io.BytesIO(await people.app.export.packed(await people.id()))) as file:
        assert sorted(file.namelist()) == sorted([JSON_FILE, SCHEMA_FILE, PAGE_FILE])
        data, page = file.read(JSON_FILE).decode(), file.read(PAGE_FILE).decode()
        schema = json.loads(file.read(SCHEMA_FILE))
    assert set(json.loads(data)) == set(schema["properties"])
    for words in ("secret", "Ben of the group"):
        assert words not in data
        assert words not in page
    assert "Drinks green tea." in page
    assert "<b>weather" not in page
    assert "&lt;b&gt;weather" in page
    assert {talk.kind for talk in Archive.model_validate_json(data).talks} == {"direct", "group"}


@ONE_DATABASE
async def test_what_an_archive_makes_up_has_no_source_and_stays_out(
    people: People, model: ModelStandIn
) -> None:
    await lead_a_life(people, model)
    archive = await people.app.export.archive(await people.id())
    first = archive.memories[0]
    reply = next(m for talk in archive.talks for m in talk.messages if m.role == "assistant")
    lies = [
        first.model_copy(update={"id": "1", "text": "Is rich.", "sources": ()}),
        first.model_copy(
            update={"id": "2", "text": "Is rich.", "sources": (Cited(message="nowhere", start=0, quote="x"),)}
        ),
        first.model_copy(
            update={
                "id": "3",
                "text": "Is rich.",
                "sources": (Cited(message=first.sources[0].message, start=0, quote="I am rich"),),
            }
        ),
        first.model_copy(
            update={
                "id": "4",
                "text": "Is rich.",
                "sources": (Cited(message=reply.id, start=0, quote=reply.text[:5]),),
            }
        ),
    ]
    await people.say("Hello!", person="eve")
    forged = archive.model_copy(update={"memories": tuple(lies)})
    came = await people.app.importing.bring(await people.id("eve"), forged)
    assert came.memories == 0
    assert await people.texts("eve") == []


@ONE_DATABASE
async def test_somebody_elses_archive_becomes_ones_own_and_leaves_them_alone(
    people: People, model: ModelStandIn
) -> None:
    await lead_a_life(people, model)
    archive = await people.app.export.archive(await people.id())
    before = told(await history(people))
    await people.say("Hello!", person="eve")
    eve = await people.id("eve")
    await people.app.importing.bring(eve, archive)
    assert told(await history(people)) == before
    rows = await people.house.rows(messages, messages.c.user_id == eve)
    assert {row.user_id for row in rows} == {eve}
    assert "Lives in Lisbon." in await people.texts("eve")


@ONE_DATABASE
async def test_what_needs_a_consent_comes_along_with_it_or_not_at_all(
    open_settings: Settings, model: ModelStandIn
) -> None:
    model.extract = reader(("I'm allergic to peanuts", "Is allergic to peanuts."))
    asking = open_settings.model_copy(update={"special_categories": "ask"})
    async with people_of(asking, model) as people:
        await people.say("I'm allergic to peanuts.")
        await people.say("/consent yes")
        await people.work()
        archive = await people.app.export.archive(await people.id())
        assert [memory.text for memory in archive.memories] == ["Is allergic to peanuts."]
        for person, agreed in (("eve", True), ("fay", None)):
            await people.say("Hello!", person=person)
            whose = archive.person.model_copy(update={"special_consent": agreed})
            brought = archive.model_copy(update={"person": whose})
            await people.app.importing.bring(await people.id(person), brought)
        assert await people.texts("eve") == ["Is allergic to peanuts."]
        assert await people.texts("fay") == []
        assert await people.recalled("What am I allergic to?", "fay") == []
