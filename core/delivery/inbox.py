"""The inbox: what came in, written down before the platform is answered (P1)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.delivery.conversations import Conversations
from core.errors import InvalidMessage
from core.messages import (
    MAX_TEXT_CHARS,
    Accepted,
    ConversationKind,
    Enclosure,
    EnclosureKind,
    IncomingMessage,
    clean,
)
from core.privacy.keys import MasterKey
from core.privacy.vault import Box, Vault
from core.storage.database import Database, one_at_a_time
from core.storage.group_commit import GroupCommit
from core.storage.schema import inbox
from core.users.access import Access
from core.users.doors import HOME_CHANNELS, Door
from core.users.people import People, User

PAYLOAD = "inbox.payload"
UNHEARD = Accepted(0, "", duplicate=False, unheard=True)
RACES = 3
"""A message's account or conversation can be written by somebody else while it is accepted: the next try
finds what stands by then."""


class InboxState(StrEnum):
    WAITING = "waiting"
    TAKEN = "taken"
    DONE = "done"
    DEAD = "dead"
    """Given up; the person was told, if that was possible."""
    UNKNOWN = "unknown"
    """Its reply was sent, but nobody knows whether it arrived: it isn't sent again."""


OPEN_STATES = (InboxState.WAITING, InboxState.TAKEN)
UNANSWERED_STATES = (InboxState.DEAD, InboxState.UNKNOWN)
"""What an operator may want to look at; such rows keep their words."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An accepted message as the lane reads it; `edits` is the digest of the event that it replaces."""

    id: int
    event_digest: str
    text: str
    enclosures: tuple[Enclosure, ...]
    sent_at: datetime
    received_at: datetime
    reply_to: str | None
    edits: str | None
    declined: str | None
    """The line that its sender gets instead of an answer: it can't be a message."""
    language: str | None = None
    """Its sender's, as the platform tells it, such as "pt-br"."""


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A message at the door, and what is written down of it."""

    message: IncomingMessage
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Met:
    """A sender as the record knows them, and their conversations by the platform's names."""

    user: User
    box: Box
    conversations: dict[str, str] = field(default_factory=dict)


class Inbox:
    """Accepts each event once."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        master: MasterKey,
        people: People,
        conversations: Conversations,
        access: Access,
        clock: Clock,
    ) -> None:
        self._database = database
        self._vault = vault
        self._master = master
        self._people = people
        self._conversations = conversations
        self._access = access
        self._clock = clock
        self._commits = GroupCommit(self._commit)

    async def accept(self, message: IncomingMessage) -> Accepted:
        """Commits the message, its sender and its conversation.

        Raises:
            StoreUnavailable: nothing was written.
            InvalidMessage: blank or too long; nothing was written.
        """
        (accepted,) = await self._commits.put([_Arrival(message, _payload(message))])
        return accepted

    async def take(self, messages: Sequence[IncomingMessage]) -> Sequence[Accepted]:
        """Commits the messages, all or none. Of what can't be one, not a word: its sender gets a line.

        Raises:
            StoreUnavailable: nothing was written.
        """
        return await self._commits.put([_arrival(message) for message in messages])

    async def _commit(self, arrivals: Sequence[_Arrival]) -> Sequence[Accepted]:
        for _ in range(RACES):
            with suppress(IntegrityError):
                return await self._write(arrivals)
        return await self._write(arrivals)

    async def _write(self, arrivals: Sequence[_Arrival]) -> Sequence[Accepted]:
        met: dict[tuple[str, str, str], _Met] = {}
        async with self._database.write() as connection:
            # Two that hold some of the same strangers each, and want the other's, would wait for ever.
            await one_at_a_time(connection, "inbox")
            return [await self._enter(connection, arrival, met) for arrival in arrivals]

    async def _enter(
        self, connection: AsyncConnection, arrival: _Arrival, met: dict[tuple[str, str, str], _Met]
    ) -> Accepted:
        message, payload = arrival.message, arrival.payload
        event = self._event_digest(message.event)
        known = await self._find(connection, message, event)
        if known is not None:
            return Accepted(known.id, known.conversation_id, duplicate=True)
        sender = await self._meet(connection, message, met)
        if not sender.user.admitted and not await self._is_heard(connection, message, sender):
            return UNHEARD
        if sender.user.blocked:
            message, payload = _wordless(message)
        conversation_id = await self._conversation(connection, message, sender)
        state = InboxState.WAITING
        if message.replaces is not None:
            original = self._event_digest(message.replaces)
            if await self._replace_waiting(connection, sender, conversation_id, original, payload):
                state = InboxState.DONE
            else:
                payload = {**payload, "edits": original}
        row_id: int = await connection.scalar(
            insert(inbox)
            .values(
                conversation_id=conversation_id,
                user_id=sender.user.id,
                channel=message.channel,
                workspace=message.workspace,
                event_digest=event,
                payload_sealed=sender.box.seal_json(payload, PAYLOAD)
                if state is InboxState.WAITING
                else None,
                received_at=self._clock.now(),
                state=state,
            )
            .returning(inbox.c.id)
        )
        return Accepted(row_id, conversation_id, duplicate=False)

    async def _meet(
        self,
        connection: AsyncConnection,
        message: IncomingMessage,
        met: dict[tuple[str, str, str], _Met],
    ) -> _Met:
        """The sender; asked for once in a transaction."""
        account = (message.channel, message.workspace, message.sender.external_id)
        if account not in met:
            door = Door(message.channel, message.workspace)
            user = await self._access.meet(connection, door, message.sender)
            met[account] = _Met(user, await self._vault.box(connection, user.id))
        return met[account]

    async def _is_heard(self, connection: AsyncConnection, message: IncomingMessage, sender: _Met) -> bool:
        """Whether somebody who isn't let in gets an answer: in private a stranger always does.

        Who is blocked gets one there a day. A group reads along: it sees one stranger a day shown the door,
        who is shown none elsewhere that day. At home a reply is waited for.
        """
        if message.channel in HOME_CHANNELS:
            return True
        if message.conversation.kind is ConversationKind.DIRECT:
            return not sender.user.blocked or await self._people.first_today(connection, sender.user.id)
        if sender.user.blocked or not message.addressed:
            return False
        return await self._people.first_today(
            connection, sender.user.id
        ) and await self._conversations.first_stranger_today(
            connection, await self._conversation(connection, message, sender)
        )

    async def _conversation(self, connection: AsyncConnection, message: IncomingMessage, sender: _Met) -> str:
        """The sender's conversation; asked for once in a transaction."""
        name = message.conversation.external_id
        if name not in sender.conversations:
            sender.conversations[name] = await self._conversations.meet(
                connection, message.channel, message.workspace, message.conversation, sender.user.id
            )
        return sender.conversations[name]

    async def _find(
        self, connection: AsyncConnection, message: IncomingMessage, event: str
    ) -> Row[*tuple[Any, ...]] | None:
        return (
            await connection.execute(
                select(inbox.c.id, inbox.c.conversation_id, inbox.c.state).where(
                    inbox.c.channel == message.channel,
                    inbox.c.workspace == message.workspace,
                    inbox.c.event_digest == event,
                )
            )
        ).one_or_none()

    async def _replace_waiting(
        self,
        connection: AsyncConnection,
        sender: _Met,
        conversation_id: str,
        original: str,
        payload: dict[str, Any],
    ) -> bool:
        """Puts an edit in the place of the sender's message that it mends, if that wasn't taken yet."""
        changed = await connection.execute(
            update(inbox)
            .where(
                inbox.c.user_id == sender.user.id,
                inbox.c.conversation_id == conversation_id,
                inbox.c.event_digest == original,
                inbox.c.state == InboxState.WAITING,
                inbox.c.turn_id.is_(None),
            )
            .values(payload_sealed=sender.box.seal_json(payload, PAYLOAD))
        )
        return changed.rowcount > 0

    def _event_digest(self, event: str) -> str:
        return self._master.digest("event", event)


def _arrival(message: IncomingMessage) -> _Arrival:
    try:
        return _Arrival(message, _payload(message))
    except InvalidMessage as error:
        empty, payload = _wordless(message)
        return _Arrival(empty, {**payload, "declined": str(error)})


def _wordless(message: IncomingMessage) -> tuple[IncomingMessage, dict[str, Any]]:
    """A message of which not a word is written down."""
    empty = replace(message, text="", enclosures=(), replaces=None)
    return empty, _written(empty)


def _payload(message: IncomingMessage) -> dict[str, Any]:
    text = clean(message.text)
    enclosures = [
        {"kind": e.kind.value, "text": clean(e.text)[:MAX_TEXT_CHARS]}
        for e in message.enclosures
        if clean(e.text)
    ]
    if not text and not enclosures:
        raise InvalidMessage("I can't read an empty message. Please write a few words.")
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidMessage(
            f"That message is too long for me: {len(text):,} characters. "
            f"Please send at most {MAX_TEXT_CHARS:,} at a time."
        )
    return {**_written(message), "text": text, "enclosures": enclosures}


def _written(message: IncomingMessage) -> dict[str, Any]:
    return {
        "text": "",
        "enclosures": [],
        "sent_at": message.sent_at.astimezone(message.sender.zone).isoformat(),
        "reply_to": message.reply_to,
        "language": message.sender.language,
    }


def read_waiting(row: Mapping[str, Any], box: Box) -> Waiting:
    """An inbox row (id, event_digest, payload_sealed, received_at) as a message."""
    payload = box.open_json(row["payload_sealed"], PAYLOAD)
    return Waiting(
        id=row["id"],
        event_digest=row["event_digest"],
        text=payload["text"],
        enclosures=tuple(Enclosure(EnclosureKind(e["kind"]), e["text"]) for e in payload["enclosures"]),
        sent_at=datetime.fromisoformat(payload["sent_at"]),
        received_at=row["received_at"],
        reply_to=payload["reply_to"],
        edits=payload.get("edits"),
        declined=payload.get("declined"),
        language=payload.get("language"),
    )
