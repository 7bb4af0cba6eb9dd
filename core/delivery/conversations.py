"""Conversations: where people talk with Mneme, and who reads along."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.messages import ConversationKind, ConversationRef
from core.privacy.audience import audience_of
from core.privacy.keys import MasterKey
from core.privacy.vault import Vault
from core.storage.database import new_id
from core.storage.schema import conversations

ADDRESS = "conversations.address"


@dataclass(frozen=True, slots=True)
class Conversation:
    """`owner` is whose key seals what belongs to the conversation: its one person, or the group itself.

    `told_of_resting`: it was said there that memory rests, and memory hasn't been back since.
    """

    id: str
    channel: str
    workspace: str
    kind: ConversationKind
    owner: str
    address: Mapping[str, str]
    told_of_resting: bool = False

    @property
    def audience(self) -> str:
        return audience_of(self.kind, self.id)


class Conversations:
    """Finds conversations by the platform's names, and makes them, within the caller's transaction."""

    def __init__(self, vault: Vault, master: MasterKey, clock: Clock) -> None:
        self._vault = vault
        self._master = master
        self._clock = clock

    async def meet(
        self, connection: AsyncConnection, channel: str, workspace: str, ref: ConversationRef, user_id: str
    ) -> str:
        """The id of this conversation; made when it is new.

        Raises:
            IntegrityError: another process made it just now; try again.
        """
        known = await self.find(connection, channel, workspace, ref.external_id)
        if known is not None:
            return known
        conversation_id = new_id()
        owner = user_id
        if ref.kind is not ConversationKind.DIRECT:
            owner = conversation_id
            await self._vault.create(connection, owner)
        box = await self._vault.box(connection, owner)
        await connection.execute(
            insert(conversations).values(
                id=conversation_id,
                channel=channel,
                workspace=workspace,
                ref_digest=self._digest(ref.external_id),
                kind=ref.kind.value,
                owner=owner,
                address_sealed=box.seal_json(ref.address, ADDRESS),
                created_at=self._clock.now(),
            )
        )
        return conversation_id

    async def find(
        self, connection: AsyncConnection, channel: str, workspace: str, external_id: str
    ) -> str | None:
        found: str | None = await connection.scalar(
            select(conversations.c.id).where(
                conversations.c.channel == channel,
                conversations.c.workspace == workspace,
                conversations.c.ref_digest == self._digest(external_id),
            )
        )
        return found

    async def latest(self, connection: AsyncConnection, channel: str, user_id: str) -> Conversation | None:
        """The user's newest direct conversation on a channel."""
        row = (
            await connection.execute(
                select(conversations)
                .where(conversations.c.channel == channel, conversations.c.owner == user_id)
                .order_by(conversations.c.id.desc())
                .limit(1)
            )
        ).one_or_none()
        return None if row is None else await self._from_row(connection, row)

    async def find_own(
        self, connection: AsyncConnection, conversation_id: str, user_id: str
    ) -> Conversation | None:
        """The direct conversation of this id, if it is this user's."""
        owner = await connection.scalar(
            select(conversations.c.owner).where(conversations.c.id == conversation_id)
        )
        return await self.get(connection, conversation_id) if owner == user_id else None

    async def get(self, connection: AsyncConnection, conversation_id: str) -> Conversation:
        """The conversation of this id.

        Raises:
            LookupError: there is none.
            Undecryptable: its owner was forgotten.
        """
        row = (
            await connection.execute(select(conversations).where(conversations.c.id == conversation_id))
        ).one_or_none()
        if row is None:
            raise LookupError("no such conversation")
        return await self._from_row(connection, row)

    async def note_resting(self, connection: AsyncConnection, conversation_id: str, *, told: bool) -> None:
        """Writes down whether it was said there that memory rests."""
        await connection.execute(
            update(conversations).where(conversations.c.id == conversation_id).values(told_of_resting=told)
        )

    async def first_stranger_today(self, connection: AsyncConnection, conversation_id: str) -> bool:
        """Whether no stranger was shown the door in this conversation on this day (UTC); now one is."""
        today = self._clock.now().date()
        shown = conversations.c.door_shown_on
        changed = await connection.execute(
            update(conversations)
            .where(conversations.c.id == conversation_id, or_(shown.is_(None), shown < today))
            .values(door_shown_on=today)
        )
        return changed.rowcount > 0

    async def _from_row(self, connection: AsyncConnection, row: Row[Any]) -> Conversation:
        box = await self._vault.box(connection, row.owner)
        return Conversation(
            id=row.id,
            channel=row.channel,
            workspace=row.workspace,
            kind=ConversationKind(row.kind),
            owner=row.owner,
            address=box.open_json(row.address_sealed, ADDRESS),
            told_of_resting=row.told_of_resting,
        )

    def _digest(self, external_id: str) -> str:
        return self._master.digest("conversation", external_id)
