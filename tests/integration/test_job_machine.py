"""A machine that tries to break the memory's jobs: two workers, any interleaving, forgetting amid it."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from sqlalchemy import Row, Table, select, update

from core.app import App
from core.delivery.turns import TurnState
from core.memory.asserted import is_statement
from core.memory.claims import Memory
from core.memory.jobs import MAX_ATTEMPTS, JobState
from core.memory.transcript import Line
from core.storage.schema import conversations, jobs, memories, messages, sources, users
from tests.integration.puppet import Puppet
from tests.integration.store_machine import ANY, PLACES, PROCESS, Place, StoreMachine, try_to_break
from tests.standins.model import read_claim
from tests.standins.paper import letter

EXAMPLES = 10
DRAIN_ROUNDS = 100
POISON = "poison"
WORD = re.compile(r"\bword(\d+)\b")
SAYINGS = st.tuples(
    st.sampled_from(PLACES), st.sampled_from(["I like word{}", "I like word{}", f"{POISON}, I like word{{}}"])
)
NUMBERS = st.integers(0, 4)
"""So few that things are said again, by others and elsewhere too."""
FORGETS = ("message", "memory", "everything")

ARROWS = {
    "": frozenset({JobState.WAITING}),
    JobState.WAITING: frozenset({JobState.RUNNING}),
    JobState.RUNNING: frozenset({JobState.WAITING, JobState.DONE, JobState.FAILED}),
    JobState.FAILED: frozenset({JobState.DONE}),  # a newer one has done its work
}
"""From which state to which a job may go in one step; from "" it comes."""


def read_claims(body: dict[str, Any]) -> str:
    """Reads every "I like wordN"; a page with poison in it makes the model babble."""
    if body["response_format"]["json_schema"]["name"] == "summary":
        return json.dumps({"summary": "They talked about words."})
    page = body["messages"][-1]["content"]
    if POISON in page:
        return "I'd rather not"
    numbered = re.findall(r"^\[(\d+)\] \(\d{4}-\d\d-\d\d\) (.*)$", page, re.MULTILINE)
    found = [
        read_claim(int(number), f"I like word{n}", f"Likes word{n}.", kind="preference")
        for number, said in numbered
        for n in WORD.findall(said)
    ]
    return json.dumps({"memories": found})


@dataclass
class JobLedger:
    """Where jobs and readings were last seen."""

    app: App
    steps: list[str]
    seen: dict[int, Row[Any]] = field(default_factory=dict)
    workers: dict[int, str] = field(default_factory=dict)
    """Who last started each job."""
    held: frozenset[tuple[str, str]] = frozenset()
    """Which memories rested on which messages."""
    through: dict[str, int] = field(default_factory=dict)
    edited: set[str] = field(default_factory=set)
    """Messages that were edited: what stands there now may have been read as it was before."""

    async def rows(self, table: Table, *where: Any) -> list[Row[Any]]:
        async with self.app.database.read() as connection:
            found = await connection.execute(select(table).where(*where).order_by(*table.primary_key.columns))
            return list(found.all())

    async def look(self, actor: str) -> None:
        """Jobs go only where they may; what is remembered stands in what its user wrote, and once."""
        through, held, done = self.through.copy(), self.held, self._done()
        for job in await self.rows(jobs):
            self._follow(job, self.seen.get(job.id), actor)
            self.seen[job.id] = job
        for lane in await self.rows(conversations):
            assert lane.extracted_through >= self.through.get(lane.id, 0), "a reading went back"
            self.through[lane.id] = lane.extracted_through
        self.held = frozenset((row.memory_id, row.message_id) for row in await self.rows(sources))
        if actor and (self.held != held or self.through.items() - through.items()):
            assert self._done() > done, f"{actor} committed the work of a job that it had lost"
        stored = [await self._check_memories(user.id) for user in await self.rows(users)]
        assert sum(stored) == len(await self.rows(memories)), "a memory rests on nothing"

    def _follow(self, job: Row[Any], before: Row[Any] | None, actor: str) -> None:
        was, attempts = ("", 0) if before is None else (before.state, before.attempts)
        assert attempts <= job.attempts, f"job {job.id}: its fence went back"
        if job.attempts > attempts:
            self.workers[job.id] = actor
        if job.state != was:
            self.steps.append(f"    job {job.id}: {was or 'new'} -> {job.state} ({job.reason})")
            assert job.state in ARROWS.get(was, ()), f"job {job.id}: {was} -> {job.state}"
            if job.state == JobState.DONE:
                assert job.attempts <= MAX_ATTEMPTS, f"job {job.id} was done in attempt {job.attempts}"
            if was == JobState.RUNNING:
                assert self.workers[job.id] == actor, f"job {job.id} was ended by a worker that had lost it"
        elif before is not None:
            assert job.finished_at == before.finished_at, f"job {job.id} was ended twice"

    def _done(self) -> int:
        return sum(job.state == JobState.DONE for job in self.seen.values())

    async def _check_memories(self, user_id: str) -> int:
        held = await self.memories(user_id)
        claims = [(memory.audience, memory.text) for memory in held]
        assert len(set(claims)) == len(claims), "remembered twice"
        for memory in held:
            (word,) = WORD.findall(memory.text)
            for source in memory.sources:
                assert WORD.findall(source.quote) == [word], f"{memory.text!r} rests on {source.quote!r}"
        return len(held)

    async def memories(self, user_id: str) -> list[Memory]:
        async with self.app.database.read() as connection:
            return await self.app.memories.of_user(connection, user_id)

    async def lines(self, user_id: str) -> list[Line]:
        """What a user said, oldest first."""
        ids = [row.id for row in await self.rows(messages, messages.c.user_id == user_id)]
        async with self.app.database.read() as connection:
            lines = await self.app.transcript.of_user(connection, user_id, ids)
        return [lines[id] for id in ids if lines[id].role == "user"]

    async def close(self) -> None:
        """Everything that was read and stands is remembered; all was read where no job failed."""
        ended = await self.rows(jobs)
        assert {job.state for job in ended} <= {JobState.DONE, JobState.FAILED}, "a job waits still"
        failed = {job.conversation_id for job in ended if job.state == JobState.FAILED}
        for user in await self.rows(users):
            cited = {
                source.message_id for memory in await self.memories(user.id) for source in memory.sources
            }
            for line in await self.lines(user.id):
                (row,) = await self.rows(messages, messages.c.id == line.id)
                was_read = line.turn_id <= self.through[row.conversation_id]
                says = bool(WORD.search(line.text)) and is_statement(line.text)
                assert was_read or row.conversation_id in failed or not says, f"never read: {line.text!r}"
                if was_read and says and line.id not in self.edited:
                    assert line.id in cited, f"read and not remembered: {line.text!r}"


class JobMachine(StoreMachine):
    """The processes are workers; at the door people talk, and take back what they said."""

    async def open(self) -> None:
        self.model.extract = read_claims
        await super().open()
        self.ledger = JobLedger(self.door, self.steps)

    async def look(self) -> None:
        await self.ledger.look(self.actor)

    @initialize(sayings=st.lists(SAYINGS, min_size=1, max_size=3), number=NUMBERS)
    def begin(self, sayings: list[tuple[Place, str]], number: int) -> None:
        for place, text in sayings:
            self.run(self.answer(place, text.format(number)))

    @rule(saying=SAYINGS, number=NUMBERS)
    def say(self, saying: tuple[Place, str], number: int) -> None:
        place, text = saying
        self.run(self.answer(place, text.format(number)))

    async def answer(self, place: Place, text: str) -> None:
        """A turn from its acceptance to its end, as a lane's holder commits it."""
        person, conversation, kind = place
        app = self.door
        accepted = await app.inbox.accept(letter(text, person=person, conversation=conversation, kind=kind))
        lease = await app.turns.lease(accepted.conversation_id, "the door")
        assert lease is not None
        turn = await app.turns.take(lease)
        assert turn is not None
        async with app.database.write() as connection:
            await app.turns.finish(connection, turn, TurnState.DONE, None, None)
            await app.transcript.record(connection, turn, "I see.")
            await app.jobs.schedule_extraction(connection, accepted.conversation_id)
        assert await app.turns.release(lease)
        self.note(f"{person} says {text!r} in {conversation}, turn {turn.id}")
        await self.look()

    @rule(which=ANY)
    def fold(self, which: int) -> None:
        async def fold() -> None:
            lanes = await self.ledger.rows(conversations)
            async with self.door.database.write() as connection:
                await self.door.jobs.schedule_fold(connection, lanes[which % len(lanes)].id)
            await self.look()

        self.run(fold())

    @rule(process=PROCESS, which=ANY)
    def start(self, process: int, which: int) -> None:
        self.run(self.begin_job([self.processes[process]], which))

    @rule(which=ANY)
    def start_twice(self, which: int) -> None:
        """As when a task is delivered again, or two schedules run."""
        self.run(self.begin_job(self.processes, which))

    async def begin_job(self, workers: list[Puppet], which: int) -> None:
        due = await self.door.jobs.due()
        for worker in workers if due else ():
            job_id = due[which % len(due)]
            self.note(f"{worker.name} is told of job {job_id}")
            await worker.start(worker.app.job_runner.run(job_id))

    @rule(process=PROCESS, halt=st.integers(0, 3))
    def step(self, process: int, halt: int) -> None:
        self.run(self.go(process, 1, halt))

    @rule(process=PROCESS, steps=st.integers(2, 10))
    def go_on(self, process: int, steps: int) -> None:
        self.run(self.go(process, steps))

    async def go(self, process: int, steps: int, halt: int = 0) -> None:
        for _ in range(steps):
            await self.advance(self.processes[process], halt)

    @rule(process=PROCESS, which=ANY, steps=st.integers(1, 6))
    def overtake(self, process: int, which: int, steps: int) -> None:
        """Whoever had started a job stalled for longer than its lease."""

        async def overtake() -> None:
            await self.let_leases_end()
            await self.begin_job([self.processes[process]], which)
            await self.go(process, steps)

        self.run(overtake())

    @rule(process=PROCESS, which=ANY, before=st.integers(1, 5), between=st.integers(0, 8))
    def stall(self, process: int, which: int, before: int, between: int) -> None:
        """A worker that stands still amid a job until another is at it, or has done it, and then goes on."""

        async def stall() -> None:
            other = 1 - process
            await self.let_rests_end()
            await self.begin_job([self.processes[process]], which)
            await self.go(process, before)
            await self.let_leases_end()
            await self.begin_job([self.processes[other]], which)
            await self.go(other, between)
            await self.exhaust(self.processes[process])

        self.run(stall())

    @rule(process=PROCESS)
    def kill(self, process: int) -> None:
        self.run(self.replace(self.processes[process]))

    async def let_leases_end(self) -> None:
        running = jobs.c.state == JobState.RUNNING
        await self.change(update(jobs).where(running).values(lease_until=0.0), "leases end")

    @rule()
    def rest(self) -> None:
        self.run(self.let_rests_end())

    async def let_rests_end(self) -> None:
        await self.change(update(jobs).values(not_before=0.0), "rests end")

    @rule(which=ANY, what=st.sampled_from(FORGETS))
    def forget(self, which: int, what: str) -> None:
        self.run(self.take_back(which, what))

    async def take_back(self, which: int, what: str) -> None:
        people = await self.ledger.rows(users)
        user_id = people[which % len(people)].id
        lines, held = await self.ledger.lines(user_id), await self.ledger.memories(user_id)
        if what == "everything":
            self.note(f"person {which % len(people)} has everything forgotten")
            await self.door.forgetting.everything(user_id)
        elif what == "message" and lines:
            line = lines[which % len(lines)]
            self.note(f"person {which % len(people)} has {line.text!r} forgotten")
            assert await self.door.forgetting.message(user_id, line.id)
        elif what == "memory" and held:
            memory = held[which % len(held)]
            self.note(f"person {which % len(people)} has the memory {memory.text!r} forgotten")
            assert await self.door.forgetting.memory(user_id, memory.id)
        await self.look()

    @rule(process=PROCESS, which=ANY, what=st.sampled_from(FORGETS), steps=st.integers(2, 5))
    def forget_amid(self, process: int, which: int, what: str, steps: int) -> None:
        """A job is at work on what somebody takes back."""

        async def forget_amid() -> None:
            await self.let_rests_end()
            await self.begin_job([self.processes[process]], which)
            await self.go(process, steps)
            await self.take_back(which, what)
            await self.exhaust(self.processes[process])

        self.run(forget_amid())

    @rule(which=ANY, number=NUMBERS)
    def edit(self, which: int, number: int) -> None:
        self.run(self.mend(which, f"I like word{number}"))

    async def mend(self, which: int, text: str) -> None:
        said = await self.ledger.rows(messages, messages.c.role == "user")
        if not said:
            return
        row = said[which % len(said)]
        self.note(f"what was said in turn {row.turn_id} is edited to {text!r}")
        self.ledger.edited.add(row.id)
        async with self.door.database.write() as connection:
            assert await self.door.forgetting.revise(connection, row.user_id, row.event_digest, text)
            await self.door.jobs.schedule_extraction(connection, row.conversation_id)
        await self.look()

    @rule()
    def let_model_refuse(self) -> None:
        self.note("the model refuses its next call")
        self.model.fail_next("too_long")

    async def drain(self) -> None:
        """A last worker does what is left, the others stand where they stood; then these go on, too late."""
        self.note("the end: a last worker does what is left")
        last = await self.bear()
        for _ in range(DRAIN_ROUNDS):
            await self.let_leases_end()
            await self.let_rests_end()
            await self.begin_job([last], 0)
            await self.exhaust(last)
            if not await self.door.jobs.due():
                break
        await self.ledger.close()
        self.note("those that stood still go on, too late")
        for puppet in self.processes:
            await self.exhaust(puppet)
        await self.ledger.close()


def test_jobs_are_done_once_and_forgetting_wins(empty_database: str, redis_url: str, tmp_path: Path) -> None:
    try_to_break(JobMachine, empty_database, redis_url, tmp_path, examples=EXAMPLES)
