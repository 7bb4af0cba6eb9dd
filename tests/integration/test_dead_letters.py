"""`mneme dead`: what was given up is seen, tried again in its place, or dropped; each by the real command."""

import asyncio
from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select, update

from core.app import open_app
from core.delivery.dead_letters import DROPPED, DeadLetters
from core.delivery.inbox import InboxState
from core.delivery.outbox import DeliveryState
from core.delivery.turns import TurnState
from core.errors import DeliveryUnknown, NotDead
from core.messages import ConversationKind
from core.reply.answer import BROKEN_MODEL, UNSURE
from core.settings import Settings
from core.storage.schema import deliveries, inbox, keys, messages, turns
from tests.conftest import lanes_running
from tests.integration.conftest import House, a_house
from tests.integration.dead_command import listed, refused, said
from tests.integration.remembering import ONE_DATABASE, People, reader
from tests.processes import Mneme
from tests.standins.model import ModelStandIn
from tests.standins.paper import Paper

SECRET = "heron"


async def answer_all(house: House) -> None:
    """Answers what waits, in a process that is there for no longer than that."""
    async with open_app(house.app.settings) as app, lanes_running(app):
        app.outlets[house.paper.name] = house.paper
        await House(app, house.paper, house.desk).settled()


async def dies(house: House, model: ModelStandIn, text: str, **given: Any) -> str:
    """The message's letter: the model refuses it."""
    model.fail_next("too_long")
    accepted = await house.accept(text, **given)
    await answer_all(house)
    assert house.paper.shown[-1] == BROKEN_MODEL
    return f"m{accepted.inbox_id}"


async def is_of_unknown_fate(house: House, model: ModelStandIn, text: str) -> str:
    """The message's letter: its reply, a "Yes", arrives, but not the platform's answer."""
    model.answer = lambda prompt: "Yes"
    house.paper.lost_faults.append(DeliveryUnknown("no answer came"))
    accepted = await house.accept(text)
    await answer_all(house)
    assert house.paper.shown[-2:] == ["Yes", UNSURE]
    return f"m{accepted.inbox_id}"


async def spoken(house: House) -> list[str]:
    """The person's messages in the transcript's order."""
    async with house.app.database.read() as connection:
        lane = await connection.scalar(select(inbox.c.conversation_id).limit(1))
        lines = await house.app.transcript.of_conversation(connection, lane or "", after_turn=0, limit=100)
    return [line.text for line in lines if line.role == "user"]


async def test_what_died_is_listed_and_shown_without_its_words(
    house: House, mneme: Mneme, model: ModelStandIn
) -> None:
    assert await said(mneme, "list") == "Nothing was given up.\n"
    letter = await dies(house, model, f"I saw a {SECRET}")
    line = await said(mneme, "list")
    assert line.split()[0] == letter
    assert line.endswith("  paper     dead     1 attempt    ModelRefused\n")
    row = await house.row(inbox)
    assert await listed(mneme) == [
        {
            "id": letter,
            "kind": "message",
            "state": "dead",
            "since": (await house.row(turns)).finished_at.isoformat(),
            "channel": "paper",
            "conversation_id": row.conversation_id,
            "user_id": row.user_id,
            "reason": "ModelRefused",
            "attempts": 1,
        }
    ]
    shown = await said(mneme, "show", letter)
    for fact in (row.conversation_id, row.user_id, "ModelRefused", f"{row.received_at:%Y-%m-%d %H:%M:%S}"):
        assert fact in shown
    assert "delivery      part 1  sent" in shown
    assert SECRET not in line + shown
    assert await said(mneme, "show", letter, "--words") == f"{shown}words         I saw a {SECRET}\n"


async def test_a_retried_message_is_answered_once_before_what_waits_and_after_what_was_said(
    house: House, mneme: Mneme, model: ModelStandIn
) -> None:
    letter = await dies(house, model, "first")
    await house.accept("second")
    await answer_all(house)
    await house.accept("third")
    printed = await said(mneme, "retry", letter)
    assert printed.startswith(f"{letter} waits to be tried again.\n")
    assert "No bell was rung" in printed
    assert (
        f"{letter} is no dead letter: it waits for its answer."
        in (await refused(mneme, "retry", letter)).stderr
    )
    assert await listed(mneme) == []
    await answer_all(house)
    assert house.paper.shown == [BROKEN_MODEL, "You said: second", "You said: first", "You said: third"]
    assert await spoken(house) == ["second", "first", "third"]
    assert model.calls[-2]["messages"][-3]["content"] == "second"
    row, *_ = await house.rows(inbox)
    assert (row.state, row.attempts, row.reason, row.payload_sealed) == (InboxState.DONE, 1, None, None)
    assert "it was answered" in (await refused(mneme, "retry", letter)).stderr


async def test_letters_retried_together_stay_turns_of_their_own(
    house: House, mneme: Mneme, model: ModelStandIn
) -> None:
    """What killed one of them must not take the others along."""
    model.fail_next("too_long")
    burst = [(await house.accept(text)).inbox_id for text in ("one", "two")]
    await answer_all(house)
    poison = await dies(house, model, "poison")
    other = await dies(house, model, "hello", person="ben")
    await house.accept("three")
    assert [letter["id"] for letter in await listed(mneme)] == [f"m{burst[0]}", poison, other]
    assert f"m{burst[1]}  " in await said(mneme, "show", f"m{burst[1]}")
    printed = await said(mneme, "retry", "--all", "--yes")
    assert printed.count("waits to be tried again") == 3
    told = len(house.paper.sheets)
    await answer_all(house)
    shown = house.paper.shown[told:]
    assert [text for text in shown if "hello" not in text] == [
        "You said: one\ntwo",
        "You said: poison",
        "You said: three",
    ]
    assert "You said: hello" in shown
    assert await listed(mneme) == []


@ONE_DATABASE
async def test_it_may_die_again_and_is_a_letter_again(
    house: House, mneme: Mneme, model: ModelStandIn
) -> None:
    letter = await dies(house, model, "first")
    await said(mneme, "retry", letter)
    model.fail_next("too_long")
    await answer_all(house)
    assert house.paper.shown == [BROKEN_MODEL] * 2
    assert [each["id"] for each in await listed(mneme)] == [letter]
    assert {turn.state for turn in await house.rows(turns)} == {TurnState.DEAD}


async def test_what_was_begun_is_ended_before_an_old_message_is_tried_again(
    house: House, mneme: Mneme, model: ModelStandIn
) -> None:
    """Turns end in the order of their ids, or what reads the transcript overlooks one."""
    model.extract = reader(("Porto", "Lives in Porto."), ("Rita", "Has a sister, Rita."))
    letter = await dies(house, model, "I live in Porto")
    begun = await house.accept("My sister is Rita")
    lease = await house.app.turns.lease(begun.conversation_id, "at work")
    assert lease is not None
    turn = await house.app.turns.take(lease)
    assert turn is not None
    await said(mneme, "retry", letter)
    await house.app.turns.put_back(turn, "Trouble")
    assert await house.app.turns.release(lease)
    assert await house.app.turns.lease(begun.conversation_id, "too early") is None
    await answer_all(house)
    assert house.paper.shown[1:] == ["You said: My sister is Rita", "You said: I live in Porto"]
    assert await spoken(house) == ["My sister is Rita", "I live in Porto"]
    people = People(house, model)
    await people.work()
    assert sorted(await people.texts()) == ["Has a sister, Rita.", "Lives in Porto."]


async def test_an_unknown_fate_is_risked_again_only_when_it_is_meant(
    house: House, mneme: Mneme, model: ModelStandIn
) -> None:
    letter = await is_of_unknown_fate(house, model, "Hello")
    assert [(each["id"], each["state"]) for each in await listed(mneme)] == [(letter, "unknown")]
    shown = await said(mneme, "show", letter, "--words")
    assert "delivery      part 1  unknown" in shown
    assert "delivery      line  sent" in shown
    assert "words         Hello\nreply         Yes\n" in shown

    printed = await said(mneme, "retry", "--all", "--yes")
    assert printed.startswith("Nothing to do.\n1 may have been answered")
    await answer_all(house)
    assert house.paper.shown == ["Yes", UNSURE]

    await said(mneme, "retry", "--all", "--unknown", "--yes")
    await answer_all(house)
    assert house.paper.shown == ["Yes", UNSURE, "Yes"]
    assert len(model.calls) == 1
    assert {row.state for row in await house.rows(deliveries)} == {DeliveryState.SENT}
    assert (await house.row(inbox)).state == InboxState.DONE
    assert await spoken(house) == ["Hello"]
    assert await listed(mneme) == []


async def test_a_reply_that_was_never_whole_is_made_after_what_it_answers(
    house: House, mneme: Mneme, model: ModelStandIn
) -> None:
    """A process died amid the reply's sending: the words stand in the transcript, without a reply."""
    letter = await is_of_unknown_fate(house, model, "Hello")
    async with house.app.database.write() as connection:
        await connection.execute(update(turns).values(reply_sealed=None))
        await connection.execute(delete(messages).where(messages.c.role == "assistant"))
    await said(mneme, "retry", letter)
    await answer_all(house)
    lines = sorted(await house.rows(messages), key=lambda line: line.position)
    assert [(line.role, line.position) for line in lines] == [("user", 0), ("assistant", 1)]


class LosesTheSecond(Paper):
    """A platform whose answer for the second message doesn't arrive."""

    async def open(self, address: Mapping[str, str], text: str, **given: Any) -> str:
        opened = await super().open(address, text, **given)
        if opened == "2":
            raise DeliveryUnknown("no answer came")
        return opened


async def test_of_a_long_reply_only_what_may_be_missing_is_sent_again(
    house: House, mneme: Mneme, model: ModelStandIn
) -> None:
    house.paper = LosesTheSecond(part_chars=3)
    model.answer = lambda prompt: "onetwo"
    accepted = await house.accept("Count to two")
    await answer_all(house)
    assert house.paper.shown == ["one", "two", UNSURE]
    await said(mneme, "retry", f"m{accepted.inbox_id}")
    await answer_all(house)
    assert house.paper.shown == ["one", "two", UNSURE, "two"]
    assert [row.state for row in await house.rows(deliveries)] == [DeliveryState.SENT] * 3
    assert await spoken(house) == ["Count to two"]


async def test_a_command_whose_reply_is_of_unknown_fate_is_not_run_again(house: House, mneme: Mneme) -> None:
    house.paper.lost_faults.append(DeliveryUnknown("no answer came"))
    accepted = await house.accept("/reset")
    await answer_all(house)
    begun = (await house.row(turns)).id
    await said(mneme, "retry", f"m{accepted.inbox_id}")
    await answer_all(house)
    first, line, second = house.paper.shown
    assert first == second != line == UNSURE
    async with house.app.database.read() as connection:
        _, after = await house.app.summaries.read(connection, accepted.conversation_id)
    assert after == begun


async def test_what_is_dropped_is_gone(house: House, mneme: Mneme, model: ModelStandIn) -> None:
    dead = await dies(house, model, f"I saw a {SECRET}")
    unknown = await is_of_unknown_fate(house, model, f"The {SECRET} flew")
    assert await said(mneme, "drop", dead) == f"{dead} is dropped.\n"
    assert await said(mneme, "drop", dead) == f"{dead} is dropped.\n"
    assert [each["id"] for each in await listed(mneme)] == [unknown]
    assert "it was dropped" in (await refused(mneme, "retry", dead)).stderr
    assert "it was dropped" in (await refused(mneme, "show", dead)).stderr
    assert (await said(mneme, "drop", "--all", "--yes")) == f"{unknown} is dropped.\n"
    for row in await house.rows(inbox):
        assert (row.state, row.reason, row.payload_sealed) == (InboxState.DONE, DROPPED, None)
    assert [turn.reply_sealed for turn in await house.rows(turns)] == [None, None]
    shown = list(house.paper.shown)
    await answer_all(house)
    assert house.paper.shown == shown


@ONE_DATABASE
async def test_what_is_no_dead_letter_is_said_to_be_none(
    house: House, mneme: Mneme, model: ModelStandIn
) -> None:
    answered = await house.accept("Hello")
    await answer_all(house)
    letter = await dies(house, model, "Hello again")
    for command in ("show", "retry", "drop"):
        assert (
            "m999 is no dead letter: there is no such message."
            in (await refused(mneme, command, "m999")).stderr
        )
        assert (
            "j999 is no dead letter: there is no such job." in (await refused(mneme, command, "j999")).stderr
        )
        assert "it was answered" in (await refused(mneme, command, f"m{answered.inbox_id}")).stderr
        assert "like m12 or j7" in (await refused(mneme, command, "12")).stderr
    for command in ("retry", "drop"):
        assert "name one ID, or say --all" in (await refused(mneme, command)).stderr
        assert "name one ID, or say --all" in (await refused(mneme, command, letter, "--all")).stderr
        unasked = await refused(mneme, command, "--all")
        assert "[y/N]" in unasked.stdout
    assert [each["id"] for each in await listed(mneme)] == [letter]


async def test_of_two_who_decide_at_once_one_does(
    house: House, open_settings: Settings, model: ModelStandIn
) -> None:
    async with a_house(open_settings) as other:
        for number in range(4):
            letter = int((await dies(house, model, f"message {number}"))[1:])
            ends = await asyncio.gather(
                house.app.dead_letters.retry(letter),
                other.app.dead_letters.retry(letter),
                return_exceptions=True,
            )
            assert {type(end) for end in ends} == {NotDead, type(None)}
            await answer_all(house)
    assert [text for text in house.paper.shown if text != BROKEN_MODEL] == [
        f"You said: message {number}" for number in range(4)
    ]


async def test_what_cannot_be_read_any_more_can_be_dropped(house: House, mneme: Mneme) -> None:
    group = {"conversation": "group", "kind": ConversationKind.GROUP}
    ids = [(await house.accept(text, person="ana", **group)).inbox_id for text in ("one", "two")]
    async with house.app.database.write() as connection:
        owner = (await house.rows(inbox))[0].user_id
        await connection.execute(delete(keys).where(keys.c.owner == owner))
    await answer_all(house)
    assert [each["id"] for each in await listed(mneme)] == [f"m{id}" for id in ids]
    assert "can't be read: there is no key" in await said(mneme, "show", f"m{ids[0]}", "--words")
    await said(mneme, "retry", f"m{ids[0]}")
    await answer_all(house)
    assert {each["reason"] for each in await listed(mneme)} == {"Undecryptable"}
    await said(mneme, "drop", "--all", "--yes")
    assert await listed(mneme) == []


async def test_forgetting_everything_takes_the_dead_along(
    house: House, mneme: Mneme, model: ModelStandIn
) -> None:
    dead = await dies(house, model, f"I saw a {SECRET}")
    unknown = await is_of_unknown_fate(house, model, f"The {SECRET} flew")
    bens = await dies(house, model, "Hello", person="ben")
    assert [each["state"] for each in await listed(mneme)] == ["dead", "unknown", "dead"]
    await house.accept("/forget everything yes")
    await answer_all(house)
    assert [each["id"] for each in await listed(mneme)] == [bens]
    for letter in (dead, unknown):
        assert "its words were forgotten" in (await refused(mneme, "retry", letter)).stderr
    for row in await house.rows(inbox, inbox.c.id.in_([int(dead[1:]), int(unknown[1:])])):
        assert row.payload_sealed is None
    assert not [turn for turn in await house.rows(turns) if turn.reply_sealed and turn.state != "done"]


async def test_they_are_counted_as_they_are_listed(house: House, model: ModelStandIn) -> None:
    letters: DeadLetters = house.app.dead_letters
    model.fail_next("too_long")
    for text in ("one", "two"):
        await house.accept(text)
    await answer_all(house)
    await dies(house, model, "three")
    assert await letters.count() == len(await letters.all()) == 2
    assert await house.rows(messages) == []
