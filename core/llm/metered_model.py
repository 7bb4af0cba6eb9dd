"""The language model as the core speaks with it: every call is paid for from a budget."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import structlog

from core.errors import BudgetExhausted
from core.llm.budget import Budget
from core.llm.model import ChatMessage, Tally, UnmeteredModel

log = structlog.get_logger()


class MeteredModel:
    """A `LanguageModel`: `model` within the budget, beyond it `cheaper`, or nobody when there is none."""

    def __init__(self, model: UnmeteredModel, cheaper: UnmeteredModel | None, budget: Budget) -> None:
        self._model = model
        self._cheaper = cheaper
        self._budget = budget

    async def stream(
        self, messages: Sequence[ChatMessage], *, max_tokens: int, payer: str | None
    ) -> AsyncGenerator[str, None]:
        most = self._model.most_tokens(messages, max_tokens=max_tokens)
        async with (
            self._paid(payer, most) as (model, tally),
            aclosing(model.stream(messages, max_tokens=max_tokens, tally=tally)) as pieces,
        ):
            async for piece in pieces:
                yield piece

    async def structured(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: Mapping[str, Any],
        schema_name: str,
        max_tokens: int,
        payer: str | None,
    ) -> dict[str, Any]:
        most = self._model.most_tokens(messages, max_tokens=max_tokens, schema=schema)
        async with self._paid(payer, most) as (model, tally):
            return await model.structured(
                messages, schema=schema, schema_name=schema_name, max_tokens=max_tokens, tally=tally
            )

    @asynccontextmanager
    async def _paid(self, payer: str | None, most: int) -> AsyncIterator[tuple[UnmeteredModel, Tally]]:
        """Who takes a call that costs `most` tokens at most, and where to note what it used."""
        async with AsyncExitStack() as stack:
            model = self._model
            try:
                tally = await stack.enter_async_context(self._budget.spending(payer, most))
            except BudgetExhausted as error:
                log.warning("budget_exhausted", reason=str(error), cheaper=bool(self._cheaper))
                if self._cheaper is None:
                    raise
                model = self._cheaper
                tally = await stack.enter_async_context(self._budget.spending(payer, most, beyond=True))
            yield model, tally
