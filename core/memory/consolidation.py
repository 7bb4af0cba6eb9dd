"""Consolidation: memories are looked through while their user rests, as people's are in their sleep.

What says the same becomes one memory, what several show together is concluded, what has expired or lost its
ground is retired, and salience is renewed. Nothing is lost by it: each memory that goes is a retired row, and
the newest consolidation can be undone.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, bindparam, delete, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.llm.model import LanguageModel
from core.memory.changes import hold_memory, memory_entry, queue_change, take_back
from core.memory.claims import Derivation, Draft, Kind, Memories, Memory
from core.memory.recall import Recaller
from core.memory.reflection import reflect
from core.memory.salience import salience
from core.storage.database import Database
from core.storage.schema import consolidations, declined, memories

NEW = 24
RELATED = 16
"""So many new memories, and so many older ones that bear on them, are shown to the model at once."""
MODEL_CALLS = 3
"""One for each audience with something new; who talks in many groups gets to the rest the next time."""
FEWEST_GROUNDS = 2
"""A conclusion with fewer memories left to rest on is retired."""


class Deed(StrEnum):
    """What a consolidation does."""

    MERGE = "merge"
    CONCLUDE = "conclude"
    EXPIRE = "expire"
    UNGROUND = "unground"


@dataclass(frozen=True, slots=True)
class Step:
    """One change: a memory is made out of the `group`, or the group retired, or, to merge it, both."""

    deed: Deed
    group: tuple[Memory, ...]
    draft: Draft | None = None

    @property
    def retires(self) -> tuple[Memory, ...]:
        return () if self.deed is Deed.CONCLUDE else self.group


class Consolidation:
    """Plans changes, makes them, and takes them back."""

    def __init__(
        self, database: Database, memories: Memories, recaller: Recaller, model: LanguageModel, clock: Clock
    ) -> None:
        self._database = database
        self._memories = memories
        self._recaller = recaller
        self._model = model
        self._clock = clock

    async def plan(self, user_id: str) -> list[Step]:
        """What there is to be done for a user; nothing is written.

        Raises:
            MalformedOutput, BudgetExhausted, ModelUnavailable, ModelRefused, StreamCut: as the model says.
        """
        async with self._database.read() as connection:
            held = await self._memories.of_user(connection, user_id)
            since = await connection.scalar(
                select(consolidations.c.made_at)
                .where(consolidations.c.user_id == user_id)
                .order_by(consolidations.c.id.desc())
                .limit(1)
            )
            no = set(
                await connection.scalars(select(declined.c.claim_digest).where(declined.c.user_id == user_id))
            )
        now = self._clock.now()
        going = [(Deed.EXPIRE, memory) for memory in held if _is_over(memory, now)]
        going += [(Deed.UNGROUND, memory) for memory in _ungrounded(held)]
        steps = [Step(deed, (memory,)) for deed, memory in going if not memory.is_pinned]
        steps += await self._reflected(user_id, held, since)
        known = {(memory.audience, self._memories.digest(user_id, memory.text)) for memory in held}
        wanted: list[Step] = []
        retired: set[str] = set()
        for step in steps:
            text = step.draft.text if step.draft else step.group[0].text
            digest = self._memories.digest(user_id, text)
            is_new = step.deed is not Deed.CONCLUDE or (step.group[0].audience, digest) not in known
            # Nothing goes twice, and nothing is built on what goes.
            if is_new and digest not in no and not retired & {memory.id for memory in step.group}:
                wanted.append(step)
                retired |= {memory.id for memory in step.retires}
        return wanted

    async def _reflected(self, user_id: str, held: Sequence[Memory], since: datetime | None) -> list[Step]:
        """What the model finds among what is new since then, and what bears on it."""
        steps: list[Step] = []
        usable = [memory for memory in held if not memory.is_muted]
        new = [memory for memory in usable if memory.derivation is None and _is_since(memory, since)]
        audiences = list(dict.fromkeys(memory.audience for memory in new))
        for audience in audiences[:MODEL_CALLS]:
            fresh = [memory for memory in new if memory.audience == audience][-NEW:]
            texts = [memory.text for memory in fresh]
            related = await self._recaller.related(user_id, texts, audience, most=NEW + RELATED)
            shown = {memory.id: memory for memory in [*fresh, *related]}
            looked_at = sorted(shown.values(), key=lambda memory: memory.id)
            if len(looked_at) < 2:
                continue
            for found in await reflect(self._model, looked_at, user_id):
                deed = Deed.MERGE if found.draft.derivation is Derivation.MERGED else Deed.CONCLUDE
                steps.append(Step(deed, found.group, found.draft))
        return steps

    async def carry_out(self, connection: AsyncConnection, user_id: str, steps: Sequence[Step]) -> list[Step]:
        """Makes the changes, and renews every memory's salience; returns those steps that were still right.

        A step is left out if something that it looked at has changed since, was forgotten above all.
        """
        await (take_back if steps else hold_memory)(connection, user_id)
        now = self._clock.now()
        made = await connection.execute(
            insert(consolidations).values(user_id=user_id, made_at=now).returning(consolidations.c.id)
        )
        number: int = made.scalar_one()
        done = []
        for step in steps:
            ids = [memory.id for memory in step.group]
            standing = await self._memories.of_user(connection, user_id, ids=ids)
            if {_essence(memory) for memory in standing} != {_essence(memory) for memory in step.group}:
                continue
            await self._retire(connection, user_id, step.retires, number)
            if step.draft is not None:
                memory_id = await self._memories.derive(connection, user_id, step.draft, number)
                gone = update(memories).where(memories.c.id.in_([memory.id for memory in step.retires]))
                await connection.execute(gone.values(replaced_by=memory_id))
            done.append(step)
        # Of those that did nothing, the newest says since when there is something new.
        idle = (consolidations.c.user_id == user_id, consolidations.c.id != number, ~_did_something())
        await connection.execute(delete(consolidations).where(*idle))
        await self._renew_salience(connection, user_id, now)
        return done

    async def _retire(
        self, connection: AsyncConnection, user_id: str, group: Collection[Memory], number: int
    ) -> None:
        ids = [memory.id for memory in group]
        gone = update(memories).where(memories.c.id.in_(ids))
        await connection.execute(gone.values(retired_at=self._clock.now(), retired_in=number))
        for memory_id in ids:
            await queue_change(connection, user_id, memory_entry(memory_id))

    async def _renew_salience(self, connection: AsyncConnection, user_id: str, now: datetime) -> None:
        held = await self._memories.of_user(connection, user_id)
        if held:
            renewed = update(memories).where(memories.c.id == bindparam("memory"))
            values = [{"memory": memory.id, "renewed": salience(memory, now)} for memory in held]
            await connection.execute(renewed.values(salience=bindparam("renewed")), values)

    async def undo(self, user_id: str) -> int | None:
        """Takes back what the newest consolidation did, as far as that still stands, for good.

        Returns how many changes that were, None if there is no consolidation that isn't undone.
        """
        async with self._database.write() as connection:
            await take_back(connection, user_id)
            newest = await connection.scalar(
                select(func.max(consolidations.c.id)).where(
                    consolidations.c.user_id == user_id,
                    consolidations.c.undone_at.is_(None),
                    _did_something(),
                )
            )
            if newest is None:
                return None
            mine = update(consolidations).where(consolidations.c.id == newest)
            await connection.execute(mine.values(undone_at=self._clock.now()))
            held = memories.c.retired_at.is_(None)
            made = (
                await connection.execute(
                    select(memories.c.id, memories.c.claim_digest).where(memories.c.made_in == newest, held)
                )
            ).all()
            # What was expired, or replaced by one of these.
            theirs = memories.c.replaced_by.is_(None) | memories.c.replaced_by.in_([row.id for row in made])
            gone = (
                await connection.execute(
                    select(memories.c.id, memories.c.claim_digest).where(
                        memories.c.retired_in == newest, theirs
                    )
                )
            ).all()
            await self._memories.decline(connection, user_id, {row.claim_digest for row in [*made, *gone]})
            for row in made:
                await self._memories.drop(connection, user_id, row.id)
            await self._memories.hold_again(connection, user_id, memories.c.id.in_([row.id for row in gone]))
        return len(made) + len(gone)


def _is_over(memory: Memory, now: datetime) -> bool:
    """Whether it held until a day that has passed. What happened once stays so."""
    return memory.kind is not Kind.EVENT and memory.valid_until is not None and memory.valid_until < now


def _is_since(memory: Memory, since: datetime | None) -> bool:
    return since is None or memory.recorded_at > since


def _ungrounded(held: Sequence[Memory]) -> Iterable[Memory]:
    """Conclusions that too few memories bear out by now."""
    told = [
        memory for memory in held if memory.derivation is not Derivation.CONCLUDED and not memory.is_muted
    ]
    for memory in held:
        if memory.derivation is Derivation.CONCLUDED:
            grounds = [each for each in told if _places(each) & _places(memory)]
            if len(grounds) < FEWEST_GROUNDS:
                yield memory


def _places(memory: Memory) -> set[tuple[str, int]]:
    return {(source.message_id, source.start) for source in memory.sources}


def _essence(memory: Memory) -> tuple[object, ...]:
    """What a step relied on."""
    marks = memory.is_pinned, memory.is_muted
    return memory.id, memory.text, memory.valid_until, memory.sources, marks


def _did_something() -> ColumnElement[bool]:
    cited = or_(memories.c.made_in == consolidations.c.id, memories.c.retired_in == consolidations.c.id)
    return exists().where(cited)
