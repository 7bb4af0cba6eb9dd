"""The outbox: opened once, then only edited; a message of unknown fate is never sent again."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from redis.asyncio import Redis

from core.delivery.inbox import InboxState
from core.delivery.outbox import SETTLED_SECONDS, DeliveryState
from core.delivery.turns import MOST_ATTEMPTS, TurnState
from core.errors import DeliveryUnknown, NotDelivered, Undeliverable
from core.reply.answer import NO_MODEL, UNSURE
from core.settings import Settings
from core.storage.pacer import Limit
from core.storage.schema import conversations, deliveries, inbox, messages, turns
from tests.conftest import lanes_running
from tests.integration.conftest import House, a_house
from tests.processes import until
from tests.standins.clock import StoppedClock
from tests.standins.model import ModelStandIn
from tests.standins.paper import Sheet

TEN = "one two three four five six seven eight nine ten"


async def answered(house: House, *texts: str) -> None:
    """One message after the other, each until nothing more is done about it."""
    async with lanes_running(house.app):
        for text in texts or ("Hello",):
            await house.accept(text)
            await house.settled()


async def test_one_message_is_opened_and_then_only_edited(house: House, model: ModelStandIn) -> None:
    model.piece_seconds = 0.2
    model.answer = lambda said: TEN
    await answered(house)
    (sheet,) = house.paper.sheets
    assert sheet.shown == TEN
    assert sheet.final
    assert len(sheet.texts) > 2
    assert all(TEN.startswith(text) for text in sheet.texts)
    assert sheet.texts == sorted(sheet.texts, key=len)
    assert house.paper.thinking > 0
    delivery = await house.row(deliveries)
    assert (delivery.state, delivery.platform_id) == (DeliveryState.SENT, "1")


async def test_a_late_edit_of_a_stalled_process_does_not_cover_the_reply(
    open_settings: Settings, model: ModelStandIn
) -> None:
    impatient = open_settings.model_copy(update={"lease_seconds": 2.0, "sweep_seconds": 30.0})
    model.piece_seconds = 0.5
    model.answer = lambda said: TEN
    stalled = asyncio.Event()
    async with a_house(impatient) as first, a_house(impatient) as second:
        second.app.outlets[first.paper.name] = first.paper
        async with lanes_running(first.app):
            await first.accept("Hello")
            await until(lambda: first.paper.sheets)
            first.paper.hold_edit = stalled
            await until(lambda: first.paper.hold_edit is None)
            model.piece_seconds = 0.0
            async with first.app.database.write() as connection:
                await connection.execute(conversations.update().values(lease_until=0.0))
            async with lanes_running(second.app):
                await until(lambda: first.paper.sheets[0].shown == TEN)
                await second.settled()
            (sheet,) = first.paper.sheets
            finished = len(sheet.texts)
            await asyncio.sleep(impatient.lease_seconds)  # the first one's, since it was last renewed
            stalled.set()
            await until(lambda: len(sheet.texts) == finished + 2)
        assert sheet.texts[finished] != TEN, "the late edit did cover it"
        assert sheet.shown == TEN


async def test_a_process_that_stood_still_leases_anew_before_it_writes_again(
    open_settings: Settings, model: ModelStandIn
) -> None:
    """Its clock says that its lease may be over: it doesn't wait to be told."""
    clock = StoppedClock(datetime.now(UTC))
    model.piece_seconds = 0.5
    model.answer = lambda said: TEN
    async with a_house(open_settings, clock) as house, lanes_running(house.app):
        house.paper.hold_edit = held = asyncio.Event()
        await house.accept("Hello")
        await until(lambda: house.paper.hold_edit is None)
        leased = (await house.row(conversations)).lease_token
        model.piece_seconds = 0.0
        clock.advance(open_settings.lease_seconds)
        held.set()
        await house.settled()
        assert (await house.row(conversations)).lease_token == leased + 1
        assert (await house.row(inbox)).attempts == 2
        assert house.paper.shown == [TEN]


async def test_a_short_reply_is_one_message_from_the_start(house: House, model: ModelStandIn) -> None:
    house.paper.gather_seconds = 30.0
    model.piece_seconds = 0.05
    model.answer = lambda said: TEN
    await answered(house)
    assert [sheet.texts for sheet in house.paper.sheets] == [[TEN]]


async def test_a_long_reply_comes_in_parts(house: House, model: ModelStandIn) -> None:
    house.paper.part_chars = 20
    model.piece_seconds = 0.03
    model.answer = lambda said: TEN
    async with lanes_running(house.app):
        await house.accept("Hello", reply_to="its question")
        await house.settled()
    assert "".join(house.paper.shown) == TEN
    assert [sheet.reply_to for sheet in house.paper.sheets] == ["its question", None, None]
    assert all(sheet.final for sheet in house.paper.sheets)
    assert [row.part for row in await house.rows(deliveries)] == [0, 1, 2]
    assert {row.state for row in await house.rows(deliveries)} == {DeliveryState.SENT}


async def test_what_was_not_taken_is_sent_again_no_sooner_than_asked(
    house: House, model: ModelStandIn
) -> None:
    house.paper.open_faults.extend([NotDelivered("flood", 0.4), NotDelivered("flood", 0.4)])
    clock = asyncio.get_running_loop().time
    began = clock()
    await answered(house)
    assert clock() - began >= 0.8
    assert house.paper.shown == ["You said: Hello"]
    assert (await house.row(deliveries)).state == DeliveryState.SENT
    assert len(model.calls) == 1


async def test_edits_that_are_not_taken_are_made_up_for(house: House, model: ModelStandIn) -> None:
    model.piece_seconds = 0.05
    model.answer = lambda said: TEN
    house.paper.edit_faults.extend([NotDelivered("busy"), DeliveryUnknown("no answer"), NotDelivered("busy")])
    await answered(house)
    (sheet,) = house.paper.sheets
    assert sheet.shown == TEN
    assert (await house.row(turns)).state == TurnState.DONE


async def test_a_long_ban_is_waited_out_in_the_queue(house: House, model: ModelStandIn) -> None:
    house.paper.open_faults.extend([NotDelivered("flood", 3600.0)] * 2)
    async with lanes_running(house.app):
        await house.accept("Hello")
        await until(lambda: model.calls and not house.app.lanes.at_work)
    row = await house.row(inbox)
    assert (row.state, row.attempts, row.reason) == (InboxState.WAITING, 1, "NotDelivered")
    assert await house.app.turns.lease(row.conversation_id, "too early") is None
    assert (await house.row(deliveries)).state == DeliveryState.PENDING
    assert row.not_before > 3000


async def test_a_platform_that_is_away_for_long_gets_the_composed_reply(
    house: House, model: ModelStandIn
) -> None:
    """More failures than a turn has attempts at a model: the reply stands, and isn't made again."""
    house.paper.open_faults.extend([NotDelivered("away", 100.0)] * 5)
    async with lanes_running(house.app):
        await house.accept("Hello")
        for attempt in range(1, 6):
            await until(partial(_rests, house, attempt))
            await _due(house)
        await house.settled()
    assert house.paper.shown == ["You said: Hello"]
    assert len(model.calls) == 1
    assert (await house.row(inbox)).attempts == 6 < MOST_ATTEMPTS


@pytest.mark.parametrize("live", [True, False], ids=["while streaming", "at the end"])
async def test_a_message_of_unknown_fate_is_never_sent_again(
    house: House, model: ModelStandIn, live: bool
) -> None:
    model.piece_seconds = 0.05 if live else 0.0
    model.answer = lambda said: TEN if live else "Yes"
    house.paper.lost_faults.append(DeliveryUnknown("no answer came"))
    await answered(house, "Hello", "Still there?")
    assert len(model.calls) == 2
    reply, line, _ = house.paper.shown
    assert reply != UNSURE == line, "the person hears of it, without the reply's being sent again"
    states = [row.state for row in await house.rows(deliveries)]
    assert states == [DeliveryState.UNKNOWN, DeliveryState.SENT, DeliveryState.SENT]
    row, _ = await house.rows(inbox)
    assert (row.state, row.reason, row.attempts) == (InboxState.UNKNOWN, "DeliveryUnknown", 1)
    kept = await house.rows(messages, messages.c.turn_id == row.turn_id)
    assert len(kept) == 2, "what was said isn't lost, nor a reply that may have arrived"


@pytest.mark.parametrize("live", [True, False], ids=["while streaming", "at the end"])
async def test_what_is_refused_for_good_ends_the_turn(house: House, model: ModelStandIn, live: bool) -> None:
    model.piece_seconds = 0.05 if live else 0.0
    model.answer = lambda said: TEN if live else "Yes"
    house.paper.open_faults.append(Undeliverable("blocked"))
    await answered(house, "Hello", "I'm back")
    assert len(house.paper.sheets) == 1
    states = [row.state for row in await house.rows(deliveries)]
    assert states == [DeliveryState.FAILED, DeliveryState.SENT]
    row, _ = await house.rows(inbox)
    assert (row.state, row.reason, row.attempts) == (InboxState.DEAD, "Undeliverable", 1)


async def test_a_message_that_was_deleted_ends_the_turn(house: House, model: ModelStandIn) -> None:
    model.piece_seconds = 0.05
    model.answer = lambda said: TEN
    house.paper.edit_faults.extend([Undeliverable("message to edit not found")] * 10)
    await answered(house)
    assert len(house.paper.sheets) == 1
    assert (await house.row(turns)).state == TurnState.DEAD
    assert await house.rows(messages) == []


async def test_a_crash_between_sending_and_storing_is_not_sent_again(
    house: House, model: ModelStandIn
) -> None:
    """The outlet breaks in a way that nobody foresaw, after the message was put up."""
    house.paper.lost_faults.append(RuntimeError("killed"))
    await answered(house)
    assert house.paper.shown == ["You", UNSURE]
    assert [row.state for row in await house.rows(deliveries)] == [DeliveryState.UNKNOWN, DeliveryState.SENT]
    row = await house.row(inbox)
    assert (row.state, row.reason) == (InboxState.UNKNOWN, "DeliveryUnknown")


async def test_a_reply_whose_process_died_while_sending_is_not_sent_again(
    house: House, open_settings: Settings
) -> None:
    """A cancelled send stands for a killed process: what it left behind says that it was about to send."""
    house.paper.hold = asyncio.Event()
    async with lanes_running(house.app):
        await house.accept("Hello")
        await asyncio.wait_for(house.paper.opening.wait(), 30)
        assert (await house.row(deliveries)).state == DeliveryState.SENDING
        # The lane's task and the send itself end, as they would with the process, and none begins anew.
        stopping = asyncio.create_task(house.app.lanes.stop())
        await asyncio.sleep(0)
        for task in asyncio.all_tasks():
            if "_bring" in repr(task.get_coro()) or task.get_name().startswith("lane:"):
                task.cancel()
        await stopping
    async with a_house(open_settings) as next_process, lanes_running(next_process.app):
        await next_process.settled()
        assert next_process.paper.shown == [UNSURE]
    assert [row.state for row in await house.rows(deliveries)] == [DeliveryState.UNKNOWN, DeliveryState.SENT]
    assert (await house.row(turns)).state == TurnState.UNKNOWN


async def test_the_line_behind_a_reply_of_unknown_fate_is_sent_once(
    house: House, open_settings: Settings
) -> None:
    """Its process is killed after the line arrived and before the turn ended."""
    house.paper.lost_faults.extend([DeliveryUnknown("no answer came"), RuntimeError("killed")])
    async with lanes_running(house.app):
        await house.accept("Hello")
        await until(lambda: UNSURE in house.paper.shown)
        await until(lambda: not house.app.lanes.at_work)
    async with a_house(open_settings) as next_process, lanes_running(next_process.app):
        await next_process.settled()
        assert next_process.paper.sheets == []
    assert [row.state for row in await house.rows(deliveries)] == [DeliveryState.UNKNOWN] * 2
    assert (await house.row(turns)).state == TurnState.UNKNOWN


async def test_no_part_of_a_broken_reply_stays_under_the_honest_line(
    house: House, model: ModelStandIn
) -> None:
    house.paper.part_chars = 40
    model.piece_seconds = 0.1
    model.answer = lambda said: " ".join([TEN] * 4)
    model.fail_next("cut", times=3)
    await answered(house)
    shown = house.paper.shown
    assert "".join(shown).startswith(NO_MODEL)
    assert not any(word in "".join(shown) for word in ("seven", "eight"))
    assert (await house.row(turns)).state == TurnState.DEAD


async def test_a_channel_that_nobody_serves_is_said_so(house: House, model: ModelStandIn) -> None:
    del house.app.outlets[house.paper.name]
    await answered(house)
    row = await house.row(inbox)
    assert (row.state, row.reason) == (InboxState.DEAD, "Undeliverable")
    assert model.calls == []


@pytest.mark.parametrize("arrived", [True, False], ids=["arrived", "never arrived"])
@pytest.mark.parametrize("live", [True, False], ids=["while streaming", "at the end"])
async def test_a_platform_that_can_be_asked_tells_what_became_of_a_message(
    house: House, model: ModelStandIn, live: bool, arrived: bool
) -> None:
    house.paper.tells = True
    model.piece_seconds = 0.05 if live else 0.0
    model.answer = lambda said: TEN if live else "Yes"
    faults = house.paper.lost_faults if arrived else house.paper.open_faults
    faults.append(DeliveryUnknown("no answer came"))
    async with lanes_running(house.app):
        await house.accept("Hello")
        if not arrived:
            await until(partial(_rests, house, 1))
            assert (await house.row(deliveries)).state == DeliveryState.UNKNOWN
            async with house.app.database.write() as connection:
                long_ago = datetime.now(UTC) - timedelta(seconds=SETTLED_SECONDS)
                await connection.execute(deliveries.update().values(updated_at=long_ago))
            await _due(house)
        await house.settled()
    (sheet,) = house.paper.sheets
    assert sheet.shown == (TEN if live else "Yes")
    assert (await house.row(deliveries)).state == DeliveryState.SENT
    assert (await house.row(turns)).state == TurnState.DONE
    assert len(model.calls) == 1


async def test_what_is_not_there_yet_may_still_arrive(house: House, model: ModelStandIn) -> None:
    """Until it is settled that it never will, it isn't sent again."""
    house.paper.tells = True
    house.paper.open_faults.append(DeliveryUnknown("no answer came"))
    async with lanes_running(house.app):
        await house.accept("Hello")
        await until(partial(_rests, house, 1))
        row = await house.row(inbox)
        assert row.not_before - time.time() > SETTLED_SECONDS - 10
        delivery = await house.row(deliveries)
        house.paper.sheets.append(Sheet(delivery.id, {}, ["You said"], None, False))
        await _due(house)
        await house.settled()
    assert house.paper.shown == ["You said: Hello"]


async def test_replies_to_one_chat_keep_its_pace_whatever_their_conversation(
    open_settings: Settings, model: ModelStandIn
) -> None:
    """Two processes, three conversations in one chat: never more than two writes in a second."""
    model.piece_seconds = 0.1
    model.answer = lambda said: TEN
    async with a_house(open_settings) as one, a_house(open_settings) as other:
        written: list[float] = []
        for house in (one, other):
            house.paper.limit = Limit("", 2, 1.0)
            house.paper.written = written
        async with lanes_running(one.app), lanes_running(other.app):
            for number in range(3):
                await (one, other)[number % 2].accept("Hello", conversation=f"topic {number}", to="chat")
            await one.settled()
    assert [sheet.shown for house in (one, other) for sheet in house.paper.sheets] == [TEN] * 3
    # A write may come a while after its place was booked: what holds is how long all of them take.
    assert written[-1] - written[0] > (len(written) - 2) / 2 - 1


async def test_a_rest_that_the_platform_asks_for_binds_the_whole_chat(
    house: House, model: ModelStandIn
) -> None:
    house.paper.limit = Limit("", 30, 1.0)
    house.paper.open_faults.append(NotDelivered("flood", 1.0))
    async with lanes_running(house.app):
        began = time.monotonic()
        await house.accept("Hello", conversation="one", to="chat")
        await until(lambda: not house.paper.open_faults)
        await house.accept("Hello", conversation="other", to="chat")
        await house.settled()
    assert len(house.paper.sheets) == 2
    assert house.paper.written[0] - began >= 1


async def _rests(house: House, attempts: int) -> bool:
    row = await house.row(inbox)
    return bool(row.attempts == attempts and row.state == InboxState.WAITING)


async def _due(house: House) -> None:
    """Time passes: neither the lane's rest nor the platform's lasts any longer."""
    async with house.app.database.write() as connection:
        await connection.execute(inbox.update().values(not_before=0.0))
    assert house.app.settings.redis_url is not None
    async with Redis.from_url(house.app.settings.redis_url.get_secret_value()) as redis:
        for key in await redis.keys("mneme:rest:*"):
            await redis.delete(key)
