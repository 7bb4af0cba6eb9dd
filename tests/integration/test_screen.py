"""The screen: a reply read from the record as it grows, by its own reader alone."""

import asyncio

import pytest
from sqlalchemy import delete

from bots.screen_outlet import ScreenOutlet
from core.app import App
from core.delivery.screen import Progress
from core.settings import Settings
from core.storage.schema import turns
from tests.conftest import lanes_running
from tests.integration.conftest import House, a_house
from tests.standins.model import ModelStandIn
from tests.standins.paper import CHANNEL, WORKSPACE

TEN = "one two three four five six seven eight nine ten"


@pytest.fixture
def house(house: House) -> House:
    on_screen(house)
    return house


def on_screen(house: House) -> None:
    """The paper channel is read from the record, as the web chat and the terminal are."""
    house.app.outlets[CHANNEL] = ScreenOutlet(CHANNEL, house.app.screen)


async def user_of(app: App, person: str = "ana") -> str:
    async with app.database.read() as connection:
        user = await app.people.find(connection, CHANNEL, WORKSPACE, person)
    assert user is not None
    return user.id


async def followed(app: App, inbox_id: int, person: str = "ana") -> list[Progress]:
    user_id = await user_of(app, person)
    async with asyncio.timeout(60):
        return [progress async for progress in app.screen.follow(inbox_id, user_id)]


async def test_a_reply_is_seen_growing_to_its_end(house: House, model: ModelStandIn) -> None:
    model.piece_seconds = 0.3
    model.answer = lambda said: TEN
    async with lanes_running(house.app):
        accepted = await house.accept("Count to ten")
        seen = await followed(house.app, accepted.inbox_id)
    assert [progress.ended for progress in seen] == [False] * (len(seen) - 1) + [True]
    assert len(seen) > 3
    texts = [progress.text for progress in seen]
    assert texts == sorted(texts, key=len)
    assert all(TEN.startswith(text) for text in texts)
    assert seen[-1].text == TEN
    assert {"memories", "timings"} <= seen[-1].account.keys()
    again = await followed(house.app, accepted.inbox_id)
    assert [progress.text for progress in again] == [TEN]


async def test_another_process_reads_along(house: House, open_settings: Settings) -> None:
    async with a_house(open_settings) as other, lanes_running(other.app):
        on_screen(other)
        accepted = await house.accept("Hello")
        seen = await followed(house.app, accepted.inbox_id)
    assert seen[-1].text == "You said: Hello"


async def test_it_works_without_redis(open_settings: Settings) -> None:
    nowhere = type(open_settings.redis_url)("redis://127.0.0.1:1/0")  # type: ignore[misc]
    async with a_house(open_settings.model_copy(update={"redis_url": nowhere})) as house:
        on_screen(house)
        async with lanes_running(house.app):
            accepted = await house.accept("Hello")
            seen = await followed(house.app, accepted.inbox_id)
    assert seen[-1].text == "You said: Hello"


async def test_messages_of_one_burst_have_one_reply(house: House) -> None:
    accepted = [await house.accept(text) for text in ("one", "two")]
    async with lanes_running(house.app):
        ends = [(await followed(house.app, one.inbox_id))[-1] for one in accepted]
    assert [end.text for end in ends] == ["You said: one\ntwo"] * 2


async def test_a_reply_that_failed_says_so(house: House, model: ModelStandIn) -> None:
    model.fail_next("too_long")
    async with lanes_running(house.app):
        accepted = await house.accept("Hello")
        seen = await followed(house.app, accepted.inbox_id)
    assert seen[-1].failed
    assert "language model" in seen[-1].text


async def test_an_edit_ends_too(house: House) -> None:
    async with lanes_running(house.app):
        await house.accept("Hallo", event="m1")
        await house.settled()
        mended = await house.accept("Hello", event="m1-edit", replaces="m1")
        (end,) = [progress for progress in await followed(house.app, mended.inbox_id) if progress.ended]
    assert not end.failed


async def test_an_edit_that_took_a_place_has_no_reply_of_its_own(house: House) -> None:
    await house.accept("Hallo", event="m1")
    mended = await house.accept("Hello", event="m1-edit", replaces="m1")
    with pytest.raises(LookupError):
        await followed(house.app, mended.inbox_id)


async def test_nobody_reads_what_is_not_theirs(house: House) -> None:
    async with lanes_running(house.app):
        hers = await house.accept("Hello", person="ana")
        his = await house.accept("Hello", person="ben")
        await house.settled()
    with pytest.raises(LookupError):
        await followed(house.app, hers.inbox_id, "ben")
    with pytest.raises(LookupError):
        await followed(house.app, his.inbox_id, "ana")
    with pytest.raises(LookupError):
        await followed(house.app, 10**9, "ana")


async def test_a_reply_that_was_forgotten_is_not_found(house: House) -> None:
    async with lanes_running(house.app):
        accepted = await house.accept("Hello")
        await house.settled()
    async with house.app.database.write() as connection:
        await connection.execute(delete(turns))
    with pytest.raises(LookupError):
        await followed(house.app, accepted.inbox_id)
