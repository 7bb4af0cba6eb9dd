"""Talking over the web's routes: accepted once, streamed, resumed, and nobody else's to read."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import select

from core.app import App
from core.messages import MAX_TEXT_CHARS
from core.storage.database import new_id
from core.storage.schema import messages
from tests.integration.web_service import WebService, running_service
from tests.standins.model import ModelStandIn

LONG_REPLY = " ".join(f"word{number}" for number in range(40))


@pytest.fixture
async def service(app: App) -> AsyncIterator[WebService]:
    async with running_service(app) as running:
        yield running


async def test_a_message_is_answered_and_stands_in_the_history(
    service: WebService, model: ModelStandIn
) -> None:
    model.answer = lambda messages: "Hello **Ana**."
    async with service.visit("ana") as ana:
        reply = await ana.say("I'm Ana & I say <hi>")
        assert reply["text"] == "Hello **Ana**."
        assert "<strong>Ana</strong>" in reply["html"]
        assert reply["timings"]["total"] > 0
        assert not reply["failed"]
        expected = [("user", "I'm Ana & I say <hi>"), ("assistant", "Hello **Ana**.")]
        assert await ana.history("first") == expected
        assert await ana.history() == expected
        assert await ana.history("another") == []


@pytest.mark.parametrize(
    ("given", "kept"), [(780, 780), (-210, -210), (0, 0), (1_000_000, None), ("780", None), (None, None)]
)
async def test_a_browser_says_what_time_zone_it_is_in(
    service: WebService, given: object, kept: int | None
) -> None:
    async with service.visit("ana") as ana:
        body = {"text": "Hello.", "conversation": "first", "event": new_id(), "utc_offset": given}
        inbox = (await ana.post("/web/messages", body)).json()["inbox"]
        assert [event async for event in ana.events(f"/web/replies/{inbox}")][-1]["ended"]
    async with service.app.database.read() as connection:
        stored = await connection.scalar(select(messages.c.utc_offset).where(messages.c.role == "user"))
    here = datetime.now().astimezone().utcoffset() or timedelta()
    assert stored == (here.total_seconds() / 60 if kept is None else kept)


async def test_a_reply_grows_and_the_last_event_says_what_was_recalled(
    service: WebService, model: ModelStandIn
) -> None:
    async with service.visit("ana") as ana:
        await ana.say("I'm allergic to peanuts")
        model.answer = lambda messages: LONG_REPLY
        model.piece_seconds = 0.06
        inbox = await ana.send("What am I allergic to?", conversation="second")
        events = [event async for event in ana.events(f"/web/replies/{inbox}")]
    texts = [event["text"] for event in events]
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert len(set(texts)) > 2
    assert texts[-1] == LONG_REPLY
    assert [memory["text"] for memory in events[-1]["memories"]] == ["I'm allergic to peanuts"]
    assert [event["ended"] for event in events] == [False] * (len(events) - 1) + [True]


async def test_a_broken_stream_is_taken_up_again(service: WebService, model: ModelStandIn) -> None:
    model.answer = lambda messages: LONG_REPLY
    model.piece_seconds = 0.05
    async with service.visit("ana") as ana:
        path = f"/web/replies/{await ana.send('Tell me a lot')}"
        async for event in ana.events(path):
            if event["text"]:
                seen = event["text"]
                break
        again = [event["text"] async for event in ana.events(path)]
        assert again[0].startswith(seen)
        assert again[-1] == LONG_REPLY
        after_the_end = [event async for event in ana.events(path)]
    assert [event["text"] for event in after_the_end] == [LONG_REPLY]
    assert len(model.calls) == 1


async def test_the_same_event_again_is_the_same_message(service: WebService, model: ModelStandIn) -> None:
    event = new_id()
    async with service.visit("ana") as ana:
        first = await asyncio.gather(*(ana.send("Once, please", event=event) for _ in range(3)))
        assert len(set(first)) == 1
        async for _ in ana.events(f"/web/replies/{first[0]}"):
            pass
        assert await ana.send("Once, please", event=event) == first[0]
        assert len(await ana.history("first")) == 2
    assert len(model.calls) == 1


async def test_two_people_may_use_the_same_event_and_conversation(service: WebService) -> None:
    async with service.visit("ana") as ana, service.visit("ben") as ben:
        first = await ana.send("I'm Ana", event="e")
        assert await ben.send("I'm Ben", event="e") != first
        async for _ in ana.events(f"/web/replies/{first}"):
            pass
        assert "Ben" not in str(await ana.history("first"))
        assert "Ana" not in str(await ben.history("first"))


async def test_nobody_reads_somebody_elses_reply(service: WebService) -> None:
    async with service.visit("ana") as ana, service.visit("ben") as ben:
        inbox = await ana.send("I'm Ana, and this is between us")
        for number in (inbox, 0, 999_999, 10**17):
            assert (await ben.client.get(f"/web/replies/{number}")).status_code == 404, number
        assert await ben.history("first") == []
        assert await ben.history() == []


@pytest.mark.parametrize("text", ["", " \n\t", "\x00\x07", "a" * (MAX_TEXT_CHARS + 1), "é" * 100_000])
async def test_what_is_no_message_is_refused_in_words(service: WebService, text: str) -> None:
    async with service.visit("ana") as ana:
        answer = await ana.post("/web/messages", {"text": text, "event": new_id()})
        assert answer.status_code == 400
        assert answer.json()["error"].endswith(".")
        assert await ana.history("first") == []


async def test_a_huge_body_is_refused_in_words(service: WebService) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 8192

    async with service.visit("ana") as ana:
        known = await ana.post("/web/messages", {"text": "a" * 300_000, "event": new_id()})
        unknown = await ana.client.post(
            "/web/messages", content=endless(), headers={"Content-Type": "application/json"}
        )
    for answer in (known, unknown):
        assert answer.status_code == 413
        assert "too long" in answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"text": 7, "event": "e"},
        {"text": "hi"},
        {"text": "hi", "event": ""},
        {"text": "hi", "event": "a:b"},
        {"text": "hi", "event": "e" * 65},
        {"text": "hi", "event": "e", "conversation": "ben:first"},
        {"text": "hi", "event": "e", "conversation": None},
        {"text": "hi", "event": ["e"]},
    ],
)
async def test_a_malformed_request_is_refused(service: WebService, body: object) -> None:
    async with service.visit("ana") as ana:
        assert (await ana.post("/web/messages", body)).status_code == 400


@pytest.mark.parametrize("raw", [b"{", b"\xff\xfe", b"[" * 100_000, b'"\\ud800"'])
async def test_what_is_no_json_is_refused(service: WebService, raw: bytes) -> None:
    async with service.visit("ana") as ana:
        answer = await ana.client.post(
            "/web/messages", content=raw, headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == 400


async def test_lone_surrogates_and_controls_are_cleaned(service: WebService) -> None:
    async with service.visit("ana") as ana:
        raw = b'{"text": "a\\ud800b\\u0000c", "event": "e"}'
        answer = await ana.client.post(
            "/web/messages", content=raw, headers={"Content-Type": "application/json"}
        )
        async for _ in ana.events(f"/web/replies/{answer.json()['inbox']}"):
            pass
        assert (await ana.history("first"))[0] == ("user", "a\ufffdbc")


async def test_what_a_model_writes_is_harmless_in_the_page(service: WebService, model: ModelStandIn) -> None:
    model.answer = lambda messages: (
        "<script>alert(1)</script> [x](javascript:alert(1)) ![y](//evil.example/z)"
    )
    async with service.visit("ana") as ana:
        reply = await ana.say("hello")
        history = (await ana.client.get("/web/history")).json()["messages"][-1]
    for html in (reply["html"], history["html"]):
        assert "<script" not in html
        assert "<a" not in html
        assert "<img" not in html
