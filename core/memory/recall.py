"""Recall: what a user has told that bears on what is being said now."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import nlargest

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from core.errors import IndexMismatch, IndexUnavailable, ModelError, ModelUnavailable
from core.llm.language import language_of
from core.llm.tokens import count_tokens, truncate_tokens
from core.memory.asserted import is_small_talk
from core.memory.changes import MEMORY, MESSAGE, memory_entry, message_entry
from core.memory.claims import Derivation, Memories, Memory, Source
from core.memory.cues import cue
from core.memory.dates import mentioned
from core.memory.indexing import Indexer
from core.memory.lexicon import Lexicon
from core.memory.lexicons import Lexicons
from core.memory.ranking import CANDIDATES, Candidate, rank
from core.memory.transcript import Line, Transcript
from core.privacy.audience import visible_to
from core.storage.database import Database
from core.storage.index import Neighbour

RANKED = 40
KEPT = 10
LEAST_SHARE = 0.4
"""How much of the best one's score a candidate needs: on public sets nearly all that answers has it."""

RECALLED_TOKENS = 150
"""A longer message is recalled by its beginning: whole, it would leave no room for anything else."""
OVERHEAD_TOKENS = 12

REFERRING_WORDS = 10
"""A longer message says itself what it is about."""
REFERRED_CHARS = 300

SAID = "said"
TROUBLE = (IndexUnavailable, IndexMismatch, ModelUnavailable, ModelError)
"""Why the index couldn't be asked."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Recalled:
    """One memory for a prompt. `kind` is "said" for a message itself; `score` is the ranking's.

    `source` is the newest of the messages that it rests on, whose ids are `rests_on`; `until` is when it
    ceased to be so, None for what holds; `concluded`, if the person didn't say it; `fits`: see `Candidate`;
    `signals` are what the score is made of.
    """

    id: str
    kind: str
    text: str
    score: float
    said_at: datetime
    source: Source
    rests_on: frozenset[str]
    until: datetime | None = None
    concluded: bool = False
    fits: bool = True
    signals: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What came into no prompt, and why: "in the window", "nothing fits", "said already", "far behind" or
    "no room"."""

    recalled: Recalled
    reason: str


@dataclass(frozen=True, slots=True)
class Recall:
    """What was found, best first, and what was left out; `resting` when the index couldn't be asked."""

    memories: tuple[Recalled, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    resting: bool = False


class Recaller:
    """Finds memories for a question, within its user's walls and its audience (P2)."""

    def __init__(
        self,
        database: Database,
        indexer: Indexer,
        lexicons: Lexicons,
        transcript: Transcript,
        memories: Memories,
        *,
        tokens: int,
    ) -> None:
        self._database = database
        self._indexer = indexer
        self._lexicons = lexicons
        self._transcript = transcript
        self._memories = memories
        self._tokens = tokens

    async def find(
        self,
        user_id: str,
        text: str,
        audience: str,
        *,
        known: Collection[str],
        before: str = "",
        now: datetime | None = None,
    ) -> Recall:
        """What this user said that bears on the text and may be shown to the audience.

        `known` are ids of messages that the prompt holds anyway; `before` is the user's last message, for a
        text that refers to it; `now` is when and where it is asked. Packed into the token budget.
        """
        if is_small_talk(text):
            return Recall()
        question = _with_what_it_refers_to(text, before)
        try:
            found = await self.ranked(user_id, question, audience, limit=RANKED + len(known), now=now)
        except TROUBLE as error:
            log.warning("recall_resting", reason=type(error).__name__)
            return Recall(resting=True)
        return self._packed(found, set(known))

    async def ranked(
        self, user_id: str, text: str, audience: str, *, limit: int, now: datetime | None = None
    ) -> list[Recalled]:
        """The user's best entries for the text, asked `now`, that may be shown to the audience, best first.

        Raises:
            IndexUnavailable, IndexMismatch, ModelUnavailable, ModelError: the index couldn't be asked.
        """
        shown = visible_to(audience)
        question = await self._indexer.question(text)
        during = await _spoken_of(text, now) if now else []
        lexicon = await self._lexicons.of_user(user_id)
        near = await self._indexer.near(user_id, question, limit=CANDIDATES, audience=shown, among=lexicon)
        best = rank(near, lexicon, text, audience=shown, limit=limit, during=during)
        return await self._database.look(lambda connection: self._resolved(connection, user_id, best, shown))

    async def history(self, user_id: str, about: str, audience: str) -> list[Memory | Line]:
        """What the user told about something, with what is no longer so, in the order of time.

        Without a topic all that has changed.

        Raises:
            IndexUnavailable, IndexMismatch, ModelUnavailable, ModelError: the index couldn't be asked.
        """
        shown = visible_to(audience)
        if not about:
            async with self._database.read() as connection:
                return [*await self._memories.changed(connection, user_id, audience=shown)]
        found = await self.ranked(user_id, about, audience, limit=KEPT)
        if not any(each.fits for each in found):
            return []
        found = [each for each in found if each.score >= LEAST_SHARE * found[0].score]
        said = {id for each in found for id in each.rests_on}
        async with self._database.read() as connection:
            resting = [
                memory
                for memory in await self._memories.resting_on(connection, user_id, said)
                if shown in (None, memory.audience)
            ]
            told = await self._memories.with_history(connection, user_id, resting)
            cited = {source.message_id for memory in told for source in memory.sources}
            verbatim = [each.id for each in found if each.kind == SAID and each.id not in cited]
            lines = await self._transcript.of_user(connection, user_id, verbatim)
        return sorted([*told, *lines.values()], key=_began)

    async def related(self, user_id: str, texts: Sequence[str], audience: str, *, most: int) -> list[Memory]:
        """The user's memories of just this audience that bear most on the texts.

        While the index rests, by their words alone.
        """
        async with self._database.read() as connection:
            newest = await self._memories.newest(connection, user_id, audience, limit=most + 1)
        if len(newest) <= most:
            return newest
        lexicon = await self._lexicons.of_user(user_id)
        best: dict[str, float] = {}
        for text in texts:
            near = await self._near(user_id, text, audience, lexicon)
            for found in rank(near, lexicon, text, audience=audience, limit=RANKED):
                if found.id[0] == MEMORY:
                    best[found.id[1:]] = max(best.get(found.id[1:], 0.0), found.score)
        async with self._database.read() as connection:
            ids = nlargest(most, best, key=best.__getitem__)
            return await self._memories.of_user(connection, user_id, ids=ids, audience=audience)

    async def _near(self, user_id: str, text: str, audience: str, lexicon: Lexicon) -> list[Neighbour]:
        try:
            question = await self._indexer.question(text)
            return await self._indexer.near(
                user_id, question, limit=CANDIDATES, audience=audience, among=lexicon
            )
        except TROUBLE:
            return []

    async def _resolved(
        self, connection: AsyncConnection, user_id: str, best: Sequence[Candidate], shown: str | None
    ) -> list[Recalled]:
        """The candidates that are this user's in the record too, and of the audience: another wall."""
        of = {kind: [each.id[1:] for each in best if each.id[0] == kind] for kind in (MESSAGE, MEMORY)}
        lines = await self._transcript.of_user(connection, user_id, of[MESSAGE], remembered=True)
        claims = await self._memories.of_user(connection, user_id, ids=of[MEMORY])
        over = await self._memories.over(connection, user_id, list(lines))
        found = {
            memory_entry(claim.id): claim
            for claim in claims
            if claim.is_usable and shown in (None, claim.audience)
        }
        said = {message_entry(line.id): line for line in lines.values() if shown in (None, line.audience)}
        return [
            _from_memory(found[each.id], each)
            if each.id in found
            else _from_line(said[each.id], each, over.get(each.id[1:]))
            for each in best
            if each.id in found or each.id in said
        ]

    def _packed(self, found: Sequence[Recalled], known: set[str]) -> Recall:
        packed: list[Recalled] = []
        left_out: list[LeftOut] = []
        left = self._tokens
        rest = [recalled for recalled in found if not _stands_in(recalled, known)]
        least = LEAST_SHARE * max((recalled.score for recalled in rest), default=0.0)
        abstains = not any(recalled.fits for recalled in rest)
        for recalled in found:
            cost = count_tokens(recalled.text) + OVERHEAD_TOKENS
            if _stands_in(recalled, known):
                reason = "in the window"
            elif abstains:
                reason = "nothing fits"
            elif any(_say_the_same(recalled, other) for other in packed):
                reason = "said already"
            elif recalled.score < least:
                reason = "far behind"
            elif len(packed) == KEPT or cost > left:
                reason = "no room"
            else:
                packed.append(recalled)
                left -= cost
                continue
            left_out.append(LeftOut(recalled, reason))
        return Recall(tuple(packed), tuple(left_out))


def _with_what_it_refers_to(text: str, before: str) -> str:
    """ "And her job?" asks for whom the message before it spoke of."""
    refers = len(text.split()) <= REFERRING_WORDS and cue("refers").search(text)
    return f"{before[-REFERRED_CHARS:]}\n{text}" if before and refers else text


async def _spoken_of(text: str, now: datetime) -> list[tuple[datetime, datetime]]:
    """The whiles that the text speaks of."""
    if not cue("when").search(text):
        return []
    periods = await asyncio.to_thread(mentioned, text, now, language_of(text))
    return [period.within(now) for period in periods]


def _began(told: Memory | Line) -> datetime:
    return told.valid_from if isinstance(told, Memory) else told.said_at


def _stands_in(recalled: Recalled, known: set[str]) -> bool:
    """Whether these messages say it. What was concluded stands in none of them alone."""
    return recalled.rests_on <= known if recalled.concluded else bool(recalled.rests_on & known)


def _say_the_same(one: Recalled, other: Recalled) -> bool:
    """A message and a claim that rests on it: the better placed one is enough."""
    if one.concluded or other.concluded:
        return False
    return bool(one.rests_on & other.rests_on) and (one.kind == SAID) != (other.kind == SAID)


def _from_memory(memory: Memory, candidate: Candidate) -> Recalled:
    source = memory.sources[-1]
    return Recalled(
        id=memory.id,
        kind=memory.kind,
        text=memory.text,
        score=candidate.score,
        fits=candidate.fits,
        said_at=source.said_at,
        source=source,
        rests_on=frozenset(source.message_id for source in memory.sources),
        concluded=memory.derivation is Derivation.CONCLUDED,
        signals=candidate.signals,
    )


def _from_line(line: Line, candidate: Candidate, until: datetime | None) -> Recalled:
    text = truncate_tokens(line.text, RECALLED_TOKENS)
    return Recalled(
        id=line.id,
        kind=SAID,
        text=text,
        score=candidate.score,
        fits=candidate.fits,
        said_at=line.said_at,
        source=Source(line.id, text, 0, line.said_at),
        rests_on=frozenset((line.id,)),
        until=until,
        signals=candidate.signals,
    )
