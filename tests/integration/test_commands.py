"""What people ask for by commands, and the door."""

from collections.abc import AsyncIterator

import pytest

from core.errors import NotDelivered
from core.memory.claims import Kind
from core.messages import Enclosure, EnclosureKind
from core.reply.answer import NOT_NOTED, NOTED
from core.reply.commands import HELP, TRIAL_NOTE, WELCOME
from core.reply.door_commands import GROUP_DOOR, OR_ASK, OWNER_HELP, PRIVATE_DOOR, WRONG_CODE, YOURS
from core.reply.memory_commands import CONFIRM, NOTHING_NOTED, NOTHING_YET
from core.settings import Settings
from core.storage.schema import conversations, identities, messages, turns, users
from tests.integration.remembering import ONE_DATABASE, People, people_of, reader
from tests.processes import until
from tests.standins.model import ModelStandIn

pytestmark = ONE_DATABASE
PEANUTS = "I'm allergic to peanuts"


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    model.extract = reader((PEANUTS, "Is allergic to peanuts."), ("I live in Porto", "Lives in Porto."))
    async with people_of(open_settings, model) as made:
        yield made


@pytest.fixture
async def strangers(settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    """Nobody is let in yet."""
    async with people_of(settings, model) as made:
        yield made


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("/start", WELCOME),
        ("/START now", WELCOME),
        ("/help", HELP),
        ("/help me please", HELP),
        ("/memory", NOTHING_YET),
        ("/forget everything", CONFIRM),
        ("/FORGET Everything", CONFIRM),
        ("/forget\teverything\n", CONFIRM),
    ],
)
async def test_a_command_is_answered_by_itself(people: People, text: str, reply: str) -> None:
    assert await people.say(text) == reply
    assert people.model.calls == []
    assert await people.house.rows(messages) == []


@pytest.mark.parametrize("text", ["/", "//", "/unknown", "/ memory2", "/mem`ory", "/" + "x" * 15_000])
async def test_an_unknown_command_is_told_of_and_helped(people: People, text: str) -> None:
    reply = await people.say(text)
    assert reply.startswith("I don't know the command `/")
    assert reply.endswith(HELP)
    assert len(reply) < len(HELP) + 100
    assert people.model.calls == []


@pytest.mark.parametrize(
    "what", ["", "0", "2", "-1", "1.5", "one", "²", "9" * 5_000, "everything else", "1 2"]
)
async def test_forgetting_what_is_not_listed_changes_nothing(people: People, what: str) -> None:
    await people.say(f"{PEANUTS}.")
    assert (await people.say(f"/forget {what}")).startswith("Tell me which")
    assert len([row for row in await people.house.rows(messages) if row.remembered]) == 1


async def test_the_trial_is_told_of_at_the_start(open_settings: Settings, model: ModelStandIn) -> None:
    async with people_of(open_settings.model_copy(update={"mneme_on_trial": True}), model) as people:
        assert (await people.say("/start")).endswith(TRIAL_NOTE)


async def test_memory_lists_claims_with_their_words_then_what_was_just_heard(people: People) -> None:
    await people.say(f"{PEANUTS}.")
    await people.work()
    await people.say("I like tea.")
    reply = await people.say("/memory")
    assert "1. Is allergic to peanuts.\n" in reply
    assert f"“{PEANUTS}.”" in reply
    assert "2. “I like tea.”" in reply


async def test_forget_takes_the_number_that_memory_shows(people: People) -> None:
    await people.say(f"{PEANUTS}. I live in Porto.")
    await people.work()
    await people.say("I like tea.")
    listed = await people.say("/memory")
    place = next(line[0] for line in listed.splitlines() if "Is allergic" in line)
    assert "Forgotten" in await people.say(f"/forget {place}")
    assert await people.texts() == ["Lives in Porto."]
    await people.say("/forget 2")
    assert "tea" not in await people.say("/memory")
    assert await people.recalled("I like tea") == [] or "tea" not in str(await people.recalled("I like tea"))


async def test_in_a_group_only_the_groups_is_listed_and_forgotten(people: People) -> None:
    await people.say(f"{PEANUTS}.")
    await people.work()
    assert "peanuts" not in await people.say_in_group("/memory")
    await people.say_in_group("I live in Porto.")
    await people.work()
    shown = await people.say_in_group("/memory")
    assert "1. Lives in Porto." in shown
    assert "peanuts" not in shown
    assert "in private" in shown
    assert (await people.say_in_group("/forget 2")).startswith("Tell me which")
    assert "Porto" not in await people.say_in_group("/memory", group="group-2")
    assert "Porto" not in await people.say_in_group("/memory", person="ben")
    both = await people.say("/memory")
    assert "peanuts" in both
    assert "Porto" in both
    await people.say_in_group("/forget 1")
    assert await people.texts() == ["Is allergic to peanuts."]


async def test_many_private_words_do_not_hide_the_groups(people: People) -> None:
    await people.say_in_group("I live in Porto.")
    for number in range(25):
        await people.house.accept(f"I like tea number {number}.", conversation=f"c{number}")
    await people.house.settled()
    assert "I live in Porto." in await people.say_in_group("/memory")


async def test_reset_begins_a_fresh_window_and_keeps_the_memory(people: People) -> None:
    await people.say(f"{PEANUTS}.")
    await people.say("Hello?")
    assert len(people.prompts()[-1]) == 4
    assert "fresh start" in await people.say("/reset")
    await people.say("What am I allergic to?")
    assert [message["role"] for message in people.prompts()[-1]] == ["system", "user"]
    assert PEANUTS in people.prompts()[-1][-1]["content"]


async def test_a_command_whose_reply_is_not_taken_is_not_run_again(people: People) -> None:
    """The platform refuses the first answer: the second attempt must not forget the next memory too."""
    await people.say(f"{PEANUTS}. I live in Porto. I like tea.")
    await people.work()
    people.house.paper.open_faults.extend(NotDelivered("busy", retry_after=0.01) for _ in range(6))
    await people.house.accept("/forget 1")
    await until(lambda: people.house.paper.shown[-1].startswith("Forgotten"))
    await people.house.settled()
    assert len(await people.texts()) == 1


async def test_without_the_code_nobody_gets_in(strangers: People) -> None:
    assert await strangers.say("Hello, I'm Ana") == PRIVATE_DOOR
    assert await strangers.say("/memory") == PRIVATE_DOOR
    assert await strangers.say("/start") == PRIVATE_DOOR
    assert await strangers.say("/start abc") == WRONG_CODE
    assert await strangers.say("/forget everything yes") == PRIVATE_DOOR
    assert strangers.model.calls == []
    assert await strangers.house.rows(messages) == []
    assert [row.reply_sealed is not None for row in await strangers.house.rows(turns)] == [True] * 5
    assert [row.admitted_at for row in await strangers.house.rows(users)] == [None]


async def test_the_code_lets_one_person_in_for_good(settings: Settings, model: ModelStandIn) -> None:
    async with people_of(settings, model) as strangers:
        code = strangers.app.access.code
        assert await strangers.say(f"/start {code.lower()} ") == f"{WELCOME}\n\n{YOURS}"
        assert (await strangers.say("Hello")).endswith("Hello")
        assert await strangers.say("/help") == f"{HELP}\n\n{OWNER_HELP}"
        assert await strangers.say("Hello", person="ben") == f"{PRIVATE_DOOR} {OR_ASK}"
    async with people_of(settings, model) as later:
        assert (await later.say("Still me?")).endswith("Still me?")
        assert len(await later.house.rows(identities)) == 2


async def test_a_stranger_in_a_known_group_stays_outside(strangers: People) -> None:
    await strangers.say(f"/start {strangers.app.access.code}")
    await strangers.say_in_group("I live in Porto.")
    assert await strangers.say_in_group("What did Ana say?", person="ben") == GROUP_DOOR
    await strangers.say_in_group("Hello all")
    assert "What did Ana say" not in str(strangers.prompts()[-1])
    assert len(await strangers.house.rows(conversations)) == 2


async def test_what_one_asks_to_remember_is_kept_at_once_and_taken_back(people: People) -> None:
    """No job has to run for it, and the words stand in the memory as they were said."""
    shown = await people.say("Please remember that my locker code is 4711. Thanks!")
    assert shown.endswith(NOTED.format("my locker code is 4711"))
    (memory,) = await people.memories()
    assert (memory.kind, memory.text, memory.sources[0].quote) == (
        Kind.NOTE,
        "My locker code is 4711",
        "my locker code is 4711",
    )
    assert any("4711" in text for text in await people.recalled("What is the code of my locker?"))
    assert await people.say("/undo") == "Forgotten."
    assert await people.memories() == []
    assert "4711" not in str(await people.recalled("What is the code of my locker?"))
    assert await people.say("/undo") == NOTHING_NOTED


async def test_undo_takes_back_what_was_asked_here_alone(people: People) -> None:
    await people.say("Remember that I park on level 3.", conversation="here")
    assert await people.say("/undo", conversation="there") == NOTHING_NOTED
    assert await people.say("/undo", person="ben") == NOTHING_NOTED
    assert await people.texts() == ["I park on level 3"]


async def test_what_others_wrote_is_not_noted(people: People) -> None:
    material = (Enclosure(EnclosureKind.FORWARDED, "I own three yachts in Monaco."),)
    await people.send("Remember this!", material)
    assert people.house.paper.shown[-1].endswith(NOT_NOTED)
    await people.send("Remember this: I live in Porto.", material)
    assert people.house.paper.shown[-1].endswith(NOTED.format("I live in Porto"))
    assert await people.texts() == ["I live in Porto"]


async def test_a_note_is_not_made_a_second_memory_by_the_model(people: People) -> None:
    await people.say("Remember that I live in Porto.")
    await people.work()
    assert len(people.pages()) == 1
    assert await people.texts() == ["I live in Porto"]
