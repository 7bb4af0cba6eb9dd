"""What the state machines share: processes on strings over one record, and a door that is free.

A failure carries every step as a note, and what each did to the record.
"""

import asyncio
import os
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from pydantic import SecretStr
from sqlalchemy import delete

from core.app import App, open_app
from core.messages import ConversationKind
from core.settings import Settings
from core.storage.database import database_url, upgrade
from core.storage.schema import keys, users
from tests.conftest import make_settings
from tests.integration.puppet import Halt, Puppet, a_puppet, strings
from tests.standins.model import ModelStandIn
from tests.standins.paper import Paper

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES") or 0)
"""How often `make machines` lets each machine run, anew each time. 0: a short run, the same each time."""
PHASES = [Phase.generate, Phase.shrink] if os.environ.get("MACHINE_SHRINKS") else [Phase.generate]
"""Shrinking a failure takes minutes, and its steps are told as they were anyway."""
STEPS = 40
PROCESSES = 2
NOWHERE = "http://127.0.0.1:9"
PART_CHARS = 150

Place = tuple[str, str, ConversationKind]
PLACES: tuple[Place, ...] = (
    ("ana", "ana", ConversationKind.DIRECT),
    ("ben", "ben", ConversationKind.DIRECT),
    ("ana", "club", ConversationKind.GROUP),
    ("ben", "club", ConversationKind.GROUP),
)
ANY = st.integers(0, 10**6)
PROCESS = st.integers(0, PROCESSES - 1)


class StoreMachine(RuleBasedStateMachine):
    """Two processes on strings; the door is a third that does at once what it is told."""

    given: ClassVar[Settings]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.stack = AsyncExitStack()
        self.paper = Paper(part_chars=PART_CHARS)
        self.model = ModelStandIn()
        self.steps: list[str] = []
        self.has_failed = False
        self.born = 0
        self.actor = ""
        """Which process takes a step; "" while the door does something."""
        self.run(self.open())

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Does a rule's work on this machine's event loop."""
        try:
            self.runner.run(work)
        except BaseException as error:
            self.has_failed = True
            error.add_note("\n".join(self.steps))
            raise

    async def open(self) -> None:
        await self.model.start()
        self.stack.push_async_callback(self.model.stop)
        self.settings = self.given.model_copy(
            update={"openai_base_url": self.model.base_url, "openai_api_key": SecretStr(self.model.key)}
        )
        self.door: App = await self.stack.enter_async_context(open_app(self.settings))
        async with self.door.database.write() as connection:
            for table in (users, keys):  # all else goes with them
                await connection.execute(delete(table))
        self.processes = [await self.bear() for _ in range(PROCESSES)]

    @property
    def redis_url(self) -> str:
        assert self.given.redis_url is not None
        return self.given.redis_url.get_secret_value()

    async def bear(self) -> Puppet:
        """A process that was just started."""
        self.born += 1
        made = a_puppet(f"process {self.born}", self.settings, self.paper)
        return await self.stack.enter_async_context(made)

    def note(self, step: str) -> None:
        self.steps.append(step)

    async def advance(self, puppet: Puppet, number: int = 0) -> bool:
        """Lets a process take one step; False when it has none to take."""
        if not puppet.halts:
            return False
        halt = puppet.halts[number % len(puppet.halts)]
        if not await self.lets(puppet, halt):
            return False
        self.note(f"{puppet.name} goes on: {halt.what} {halt.delivery_id or ''}")
        self.actor = puppet.name
        await puppet.go_on(number % len(puppet.halts))
        await self.look()
        self.actor = ""
        return True

    async def replace(self, puppet: Puppet) -> None:
        """Kills a process: it takes no further step; another is started in its place."""
        self.note(f"{puppet.name} is killed")
        self.processes[self.processes.index(puppet)] = await self.bear()

    async def exhaust(self, puppet: Puppet) -> None:
        """Lets a process do all that it has begun."""
        while await self.advance(puppet):
            pass

    async def lets(self, puppet: Puppet, halt: Halt) -> bool:
        """Called before a step: whether it is one that can happen."""
        return True

    async def look(self) -> None:
        """Called after each step: raises when something is as it never may be."""

    async def change(self, statement: Any, note: str) -> None:
        """What time or an enemy does to the record."""
        self.note(note)
        async with self.door.database.write() as connection:
            await connection.execute(statement)

    async def drain(self) -> None:
        """The end: does all that is left, and holds the outcome against what was asked for."""

    def teardown(self) -> None:
        try:
            if not self.has_failed:
                self.run(self.drain())
        finally:
            with self.runner:
                self.runner.run(self.stack.aclose())


def try_to_break(
    machine: type[StoreMachine], database: str, redis: str, folder: Path, *, examples: int
) -> None:
    """Runs the machine on a new database, `examples` times over in a short run."""
    given = make_settings(
        database_url=database,
        redis_url=redis,
        # Recall rests: the index has tests of its own.
        chroma_url=NOWHERE,
        openai_base_url=NOWHERE,
        openai_api_key="unset",
        openai_model="stand-in",
        mneme_data_dir=folder,
        access="open",
        burst_seconds=0,
        # Leases end when the machine says so.
        lease_seconds=60,
        sweep_seconds=9_000,
    )
    upgrade(database_url(given))
    with strings():
        run_state_machine_as_test(
            type(machine.__name__, (machine,), {"given": given}),
            settings=settings(
                max_examples=EXAMPLES or examples,
                stateful_step_count=STEPS,
                derandomize=not EXAMPLES,
                phases=PHASES,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
