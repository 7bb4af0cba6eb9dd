"""Erasing a person: gone from every table, file and index, told by a receipt, and never back."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Table, select

from core.app import App, open_app
from core.clock import Clock, SystemClock
from core.delivery.turns import TurnState
from core.errors import NotDelivered
from core.reply.account_commands import IN_PRIVATE
from core.rights.erasure import BEARER_LIFE
from core.rights.erasure_list import FILE, ErasureList
from core.settings import Settings
from core.storage.schema import audit, conversations, erasures, jobs, keys, metadata, sign_ins, turns, users
from tests.integration.conftest import House
from tests.integration.remembering import ONE_DATABASE, People, index_entries, people_of, reader
from tests.standins.model import ModelStandIn
from tests.standins.paper import CHANNEL, WORKSPACE

PORTO = ("I live in Porto", "Lives in Porto.")
TEA = ("I drink tea", "Drinks tea.")


class Later(SystemClock):
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self.by = BEARER_LIFE * 0

    def now(self) -> datetime:
        return super().now() + self.by


@pytest.fixture
def clock() -> Later:
    return Later()


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn, clock: Clock) -> AsyncIterator[People]:
    model.extract = reader(PORTO, TEA)
    async with people_of(open_settings, model, clock) as made:
        yield made


async def lead_lives(people: People) -> None:
    """Of two people, in private and in a group."""
    await people.say("I live in Porto.")
    await people.say("I drink tea.", person="ben")
    await people.say_in_group("I live in Porto, too.")
    await people.say_in_group("I drink tea, too.", person="ben")
    await people.say_in_group("I live in Porto.", group="of ana alone")
    await people.work()


async def naming(house: House, *ids: str) -> dict[str, int]:
    """In how many rows of which tables one of the ids stands, whatever the column. The audit keeps it."""
    found: dict[str, int] = {}
    for table in metadata.sorted_tables:
        if table is audit:
            continue
        count = sum(any(str(value) in ids for value in row) for row in await house.rows(table))
        if count:
            found[table.name] = count
    return found


async def count(house: House, table: Table) -> int:
    return len(await house.rows(table))


def entries_of(people: People, user_id: str) -> list[str]:
    pseudonym = people.app.indexer.pseudonym(user_id)
    return [id for id, (data, _) in index_entries(people.app).items() if data["user"] == pseudonym]


async def test_who_is_erased_is_gone_from_every_table_and_the_index(people: People, clock: Later) -> None:
    await lead_lives(people)
    ana, ben = await people.id(), await people.id("ben")
    await people.app.sign_in.link_token("owner")
    bens_entries = entries_of(people, ben)
    assert entries_of(people, ana)
    (wrapped,) = [row.wrapped for row in await people.house.rows(keys, keys.c.owner == ana)]

    asked = await people.say("/erase")
    assert "/erase yes" in asked
    assert await naming(people.house, ana)
    said = await people.say("/erase yes")

    (receipt,) = await people.house.rows(erasures)
    assert receipt.id in said
    assert {name: receipt.counts[name] for name in ("accounts", "conversations", "messages", "memories")} == {
        "accounts": 1,
        "conversations": 1,
        "messages": 3,
        "memories": 3,
    }
    assert await naming(people.house, ana) == {"erasures": 1}
    assert entries_of(people, ana) == []
    assert receipt.index_cleared

    # The receipt was told under a name of its own, which goes as well.
    assert await naming(people.house, receipt.bearer_id)
    clock.by = 2 * BEARER_LIFE
    await people.app.erasure.tidy()
    assert await naming(people.house, receipt.bearer_id) == {}
    found = await people.app.erasure.find(receipt.id.lower())
    assert found is not None
    assert (await people.app.erasure.remains(found)).is_nothing

    # Nobody else is touched, and the same account is a stranger's.
    assert await people.texts("ben") == ["Drinks tea.", "Drinks tea."]
    assert entries_of(people, ben) == bens_entries
    kinds = [row.kind for row in await people.house.rows(conversations)]
    assert sorted(kinds) == ["direct", "group"]
    await people.say("Where do I live?")
    assert "Porto" not in str(people.prompts()[-1])
    assert await people.id() != ana
    assert not any(wrapped == row.wrapped for row in await people.house.rows(keys))


async def test_no_file_keeps_the_key(people: People, tmp_path: Path) -> None:
    """Whoever has the disk and the master key can't bring the person back."""
    await lead_lives(people)
    ana = await people.id()
    (row,) = await people.house.rows(keys, keys.c.owner == ana)
    database = people.app.settings.database_url
    assert database is not None
    if not database.get_secret_value().startswith("sqlite"):
        pytest.skip("PostgreSQL's files are its own")

    def files_with(piece: bytes) -> list[str]:
        return [path.name for path in tmp_path.glob("mneme.db*") if piece in path.read_bytes()]

    assert files_with(row.wrapped)
    await people.app.erasure.erase(ana)
    assert files_with(row.wrapped) == []


@ONE_DATABASE
async def test_in_a_group_nobody_is_erased(people: People) -> None:
    await lead_lives(people)
    assert await people.say_in_group("/erase yes") == IN_PRIVATE
    assert await people.say("/erase everything") != ""
    assert await people.texts() != []
    assert await count(people.house, erasures) == 0


def erase_elsewhere(settings: Settings, user_id: str) -> None:
    """By another process, as it were, while this one stands still."""

    async def erase() -> None:
        async with open_app(settings) as app:
            await app.erasure.erase(user_id)

    thread = Thread(target=lambda: asyncio.run(erase()))
    thread.start()
    thread.join()


@pytest.mark.parametrize("amid", ["a reply", "a job"])
async def test_what_works_for_somebody_meanwhile_ends_quietly(
    people: People, model: ModelStandIn, amid: str
) -> None:
    await people.say("I live in Porto.")
    await people.say("I drink tea.", person="ben")
    ana = await people.id()
    answer, extract = model.answer, model.extract

    def answering(messages: list[dict[str, Any]]) -> str:
        model.answer = answer
        erase_elsewhere(people.app.settings, ana)
        return answer(messages)

    def extracting(body: dict[str, Any]) -> str:
        model.extract = extract
        erase_elsewhere(people.app.settings, ana)
        return extract(body)

    if amid == "a reply":
        model.answer = answering
        await people.house.accept("What is the weather like?", conversation="elsewhere")
        await people.house.settled()
    else:
        model.extract = extracting
    await people.work()
    assert await naming(people.house, ana) == {"erasures": 1}
    assert entries_of(people, ana) == []
    assert await people.texts("ben") == ["Drinks tea."]
    assert {row.state for row in await people.house.rows(jobs)} <= {"done"}


async def test_the_receipt_is_delivered_though_its_process_died(people: People) -> None:
    """The platform refuses it at first: a later attempt knows the turn only as its bearer's."""
    await people.say("I live in Porto.")
    people.house.paper.open_faults.extend([NotDelivered("busy", 0.1)] * 8)
    said = await people.say("/erase yes")
    (receipt,) = await people.house.rows(erasures)
    assert receipt.id in said
    assert [row.state for row in await people.house.rows(turns)] == [TurnState.DONE]


async def test_a_backup_that_is_put_back_forgets_again(
    open_settings: Settings, model: ModelStandIn, tmp_path: Path
) -> None:
    if "sqlite" not in str(open_settings.database_url and open_settings.database_url.get_secret_value()):
        pytest.skip("the record is put back as a file")
    model.extract = reader(PORTO, TEA)
    async with people_of(open_settings, model) as people:
        await lead_lives(people)
        ana = await people.id()
    shutil.copy(tmp_path / "mneme.db", tmp_path / "backup.db")
    async with open_app(open_settings) as app:
        receipt = await app.erasure.erase(ana)
    shutil.copy(tmp_path / "backup.db", tmp_path / "mneme.db")

    async with open_app(open_settings) as app:
        assert await _stands(app, ana)
        assert [each.id for each in await app.erasure.reapply()] == [receipt.id]
        assert not await _stands(app, ana)
        assert await app.erasure.find(receipt.id) == receipt
        assert (await app.erasure.remains(receipt)).is_nothing
        assert await app.erasure.reapply() == []
    assert (tmp_path / "data" / FILE).stat().st_mode & 0o077 == 0


async def _stands(app: App, user_id: str) -> bool:
    async with app.database.read() as connection:
        return await connection.scalar(select(users.c.id).where(users.c.id == user_id)) is not None


@ONE_DATABASE
async def test_a_list_that_was_lost_is_made_again_from_the_record(people: People, tmp_path: Path) -> None:
    await people.say("I live in Porto.")
    receipt = await people.app.erasure.erase(await people.id())
    (tmp_path / "data" / FILE).unlink()
    await people.app.erasure.reapply()
    assert ErasureList(tmp_path / "data").read() == [receipt]


@ONE_DATABASE
async def test_while_the_index_is_away_the_erasure_stands_and_the_index_follows(
    open_settings: Settings, model: ModelStandIn
) -> None:
    async with people_of(open_settings, model) as people:
        await people.say("I live in Porto.")
        ana = await people.id()
    away = open_settings.model_copy(update={"chroma_url": "http://127.0.0.1:9"})
    async with open_app(away) as app:
        receipt = await app.erasure.erase(ana)
        assert (await app.erasure.remains(receipt)).vectors is None
    async with people_of(open_settings, model) as people:
        assert entries_of(people, ana)
        await people.app.erasure.tidy()
        assert entries_of(people, ana) == []


@ONE_DATABASE
async def test_who_is_signed_in_is_signed_out(people: People) -> None:
    token = await people.app.sign_in.link_token("owner")
    session = await people.app.sign_in.open_session(token)
    assert session is not None
    visitor = await people.app.sign_in.visitor(session.token)
    assert visitor is not None
    await people.app.erasure.erase(visitor.user_id)
    assert await people.app.sign_in.visitor(session.token) is None
    assert await count(people.house, sign_ins) == 0


@ONE_DATABASE
async def test_nobody_is_erased_twice(people: People) -> None:
    await people.say("I live in Porto.")
    ana = await people.id()
    await people.app.erasure.erase(ana)
    with pytest.raises(LookupError):
        await people.app.erasure.erase(ana)
    async with people.app.database.read() as connection:
        assert await people.app.people.find(connection, CHANNEL, WORKSPACE, "ana") is None
