"""What people tell of their health, belief, origin, politics or love is remembered only if they agree."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from core.errors import InvalidMessage
from core.reply.answer import BELOW, NOTED
from core.reply.switch_commands import ANSWERS, CONSENT_QUESTION, REFUSED
from core.settings import Settings
from core.storage.schema import messages
from tests.integration.remembering import ONE_DATABASE, People, people_of, reader
from tests.standins.model import ModelStandIn

DIABETES, NUTS, PORTO = "I have diabetes.", "I'm allergic to peanuts.", "I live in Porto."
CLAIMS = (
    ("I have diabetes", "Has diabetes."),
    ("I'm allergic to peanuts", "Is allergic to peanuts."),
    ("I live in Porto", "Lives in Porto."),
)


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    model.extract = reader(*CLAIMS)
    asking = open_settings.model_copy(update={"special_categories": "ask"})
    async with people_of(asking, model) as made:
        yield made


async def remembered(people: People) -> int:
    """How many messages are."""
    return len(await people.house.rows(messages, messages.c.remembered))


async def test_without_consent_it_is_asked_for_once_and_nothing_is_remembered(people: People) -> None:
    reply = await people.say(DIABETES)
    assert reply == f"You said: {DIABETES}{BELOW}{CONSENT_QUESTION}"
    assert CONSENT_QUESTION not in await people.say(f"{NUTS} {PORTO}")
    assert await remembered(people) == 0
    await people.say(PORTO, conversation="another")
    assert [message["content"] for message in people.prompts()[-2][1:3]] == [
        DIABETES,
        f"You said: {DIABETES}",
    ]
    await people.work()
    assert await people.texts() == ["Lives in Porto."]
    assert "diabetes" not in str(await people.recalled("my diabetes"))
    assert "haven't said yet" in await people.say("/consent")

    # Agreeing counts for what raised the question, too.
    assert "2 of your last messages" in await people.say("/consent yes")
    assert await remembered(people) == 3
    assert DIABETES in await people.recalled("my diabetes")
    await people.say(NUTS, conversation="a third")
    await people.work()
    assert "Is allergic to peanuts." in await people.texts()
    assert ANSWERS[True] in await people.say("/consent")


@ONE_DATABASE
async def test_a_refusal_forgets_what_there_is_and_says_how_much(people: People) -> None:
    await people.say("/consent yes")
    await people.say_all(DIABETES, PORTO)
    await people.work()
    await people.say("Remember that I'm allergic to peanuts.")
    reply = await people.say("/consent no")
    assert "forgets 4 memories and messages" in reply
    assert len(await people.memories()) == 3
    assert "4 memories and messages" in await people.say("/consent no yes")
    assert await people.texts() == ["Lives in Porto."]
    assert "peanuts" not in await people.say("/memory")
    assert await people.recalled("diabetes peanuts allergic") == []
    user_id = await people.id()
    async with people.app.database.read() as connection:
        ids = [row.id for row in await people.house.rows(messages)]
        lines = await people.app.transcript.of_user(connection, user_id, ids)
    assert not any(word in line.text for line in lines.values() for word in ("diabetes", "peanuts"))
    assert await people.say("/consent no") == REFUSED
    assert CONSENT_QUESTION not in await people.say(DIABETES)
    assert "1 of your" not in await people.say("/consent yes")  # what was said after a refusal stays out


@ONE_DATABASE
async def test_nothing_is_noted_corrected_or_mended_without_consent(people: People) -> None:
    reply = await people.say("Remember that I'm allergic to peanuts.")
    assert NOTED.split("“")[0] not in reply
    assert CONSENT_QUESTION in reply
    assert await people.texts() == []
    await people.say(PORTO, event="e1")
    await people.work()
    (memory,) = await people.memories()
    assert "/consent yes" in await people.say("/memory edit 1 I have diabetes")
    with pytest.raises(InvalidMessage):
        await people.app.corrections.edit(await people.id(), memory.id, DIABETES)
    await people.say(DIABETES, event="e2", replaces="e1")
    await people.work()
    assert await people.texts() == []
    assert await remembered(people) == 0
    await people.say("/consent yes")
    assert "I'm allergic to peanuts" in " ".join(await people.texts())


@ONE_DATABASE
async def test_nobody_is_asked_before_others_or_while_paused_or_answers_for_long_ago(people: People) -> None:
    assert CONSENT_QUESTION not in await people.say_in_group(DIABETES)
    await people.say("/pause")
    assert CONSENT_QUESTION not in await people.say(DIABETES)
    await people.say("/resume")
    old = datetime.now(UTC) - timedelta(days=2)
    assert CONSENT_QUESTION in await people.say(NUTS, sent_at=old)
    assert "of your last messages" not in await people.say("/consent yes")
    assert await remembered(people) == 0
