"""Nothing about a person lies on a disk in plain text, and a key that is gone takes everything along (P4)."""

import base64
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import redis
from pydantic import SecretStr
from sqlalchemy import delete, select

from core.app import App, open_app
from core.errors import ConfigurationError, Undecryptable
from core.memory.jobs import JobState
from core.messages import ConversationRef, Enclosure, EnclosureKind, Sender
from core.privacy.keys import load_master_key
from core.privacy.vault import Vault
from core.settings import Settings
from core.storage.database import Database
from core.storage.schema import conversations, jobs, keys
from tests.conftest import make_settings
from tests.integration.remembering import People, people_of, reader
from tests.processes import a_mneme, until
from tests.servers import chroma_server, redis_server
from tests.standins.model import ModelStandIn
from tests.standins.paper import letter

NEEDLES = ("Zebrafink", "Quittengelee", "Oktopus", "Wolkenkuckuck", "Xylofon", "Veilchenweg", "Grummeltopf")
"""A word for each place that a person's text goes to."""
SAID, NAMED, ADDRESSED, ENCLOSED, ANSWERED, CLAIMED, FOLDED = NEEDLES


@pytest.fixture
def whole(migrated_database: str, model: ModelStandIn, tmp_path: Path) -> Iterator[Settings]:
    """Settings over stores of the test's own, all of whose files can be read."""
    with ExitStack() as stack:
        for part in ("redis", "chroma"):
            (tmp_path / part).mkdir()
        made = make_settings(
            database_url=migrated_database,
            redis_url=stack.enter_context(redis_server(tmp_path / "redis")),
            chroma_url=stack.enter_context(chroma_server(tmp_path / "chroma")),
            openai_base_url=model.base_url,
            openai_api_key=model.key,
            openai_model=model.model,
            mneme_data_dir=tmp_path / "data",
            mneme_master_key=None,
            access="open",
            fold_messages=4,
        )
        yield made


def encodings(word: str) -> Iterator[bytes]:
    """How the word could stand in a file without being sealed."""
    for spelled in (word, word.lower(), word.upper()):
        yield spelled.encode()
        yield spelled.encode("utf-16-le")
        yield spelled.encode().hex().encode()
        yield from (base64.b64encode(b"." * n + spelled.encode())[4:-4] for n in range(3))


def found_in(content: bytes) -> list[str]:
    return [word for word in NEEDLES if any(spelled in content for spelled in encodings(word))]


async def lead_a_life(people: People) -> None:
    """Says, forwards, is answered, remembered and folded."""
    people.model.answer = lambda _: f"I see: {ANSWERED}."
    people.model.extract = lambda body: reader((SAID, f"{CLAIMED}, {SAID}."))(body).replace(
        "talked about tea", FOLDED
    )
    material = (Enclosure(EnclosureKind.FORWARDED, f"Buy {ENCLOSED}!"),)
    direct = letter("x").conversation.kind
    for number in range(7):
        await people.house.take(
            replace(
                letter(f"My pet is a {SAID}, number {number}"),
                sender=Sender("ana", f"Ana {NAMED}"),
                conversation=ConversationRef(ADDRESSED, direct, {"to": ADDRESSED}),
                enclosures=material,
            )
        )
        await people.house.settled()
    await people.work()
    assert CLAIMED in str(await people.texts())
    assert (await people.house.row(conversations)).summary_sealed
    await people.say(f"And my {SAID}?", conversation=ADDRESSED)
    assert all(word in str(people.prompts()) for word in (SAID, ENCLOSED, ANSWERED, FOLDED))


async def test_no_file_of_any_store_holds_a_word(
    whole: Settings, model: ModelStandIn, tmp_path: Path
) -> None:
    async with people_of(whole, model) as people:
        await lead_a_life(people)
        # While it runs: the write-ahead log and Chroma's queue are as full as they get.
        assert redis.Redis.from_url(whole.redis_url.get_secret_value()).save()  # type: ignore[union-attr]
        assert held(tmp_path) == {}
    assert held(tmp_path) == {}
    database = whole.database_url.get_secret_value()  # type: ignore[union-attr]
    if database.startswith("postgresql"):
        assert found_in(dump(database)) == []


def held(folder: Path) -> dict[str, list[str]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any("chroma" in str(path) for path in files)
    assert any(path.suffix == ".rdb" for path in files)
    return {str(path): words for path in files if (words := found_in(path.read_bytes()))}


def dump(url: str) -> bytes:
    """Every row of every table, as text and as bytes."""
    content = b""
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"').fetchall():
                content += b"".join(v if isinstance(v, bytes) else str(v).encode() for v in row)
    assert content
    return content


def test_the_search_would_find_it(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\0" + base64.b64encode(b"12 " + SAID.encode() + b" 34"))
    assert found_in((tmp_path / "x").read_bytes()) == [SAID]
    assert found_in(f"my {NAMED.upper()}".encode()) == [NAMED]


async def test_real_processes_log_and_keep_no_word(
    whole: Settings, model: ModelStandIn, tmp_path: Path
) -> None:
    model.answer = lambda _: f"I see: {ANSWERED}."
    model.extract = reader((SAID, f"{CLAIMED}, {SAID}."))
    loud = whole.model_copy(update={"log_level": "DEBUG"})
    (tmp_path / "logs").mkdir()
    async with a_mneme(loud, tmp_path / "logs") as mneme:
        await mneme.serve()
        mneme.work()
        await mneme.ask(NAMED, f"My pet is a {SAID}")
        async with open_app(whole) as app:
            await until(lambda: any_done(app))
        await mneme.ask(NAMED, f"What do I call my {SAID}?", "--new")
        assert redis.Redis.from_url(whole.redis_url.get_secret_value()).save()  # type: ignore[union-attr]
        assert held(tmp_path) == {}
    assert held(tmp_path) == {}
    secrets = [model.key, load_master_key(whole).derive("x").hex()]
    logs = b"".join(path.read_bytes() for path in (tmp_path / "logs").iterdir())
    assert b"job_ended" in logs
    assert not any(secret.encode() in logs for secret in secrets)


async def any_done(app: App) -> bool:
    async with app.database.read() as connection:
        return await connection.scalar(select(jobs.c.id).where(jobs.c.state == JobState.DONE)) is not None


@pytest.fixture
async def database(migrated_database: str) -> AsyncIterator[Database]:
    opened = Database.from_settings(make_settings(database_url=migrated_database))
    yield opened
    await opened.close()


async def test_everybody_has_a_key_of_their_own(database: Database) -> None:
    vault = Vault(load_master_key(make_settings()))
    async with database.write() as connection:
        await vault.create(connection, "ana")
        await vault.create(connection, "ben")
    async with database.read() as connection:
        ana, ben = await vault.box(connection, "ana"), await vault.box(connection, "ben")
    sealed = ana.seal("I like tea ☕", "messages.text")
    assert ana.open(sealed, "messages.text") == "I like tea ☕"
    assert ana.derive("rotation") != ben.derive("rotation") != ana.derive("other")
    with pytest.raises(Undecryptable):
        ben.open(sealed, "messages.text")
    with pytest.raises(Undecryptable):
        ana.open(sealed, "memories.text")
    value = {"text": "ß", "list": [1, None]}
    assert ana.open_json(ana.seal_json(value, "x"), "x") == value


async def test_a_destroyed_key_is_gone_for_every_process(database: Database) -> None:
    settings = make_settings()
    here, there = Vault(load_master_key(settings)), Vault(load_master_key(settings))
    async with database.write() as connection:
        await here.create(connection, "ana")
    async with database.read() as connection:
        assert (await there.box(connection, "ana")).derive("x") == (await here.box(connection, "ana")).derive(
            "x"
        )
    async with database.write() as connection:
        await here.destroy(connection, "ana")
    for vault in (here, there):
        async with database.read() as connection:
            with pytest.raises(Undecryptable):
                await vault.box(connection, "ana")


async def test_a_key_whose_making_was_rolled_back_is_none(database: Database) -> None:
    vault = Vault(load_master_key(make_settings()))
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  # the transaction has to end by it
        async with database.write() as connection:
            await vault.create(connection, "ana")
            await vault.box(connection, "ana")
            raise ZeroDivisionError
    async with database.read() as connection:
        with pytest.raises(Undecryptable):
            await vault.box(connection, "ana")


async def test_a_wrapped_key_moved_to_another_owner_opens_nothing(database: Database) -> None:
    settings = make_settings()
    async with database.write() as connection:
        vault = Vault(load_master_key(settings))
        await vault.create(connection, "ana")
        await connection.execute(keys.update().values(owner="ben"))
    async with database.read() as connection:
        with pytest.raises(Undecryptable):
            await Vault(load_master_key(settings)).box(connection, "ben")


async def test_another_master_key_is_refused_at_the_start(settings: Settings) -> None:
    async with open_app(settings) as app, app.database.write() as connection:
        await Vault(app.master).create(connection, "ana")
    another = SecretStr(base64.b64encode(os.urandom(32)).decode())
    other = settings.model_copy(update={"mneme_master_key": another})
    with pytest.raises(ConfigurationError, match="MNEME_MASTER_KEY"):
        async with open_app(other):
            pass
    async with open_app(settings) as app, app.database.write() as connection:
        await connection.execute(delete(keys))
    async with open_app(other):
        pass
