"""Importing: what another Mneme, or another assistant, kept of a person becomes theirs here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Table, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.delivery.conversations import Conversations
from core.delivery.turns import TurnState
from core.memory.changes import memory_entry, message_entry, queue_change, take_back
from core.memory.claims import SUBJECT, Derivation, Kind, Memories
from core.memory.claims import TEXT as CLAIM
from core.memory.quotes import find_quote
from core.memory.transcript import TEXT as MESSAGE
from core.memory.transcript import Transcript, offset_minutes
from core.messages import ConversationKind, ConversationRef
from core.privacy.audience import PRIVATE
from core.privacy.keys import MasterKey
from core.privacy.vault import Box, Vault
from core.rights.archive import Archive, Message, Remembered, Talk
from core.storage.database import Database
from core.storage.schema import conversations, memories, messages, sources, turns, users
from core.storage.upsert import conflicting_insert

CHANNEL = "import"
WORKSPACE = "local"
KINDS = frozenset(Kind)
DERIVATIONS = frozenset(Derivation)
PAGE = 500


@dataclass(frozen=True, slots=True)
class Imported:
    """How many messages and memories came in; what stood here already isn't counted, nor doubled."""

    messages: int
    memories: int


class Importing:
    """Brings archives in. What was said in a group elsewhere is private here: its members aren't known."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        master: MasterKey,
        conversations: Conversations,
        transcript: Transcript,
        memories: Memories,
        clock: Clock,
    ) -> None:
        self._database = database
        self._vault = vault
        self._master = master
        self._conversations = conversations
        self._transcript = transcript
        self._memories = memories
        self._clock = clock

    async def bring(self, user_id: str, archive: Archive) -> Imported:
        """Adds the archive to what is known of the user. The same again adds what isn't here yet.

        Raises:
            Undecryptable: there is no such user.
            StoreUnavailable: not all of it came in; bring it again.
        """
        async with self._database.write() as connection:
            await self._agree(connection, user_id, archive)
        said = 0
        for talk in archive.talks:
            # A talk at a time: a large archive mustn't keep everybody else from writing.
            async with self._database.write() as connection:
                box = await self._vault.box(connection, user_id)
                said += await self._talk(connection, user_id, box, talk)
        async with self._database.write() as connection:
            await take_back(connection, user_id)
            box = await self._vault.box(connection, user_id)
            held = await self._hold(connection, user_id, box, archive)
        return Imported(said, held)

    async def _agree(self, connection: AsyncConnection, user_id: str, archive: Archive) -> None:
        """Who agreed elsewhere has agreed here, unless they gave another answer."""
        if archive.person.special_consent:
            mine = update(users).where(users.c.id == user_id, users.c.special_consent.is_(None))
            await connection.execute(mine.values(special_consent=True))

    async def _talk(self, connection: AsyncConnection, user_id: str, box: Box, talk: Talk) -> int:
        ids = [self._id(user_id, m.id, m.said_at) for m in talk.messages]
        known = await self._standing(connection, messages, user_id, ids)
        fresh = [m for id, m in zip(ids, talk.messages, strict=True) if id not in known]
        if not fresh:
            return 0
        await take_back(connection, user_id)
        reference = ConversationRef(f"{user_id}:{talk.id}", ConversationKind.DIRECT, {})
        conversation_id = await self._conversations.meet(connection, CHANNEL, WORKSPACE, reference, user_id)
        turn_id = 0
        for _, together in groupby(fresh, key=lambda message: message.turn):
            turn_id = await self._turn(connection, user_id, box, conversation_id, list(together))
        # Its memories come with it, if it has any: nobody's model has to read it again.
        await connection.execute(
            update(conversations)
            .where(conversations.c.id == conversation_id)
            .values(extracted_through=turn_id)
        )
        return len(fresh)

    async def _turn(
        self,
        connection: AsyncConnection,
        user_id: str,
        box: Box,
        conversation_id: str,
        together: Sequence[Message],
    ) -> int:
        turn_id: int = await connection.scalar(
            insert(turns)
            .values(
                conversation_id=conversation_id,
                user_id=user_id,
                state=TurnState.DONE,
                started_at=together[0].said_at,
                finished_at=together[-1].said_at,
            )
            .returning(turns.c.id)
        )
        rows: list[dict[str, Any]] = []
        for at, message in enumerate(together):
            is_told = message.role == "user" and message.remembered
            kept = is_told and await self._transcript.is_to_be_remembered(connection, user_id, message.text)
            row = self._row(user_id, box, conversation_id, turn_id, at, message)
            rows.append({**row, "remembered": kept})
        await connection.execute(insert(messages), rows)
        for row in rows:
            if row["remembered"]:
                await queue_change(connection, user_id, message_entry(row["id"]))
        return turn_id

    def _row(
        self, user_id: str, box: Box, conversation_id: str, turn_id: int, position: int, message: Message
    ) -> dict[str, Any]:
        return {
            "id": self._id(user_id, message.id, message.said_at),
            "turn_id": turn_id,
            "conversation_id": conversation_id,
            "user_id": user_id,
            "position": position,
            "role": message.role,
            "text_sealed": box.seal(message.text, MESSAGE),
            "said_at": message.said_at,
            "utc_offset": offset_minutes(message.said_at),
            "audience": PRIVATE,
        }

    async def _hold(self, connection: AsyncConnection, user_id: str, box: Box, archive: Archive) -> int:
        """Adds the memories that aren't here yet, each on those of its sources that came in."""
        said = {m.id: self._id(user_id, m.id, m.said_at) for talk in archive.talks for m in talk.messages}
        texts = {m.id: m.text for talk in archive.talks for m in talk.messages if m.role == "user"}
        stands = await self._standing(connection, messages, user_id, list(said.values()))
        ids = {m.id: self._id(user_id, m.id, m.recorded_at) for m in archive.memories}
        known = await self._standing(connection, memories, user_id, list(ids.values()))
        added = 0
        for memory in archive.memories:
            # What an archive claims of its sources is believed as little as what a model does.
            cited = {
                (said[source.message], *span): source.certainty
                for source in memory.sources
                if said.get(source.message) in stands
                and source.message in texts
                and (span := find_quote(source.quote, texts[source.message]))
            }
            if ids[memory.id] in known or not cited:
                continue
            said_so = "\n".join([memory.text, *(source.quote for source in memory.sources)])
            if not await self._transcript.may_keep(connection, user_id, said_so):
                continue
            if not await self._insert(connection, user_id, box, ids[memory.id], memory):
                continue
            added += 1
            await connection.execute(
                conflicting_insert(connection, sources).on_conflict_do_nothing(),
                [
                    {
                        "memory_id": ids[memory.id],
                        "message_id": message_id,
                        "span_start": start,
                        "span_end": end,
                        "certainty": certainty,
                    }
                    for (message_id, start, end), certainty in cited.items()
                ],
            )
            await queue_change(connection, user_id, memory_entry(ids[memory.id]))
        for memory in archive.memories:
            if memory.replaced_by in ids:
                # Only what did come in: what it names may have been here already, or have had no source.
                came = select(memories.c.id).where(memories.c.id == ids[memory.replaced_by])
                await connection.execute(
                    update(memories)
                    .where(memories.c.id == ids[memory.id], memories.c.user_id == user_id)
                    .values(replaced_by=came.scalar_subquery())
                )
        return added

    async def _insert(
        self, connection: AsyncConnection, user_id: str, box: Box, id: str, memory: Remembered
    ) -> bool:
        """Whether it came in: what says just the same and holds is here already."""
        row = {
            "id": id,
            "user_id": user_id,
            "audience": PRIVATE,
            "kind": memory.kind if memory.kind in KINDS else Kind.FACT,
            "text_sealed": box.seal(memory.text, CLAIM),
            "subject_sealed": box.seal(memory.subject, SUBJECT) if memory.subject else None,
            "claim_digest": self._memories.digest(user_id, memory.text),
            "valid_from": memory.valid_from,
            "valid_until": memory.valid_until,
            "recorded_at": memory.recorded_at,
            "retired_at": memory.retired_at,
            "salience": memory.salience,
            "uses": memory.uses,
            "is_correction": memory.correction,
            "pinned_at": self._clock.now() if memory.pinned else None,
            "muted_at": self._clock.now() if memory.muted else None,
            "derivation": memory.derivation if memory.derivation in DERIVATIONS else None,
        }
        put = conflicting_insert(connection, memories).values(row).on_conflict_do_nothing()
        return await connection.scalar(put.returning(memories.c.id)) is not None

    async def _standing(
        self, connection: AsyncConnection, table: Table, user_id: str, ids: Sequence[str]
    ) -> set[str]:
        """Those of the ids that are rows of the user's."""
        found: set[str] = set()
        for at in range(0, len(ids), PAGE):
            some = select(table.c.id).where(table.c.user_id == user_id, table.c.id.in_(ids[at : at + PAGE]))
            found |= set(await connection.scalars(some))
        return found

    def _id(self, user_id: str, theirs: str, at: datetime) -> str:
        """What something of an archive is called here: the same each time, and in the order of time."""
        milliseconds = max(0, int(at.timestamp() * 1000))
        return f"{milliseconds:012x}{self._master.digest('import', user_id, theirs)[:20]}"
