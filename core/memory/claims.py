"""Memories: claims about a person, each resting on what that person wrote (P3)."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from math import prod

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    String,
    and_,
    bindparam,
    case,
    delete,
    false,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.memory.changes import memory_entry, queue_change, take_back
from core.memory.marks import inherit, keep_muted
from core.memory.openings import is_open_to
from core.memory.transcript import TEXT as MESSAGE_TEXT
from core.memory.transcript import Line, there
from core.privacy.keys import MasterKey
from core.privacy.vault import Box, Vault
from core.storage.database import new_id
from core.storage.schema import declined, keys, memories, messages, sources
from core.storage.upsert import conflicting_insert

TEXT = "memories.text"
SUBJECT = "memories.subject"


class Kind(StrEnum):
    """What a memory is about."""

    IDENTITY = "identity"
    PREFERENCE = "preference"
    RELATIONSHIP = "relationship"
    EVENT = "event"
    GOAL = "goal"
    ROUTINE = "routine"
    INSTRUCTION = "instruction"
    FACT = "fact"
    NOTE = "note"
    """What they asked to be remembered, in their own words."""


WEIGHTS = {
    Kind.INSTRUCTION: 1.0,
    Kind.IDENTITY: 1.0,
    Kind.RELATIONSHIP: 0.8,
    Kind.PREFERENCE: 0.8,
    Kind.GOAL: 0.6,
    Kind.ROUTINE: 0.6,
    Kind.NOTE: 0.6,
    Kind.FACT: 0.5,
    Kind.EVENT: 0.3,
}
"""A new memory's salience: what is so of somebody at any time, before what happened to them once."""


class Derivation(StrEnum):
    """How a consolidation made a memory out of others."""

    MERGED = "merged"
    """Several said the same."""
    CONCLUDED = "concluded"
    """They show it together; the person didn't say it."""


class Change(StrEnum):
    """What a claim does to a memory that is known."""

    NONE = "new"
    CONFIRMS = "same"
    REPLACES = "replaces"


NOTE_MARGIN = 40
"""A claim that cites so many characters less or more than a note of the same message says what that says."""
BELIEVED = 0.5
"""A memory of less confidence waits until it is said again: it is listed, but not recalled."""


def confidence(certainties: Iterable[float]) -> float:
    """The chance that one of the sources is right, each being right or wrong by itself (noisy or)."""
    return 1 - prod(1 - certainty for certainty in certainties)


# Here and below an owner is compared as an expression: by the bare column, SQLite would go through all that
# is theirs instead of looking up a few.
_OVER = (
    select(sources.c.message_id, func.max(memories.c.valid_until))
    .join(memories)
    .where(
        memories.c.user_id + "" == bindparam("user", type_=String),
        sources.c.message_id.in_(bindparam("ids", expanding=True)),
    )
    .group_by(sources.c.message_id)
    .having(func.count() == func.count(memories.c.retired_at))
)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a memory comes from: a message of the user's and the characters of it that say so.

    `certainty`: how surely they do, from 0 to 1.
    """

    message_id: str
    quote: str
    start: int
    said_at: datetime
    certainty: float = 1.0


@dataclass(frozen=True, slots=True)
class Memory:
    """One claim, in its user's words or near them, with its sources, oldest first.

    `subject`: whom it is about, None for the user. It held from `valid_from` until `valid_until`, as far as
    is known. Once it is `retired_at`, `replaced_by` may name the memory that came in its place. `derivation`:
    how it came from other memories, None for what the person said; one that `is_merged_away` stands in such.
    `uses`: how often it was recalled. A correction is what the person put in another's place themselves; what
    is pinned is in every prompt, what is muted in none.
    """

    id: str
    kind: Kind
    text: str
    subject: str | None
    audience: str
    recorded_at: datetime
    valid_from: datetime
    valid_until: datetime | None
    retired_at: datetime | None
    replaced_by: str | None
    sources: tuple[Source, ...]
    derivation: Derivation | None = None
    is_merged_away: bool = False
    salience: float = 0.0
    uses: int = 0
    used_at: datetime | None = None
    is_correction: bool = False
    is_pinned: bool = False
    is_muted: bool = False

    @property
    def confidence(self) -> float:
        """How likely it is, by its sources."""
        return confidence(source.certainty for source in self.sources)

    @property
    def is_believed(self) -> bool:
        """Whether it is sure enough to be recalled; who pins it is sure."""
        return self.is_pinned or self.confidence >= BELIEVED

    @property
    def is_usable(self) -> bool:
        """Whether it may stand in a prompt."""
        return self.is_believed and not self.is_muted


@dataclass(frozen=True, slots=True)
class Claim:
    """What a model read out of a message, checked by the write gate.

    `known` are the ids of the memories that it confirms or replaces, as `change` says.
    """

    kind: Kind
    text: str
    subject: str | None
    line: Line
    start: int
    end: int
    certainty: float
    valid_from: datetime
    valid_until: datetime | None = None
    change: Change = Change.NONE
    known: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """A memory that a consolidation makes out of others, on the sources of these."""

    derivation: Derivation
    kind: Kind
    text: str
    subject: str | None
    audience: str
    valid_from: datetime
    valid_until: datetime | None
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class CardRow:
    """A memory as it stands on the card."""

    id: str
    text: str
    is_pinned: bool = False


class Memories:
    """Reads and writes one user's memories within the caller's transaction."""

    def __init__(self, vault: Vault, master: MasterKey, clock: Clock) -> None:
        self._vault = vault
        self._master = master
        self._clock = clock

    async def correct(self, connection: AsyncConnection, user_id: str, old: Memory, claim: Claim) -> str:
        """Puts what the person says of it now in a memory's place, and believes it. Returns its id."""
        memory_id = await connection.scalar(self._saying(user_id, claim))
        await self._retire(connection, user_id, old.id, claim.line.said_at, replaced_by=None)
        if memory_id is None or memory_id == old.id:
            memory_id = await self._insert(connection, user_id, claim, claim.line.audience)
        mine = update(memories).where(memories.c.id == memory_id)
        await connection.execute(mine.values(is_correction=True, derivation=None, made_in=None))
        replaced = update(memories).where(memories.c.id == old.id)
        await connection.execute(replaced.values(replaced_by=memory_id))
        await inherit(connection, memory_id)
        await self.cite(connection, memory_id, claim)
        await queue_change(connection, user_id, memory_entry(memory_id))
        return memory_id

    async def corrected(
        self, connection: AsyncConnection, user_id: str, *, by: str | None = None
    ) -> list[Memory]:
        """What the person corrected, as it was; if asked, only what led to one memory, step by step."""
        after = memories.alias()
        ids = (
            select(memories.c.id)
            .join(after, after.c.id == memories.c.replaced_by)
            .where(memories.c.user_id == user_id, after.c.is_correction)
        )
        if by is None:
            found = list(await connection.scalars(ids))
        else:
            found, later = [], [by]
            while later:
                before = ids.where(memories.c.replaced_by.in_(later), memories.c.id.not_in(found))
                later = list(await connection.scalars(before))
                found += later
        return await self.of_user(connection, user_id, ids=found, retired=True)

    async def learn(self, connection: AsyncConnection, user_id: str, claim: Claim) -> str:
        """Stores the claim; or its source alone, where it says what is known. What it replaces is retired.

        Of the two the later one holds: conversations aren't read in the order in which they were held.
        Returns the memory's id.
        """
        if claim.change is Change.NONE and (noted := await self._noted(connection, user_id, claim)):
            return noted
        known = await self._known(connection, user_id, claim)
        same = known[0].id if known and claim.change is Change.CONFIRMS else None
        memory_id: str | None = same or await connection.scalar(self._saying(user_id, claim))
        is_new = memory_id is None
        if memory_id is None:
            memory_id = await self._insert(connection, user_id, claim, claim.line.audience)
            later = [each for each in known if _came_later(each, claim)]
            for each in known:
                if each not in later:
                    await self._retire(connection, user_id, each.id, claim.valid_from, replaced_by=memory_id)
            if later:
                next_one = later[0]
                await self._retire(
                    connection, user_id, memory_id, next_one.valid_from, replaced_by=next_one.id
                )
            elif known:
                await inherit(connection, memory_id)
        if await self.cite(connection, memory_id, claim) and not is_new:
            # If a consolidation made it: now the person has said so themselves.
            own = update(memories).where(memories.c.id == memory_id)
            await connection.execute(own.values(derivation=None, made_in=None))
        words = claim.line.id, claim.start, claim.end
        await keep_muted(connection, user_id, memory_id, words, self._clock.now())
        # One more source may make it believed.
        await queue_change(connection, user_id, memory_entry(memory_id))
        return memory_id

    async def drop(self, connection: AsyncConnection, user_id: str, memory_id: str) -> None:
        """Deletes a memory; what it had come in the place of holds again, if nothing came after it."""
        mine = (memories.c.id == memory_id) & (memories.c.user_id == user_id)
        row = (await connection.execute(select(memories).where(mine))).one_or_none()
        if row is None:
            return
        before = (memories.c.user_id == user_id) & (memories.c.replaced_by == memory_id)
        if row.retired_at is not None:
            await connection.execute(update(memories).where(before).values(replaced_by=row.replaced_by))
        else:
            # It may say what one of these said, and no two that do may hold at once.
            await connection.execute(update(memories).where(mine).values(retired_at=self._clock.now()))
            await self.hold_again(connection, user_id, before)
        await connection.execute(delete(memories).where(mine))
        await queue_change(connection, user_id, memory_entry(memory_id))

    async def hold_again(self, connection: AsyncConnection, user_id: str, which: ColumnElement[bool]) -> None:
        """Lets retired memories hold again, but for what another that holds says too."""
        mine = memories.c.user_id == user_id
        retired = select(memories).where(mine, which, memories.c.retired_at.is_not(None))
        rows = (await connection.execute(retired.order_by(memories.c.id.desc()))).all()
        if not rows:
            return
        said = select(memories.c.audience, memories.c.claim_digest).where(_holds(user_id))
        known = {tuple(row) for row in await connection.execute(said)}
        for row in rows:
            if (row.audience, row.claim_digest) in known:
                continue
            known.add((row.audience, row.claim_digest))
            back = update(memories).where(memories.c.id == row.id)
            # What a consolidation retired hadn't ceased to be so just then.
            until = case((memories.c.retired_in.is_(None), None), else_=memories.c.valid_until)
            await connection.execute(
                back.values(retired_at=None, valid_until=until, replaced_by=None, retired_in=None)
            )
            await queue_change(connection, user_id, memory_entry(row.id))

    async def decline(self, connection: AsyncConnection, user_id: str, digests: Iterable[str]) -> None:
        """Notes what no consolidation may do again: make this, or retire it."""
        for digest in digests:
            await connection.execute(
                conflicting_insert(connection, declined)
                .values(user_id=user_id, claim_digest=digest)
                .on_conflict_do_nothing()
            )

    async def last_note(self, connection: AsyncConnection, user_id: str, conversation_id: str) -> str | None:
        """The id of the newest note that the user asked for in the conversation."""
        found: str | None = await connection.scalar(
            select(memories.c.id)
            .join(sources, sources.c.memory_id == memories.c.id)
            .join(messages, messages.c.id == sources.c.message_id)
            .where(
                memories.c.user_id == user_id,
                memories.c.kind == Kind.NOTE,
                memories.c.retired_at.is_(None),
                messages.c.conversation_id == conversation_id,
            )
            .order_by(memories.c.id.desc())
            .limit(1)
        )
        return found

    async def _noted(self, connection: AsyncConnection, user_id: str, claim: Claim) -> str | None:
        """The note that was made of most of the claim's words already."""
        found: str | None = await connection.scalar(
            select(memories.c.id)
            .join(sources, sources.c.memory_id == memories.c.id)
            .where(
                memories.c.user_id == user_id,
                memories.c.kind == Kind.NOTE,
                sources.c.message_id == claim.line.id,
                sources.c.span_start >= claim.start - NOTE_MARGIN,
                sources.c.span_end <= claim.end + NOTE_MARGIN,
            )
        )
        return found

    async def _known(
        self, connection: AsyncConnection, user_id: str, claim: Claim
    ) -> Sequence[Row[str, datetime, datetime, bool]]:
        """The memories that the claim speaks of and that still hold, in the order since when they do."""
        if not claim.known:
            return []
        wanted = select(
            memories.c.id, memories.c.valid_from, memories.c.recorded_at, memories.c.is_correction
        ).where(memories.c.id.in_(claim.known), _holds(user_id, claim.line.audience))
        return (await connection.execute(wanted.order_by(memories.c.valid_from, memories.c.id))).all()

    def _saying(self, user_id: str, claim: Claim) -> Select[str]:
        """The memory that holds and says just the same."""
        return select(memories.c.id).where(
            memories.c.claim_digest == self.digest(user_id, claim.text), _holds(user_id, claim.line.audience)
        )

    async def derive(self, connection: AsyncConnection, user_id: str, draft: Draft, made_in: int) -> str:
        """Stores what a consolidation made, on the sources of what it was made of. Returns its id."""
        memory_id = await self._insert(
            connection, user_id, draft, draft.audience, derivation=draft.derivation, made_in=made_in
        )
        await connection.execute(
            insert(sources),
            [
                {
                    "memory_id": memory_id,
                    "message_id": source.message_id,
                    "span_start": source.start,
                    "span_end": source.start + len(source.quote),
                    "certainty": source.certainty,
                }
                for source in draft.sources
            ],
        )
        await queue_change(connection, user_id, memory_entry(memory_id))
        return memory_id

    async def _insert(
        self, connection: AsyncConnection, user_id: str, said: Claim | Draft, audience: str, **made: object
    ) -> str:
        box = await self._vault.box(connection, user_id)
        memory_id = new_id()
        await connection.execute(
            insert(memories).values(
                id=memory_id,
                user_id=user_id,
                audience=audience,
                kind=said.kind,
                text_sealed=box.seal(said.text, TEXT),
                subject_sealed=box.seal(said.subject, SUBJECT) if said.subject else None,
                claim_digest=self.digest(user_id, said.text),
                valid_from=said.valid_from,
                valid_until=said.valid_until,
                recorded_at=self._clock.now(),
                salience=WEIGHTS[said.kind],
                **made,
            )
        )
        return memory_id

    def digest(self, user_id: str, text: str) -> str:
        """What tells two memories of a user apart that don't say just the same."""
        return self._master.digest("claim", user_id, " ".join(text.casefold().split()).rstrip(".!"))

    async def _retire(
        self,
        connection: AsyncConnection,
        user_id: str,
        memory_id: str,
        until: datetime,
        *,
        replaced_by: str | None,
    ) -> None:
        await take_back(connection, user_id)
        await connection.execute(
            update(memories)
            .where(memories.c.id == memory_id)
            .values(retired_at=self._clock.now(), valid_until=until, replaced_by=replaced_by)
        )
        await queue_change(connection, user_id, memory_entry(memory_id))

    async def cite(self, connection: AsyncConnection, memory_id: str, claim: Claim) -> bool:
        """Whether the claim's message wasn't among the memory's sources yet."""
        cited = await connection.scalar(
            select(sources.c.memory_id).where(
                sources.c.memory_id == memory_id,
                sources.c.message_id == claim.line.id,
            )
        )
        if cited is None:
            await connection.execute(
                insert(sources).values(
                    memory_id=memory_id,
                    message_id=claim.line.id,
                    span_start=claim.start,
                    span_end=claim.end,
                    certainty=claim.certainty,
                )
            )
        return cited is None

    async def of_user(
        self,
        connection: AsyncConnection,
        user_id: str,
        *,
        ids: Collection[str] | None = None,
        audience: str | None = None,
        retired: bool = False,
    ) -> list[Memory]:
        """The user's memories that hold now, oldest first: all, or of some ids, or of one audience.

        Each has a source: without one nothing counts as remembered. If asked, with those that were `retired`.
        """
        if ids is not None and not ids:
            return []
        wanted = (
            select(memories, keys.c.wrapped)
            .outerjoin(keys, keys.c.owner == memories.c.user_id)
            .where(memories.c.user_id == user_id)
        )
        if not retired:
            wanted = wanted.where(memories.c.retired_at.is_(None))
        if ids is not None:
            wanted = wanted.where(memories.c.id.in_(ids))
        if audience is not None:
            wanted = wanted.where(memories.c.audience == audience)
        rows = (await connection.execute(wanted.order_by(memories.c.id))).all()
        if not rows:
            return []
        box = self._vault.box_of(user_id, rows[0].wrapped)
        cited = await self._sources(connection, user_id, box, [row.id for row in rows])
        return [
            Memory(
                id=row.id,
                kind=Kind(row.kind),
                text=box.open(row.text_sealed, TEXT),
                subject=box.open(row.subject_sealed, SUBJECT) if row.subject_sealed else None,
                audience=row.audience,
                recorded_at=row.recorded_at,
                valid_from=row.valid_from,
                valid_until=row.valid_until,
                retired_at=row.retired_at,
                replaced_by=row.replaced_by,
                sources=tuple(cited[row.id]),
                derivation=Derivation(row.derivation) if row.derivation else None,
                is_merged_away=row.retired_in is not None and row.replaced_by is not None,
                salience=row.salience,
                uses=row.uses,
                used_at=row.used_at,
                is_correction=row.is_correction,
                is_pinned=row.pinned_at is not None,
                is_muted=row.muted_at is not None,
            )
            for row in rows
            if row.id in cited
        ]

    async def newest(
        self, connection: AsyncConnection, user_id: str, audience: str, *, limit: int
    ) -> list[Memory]:
        """The newest of the user's memories of the audience that hold now and may be used, oldest first."""
        ids = select(memories.c.id).where(_is_usable(user_id, audience)).order_by(memories.c.id.desc())
        found = await connection.scalars(ids.limit(limit))
        return await self.of_user(connection, user_id, ids=found.all())

    async def card(
        self, connection: AsyncConnection, user_id: str, *, audience: str | None, limit: int
    ) -> list[CardRow]:
        """The user's memories that matter most, of one audience or of all; the pinned come first.

        With those of one audience come, as if pinned, those that are open to it.
        """
        is_open = false() if audience is None else is_open_to(audience)
        is_theirs = true() if audience is None else (memories.c.audience == audience) | is_open
        is_pinned = or_(memories.c.pinned_at.is_not(None), is_open).label("is_pinned")
        # Twice as many as are wanted, since some may not be believed yet.
        best = select(memories.c.id, memories.c.text_sealed, memories.c.salience, is_pinned)
        order = (is_pinned.desc(), memories.c.salience.desc(), memories.c.id.desc())
        best_of = best.where(_is_usable(user_id), is_theirs).order_by(*order).limit(2 * limit).subquery()
        cited = (
            select(best_of, sources.c.certainty, keys.c.wrapped)
            .join(sources, sources.c.memory_id == best_of.c.id)
            .outerjoin(keys, keys.c.owner == user_id)
            .order_by(best_of.c.is_pinned.desc(), best_of.c.salience.desc(), best_of.c.id.desc())
        )
        rows = (await connection.execute(cited)).all()
        if not rows:
            return []
        box = self._vault.box_of(user_id, rows[0].wrapped)
        return [
            CardRow(id, box.open(text_sealed, TEXT), is_pinned=bool(pinned))
            for (id, text_sealed, pinned), found in groupby(
                rows, key=lambda row: (row.id, row.text_sealed, row.is_pinned)
            )
            if pinned or confidence(row.certainty for row in found) >= BELIEVED
        ][:limit]

    async def note_use(self, connection: AsyncConnection, user_id: str, message_ids: Collection[str]) -> None:
        """Counts that what the messages say was recalled for a reply, as it stands there or as a memory."""
        if message_ids:
            said = select(sources.c.memory_id).where(sources.c.message_id.in_(message_ids))
            used = update(memories).where(memories.c.user_id == user_id, memories.c.id.in_(said))
            await connection.execute(used.values(uses=memories.c.uses + 1, used_at=self._clock.now()))

    async def replaced_by(
        self, connection: AsyncConnection, user_id: str, memory_ids: Collection[str]
    ) -> list[Memory]:
        """What the memories came in the place of, and what those had, oldest first."""
        return _by_time(await self.before(connection, user_id, memory_ids))

    async def before(
        self, connection: AsyncConnection, user_id: str, memory_ids: Collection[str]
    ) -> list[Memory]:
        """As `replaced_by`, with what only became part of another memory."""
        found: list[str] = []
        after = memory_ids
        while after:
            before = select(memories.c.id).where(
                memories.c.user_id == user_id, memories.c.replaced_by.in_(after), memories.c.id.not_in(found)
            )
            after = (await connection.scalars(before)).all()
            found += after
        return await self.of_user(connection, user_id, ids=found, retired=True)

    async def with_history(
        self, connection: AsyncConnection, user_id: str, found: Collection[Memory]
    ) -> list[Memory]:
        """The memories, what they replaced and what replaced them, in the order in which they held."""
        known = {memory.id: memory for memory in found}
        while ids := {m.replaced_by for m in known.values() if m.replaced_by} - known.keys():
            later = await self.of_user(connection, user_id, ids=ids, retired=True)
            if not later:
                break
            known |= {memory.id: memory for memory in later}
        known |= {m.id: m for m in await self.replaced_by(connection, user_id, list(known))}
        return _by_time(known.values())

    async def changed(
        self, connection: AsyncConnection, user_id: str, *, audience: str | None
    ) -> list[Memory]:
        """Memories that were replaced, and what by, in the order in which they held."""
        every = await self.of_user(connection, user_id, audience=audience, retired=True)
        parts = {memory.id: memory.replaced_by for memory in every if memory.is_merged_away}
        replacements = {memory.replaced_by for memory in every if not memory.is_merged_away}
        while came_in := replacements & parts.keys():
            replacements = replacements - came_in | {parts[id] for id in came_in if id}
        return _by_time(m for m in every if m.replaced_by or m.id in replacements)

    async def over(
        self, connection: AsyncConnection, user_id: str, message_ids: Collection[str]
    ) -> dict[str, datetime]:
        """Since when messages hold no more, by id: those of which every memory was retired."""
        given = {"user": user_id, "ids": list(message_ids)}
        return {id: until for id, until in (await connection.execute(_OVER, given)).all() if until}

    async def resting_on(
        self, connection: AsyncConnection, user_id: str, message_ids: Collection[str]
    ) -> list[Memory]:
        """The user's memories, retired ones too, that rest on one of the messages."""
        cited = select(sources.c.memory_id).where(sources.c.message_id.in_(message_ids)).distinct()
        ids = (await connection.scalars(cited)).all()
        return await self.of_user(connection, user_id, ids=ids, retired=True)

    async def _sources(
        self, connection: AsyncConnection, user_id: str, box: Box, memory_ids: Collection[str]
    ) -> dict[str, list[Source]]:
        rows = await connection.execute(
            select(sources, messages.c.text_sealed, messages.c.said_at, messages.c.utc_offset)
            .join(messages)
            .where(sources.c.memory_id.in_(memory_ids), messages.c.user_id + "" == user_id)
            .order_by(messages.c.said_at)
        )
        found: dict[str, list[Source]] = {}
        for row in rows.all():
            quote = box.open(row.text_sealed, MESSAGE_TEXT)[row.span_start : row.span_end]
            said_at = there(row.said_at, row.utc_offset)
            source = Source(row.message_id, quote, row.span_start, said_at, row.certainty)
            found.setdefault(row.memory_id, []).append(source)
        return found


def _holds(user_id: str, audience: str | None = None) -> ColumnElement[bool]:
    """Which of the user's memories hold now; if asked, of just this audience."""
    mine = and_(memories.c.user_id == user_id, memories.c.retired_at.is_(None))
    return mine if audience is None else mine & (memories.c.audience == audience)


def _is_usable(user_id: str, audience: str | None = None) -> ColumnElement[bool]:
    """Which of the user's memories hold now and may stand in a prompt."""
    return _holds(user_id, audience) & memories.c.muted_at.is_(None)


def _came_later(known: Row[str, datetime, datetime, bool], claim: Claim) -> bool:
    """Whether the memory holds since after the claim does, or the person put it so after they said that."""
    corrected = known.is_correction and known.recorded_at > claim.line.said_at
    return bool(known.valid_from > claim.valid_from or corrected)


def _by_time(found: Iterable[Memory]) -> list[Memory]:
    """A history: in the order in which they held, without what only became part of another memory."""
    held = [memory for memory in found if not memory.is_merged_away]
    return sorted(held, key=lambda memory: (memory.valid_from, memory.id))
