"""What is older than the operator keeps it for goes, and no memory is left without its source."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from core.clock import SystemClock
from core.rights.retention import Retention
from core.settings import Settings
from core.storage.schema import deliveries, memories, messages, sources, turns
from tests.integration.remembering import Body, People, index_entries, is_page, people_of
from tests.standins.model import ModelStandIn, read_claim

PORTO, DENTIST, TEA = (
    "I live in Porto.",
    "I went to the dentist on 2026-03-01.",
    "I drink tea while it rains.",
)
CLAIMS = {
    PORTO: ("I live in Porto", "Lives in Porto.", "identity", ""),
    DENTIST: ("I went to the dentist on 2026-03-01", "Went to the dentist.", "event", "on 2026-03-01"),
}
NOW = datetime.now(UTC)


def reads(body: Body) -> str:
    if not is_page(body):
        return json.dumps({"same": [], "conclusions": []})
    found: list[dict[str, Any]] = []
    for number, said in re.findall(r"^\[(\d+)\] \([\d-]+\) (.*)$", body["messages"][-1]["content"], re.M):
        if said in CLAIMS:
            quote, text, kind, when = CLAIMS[said]
            found.append(read_claim(int(number), quote, text, kind=kind, when=when))
    return json.dumps({"memories": found})


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    model.extract = reads
    async with people_of(open_settings, model) as made:
        yield made


def retention(people: People, **days: int) -> Retention:
    app = people.app
    return Retention(app.database, app.forgetting, SystemClock(), days)


async def long_ago(people: People, *texts: str) -> None:
    """Says them half a year ago, and has them read."""
    then = NOW - timedelta(days=180)
    for text in texts:
        await people.say(text, sent_at=then)
    await people.work()
    async with people.app.database.write() as connection:
        await connection.execute(update(turns).values(started_at=then, finished_at=then))


async def test_the_transcript_goes_but_for_what_a_memory_cites(people: People) -> None:
    await long_ago(people, PORTO, TEA)
    await people.say("Hello, I'm back.", conversation="another")
    assert await people.app.retention.enforce() == {}
    assert await retention(people, transcript=90).enforce() == {"transcript": 2}
    await people.app.indexer.flush()
    assert await people.texts() == ["Lives in Porto."]
    said = await people.house.rows(messages)
    assert [row.role for row in said] == ["user", "user", "assistant"]
    assert "tea" not in str(await people.recalled("tea while it rains"))
    assert "Porto" in str(await people.recalled("Where do I live?"))
    old = await people.house.rows(turns, turns.c.finished_at < NOW - timedelta(days=90))
    assert not any(row.reply_sealed or row.account_sealed for row in old)
    ids = [row.id for row in old]
    shown = await people.house.rows(deliveries, deliveries.c.turn_id.in_(ids))
    assert not any(row.shown_sealed for row in shown)
    assert await retention(people, transcript=90).enforce() == {"transcript": 0}


async def test_memories_of_a_kind_go_with_their_words(people: People) -> None:
    await long_ago(people, PORTO, DENTIST)
    assert len(await people.memories()) == 2
    assert await retention(people, event=365).enforce() == {"event": 0}
    assert await retention(people, event=90).enforce() == {"event": 1}
    await people.app.indexer.flush()
    assert await people.texts() == ["Lives in Porto."]
    assert "dentist" not in await people.say("/memory")
    assert "dentist" not in str(await people.recalled("the dentist"))
    (memory,) = await people.house.rows(memories)
    assert [row.memory_id for row in await people.house.rows(sources)] == [memory.id]
    assert f"c{memory.id}" in index_entries(people.app)
    # What is pinned stays.
    await people.say("/memory pin 1")
    assert await retention(people, identity=90).enforce() == {"identity": 0}
