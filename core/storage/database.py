"""The SQL record: one engine, two kinds of transaction, one error."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import uuid_utils
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Float,
    create_engine,
    event,
    func,
    make_url,
    or_,
    select,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from core.errors import ConfigurationError, StoreUnavailable
from core.settings import Settings

T = TypeVar("T")

BUSY_TIMEOUT_MS = 5_000
STANDSTILL_MS = 5_000
TURN_SECONDS = 10.0
"""How long a writer waits for this process's other writers, and for a connection to PostgreSQL."""
MIGRATIONS = Path(__file__).parent / "migrations"
SCRUB_TRIES = 20
SCRUB_PAUSE_SECONDS = 0.1
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # a committed inbox row outlives a power cut
    "PRAGMA secure_delete=ON",  # a deleted row leaves no trace in its page
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
)


class database_seconds(FunctionElement[float]):  # reads as the SQL function that it is
    """The database's own clock, in seconds since 1970: what leases are measured by on every machine."""

    type = Float()
    inherit_cache = True


LONGEST_LEASE_SECONDS = 600.0


def lease_is_over(until: ColumnElement[float]) -> ColumnElement[bool]:
    """Whether a lease until then (NULL: none) holds no longer, by the database's clock.

    One that would last longer than any is from before the clock was set back: its holder may be dead.
    """
    now = database_seconds()
    return or_(until.is_(None), until < now, until > now + LONGEST_LEASE_SECONDS)


@compiles(database_seconds, "sqlite")
def _sqlite_seconds(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(database_seconds, "postgresql")
def _postgresql_seconds(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


async def one_at_a_time(connection: AsyncConnection, what: str) -> None:
    """Until the transaction ends, no other process gets past this. On SQLite there is one writer anyway.

    PostgreSQL ends the transaction of a process that stands still in it: others wait no longer for that.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(
            select(
                func.set_config("idle_in_transaction_session_timeout", str(STANDSTILL_MS), True),
                func.pg_advisory_xact_lock(func.hashtext(what)),
            )
        )


def new_id() -> str:
    """An opaque id of 32 hexadecimal characters that sorts by the time of its making (UUID version 7)."""
    return uuid_utils.uuid7().hex


def id_before(id: str, by: timedelta) -> str:
    """What sorts before all ids that were made up to so long before this one."""
    milliseconds = int(id[:12], 16) - by // timedelta(milliseconds=1)
    return f"{max(milliseconds, 0):012x}"


class Database:
    """Transactions on the record, SQLite or PostgreSQL. Open it once in a process, on one event loop."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self._is_sqlite = url.get_backend_name() == "sqlite"
        driver = "sqlite+aiosqlite" if self._is_sqlite else "postgresql+psycopg"
        asked = self._is_sqlite or "connect_timeout" in url.query
        # hide_parameters: an error must not carry a person's words into the log.
        self._engine = create_async_engine(
            url.set(drivername=driver),
            hide_parameters=True,
            pool_pre_ping=not self._is_sqlite,
            pool_timeout=TURN_SECONDS,
            connect_args={} if asked else {"connect_timeout": int(TURN_SECONDS)},
        )
        self._looking = create_engine(url, hide_parameters=True) if self._is_sqlite else None
        for engine in (self._engine.sync_engine, self._looking):
            if self._is_sqlite and engine is not None:
                event.listen(engine, "connect", _prepare_sqlite)
                event.listen(engine, "begin", _begin_sqlite)
        # SQLite has one writer at a time: waiting here is fair, waiting in its busy loop is not.
        self._turn_to_write = asyncio.Semaphore(1 if self._is_sqlite else 1_000)

    @classmethod
    def from_settings(cls, settings: Settings) -> "Database":
        return cls(database_url(settings))

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads.

        Raises:
            StoreUnavailable: the database is busy, full or unreachable.
        """
        async with _as_store_errors(), self._engine.connect() as connection, connection.begin():
            yield connection

    async def look(self, read: Callable[[AsyncConnection], Coroutine[Any, Any, T]]) -> T:
        """What `read` finds in a transaction that only reads. It may await nothing but queries.

        On SQLite all of it is done in one thread: an asynchronous connection changes threads eight times a
        query, each time waiting for a core. So `read` mustn't change what others may be reading.

        Raises:
            StoreUnavailable: the database is busy, full or unreachable.
        """
        if self._looking is None:
            async with self.read() as connection:
                return await read(connection)
        async with _as_store_errors():
            return await asyncio.to_thread(_look, self._looking, read)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write: it commits at the end of the block, or not at all.

        Raises:
            StoreUnavailable: the database is busy, full or unreachable; nothing was written.
        """
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(TURN_SECONDS):
                    await stack.enter_async_context(self._turn_to_write)
            except TimeoutError:
                raise StoreUnavailable("other writers take too long") from None
            await stack.enter_async_context(_as_store_errors())
            connection = await stack.enter_async_context(self._engine.connect())
            connection = await connection.execution_options(mneme_writes=True)
            await stack.enter_async_context(connection.begin())
            yield connection

    async def scrub(self) -> None:
        """Has the database let go of what was deleted, as far as it does so on demand.

        SQLite empties its write-ahead log, unless somebody keeps reading for long; PostgreSQL vacuums the
        keys, without which nothing opens.
        """
        if not self._is_sqlite:
            async with _as_store_errors(), self._engine.connect() as connection:
                alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
                await alone.exec_driver_sql("VACUUM keys")
            return
        for _ in range(SCRUB_TRIES):
            if await self._truncate_log():
                return
            await asyncio.sleep(SCRUB_PAUSE_SECONDS)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.dispose()
            await self._truncate_log()
        await self._engine.dispose()

    async def _truncate_log(self) -> bool:
        """Deleted text must not live on in the write-ahead log. False: another process is reading."""
        try:
            async with self._engine.connect() as connection:
                raw = await connection.get_raw_connection()
                done = await raw.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
                is_busy, *_ = await done.fetchone()
        except (SQLAlchemyError, sqlite3.Error):
            return False
        return not is_busy


class _AtOnce:
    """A connection to await queries on that are done at once, in this thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(self, *query: Any) -> Any:
        return self._connection.execute(*query)

    async def scalar(self, *query: Any) -> Any:
        return self._connection.scalar(*query)

    async def scalars(self, *query: Any) -> Any:
        return self._connection.scalars(*query)


def _look(engine: Engine, read: Callable[[AsyncConnection], Coroutine[Any, Any, T]]) -> T:
    with engine.connect() as connection, connection.begin():
        reading = read(cast(AsyncConnection, _AtOnce(connection)))
        try:
            reading.send(None)
        except StopIteration as end:
            found: T = end.value
            return found
        reading.close()
        raise RuntimeError("whoever looks into the record may await nothing else")


@asynccontextmanager
async def _as_store_errors() -> AsyncIterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        reason = getattr(error.orig, "sqlite_errorname", None) or getattr(error.orig, "sqlstate", None)
        raise StoreUnavailable(f"{type(error.orig).__name__} {reason or ''}".strip()) from error
    except (PoolTimeout, sqlite3.OperationalError, OSError) as error:
        raise StoreUnavailable(type(error).__name__) from error


def _prepare_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy's "begin" event says BEGIN, not the driver
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


# Of two that turn a new file to WAL at once, SQLite refuses one without letting it wait.
@retry(
    retry=retry_if_exception_type(sqlite3.OperationalError),
    stop=stop_after_delay(BUSY_TIMEOUT_MS / 1000),
    wait=wait_fixed(0.05),
    reraise=True,
)
def _prepare_sqlite_upgrade(connection: Any, record: object) -> None:
    _prepare_sqlite(connection, record)
    # To change a table is to make it anew: dropping the old one must not take other tables' rows along.
    connection.execute("PRAGMA foreign_keys=OFF").close()


def _begin_sqlite(connection: Connection) -> None:
    # A reader that turns writer midway fails at once instead of waiting, so writers say so at the start.
    writes = connection.get_execution_options().get("mneme_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def database_url(settings: Settings) -> URL:
    """Where the record is: `DATABASE_URL`, else a file in the data directory.

    Raises:
        ConfigurationError: neither PostgreSQL nor a file of SQLite's.
    """
    if settings.database_url is None:
        return URL.create("sqlite", database=str(settings.mneme_data_dir / "mneme.db"))
    try:
        url = make_url(settings.database_url.get_secret_value())
        backend = url.get_backend_name()
    except (SQLAlchemyError, ValueError):  # a port that isn't a number is a bare ValueError
        raise ConfigurationError("DATABASE_URL can't be read: use postgresql://user@host/name") from None
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql")
    if backend == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise ConfigurationError("DATABASE_URL must name a file: sqlite:////folder/mneme.db")
        return url.set(drivername="sqlite")
    raise ConfigurationError("DATABASE_URL must be postgresql://user@host/name or sqlite:////path/to/file")


def _alembic(url: URL) -> tuple[Config, URL]:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    driver = "sqlite" if url.get_backend_name() == "sqlite" else "postgresql+psycopg"
    return config, url.set(drivername=driver)


def upgrade(url: URL) -> None:
    """Brings the schema to the newest revision, or leaves it as it was. Safe to run beside another; blocks.

    Raises:
        StoreUnavailable: the database can't be opened.
    """
    config, sync_url = _alembic(url)
    engine = create_engine(sync_url, hide_parameters=True, execution_options={"mneme_writes": True})
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite_upgrade)
        event.listen(engine, "begin", _begin_sqlite)
    try:
        if engine.dialect.name == "sqlite" and sync_url.database:
            Path(sync_url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7720371)")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except (DBAPIError, OSError) as error:
        reason = type(getattr(error, "orig", error)).__name__
        raise StoreUnavailable(f"the database can't be opened ({reason})") from error
    finally:
        engine.dispose()


@cache
def _newest_revision() -> str | None:
    return ScriptDirectory(str(MIGRATIONS)).get_current_head()


async def require_newest_schema(database: Database) -> None:
    """Refuses to work on an older or newer schema than this code's.

    Raises:
        ConfigurationError: with the command that mends it.
    """
    async with database.read() as connection:
        current = await connection.run_sync(
            lambda sync: MigrationContext.configure(sync).get_current_revision()
        )
    if current != _newest_revision():
        raise ConfigurationError("The database's schema isn't this version's: run `mneme migrate`.")
