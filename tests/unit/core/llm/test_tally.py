"""What a call notes in its tally: never less than it can have cost."""

from contextlib import aclosing, suppress

import pytest

from core.errors import MnemeError
from core.llm.model import Tally
from core.llm.openai_model import MESSAGE_TOKENS, OpenAIModel
from core.llm.tokens import count_tokens
from tests.conftest import make_tries
from tests.servers import free_port
from tests.standins.model import Fault, ModelStandIn
from tests.unit.core.llm.conftest import HELLO, Build

SCHEMA = {"type": "object", "additionalProperties": False, "required": [], "properties": {}}
PROMPT_TOKENS = sum(count_tokens(message.content) + MESSAGE_TOKENS for message in HELLO)
SERVER_TOKENS = 6 + 6
"""As the stand-in counts the call of `HELLO`: its words, and those of the answer."""


async def spent(model: OpenAIModel, max_tokens: int = 50) -> int:
    """What a call of `HELLO` adds to its tally, however it ends."""
    tally = Tally()
    with suppress(MnemeError):
        async for _ in model.stream(HELLO, max_tokens=max_tokens, tally=tally):
            pass
    return tally.tokens


async def test_a_tally_holds_what_the_server_says(build: Build) -> None:
    assert await spent(build()) == SERVER_TOKENS


@pytest.mark.parametrize("fault", ["busy", "broken"])
async def test_a_try_that_was_refused_costs_nothing(fault: Fault, server: ModelStandIn, build: Build) -> None:
    server.fail_next(fault)
    assert await spent(build()) == SERVER_TOKENS


async def test_a_server_that_isnt_reached_costs_nothing(build: Build) -> None:
    assert await spent(build(base_url=f"http://127.0.0.1:{free_port()}/v1")) == 0


async def test_a_try_whose_fate_is_unknown_costs_its_prompt(server: ModelStandIn, build: Build) -> None:
    server.fail_next("dropped", "dropped")
    assert await spent(build()) == 2 * PROMPT_TOKENS + SERVER_TOKENS
    server.fail_next("hang")
    assert await spent(build(seconds=0.5)) == PROMPT_TOKENS


async def test_a_stream_that_is_cut_costs_what_came(server: ModelStandIn, build: Build) -> None:
    server.fail_next("cut")
    assert PROMPT_TOKENS < await spent(build()) < PROMPT_TOKENS + count_tokens("You said: one two three four")


async def test_who_stops_listening_pays_what_came(server: ModelStandIn, build: Build) -> None:
    server.answer = lambda messages: "word " * 1000
    tally = Tally()
    async with aclosing(build().stream(HELLO, max_tokens=2000, tally=tally)) as pieces:
        assert await anext(pieces) == "word"
    assert tally.tokens == PROMPT_TOKENS + count_tokens("word")


async def test_what_a_call_may_cost_holds_prompt_form_and_answer(build: Build) -> None:
    plain = build().most_tokens(HELLO, max_tokens=50)
    assert plain == PROMPT_TOKENS + 50
    assert build().most_tokens(HELLO, max_tokens=50, schema=SCHEMA) > plain
    thinking = OpenAIModel(make_tries(), api_key="sk-x", base_url=None, model="o4-mini")
    assert thinking.most_tokens(HELLO, max_tokens=50) > plain + 1_000
    await thinking.aclose()
