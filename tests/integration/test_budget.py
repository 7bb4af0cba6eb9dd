"""The day's budgets on both databases: never overspent, never under-charged, whoever calls and dies."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import delete, insert, select
from sqlalchemy.engine import make_url

from core.clock import SystemClock
from core.errors import BudgetExhausted
from core.llm.budget import Budget, DailyBudget, Level, Unlimited, build_budget
from core.llm.model import Usage
from core.storage.database import Database
from core.storage.schema import day_totals, spendings, users
from tests.conftest import make_settings
from tests.standins.clock import NOON, StoppedClock

DAY_SECONDS = 24 * 60 * 60


@pytest.fixture
async def database(migrated_database: str) -> AsyncIterator[Database]:
    database = Database.from_settings(make_settings(database_url=migrated_database))
    async with database.write() as connection:
        await connection.execute(
            insert(users), [{"id": name, "created_at": NOON, "admitted_at": NOON} for name in ("ana", "ben")]
        )
    yield database
    await database.close()


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


async def spend(budget: DailyBudget, payer: str | None, tokens: int, used: int | None = None) -> None:
    async with budget.spending(payer, tokens) as tally:
        tally.add(Usage(tokens if used is None else used))


async def news(database: Database, budget: Budget, user_id: str) -> Level | None:
    async with database.write() as connection:
        return await budget.news(connection, user_id)


async def spent(database: Database) -> dict[str, int]:
    """By person and day, and by day alone."""
    async with database.read() as connection:
        of_people = (await connection.execute(select(spendings))).all()
        of_all = (await connection.execute(select(day_totals))).all()
    return {f"{row.user_id} {row.day.day}": row.tokens for row in of_people} | {
        f"all {row.day.day}": row.tokens for row in of_all
    }


@pytest.mark.parametrize(
    ("per_user", "total", "payers"), [(1_000, 0, ["ana"]), (0, 1_000, ["ana", "ben", None])]
)
async def test_two_processes_dont_overspend_together(
    database: Database, clock: StoppedClock, per_user: int, total: int, payers: list[str | None]
) -> None:
    other = Database(database.url)
    budgets = [DailyBudget(one, clock, per_user=per_user, total=total) for one in (database, other)]
    go_on = asyncio.Event()
    held = 0

    async def call(number: int) -> None:
        nonlocal held
        async with budgets[number % 2].spending(payers[number % len(payers)], 90) as tally:
            held += 1
            await go_on.wait()
            tally.add(Usage(prompt_tokens=10))

    calls = [asyncio.create_task(call(number)) for number in range(60)]
    while len([task for task in calls if task.done()]) < 49:
        await asyncio.sleep(0.01)
    assert held == 11
    assert (await spent(database))["all 1"] == 990
    go_on.set()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    await other.close()
    assert [type(end) for end in ends if end is not None] == [BudgetExhausted] * 49
    assert (await spent(database))["all 1"] == 110


async def test_what_was_set_aside_is_corrected_to_what_was_used(
    database: Database, clock: StoppedClock
) -> None:
    budget = DailyBudget(database, clock, per_user=1_000, total=1_000)
    await spend(budget, "ana", 900, used=50)
    assert await spent(database) == {"ana 1": 50, "all 1": 50}
    await spend(budget, "ana", 900, used=2_000)
    assert await spent(database) == {"ana 1": 2_050, "all 1": 2_050}
    with pytest.raises(BudgetExhausted):
        await spend(budget, "ana", 1)


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError])
async def test_a_call_that_fails_is_settled_too(
    database: Database, clock: StoppedClock, error: type[BaseException]
) -> None:
    budget = DailyBudget(database, clock, per_user=1_000, total=0)
    with suppress(error):
        async with budget.spending("ana", 900) as tally:
            tally.add(Usage(30, 5))
            raise error
    assert await spent(database) == {"ana 1": 35, "all 1": 35}


async def test_where_one_budget_has_no_room_the_other_isnt_charged(
    database: Database, clock: StoppedClock
) -> None:
    budget = DailyBudget(database, clock, per_user=1_000, total=1_500)
    await spend(budget, "ana", 900)
    before = await spent(database)
    with pytest.raises(BudgetExhausted, match="everybody's") as everybodys:
        await spend(budget, "ben", 700)
    with pytest.raises(BudgetExhausted, match="a person's"):
        await spend(budget, "ana", 200)
    with pytest.raises(BudgetExhausted):
        await spend(budget, "ben", 1_001)
    assert await spent(database) == before
    assert everybodys.value.until == datetime(2026, 3, 2, tzinfo=UTC)
    assert "ben" not in str(everybodys.value)
    await spend(budget, "ben", 600)


def _die_amid_a_call(url: str) -> None:
    async def call() -> None:
        budget = DailyBudget(Database(make_url(url)), StoppedClock(), per_user=1_000, total=1_000)
        async with budget.spending("ana", 400) as tally:
            tally.add(Usage(1))
            os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(call())


async def test_a_process_that_dies_amid_a_call_leaves_it_charged(
    database: Database, clock: StoppedClock
) -> None:
    url = database.url.render_as_string(hide_password=False)
    caller = multiprocessing.get_context("spawn").Process(target=_die_amid_a_call, args=(url,))
    caller.start()
    await asyncio.to_thread(caller.join, 60)
    assert caller.exitcode == -signal.SIGKILL
    assert await spent(database) == {"ana 1": 400, "all 1": 400}
    with pytest.raises(BudgetExhausted):
        await spend(DailyBudget(database, clock, per_user=1_000, total=1_000), "ana", 601)


async def test_a_new_day_has_a_budget_of_its_own(database: Database, clock: StoppedClock) -> None:
    budget = DailyBudget(database, clock, per_user=1_000, total=0)
    async with budget.spending("ana", 1_000) as tally:
        clock.advance(DAY_SECONDS / 2)
        await spend(budget, "ana", 800)
        tally.add(Usage(70))
    assert await spent(database) == {"ana 1": 70, "all 1": 70, "ana 2": 800, "all 2": 800}


async def test_what_was_spent_long_ago_is_dropped(database: Database, clock: StoppedClock) -> None:
    budget = DailyBudget(database, clock, per_user=1_000, total=0)
    for _ in range(4):
        await spend(budget, "ana", 100)
        clock.advance(DAY_SECONDS)
    await spend(budget, None, 10)
    assert await spent(database) == {"ana 4": 100, "all 4": 100, "all 5": 10}


async def test_a_persons_rows_go_with_them(database: Database, clock: StoppedClock) -> None:
    budget = DailyBudget(database, clock, per_user=1_000, total=0)
    async with budget.spending("ana", 300) as tally:
        async with database.write() as connection:
            await connection.execute(delete(users).where(users.c.id == "ana"))
        tally.add(Usage(200))
    assert await spent(database) == {"all 1": 200}


async def test_at_four_fifths_there_is_news_once_a_day(database: Database, clock: StoppedClock) -> None:
    other = Database(database.url)
    budgets = [DailyBudget(one, clock, per_user=1_000, total=10_000) for one in (database, other)]
    await spend(budgets[0], "ana", 799)
    assert await news(database, budgets[0], "ana") is None
    await spend(budgets[1], "ana", 1)
    told = await asyncio.gather(*(news((database, other)[n % 2], budgets[n % 2], "ana") for n in range(10)))
    await other.close()
    assert sorted(level for level in told if level) == [Level.NEARLY]
    assert await news(database, budgets[0], "ben") is None
    clock.advance(DAY_SECONDS)
    assert await news(database, budgets[0], "ana") is None
    await spend(budgets[0], "ana", 900)
    assert await news(database, budgets[0], "ana") is Level.NEARLY


async def test_everybodys_four_fifths_are_news_to_who_spends(database: Database, clock: StoppedClock) -> None:
    budget = DailyBudget(database, clock, per_user=0, total=1_000)
    await spend(budget, "ana", 700)
    await spend(budget, "ben", 100)
    assert await news(database, budget, "ana") is None
    assert await news(database, budget, "ben") is Level.NEARLY


async def test_beyond_the_budget_is_charged_all_the_same(database: Database, clock: StoppedClock) -> None:
    budget = DailyBudget(database, clock, per_user=1_000, total=1_000)
    await spend(budget, "ana", 1_000)
    assert await news(database, budget, "ana") is Level.NEARLY
    for _ in range(2):
        async with budget.spending("ana", 500, beyond=True) as tally:
            tally.add(Usage(200))
    assert await spent(database) == {"ana 1": 1_400, "all 1": 1_400}
    assert await news(database, budget, "ana") is Level.WHOLLY
    assert await news(database, budget, "ana") is None


async def test_the_operator_sees_tokens_but_nobodys_name(database: Database, clock: StoppedClock) -> None:
    def counted(outcome: str) -> float:
        return REGISTRY.get_sample_value("mneme_budget_tokens_total", {"outcome": outcome}) or 0.0

    before = [counted("within"), counted("refused"), counted("beyond")]
    budget = DailyBudget(database, clock, per_user=1_000, total=0)
    await spend(budget, "ana", 900, used=600)
    with pytest.raises(BudgetExhausted):
        await spend(budget, "ana", 500)
    async with budget.spending("ana", 500, beyond=True) as tally:
        tally.add(Usage(7))
    after = [counted("within"), counted("refused"), counted("beyond")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [600, 500, 7]
    names = {
        label
        for metric in REGISTRY.collect()
        for sample in metric.samples
        for label in sample.labels.values()
    }
    assert "ana" not in names


async def test_without_a_limit_nothing_is_written(database: Database) -> None:
    budget = build_budget(make_settings(), database, SystemClock())
    assert isinstance(budget, Unlimited)
    async with budget.spending("ana", 10**12) as tally:
        tally.add(Usage(5))
    assert await news(database, budget, "ana") is None
    assert await spent(database) == {}


async def test_a_day_ends_at_midnight_utc(database: Database) -> None:
    clock = StoppedClock(datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC))
    budget = DailyBudget(database, clock, per_user=1_000, total=0)
    await spend(budget, "ana", 1_000)
    with pytest.raises(BudgetExhausted) as exhausted:
        await spend(budget, "ana", 1)
    assert exhausted.value.until - clock.now() == timedelta(seconds=1)
    clock.advance(1)
    await spend(budget, "ana", 1_000)
