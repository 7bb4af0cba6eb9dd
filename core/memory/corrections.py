"""Corrections: what a person changes in their memory themselves: its words, and whether it is used."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.delivery.conversations import Conversations
from core.delivery.turns import TurnState
from core.errors import InvalidMessage
from core.llm.language import language_of
from core.memory.changes import memory_entry, message_entry, queue_change, take_back
from core.memory.claims import Claim, Derivation, Kind, Memories, Memory
from core.memory.dates import Period, mentioned
from core.memory.forgetting import FORGOTTEN
from core.memory.marks import keep_back
from core.memory.notes import SURE
from core.memory.reflection import say_the_same
from core.memory.summary import Summaries
from core.memory.transcript import TEXT, Line, Transcript, offset_minutes
from core.memory.write_gate import DATED, MAX_CLAIM_CHARS
from core.messages import ConversationKind, ConversationRef, clean
from core.privacy.audience import PRIVATE
from core.privacy.keys import MasterKey
from core.privacy.vault import Vault
from core.storage.database import Database, new_id
from core.storage.schema import conversations, memories, messages, sources, turns

MAX_CHARS = 600
MOST_PINNED = 8
MAX_PINNED_CHARS = MAX_CLAIM_CHARS
"""What is pinned is paid for with every message."""
PAGE = "page"
"""Channel and workspace of a conversation that nobody has. What a person corrects is written down there: the
words must stand in the record to be cited, but nobody said them in a talk, and no prompt repeats them."""
NO_WORDS = "Tell me what to remember instead: `/memory edit 2 I live in Porto`."
TOO_LONG = f"That is too long for one memory: please say it in at most {MAX_CHARS} characters."
TOO_LONG_TO_PIN = f"That is too long to be pinned: please say it in at most {MAX_PINNED_CHARS} characters."
NEEDS_CONSENT = (
    "That may tell of your health, belief, origin, politics or love. I remember such things only if you "
    "agree: `/consent yes`."
)
ENOUGH_PINNED = f"{MOST_PINNED} memories are pinned already. Please unpin one first."


@dataclass(frozen=True, slots=True)
class Said:
    """Where and when a correction was made: to whom it may be shown, and the event that it came with.

    The same event twice is one correction; if its words were edited, it is corrected again.
    """

    audience: str
    at: datetime
    event: str


class Corrections:
    """Changes a user's memories at their word. A statement's id stands for a memory of just what it says.

    Each call returns False when the user has no such memory. The index follows by its queue of changes.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        master: MasterKey,
        conversations: Conversations,
        transcript: Transcript,
        memories: Memories,
        summaries: Summaries,
        clock: Clock,
    ) -> None:
        self._database = database
        self._vault = vault
        self._master = master
        self._conversations = conversations
        self._transcript = transcript
        self._memories = memories
        self._summaries = summaries
        self._clock = clock

    async def edit(self, user_id: str, memory_id: str, text: str, said: Said | None = None) -> bool:
        """Puts the person's own words in a memory's place; the old ones stay as its history.

        What is corrected in private is private from then on, even if a group knew the old. Conversations in
        which the old words may stand in a prompt begin afresh.

        Raises:
            InvalidMessage: blank, too long, or of a kind that they don't let be remembered.
        """
        text = " ".join(clean(text).split())
        if not text:
            raise InvalidMessage(NO_WORDS)
        if len(text) > MAX_CHARS:
            raise InvalidMessage(TOO_LONG)
        said = said or Said(PRIVATE, self._clock.now(), new_id())
        days = await asyncio.to_thread(mentioned, text, said.at, language_of(text))
        async with self._database.write() as connection:
            await take_back(connection, user_id)
            made = await self._made_by(connection, user_id, said)
            old = await self._held(connection, user_id, made or memory_id)
            if old is None or old.text == text:
                return old is not None or made is not None
            if not await self._transcript.may_keep(connection, user_id, text):
                raise InvalidMessage(NEEDS_CONSENT)
            line = await self._write_down(connection, user_id, text, said)
            await self._memories.correct(connection, user_id, old, _claim(old, line, days))
            await keep_back(connection, user_id)
            if old.derivation is Derivation.CONCLUDED:
                digest = self._memories.digest(user_id, old.text)
                await self._memories.decline(connection, user_id, [digest])
            cited = [source.message_id for source in old.sources]
            there = select(messages.c.conversation_id).where(messages.c.id.in_(cited))
            await self._summaries.start_all_afresh(connection, there)
        return True

    async def pin(self, user_id: str, memory_id: str, pinned: bool) -> bool:
        """Has a memory in every prompt, and keeps it there, or no longer. What is pinned is used again.

        Raises:
            InvalidMessage: as many as possible are pinned already, or it is too long.
        """
        async with self._database.write() as connection:
            await take_back(connection, user_id)
            memory = await self._held(connection, user_id, memory_id)
            if memory is None:
                return False
            if pinned and not memory.is_pinned:
                await self._make_sure_of_room(connection, user_id, memory)
            if pinned and memory.is_muted:
                await self._set_muted(connection, user_id, memory, None)
            at = self._clock.now() if pinned else None
            mine = update(memories).where(memories.c.id == memory.id)
            await connection.execute(mine.values(pinned_at=at))
            await queue_change(connection, user_id, memory_entry(memory.id))
        return True

    async def mute(self, user_id: str, memory_id: str, muted: bool) -> bool:
        """Keeps a memory, its history and what was concluded from it out of all prompts, or no longer.

        So with the messages that it rests on. It is still listed. Since replies may repeat it, all of the
        person's conversations begin afresh.
        """
        async with self._database.write() as connection:
            await take_back(connection, user_id)
            memory = await self._held(connection, user_id, memory_id)
            if memory is None:
                return False
            await self._set_muted(connection, user_id, memory, self._clock.now() if muted else None)
            if muted:
                talked = select(turns.c.conversation_id).where(turns.c.user_id == user_id)
                await self._summaries.start_all_afresh(connection, talked)
        return True

    async def outdated(self, connection: AsyncConnection, user_id: str, claim: Claim) -> Memory | None:
        """The corrected memory that a claim says again, if that was said before it was corrected."""
        for memory in await self._memories.corrected(connection, user_id):
            before = memory.retired_at is not None and claim.line.said_at < memory.retired_at
            here = memory.audience == claim.line.audience
            if before and here and (_of_the_same_words(memory, claim) or say_the_same(memory, claim)):
                return memory
        return None

    async def _held(self, connection: AsyncConnection, user_id: str, id: str) -> Memory | None:
        """The memory of this id that holds; of a statement's id one that is made of just what that says."""
        found = await self._memories.of_user(connection, user_id, ids=[id])
        if not found and await self._is_unread(connection, user_id, id):
            line = (await self._transcript.of_user(connection, user_id, [id]))[id]
            claim = Claim(Kind.NOTE, line.text, None, line, 0, len(line.text), SURE, line.said_at)
            memory_id = await self._memories.learn(connection, user_id, claim)
            found = await self._memories.of_user(connection, user_id, ids=[memory_id])
        return found[0] if found else None

    async def _is_unread(self, connection: AsyncConnection, user_id: str, message_id: str) -> bool:
        """Whether it is a statement of the user's of which no memory came yet."""
        cited = select(sources.c.message_id).where(sources.c.message_id == message_id)
        statement = select(messages.c.id).where(
            messages.c.id == message_id,
            messages.c.user_id == user_id,
            messages.c.remembered,
            ~cited.exists(),
        )
        return await connection.scalar(statement) is not None

    async def _made_by(self, connection: AsyncConnection, user_id: str, said: Said) -> str | None:
        """The memory that this event's correction made before."""
        made: str | None = await connection.scalar(
            select(memories.c.id)
            .join(sources, sources.c.memory_id == memories.c.id)
            .join(messages, messages.c.id == sources.c.message_id)
            .where(
                memories.c.user_id == user_id,
                messages.c.event_digest == self._event(said),
                memories.c.retired_at.is_(None),
            )
        )
        return made

    def _event(self, said: Said) -> str:
        # Not the event's own digest: to edit the message is to correct again, not to mend a transcript.
        return self._master.digest("correction", said.event)

    async def _write_down(self, connection: AsyncConnection, user_id: str, text: str, said: Said) -> Line:
        ref = ConversationRef(user_id, ConversationKind.DIRECT, {})
        conversation_id = await self._conversations.meet(connection, PAGE, PAGE, ref, user_id)
        turn_id: int = await connection.scalar(
            insert(turns)
            .values(
                conversation_id=conversation_id,
                user_id=user_id,
                state=TurnState.DONE,
                started_at=said.at,
                finished_at=said.at,
            )
            .returning(turns.c.id)
        )
        line = Line(new_id(), turn_id, user_id, "user", text, said.at, said.audience)
        box = await self._vault.box(connection, user_id)
        await connection.execute(
            insert(messages).values(
                id=line.id,
                turn_id=turn_id,
                conversation_id=conversation_id,
                user_id=user_id,
                position=0,
                role=line.role,
                text_sealed=box.seal(text, TEXT),
                said_at=said.at,
                utc_offset=offset_minutes(said.at),
                event_digest=self._event(said),
                audience=said.audience,
                remembered=False,  # the memory is recalled: it says the same
            )
        )
        return line

    async def _make_sure_of_room(self, connection: AsyncConnection, user_id: str, memory: Memory) -> None:
        if len(memory.text) > MAX_PINNED_CHARS:
            raise InvalidMessage(TOO_LONG_TO_PIN)
        pinned = select(func.count()).where(
            memories.c.user_id == user_id, memories.c.retired_at.is_(None), memories.c.pinned_at.is_not(None)
        )
        if (await connection.scalar(pinned) or 0) >= MOST_PINNED:
            raise InvalidMessage(ENOUGH_PINNED)

    async def _set_muted(
        self, connection: AsyncConnection, user_id: str, memory: Memory, at: datetime | None
    ) -> None:
        told = [memory, *await self._memories.replaced_by(connection, user_id, [memory.id])]
        cited = {source.message_id for each in told for source in each.sources}
        ids = {each.id for each in told}
        for other in await self._memories.resting_on(connection, user_id, cited):
            is_part = other.is_merged_away and other.replaced_by in ids
            is_drawn = other.derivation is Derivation.CONCLUDED and _share_words(other, told)
            ids |= {other.id} if is_part or is_drawn else set()
        marks = {"muted_at": at} if at is None else {"muted_at": at, "pinned_at": None}
        await connection.execute(update(memories).where(memories.c.id.in_(ids)).values(marks))
        for memory_id in ids:
            await queue_change(connection, user_id, memory_entry(memory_id))
        if at is None:
            for line in (await self._transcript.of_user(connection, user_id, cited)).values():
                words = line.text.replace(FORGOTTEN, "")
                said = await self._transcript.is_to_be_remembered(connection, user_id, words)
                page = select(conversations.c.id).where(conversations.c.channel == PAGE)
                spoken = update(messages).where(
                    messages.c.id == line.id, messages.c.conversation_id.not_in(page)
                )
                await connection.execute(spoken.values(remembered=said))
                await queue_change(connection, user_id, message_entry(line.id))
        await keep_back(connection, user_id)


def _claim(old: Memory, line: Line, days: Sequence[Period]) -> Claim:
    """The old memory in the person's words of now; of what happens on a day, on the day that these name."""
    claim = Claim(old.kind, line.text, old.subject, line, 0, len(line.text), SURE, line.said_at)
    if old.kind not in DATED:
        return claim
    if len(days) != 1:
        return replace(claim, valid_from=old.valid_from, valid_until=old.valid_until)
    begin, end = days[0].within(line.said_at)
    return replace(claim, valid_from=begin, valid_until=end)


def _share_words(one: Memory, others: Iterable[Memory]) -> bool:
    places = {(source.message_id, source.start) for source in one.sources}
    return any((source.message_id, source.start) in places for each in others for source in each.sources)


def _of_the_same_words(memory: Memory, claim: Claim) -> bool:
    return any(
        source.message_id == claim.line.id
        and source.start < claim.end
        and source.start + len(source.quote) > claim.start
        for source in memory.sources
    )
