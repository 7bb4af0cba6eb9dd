"""Lanes: in order, one worker at a time, whoever dies, whatever fails."""

import asyncio
import random
from contextlib import suppress

import pytest
from sqlalchemy import delete, update

from core.delivery.inbox import InboxState
from core.delivery.turns import MAX_ATTEMPTS, MOST_ATTEMPTS, Lease, Turn, TurnState
from core.errors import LeaseLost
from core.messages import ConversationKind
from core.reply.answer import BROKEN, BROKEN_MODEL, NO_MODEL
from core.settings import Settings
from core.storage.schema import conversations, deliveries, inbox, keys, messages, turns
from tests.conftest import lanes_running
from tests.integration.conftest import House, a_house
from tests.processes import until
from tests.standins.model import ModelStandIn


async def seized(house: House, conversation_id: str) -> tuple[Lease, Turn]:
    """The lane and its turn, as a process holds them that dies then: nothing renews the lease."""
    lease = await house.app.turns.lease(conversation_id, "about to die")
    assert lease is not None
    turn = await house.app.turns.take(lease)
    assert turn is not None
    return lease, turn


async def composed(house: House, turn: Turn, reply: str) -> None:
    async with house.app.database.write() as connection:
        await house.app.turns.compose(connection, turn, reply)


async def half_ended(house: House, turn: Turn) -> None:
    """Writes something, then finds at the turn's end that the lane is lost."""
    async with house.app.database.write() as connection:
        await connection.execute(update(turns).values(account_sealed=b"half"))
        await house.app.turns.finish(connection, turn, TurnState.DEAD, None, "Late")


async def test_a_burst_is_one_turn_and_commands_stand_alone(house: House, model: ModelStandIn) -> None:
    for text in ("one", "two", "/help", "three", "four"):
        await house.accept(text)
    async with lanes_running(house.app):
        await house.settled()
    assert [call["messages"][-1]["content"] for call in model.calls] == ["one\ntwo", "three\nfour"]
    first, second, third = house.paper.shown
    assert (first, third) == ("You said: one\ntwo", "You said: three\nfour")
    assert "Mneme" in second


async def test_what_comes_while_a_pause_is_awaited_joins_the_burst(
    open_settings: Settings, model: ModelStandIn
) -> None:
    patient = open_settings.model_copy(update={"burst_seconds": 3.0})
    async with a_house(patient) as house, lanes_running(house.app):
        for text in ("one", "two", "three"):
            await house.accept(text)
            await asyncio.sleep(0.1)
        await house.settled()
    assert [call["messages"][-1]["content"] for call in model.calls] == ["one\ntwo\nthree"]


async def test_people_of_a_group_are_answered_in_their_order(house: House, model: ModelStandIn) -> None:
    for person, text in (("ana", "a1"), ("ana", "a2"), ("ben", "b1"), ("ana", "a3")):
        await house.accept(
            text, person=person, conversation="group", kind=ConversationKind.GROUP, reply_to=text
        )
    async with lanes_running(house.app):
        await house.settled()
    assert [sheet.reply_to for sheet in house.paper.sheets] == ["a2", "b1", "a3"]
    assert len({turn.user_id for turn in await house.rows(turns)}) == 2


async def test_one_persons_slow_reply_holds_up_nobody_else(house: House, model: ModelStandIn) -> None:
    model.piece_seconds = 0.1
    model.answer = lambda said: "word " * 600 if "long" in said[-1]["content"] else "Quick."
    async with lanes_running(house.app):
        slow = await house.accept("A long one please", person="ana")
        await until(lambda: model.calls)
        await house.accept("Are you there?", person="ben")
        await until(lambda: "Quick." in house.paper.shown)
        waits = await house.row(inbox, inbox.c.id == slow.inbox_id)
        assert waits.state == InboxState.TAKEN
        model.piece_seconds = 0.0


async def test_two_processes_share_the_lanes_without_doubling(
    house: House, open_settings: Settings, model: ModelStandIn
) -> None:
    texts = [f"message-{number:02}" for number in range(40)]
    async with a_house(open_settings) as other, lanes_running(house.app), lanes_running(other.app):
        for number, text in enumerate(texts):
            at = (house, other)[number % 2]
            await at.accept(text, person=f"person-{number % 7}")
        await house.settled()
        await other.settled()
    prompts = [call["messages"][-1]["content"] for call in model.calls]
    assert sorted("\n".join(prompts).split("\n")) == texts
    assert len(prompts) == len(await house.rows(turns)) == len(house.paper.sheets + other.paper.sheets)
    for conversation in await house.rows(conversations):
        said = await house.rows(
            messages, messages.c.conversation_id == conversation.id, messages.c.role == "user"
        )
        order = [(line.turn_id, line.position) for line in sorted(said, key=lambda line: line.said_at)]
        assert order == sorted(order)


async def test_a_dead_holders_lane_is_taken_over_with_its_turn(
    house: House, open_settings: Settings, model: ModelStandIn
) -> None:
    accepted = await house.accept("Hello")
    impatient = open_settings.model_copy(update={"lease_seconds": 5.0})
    async with a_house(impatient) as first, a_house(impatient) as second:
        lease, turn = await seized(first, accepted.conversation_id)
        async with lanes_running(second.app):
            assert await second.app.turns.lease(accepted.conversation_id, "too early") is None
            await second.settled()
        assert second.paper.shown == ["You said: Hello"]
        with pytest.raises(LeaseLost):
            await composed(first, turn, "A second answer")
        with pytest.raises(LeaseLost):
            await first.app.turns.put_back(turn, "Late")
        with pytest.raises(LeaseLost):
            await first.app.turns.take(lease)
        with pytest.raises(LeaseLost):
            await first.app.turns.renew(lease)
        with pytest.raises(LeaseLost):
            await half_ended(first, turn)
        assert await first.app.turns.release(lease)
    done = await house.row(turns)
    assert (done.id, done.state) == (turn.id, TurnState.DONE)
    assert done.account_sealed != b"half"
    row = await house.row(inbox)
    assert (row.state, row.attempts) == (InboxState.DONE, 2)


async def test_a_clock_set_back_leaves_no_dead_holders_lane_locked(house: House) -> None:
    accepted = await house.accept("Hello")
    await seized(house, accepted.conversation_id)
    async with house.app.database.write() as connection:
        an_hour_on = conversations.c.lease_until + 3600
        await connection.execute(update(conversations).values(lease_until=an_hour_on))
    async with lanes_running(house.app):
        await house.settled()
    assert house.paper.shown == ["You said: Hello"]


async def test_a_worker_whose_lane_is_taken_stops_and_commits_nothing(
    open_settings: Settings, model: ModelStandIn
) -> None:
    impatient = open_settings.model_copy(update={"lease_seconds": 2.0, "sweep_seconds": 30.0})
    model.piece_seconds = 0.1
    model.answer = lambda said: "word " * 600
    async with a_house(impatient) as first, a_house(impatient) as second:
        async with lanes_running(first.app):
            accepted = await first.accept("Hello")
            await until(lambda: first.paper.sheets)
            async with first.app.database.write() as connection:
                await connection.execute(update(conversations).values(lease_until=0.0))
            _, turn = await seized(second, accepted.conversation_id)
            await until(lambda: not first.app.lanes.at_work, within_seconds=25)
        (delivery,) = await second.rows(deliveries)
        assert (turn.attempt, delivery.turn_id) == (2, turn.id)
        assert await second.rows(messages) == []
        assert (await second.row(turns)).reply_sealed is None
        assert (await second.row(inbox)).state == InboxState.TAKEN
        assert (await second.row(conversations)).lease_holder == "about to die"
        await until(lambda: model.abandoned)


async def test_a_model_that_is_away_is_tried_three_times_then_said_and_the_lane_goes_on(
    house: House, model: ModelStandIn
) -> None:
    await model.stop()
    async with lanes_running(house.app):
        await house.accept("Hello")
        await until(lambda: house.paper.shown)
        await house.settled()
        assert house.paper.shown == [NO_MODEL]
        turn, row = await house.row(turns), await house.row(inbox)
        assert (turn.state, row.state, row.attempts) == (TurnState.DEAD, InboxState.DEAD, MAX_ATTEMPTS)
        assert row.reason == "ModelUnavailable"
        assert await house.rows(messages) == []
        await model.start(int(model.base_url.rsplit(":", 1)[1].split("/")[0]))
        await house.accept("Are you back?")
        await house.settled()
    assert house.paper.shown[1:] == ["You said: Are you back?"]


async def test_a_reply_that_breaks_off_is_made_again_in_the_same_message(
    house: House, model: ModelStandIn
) -> None:
    model.fail_next("cut")
    model.piece_seconds = 0.05
    async with lanes_running(house.app):
        await house.accept("Tell me something that has a beginning, a middle and an end")
        await house.settled()
    (sheet,) = house.paper.sheets
    assert sheet.shown.endswith("and an end")
    assert sheet.final
    assert (await house.row(inbox)).attempts == 2


async def test_a_model_that_refuses_is_not_asked_again(house: House, model: ModelStandIn) -> None:
    model.fail_next("too_long")
    async with lanes_running(house.app):
        await house.accept("Hello")
        await house.settled()
        assert house.paper.shown == [BROKEN_MODEL]
        assert len(model.calls) == 1
        await house.accept("And now?")
        await house.settled()
    assert house.paper.shown == [BROKEN_MODEL, "You said: And now?"]


async def test_a_turn_whose_attempts_never_end_is_given_up(house: House, model: ModelStandIn) -> None:
    """As when a message kills the process that answers it, again and again."""
    await house.accept("Poison")
    async with house.app.database.write() as connection:
        await connection.execute(update(inbox).values(attempts=MOST_ATTEMPTS))
    async with lanes_running(house.app):
        await house.settled()
    assert house.paper.shown == [BROKEN]
    assert model.calls == []
    assert (await house.row(turns)).state == TurnState.DEAD


async def test_what_cannot_be_read_any_more_leaves_the_lane(house: House) -> None:
    group = {"conversation": "group", "kind": ConversationKind.GROUP}
    await house.accept("Sealed for good", person="ana", **group)
    await house.accept("Still there", person="ben", **group)
    (ana,) = await house.rows(keys, keys.c.owner == (await house.rows(inbox))[0].user_id)
    async with house.app.database.write() as connection:
        await connection.execute(delete(keys).where(keys.c.owner == ana.owner))
    async with lanes_running(house.app):
        await house.settled()
    first, second = await house.rows(inbox)
    assert (first.state, first.reason) == (InboxState.DEAD, "Undecryptable")
    assert second.state == InboxState.DONE
    (shown,) = house.paper.shown
    assert "Still there" in shown


@pytest.mark.parametrize("apart", [False, True], ids=["one process", "two processes"])
async def test_no_arrival_is_overlooked_while_a_lane_is_given_back(
    open_settings: Settings, apart: bool
) -> None:
    """Only the bell wakes these lanes: a message that comes just as one is released must not stay."""
    deaf = open_settings.model_copy(update={"sweep_seconds": 300.0, "burst_seconds": 0.0})
    chance = random.Random(7)
    async with a_house(deaf) as house, a_house(deaf) as other, lanes_running(house.app):
        # A ring from elsewhere is heard once the bell's line to Redis stands.
        await house.accept("/help")
        await house.settled()
        await until(lambda: _is_heard(other, house))
        door = other if apart else house
        for _ in range(60):
            await door.accept("/help")
            await asyncio.sleep(chance.choice((0, 0, 0.005, 0.02, 0.05)))
        await house.settled()
        assert {row.state for row in await house.rows(inbox)} == {InboxState.DONE}


async def test_put_back_keeps_the_order_of_the_lane(house: House) -> None:
    accepted = await house.accept("first")
    _, turn = await seized(house, accepted.conversation_id)
    await house.accept("second")
    await house.app.turns.put_back(turn, "Trouble")
    assert await house.app.turns.release(turn.lease)
    assert await house.app.turns.lease(accepted.conversation_id, "too early") is None
    async with lanes_running(house.app):
        await house.settled()
    assert house.paper.shown == ["You said: first", "You said: second"]


async def test_a_stop_lets_a_reply_end(house: House, model: ModelStandIn) -> None:
    model.piece_seconds = 0.2
    model.answer = lambda said: "one two three four five"
    async with lanes_running(house.app):
        await house.accept("Count to five")
        await house.accept("Hello", person="ben")
        await until(lambda: len(house.paper.sheets) == 2)
        await house.app.lanes.stop()
        assert house.app.lanes.at_work == 0
    assert house.paper.shown == ["one two three four five"] * 2
    assert {row.state for row in await house.rows(inbox)} == {InboxState.DONE}


async def test_a_stop_hands_over_what_takes_too_long(open_settings: Settings, model: ModelStandIn) -> None:
    model.piece_seconds = 0.2
    model.answer = lambda said: "word " * 200
    async with a_house(open_settings) as first, a_house(open_settings) as second:
        async with lanes_running(first.app):
            await first.accept("Hello")
            await until(lambda: first.paper.sheets)
            began = asyncio.get_running_loop().time()
            await first.app.lanes.stop()
            assert asyncio.get_running_loop().time() - began < 30, "it waited for the reply's end"
        model.piece_seconds = 0.0
        second.paper.sheets = first.paper.sheets  # the same platform
        async with lanes_running(second.app):
            await second.settled()
        (sheet,) = second.paper.sheets
        assert sheet.shown == ("word " * 200).strip()
        assert {row.state for row in await second.rows(inbox)} == {InboxState.DONE}


async def test_messages_are_answered_without_redis(open_settings: Settings) -> None:
    nowhere = type(open_settings.redis_url)("redis://127.0.0.1:1/0")  # type: ignore[misc]
    async with a_house(open_settings.model_copy(update={"redis_url": nowhere})) as house:
        async with lanes_running(house.app):
            await house.accept("Hello")
            await house.settled()
        assert house.paper.shown == ["You said: Hello"]


async def test_what_waited_before_the_start_is_found(house: House) -> None:
    for person in ("ana", "ben"):
        await house.accept("Hello", person=person)
    async with lanes_running(house.app):
        await house.settled()
    assert len(house.paper.sheets) == 2


async def _is_heard(caller: House, listener: House) -> bool:
    async with listener.app.bell.hearing("roll call") as rung:
        await caller.app.bell.ring("roll call")
        with suppress(TimeoutError):
            await asyncio.wait_for(rung.wait(), 0.5)
        return rung.is_set()
