"""Recall: what a user has told that bears on what is being said now."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import structlog

from core.errors import IndexMismatch, IndexUnavailable, ModelError, ModelUnavailable
from core.llm.tokens import count_tokens, truncate_tokens
from core.memory.changes import MEMORY, MESSAGE
from core.memory.claims import Memories, Memory, Source
from core.memory.indexing import Indexer
from core.memory.transcript import Line, Transcript
from core.privacy.audience import visible_to
from core.storage.database import Database
from core.storage.index import Neighbour

CANDIDATES = 24
KEPT = 8
SCORE_WIDTH = 0.08
"""How far below the best one a candidate may score. The embedder's cosines lie close together (0.7 to 0.95),
so a fixed floor would mean nothing."""

RECALLED_TOKENS = 150
"""A longer message is recalled by its beginning: whole, it would leave no room for anything else."""
OVERHEAD_TOKENS = 12

SAID = "said"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Recalled:
    """One memory for a prompt. `kind` is "said" for a message itself; `score` is a cosine, -1 to 1.

    `source` is the newest of the messages that it rests on, whose ids are `rests_on`.
    """

    id: str
    kind: str
    text: str
    score: float
    said_at: datetime
    source: Source
    rests_on: frozenset[str]


@dataclass(frozen=True, slots=True)
class Recall:
    """What was found, best first; `resting` when the index couldn't be asked."""

    memories: tuple[Recalled, ...] = ()
    resting: bool = False


class Recaller:
    """Finds memories for a question, within its user's walls and its audience (P2)."""

    def __init__(
        self, database: Database, indexer: Indexer, transcript: Transcript, memories: Memories, *, tokens: int
    ) -> None:
        self._database = database
        self._indexer = indexer
        self._transcript = transcript
        self._memories = memories
        self._tokens = tokens

    async def find(self, user_id: str, text: str, audience: str, *, known: Collection[str]) -> Recall:
        """What this user said that bears on the text and may be shown to the audience.

        `known` are ids of messages that the prompt holds anyway. Packed into the token budget.
        """
        if not text:
            return Recall()
        shown = visible_to(audience)
        try:
            near = await self._indexer.near(user_id, text, limit=CANDIDATES, audience=shown)
        except (IndexUnavailable, IndexMismatch, ModelUnavailable, ModelError) as error:
            log.warning("recall_resting", reason=type(error).__name__)
            return Recall(resting=True)
        found = await self._resolve(user_id, near, shown)
        return Recall(tuple(self._pack(found, set(known))))

    async def _resolve(self, user_id: str, near: list[Neighbour], shown: str | None) -> list[Recalled]:
        """The entries that are this user's in the record too, and of the audience: a second wall."""
        scores = {neighbour.id: neighbour.similarity for neighbour in near}
        async with self._database.read() as connection:
            lines = await self._transcript.of_user(
                connection, user_id, [id[1:] for id in scores if id[0] == MESSAGE]
            )
            claims = await self._memories.of_user(
                connection, user_id, ids=[id[1:] for id in scores if id[0] == MEMORY]
            )
        found = [_from_memory(claim, scores[MEMORY + claim.id]) for claim in claims]
        found += [_from_line(line, scores[MESSAGE + line.id]) for line in lines.values()]
        allowed = {line.id for line in lines.values() if shown in (None, line.audience)}
        allowed |= {claim.id for claim in claims if shown in (None, claim.audience)}
        return sorted((r for r in found if r.id in allowed), key=lambda r: r.score, reverse=True)

    def _pack(self, found: list[Recalled], known: set[str]) -> list[Recalled]:
        new = [recalled for recalled in found if not recalled.rests_on & known]
        packed: list[Recalled] = []
        left = self._tokens
        for recalled in new:
            # A message and a claim that rests on it say the same: the better placed one is enough.
            if any(
                r.rests_on & recalled.rests_on and (r.kind == SAID) != (recalled.kind == SAID) for r in packed
            ):
                continue
            cost = count_tokens(recalled.text) + OVERHEAD_TOKENS
            if recalled.score < new[0].score - SCORE_WIDTH or len(packed) == KEPT or cost > left:
                continue
            packed.append(recalled)
            left -= cost
        return packed


def _from_memory(memory: Memory, score: float) -> Recalled:
    source = memory.sources[-1]
    rests_on = frozenset(source.message_id for source in memory.sources)
    return Recalled(memory.id, memory.kind, memory.text, score, source.said_at, source, rests_on)


def _from_line(line: Line, score: float) -> Recalled:
    text = truncate_tokens(line.text, RECALLED_TOKENS)
    source = Source(line.id, text, 0, line.said_at)
    return Recalled(line.id, SAID, text, score, line.said_at, source, frozenset((line.id,)))
