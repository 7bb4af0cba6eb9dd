from collections.abc import AsyncIterator, Callable

import pytest

from core.llm.model import ChatMessage
from core.llm.openai_model import OpenAIModel
from core.llm.tries import Tries
from tests.conftest import make_tries
from tests.standins.model import ModelStandIn

HELLO = [ChatMessage("system", "Be kind."), ChatMessage("user", "one two three four")]
Build = Callable[..., OpenAIModel]


@pytest.fixture
async def server() -> AsyncIterator[ModelStandIn]:
    stand_in = ModelStandIn()
    await stand_in.start()
    yield stand_in
    await stand_in.stop()


@pytest.fixture
async def build(server: ModelStandIn) -> AsyncIterator[Build]:
    built: list[OpenAIModel] = []

    def build(
        *,
        key: str = server.key,
        base_url: str = server.base_url,
        model: str | None = server.model,
        fallback: str | None = None,
        seconds: float = 20,
        tries: Tries | None = None,
    ) -> OpenAIModel:
        built.append(
            OpenAIModel(
                tries or make_tries(seconds),
                api_key=key,
                base_url=base_url,
                model=model,
                fallback_model=fallback,
            )
        )
        return built[-1]

    yield build
    for model in built:
        await model.aclose()
