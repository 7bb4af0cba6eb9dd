"""A house to be written to: the whole core over a platform on paper."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, Table, select

from bots.front_desk import FrontDesk
from core.app import App, open_app
from core.clock import Clock
from core.messages import Accepted, IncomingMessage
from core.settings import Settings
from tests.processes import Mneme, a_mneme, until
from tests.standins.paper import Paper, letter


@dataclass
class House:
    """One process's Mneme; several may share a record."""

    app: App
    paper: Paper
    desk: FrontDesk

    async def accept(self, text: str, **given: Any) -> Accepted:
        return await self.desk.accept(letter(text, **given))

    async def take(self, message: IncomingMessage) -> Accepted:
        """As from a platform."""
        (taken,) = await self.desk.take([message])
        return taken

    async def rows(self, table: Table, *where: Any) -> list[Row[Any]]:
        async with self.app.database.read() as connection:
            found = await connection.execute(select(table).where(*where).order_by(*table.primary_key.columns))
            return list(found.all())

    async def row(self, table: Table, *where: Any) -> Row[Any]:
        (found,) = await self.rows(table, *where)
        return found

    async def settled(self, within_seconds: float = 60.0) -> None:
        """Waits until nothing waits to be answered and no lane is at work."""

        async def quiet() -> bool:
            return await self.app.turns.oldest_wait_seconds() == 0 and not self.app.lanes.at_work

        await until(quiet, within_seconds)

    async def work(self) -> None:
        """Does the jobs that are due, and those that these make due."""
        while due := await self.app.jobs.due():
            for job_id in due:
                await self.app.job_runner.run(job_id)


@asynccontextmanager
async def a_house(settings: Settings, clock: Clock | None = None) -> AsyncIterator[House]:
    """A house on these settings, and by this clock; its lanes aren't running."""
    async with open_app(settings, clock) as app:
        paper = Paper()
        app.outlets[paper.name] = paper
        yield House(app, paper, FrontDesk(app.database, app.inbox, app.conversations, app.lanes))


@pytest.fixture
def open_settings(settings: Settings) -> Settings:
    """Everybody is let in."""
    return settings.model_copy(update={"access": "open"})


@pytest.fixture
async def mneme(open_settings: Settings, tmp_path: Path) -> AsyncIterator[Mneme]:
    """The command line, and processes of its own."""
    (tmp_path / "logs").mkdir()
    async with a_mneme(open_settings, tmp_path / "logs") as made:
        yield made


@pytest.fixture
async def house(open_settings: Settings) -> AsyncIterator[House]:
    async with a_house(open_settings) as made:
        yield made
