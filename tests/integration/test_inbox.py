"""The inbox: each event once, whoever delivers it how often, and nothing half-written."""

import asyncio
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import select, text

from core.delivery.inbox import InboxState
from core.delivery.turns import TurnState
from core.errors import InvalidMessage, StoreUnavailable
from core.messages import MAX_TEXT_CHARS, ConversationKind, Enclosure, EnclosureKind, IncomingMessage
from core.reply.door_commands import PRIVATE_DOOR
from core.settings import Settings
from core.storage.database import STANDSTILL_MS, database_url, one_at_a_time, upgrade
from core.storage.schema import conversations, deliveries, identities, inbox, keys, messages, turns, users
from tests.conftest import lanes_running
from tests.integration.conftest import House, a_house
from tests.servers import postgresql_folder, postgresql_server
from tests.standins.model import ModelStandIn
from tests.standins.paper import letter

EVERYTHING = (users, keys, identities, conversations, inbox)


async def test_an_event_delivered_at_once_three_times_is_one_of_everything(
    house: House, model: ModelStandIn
) -> None:
    async with lanes_running(house.app):
        message = letter("Hello", event="update-1")
        taken = await asyncio.gather(*(house.take(message) for _ in range(3)))
        await house.settled()
    assert len({accepted.inbox_id for accepted in taken}) == 1
    assert sorted(accepted.duplicate for accepted in taken) == [False, True, True]
    for table in (users, identities, conversations, inbox, turns, deliveries):
        assert len(await house.rows(table)) == 1, table.name
    assert len(model.calls) == 1
    assert house.paper.shown == ["You said: Hello"]


async def test_two_processes_that_get_the_same_event_answer_it_once(
    house: House, open_settings: Settings, model: ModelStandIn
) -> None:
    async with a_house(open_settings) as other, lanes_running(house.app), lanes_running(other.app):
        for number in range(5):
            message = letter(f"Number {number}", event=f"update-{number}", person=f"person-{number % 2}")
            await asyncio.gather(*(at.take(message) for at in (house, other, house)))
        await house.settled()
        await other.settled()
    assert len(await house.rows(inbox)) == 5
    assert {row.state for row in await house.rows(inbox)} == {InboxState.DONE}
    assert len(await house.rows(users)) == 2
    shown = house.paper.shown + other.paper.shown
    for number in range(5):
        assert sum(f"Number {number}" in reply for reply in shown) == 1
    assert len(model.calls) == len(shown) == len(await house.rows(turns))


async def test_newcomers_in_a_new_group_all_at_once_are_all_taken(
    house: House, open_settings: Settings
) -> None:
    async with a_house(open_settings) as other:
        written = [
            letter("Hi", person=f"person-{n % 4}", conversation=f"group-{n % 3}", kind=ConversationKind.GROUP)
            for n in range(24)
        ]
        taken = await asyncio.gather(
            *((house, other)[n % 2].take(message) for n, message in enumerate(written))
        )
    assert len({accepted.inbox_id for accepted in taken}) == 24
    assert len({accepted.conversation_id for accepted in taken}) == 3
    assert len(await house.rows(users)) == 4


async def test_batches_that_cross_each_other_are_all_taken_once(
    house: House, open_settings: Settings
) -> None:
    """Two processes get the same updates of strangers in opposite order: each waits for the other."""
    async with a_house(open_settings) as other:
        for burst in range(5):
            letters = [letter("Hi", person=f"{burst}-{n}", event=f"{burst}-{n}") for n in range(20)]
            both = await asyncio.gather(house.desk.take(letters), other.desk.take(letters[::-1]))
            assert (
                sorted(not taken.duplicate for batch in both for taken in batch) == [False] * 20 + [True] * 20
            )
    assert len(await house.rows(inbox)) == len(await house.rows(users)) == 100


@pytest.mark.parametrize("database_kind", ["postgresql"])
async def test_a_process_that_stands_still_at_the_door_holds_nobody_up_for_long(house: House) -> None:
    async def stand_still() -> None:
        async with house.app.database.write() as connection:
            await one_at_a_time(connection, "inbox")
            await asyncio.wait_for(house.accept("Hello"), 2 * STANDSTILL_MS / 1000)
            await connection.execute(select(1))

    with pytest.raises(StoreUnavailable):
        await stand_still()
    assert len(await house.rows(inbox)) == 1


@pytest.mark.parametrize("blank", ["", "  \n\t ", "\x00", "\x00 \x07\r\n"])
async def test_a_blank_message_is_refused_and_leaves_nothing(house: House, blank: str) -> None:
    with pytest.raises(InvalidMessage, match="empty"):
        await house.accept(blank)
    for table in EVERYTHING:
        assert await house.rows(table) == []


async def test_a_message_has_a_longest_length(house: House) -> None:
    await house.accept("a" * MAX_TEXT_CHARS)
    with pytest.raises(InvalidMessage, match="100,000 characters"):
        await house.accept("a" * 100_000)
    assert len(await house.rows(inbox)) == 1


async def test_what_is_declined_is_said_once_and_in_its_order(house: House, model: ModelStandIn) -> None:
    long = letter("secret words " * 10_000, event="long")
    await house.accept("First")
    with pytest.raises(InvalidMessage) as refused:
        await house.desk.accept(long)
    assert [(await house.take(long)).duplicate for _ in range(2)] == [False, True]
    await house.accept("Second")
    async with lanes_running(house.app):
        await house.settled()
    assert house.paper.shown == ["You said: First", str(refused.value), "You said: Second"]
    assert len(model.calls) == 2
    assert not any("too long" in message["content"] for call in model.calls for message in call["messages"])
    said = await house.rows(messages, messages.c.role == "user")
    assert len(said) == 2


async def test_nobody_is_let_in_by_what_is_declined(house: House, settings: Settings) -> None:
    async with a_house(settings) as guarded, lanes_running(guarded.app):
        await guarded.take(letter("x" * 100_000))
        await guarded.settled()
        assert guarded.paper.shown == [PRIVATE_DOOR]


async def test_what_no_store_takes_is_cleaned_at_the_door(house: House, model: ModelStandIn) -> None:
    async with lanes_running(house.app):
        message = letter("be\x00fore \ud83d after \ud83d\ude00\r\nend")
        odd_name = type(message.sender)("ana", "A\x00na \ud83d")
        await house.take(_with(message, sender=odd_name))
        await house.settled()
    assert house.paper.shown == ["You said: before \ufffd after \U0001f600\nend"]
    user = await house.row(users)
    async with house.app.database.read() as connection:
        assert await house.app.people.name(connection, user.id) == "Ana \ufffd"


async def test_a_message_may_be_all_enclosure(house: House) -> None:
    enclosed = Enclosure(EnclosureKind.FORWARDED, "Dinner at eight")
    async with lanes_running(house.app):
        await house.take(_with(letter(" "), enclosures=(enclosed,)))
        await house.settled()
    assert "Dinner at eight" in house.paper.shown[0]


async def test_an_edit_of_what_waits_takes_its_place(house: House, model: ModelStandIn) -> None:
    first = await house.accept("I live in Portu", event="m1")
    edit = letter("I live in Porto", event="m1-edit", replaces="m1")
    assert not (await house.take(edit)).duplicate
    assert (await house.take(edit)).duplicate
    await house.accept("I live in Porto, Portugal", event="m1-edit-2", replaces="m1")
    async with lanes_running(house.app):
        await house.settled()
    assert house.paper.shown == ["You said: I live in Porto, Portugal"]
    assert len(model.calls) == 1
    states = {row.id: row.state for row in await house.rows(inbox)}
    assert set(states.values()) == {InboxState.DONE}
    assert all(row.payload_sealed is None for row in await house.rows(inbox))
    assert (await house.row(inbox, inbox.c.id == first.inbox_id)).turn_id is not None


async def test_an_edit_of_what_was_answered_mends_the_transcript_alone(
    house: House, model: ModelStandIn
) -> None:
    async with lanes_running(house.app):
        await house.accept("My dog is called Rex", event="m1")
        await house.settled()
        await house.accept("My dog is called Max", event="m1-edit", replaces="m1")
        await house.settled()
        await house.accept("What is my dog called?")
        await house.settled()
    assert len(house.paper.sheets) == len(model.calls) == 2
    said = "\n".join(message["content"] for message in model.calls[-1]["messages"])
    assert "Max" in said
    assert {turn.state for turn in await house.rows(turns)} == {TurnState.DONE}


async def test_an_edit_of_something_unknown_is_answered_as_new(house: House) -> None:
    async with lanes_running(house.app):
        await house.accept("Hello again", replaces="never-seen")
        await house.settled()
        await house.accept("Hello once more", replaces="never-seen")
        await house.settled()
    assert house.paper.shown == ["You said: Hello again"]


async def test_nobody_edits_what_somebody_else_wrote(house: House, model: ModelStandIn) -> None:
    group = {"conversation": "group", "kind": ConversationKind.GROUP}
    await house.accept("Ana's words", event="m1", person="ana", **group)
    await house.accept("Ben's words", event="m1-edit", replaces="m1", person="ben", **group)
    async with lanes_running(house.app):
        await house.settled()
        await house.accept("Ben's again", event="m1-edit-2", replaces="m1", person="ben", **group)
        await house.settled()
    assert "Ana's words" in house.paper.shown[0]
    assert "Ben's words" in house.paper.shown[1]
    assert {row.state for row in await house.rows(inbox)} == {InboxState.DONE}
    ana, ben = await house.rows(users)
    for owner, count in ((ana, 1), (ben, 1)):
        written = await house.rows(messages, messages.c.user_id == owner.id, messages.c.role == "user")
        assert len(written) == count


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_full_disk_refuses_and_what_comes_again_is_taken(house: House) -> None:
    message = letter("x" * MAX_TEXT_CHARS, event="update-1")
    await _limit_pages(house, 0)
    with pytest.raises(StoreUnavailable, match="FULL"):
        await house.take(message)
    for table in EVERYTHING:
        assert await house.rows(table) == []
    await _limit_pages(house, 100_000)
    assert not (await house.take(message)).duplicate
    assert (await house.take(message)).duplicate
    async with lanes_running(house.app):
        await house.settled()
    assert len(house.paper.sheets) == 1


@pytest.mark.parametrize("database_kind", ["postgresql"])
async def test_a_stopped_postgresql_refuses_and_what_comes_again_is_taken(
    open_settings: Settings,
) -> None:
    programs = postgresql_folder()
    assert programs is not None
    with postgresql_server(programs) as url:
        settings = open_settings.model_copy(update={"database_url": type(open_settings.database_url)(url)})  # type: ignore[misc]
        upgrade(database_url(settings))
        async with a_house(settings) as house:
            message = letter("Hello", event="update-1")
            with _stopped(programs, url), pytest.raises(StoreUnavailable):
                await house.take(message)
            assert not (await house.take(message)).duplicate
            async with lanes_running(house.app):
                await house.settled()
            assert house.paper.shown == ["You said: Hello"]


def _with(message: IncomingMessage, **changes: Any) -> IncomingMessage:
    return replace(message, **changes)


async def _limit_pages(house: House, most: int) -> None:
    """Limits the file on the one connection that a house at rest has; 0: to what it holds now."""
    async with house.app.database.read() as connection:
        await connection.execute(text(f"PRAGMA max_page_count={most or 1}"))


@contextmanager
def _stopped(programs: Path, url: str) -> Iterator[None]:
    """The server is stopped within the block, and started again on the same data."""
    with psycopg.connect(url) as connection:
        found = connection.execute("SHOW data_directory").fetchone()
    assert found is not None
    data = Path(found[0])
    owner = data.owner()
    options = " ".join(shlex.quote(word) for word in shlex.split((data / "postmaster.opts").read_text())[1:])
    control = [str(programs / "pg_ctl"), "-D", str(data), "-w", "-m", "fast"]
    subprocess.run([*control, "stop"], check=True, capture_output=True, user=owner, timeout=60)
    yield
    start = [*control, "-o", options, "-l", str(data / "again.log"), "start"]
    subprocess.run(start, check=True, user=owner, timeout=60, stdout=subprocess.DEVNULL)
