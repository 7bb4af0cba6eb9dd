"""What people say while they paused Mneme, or incognito, isn't kept; the talk goes on all the same."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from core.delivery.inbox import InboxState
from core.errors import Undeliverable
from core.reply.answer import NOT_KEPT
from core.reply.switch_commands import (
    INCOGNITO,
    MARKS,
    NOT_HERE,
    NOT_INCOGNITO,
    NOT_PAUSED,
    PAUSED,
    RESUMED,
    STILL_PAUSED,
)
from core.rights.switches import REST, Mode
from core.settings import Settings
from core.storage.schema import deliveries, inbox, index_changes, memories, messages, turns
from tests.conftest import lanes_running
from tests.integration.conftest import a_house
from tests.integration.remembering import ONE_DATABASE, People, people_of, reader
from tests.standins.model import ModelStandIn

PORTO, TEA, BOAT = "I live in Porto.", "I like green tea.", "My boat is called Aurora."
CLAIMS = (("I live in Porto", "Lives in Porto."), ("My boat is called Aurora", "Has a boat called Aurora."))


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    model.extract = reader(*CLAIMS)
    async with people_of(open_settings, model) as made:
        yield made


def asked(people: People) -> str:
    """All that the model was last asked with."""
    return json.dumps(people.prompts()[-1])


async def left(people: People) -> dict[str, int]:
    """How many rows still hold words, by table."""
    rows = {table.name: await people.house.rows(table) for table in (messages, inbox, turns, deliveries)}
    return {
        "messages": len(rows["messages"]),
        "inbox": sum(row.payload_sealed is not None for row in rows["inbox"]),
        "turns": sum(not row.kept for row in rows["turns"]),
        "memories": len(await people.house.rows(memories)),
        "index_changes": len(await people.house.rows(index_changes)),
    }


NOTHING = {"messages": 0, "inbox": 0, "turns": 0, "memories": 0, "index_changes": 0}


async def test_while_paused_nothing_is_kept_on_any_channel_and_the_talk_goes_on(people: People) -> None:
    await people.say(PORTO)
    await people.work()
    assert await people.say("/pause") == PAUSED
    reply = await people.say(BOAT, conversation="another")
    assert reply.endswith(MARKS[Mode.PAUSED])
    await people.say("Where do I live?", conversation="another")
    prompt = people.prompts()[-1]
    assert "Lives in Porto." in prompt[0]["content"]  # what is known is used
    assert [message["role"] for message in prompt] == ["system", "user", "assistant", "user"]
    assert prompt[1]["content"] == BOAT
    assert MARKS[Mode.PAUSED] not in prompt[2]["content"]
    assert "don't promise" in prompt[0]["content"]
    await people.work()
    assert await people.texts() == ["Lives in Porto."]
    assert "Aurora" not in str(await people.recalled("my boat Aurora"))
    assert not any("Aurora" in page for page in people.pages())
    memory = await people.say("/memory")
    assert memory.endswith(MARKS[Mode.PAUSED])
    assert "Aurora" not in memory

    assert await people.say("/resume") == RESUMED
    assert await left(people) == NOTHING | {"messages": 2, "memories": 1}
    assert MARKS[Mode.PAUSED] not in await people.say(TEA, conversation="another")
    assert "Aurora" not in asked(people)
    assert "I like green tea." in await people.say("/memory")
    assert await people.say("/resume") == NOT_PAUSED


async def test_incognito_recalls_nothing_and_leaves_nothing(people: People) -> None:
    await people.say(PORTO)
    await people.work()
    assert await people.say("/incognito") == INCOGNITO
    assert (await people.say(BOAT)).endswith(MARKS[Mode.INCOGNITO])
    await people.say("Where do I live, and what is my boat called?")
    assert "Porto" not in asked(people)
    assert [message["content"] for message in people.prompts()[-1][1:2]] == [BOAT]
    # Elsewhere all is as ever.
    assert "Incognito" not in await people.say("Where do I live?", conversation="another")
    assert "Porto" in asked(people)
    assert "Aurora" not in asked(people)
    await people.work()

    assert await people.say("/incognito off") == NOT_INCOGNITO
    assert (await left(people))["turns"] == 0
    assert await people.texts() == ["Lives in Porto."]
    await people.say("And now?")
    assert [message["content"] for message in people.prompts()[-1][1:2]] == [PORTO]
    assert "Aurora" not in asked(people)


@ONE_DATABASE
async def test_what_is_not_kept_goes_when_the_talk_rests(people: People) -> None:
    await people.say("/incognito")
    await people.say(BOAT)
    await people.say("/pause", conversation="another")
    await people.say(TEA, conversation="another")
    assert await people.app.switches.destroy_rested() == 0
    assert (await left(people))["messages"] == 4
    async with people.app.database.write() as connection:
        long_ago = datetime.now(UTC) - REST - timedelta(seconds=1)
        await connection.execute(update(turns).values(finished_at=long_ago))
    await people.say("Hello?", conversation="another")
    assert await people.app.switches.destroy_rested() == 1  # the other talk goes on
    assert (await left(people))["messages"] == 4
    await people.say("/reset", conversation="another")
    assert await left(people) == NOTHING


@ONE_DATABASE
async def test_what_came_in_during_a_pause_is_not_kept_however_late_it_is_answered(
    open_settings: Settings, model: ModelStandIn
) -> None:
    async with a_house(open_settings) as house:
        people = People(house, model)
        await house.accept(PORTO)
        await people.app.switches.pause(await people.id())
        await house.accept(BOAT, conversation="another")
        await people.app.switches.resume(await people.id())
        await house.accept(TEA, conversation="a third")
        async with lanes_running(house.app):
            await house.settled()
        assert len([row for row in await house.rows(messages) if row.remembered]) == 2
        assert sum(MARKS[Mode.PAUSED] in text for text in house.paper.shown) == 1
        assert (await left(people))["turns"] == 1


@ONE_DATABASE
async def test_what_can_not_be_answered_leaves_no_words(people: People) -> None:
    await people.say("/pause")
    people.house.paper.open_faults.append(Undeliverable("blocked"))
    await people.say(BOAT)
    (row,) = await people.house.rows(inbox, inbox.c.state == InboxState.DEAD)
    assert row.payload_sealed is None
    assert await people.house.rows(messages) == []
    assert await people.app.dead_letters.count() == 0


@ONE_DATABASE
async def test_nothing_is_noted_and_no_edit_is_kept(people: People) -> None:
    await people.say(PORTO, event="e1")
    await people.work()
    await people.say("/pause")
    reply = await people.say("Remember that my boat is called Aurora.", event="e2")
    assert NOT_KEPT in reply
    await people.say("Remember that my boat is called Boreas.", event="e3", replaces="e2")
    await people.say("I live in Braga.", event="e4", replaces="e1")
    await people.work()
    assert await people.texts() == []  # they took back that they live in Porto
    assert "Braga" not in await people.say("/memory")
    assert not any(row.remembered for row in await people.house.rows(messages))


@ONE_DATABASE
async def test_in_a_group_others_do_not_hear_of_what_one_does_not_want_kept(people: People) -> None:
    await people.say("/pause")
    await people.say_in_group(BOAT)
    await people.say_in_group("What did she say?", person="ben")
    assert "Aurora" not in asked(people)
    await people.say_in_group("What did I say?")
    assert "Aurora" in asked(people)
    assert await people.say_in_group("/incognito") == NOT_HERE


@ONE_DATABASE
async def test_pause_and_incognito_end_each_for_itself(people: People) -> None:
    await people.say("/incognito on")
    await people.say("/pause")
    await people.say(BOAT)
    await people.say("/resume")
    assert (await left(people))["messages"] == 2
    await people.say("/pause")
    assert await people.say("/incognito off") == STILL_PAUSED
    assert await left(people) == NOTHING
    assert (await people.say(TEA)).endswith(MARKS[Mode.PAUSED])


@ONE_DATABASE
async def test_nobody_switches_for_somebody_else(people: People) -> None:
    await people.say(PORTO)
    await people.say(TEA, person="ben")
    ben = await people.id("ben")
    assert not await people.app.switches.set_incognito(ben, await people.conversation_id(), True)
    await people.app.switches.pause(ben)
    assert not await people.app.switches.is_paused(await people.id())


@ONE_DATABASE
async def test_nothing_is_concluded_while_paused(people: People, model: ModelStandIn) -> None:
    given: dict[str, Any] = {"consolidate_seconds": 0.001}
    settings = people.app.settings.model_copy(update=given)
    async with people_of(settings, model) as late:
        await late.say_all(PORTO, "I live in Porto by the sea.")
        await late.say("/pause")
        await late.work()
        assert not any("reflection" in json.dumps(call.get("response_format", "")) for call in model.calls)
