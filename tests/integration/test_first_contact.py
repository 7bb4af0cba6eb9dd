"""On first contact people are told, once, what is kept, where it is processed, and how to say no."""

from dataclasses import replace

from core.clock import SystemClock
from core.reply.answer import BELOW
from core.reply.commands import WELCOME
from core.reply.first_contact import FirstContact
from core.settings import Settings
from core.storage.schema import messages
from tests.conftest import make_settings
from tests.integration.remembering import ONE_DATABASE, people_of
from tests.standins.model import ModelStandIn
from tests.standins.paper import letter

LANGUAGES = ("en", "de", "fr", "es", "pt", "ja")


async def test_it_is_told_once_with_the_first_answer(open_settings: Settings, model: ModelStandIn) -> None:
    settings = open_settings.model_copy(update={"privacy_notice": True})
    async with people_of(settings, model) as people:
        reply = await people.say("Hello!")
        answer, notice = reply.split(BELOW)
        assert answer == "You said: Hello!"
        assert len(notice.splitlines()) == 4
        assert all(word in notice for word in ("`/memory`", "I send it nowhere else", "`/pause`", "under 16"))
        assert BELOW not in await people.say("Hello!", conversation="another")
        # It is no part of the talk.
        await people.say("And now?")
        assert people.prompts()[-1][2]["content"] == "You said: Hello!"
        assert len(await people.house.rows(messages)) == 6


@ONE_DATABASE
async def test_who_comes_by_a_code_hears_it_with_the_welcome(settings: Settings, model: ModelStandIn) -> None:
    async with people_of(settings.model_copy(update={"privacy_notice": True}), model) as people:
        assert BELOW not in await people.say("Hello!")
        message = letter(f"/start {people.app.access.code}")
        sender = replace(message.sender, language="de-AT")
        await people.house.take(replace(message, sender=sender))
        await people.house.settled()
        welcome, notice = people.house.paper.shown[-1].split(BELOW)
        assert welcome.startswith(WELCOME)
        assert "unter 16" in notice
        assert BELOW not in await people.say("/start")


def test_every_language_has_four_lines_and_names_the_host() -> None:
    elsewhere = make_settings(privacy_notice=True, openai_api_key="sk-test")
    contact = FirstContact(elsewhere, SystemClock())
    told = {language: contact.notice(language) for language in LANGUAGES}
    assert len(set(told.values())) == len(LANGUAGES)
    for notice in told.values():
        assert len(notice.splitlines()) == 4
        assert "api.openai.com" in notice
        assert "16" in notice
        assert all(command in notice for command in ("`/memory`", "`/pause`", "`/forget`", "`/erase`"))
    assert contact.notice("xx") == contact.notice(None) == told["en"]
