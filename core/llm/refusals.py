"""What OpenAI's client raises, in Mneme's words: no prompt, no key, and the cure where there is one."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import openai

from core.errors import MnemeError, ModelRefused, ModelUnavailable, StreamCut

_TOO_LONG = re.compile(r"context_length|context_size|exceed")
_NEVER_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")
_UNSAFE = re.compile(r"[^a-zA-Z0-9_.\[\]-]")


def _label(value: object) -> str:
    """A server's short identifier, cut so that it can't carry a message's words."""
    return _UNSAFE.sub("", str(value or "none"))[:60]


def translated(error: openai.OpenAIError, model: str, setting: str) -> MnemeError:
    """The error as Mneme's own; `setting` names the variable that chose the model."""
    if isinstance(error, openai.APITimeoutError):
        return ModelUnavailable(f"{model}: no answer in time")
    if isinstance(error, openai.APIConnectionError):
        return ModelUnavailable(f"{model}: its server can't be reached (OPENAI_BASE_URL)")
    if isinstance(error, openai.APIStatusError):
        return _from_status(error, model, setting)
    if isinstance(error, openai.APIError):
        return ModelUnavailable(f"{model}: its server reports an error ({_label(error.code or error.type)})")
    return ModelUnavailable(f"{model}: {type(error).__name__}")


def _from_status(error: openai.APIStatusError, model: str, setting: str) -> MnemeError:
    status, code = error.status_code, _label(error.code or error.type)
    if status == 429 and code == "insufficient_quota":
        return ModelUnavailable(f"{model}: the account's quota is used up; look at its billing page")
    if status == 429 or status >= 500 or status in (408, 409):
        return ModelUnavailable(f"{model}: busy or broken (HTTP {status}, {code})")
    if status == 401:
        return ModelRefused("The model's server rejects the key: check OPENAI_API_KEY")
    if status == 403:
        return ModelRefused(f"The key may not use {model}: check OPENAI_API_KEY and {setting}")
    if status == 404:
        return ModelRefused(f"There is no model {model} at that address: check {setting} and OPENAI_BASE_URL")
    if _TOO_LONG.search(code):
        return ModelRefused(f"The prompt is too long for {model}: lower PROMPT_TOKENS or REPLY_TOKENS")
    return ModelRefused(
        f"{model} refuses the request (HTTP {status}, {code}, {_label(error.param)}): check {setting}"
    )


def worth_another_try(error: BaseException) -> bool:
    """Whether the same request may well succeed in a moment."""
    if isinstance(error, openai.APIStatusError):
        busy = error.status_code in (408, 409, 429) or error.status_code >= 500
        return busy and error.code != "insufficient_quota"
    return isinstance(error, openai.APIError | StreamCut)


def cost_nothing(error: BaseException) -> bool:
    """Whether the model surely did no work: the server said no, or was never reached."""
    # By name, because which HTTP library it is that raised is the client's own affair.
    return isinstance(error, openai.APIStatusError) or type(error.__cause__).__name__ in _NEVER_SENT


def retry_after_seconds(error: BaseException | None) -> float | None:
    """How long the server asks us to wait; None when it doesn't say."""
    if not isinstance(error, openai.APIStatusError):
        return None
    value = error.response.headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
