"""Reading a model's answer as JSON that fits a schema."""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn, cast

from jsonschema import Draft202012Validator, ValidationError

from core.errors import MalformedOutput

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
