"""The machine that tries to make Mneme lose or double something, for some seconds and from a fixed seed."""

from pathlib import Path
from typing import get_args

import pytest

from tests.chaos import points
from tests.chaos.house import DatabaseKind
from tests.chaos.machine import run
from tests.chaos.traps import POINTS
from tests.servers import postgresql_folder

SECONDS = 9.0
SEED = "4"
KILLS = 1


@pytest.mark.parametrize("database", get_args(DatabaseKind))
async def test_nothing_is_lost_doubled_or_reordered(database: DatabaseKind, tmp_path: Path) -> None:
    if database == "postgresql" and postgresql_folder() is None:
        pytest.skip("PostgreSQL's initdb isn't installed (apt install postgresql)")
    told: list[str] = []
    outcome = await run(SECONDS, SEED, database, tmp_path, told.append)
    assert outcome.reckoning.wrong == [], "\n".join(told)
    assert outcome.kills >= 2
    assert outcome.reckoning.answered >= 10


@pytest.mark.timeout(300)
async def test_killed_at_any_point_of_its_work_the_next_goes_on(tmp_path: Path) -> None:
    rows = await points.run(KILLS, "sqlite", tmp_path, lambda line: None)
    assert [row.point for row in rows] == list(POINTS)
    for row in rows:
        assert row.reckoning.wrong == [], str(row)
        assert row.reckoning.accepted == KILLS
    assert sum(row.reckoning.answered for row in rows) >= (len(rows) - 1) * KILLS
