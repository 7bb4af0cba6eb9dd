"""`/page`: a link to one's memory, from wherever one writes, to oneself alone."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest

from bots.web.gate import COOKIE
from core.messages import ConversationKind
from core.reply.page_link import IN_PRIVATE, NO_ADDRESS
from core.settings import Settings
from core.storage.schema import sign_ins, turns
from core.users.sign_in import PAGE_LINK_LIFE, PAGE_SESSION_LIFE
from tests.integration.conftest import a_house
from tests.integration.remembering import ONE_DATABASE, People
from tests.integration.web_service import WebService, running_service
from tests.standins.clock import MovedClock
from tests.standins.model import ModelStandIn

pytestmark = ONE_DATABASE
PUBLIC = "https://mneme.example.org"
HERON = "The heron stood by the river again."


@dataclass(frozen=True)
class Served:
    """People who write on a platform, and the pages of the same Mneme."""

    people: People
    web: WebService


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@asynccontextmanager
async def served(settings: Settings, model: ModelStandIn, clock: MovedClock) -> AsyncIterator[Served]:
    async with a_house(settings, clock) as house, running_service(house.app) as web:
        yield Served(People(house, model), web)


@pytest.fixture
async def here(open_settings: Settings, model: ModelStandIn, clock: MovedClock) -> AsyncIterator[Served]:
    public = open_settings.model_copy(update={"public_url": PUBLIC})
    async with served(public, model, clock) as made:
        yield made


async def token_of(here: Served) -> str:
    found = re.search(rf"<{PUBLIC}/sign-in\?token=([\w-]+)>", await here.people.say("/page"))
    assert found
    return found[1]


async def entered(client: httpx.AsyncClient, token: str) -> httpx.Response:
    answer = await client.post("/sign-in", data={"token": token})
    # The service is public by https: its cookies don't travel on the test's plain HTTP by themselves.
    if session := answer.cookies.get(COOKIE):
        client.headers["Cookie"] = f"{COOKIE}={session}"
    return answer


async def test_the_link_opens_the_memory_of_who_asked_once(here: Served) -> None:
    await here.people.say(HERON)
    token = await token_of(here)
    async with here.web.stranger() as client:
        answer = await entered(client, token)
        assert (answer.status_code, answer.headers["location"]) == (303, "/memory")
        assert f"Max-Age={int(PAGE_SESSION_LIFE.total_seconds())}" in answer.headers["set-cookie"]
        assert HERON in (await client.get("/memory/words")).text
        # They have no account on the web, so there is no chat for them here.
        assert (await client.get("/")).headers["location"] == "/memory"
        said = await client.post("/web/messages", json={"text": "Hello", "event": "e" * 8})
        assert said.status_code == 403
        async with here.web.stranger() as other:
            assert (await entered(other, token)).status_code == 403
            assert (await other.get("/memory/words")).status_code == 401


async def test_the_link_is_stale_after_ten_minutes(here: Served, clock: MovedClock) -> None:
    token = await token_of(here)
    clock.set(clock.now() + PAGE_LINK_LIFE + timedelta(seconds=1))
    assert await here.people.app.sign_in.open_session(token) is None


async def test_a_forged_link_opens_nothing(here: Served) -> None:
    token = await token_of(here)
    for forged in ("", token[:-1], token + "A", token.swapcase(), "x" * len(token)):
        assert await here.people.app.sign_in.open_session(forged) is None
    assert await here.people.app.sign_in.open_session(token) is not None


async def test_a_session_is_new_at_each_sign_in_and_the_old_one_ends(here: Served) -> None:
    first, second = await token_of(here), await token_of(here)
    async with here.web.stranger() as client:
        fixed = await entered(client, first)
        old = fixed.cookies[COOKIE]
        again = await entered(client, second)
        assert again.cookies[COOKIE] not in (old, first, second)
        async with here.web.stranger(Cookie=f"{COOKIE}={old}") as thief:
            assert (await thief.get("/memory")).status_code == 401


async def test_whoever_is_signed_in_is_asked_before_a_link_makes_them_another(here: Served) -> None:
    await here.people.say("Hello", person="mallory")
    mine = await token_of(here)
    async with here.web.stranger() as client:
        assert "sign_in.js" in (await client.get("/sign-in", params={"token": mine})).text
        await entered(client, mine)
        page = (await client.get("/sign-in", params={"token": "mallorys"})).text
        assert "sign_in.js" not in page
        assert "You are signed in as" in page


async def test_what_is_open_to_a_group_is_shown_and_closed_again(here: Served) -> None:
    await here.people.say("Remember that I sing in a choir.")
    await here.people.say_in_group("Hello.")
    assert "From now on" in await here.people.say("/memory open 1 1")
    async with here.web.stranger() as client:
        await entered(client, await token_of(here))
        shown = (await client.get("/memory")).text
        assert "open to a group" in shown
        (address,) = re.findall(r'action="(/memory/memories/\w+/close)"', shown)
        assert (await client.post(address)).headers["location"] == "/memory?done=closed"
        assert "open to a group" not in (await client.get("/memory")).text


async def test_nobody_gets_a_link_in_a_group_or_at_the_door(here: Served) -> None:
    assert await here.people.say_in_group("/page") == IN_PRIVATE
    assert await here.people.say("/page", conversation="t", kind=ConversationKind.THREAD) == IN_PRIVATE
    assert await here.people.house.rows(sign_ins) == []


async def test_without_an_address_it_says_whose_turn_it_is(
    open_settings: Settings, model: ModelStandIn, clock: MovedClock
) -> None:
    async with served(open_settings, model, clock) as here:
        assert await here.people.say("/page") == NO_ADDRESS


async def test_the_token_stands_nowhere_in_the_clear(here: Served) -> None:
    token = await token_of(here)
    for table in (sign_ins, turns):
        assert token not in str(await here.people.house.rows(table))
