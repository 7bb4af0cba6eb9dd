"""What OpenAI's API refuses, and the least value that fits a JSON schema."""

from typing import Any

ROLES = {"system", "developer", "user", "assistant", "tool"}
CHAT_FIELDS = {
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "seed",
    "stop",
    "n",
    "user",
    "response_format",
    "reasoning_effort",
    "metadata",
    "store",
    "tools",
    "tool_choice",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "prompt_cache_key",
    "safety_identifier",
}
MOST_EMBEDDED_TEXTS = 2048


class Refusal(Exception):
    """The request can't be served; becomes OpenAI's error object."""

    def __init__(
        self, message: str, *, status: int = 400, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param


def check_chat(body: dict[str, Any]) -> None:
    """Refuses what OpenAI refuses in a chat completion request."""
    unknown = set(body) - CHAT_FIELDS
    if unknown:
        name = sorted(unknown)[0]
        raise Refusal(f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)
    _check_messages(body.get("messages"))
    for name in ("max_tokens", "max_completion_tokens"):
        value = body.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise Refusal(f"Invalid '{name}'.", code="integer_below_min_value", param=name)
    if body.get("max_tokens") and body.get("max_completion_tokens"):
        raise Refusal("Only one of max_tokens and max_completion_tokens may be set.", param="max_tokens")
    if body.get("stream_options") and not body.get("stream"):
        raise Refusal("stream_options is only allowed when stream is true.", param="stream_options")
    if body.get("response_format") is not None:
        _check_format(body["response_format"])


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise Refusal("Invalid 'messages': empty array.", code="empty_array", param="messages")
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise Refusal("Invalid role.", code="invalid_value", param=f"{where}.role")
        if not isinstance(message.get("content"), str):
            raise Refusal(
                "Invalid content: expected a string.", code="invalid_type", param=f"{where}.content"
            )


def _check_format(value: Any) -> None:
    if not isinstance(value, dict) or value.get("type") not in ("text", "json_object", "json_schema"):
        raise Refusal("Invalid response_format.", param="response_format")
    if value["type"] != "json_schema":
        return
    wanted = value.get("json_schema")
    if not isinstance(wanted, dict) or not isinstance(wanted.get("schema"), dict) or not wanted.get("name"):
        raise Refusal("Missing name or schema.", param="response_format.json_schema")
    if wanted.get("strict"):
        if wanted["schema"].get("type") != "object":
            raise Refusal("The root must be an object.", param="response_format")
        _check_strict(wanted["schema"])


def _check_strict(schema: Any) -> None:
    """Strict mode's own rules: closed objects, all of whose properties are required."""
    if isinstance(schema, list):
        for part in schema:
            _check_strict(part)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" or "properties" in schema:
        closed = schema.get("additionalProperties") is False
        if not closed or set(schema.get("required", ())) != set(schema.get("properties", {})):
            raise Refusal(
                "Invalid schema for response_format.", code="invalid_json_schema", param="response_format"
            )
    for part in schema.get("properties", {}).values():
        _check_strict(part)
    for name in ("items", "anyOf"):
        _check_strict(schema.get(name))
    for part in schema.get("$defs", {}).values():
        _check_strict(part)


def check_embeddings(body: dict[str, Any]) -> list[str]:
    """The texts of an embeddings request; refuses what OpenAI refuses."""
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not 1 <= len(texts) <= MOST_EMBEDDED_TEXTS:
        raise Refusal("Invalid 'input'.", param="input")
    if not all(isinstance(text, str) and text for text in texts):
        raise Refusal("'$.input' is invalid: empty or no string.", param="input")
    if body.get("encoding_format", "float") != "float":
        raise Refusal("The stand-in gives floats only.", param="encoding_format")
    return texts


def minimal_value(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """The least value that fits the schema, of those keywords that strict mode knows."""
    root = root or schema
    if "$ref" in schema:
        return minimal_value(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return minimal_value(schema["anyOf"][-1], root)
    kind = schema.get("type")
    kind = kind[-1] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: minimal_value(part, root) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [minimal_value(schema["items"], root) for _ in range(schema.get("minItems", 0))]
    if kind in ("integer", "number"):
        return schema.get("minimum", 0)
    if kind == "string":
        return "x" * schema.get("minLength", 0)
    return False if kind == "boolean" else None
