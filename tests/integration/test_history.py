"""What changes in somebody's life: nothing is overwritten, and it is known what holds now and what did."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from core.memory.claims import Memory
from core.memory.forgetting import FORGOTTEN
from core.reply.memory_commands import NO_CHANGES, NO_HISTORY, NO_REASON, WHY_WHICH
from core.settings import Settings
from core.storage.schema import memories, messages
from tests.integration.remembering import (
    ONE_DATABASE,
    Body,
    People,
    index_entries,
    is_fold,
    people_of,
)
from tests.standins.model import ModelStandIn, read_claim

MARCH = datetime(2026, 3, 2, 9, tzinfo=UTC)
PORTO, LISBON, BRAGA = "I live in Porto.", "I moved to Lisbon last week.", "I live in Braga now."
JOB, NEW_JOB = "I work as a baker.", "I quit the bakery, I work as a nurse now."
DIET, NEW_DIET = "I'm a vegetarian.", "I eat fish again."

CLAIMS = {
    PORTO: ("I live in Porto", "Lives in Porto.", "identity", ""),
    LISBON: ("I moved to Lisbon last week", "Moved to Lisbon last week.", "identity", "last week"),
    BRAGA: ("I live in Braga now", "Lives in Braga.", "identity", ""),
    JOB: ("I work as a baker", "Works as a baker.", "identity", ""),
    NEW_JOB: ("I work as a nurse now", "Works as a nurse.", "identity", ""),
    DIET: ("I'm a vegetarian", "Is a vegetarian.", "preference", ""),
    NEW_DIET: ("I eat fish again", "Eats fish again.", "preference", ""),
}
REPLACES = {
    LISBON: ("Lives in Porto", "Lives in Braga"),
    BRAGA: ("Moved to Lisbon", "Lives in Porto"),
    NEW_JOB: ("Works as a baker",),
    NEW_DIET: ("Is a vegetarian",),
}


def reads_lives(body: Body) -> str:
    """Reads what stands in CLAIMS, and sees what each replaces, as a good model would."""
    if is_fold(body):
        return json.dumps({"summary": "They talked about their lives."})
    page = body["messages"][-1]["content"]
    known = {text: int(number) for number, text in re.findall(r"^K(\d+) (.*)$", page, re.MULTILINE)}
    found: list[dict[str, Any]] = []
    for number, said in re.findall(r"^\[(\d+)\] \([\d-]+\) (.*)$", page, re.MULTILINE):
        quote, text, kind, when = CLAIMS.get(said, ("", "", "", ""))
        before = [n for k, n in known.items() for old in REPLACES.get(said, ()) if k.startswith(old)]
        change = {"change": "replaces", "known": before[0]} if before else {}
        if quote:
            found.append(read_claim(int(number), quote, text, kind=kind, when=when, **change))
    return json.dumps({"memories": found})


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    model.extract = reads_lives
    async with people_of(open_settings, model) as made:
        yield made


async def tell(people: People, text: str, after_days: int, **given: Any) -> None:
    """Says it so many days after March began, and has it read."""
    await people.say(text, sent_at=MARCH + timedelta(days=after_days), **given)
    await people.work()


async def all_of(people: People) -> dict[str, Memory]:
    user_id = await people.id()
    async with people.app.database.read() as connection:
        found = await people.app.memories.of_user(connection, user_id, retired=True)
    return {memory.text: memory for memory in found}


async def test_a_life_changes_and_each_answer_knows_when(people: People) -> None:
    """City, job and diet over months; asked at each point in time."""
    await people.say("Hello.")
    for said, days in ((PORTO, 0), (JOB, 1), (DIET, 2)):
        await tell(people, said, days)
    assert sorted(await people.texts()) == ["Is a vegetarian.", "Lives in Porto.", "Works as a baker."]
    await tell(people, LISBON, 60)
    assert sorted(await people.texts()) == [
        "Is a vegetarian.",
        "Moved to Lisbon last week (week of 2026-04-20).",
        "Works as a baker.",
    ]
    for said, days in ((NEW_JOB, 90), (NEW_DIET, 120)):
        await tell(people, said, days)
    found = await all_of(people)
    porto, lisbon = found["Lives in Porto."], found["Moved to Lisbon last week (week of 2026-04-20)."]
    assert (porto.valid_from, porto.valid_until) == (MARCH, lisbon.valid_from)
    assert (porto.replaced_by, lisbon.valid_from) == (lisbon.id, datetime(2026, 4, 20, tzinfo=UTC))
    assert len(found) == 6
    assert len(await people.memories()) == 3

    entries = index_entries(people.app)
    assert f"c{lisbon.id}" in entries
    assert f"c{porto.id}" not in entries
    recalled = await people.recall("Where do I live?")
    until = {each.text: each.until for each in recalled.memories}
    assert until[PORTO] == lisbon.valid_from
    assert next(text for text in until if "Lisbon" in text) is not None
    assert all(until[text] is None for text in until if "Lisbon" in text)

    await people.say("Where do I live?", conversation="another")
    prompt = people.prompts()[-1][-1]["content"]
    assert "I live in Porto. (2026-03-02; no longer so since 2026-04-20)" in prompt

    shown = await people.say("/memory timeline where I live", conversation="another")
    assert "2026-03-02 until 2026-04-20: Lives in Porto." in shown
    assert shown.index("Lives in Porto.") < shown.index("Moved to Lisbon")
    changes = await people.say("/memory timeline")
    assert [changes.index(text) for text in sorted(found, key=lambda t: found[t].valid_from)]
    assert changes.index("Works as a baker.") < changes.index("Works as a nurse.")


@ONE_DATABASE
async def test_why_names_the_message_and_what_was_so_before(people: People) -> None:
    await tell(people, PORTO, 0)
    await tell(people, LISBON, 60)
    why = await people.say("/memory why 1")
    assert "Moved to Lisbon last week (week of 2026-04-20)." in why
    assert "2026-05-01: “I moved to Lisbon last week.”" in why
    assert "2026-03-02 until 2026-04-20: Lives in Porto." in why
    for which in ("2", "0", "x", "99999999"):
        assert await people.say(f"/memory why {which}") == WHY_WHICH


@ONE_DATABASE
async def test_why_tells_what_the_last_answer_rests_on(people: People) -> None:
    await tell(people, PORTO, 0)
    assert await people.say("/memory why", conversation="new") == NO_REASON
    await people.say("Where do I live?", conversation="new")
    why = await people.say("/memory why", conversation="new")
    assert "2026-03-02" in why
    assert "I live in Porto." in why
    ben = await people.say("/memory why", person="ben")
    assert "Porto" not in ben


@ONE_DATABASE
async def test_a_timeline_of_nothing_says_so(people: People) -> None:
    await people.say("Hello there, nice to meet you!")
    assert await people.say("/memory timeline") == NO_CHANGES
    await people.say("/forget everything yes")
    assert await people.say("/memory timeline yachts") == NO_HISTORY


@ONE_DATABASE
async def test_what_was_said_earlier_but_read_later_does_not_win(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two conversations: the one from April is read before that from March."""
    await tell(people, BRAGA, 60, conversation="april")
    monkeypatch.setitem(REPLACES, PORTO, ("Lives in Braga",))
    await tell(people, PORTO, 0, conversation="march")
    found = await all_of(people)
    assert await people.texts() == ["Lives in Braga."]
    porto, braga = found["Lives in Porto."], found["Lives in Braga."]
    assert (porto.replaced_by, porto.valid_until) == (braga.id, braga.valid_from)


@ONE_DATABASE
async def test_what_was_so_once_may_be_so_again(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    await tell(people, PORTO, 0)
    await tell(people, BRAGA, 30)
    monkeypatch.setitem(REPLACES, PORTO, ("Lives in Braga",))
    await tell(people, PORTO, 60)
    (porto,) = await people.memories()
    assert (porto.text, porto.valid_from) == ("Lives in Porto.", MARCH + timedelta(days=60))
    assert len(await people.house.rows(memories)) == 3


@ONE_DATABASE
async def test_taking_back_a_change_brings_back_what_was_so_before(people: People) -> None:
    await tell(people, PORTO, 0)
    await tell(people, BRAGA, 30)
    await people.say("/forget 1")
    (porto,) = await people.memories()
    assert (porto.text, porto.valid_until, porto.replaced_by) == ("Lives in Porto.", None, None)
    await people.app.indexer.flush()
    assert f"c{porto.id}" in index_entries(people.app)
    assert FORGOTTEN not in await people.recalled("Where do I live?")


@ONE_DATABASE
async def test_taking_back_the_middle_of_three_leaves_the_last(people: People) -> None:
    await tell(people, PORTO, 0)
    await tell(people, BRAGA, 30)
    await tell(people, LISBON, 60)
    found = await all_of(people)
    await people.app.forgetting.memory(await people.id(), found["Lives in Braga."].id)
    found = await all_of(people)
    lisbon = found["Moved to Lisbon last week (week of 2026-04-20)."]
    assert (found["Lives in Porto."].replaced_by, len(found)) == (lisbon.id, 2)
    assert await people.texts() == [lisbon.text]


@ONE_DATABASE
async def test_an_edit_that_takes_a_change_back_lets_the_old_hold_again(people: People) -> None:
    await tell(people, PORTO, 0)
    await people.say(BRAGA, event="e1", sent_at=MARCH + timedelta(days=30))
    await people.work()
    await people.say("I moved my desk.", replaces="e1", sent_at=MARCH + timedelta(days=31))
    await people.work()
    assert await people.texts() == ["Lives in Porto."]


@ONE_DATABASE
async def test_a_group_changes_nothing_that_was_said_in_private(people: People) -> None:
    await tell(people, PORTO, 0)
    await people.say_in_group(BRAGA, sent_at=MARCH + timedelta(days=30))
    await people.work()
    assert sorted(await people.texts()) == ["Lives in Braga.", "Lives in Porto."]
    assert all("Lives in Porto" not in page for page in people.pages()[1:])
    shown = await people.say_in_group("/memory timeline where I live")
    assert "Braga" in shown
    assert "Porto" not in shown


@ONE_DATABASE
async def test_maybe_waits_until_it_is_said_again(people: People) -> None:
    first, second = "Maybe I'm lactose intolerant.", "I'm lactose intolerant, it turns out."
    people.model.extract = lambda body: json.dumps(
        {
            "memories": [
                read_claim(int(number), "I'm lactose intolerant", "Is lactose intolerant.")
                for number in re.findall(
                    r"^\[(\d+)\] .*lactose", body["messages"][-1]["content"], re.MULTILINE
                )
            ]
        }
    )
    await tell(people, first, 0)
    (memory,) = await people.memories()
    assert not memory.is_believed
    assert f"c{memory.id}" not in index_entries(people.app)
    assert [each.kind for each in (await people.recall("lactose")).memories] == ["said"]
    assert "you weren't sure" in await people.say("/memory")
    assert "before you say it again" in await people.say("/memory why 1")
    await tell(people, second, 1)
    (memory,) = await people.memories()
    assert memory.is_believed
    assert len(memory.sources) == 2
    assert f"c{memory.id}" in index_entries(people.app)


@ONE_DATABASE
async def test_a_date_is_that_of_where_it_was_said(people: People) -> None:
    """Late in the evening of a Sunday in Porto it is Monday in Auckland: "last week" is another one."""
    sunday = datetime(2026, 3, 8, 22, tzinfo=UTC)
    auckland = timezone(timedelta(hours=13))
    await people.say(LISBON, sent_at=sunday, zone=UTC)
    await people.say(LISBON, person="ben", sent_at=sunday, zone=auckland)
    await people.work()
    assert await people.texts() == ["Moved to Lisbon last week (week of 2026-02-23)."]
    assert await people.texts("ben") == ["Moved to Lisbon last week (week of 2026-03-02)."]
    assert {row.utc_offset for row in await people.house.rows(messages) if row.role == "user"} == {0, 780}
    await people.say("Hi", person="ben", sent_at=sunday, zone=auckland, conversation="new")
    assert "Today is Monday, 2026-03-09." in people.prompts()[-1][0]["content"]
