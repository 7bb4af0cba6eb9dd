"""Forgetting and mending: what a person takes back leaves the memory, its source and the window."""

from sqlalchemy import case, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.delivery.inbox import UNANSWERED_STATES, InboxState
from core.memory.changes import memory_entry, message_entry, queue_change, take_back
from core.memory.claims import Derivation, Memories
from core.memory.marks import keep_back
from core.memory.quotes import find_quote
from core.memory.summary import Summaries
from core.memory.transcript import TEXT, Transcript
from core.privacy.vault import Vault
from core.storage.database import Database
from core.storage.schema import (
    consolidations,
    declined,
    deliveries,
    inbox,
    memories,
    messages,
    sources,
    turns,
)

FORGOTTEN = "[forgotten]"


class Forgetting:
    """Takes back one memory, one message, or all of a user's. The index follows by its queue of changes."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        transcript: Transcript,
        memories: Memories,
        summaries: Summaries,
    ) -> None:
        self._database = database
        self._vault = vault
        self._transcript = transcript
        self._memories = memories
        self._summaries = summaries

    async def memory(self, user_id: str, memory_id: str) -> bool:
        """Forgets a memory and strikes the words that it rests on out of their messages.

        Other memories that rest on the same words go too: nothing is remembered without a source. Of what was
        only concluded the words stay, since they say other things; it isn't concluded again. With a
        correction goes what it corrected.
        Returns False when the user has no such memory.
        """
        async with self._database.write() as connection:
            await take_back(connection, user_id)
            concluded = (
                memories.c.id == memory_id,
                memories.c.user_id == user_id,
                memories.c.derivation == Derivation.CONCLUDED,
            )
            digest = await connection.scalar(select(memories.c.claim_digest).where(*concluded))
            if digest is not None:
                await self._memories.decline(connection, user_id, [digest])
                await self._memories.drop(connection, user_id, memory_id)
                await self.begin_afresh(connection, user_id)
                return True
            going = await self._memories.corrected(connection, user_id, by=memory_id)
            if not await self._forget_words(connection, user_id, memory_id):
                return False
            for memory in going:
                await self._forget_words(connection, user_id, memory.id)
        return True

    async def _forget_words(self, connection: AsyncConnection, user_id: str, memory_id: str) -> bool:
        cited = (
            await connection.execute(
                select(sources)
                .join(memories)
                .where(memories.c.id == memory_id, memories.c.user_id == user_id)
            )
        ).all()
        for source in cited:
            await self._strike(connection, user_id, source.message_id, source.span_start, source.span_end)
        await self._memories.drop(connection, user_id, memory_id)
        return bool(cited)

    async def expire(self, connection: AsyncConnection, user_id: str, memory_id: str) -> None:
        """Deletes a memory that is too old, with those of its words on which no other rests.

        What it had come in the place of was over, and stays so. Replies are left to a retention of their own.
        """
        cited = (await connection.execute(select(sources).where(sources.c.memory_id == memory_id))).all()
        mine = (memories.c.id == memory_id) & (memories.c.user_id == user_id)
        await connection.execute(delete(memories).where(mine))
        await queue_change(connection, user_id, memory_entry(memory_id))
        for source in cited:
            others = select(sources.c.memory_id).where(
                sources.c.message_id == source.message_id,
                sources.c.span_start < source.span_end,
                sources.c.span_end > source.span_start,
            )
            lines = await self._transcript.of_user(connection, user_id, [source.message_id])
            if lines and await connection.scalar(others.limit(1)) is None:
                text = lines[source.message_id].text
                struck = text[: source.span_start] + FORGOTTEN + text[source.span_end :]
                await self._rewrite(connection, user_id, source.message_id, struck)

    async def message(self, user_id: str, message_id: str) -> bool:
        """Forgets a message whole. Returns False when the user has no such message."""
        async with self._database.write() as connection:
            await take_back(connection, user_id)
            if message_id not in await self._transcript.of_user(connection, user_id, [message_id]):
                return False
            await self._strike_out(connection, user_id, message_id, FORGOTTEN)
        return True

    async def everything(self, user_id: str) -> int:
        """Forgets all the user's memories and messages; returns how many memories that were."""
        async with self._database.write() as connection:
            await take_back(connection, user_id)
            held = list(await connection.scalars(select(memories.c.id).where(memories.c.user_id == user_id)))
            said = list(await connection.scalars(select(messages.c.id).where(messages.c.user_id == user_id)))
            await self.begin_afresh(connection, user_id)
            # What couldn't be answered never came into the transcript.
            dead = (inbox.c.user_id == user_id) & (inbox.c.state.in_(UNANSWERED_STATES))
            await connection.execute(update(inbox).where(dead).values(payload_sealed=None))
            for table in (memories, consolidations, declined):
                await connection.execute(delete(table).where(table.c.user_id == user_id))
            await connection.execute(delete(messages).where(messages.c.user_id == user_id))
            for entry in [*map(memory_entry, held), *map(message_entry, said)]:
                await queue_change(connection, user_id, entry)
        return len(held)

    async def revise(
        self, connection: AsyncConnection, user_id: str, event_digest: str, text: str, *, kept: bool = True
    ) -> bool:
        """Gives a message that was edited its new text; memories whose words it lost are dropped.

        A new text that isn't to be `kept` leaves nothing of the old one either: its writer took that back.

        Returns False when the user has no such message.
        """
        await take_back(connection, user_id)
        found = select(messages.c.id, turns.c.kept).join(turns)
        edited = (
            await connection.execute(
                found.where(
                    messages.c.user_id == user_id,
                    messages.c.role == "user",
                    messages.c.event_digest == event_digest,
                )
            )
        ).one_or_none()
        if edited is None:
            return False
        if edited.kept and not kept:
            await self._strike_out(connection, user_id, edited.id, FORGOTTEN)
        else:
            await self._rewrite(connection, user_id, edited.id, text)
        return True

    async def _strike(
        self, connection: AsyncConnection, user_id: str, message_id: str, start: int, end: int
    ) -> None:
        lines = await self._transcript.of_user(connection, user_id, [message_id])
        if message_id in lines:
            text = lines[message_id].text
            struck = text[:start] + FORGOTTEN + text[end:]
            if find_quote(text[start:end], struck) is not None:
                struck = FORGOTTEN  # the same words stand there again
            await self._strike_out(connection, user_id, message_id, struck)

    async def _strike_out(
        self, connection: AsyncConnection, user_id: str, message_id: str, text: str
    ) -> None:
        await self._rewrite(connection, user_id, message_id, text)
        await self.begin_afresh(connection, user_id)

    async def _rewrite(self, connection: AsyncConnection, user_id: str, message_id: str, text: str) -> None:
        """Replaces a message's text, and lets what rests on it follow."""
        old = (await self._transcript.of_user(connection, user_id, [message_id]))[message_id].text
        cited = (await connection.execute(select(sources).where(sources.c.message_id == message_id))).all()
        for source in cited:
            span = find_quote(old[source.span_start : source.span_end], text)
            here = (sources.c.memory_id == source.memory_id) & (sources.c.message_id == message_id)
            if span is None:
                await connection.execute(delete(sources).where(here))
                await self._drop_if_unsupported(connection, user_id, source.memory_id)
            else:
                await connection.execute(
                    update(sources).where(here).values(span_start=span[0], span_end=span[1])
                )
        box = await self._vault.box(connection, user_id)
        says = await self._transcript.is_to_be_remembered(connection, user_id, text.replace(FORGOTTEN, ""))
        is_kept = select(turns.c.kept).where(turns.c.id == messages.c.turn_id).scalar_subquery()
        await connection.execute(
            update(messages)
            .where(messages.c.id == message_id)
            .values(
                text_sealed=box.seal(text, TEXT),
                remembered=case((is_kept, says), else_=False),
            )
        )
        await keep_back(connection, user_id)
        await queue_change(connection, user_id, message_entry(message_id))

    async def _drop_if_unsupported(self, connection: AsyncConnection, user_id: str, memory_id: str) -> None:
        """What a consolidation made goes with any of its sources: its text may be of that one."""
        left = await connection.scalar(select(func.count()).where(sources.c.memory_id == memory_id))
        made = await connection.scalar(select(memories.c.derivation).where(memories.c.id == memory_id))
        if not left or made:
            await self._memories.drop(connection, user_id, memory_id)

    async def begin_afresh(self, connection: AsyncConnection, user_id: str) -> None:
        """Removes what repeats a person's words: replies, and what was recalled for them.

        A reply may repeat in one conversation what was said in another, or by another member of a group,
        so all of the person's conversations begin afresh, and nothing of their replies is kept.
        """
        talked = select(turns.c.conversation_id).where(turns.c.user_id == user_id)
        # Conversations before turns, as whoever ends a turn takes them: or the two wait for each other.
        await self._summaries.start_all_afresh(connection, talked)
        touched = select(turns.c.id).where(turns.c.conversation_id.in_(talked))
        await connection.execute(
            update(turns).where(turns.c.id.in_(touched)).values(reply_sealed=None, account_sealed=None)
        )
        await connection.execute(
            update(deliveries).where(deliveries.c.turn_id.in_(touched)).values(shown_sealed=None)
        )
        await connection.execute(
            delete(messages).where(messages.c.turn_id.in_(touched), messages.c.role == "assistant")
        )
        again = (inbox.c.user_id == user_id) & (inbox.c.state == InboxState.UNKNOWN)
        await connection.execute(update(inbox).where(again).values(payload_sealed=None))
