"""Recall: what bears on the question, of this person alone, for this audience alone (P2)."""

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import structlog.testing
from sqlalchemy import Engine, event

from core.errors import ModelUnavailable
from core.llm.tokens import count_tokens
from core.memory.indexing import FEW
from core.memory.recall import KEPT, LEAST_SHARE, OVERHEAD_TOKENS, RECALLED_TOKENS
from core.privacy.audience import PRIVATE
from core.reply.answer import RESTING
from core.settings import Settings
from core.storage.index import Entry, IndexStamp, MemoryIndex
from core.storage.schema import conversations, messages
from tests.integration.remembering import ONE_DATABASE, People, index_entries, people_of, reader
from tests.processes import until
from tests.servers import chroma_server, empty_chroma
from tests.standins.model import ModelStandIn, fair

PEANUTS = "I'm allergic to peanuts"
pytestmark = ONE_DATABASE


@pytest.fixture
async def people(open_settings: Settings, model: ModelStandIn) -> AsyncIterator[People]:
    model.extract = reader((PEANUTS, "Is allergic to peanuts."), ("I live in Porto", "Lives in Porto."))
    async with people_of(open_settings, model) as made:
        yield made


async def test_what_was_said_is_recalled_at_once_and_as_a_claim_later(people: People) -> None:
    await people.say(f"{PEANUTS}.")
    await people.say("What must I not eat?", conversation="elsewhere")
    (said,) = (await people.account())["memories"]
    assert (said["kind"], said["text"]) == ("said", f"{PEANUTS}.")
    assert said["source"]["quote"] == f"{PEANUTS}."
    await people.work()
    found = await people.recall("allergic to peanuts")
    assert len(found.memories) == 1, "a message and the claim that rests on it say the same"
    await people.say("What must I not eat?", conversation="third")
    assert "allergic to peanuts" in people.prompts()[-1][-1]["content"]


async def test_a_message_that_refers_to_the_one_before_is_recalled_with_it(people: People) -> None:
    """ "Her" is nobody by itself; the message before says whose job is asked for."""
    await people.say_all("My sister Mia is a judge.", "My sister Lea is a nurse.", "I'm a teacher.")
    for sister, job in (("Lea", "nurse"), ("Mia", "judge")):
        await people.say(f"Tell me about my sister {sister}.", conversation=sister)
        await people.say("And what is her job?", conversation=sister)
        told = (await people.account())["memories"]
        assert told[0]["text"] == f"My sister {sister} is a {job}."


@pytest.mark.parametrize("message", ["Good morning!", "What is the capital of Mongolia?"])
async def test_nothing_is_recalled_where_nothing_fits(people: People, message: str) -> None:
    await people.say_all("My sister Lea is a nurse.", "I live in Porto.", "I play the cello.")
    await people.say(message, conversation="elsewhere")
    account = await people.account()
    assert account["memories"] == []
    assert {each["reason"] for each in account["left_out"]} <= {"nothing fits"}


async def test_of_what_was_never_told_there_is_no_history(people: People) -> None:
    await people.say_all("My sister Lea is a nurse.", "I live in Porto.", "I play the cello.")
    history = partial(people.app.recaller.history, await people.id())
    assert await history("What is the capital of Mongolia?", PRIVATE) == []
    assert await history("Where do I live?", PRIVATE) != []


async def test_what_was_said_last_week_is_recalled_when_last_week_is_asked_for(people: People) -> None:
    monday = datetime(2026, 11, 23, 12, tzinfo=UTC)
    for days, text in enumerate(("I play the cello.", "My sister Lea is a nurse.", "I live in Porto.")):
        await people.say(text, sent_at=monday - timedelta(days=4 * days + 2), conversation=f"c{days}")
    await people.say("What did I tell you last week?", sent_at=monday, conversation="now")
    told = (await people.account())["memories"]
    then = {each["text"] for each in told if each["signals"]["time"] > 0}
    assert then == {each["text"] for each in told[:2]} == {"I play the cello.", "My sister Lea is a nurse."}


async def test_no_query_goes_through_all_that_somebody_told(people: People) -> None:
    """SQLite says so of every query of a recall: the larger a memory is, the longer it would take."""
    await people.say(f"{PEANUTS}.")
    await people.work()
    await people.recall("allergic to peanuts")
    asked: list[tuple[str, Any]] = []

    def note(connection: object, cursor: object, statement: str, parameters: Any, *rest: object) -> None:
        asked.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        found = await people.recall("allergic to peanuts")
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert found.memories
    queries = [(query, given) for query, given in asked if query.startswith("SELECT")]
    assert len(queries) > 3
    through_all = re.compile(r"SCAN (messages|memories|sources)|\(user_id=\?\)$")
    async with people.app.database.read() as connection:
        for query, given in queries:
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", given)
            for step in plan.all():
                assert not through_all.search(step.detail), query


async def test_ben_recalls_nothing_of_anas(people: People) -> None:
    await people.say(f"{PEANUTS}.")
    await people.work()
    await people.say("What is Ana allergic to? Peanuts?", person="ben")
    assert (await people.account())["memories"] == []
    assert "allergic to peanuts" not in str(people.prompts()[-1])
    assert await people.recalled(PEANUTS, "ben") == []
    assert await people.recalled(PEANUTS, "ana") != []


async def test_rows_of_others_in_the_index_under_ones_name_do_not_resolve(people: People) -> None:
    """The second wall: were the index wrong or tampered with, the record still says whose a row is."""
    await people.say(f"{PEANUTS}.")
    await people.say("I like tea.", person="ben")
    await people.work()
    entries = index_entries(people.app)
    own = {f"{kind}{row.id}" for kind, row in await rows_of(people, "ana")}
    (bens,) = {f"{kind}{row.id}" for kind, row in await rows_of(people, "ben")} & entries.keys()
    pseudonym = entries[bens][0]["user"]
    vector = entries[bens][1]
    await people.app.index.put(
        pseudonym, [Entry(id, vector, "private") for id in own | {"c" + "0" * 32, "m" + "f" * 32}]
    )
    question = await people.app.indexer.question("I like tea")
    near = await people.app.indexer.near(await people.id("ben"), question, limit=20, audience=None)
    assert len(near) == len(own) + 3, "the injected ones were really asked for"
    assert await people.recalled("I like tea", "ben") == ["I like tea."]
    await people.app.index.remove(pseudonym, list(own))


async def rows_of(people: People, person: str) -> list[tuple[str, Any]]:
    user_id = await people.id(person)
    said = [("m", row) for row in await people.house.rows(messages, messages.c.user_id == user_id)]
    held = [("c", memory) for memory in await people.memories(person)]
    return [pair for pair in said if pair[1].remembered] + held


async def test_the_index_knows_people_by_pseudonyms_and_holds_their_vectors_turned(people: People) -> None:
    await people.say(f"{PEANUTS}.")
    await people.say(f"{PEANUTS}.", person="ben")
    entries = index_entries(people.app)
    found = [entries[f"m{row.id}"] for row in await people.house.rows(messages) if row.remembered]
    (one, ones), (other, others) = found
    assert one["user"] != other["user"]
    assert {one["user"], other["user"]}.isdisjoint({await people.id("ana"), await people.id("ben")})
    assert set(one) == {"user", "audience", "digest"}
    assert one["digest"] != other["digest"]
    assert abs(float(ones @ others)) < 0.4, "the same words of two people can't be told to be the same"


async def test_nothing_private_is_put_in_front_of_a_group(people: People) -> None:
    await people.say(f"{PEANUTS}.")
    await people.say_in_group("I live in Porto.")
    await people.work()
    await people.say_in_group("What am I allergic to, and where do I live?", group="group-2")
    assert (await people.account())["memories"] == []
    await people.say_in_group("Where do I live, and what am I allergic to?")
    assert "allergic to peanuts" not in str(people.prompts()[-1])
    group = (await people.house.rows(conversations))[1].id
    assert await people.recalled(PEANUTS, audience=group) != []
    assert "peanuts" not in str(await people.recalled(PEANUTS, audience=group))
    await people.say("Where do I live, and what am I allergic to?", conversation="elsewhere")
    told = people.prompts()[-1][-1]["content"]
    assert "Porto" in told
    assert "peanuts" in told


async def test_what_one_said_in_a_group_is_not_the_others(people: People) -> None:
    await people.say_in_group(f"{PEANUTS}.")
    group = (await people.house.row(conversations)).id
    await people.say_in_group("Hello all.", person="ben")
    assert "peanuts" not in str(await people.recalled(PEANUTS, "ben", group))


async def test_what_stands_in_the_window_is_not_recalled_too(people: People) -> None:
    await people.say(f"{PEANUTS}.")
    await people.work()
    await people.say("What am I allergic to?")
    assert (await people.account())["memories"] == []
    window = people.prompts()[-1][1:]
    assert str(window).count("allergic to peanuts") == 2, "said, and said back"


async def test_a_near_one_in_the_window_does_not_keep_the_others_out(people: People) -> None:
    await people.say(f"{PEANUTS} and to cats.", conversation="elsewhere")
    await people.say("What am I allergic to, I ask. Yes, what am I allergic to.")
    await people.say("What am I allergic to, I ask. Yes, what am I allergic to?")
    assert [memory["text"] for memory in (await people.account())["memories"]] == [f"{PEANUTS} and to cats."]


async def test_it_stays_within_its_tokens_and_takes_a_long_message_by_its_beginning(people: People) -> None:
    await people.say("My diary. I'm allergic to peanuts. " + "Today it rained and I stayed at home. " * 200)
    (long,) = (await people.recall("allergic to peanuts")).memories
    assert long.text.startswith("My diary. I'm allergic to peanuts.")
    assert count_tokens(long.text) <= RECALLED_TOKENS
    for number in range(12):
        await people.house.accept(
            f"I'm allergic to peanut butter of brand {number}, it makes me sneeze.", conversation=f"c{number}"
        )
    await people.house.settled()
    found = (await people.recall("allergic to peanuts")).memories
    assert 1 < len(found) <= KEPT
    assert sum(count_tokens(r.text) + OVERHEAD_TOKENS for r in found) <= people.app.settings.recall_tokens
    scores = [recalled.score for recalled in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] >= LEAST_SHARE * scores[0]


async def test_no_tokens_recall_nothing(open_settings: Settings, model: ModelStandIn) -> None:
    async with people_of(open_settings.model_copy(update={"recall_tokens": 0}), model) as people:
        await people.say(f"{PEANUTS}.")
        assert await people.recalled(PEANUTS) == []


async def test_a_message_without_words_of_its_own_asks_for_nothing(people: People) -> None:
    await people.say(f"{PEANUTS}.")
    assert (await people.recall("")).memories == ()


async def test_while_the_index_is_gone_replies_go_on_and_say_so_once(
    open_settings: Settings, model: ModelStandIn, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("chroma")
    with chroma_server(folder) as url:
        port = int(url.rsplit(":", 1)[1])
        settings = open_settings.model_copy(update={"chroma_url": url})
        async with people_of(settings, model) as people:
            assert RESTING not in await people.say(f"{PEANUTS}.")
    async with people_of(settings, model) as people:
        with structlog.testing.capture_logs() as logs:
            assert (await people.say("I live in Porto.")).endswith(RESTING)
            assert RESTING not in await people.say("And I like tea.")
        assert "recall_resting" in {entry["event"] for entry in logs}
        assert not any("Porto" in str(entry) for entry in logs)
        with chroma_server(folder, port):
            await until(people.app.indexer.flush)
            assert RESTING not in await people.say("What do I like?")
            assert "I live in Porto." in await people.recalled("Where do I live?")
            assert f"{PEANUTS}." in await people.recalled(PEANUTS)
        assert RESTING not in await people.say("Still there?"), "who just talked is at hand"
    async with people_of(settings, model) as people:
        assert (await people.say("Still there?")).endswith(RESTING), "a second outage is told of again"


async def test_while_the_embedding_model_is_gone_replies_go_on(
    open_settings: Settings, model: ModelStandIn, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with chroma_server(tmp_path_factory.mktemp("chroma")) as url:
        settings = open_settings.model_copy(
            update={"chroma_url": url, "embedding_model": model.embedding_model}
        )
        async with people_of(settings, model) as people:
            await people.say(f"{PEANUTS}.")
            assert await people.recalled("allergic to peanuts") == [f"{PEANUTS}."]
            model.models.remove(model.embedding_model)
            assert (await people.say("I live in Porto.")).endswith(RESTING)
            assert await people.app.indexer.behind() == 1
            model.models.append(model.embedding_model)
            await people.app.indexer.flush()
            assert (await people.recalled("I live in Porto"))[0] == "I live in Porto."


async def test_an_embedding_server_that_is_away_keeps_nothing_from_starting(
    open_settings: Settings, model: ModelStandIn, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model.weather = lambda request, body: "broken" if request.path.endswith("/embeddings") else None
    with chroma_server(tmp_path_factory.mktemp("chroma")) as url:
        settings = open_settings.model_copy(
            update={
                "chroma_url": url,
                "embedding_model": model.embedding_model,
                "model_breaker_seconds": 0.1,
            }
        )
        async with people_of(settings, model) as people:
            assert (await people.say(f"{PEANUTS}.")).endswith(RESTING)
            model.weather = fair
            with suppress(ModelUnavailable):  # a breaker may not have heard yet
                await people.app.indexer.flush()
            assert RESTING not in await people.say("And now?")
            assert await people.recalled("allergic to peanuts") == [f"{PEANUTS}."]


async def test_of_much_that_waits_the_newest_is_told_at_once(people: People) -> None:
    said = [f"My parcel {number} comes on a Monday." for number in range(FEW + 2)]
    for text in said:
        await people.say(text)
    mine = [row for row in await people.house.rows(messages) if row.remembered]
    (user,) = {row.user_id for row in mine}
    await empty_chroma(people.app.settings.chroma_url or "")
    await people.app.indexer.queue_all()
    await people.app.indexer.flush_few(user)
    assert await people.app.indexer.behind() == 2
    told = index_entries(people.app)
    assert [f"m{row.id}" in told for row in mine] == [False] * 2 + [True] * FEW
    await people.app.indexer.flush()
    assert await people.app.indexer.behind() == 0


async def test_an_index_made_anew_with_another_model_rests_rather_than_fails(people: People) -> None:
    await people.say(f"{PEANUTS}.")
    ours = await people.app.index.stamp()

    async def others() -> IndexStamp:
        return replace(ours, embedding_model="another-model")

    url = people.app.settings.chroma_url or ""
    try:
        await empty_chroma(url)
        await MemoryIndex(url, others).check()
        with pytest.raises(Exception, match="mneme reindex"):
            await people.app.indexer.check()
        reply = await people.say("What am I allergic to?", conversation="elsewhere")
        assert reply.endswith(RESTING)
        assert "You said: What am I allergic to?" in reply
        await people.say("I live in Porto.", conversation="elsewhere")
        await people.work()
        assert await people.job_states() == ["done", "done"]
    finally:
        await empty_chroma(url)
