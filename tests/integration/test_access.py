"""Who is let in: by the operator's code, an invitation, an approval, an open door; and who is kept out."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from core.app import App
from core.messages import ConversationKind
from core.privacy.vault import Vault
from core.reply.commands import WELCOME
from core.reply.door_commands import (
    ALREADY_IN,
    ASKED,
    BLOCKED,
    CLOSED_DOOR,
    DENIED,
    GROUP_DOOR,
    IN_PRIVATE,
    NEWS,
    NOT_YOURS,
    OR_ASK,
    PRIVATE_DOOR,
    SPENT_CODE,
    WAIT,
    WRONG_CODE,
    YOURS,
)
from core.settings import Settings
from core.storage.schema import audit, identities, inbox, invites, messages, turns, users
from core.users.access import Entry
from core.users.codes import GUESSES_REST, MOST_GUESSES
from core.users.doors import Door, Mode
from core.users.invites import DAYS
from core.users.people import User
from core.users.requests import News
from core.users.sign_in import SignIn
from tests.conftest import lanes_running
from tests.integration.conftest import House, a_house
from tests.integration.remembering import People, people_of
from tests.standins.clock import MovedClock
from tests.standins.model import ModelStandIn
from tests.standins.paper import CHANNEL, WORKSPACE, letter

DOOR = Door(CHANNEL, WORKSPACE)
ASKS = f"{PRIVATE_DOOR} {OR_ASK}"


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def people(settings: Settings, model: ModelStandIn, clock: MovedClock) -> AsyncIterator[People]:
    """Nobody is let in yet."""
    async with people_of(settings, model, clock) as made:
        yield made


@pytest.fixture
async def owned(people: People) -> People:
    """Ana has claimed the door."""
    await people.say(f"/start {people.app.access.code}")
    return people


async def stranger(app: App, name: str, door: Door = DOOR) -> User:
    async with app.database.write() as connection:
        return await app.access.meet(connection, door, letter("", person=name).sender)


async def enter(app: App, user: User, code: str, door: Door = DOOR) -> Entry:
    async with app.database.write() as connection:
        return await app.access.enter(connection, user.id, door, code)


async def invitation(app: App, **given: int | Door) -> str:
    async with app.database.write() as connection:
        return await app.access.invites.make(connection, made_by=None, **given)  # type: ignore[arg-type]


async def set_mode(app: App, door: Door, mode: Mode | None) -> None:
    async with app.database.write() as connection:
        await app.access.set_mode(connection, door, mode)


async def is_in(app: App, name: str, door: Door = DOOR) -> bool:
    async with app.database.read() as connection:
        user = await app.people.find(connection, door.channel, door.workspace, name)
    return user is not None and user.admitted


async def deeds(house: House) -> list[tuple[str, str | None]]:
    return [(row.deed, row.detail) for row in await house.rows(audit)]


# The operator's code


async def test_nobody_is_answered_before_the_code(people: People) -> None:
    for said in ("Hello, I'm Ana", "/start", "/memory", "/ask", "/start AAAAAAAAAAAAAAAA"):
        await people.say(said)
    assert people.house.paper.shown == [PRIVATE_DOOR] * 4 + [WRONG_CODE]
    assert not people.model.calls
    assert not await people.house.rows(messages)

    code = people.app.access.code
    assert await people.say(f"/start {code.lower()}") == f"{WELCOME}\n\n{YOURS}"
    assert (await people.say("What do you know?")).endswith("What do you know?")
    prompt = str(people.model.calls[-1]["messages"])
    assert code.lower() not in prompt
    assert "I'm Ana" not in prompt
    assert all(row.payload_sealed is None for row in await people.house.rows(inbox))


async def test_the_code_and_a_greeting_in_one_breath(settings: Settings, model: ModelStandIn) -> None:
    async with a_house(settings) as house:
        for said in ("Hi", f"/start {house.app.access.code}", "I'm Ana", "from Porto"):
            await house.accept(said)
        async with lanes_running(house.app):
            await house.settled()
        assert house.paper.shown[:2] == [PRIVATE_DOOR, f"{WELCOME}\n\n{YOURS}"]
        assert len(model.calls) == 1
        assert house.paper.shown[2].endswith("from Porto")


async def test_the_code_lets_in_one_person_and_is_spent(owned: People) -> None:
    assert (await owned.say_in_group("Hello from Ana")).endswith("Hello from Ana")
    code = owned.app.access.code
    assert await owned.say(f"/start {code}", person="ben") == SPENT_CODE
    assert await owned.say("Hello from Ben", person="ben") == ASKS
    assert len(owned.model.calls) == 1
    assert await owned.say(f"/start {code}") == f"{WELCOME}\n\n{YOURS}"
    assert await deeds(owned.house) == [("admit", "code"), ("claim", str(DOOR))]


async def test_of_two_who_claim_at_once_one_does(settings: Settings) -> None:
    async with a_house(settings) as house:
        code = house.app.access.code
        crowd = [await stranger(house.app, f"person {number}") for number in range(4)]
        came = await asyncio.gather(*(enter(house.app, user, code) for user in crowd))
        assert sorted(came) == [Entry.CLAIMED, *[Entry.SPENT] * 3]
        assert [await is_in(house.app, f"person {number}") for number in range(4)].count(True) == 1
        assert [deed for deed, _ in await deeds(house)].count("claim") == 1


async def test_each_workspace_is_claimed_apart_and_its_people_are_its_own(owned: People) -> None:
    elsewhere = {"workspace": "another desk", "conversation": "ana elsewhere"}
    assert await owned.say("It's me, Ana", **elsewhere) == PRIVATE_DOOR
    await owned.say("My locker is 4711.")
    assert await owned.say(f"/start {owned.app.access.code}", **elsewhere) == f"{WELCOME}\n\n{YOURS}"
    await owned.say("What is my locker?", **elsewhere)
    assert "4711" not in str(owned.model.calls[-1]["messages"])
    assert len(await owned.house.rows(users)) == 2


async def test_who_was_let_in_stays_in_when_the_door_is_shut_and_comes_in_when_it_opens(
    settings: Settings, open_settings: Settings, model: ModelStandIn
) -> None:
    async with people_of(settings, model) as before:
        assert await before.say("Hello", person="ben") == PRIVATE_DOOR
    async with people_of(open_settings, model) as wide:
        assert (await wide.say("Hello")).endswith("Hello")
        assert (await wide.say("Hello", person="ben")).endswith("Hello")
        assert await deeds(wide.house) == [("admit", "open")] * 2
    closed = settings.model_copy(update={"access": "closed"})
    async with people_of(closed, model) as shut:
        assert (await shut.say("Hello again")).endswith("Hello again")
        assert await shut.say("Hello", person="cleo") == CLOSED_DOOR
        assert await shut.say(f"/start {await invitation(shut.app)}", person="cleo") == CLOSED_DOOR
        assert (await shut.say(f"/start {shut.app.access.code}")).endswith(YOURS)


# Invitations


async def test_an_owner_invites_one_person(owned: People) -> None:
    invited = await owned.say("/invite")
    code = invited.split("/start ")[1].split("`")[0]
    assert await owned.say(f"/start {code.lower()}", person="ben") == WELCOME
    assert (await owned.say("Hello", person="ben")).endswith("Hello")
    assert await owned.say(f"/start {code}", person="cleo") == WRONG_CODE
    assert await owned.say("/invite", person="ben") == NOT_YOURS
    assert await owned.say_in_group("/invite") == IN_PRIVATE
    assert "`/invite 5` for five" in await owned.say("/invite 0")
    assert "for 2 people" in await owned.say("/invite 2")
    ana, ben = await owned.id(), await owned.id("ben")
    rows = await owned.house.rows(audit, audit.c.deed.in_(("invite", "admit")))
    assert [(row.deed, row.actor, row.user_id) for row in rows] == [
        ("admit", ana, ana),
        ("invite", ana, None),
        ("admit", ben, ben),
        ("invite", ana, None),
    ]


async def test_of_many_who_use_an_invitation_at_once_as_many_come_in_as_it_is_for(settings: Settings) -> None:
    async with a_house(settings) as house:
        for uses in (1, 2):
            code = await invitation(house.app, uses=uses)
            crowd = [await stranger(house.app, f"person {uses} {number}") for number in range(5)]
            came = await asyncio.gather(*(enter(house.app, user, code) for user in crowd))
            assert sorted(came) == [Entry.INVITED] * uses + [Entry.WRONG] * (5 - uses)
        assert len(await house.rows(users, users.c.admitted_by == "invite")) == 3


async def test_an_invitation_opens_its_own_door_in_its_time(settings: Settings, clock: MovedClock) -> None:
    async with a_house(settings, clock) as house:
        early, late, revoked = [await invitation(house.app) for _ in range(3)]
        here = await invitation(house.app, door=Door(CHANNEL, "another desk"))
        channel = await invitation(house.app, door=Door(CHANNEL))
        rows = await house.rows(invites)
        assert not {early, late, revoked, here, channel} & {str(value) for row in rows for value in row}
        async with house.app.database.write() as connection:
            assert await house.app.access.invites.revoke(connection, rows[2].id)
            assert not await house.app.access.invites.revoke(connection, rows[2].id)
        ana, ben, cleo = [await stranger(house.app, name) for name in ("ana", "ben", "cleo")]
        assert await enter(house.app, ana, here) is Entry.WRONG
        assert await enter(house.app, ana, revoked) is Entry.WRONG
        assert await enter(house.app, ana, early) is Entry.INVITED
        assert await enter(house.app, ben, channel) is Entry.INVITED
        clock.set(clock.now() + timedelta(days=DAYS))
        assert await enter(house.app, cleo, late) is Entry.WRONG
        await invitation(house.app)
        assert len(await house.rows(invites)) == 1, "what is spent or expired is gone"


async def test_after_some_wrong_codes_none_is_looked_at_for_an_hour(
    people: People, clock: MovedClock
) -> None:
    code, own = await invitation(people.app), people.app.access.code
    for _ in range(MOST_GUESSES):
        assert await people.say("/start guess") == WRONG_CODE
    for right in (code, own):
        assert await people.say(f"/start {right}") == WAIT
    assert await people.say(f"/start {code}", person="ben") == WELCOME
    clock.set(clock.now() + GUESSES_REST)
    assert (await people.say(f"/start {own}")).endswith(YOURS)
    clock.set(clock.now() + GUESSES_REST)
    assert await people.say("/start guess") == WELCOME


# Requests


async def test_an_owner_decides_who_is_let_in(owned: People) -> None:
    assert await owned.say("/requests") == "Nobody asks to be let in."
    for name in ("ben", "cleo `[x](http://a.b)"):
        for said in ("/ask", "Please?", "/ask"):
            assert await owned.say(said, person=name) == ASKED
    assert await owned.say("/requests", person="ben") == ASKED
    assert (await owned.say("Anything new?")).endswith(NEWS[News.ASKED])
    assert NEWS[News.ASKED] not in await owned.say("And now?")
    listed = await owned.say("/requests")
    assert "- 1: `Ben` (Paper)" in listed
    assert "- 2: `Cleo '[X](Http://A.B)` (Paper)" in listed

    assert "`/requests` lists them" in await owned.say("/approve 9")
    assert "is let in" in await owned.say("/approve 1")
    answer = await owned.say("Hello", person="ben")
    assert answer.endswith(f"Hello\n\n{NEWS[News.LET_IN]}")
    assert NEWS[News.LET_IN] not in await owned.say("Thanks", person="ben")
    assert await owned.say("/approve 2", person="ben") == NOT_YOURS
    assert await owned.say("/ask", person="ben") == ALREADY_IN

    assert "isn't let in" in await owned.say("/deny 2")
    for said in ("Hello?", "/ask"):
        assert await owned.say(said, person="cleo `[x](http://a.b)") == DENIED
    assert await owned.say("/requests") == "Nobody asks to be let in."
    assert "is let in" in await owned.say("/approve 2")
    assert (await owned.say("Hi", person="cleo `[x](http://a.b)")).endswith(NEWS[News.LET_IN])
    noted = [deed for deed, _ in await deeds(owned.house)]
    assert noted == ["admit", "claim", "ask", "ask", "admit", "deny", "admit"]


async def test_an_invitation_settles_a_request(owned: People) -> None:
    await owned.say("/ask", person="ben")
    assert await owned.say(f"/start {await invitation(owned.app)}", person="ben") == WELCOME
    assert await owned.say("/requests") == "Nobody asks to be let in."
    assert (await owned.say("Hello", person="ben")).endswith("Hello")


# Doors, and who is outside


async def test_a_workspace_s_own_word_counts_before_its_channel_s(owned: People) -> None:
    app, desk = owned.app, Door(CHANNEL, "open desk")
    await set_mode(app, desk, Mode.OPEN)
    assert not (await stranger(app, "ben")).admitted
    assert (await stranger(app, "ben", desk)).admitted
    await set_mode(app, Door(CHANNEL), Mode.CLOSED)
    assert (await stranger(app, "cleo", desk)).admitted
    assert await owned.say("Hello", person="dora") == CLOSED_DOOR
    assert await owned.say("/ask", person="dora") == CLOSED_DOOR
    await set_mode(app, desk, None)
    assert not (await stranger(app, "dora", desk)).admitted
    assert await is_in(app, "ben", desk)
    await set_mode(app, Door(CHANNEL), None)
    assert await owned.say("Hello", person="dora") == ASKS


async def test_an_open_door_is_none_for_outsiders(open_settings: Settings, model: ModelStandIn) -> None:
    async with people_of(open_settings, model) as people:
        assert await people.say("Hello", outsider=True) == PRIVATE_DOOR
        assert (await people.say("Hello", person="ben")).endswith("Hello")
        assert await people.say("A guest by now", person="ben", outsider=True) == PRIVATE_DOOR
        assert (await people.say("A member again", person="ben")).endswith("A member again")
        assert await people.say(f"/start {await invitation(people.app)}", outsider=True) == WELCOME
        assert (await people.say("Hello", outsider=True)).endswith("Hello")
        noted = [detail for _, detail in await deeds(people.house)]
        assert noted == ["open", "outsider", "open", "invite 1", "invite 1"]


async def test_who_has_linked_another_account_is_not_put_out_for_being_a_guest_there(
    open_settings: Settings,
) -> None:
    async with a_house(open_settings) as house:
        await stranger(house.app, "ana")
        guest = await stranger(house.app, "ana", Door(CHANNEL, "another desk"))
        linked = identities.c.workspace == "another desk"
        async with house.app.database.write() as connection:
            ana = await house.app.people.find(connection, CHANNEL, WORKSPACE, "ana")
            assert ana is not None
            await connection.execute(update(identities).where(linked).values(user_id=ana.id))
            sender = letter("", outsider=True).sender
            met = await house.app.access.meet(connection, Door(CHANNEL, "another desk"), sender)
        assert (met.id, met.admitted) == (ana.id, True)
        assert met.id != guest.id


async def test_strangers_in_a_group_are_shown_the_door_once_a_day(owned: People, clock: MovedClock) -> None:
    group = {"conversation": "the group", "kind": ConversationKind.GROUP}
    shown = owned.house.paper.shown
    code = await invitation(owned.app)
    await owned.say("Hello", person="ben", addressed=False, **group)
    assert len(shown) == 1
    assert await owned.say("Hello", person="ben", **group) == GROUP_DOOR
    for name in ("ben", "cleo", "dora"):
        for said in ("Hello", f"/start {code}", "/ask"):
            await owned.say(said, person=name, **group)
    await owned.say("Hello", person="ben", conversation="another", kind=ConversationKind.THREAD)
    assert len(owned.house.paper.shown) == 2
    assert len(await owned.house.rows(turns)) == 2
    assert (await owned.say("Hello from Ana", **group)).endswith("Hello from Ana")
    assert await owned.say("Hello", person="dora") == ASKS, "in private everybody hears something"
    clock.set(clock.now() + timedelta(days=1))
    assert await owned.say("Hello", person="cleo", **group) == GROUP_DOOR


async def test_blocked_people_get_a_line_a_day_and_cost_nothing(owned: People, clock: MovedClock) -> None:
    clock.set(clock.now().replace(hour=9))
    assert await owned.say(f"/start {await invitation(owned.app)}", person="ben") == WELCOME
    await owned.say("/ask", person="cleo")
    assert "is blocked" in await owned.say("/block 1")
    ben = await owned.id("ben")
    async with owned.app.database.write() as connection:
        assert await owned.app.access.block(connection, ben, actor=None)
        assert not await owned.app.access.block(connection, ben, actor=None)
    before = len(await owned.house.rows(turns)), len(await owned.house.rows(inbox))
    calls = len(owned.model.calls)

    assert await owned.say("First insult", person="ben") == BLOCKED
    shown = len(owned.house.paper.sheets)
    for said in ("Second insult", "/memory", "/start", f"/start {await invitation(owned.app)}", "/ask"):
        assert (await owned.house.accept(said, person="ben")).unheard
    assert (await owned.house.take(letter("x" * 100_000, person="ben"))).unheard
    await owned.say_in_group("Insult for all", person="ben")
    await owned.house.settled()
    assert len(owned.house.paper.sheets) == shown
    assert len(owned.model.calls) == calls
    assert len(await owned.house.rows(turns)) == before[0] + 1
    assert len(await owned.house.rows(inbox)) == before[1] + 1
    assert not await owned.house.rows(messages, messages.c.user_id == ben)
    assert await owned.say("Hello", person="cleo") == BLOCKED

    clock.set(clock.now() + timedelta(days=1))
    assert await owned.say("Good morning", person="ben") == BLOCKED
    async with owned.app.database.write() as connection:
        assert await owned.app.access.unblock(connection, ben, actor=None)
        assert not await owned.app.access.unblock(connection, ben, actor=None)
    assert (await owned.say("Sorry", person="ben")).endswith("Sorry")
    assert (await owned.say("/requests")) == "Nobody asks to be let in."


async def test_what_a_blocked_person_wrote_is_never_written_down(owned: People) -> None:
    ben = await stranger(owned.app, "ben")
    async with owned.app.database.write() as connection:
        await owned.app.access.block(connection, ben.id, actor=None)
        box = await Vault(owned.app.master).box(connection, ben.id)
    async with a_house(owned.app.settings) as quiet:
        await quiet.accept("Secret words", person="ben")
        row = await quiet.row(inbox, inbox.c.user_id == ben.id)
    assert box.open_json(row.payload_sealed, "inbox.payload")["text"] == ""


async def test_a_blocked_owner_owns_nothing(owned: People) -> None:
    code = await invitation(owned.app)
    owners = (await owned.say("/invite")).split("/start ")[1].split("`")[0]
    async with owned.app.database.write() as connection:
        await owned.app.access.block(connection, await owned.id(), actor=None)
    assert await owned.say(f"/start {owners}", person="ben") == WRONG_CODE
    assert await owned.say(f"/start {code}", person="ben") == WELCOME
    assert (await owned.say(f"/start {owned.app.access.code}", person="ben")).endswith(YOURS)
    assert await owned.say("Hello?") == BLOCKED


async def test_at_home_somebody_blocked_is_signed_out(people: People, clock: MovedClock) -> None:
    app = people.app
    sign_in = SignIn(app.database, app.people, app.master, clock)
    session = await sign_in.open_session(await sign_in.link_token("ana"))
    assert session is not None
    user_id = await sign_in.user_of(session.token)
    assert user_id is not None
    async with app.database.write() as connection:
        await app.access.block(connection, user_id, actor=None)
    assert await sign_in.user_of(session.token) is None
    async with app.database.read() as connection:
        assert await connection.scalar(select(users.c.blocked_at).where(users.c.id == user_id)) is not None
