"""What people change in their memory themselves: its words, what is always in mind, what isn't used."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.errors import InvalidMessage
from core.memory.corrections import MOST_PINNED, TOO_LONG
from core.memory.forgetting import FORGOTTEN
from core.reply.memory_commands import EDIT_WHICH, MARK_WHICH, MARKED
from core.settings import Settings
from core.storage.schema import conversations, memories, messages
from tests.integration.remembering import (
    ONE_DATABASE,
    Body,
    People,
    index_entries,
    is_reflection,
    people_of,
    reader,
)
from tests.standins.model import ModelStandIn, read_claim

LISBON, AGAIN = "I live in Lisbon.", "I live in Lisbon, near the river."
TEA, MORE_TEA = "I like green tea.", "I love green tea."
MOMO = "I have a cat called Momo."
DENTIST = "I see the dentist tomorrow."
MARCH = datetime(2026, 3, 2, 9, tzinfo=UTC)
CLAIMS = (
    (LISBON[:-1], "Lives in Lisbon."),
    (TEA[:-1], "Likes green tea."),
    (MORE_TEA[:-1], "Loves green tea."),
    (MOMO[:-1], "Has a cat called Momo."),
    ("Momo is old", "Their cat Momo is old."),
)


def reads_and_merges(body: Body) -> str:
    """Reads CLAIMS out of messages, and finds that all memories of tea say the same."""
    if not is_reflection(body):
        return reader(*CLAIMS)(body)
    numbers = re.findall(r"^(\d+) .* tea", body["messages"][-1]["content"], re.MULTILINE)
    return json.dumps({"same": [[int(number) for number in numbers]], "conclusions": []})


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    model.extract = reads_and_merges
    async with people_of(open_settings, model) as made:
        yield made


async def tell(people: People, *texts: str, **given: Any) -> None:
    """Says them, and has them read."""
    await people.say_all(*texts, **given)
    await people.work()


async def consolidate(people: People) -> int:
    """Does it; how many changes that were."""
    user_id = await people.id()
    steps = await people.app.consolidation.plan(user_id)
    async with people.app.database.write() as connection:
        return len(await people.app.consolidation.carry_out(connection, user_id, steps))


async def indexed(people: People) -> int:
    """How many entries the index has of this house."""
    of = {"m": await people.house.rows(messages), "c": await people.house.rows(memories)}
    return len(index_entries(people.app).keys() & {k + row.id for k, rows in of.items() for row in rows})


def last_prompt(people: People) -> str:
    return json.dumps(people.prompts()[-1])


async def test_a_correction_is_believed_and_what_was_before_stays_its_history(people: People) -> None:
    await tell(people, LISBON, sent_at=MARCH)
    assert "Corrected: “I live in Porto”" in await people.say("/memory edit 1  I live\nin Porto")
    (memory,) = await people.memories()
    assert (memory.text, memory.kind, memory.confidence) == ("I live in Porto", "fact", 1)
    assert memory.is_correction
    why = await people.say("/memory why 1")
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert f"You corrected it to this yourself:\n\n- {today}: “I live in Porto”" in why
    assert f"2026-03-02 until {today}: Lives in Lisbon." in why

    await people.say("Where do I live?", conversation="another")
    assert f"I live in Lisbon. (2026-03-02; no longer so since {today})" in last_prompt(people)
    assert f"I live in Porto ({today})" in last_prompt(people)
    assert f"c{memory.id}" in index_entries(people.app)
    (row,) = [row for row in await people.house.rows(messages) if row.id == memory.sources[0].message_id]
    assert not row.remembered
    # In the talk in which the old was said, nothing repeats it.
    await people.say("Hello?")
    assert [message["role"] for message in people.prompts()[-1]] == ["system", "user"]


@ONE_DATABASE
async def test_what_was_said_before_a_correction_does_not_bring_the_old_back(people: People) -> None:
    await tell(people, LISBON, sent_at=MARCH)
    await people.say(AGAIN, sent_at=MARCH + timedelta(days=1), conversation="another")
    await people.say("/memory edit 1 I live in Porto")
    await people.work()
    assert await people.texts() == ["I live in Porto"]
    over = {each.text: each.until for each in (await people.recall("Where do I live?")).memories}
    assert over[AGAIN] is not None
    # What is said later counts.
    await tell(people, LISBON, conversation="a third")
    assert await people.texts() == ["I live in Porto", "Lives in Lisbon."]


@ONE_DATABASE
async def test_a_consolidation_leaves_the_persons_own_words(people: People) -> None:
    await tell(people, TEA, MORE_TEA)
    await people.say("/memory edit 1 I like green tea a lot")
    assert await consolidate(people) == 0
    assert await people.texts() == ["Loves green tea.", "I like green tea a lot"]


@ONE_DATABASE
async def test_an_edited_command_corrects_again_and_the_same_words_change_nothing(people: People) -> None:
    await tell(people, LISBON, TEA)
    await people.say("/memory edit 1 I live in Port", event="e1")
    await people.say("/memory edit 1 I live in Porto", event="e2", replaces="e1")
    assert await people.texts() == ["Likes green tea.", "I live in Porto"]
    before = await people.memories()
    assert await people.app.corrections.edit(await people.id(), before[1].id, before[1].text)
    assert await people.memories() == before


@ONE_DATABASE
async def test_forgetting_a_correction_takes_what_it_corrected(people: People) -> None:
    await tell(people, LISBON)
    await people.say("/memory edit 1 I live in Porto")
    await people.say("/memory edit 1 I live in Braga")
    await people.say("/forget 1")
    assert await people.house.rows(memories) == []
    user_id = await people.id()
    async with people.app.database.read() as connection:
        ids = [row.id for row in await people.house.rows(messages)]
        lines = await people.app.transcript.of_user(connection, user_id, ids)
    assert [line.text for line in lines.values()] == [FORGOTTEN] * 3


@ONE_DATABASE
async def test_what_is_corrected_in_private_is_private(people: People) -> None:
    await people.say_in_group(LISBON)
    await people.work()
    await people.say("/memory edit 1 I had to leave Lisbon")
    assert "I had to leave Lisbon" in await people.say("/memory")
    assert "leave" not in await people.say_in_group("/memory")
    await people.say_in_group("Where do I live?")
    assert "leave" not in last_prompt(people)


@ONE_DATABASE
async def test_an_event_keeps_its_day_unless_another_is_named(people: People) -> None:
    claim = read_claim(1, DENTIST[:-1], "Sees the dentist tomorrow.", kind="event", when="tomorrow")
    people.model.extract = lambda body: json.dumps({"memories": [claim]})
    await tell(people, DENTIST, sent_at=MARCH)
    days = []
    for text in ("I see doctor Nunes", "I see doctor Nunes on 2026-12-24"):
        await people.say(f"/memory edit 1 {text}")
        (memory,) = await people.memories()
        days.append(f"{memory.valid_from:%Y-%m-%d}")
    assert days == ["2026-03-03", "2026-12-24"]


async def test_what_is_pinned_stands_first_in_every_prompt_and_stays(people: People) -> None:
    await tell(people, LISBON, TEA, MORE_TEA)
    assert await people.say("/memory pin 3") == MARKED["pin"]
    assert "3. Loves green tea. _(pinned)_" in await people.say("/memory")
    await people.say("Hello!", conversation="another")
    card = people.prompts()[-1][0]["content"].split("at all times:\n")[1]
    assert card.splitlines()[0] == "- Loves green tea."
    assert await consolidate(people) == 0
    # What comes in its place is pinned as well.
    await people.say("/memory edit 3 I love black tea")
    assert [memory.is_pinned for memory in await people.memories()] == [False, False, True]
    assert await people.say("/memory unpin 3") == MARKED["unpin"]
    assert not any(memory.is_pinned for memory in await people.memories())


@ONE_DATABASE
async def test_only_so_much_is_pinned(people: People) -> None:
    await people.say_all(*(f"I like tea number {number}." for number in range(MOST_PINNED + 1)))
    for number in range(1, MOST_PINNED + 1):
        await people.say(f"/memory pin {number}")  # a statement that no memory came of becomes one
    assert [memory.is_pinned for memory in await people.memories()] == [True] * MOST_PINNED
    assert "unpin one first" in await people.say(f"/memory pin {MOST_PINNED + 1}")
    await people.work()
    assert len(await people.memories()) == MOST_PINNED
    with pytest.raises(InvalidMessage, match="too long"):
        await people.app.corrections.edit(await people.id(), "any", "x" * 601)
    assert await people.say(f"/memory edit 1 {'x' * 601}") == TOO_LONG


async def test_what_is_muted_is_listed_but_stands_in_no_prompt(people: People) -> None:
    await tell(people, MOMO, TEA)
    assert await people.say("/memory mute 1") == MARKED["mute"]
    assert "1. Has a cat called Momo. _(muted: I don't use it)_" in await people.say("/memory")
    for conversation in ("ana", "another"):
        await people.say("What is my cat called?", conversation=conversation)
        assert "Momo" not in last_prompt(people)
    assert "Momo" not in str(await people.recalled("my cat called Momo"))
    assert await indexed(people) == 2
    # Who says so again doesn't bring it back, and nothing is concluded from it.
    await tell(people, MOMO, conversation="a third")
    assert "Momo" not in str(await people.recalled("my cat called Momo"))
    assert await consolidate(people) == 0
    assert not any("Momo" in json.dumps(call) for call in people.model.calls if is_reflection(call))

    assert await people.say("/memory unmute 1") == MARKED["unmute"]
    assert "Momo" in str(await people.recalled("my cat called Momo"))
    assert await indexed(people) == 5


@ONE_DATABASE
async def test_a_statement_is_muted_before_anything_is_read_out_of_it(people: People) -> None:
    await people.say(f"{MOMO} Momo is old.")
    await people.say("/memory mute 1")
    await people.work()
    assert all(memory.is_muted for memory in await people.memories())
    assert await people.recalled("my cat called Momo") == []
    await people.say("/memory pin 1")
    assert "Momo" in str(await people.recalled("my cat called Momo"))


@ONE_DATABASE
async def test_nobody_changes_what_is_somebody_elses(people: People) -> None:
    await tell(people, LISBON)
    await tell(people, TEA, person="ben")
    (memory,) = await people.memories()
    ben = await people.id("ben")
    corrections = people.app.corrections
    assert not await corrections.edit(ben, memory.id, "I live nowhere")
    assert not await corrections.pin(ben, memory.id, True)
    assert not await corrections.mute(ben, memory.id, True)
    assert not await corrections.mute(ben, memory.sources[0].message_id, True)
    assert await people.memories() == [memory]
    assert [row.channel for row in await people.house.rows(conversations)] == ["paper", "paper"]


@ONE_DATABASE
async def test_what_names_nothing_is_told_how(people: People) -> None:
    await tell(people, LISBON)
    for command in ("edit", "edit 1", "edit 9 Words", "edit one Words"):
        assert "`/memory edit 2 I live in Porto`" in await people.say(f"/memory {command}")
    assert await people.say("/memory edit 9 Words") == EDIT_WHICH
    assert await people.say("/memory pin 9") == MARK_WHICH
    assert await people.texts() == ["Lives in Lisbon."]
