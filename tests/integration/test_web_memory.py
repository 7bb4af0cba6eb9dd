"""The memory beside the chat: shown with its sources, kept up to date, and taken back for good."""

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from core.app import App
from tests.integration.web_service import SECRET, Visit, WebService, reads_the_secret, running_service
from tests.processes import until
from tests.standins.model import ModelStandIn, read_claim


@pytest.fixture
async def service(app: App) -> AsyncIterator[WebService]:
    async with running_service(app) as running:
        yield running


@pytest.fixture(autouse=True)
def observant(model: ModelStandIn) -> None:
    """The model reads the one claim that these tests make."""
    model.extract = reads_the_secret
    model.answer = lambda messages: "I see."


async def near(service: WebService, name: str) -> list[str]:
    """The ids that the index holds near the secret, of this person."""
    async with service.app.database.read() as connection:
        user = await service.app.people.find(connection, "web", "local", name)
    assert user is not None
    question = await service.app.indexer.question(SECRET)
    found = await service.app.indexer.near(user.id, question, limit=10, audience=None)
    return [neighbour.id for neighbour in found]


async def tell(service: WebService, visit: Visit) -> dict[str, Any]:
    """Says the secret among other things and has it read; gives the one memory of it."""
    await visit.say(f"{SECRET}, so no satay for me.")
    await service.read_for_memories()
    (memory,) = (await visit.memories())["memories"]
    held: dict[str, Any] = memory
    return held


async def test_nothing_is_remembered_of_somebody_new(service: WebService) -> None:
    async with service.visit("ana") as ana:
        assert await ana.memories() == {"memories": [], "unread": [], "kept": []}


async def test_a_statement_is_just_heard_and_then_a_memory_with_its_source(service: WebService) -> None:
    async with service.visit("ana") as ana:
        await ana.say(f"{SECRET}, so no satay for me.")
        await ana.say("What time is it?")
        before = await ana.memories()
        assert [each["text"] for each in before["unread"]] == [f"{SECRET}, so no satay for me."]
        assert before["memories"] == []
        await service.read_for_memories()
        after = await ana.memories()
    assert after["unread"] == []
    (memory,) = after["memories"]
    assert memory["text"] == "Is allergic to peanuts"
    (source,) = memory["sources"]
    assert source["quote"] == SECRET
    assert source["message"] == f"{SECRET}, so no satay for me."


async def test_a_change_shows_what_was_so_before(service: WebService, model: ModelStandIn) -> None:
    told = {"I live in Porto.": "Lives in Porto.", "I live in Braga now.": "Lives in Braga."}

    def reads(body: dict[str, Any]) -> str:
        page = body["messages"][-1]["content"]
        known = {"change": "replaces", "known": 1} if page.startswith("K1 ") else {}
        claims = [read_claim(1, said, text, **known) for said, text in told.items() if f") {said}" in page]
        return json.dumps({"memories": claims})

    model.extract = reads
    async with service.visit("ana") as ana:
        for said in told:
            await ana.say(said)
            await service.read_for_memories()
        (memory,) = (await ana.memories())["memories"]
    assert (memory["text"], memory["believed"]) == ("Lives in Braga.", True)
    (before,) = memory["before"]
    assert before["text"] == "Lives in Porto."
    assert before["from"] <= before["until"]


async def test_what_was_read_without_a_memory_is_shown_as_kept(service: WebService) -> None:
    async with service.visit("ana") as ana:
        await ana.say("The weather is fine.")
        await service.read_for_memories()
        remembered = await ana.memories()
    assert [each["text"] for each in remembered["kept"]] == ["The weather is fine."]
    assert remembered["unread"] == []


async def test_the_page_hears_of_what_is_learned(service: WebService) -> None:
    async with service.visit("ana") as ana:
        events = ana.events("/web/memories/events")
        assert await anext(events) == {"memories": [], "unread": [], "kept": []}
        await ana.say(f"{SECRET}.")
        assert [each["text"] for each in (await anext(events))["unread"]] == [f"{SECRET}."]
        await service.read_for_memories()
        assert [each["text"] for each in (await anext(events))["memories"]] == ["Is allergic to peanuts"]
        await events.aclose()


async def test_a_forgotten_memory_is_gone_from_page_record_and_index(service: WebService) -> None:
    async with service.visit("ana") as ana:
        memory = await tell(service, ana)
        assert await near(service, "ana")
        answer = await ana.post(f"/web/memories/{memory['id']}/forget", {})
        assert answer.status_code == 200
        left = await ana.memories()
        assert left["memories"] == []
        assert "peanuts" not in json.dumps(left)
        assert "peanuts" not in str(await ana.history("first"))
        assert f"c{memory['id']}" not in await near(service, "ana")
        again = await ana.post(f"/web/memories/{memory['id']}/forget", {})
        assert again.status_code == 404


async def test_a_forgotten_message_is_gone_from_page_record_and_index(service: WebService) -> None:
    async with service.visit("ana") as ana:
        await ana.say(f"{SECRET}.")
        (heard,) = (await ana.memories())["unread"]
        assert await until(partial(near, service, "ana")) == [f"m{heard['message']}"]
        assert (await ana.post(f"/web/messages/{heard['message']}/forget", {})).status_code == 200
        assert await ana.memories() == {"memories": [], "unread": [], "kept": []}
        assert "peanuts" not in str(await ana.history("first"))
        assert await near(service, "ana") == []


async def test_a_reply_that_repeats_what_was_forgotten_is_not_told_again(
    service: WebService, model: ModelStandIn
) -> None:
    model.answer = lambda messages: "Peanuts: I'll remember that."
    async with service.visit("ana") as ana:
        inbox = await ana.send(f"{SECRET}.")
        async for _ in ana.events(f"/web/replies/{inbox}"):
            pass
        (heard,) = (await ana.memories())["unread"]
        assert (await ana.post(f"/web/messages/{heard['message']}/forget", {})).status_code == 200
        told = [event async for event in ana.events(f"/web/replies/{inbox}")]
    assert "peanuts" not in json.dumps(told).lower()


async def test_nobody_sees_or_forgets_somebody_elses_memory(service: WebService) -> None:
    async with service.visit("ana") as ana, service.visit("ben") as ben:
        memory = await tell(service, ana)
        assert await ben.memories() == {"memories": [], "unread": [], "kept": []}
        await ana.say("I sing in a choir.")
        (heard,) = (await ana.memories())["unread"]
        before = await ana.memories()
        assert (await ben.post(f"/web/memories/{memory['id']}/forget", {})).status_code == 404
        assert (await ben.post(f"/web/messages/{heard['message']}/forget", {})).status_code == 404
        assert await ana.memories() == before
