"""What Slack's refusals and the network's failures mean for a message."""

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError

from core.errors import DeliveryError, DeliveryUnknown, NotDelivered, Undeliverable

TROUBLE = (SlackClientError, aiohttp.ClientError, TimeoutError, OSError)
"""Everything that a call to Slack raises."""

_MAYBE_DONE = frozenset({"internal_error", "fatal_error"})
_LATER = frozenset(
    {"ratelimited", "rate_limited", "service_unavailable", "request_timeout", "team_added_to_org"}
)
_BLOCKS = frozenset({"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long"})
_NEVER_LEFT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)
_MAX_RETRY_AFTER_SECONDS = 3600.0


def refusal(error: BaseException) -> str | None:
    """Slack's error code where it refused the call for good, such as `invalid_auth`; else None."""
    code = _code(error)
    return code if code and code not in _LATER | _MAYBE_DONE and _status(error) == 200 else None


def rejects_blocks(error: BaseException) -> bool:
    """Whether Slack took offence at the message's blocks, and would take the same words without."""
    return _code(error) in _BLOCKS


def delivery_error(error: Exception, *, repeatable: bool) -> DeliveryError:
    """The error of the port for what a call raised; `repeatable` when doing it twice does no harm.

    The text names Slack's code or the failure's type; it holds no token, no address, no words.
    """
    code, status = _code(error), _status(error)
    reason = f"slack: {code or status or type(error).__name__}"
    if isinstance(error, _NEVER_LEFT):
        return NotDelivered(reason)
    if status == 429 or code in _LATER:
        return NotDelivered(reason, retry_after=_retry_after(error))
    if code and code not in _MAYBE_DONE and status < 500:
        return Undeliverable(reason)
    if 400 <= status < 500:
        return NotDelivered(reason)  # not Slack's own words: a proxy on the way
    return NotDelivered(reason) if repeatable else DeliveryUnknown(reason)


def _code(error: BaseException) -> str:
    if not isinstance(error, SlackApiError):
        return ""
    data = getattr(error.response, "data", None)
    code = data.get("error") if isinstance(data, dict) else None
    return code if isinstance(code, str) else ""


def _status(error: BaseException) -> int:
    if not isinstance(error, SlackApiError):
        return 0
    # an unreadable body leaves aiohttp's response there instead of the SDK's
    response = error.response
    return int(getattr(response, "status_code", 0) or getattr(response, "status", 0))


def _retry_after(error: BaseException) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return None
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_SECONDS)
