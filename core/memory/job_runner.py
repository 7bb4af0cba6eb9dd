"""Doing the memory's jobs: reading conversations for memories, folding long ones, consolidating."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence

import structlog
from prometheus_client import Counter
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.errors import (
    BudgetExhausted,
    ConfigurationError,
    LeaseLost,
    MalformedOutput,
    MnemeError,
    ModelRefused,
    StoreUnavailable,
    StreamCut,
    Unavailable,
    Undecryptable,
)
from core.llm.model import LanguageModel
from core.memory.asserted import is_statement
from core.memory.changes import hold_memory
from core.memory.claims import Claim, Memories, Memory
from core.memory.consolidation import Consolidation
from core.memory.corrections import Corrections
from core.memory.extraction import LINE_TOKENS, extract
from core.memory.indexing import Indexer
from core.memory.jobs import MAX_ATTEMPTS, Job, JobKind, JobQueue
from core.memory.marks import keep_back
from core.memory.page import MAX_LINES, first_page
from core.memory.recall import Recaller
from core.memory.summary import LINE_TOKENS as FOLDED_LINE_TOKENS
from core.memory.summary import Summaries, foldable, summarize
from core.memory.transcript import Line, Transcript
from core.messages import ConversationKind
from core.storage.database import Database
from core.storage.schema import conversations, users
from core.users.people import is_paused

KNOWN = 12
"""So many memories stand beside a page, for its messages to confirm or to replace."""

JOBS = Counter("mneme_jobs", "Jobs of the memory that ended.", ["kind", "outcome"])
log = structlog.get_logger()


class JobRunner:
    """Does the jobs."""

    def __init__(
        self,
        database: Database,
        queue: JobQueue,
        model: LanguageModel,
        transcript: Transcript,
        memories: Memories,
        summaries: Summaries,
        indexer: Indexer,
        recaller: Recaller,
        consolidation: Consolidation,
        corrections: Corrections,
    ) -> None:
        self._database = database
        self._queue = queue
        self._model = model
        self._transcript = transcript
        self._memories = memories
        self._summaries = summaries
        self._indexer = indexer
        self._recaller = recaller
        self._consolidation = consolidation
        self._corrections = corrections
        self._work: dict[JobKind, Callable[[Job], Awaitable[None]]] = {
            JobKind.EXTRACT: self._extract,
            JobKind.FOLD: self._fold,
            JobKind.CONSOLIDATE: self._consolidate,
        }

    async def run(self, job_id: int) -> None:
        """Does the job if it is due; every failure is noted on its row. Starting it twice does it once."""
        job = await self._queue.start(job_id)
        if job is None:
            return
        renewing = asyncio.create_task(self._renew(job))
        try:
            if job.attempts > MAX_ATTEMPTS:
                await self._queue.fail(job, "Killed")
                outcome = "failed"
            else:
                outcome = await self._attempt(job)
        except LeaseLost:
            outcome = "lost"
        finally:
            renewing.cancel()
            # Cut off amid a write it would keep the database's turn for as long as this loop stands still.
            await asyncio.gather(renewing, return_exceptions=True)
        JOBS.labels(job.kind, outcome).inc()
        log.info("job_ended", job=job.id, kind=job.kind, outcome=outcome)

    async def _attempt(self, job: Job) -> str:
        try:
            await self._work[job.kind](job)
        except (MalformedOutput, ModelRefused, Undecryptable) as error:
            await self._queue.fail(job, type(error).__name__)
            return "failed"
        except BudgetExhausted as error:
            await self._queue.postpone(job, error.until)
            return "postponed"
        except (Unavailable, StreamCut, ConfigurationError) as error:
            await self._queue.put_back(job, type(error).__name__)
            return "put_back"
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001  # its text may hold a person's words: the log must not
            frames = traceback.extract_tb(error.__traceback__)[-3:]
            place = [f"{frame.name}:{frame.lineno}" for frame in frames]
            log.error("job_failed", job=job.id, reason=type(error).__name__, at=place)
            await self._queue.put_back(job, type(error).__name__)
            return "put_back"
        return "done"

    async def _renew(self, job: Job) -> None:
        while True:
            await asyncio.sleep(self._queue.lease_seconds / 3)
            try:
                await self._queue.renew(job)
            except LeaseLost:
                return  # the work's own end finds out, and writes nothing
            except StoreUnavailable as error:
                log.warning("job_not_renewed", job=job.id, reason=str(error))

    async def _extract(self, job: Job) -> None:
        async with self._database.read() as connection:
            through = await self._extracted_through(connection, job.about)
            unread = await self._transcript.of_conversation(
                connection, job.about, after_turn=through, limit=MAX_LINES, newest=False
            )
        unread = first_page(unread, line_tokens=LINE_TOKENS)
        writers = sorted({line.user_id for line in unread if line.role == "user"})
        found = {
            writer: await extract(self._model, unread, writer, await self._bearing_on(unread, writer))
            for writer in writers
        }
        async with self._database.write() as connection:
            await self._queue.finish(connection, job)
            for writer in writers:
                await hold_memory(connection, writer)
            read = await self._read_through(connection, unread, through)
            for writer, claims in found.items():
                for claim in claims:
                    if claim.line.turn_id <= read:
                        await self._learn(connection, writer, claim)
            await connection.execute(
                update(conversations)
                .where(conversations.c.id == job.about, conversations.c.extracted_through == through)
                .values(extracted_through=read)
            )
            await self._queue.schedule_extraction(connection, job.about)
            for writer in writers:
                await self._queue.schedule_consolidation(connection, writer)
        await self._index(writers)

    async def _learn(self, connection: AsyncConnection, writer: str, claim: Claim) -> None:
        quote = claim.line.text[claim.start : claim.end]
        if not await self._transcript.may_keep(connection, writer, f"{claim.text}\n{quote}"):
            return
        outdated = await self._corrections.outdated(connection, writer, claim)
        if outdated is None:
            await self._memories.learn(connection, writer, claim)
        else:
            await self._memories.cite(connection, outdated.id, claim)
            await keep_back(connection, writer)

    async def _bearing_on(self, lines: Sequence[Line], writer: str) -> list[Memory]:
        """What is known of the writer that the lines may say again, or change."""
        said = [line for line in lines if line.user_id == writer and is_statement(line.text)]
        texts = [line.text for line in said]
        return await self._recaller.related(writer, texts, said[0].audience, most=KNOWN) if said else []

    async def _index(self, writers: Sequence[str]) -> None:
        try:
            for writer in writers:
                await self._indexer.flush(writer)
        except MnemeError as error:
            # What the index has yet to hear of stands in the record; the next sweep tells it.
            log.warning("index_behind", reason=type(error).__name__)

    async def _extracted_through(self, connection: AsyncConnection, conversation_id: str) -> int:
        through: int | None = await connection.scalar(
            select(conversations.c.extracted_through).where(conversations.c.id == conversation_id)
        )
        return through or 0

    async def _read_through(self, connection: AsyncConnection, lines: Sequence[Line], through: int) -> int:
        """The last turn up to which all stands as the model read it.

        What was forgotten or edited meanwhile must not come back: from there on it is read again.
        """
        standing: dict[str, Line] = {}
        for writer in {line.user_id for line in lines}:
            ids = [line.id for line in lines if line.user_id == writer]
            standing |= await self._transcript.of_user(connection, writer, ids)
        changed = [line.turn_id for line in lines if line.role == "user" and standing.get(line.id) != line]
        return min(changed) - 1 if changed else max((line.turn_id for line in lines), default=through)

    async def _fold(self, job: Job) -> None:
        async with self._database.read() as connection:
            earlier, after = await self._summaries.read(connection, job.about)
            window = await self._transcript.of_conversation(
                connection, job.about, after_turn=after, limit=MAX_LINES, newest=False
            )
            payer = await self._one_person(connection, job.about)
        lines = first_page(foldable(window), line_tokens=FOLDED_LINE_TOKENS)
        summary = await summarize(self._model, earlier, lines, payer) if lines else None
        async with self._database.write() as connection:
            await self._queue.finish(connection, job)
            if summary is not None:
                await self._summaries.write(
                    connection, job.about, summary, after=after, through=lines[-1].turn_id
                )

    async def _consolidate(self, job: Job) -> None:
        async with self._database.read() as connection:
            paused = await connection.scalar(select(is_paused()).where(users.c.id == job.about))
        steps = [] if paused else await self._consolidation.plan(job.about)
        async with self._database.write() as connection:
            await self._queue.finish(connection, job)
            if not paused:
                await self._consolidation.carry_out(connection, job.about, steps)
        await self._index([job.about])

    async def _one_person(self, connection: AsyncConnection, conversation_id: str) -> str | None:
        """Who a direct conversation belongs to; None for a group."""
        owner: str | None = await connection.scalar(
            select(conversations.c.owner).where(
                conversations.c.id == conversation_id, conversations.c.kind == ConversationKind.DIRECT
            )
        )
        return owner
