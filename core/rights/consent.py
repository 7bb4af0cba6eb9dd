"""Consent: whether what is told of a person's health, belief, origin, politics or love is remembered."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.delivery.turns import Turn
from core.memory.asserted import is_statement
from core.memory.changes import message_entry, queue_change, take_back
from core.memory.claims import Memories
from core.memory.forgetting import Forgetting
from core.memory.jobs import JobQueue
from core.memory.marks import keep_back
from core.memory.notes import Notes
from core.memory.special import is_special
from core.memory.transcript import Transcript
from core.privacy.audience import PRIVATE
from core.storage.database import Database
from core.storage.schema import messages, turns, users

PENDING = timedelta(days=1)
"""Who agrees so long after the question agrees to what was said since, too."""
READ = 500
"""So many messages are looked through at a time."""


@dataclass(frozen=True, slots=True)
class Concerned:
    """What is remembered of a person that needs their consent, by id."""

    memories: tuple[str, ...]
    messages: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.memories) + len(self.messages)


class Consent:
    """Asks a person once, and does what they answer."""

    def __init__(
        self,
        database: Database,
        transcript: Transcript,
        memories: Memories,
        forgetting: Forgetting,
        notes: Notes,
        jobs: JobQueue,
        clock: Clock,
    ) -> None:
        self._database = database
        self._transcript = transcript
        self._memories = memories
        self._forgetting = forgetting
        self._notes = notes
        self._jobs = jobs
        self._clock = clock

    async def is_to_be_asked(self, connection: AsyncConnection, turn: Turn) -> bool:
        """Whether the turn tells what needs a consent that was never asked for; from now on it was.

        Nobody is asked where others read along.
        """
        told = [message.text for message in turn.messages if is_statement(message.text)]
        if turn.conversation.audience != PRIVATE or all(
            [await self._transcript.may_keep(connection, turn.user_id, text) for text in told]
        ):
            return False
        unasked = (users.c.special_consent.is_(None), users.c.special_asked_in.is_(None))
        asked = await connection.execute(
            update(users).where(users.c.id == turn.user_id, *unasked).values(special_asked_in=turn.id)
        )
        return asked.rowcount > 0

    async def given(self, user_id: str) -> bool | None:
        """Their answer; None as long as there is none."""
        async with self._database.read() as connection:
            answer: bool | None = await connection.scalar(
                select(users.c.special_consent).where(users.c.id == user_id)
            )
        return answer

    async def give(self, user_id: str) -> int:
        """Remembers such things from now on, and what was said since they were asked; how many messages."""
        async with self._database.write() as connection:
            await take_back(connection, user_id)
            mine = users.c.id == user_id
            asked_in = await connection.scalar(select(users.c.special_asked_in).where(mine))
            await connection.execute(
                update(users).where(mine).values(special_consent=True, special_asked_in=None)
            )
            if asked_in is None:
                return 0
            since = select(messages.c.id).join(turns, turns.c.id == messages.c.turn_id)
            ids = await connection.scalars(
                since.where(
                    messages.c.user_id == user_id,
                    messages.c.role == "user",
                    messages.c.turn_id >= asked_in,
                    messages.c.said_at >= self._clock.now() - PENDING,
                    ~messages.c.remembered,
                    turns.c.kept,
                )
            )
            lines = (await self._transcript.of_user(connection, user_id, ids.all())).values()
            told = [line for line in lines if is_special(line.text) and is_statement(line.text)]
            for line in told:
                said = update(messages).where(messages.c.id == line.id)
                await connection.execute(said.values(remembered=True))
                await queue_change(connection, user_id, message_entry(line.id))
            await self._notes.keep(connection, user_id, told)
            await keep_back(connection, user_id)
            where = select(messages.c.conversation_id).where(messages.c.id.in_([line.id for line in told]))
            for conversation_id in (await connection.scalars(where.distinct())).all():
                await self._jobs.schedule_extraction(connection, conversation_id)
        return len(told)

    async def concerned(self, user_id: str) -> Concerned:
        """What a refusal would take away: memories, also of what was so before, and statements."""
        async with self._database.read() as connection:
            every = await self._memories.of_user(connection, user_id, retired=True)
            told = select(messages.c.id).where(messages.c.user_id == user_id, messages.c.remembered)
            ids = (await connection.scalars(told)).all()
            statements: list[str] = []
            for at in range(0, len(ids), READ):
                lines = await self._transcript.of_user(connection, user_id, ids[at : at + READ])
                statements += [line.id for line in lines.values() if is_special(line.text)]
        said = {each.id: "\n".join([each.text, *(source.quote for source in each.sources)]) for each in every}
        return Concerned(tuple(id for id, text in said.items() if is_special(text)), tuple(statements))

    async def refuse(self, user_id: str) -> int:
        """Remembers no such things any more, and forgets those that are; how many memories and messages."""
        async with self._database.write() as connection:
            await connection.execute(
                update(users)
                .where(users.c.id == user_id)
                .values(special_consent=False, special_asked_in=None)
            )
        going = await self.concerned(user_id)
        for memory_id in going.memories:
            await self._forgetting.memory(user_id, memory_id)
        # Those whose words a memory had are mended by now.
        for message_id in (await self.concerned(user_id)).messages:
            await self._forgetting.message(user_id, message_id)
        return len(going)
