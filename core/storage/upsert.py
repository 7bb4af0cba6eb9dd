"""INSERT ... ON CONFLICT, which both databases know and SQLAlchemy spells by dialect."""

from collections.abc import Callable, Mapping

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

ConflictingInsert = sqlite.Insert | postgresql.Insert

_BY_DIALECT: Mapping[str, Callable[[Table], ConflictingInsert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


def conflicting_insert(connection: AsyncConnection, table: Table) -> ConflictingInsert:
    """An insert that says itself what a row already there means, such as `.on_conflict_do_nothing()`."""
    return _BY_DIALECT[connection.dialect.name](table)
