"""How people sign in to the web chat: links that work once, sessions that end."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from core.app import App
from core.storage.schema import inbox, sign_ins, users
from core.users.sign_in import LINK_LIFE, SESSION_LIFE, SignIn
from tests.integration.conftest import House

SOON = timedelta(seconds=1)


@dataclass
class SetClock:
    """A clock that a test sets."""

    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def sign_in(app: App, clock: SetClock) -> SignIn:
    return SignIn(app.database, app.people, app.master, clock)


async def session_of(sign_in: SignIn, name: str) -> str:
    session = await sign_in.open_session(await sign_in.link_token(name))
    assert session is not None
    return session.token


async def test_a_link_opens_one_session_however_many_hands_hold_it(sign_in: SignIn) -> None:
    link = await sign_in.link_token("ana")
    opened = await asyncio.gather(*(sign_in.open_session(link) for _ in range(5)))
    (session,) = [each for each in opened if each is not None]
    visitor = await sign_in.visitor(session.token)
    assert visitor is not None
    assert visitor.name == "ana"


async def test_a_link_lasts_a_day(sign_in: SignIn, clock: SetClock) -> None:
    early, late = await sign_in.link_token("ana"), await sign_in.link_token("ana")
    clock.time += LINK_LIFE - SOON
    assert await sign_in.open_session(early) is not None
    clock.time += 2 * SOON
    assert await sign_in.open_session(late) is None


async def test_a_session_lasts_its_time_and_ends_alone(sign_in: SignIn, clock: SetClock) -> None:
    first, second, bens = [await session_of(sign_in, name) for name in ("ana", "ana", "ben")]
    assert await sign_in.user_of(first) == await sign_in.user_of(second) != await sign_in.user_of(bens)
    await sign_in.close_session(first)
    assert await sign_in.user_of(first) is None
    clock.time += SESSION_LIFE - SOON
    assert None not in (await sign_in.user_of(second), await sign_in.user_of(bens))
    clock.time += 2 * SOON
    assert await sign_in.user_of(second) is None
    assert await sign_in.visitor(bens) is None


async def test_no_other_token_opens_anything(sign_in: SignIn) -> None:
    for token in ("", "x", "\x00", "\udcff", "x" * 100_000):
        assert await sign_in.open_session(token) is None
        assert await sign_in.user_of(token) is None
        assert await sign_in.visitor(token) is None
        await sign_in.close_session(token)


async def test_a_link_is_no_session_and_a_session_no_link(sign_in: SignIn) -> None:
    link = await sign_in.link_token("ana")
    assert await sign_in.user_of(link) is None
    session = await session_of(sign_in, "ana")
    assert await sign_in.open_session(session) is None
    assert await sign_in.user_of(session) is not None
    await sign_in.close_session(link)
    assert await sign_in.open_session(link) is not None


async def test_the_record_holds_no_token_and_nothing_expired(
    app: App, sign_in: SignIn, clock: SetClock
) -> None:
    async def digests() -> set[str]:
        async with app.database.read() as connection:
            return set(await connection.scalars(select(sign_ins.c.token_digest)))

    link, session = await sign_in.link_token("ana"), await session_of(sign_in, "ana")
    old = await digests()
    assert len(old) == 2
    assert not {link, session} & old
    clock.time += SESSION_LIFE + SOON
    await sign_in.link_token("ben")
    assert len(await digests()) == 1
    assert not old & await digests()


async def test_links_made_at_once_for_one_name_are_one_person_s(app: App, sign_in: SignIn) -> None:
    names = ("ana", "ana", " ana ", "ana\x00", "ana\r\n")
    sessions = await asyncio.gather(*(session_of(sign_in, name) for name in names))
    assert len({await sign_in.user_of(session) for session in sessions}) == 1
    async with app.database.read() as connection:
        assert len((await connection.execute(select(users.c.id))).all()) == 1


async def test_the_web_s_ana_is_not_the_platform_s(house: House, sign_in: SignIn) -> None:
    await house.accept("Hello")
    row = await house.row(inbox)
    assert await sign_in.user_of(await session_of(sign_in, "ana")) not in (None, row.user_id)
