"""Reading a model's answer as JSON that fits a schema."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, cast

from jsonschema import Draft202012Validator, ValidationError

from core.errors import MalformedOutput
from core.llm.model import ChatMessage, LanguageModel

_FENCED = re.compile(r"```[a-zA-Z]*\s*\n(.*?)\n?\s*```", re.DOTALL)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def parse_structured(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The answer as an object that fits the schema; one fenced block around it is tolerated.

    Raises:
        MalformedOutput: it isn't JSON, or doesn't fit; the text says where in the schema, not what it was.
    """
    fenced = _FENCED.search(text) if not text.lstrip().startswith("{") else None
    try:
        value = json.loads(fenced.group(1) if fenced else text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise MalformedOutput(f"the answer of {len(text)} characters is no JSON") from None
    if not isinstance(value, dict):
        raise MalformedOutput("the answer is JSON but no object")
    try:
        Draft202012Validator(schema).validate(value)
    except ValidationError as error:
        where = "/".join(map(str, error.absolute_schema_path))
        raise MalformedOutput(f"the answer doesn't fit the schema at {where}") from None
    return cast(dict[str, Any], value)


async def ask(
    model: LanguageModel,
    messages: Sequence[ChatMessage],
    *,
    schema: Mapping[str, Any],
    schema_name: str,
    max_tokens: int,
    payer: str | None,
) -> dict[str, Any]:
    """As the model's `structured`; a malformed answer is asked for once more.

    Raises:
        MalformedOutput: twice.
        BudgetExhausted, ModelUnavailable, ModelRefused, StreamCut: as the model says.
    """
    once = partial(
        model.structured,
        messages,
        schema=schema,
        schema_name=schema_name,
        max_tokens=max_tokens,
        payer=payer,
    )
    try:
        return await once()
    except MalformedOutput:
        return await once()
