"""Token budgets: what a person, and all together, may spend between two midnights UTC."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import IntEnum
from typing import Any, Protocol

import structlog
from sqlalchemy import Table, delete, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.errors import BudgetExhausted, StoreUnavailable
from core.llm.metrics import BUDGET_TOKENS
from core.llm.model import Tally
from core.settings import Settings
from core.storage.database import Database
from core.storage.schema import day_totals, spendings
from core.storage.upsert import conflicting_insert

KEPT_DAYS = 2
"""A call that begins before midnight is settled after it; what was spent earlier is nobody's business."""

log = structlog.get_logger()


class Level(IntEnum):
    """How far a day's budget was used, in percent: each is told to the person once a day."""

    NONE = 0
    NEARLY = 80
    WHOLLY = 100
    """There was no room for a call; the cheaper model took it."""


class Budget(Protocol):
    """What calls to models are paid from."""

    def spending(
        self, payer: str | None, tokens: int, *, beyond: bool = False
    ) -> AbstractAsyncContextManager[Tally]:
        """Sets `tokens` aside for one call, made within the block; charges what its tally says at the end.

        `payer` is a user's id, or None for what only all together pay. `beyond`: even if there is no room.

        Raises:
            BudgetExhausted: there isn't so much left today; nothing was set aside.
            StoreUnavailable: the record is away.
        """
        ...

    async def news(self, connection: AsyncConnection, user_id: str) -> Level | None:
        """What this person should hear of the day's budget and hasn't yet; within the transaction they do."""
        ...


class Unlimited:
    """Nobody counts."""

    @asynccontextmanager
    async def spending(self, payer: str | None, tokens: int, *, beyond: bool = False) -> AsyncIterator[Tally]:
        yield Tally()

    async def news(self, connection: AsyncConnection, user_id: str) -> Level | None:
        return None


@dataclass(frozen=True, slots=True)
class _Held:
    """Tokens that were set aside."""

    payer: str | None
    day: date
    tokens: int


class DailyBudget:
    """Limits in tokens, for each person and for all, 0 for none; kept in the record, so for all processes.

    What is set aside counts as spent until the call is settled: several calls at once can't overspend
    together, and a process that dies amid a call leaves it charged with the most that it could cost.
    """

    def __init__(self, database: Database, clock: Clock, *, per_user: int, total: int) -> None:
        self._database = database
        self._clock = clock
        self._per_user = per_user
        self._total = total

    @asynccontextmanager
    async def spending(self, payer: str | None, tokens: int, *, beyond: bool = False) -> AsyncIterator[Tally]:
        held = _Held(payer, self._clock.now().date(), tokens)
        try:
            async with self._database.write() as connection:
                await self._hold(connection, held, beyond)
        except BudgetExhausted:
            BUDGET_TOKENS.labels("refused").inc(tokens)
            raise
        tally = Tally()
        try:
            yield tally
        finally:
            await self._settle(held, tally.tokens)
            BUDGET_TOKENS.labels("beyond" if beyond else "within").inc(tally.tokens)

    async def news(self, connection: AsyncConnection, user_id: str) -> Level | None:
        today = _of_day(spendings, self._clock.now().date(), user_id)
        level = await connection.scalar(
            update(spendings)
            .where(*today, spendings.c.told < spendings.c.level)
            .values(told=spendings.c.level)
            .returning(spendings.c.level)
        )
        return None if level is None else Level(level)

    async def _hold(self, connection: AsyncConnection, held: _Held, beyond: bool) -> None:
        # The person before all together, as settling does: or two calls wait for each other.
        of_all = await self._add(connection, held, beyond)
        if of_all == held.tokens:
            await self._drop_old(connection, held.day)

    async def _add(self, connection: AsyncConnection, held: _Held, beyond: bool) -> int:
        mine = 0
        if held.payer is not None:
            key = {"user_id": held.payer, "day": held.day}
            mine = await self._charge(connection, spendings, key, held, 0 if beyond else self._per_user)
        of_all = await self._charge(
            connection, day_totals, {"day": held.day}, held, 0 if beyond else self._total
        )
        level = Level.WHOLLY if beyond else self._level(mine, of_all)
        if held.payer is not None and level:
            await connection.execute(
                update(spendings)
                .where(*_of_day(spendings, held.day, held.payer), spendings.c.level < level)
                .values(level=level)
            )
        return of_all

    def _level(self, mine: int, of_all: int) -> Level:
        shares = [
            100 * spent / limit for spent, limit in ((mine, self._per_user), (of_all, self._total)) if limit
        ]
        return Level.NEARLY if max(shares) >= Level.NEARLY else Level.NONE

    async def _charge(
        self, connection: AsyncConnection, table: Table, key: Mapping[str, Any], held: _Held, limit: int
    ) -> int:
        """Adds to the day's row, in one statement and only if there is room; returns what it says then."""
        spent = table.c.tokens + held.tokens
        charged: int | None = None
        if not limit or held.tokens <= limit:
            charged = await connection.scalar(
                conflicting_insert(connection, table)
                .values(**key, tokens=held.tokens)
                .on_conflict_do_update(
                    index_elements=list(key),
                    set_={"tokens": spent},
                    where=spent <= limit if limit else None,
                )
                .returning(table.c.tokens)
            )
        if charged is None:
            whose = "a person's" if table is spendings else "everybody's"
            midnight = datetime.combine(held.day + timedelta(days=1), time.min, UTC)
            raise BudgetExhausted(f"no room for {held.tokens} tokens in {whose} budget", until=midnight)
        return charged

    async def _settle(self, held: _Held, used: int) -> None:
        """Corrects what was set aside to what was used. If that fails, it stays charged."""
        change = used - held.tokens
        try:
            async with self._database.write() as connection:
                for table in (spendings, day_totals) if held.payer is not None else (day_totals,):
                    await connection.execute(
                        update(table)
                        .where(*_of_day(table, held.day, held.payer))
                        .values(tokens=table.c.tokens + change)
                    )
        except StoreUnavailable as error:
            log.warning("budget_not_settled", tokens=held.tokens, used=used, reason=str(error))

    async def _drop_old(self, connection: AsyncConnection, day: date) -> None:
        for table in (spendings, day_totals):
            await connection.execute(delete(table).where(table.c.day <= day - timedelta(days=KEPT_DAYS)))


def _of_day(table: Table, day: date, user_id: str | None) -> list[Any]:
    """The row of a day: one person's, or everybody's."""
    return [table.c.day == day, *([table.c.user_id == user_id] if table is spendings else [])]


def build_budget(settings: Settings, database: Database, clock: Clock) -> Budget:
    """The budget that the settings set."""
    if not settings.tokens_per_user_day and not settings.tokens_per_day:
        return Unlimited()
    return DailyBudget(database, clock, per_user=settings.tokens_per_user_day, total=settings.tokens_per_day)
