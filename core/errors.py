"""Every error that Mneme raises on purpose.

    MnemeError
    ├── ConfigurationError      a setting is wrong or missing; the text is the cure
    │   ├── IndexMismatch       another embedding model made the index: run `mneme reindex`
    │   └── AlreadyRunning      the data directory is in use by another Mneme
    ├── InvalidMessage          what came in can't be a message; the text is for its sender
    ├── Unavailable             a part is slow or gone; try again later
    │   ├── StoreUnavailable    SQL: busy, full or unreachable
    │   ├── IndexUnavailable    Chroma
    │   ├── BellUnavailable     Redis
    │   ├── ModelUnavailable    the language or embedding model
    │   └── BudgetExhausted     the day's tokens are used up; it goes on at `until`
    ├── ModelError              the model answered, but not usably
    │   ├── ModelRefused        it rejects the request: wrong key, unknown model, prompt too long
    │   ├── StreamCut           the stream ended without its terminal event
    │   └── MalformedOutput     the answer doesn't fit the JSON schema
    ├── DeliveryError           a platform didn't take a message
    │   ├── NotDelivered        certainly not delivered; may be sent again after `retry_after`
    │   ├── DeliveryUnknown     the request left, no answer came: never send it again
    │   └── Undeliverable       refused for good: the person blocked the bot, the chat is gone
    ├── EgressRefused           PRIVACY_MODE=local: neither this machine nor a listed platform
    ├── NotDead                 no dead letter goes by that name; the text says what it is instead
    ├── NotAsked                no request or invitation goes by that number, or there is no owner
    ├── UnknownUser             nobody, or more than one, goes by that name
    ├── UnreadableArchive       what is to be imported is no archive; the text says why
    ├── UnknownReceipt          no erasure has that number
    ├── LeaseLost               another worker holds the lane now; nothing may be committed
    └── Undecryptable           a sealed value doesn't open: wrong master key, or a forgotten person

`str(error)` is for the operator's log and never holds a person's words. What the person reads is chosen
where the error is handled.
"""

import errno
from datetime import datetime


class MnemeError(Exception):
    """The root."""


class ConfigurationError(MnemeError):
    """A setting is wrong or missing; the text is the cure."""


class IndexMismatch(ConfigurationError):
    """Another embedding model made the index."""


class AlreadyRunning(ConfigurationError):
    """The data directory is in use by another Mneme."""


class InvalidMessage(MnemeError):
    """What came in can't be a message; the text may be shown to its sender."""


class Unavailable(MnemeError):
    """A part is slow or gone; try again later."""


class StoreUnavailable(Unavailable):
    """SQL is busy, full or unreachable."""


class IndexUnavailable(Unavailable):
    """Chroma is slow or gone."""


class BellUnavailable(Unavailable):
    """Redis is slow or gone."""


class ModelUnavailable(Unavailable):
    """The language or embedding model is slow or gone."""


class BudgetExhausted(Unavailable):
    """The day's tokens are used up; it goes on at `until`, an aware datetime."""

    def __init__(self, reason: str, until: datetime) -> None:
        super().__init__(reason)
        self.until = until


class ModelError(MnemeError):
    """The model answered, but not usably."""


class ModelRefused(ModelError):
    """The model's server rejects the request itself: sending it again can't help."""


class StreamCut(ModelError):
    """The model's stream ended without its terminal event."""


class MalformedOutput(ModelError):
    """The model's answer doesn't fit the JSON schema that was asked for."""


class DeliveryError(MnemeError):
    """A platform didn't take a message."""


class NotDelivered(DeliveryError):
    """Certainly not delivered; it may be sent again after `retry_after` seconds."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class DeliveryUnknown(DeliveryError):
    """The request left and no answer came: it must never be sent again."""


class Undeliverable(DeliveryError):
    """Refused for good: the person blocked the bot, the chat is gone, the message can't be edited."""


class EgressRefused(MnemeError, PermissionError):
    """The other end is neither this machine nor a listed platform; nothing was sent.

    An OSError, so that every library takes it for a connection that failed.
    """

    def __init__(self, host: str) -> None:
        super().__init__(
            errno.EACCES, f"PRIVACY_MODE=local refuses {host}: neither this machine nor a listed platform"
        )


class NotDead(MnemeError):
    """No dead letter goes by that name; the text, for the operator, says what it is instead."""


class NotAsked(MnemeError):
    """There is no such request, invitation or owner; the text, for the operator, says where to look."""


class UnknownUser(MnemeError):
    """Nobody, or more than one, goes by a name that the operator gave."""

    def __init__(self, count: int) -> None:
        whose = "Nobody goes" if count == 0 else f"{count} people go"
        super().__init__(
            f"{whose} by that name. Give the user's id, or the account's: a name on the web and here, "
            "a number on Telegram, an id such as U123 in Slack."
        )


class UnreadableArchive(MnemeError):
    """What is to be imported is no archive of a known kind; the text, without its words, says why."""


class UnknownReceipt(MnemeError):
    """No erasure has the number that the operator gave."""


class LeaseLost(MnemeError):
    """Another worker holds the lane now; nothing may be committed."""


class Undecryptable(MnemeError):
    """A sealed value doesn't open: the master key is another one, or the person was forgotten."""
