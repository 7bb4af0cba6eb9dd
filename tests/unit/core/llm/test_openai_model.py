"""How the adapter meets a server that misbehaves."""

import asyncio
import socket
from contextlib import aclosing
from pathlib import Path

import pytest

from core.clock import SystemClock
from core.errors import (
    ConfigurationError,
    MalformedOutput,
    ModelRefused,
    ModelUnavailable,
    StreamCut,
)
from core.llm.breaker import Breakers
from core.llm.model import ChatMessage
from core.llm.openai_model import OpenAIModel, build_model
from core.llm.tries import TRIES, Patience, Tries
from core.settings import load_settings
from tests.conftest import make_tries
from tests.standins.clock import StoppedClock
from tests.standins.model import Fault, ModelStandIn
from tests.unit.core.llm.conftest import HELLO, Build

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["names"],
    "properties": {"names": {"type": "array", "items": {"type": "string"}}},
}


async def told(model: OpenAIModel, max_tokens: int = 50) -> str:
    return "".join([piece async for piece in model.stream(HELLO, max_tokens=max_tokens)])


async def test_speaks_to_the_servers_first_chat_model_when_none_is_named(
    server: ModelStandIn, build: Build
) -> None:
    server.models = ["an-embedding-model", *server.models]
    model = build(model=None)
    await told(model)
    await told(model)
    assert [call["model"] for call in server.calls] == [server.model, server.model]
    assert model.name == server.model


async def test_says_which_setting_is_missing_when_the_server_offers_no_model(
    server: ModelStandIn, build: Build
) -> None:
    server.models = []
    with pytest.raises(ModelRefused, match="OPENAI_MODEL"):
        await told(build(model=None))


async def test_sends_only_what_compatible_servers_know(server: ModelStandIn, build: Build) -> None:
    await told(build())
    assert server.calls[0]["max_tokens"] == 50
    assert set(server.calls[0]) == {"model", "messages", "stream", "stream_options", "max_tokens"}


async def test_an_answer_cut_by_its_length_ends_normally(build: Build) -> None:
    assert await told(build(), max_tokens=3) == "You said: one"


@pytest.mark.parametrize("fault", ["busy", "broken", "dropped"])
async def test_tries_again_before_the_first_word(fault: Fault, server: ModelStandIn, build: Build) -> None:
    server.fail_next(fault, times=2)
    assert await told(build()) == "You said: one two three four"


@pytest.mark.parametrize("fault", ["busy", "broken", "dropped"])
async def test_gives_up_after_its_tries(fault: Fault, server: ModelStandIn, build: Build) -> None:
    server.fail_next(fault, times=TRIES)
    with pytest.raises(ModelUnavailable):
        await told(build())
    assert len(server.calls) == TRIES
    assert await told(build()) == "You said: one two three four"


async def test_waits_as_long_as_it_is_asked_to(server: ModelStandIn, build: Build) -> None:
    server.fail_next("busy", retry_after="1")
    started = asyncio.get_running_loop().time()
    await told(build())
    assert asyncio.get_running_loop().time() - started >= 1


async def test_doesnt_wait_beyond_its_own_patience(server: ModelStandIn, build: Build) -> None:
    server.fail_next("busy", retry_after="21")
    async with asyncio.timeout(15):
        with pytest.raises(ModelUnavailable, match="429"):
            await told(build(seconds=20))
    assert len(server.calls) == 1


async def test_what_is_left_of_its_patience_is_what_counts(server: ModelStandIn, build: Build) -> None:
    server.fail_next("busy", retry_after="1")
    server.fail_next("busy", retry_after="20")
    async with asyncio.timeout(15):
        with pytest.raises(ModelUnavailable, match="429"):
            await told(build(seconds=20))
    assert len(server.calls) == 2


async def test_silence_is_unavailability(server: ModelStandIn, build: Build) -> None:
    server.fail_next("hang")
    with pytest.raises(ModelUnavailable, match=r"no word|in time"):
        await told(build(seconds=0.5))


@pytest.mark.parametrize("fault", ["cut", "no_finish", "malformed_chunk"])
async def test_a_broken_stream_keeps_what_came_and_is_never_repeated(
    fault: Fault, server: ModelStandIn, build: Build
) -> None:
    server.fail_next(fault)
    pieces: list[str] = []

    async def listen() -> None:
        async for piece in build(fallback="stand-in-2").stream(HELLO, max_tokens=50):
            pieces.append(piece)

    with pytest.raises(StreamCut):
        await listen()
    assert "You said: one two three four".startswith("".join(pieces))
    assert pieces
    assert len(server.calls) == 1


async def test_silence_amid_the_stream_cuts_it(server: ModelStandIn, build: Build) -> None:
    server.piece_seconds = 1.0
    pieces = build(seconds=8).stream(HELLO, max_tokens=50)
    assert await anext(pieces) == "You"
    server.piece_seconds = 60
    with pytest.raises(StreamCut, match="Timeout"):
        async for _ in pieces:
            pass


async def test_each_kind_of_waiting_has_its_own_patience(server: ModelStandIn, build: Build) -> None:
    breakers = Breakers(SystemClock(), failures=5, rest_seconds=10)
    model = build(tries=Tries(Patience(5, 30, 0.3), breakers))
    server.piece_seconds = 0.6
    with pytest.raises(StreamCut):
        await told(model)
    server.piece_seconds = 0
    assert await told(model)
    model = build(tries=Tries(Patience(5, 5, 30), breakers))
    assert await told(model)
    server.fail_next("hang")
    with pytest.raises(ModelUnavailable):
        await told(model)


async def test_a_server_that_accepts_nobody_is_soon_given_up(build: Build) -> None:
    breakers = Breakers(SystemClock(), failures=5, rest_seconds=10)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(8)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(address)
            model = build(
                base_url=f"http://127.0.0.1:{address[1]}/v1", tries=Tries(Patience(0.2, 60, 60), breakers)
            )
            async with asyncio.timeout(10):
                with pytest.raises(ModelUnavailable):
                    await told(model)
        finally:
            for one in waiting:
                one.close()


async def test_a_model_that_keeps_failing_is_left_alone_and_the_fallback_is_asked_at_once(
    server: ModelStandIn, build: Build
) -> None:
    clock = StoppedClock()
    model = build(fallback="stand-in-2", tries=make_tries(clock=clock, failures=2))
    server.fail_next("broken", times=TRIES)
    await told(model)
    # The fallback answered between the two: a breaker is a model's own.
    server.fail_next("broken", times=TRIES)
    await told(model)
    server.calls.clear()
    assert await told(model) == "You said: one two three four"
    assert [call["model"] for call in server.calls] == ["stand-in-2"]
    clock.advance(10)
    server.calls.clear()
    await asyncio.gather(*(told(model) for _ in range(5)))
    assert sorted(call["model"] for call in server.calls) == ["stand-in"] + ["stand-in-2"] * 4
    await told(model)
    assert server.calls[-1]["model"] == "stand-in"


async def test_prompts_that_are_too_long_dont_keep_others_from_the_model(
    server: ModelStandIn, build: Build
) -> None:
    model = build(tries=make_tries(failures=2))
    server.fail_next("too_long", times=4)
    for _ in range(4):
        with pytest.raises(ModelRefused):
            await told(model)
    assert await told(model) == "You said: one two three four"


async def test_who_stops_listening_ends_the_work_at_the_server(server: ModelStandIn, build: Build) -> None:
    server.piece_seconds = 0.05
    server.answer = lambda messages: "word " * 1000
    async with aclosing(build().stream(HELLO, max_tokens=2000)) as pieces:
        async for _ in pieces:
            break
    async with asyncio.timeout(20):
        while not server.abandoned:
            await asyncio.sleep(0.02)


async def test_a_cancelled_wait_ends_the_work_at_the_server(server: ModelStandIn, build: Build) -> None:
    server.piece_seconds = 60
    task = asyncio.ensure_future(told(build()))
    async with asyncio.timeout(20):
        while not server.calls:
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not server.abandoned:
            await asyncio.sleep(0.02)


async def test_the_fallback_answers_when_the_first_is_unavailable(server: ModelStandIn, build: Build) -> None:
    server.fail_next("broken", times=TRIES)
    assert await told(build(fallback="stand-in-2")) == "You said: one two three four"
    assert [call["model"] for call in server.calls] == [server.model] * TRIES + ["stand-in-2"]


async def test_a_refusal_isnt_hidden_by_the_fallback(server: ModelStandIn, build: Build) -> None:
    server.fail_next("too_long")
    with pytest.raises(ModelRefused, match="PROMPT_TOKENS"):
        await told(build(fallback="stand-in-2"))
    assert len(server.calls) == 1


async def test_a_wrong_key_is_named_by_its_setting_and_not_shown(build: Build) -> None:
    with pytest.raises(ModelRefused, match="OPENAI_API_KEY") as caught:
        await told(build(key="sk-secret-of-mine"))
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("model", "fallback", "setting"),
    [("nobody", None, "OPENAI_MODEL"), ("stand-in", "nobody", "OPENAI_FALLBACK_MODEL")],
)
async def test_an_unknown_model_is_named_by_its_setting(
    model: str, fallback: str | None, setting: str, server: ModelStandIn, build: Build
) -> None:
    server.fail_next("broken", times=TRIES)
    with pytest.raises(ModelRefused, match=setting):
        await told(build(model=model, fallback=fallback))


async def test_an_unreachable_server_is_unavailable(server: ModelStandIn, build: Build) -> None:
    await server.stop()
    with pytest.raises(ModelUnavailable, match="OPENAI_BASE_URL"):
        await told(build())


async def test_asks_for_a_form_and_reads_it(server: ModelStandIn, build: Build) -> None:
    server.extract = lambda body: '{"names": ["Ana"]}'
    answer = await build().structured(HELLO, schema=SCHEMA, schema_name="names", max_tokens=50)
    assert answer == {"names": ["Ana"]}
    assert server.calls[0]["response_format"]["json_schema"] == {
        "name": "names",
        "strict": True,
        "schema": SCHEMA,
    }
    assert server.calls[0]["temperature"] == 0


async def test_a_malformed_form_is_said_once_and_not_repeated(server: ModelStandIn, build: Build) -> None:
    server.fail_next("malformed_json")
    with pytest.raises(MalformedOutput):
        await build().structured(HELLO, schema=SCHEMA, schema_name="names", max_tokens=50)
    assert len(server.calls) == 1


async def test_a_form_cut_by_its_length_is_malformed(server: ModelStandIn, build: Build) -> None:
    server.extract = lambda body: '{"names": ["Ana", "Ben", "Eva"]}'
    with pytest.raises(MalformedOutput):
        await build().structured(HELLO, schema=SCHEMA, schema_name="names", max_tokens=2)


async def test_many_calls_at_once_dont_mix(server: ModelStandIn, build: Build) -> None:
    model = build()

    async def ask(number: int) -> str:
        messages = [ChatMessage("user", f"number {number}")]
        return "".join([piece async for piece in model.stream(messages, max_tokens=50)])

    answers = await asyncio.gather(*(ask(number) for number in range(50)))
    assert answers == [f"You said: number {number}" for number in range(50)]


def test_without_key_and_server_there_is_a_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        build_model(load_settings(), make_tries())
