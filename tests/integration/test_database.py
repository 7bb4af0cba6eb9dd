"""The record's transactions, on both databases: all or nothing, one error, and no words where none belong."""

import asyncio
import multiprocessing
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, func, insert, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from core.errors import ConfigurationError, StoreUnavailable
from core.storage.database import (
    Database,
    database_seconds,
    database_url,
    new_id,
    require_newest_schema,
    upgrade,
)
from core.storage.schema import keys, metadata, users
from tests.conftest import make_settings
from tests.servers import free_port

NOW = datetime.now(UTC)
PARALLEL = 2


@pytest.fixture
async def empty(empty_database: str) -> AsyncIterator[Database]:
    database = Database(database_url(make_settings(database_url=empty_database)))
    yield database
    await database.close()


@pytest.fixture
async def database(empty: Database) -> Database:
    await asyncio.to_thread(upgrade, empty.url)
    return empty


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    url = URL.create("sqlite", database=str(tmp_path / "new" / "mneme.db"))
    await asyncio.to_thread(upgrade, url)
    database = Database(url)
    yield database
    await database.close()


async def add_user(
    database: Database,
    id: str | None = None,
    then: Callable[[AsyncConnection], Awaitable[None]] | None = None,
) -> None:
    """Adds a user, and does something else in the same transaction."""
    async with database.write() as connection:
        await connection.execute(insert(users).values(id=id or new_id(), created_at=NOW))
        if then is not None:
            await then(connection)


async def count(database: Database) -> int:
    async with database.read() as connection:
        return int(await connection.scalar(select(func.count()).select_from(users)) or 0)


async def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    async def fail(connection: AsyncConnection) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await add_user(database, then=fail)
    assert await count(database) == 0
    with pytest.raises(IntegrityError):
        async with database.write() as connection:
            await connection.execute(insert(users), [{"id": "twice", "created_at": NOW}] * 2)
    assert await count(database) == 0


async def test_a_cancelled_transaction_leaves_nothing_and_no_lock(database: Database) -> None:
    async def write(steps: int) -> None:
        async with database.write() as connection:
            for _ in range(steps):
                await connection.execute(insert(users).values(id=new_id(), created_at=NOW))
            await asyncio.Event().wait()

    for rounds in range(20):
        writers = [asyncio.create_task(write(rounds)) for _ in range(3)]
        for _ in range(rounds):
            await asyncio.sleep(0)
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
    async with asyncio.timeout(30):
        await add_user(database)
    assert await count(database) == 1


async def test_a_look_sees_one_state_of_the_record_and_leaves_no_connection_behind(
    database: Database,
) -> None:
    every = select(func.count()).select_from(users)

    async def twice(connection: AsyncConnection) -> list[int | None]:
        found = [await connection.scalar(every), (await connection.scalars(every)).one()]
        assert (await connection.execute(every)).scalar_one() == found[0]
        return found

    async def fail(connection: AsyncConnection) -> None:
        raise ZeroDivisionError

    await add_user(database)
    looks = await asyncio.gather(*(database.look(twice) for _ in range(30)))
    assert looks == [[1, 1]] * 30
    for _ in range(30):
        with pytest.raises(ZeroDivisionError):
            await database.look(fail)
    await add_user(database)
    assert await database.look(twice) == [2, 2]


async def test_a_look_may_wait_for_nothing_but_the_record(sqlite: Database) -> None:
    async def wait(connection: AsyncConnection) -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="await nothing else"):
        await sqlite.look(wait)


async def test_many_writers_and_readers_all_get_their_turn(database: Database) -> None:
    await asyncio.gather(*(add_user(database) for _ in range(60)), *(count(database) for _ in range(60)))
    assert await count(database) == 60


async def test_two_processes_may_write(database: Database) -> None:
    other = Database(database.url)
    await asyncio.gather(*(add_user(one) for one in (database, other) for _ in range(30)))
    await other.close()
    assert await count(database) == 60


async def test_an_error_carries_no_values(database: Database) -> None:
    with pytest.raises(StoreUnavailable) as unavailable:
        async with database.write() as connection:
            await connection.execute(
                text("INSERT INTO nowhere (words) VALUES (:words)"), {"words": "allergic to peanuts"}
            )
    assert "peanuts" not in "".join(traceback.format_exception(unavailable.value))
    assert "nowhere" not in str(unavailable.value)
    await add_user(database, "the same")
    with pytest.raises(IntegrityError) as conflict:
        async with database.write() as connection:
            await connection.execute(
                insert(users).values(id="the same", created_at=datetime(1987, 6, 5, tzinfo=UTC))
            )
    assert "1987" not in "".join(traceback.format_exception(conflict.value))


async def test_the_clock_is_the_databases(database: Database) -> None:
    async with database.read() as connection:
        first = await connection.scalar(select(database_seconds()))
        second = await connection.scalar(select(database_seconds()))
    assert first is not None
    assert second is not None
    assert first <= second
    assert abs(first - datetime.now(UTC).timestamp()) < 3600


async def test_the_migrations_make_what_the_code_expects(database: Database) -> None:
    await require_newest_schema(database)
    async with database.read() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(
                MigrationContext.configure(sync, opts={"compare_type": True}), metadata
            )
        )
    assert differences == []


async def test_another_schema_is_refused_with_its_cure(empty: Database) -> None:
    with pytest.raises(ConfigurationError, match="mneme migrate"):
        await require_newest_schema(empty)
    await asyncio.to_thread(upgrade, empty.url)
    await require_newest_schema(empty)
    async with empty.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="mneme migrate"):
        await require_newest_schema(empty)


def _upgrade(
    url: str, start: "multiprocessing.synchronize.Barrier", faults: "multiprocessing.Queue[str]"
) -> None:
    start.wait(60)
    try:
        upgrade(make_url(url))
    except Exception as error:  # noqa: BLE001  # whatever it is, the test shows it
        faults.put(repr(error))
    else:
        faults.put("")


async def test_upgrades_side_by_side_wait_for_each_other(empty: Database) -> None:
    context = multiprocessing.get_context("spawn")
    start, faults = context.Barrier(PARALLEL), context.Queue()
    url = empty.url.render_as_string(hide_password=False)
    processes = [context.Process(target=_upgrade, args=(url, start, faults)) for _ in range(PARALLEL)]
    for process in processes:
        process.start()
    ended = [await asyncio.to_thread(faults.get, True, 60) for _ in processes]
    for process in processes:
        process.join(30)
    assert ended == [""] * PARALLEL
    await require_newest_schema(empty)


async def test_a_failed_upgrade_leaves_nothing(empty: Database) -> None:
    async with empty.write() as connection:
        await connection.execute(text("CREATE TABLE sign_ins (obstacle INTEGER)"))
    with pytest.raises(StoreUnavailable):
        await asyncio.to_thread(upgrade, empty.url)
    async with empty.write() as connection:
        await connection.execute(text("DROP TABLE sign_ins"))
    await asyncio.to_thread(upgrade, empty.url)
    await require_newest_schema(empty)


def test_a_database_that_cannot_be_opened_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "below" / "mneme.db", tmp_path):
        with pytest.raises(StoreUnavailable):
            upgrade(URL.create("sqlite", database=str(path)))
    with pytest.raises(StoreUnavailable):
        upgrade(make_url(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"))


async def test_an_unreachable_server_is_unavailable() -> None:
    database = Database(make_url(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"))
    with pytest.raises(StoreUnavailable):
        await count(database)
    with pytest.raises(StoreUnavailable):
        await add_user(database)
    await database.close()


async def test_a_server_that_ends_a_connection_loses_no_other_write(postgresql_url: str) -> None:
    name = f"mneme_{new_id()}"
    server = create_engine(make_url(postgresql_url).set(drivername="postgresql+psycopg"))
    terminate = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
    with server.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
        admin.exec_driver_sql(f"CREATE DATABASE {name}")
        url = make_url(postgresql_url).set(database=name)
        await asyncio.to_thread(upgrade, url)
        database = Database(url)

        async def end_connections(connection: AsyncConnection) -> None:
            admin.execute(terminate, {"name": name})

        with pytest.raises(StoreUnavailable):
            await add_user(database, then=end_connections)
        assert await count(database) == 0
        admin.execute(terminate, {"name": name})
        await add_user(database)
        assert await count(database) == 1
        await database.close()
        admin.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    server.dispose()


async def test_sqlite_keeps_its_settings_on_every_connection(sqlite: Database) -> None:
    wanted = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "foreign_keys": 1}
    for transaction in (sqlite.read, sqlite.write, sqlite.read):
        async with transaction() as connection, sqlite.read() as beside:
            for one in (connection, beside):
                found = {name: (await one.exec_driver_sql(f"PRAGMA {name}")).scalar() for name in wanted}
                assert found == wanted
                assert (await one.exec_driver_sql("PRAGMA busy_timeout")).scalar_one() > 0


async def test_a_full_disk_writes_nothing(sqlite: Database) -> None:
    async def fill_the_disk(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("PRAGMA max_page_count = 1")
        try:
            await connection.execute(insert(keys).values(owner="large", wrapped=bytes(2**20)))
        finally:
            await connection.exec_driver_sql("PRAGMA max_page_count = 1073741823")

    with pytest.raises(StoreUnavailable, match="SQLITE_FULL"):
        await add_user(sqlite, then=fill_the_disk)
    assert await count(sqlite) == 0
    await add_user(sqlite)
    assert await count(sqlite) == 1


async def test_a_database_that_is_locked_for_long_is_unavailable(sqlite: Database) -> None:
    holder = Database(sqlite.url)
    async with holder.write():
        assert await count(sqlite) == 0  # readers don't wait
        with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
            await add_user(sqlite)
    await holder.close()
    await add_user(sqlite)
    assert await count(sqlite) == 1


async def test_writers_behind_a_locked_file_do_not_each_wait_for_it_in_turn(sqlite: Database) -> None:
    holder = Database(sqlite.url)
    async with holder.write(), asyncio.timeout(25):
        outcomes = await asyncio.gather(*(add_user(sqlite) for _ in range(12)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    await holder.close()
    await add_user(sqlite)
    assert await count(sqlite) == 1


def holding(folder: Path, words: bytes) -> list[str]:
    """Which of a database's files hold the words."""
    return [path.name for path in folder.rglob("mneme.db*") if words in path.read_bytes()]


async def test_what_was_deleted_is_in_no_file(sqlite: Database, tmp_path: Path) -> None:
    secret = b"a word that must go"
    async with sqlite.write() as connection:
        await connection.execute(insert(keys).values(owner="x", wrapped=secret))
    assert holding(tmp_path, secret)
    async with sqlite.write() as connection:
        await connection.execute(keys.delete())
    await sqlite.close()
    assert not holding(tmp_path, secret)


def test_the_folder_is_its_owners(tmp_path: Path) -> None:
    upgrade(URL.create("sqlite", database=str(tmp_path / "new" / "mneme.db")))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "given",
    ["postgres://u:pw@host/name", "postgresql://u:pw@host/name", "postgresql+asyncpg://u:pw@host/name"],
)
def test_every_spelling_of_postgresql_is_understood(given: str) -> None:
    url = database_url(make_settings(database_url=given))
    assert url.render_as_string(hide_password=False) == "postgresql://u:pw@host/name"


def test_the_record_is_a_file_in_the_data_directory_by_default(tmp_path: Path) -> None:
    url = database_url(make_settings(mneme_data_dir=tmp_path))
    assert (url.drivername, url.database) == ("sqlite", str(tmp_path / "mneme.db"))
    given = database_url(make_settings(database_url="sqlite+aiosqlite:////srv/mneme.db"))
    assert (given.drivername, given.database) == ("sqlite", "/srv/mneme.db")


@pytest.mark.parametrize(
    "given",
    [
        "mysql://u:pw-secret@host/name",
        "nonsense pw-secret",
        "postgresql://u:pw-secret@host:port/name",
        "nobodys://u:pw-secret@host/name",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_another_database_is_refused_without_its_password(given: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL") as refused:
        database_url(make_settings(database_url=given))
    assert "pw-secret" not in "".join(traceback.format_exception(refused.value))
