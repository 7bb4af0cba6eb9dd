"""What a channel is: a way in that hands messages to the front desk, and a way out for the core."""

from collections.abc import Sequence
from typing import Protocol

from aiohttp import web

from core.delivery.outlet import Outlet
from core.messages import Accepted, IncomingMessage


class Desk(Protocol):
    """What a channel needs of the front desk."""

    async def accept(self, message: IncomingMessage) -> Accepted:
        """Commits the message, once per event. When it returns, the platform may be answered.

        Raises:
            StoreUnavailable: nothing was written; the platform must be told to try again (HTTP 503).
            InvalidMessage: blank or too long; nothing was written, the text is for the sender.
        """
        ...

    async def take(self, messages: Sequence[IncomingMessage]) -> Sequence[Accepted]:
        """Commits the messages, all or none. Who sent what can't be one is told so, in the conversation.

        Raises:
            StoreUnavailable: nothing was written; the platform must be told to try again (HTTP 503).
        """
        ...

    async def knows_conversation(self, channel: str, workspace: str, external_id: str) -> bool:
        """Whether Mneme has ever been spoken to in this conversation (such as a thread)."""
        ...


class Channel(Outlet, Protocol):
    """One platform. Its way out is the core's `Outlet`; its way in is running between `start` and `stop`."""

    def routes(self) -> Sequence[web.RouteDef]:
        """The HTTP routes that the platform calls; [] for a channel that only connects outwards."""
        ...

    async def start(self) -> None:
        """Connects and begins to hand messages to the front desk; returns once it is receiving.

        A platform that is away at the moment is tried again in the background, with back-off.

        Raises:
            ConfigurationError: the platform refuses the credentials; the text names the setting to mend.
        """
        ...

    async def stop(self) -> None:
        """Stops receiving, waits for what is being accepted, closes connections. Safe to call twice."""
        ...
