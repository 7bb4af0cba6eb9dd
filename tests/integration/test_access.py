"""Who is let in, and how people sign in: the code at the door, links that work once, sessions."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from core.app import App
from core.messages import ConversationKind
from core.privacy.keys import MasterKey
from core.reply.commands import PRIVATE_DOOR, WELCOME, WRONG_CODE
from core.settings import Settings
from core.storage.schema import inbox, messages, sign_ins, users
from core.users.access import Access
from core.users.sign_in import LINK_LIFE, SESSION_LIFE, SignIn
from tests.conftest import lanes_running, make_settings
from tests.integration.conftest import House, a_house
from tests.standins.model import ModelStandIn

SOON = timedelta(seconds=1)


@dataclass
class SetClock:
    """A clock that a test sets."""

    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()


# The code


def test_every_process_knows_the_same_code_and_every_mneme_another() -> None:
    settings = make_settings()
    codes = [Access(settings, MasterKey(secret * 32)).code for secret in (b"a", b"a", b"b")]
    assert codes[0] == codes[1] != codes[2]
    assert len(codes[0]) == 16
    assert codes[0].isalnum()


def test_the_code_is_read_kindly_and_nothing_else_opens() -> None:
    access = Access(make_settings(), MasterKey(b"a" * 32))
    code = access.code
    assert all(access.opens(said) for said in (code, code.lower(), f" {code}\n"))
    wrong = ("", " ", code[:-1], code + "A", code[::-1], "é" * 16, "\ud800", "\x00", "0" * 10_000)
    assert not any(access.opens(said) for said in wrong)


def test_home_needs_no_code_and_an_open_door_none_at_all() -> None:
    shut, wide = (Access(make_settings(access=way), MasterKey(b"a" * 32)) for way in ("code", "open"))
    assert [shut.admits(channel) for channel in ("web", "console", "telegram", "slack")] == [True, True] + (
        [False] * 2
    )
    assert all(wide.admits(channel) for channel in ("web", "console", "telegram", "slack"))
    assert (shut.is_open, wide.is_open) == (False, True)


async def test_nobody_is_answered_before_the_code(settings: Settings, model: ModelStandIn) -> None:
    async with a_house(settings) as house, lanes_running(house.app):
        for said in ("Hello, I'm Ana", "/start", "/memory", "/start AAAAAAAAAAAAAAAA"):
            await house.accept(said)
            await house.settled()
        assert house.paper.shown == [PRIVATE_DOOR] * 3 + [WRONG_CODE]
        assert not model.calls
        assert not await house.rows(messages)

        await house.accept(f"/start {house.app.access.code.lower()}")
        await house.settled()
        await house.accept("What do you know?")
        await house.settled()
        assert house.paper.shown[-2] == WELCOME
        assert house.paper.shown[-1].endswith("What do you know?")
        prompt = str(model.calls[-1]["messages"])
        assert house.app.access.code.lower() not in prompt
        assert "I'm Ana" not in prompt
        assert all(row.payload_sealed is None for row in await house.rows(inbox))


async def test_the_code_and_a_greeting_in_one_breath(settings: Settings, model: ModelStandIn) -> None:
    async with a_house(settings) as house:
        for said in ("Hi", f"/start {house.app.access.code}", "I'm Ana", "from Porto"):
            await house.accept(said)
        async with lanes_running(house.app):
            await house.settled()
        assert house.paper.shown[:2] == [PRIVATE_DOOR, WELCOME]
        assert len(model.calls) == 1
        assert house.paper.shown[2].endswith("from Porto")


async def test_one_person_s_code_lets_nobody_else_in(settings: Settings, model: ModelStandIn) -> None:
    async with a_house(settings) as house, lanes_running(house.app):
        await house.accept(f"/start {house.app.access.code}")
        await house.settled()
        group = {"conversation": "the group", "kind": ConversationKind.GROUP}
        await house.accept("Hello from Ana", **group)
        await house.settled()
        await house.accept("Hello from Ben", person="ben", **group)
        await house.settled()
        assert house.paper.shown[1].endswith("Hello from Ana")
        assert house.paper.shown[2] == PRIVATE_DOOR
        assert len(model.calls) == 1


async def test_who_was_let_in_stays_in_when_the_door_is_shut(
    settings: Settings, open_settings: Settings, model: ModelStandIn
) -> None:
    async with a_house(open_settings) as house, lanes_running(house.app):
        await house.accept("Hello")
        await house.settled()
    async with a_house(settings) as house, lanes_running(house.app):
        await house.accept("Hello again")
        await house.accept("Hello", person="ben")
        await house.settled()
        assert sorted(shown == PRIVATE_DOOR for shown in house.paper.shown) == [False, True]
    assert len(model.calls) == 2


# Signing in


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
