"""The port through which the core writes to a platform."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.storage.pacer import Limit


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a channel may be written to."""

    edit_interval_seconds: float
    """The least time between two edits of one message while a reply streams."""
    gather_seconds: float = 0.0
    """How long a reply's beginning is gathered before it is shown. One that is whole by then is one write: it
    needn't wait for the next that the platform takes, and a phone's notice doesn't read "Sure"."""


class Outlet(Protocol):
    """One channel's way out. Text is Markdown (CommonMark); the channel renders it for its platform.

    All calls raise `NotDelivered` (certainly not taken; perhaps with `retry_after` seconds),
    `DeliveryUnknown` (sent, no answer: only an `edit` may be repeated) or `Undeliverable` (refused for good).
    """

    @property
    def name(self) -> str:
        """The channel's name as it stands in `IncomingMessage.channel`."""
        ...

    @property
    def pace(self) -> Pace: ...

    def limits(self, address: Mapping[str, str], *, live: bool) -> Sequence[Limit]:
        """How often the platform may be written to: first there, then overall.

        [] for a channel that knows neither limits nor rests.

        `live` is a write that may as well be left out: it leaves room for those that may not.
        """
        ...

    def split(self, text: str) -> list[str]:
        """The text in parts that each fit one message of the platform once rendered; [] for blank text."""
        ...

    async def show_thinking(self, address: Mapping[str, str]) -> None:
        """Shows "is typing" for some seconds where the platform can; never raises for a failed hint."""
        ...

    async def open(
        self, address: Mapping[str, str], text: str, *, reply_to: str | None, delivery_id: int, final: bool
    ) -> str:
        """Sends one new message and returns the platform's id for it. Tried once: it must not be repeated."""
        ...

    async def edit(
        self, address: Mapping[str, str], platform_id: str, text: str, *, delivery_id: int, final: bool
    ) -> None:
        """Makes the message show `text`. Repeating it is safe; showing the same text again is no error."""
        ...

    async def find(self, address: Mapping[str, str], delivery_id: int, sent_at: datetime) -> str | None:
        """The platform's id of the message that was opened for this delivery; None when none is there.

        Raises:
            DeliveryUnknown: this platform can't tell.
            NotDelivered: it can't be asked now.
        """
        ...
