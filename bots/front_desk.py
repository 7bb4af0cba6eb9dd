"""One way in for every channel: write the message down, then ring the bell."""

from collections.abc import Sequence

from core.delivery.conversations import Conversations
from core.delivery.inbox import Inbox
from core.delivery.lanes import LaneRunner
from core.errors import InvalidMessage, StoreUnavailable
from core.messages import Accepted, IncomingMessage
from core.reply.metrics import MESSAGES
from core.storage.database import Database


class FrontDesk:
    """Accepts messages. When `accept` returns, the message is committed and the platform may be answered."""

    def __init__(
        self, database: Database, inbox: Inbox, conversations: Conversations, lanes: LaneRunner
    ) -> None:
        self._database = database
        self._inbox = inbox
        self._conversations = conversations
        self._lanes = lanes

    async def accept(self, message: IncomingMessage) -> Accepted:
        """Writes the message to the inbox, once per event, and rings the bell.

        A repeated event returns `Accepted(duplicate=True)` and changes nothing. Never waits for the reply.

        Raises:
            StoreUnavailable: nothing was written; the platform must be told to try again (HTTP 503).
            InvalidMessage: blank or too long; nothing was written, the text is for the sender.
        """
        try:
            accepted = await self._inbox.accept(message)
        except (InvalidMessage, StoreUnavailable) as error:
            outcome = "refused" if isinstance(error, InvalidMessage) else "unavailable"
            MESSAGES.labels(message.channel, outcome).inc()
            raise
        await self._welcome([message], [accepted])
        return accepted

    async def take(self, messages: Sequence[IncomingMessage]) -> Sequence[Accepted]:
        """Writes the messages to the inbox, all or none, each once per event, and rings the bell.

        Whoever sent what can't be a message, blank or too long, is told so in the conversation's order.

        Raises:
            StoreUnavailable: nothing was written; the platform must be told to try again (HTTP 503).
        """
        try:
            taken = await self._inbox.take(messages)
        except StoreUnavailable:
            for message in messages:
                MESSAGES.labels(message.channel, "unavailable").inc()
            raise
        await self._welcome(messages, taken)
        return taken

    async def _welcome(self, messages: Sequence[IncomingMessage], taken: Sequence[Accepted]) -> None:
        for message, accepted in zip(messages, taken, strict=True):
            MESSAGES.labels(message.channel, _outcome(accepted)).inc()
        waiting = (each for each in taken if not (each.duplicate or each.unheard))
        for conversation_id in {each.conversation_id for each in waiting}:
            await self._lanes.ring(conversation_id)

    async def knows_conversation(self, channel: str, workspace: str, external_id: str) -> bool:
        """Whether Mneme has ever been spoken to in this conversation (such as a thread).

        Raises:
            StoreUnavailable: it can't be told now.
        """
        async with self._database.read() as connection:
            found = await self._conversations.find(connection, channel, workspace, external_id)
        return found is not None


def _outcome(accepted: Accepted) -> str:
    if accepted.unheard:
        return "unheard"
    return "duplicate" if accepted.duplicate else "accepted"
